/*
 * Boot protocols: what stands in for firmware when a kernel is given directly.  Each loader puts the
 * kernel and what belongs to it into guest memory and describes the first processor's state.
 *
 * Low memory while a kernel starts (all of it is the guest's once it has read what is there):
 *
 *	0x00500	GDT			0x10000	parameter block's tables (memory map, modules)
 *	0x06000	parameter block		0x20000	command lines and strings (64 KiB)
 *	0x08000	page tables (6 pages)	0xe0000	ACPI: RSDP, then the tables
 */
#ifndef DEV_FIRMWARE_BOOT_H
#define DEV_FIRMWARE_BOOT_H

#include "dev/firmware/e820.h"
#include "image/kernel.h"
#include "machine/cpu.h"
#include "machine/mem.h"

#define BOOT_GDT          0x500
#define BOOT_PARAMS       0x6000
#define BOOT_PAGE_TABLES  0x8000
#define BOOT_TABLES       0x10000
#define BOOT_STRINGS      0x20000
#define BOOT_STRINGS_SIZE 0x10000
#define BOOT_ACPI         0xe0000
#define BOOT_ACPI_SIZE    0x20000

#define BOOT_MODULES_MAX 32

struct boot_module {
	const char *path; /* for errors */
	const char *args;
	struct file file;
};

/* What a loader is given; all borrowed. */
struct boot_input {
	struct mem *mem;
	const struct e820 *e820;
	uint64_t low_ram; /* end of RAM below 4 GiB */
	uint64_t rsdp;
	const char *cmdline; /* "" when there is none */
	struct file initrd;  /* size 0: none */
	const struct boot_module *module;
	unsigned modules;
	bool unpack;           /* bzImage: unpack the kernel ourselves where we can */
	uint8_t seed[32];      /* randomness for the guest's generator */
	uint64_t kaslr_random; /* where a Linux kernel goes in its virtual addresses */
};

/* What it did, for people and tests. */
struct boot_result {
	uint64_t entry;
	uint64_t initrd;   /* where it is, 0: none */
	char protocol[96]; /* "Linux 64-bit, unpacked lz4 payload" */
};

/* Chooses by k->kind. */
int boot_load(const struct kernel *k, const struct boot_input *in, struct cpu_state *cpu,
              struct boot_result *out, struct err *e) MUST_CHECK;
/* The name that boot_load() will report, from the image alone (for a plan). */
void boot_describe(const struct kernel *k, bool unpack, char *buf, size_t len);

int linux_load(const struct kernel *k, const struct boot_input *in, struct cpu_state *cpu,
               struct boot_result *out, struct err *e) MUST_CHECK;
int pvh_load(const struct kernel *k, const struct boot_input *in, struct cpu_state *cpu,
             struct boot_result *out, struct err *e) MUST_CHECK;
int multiboot_load(const struct kernel *k, const struct boot_input *in, struct cpu_state *cpu,
                   struct boot_result *out, struct err *e) MUST_CHECK;

/* Shared by the loaders. */

/* Puts all segments into RAM that the memory map has, or says how much memory it takes. */
int boot_segments(const struct kernel *k, const uint8_t *data, const struct kernel_segment *segment,
                  unsigned n, const struct boot_input *in, struct err *e) MUST_CHECK;
/* Strings one after the other at BOOT_STRINGS; *at starts there.  Returns the address. */
int boot_string(const struct boot_input *in, uint64_t *at, const char *s, uint64_t *gpa,
                struct err *e) MUST_CHECK;
/* -ENOSPC error unless [base, base + size) is RAM below 4 GiB. */
int boot_need_ram(const struct boot_input *in, const char *what, const char *path, uint64_t base,
                  uint64_t size, struct err *e) MUST_CHECK;
/* Modules (and where there are none, the initrd as the only one) behind `from`, on pages. */
int boot_place_modules(const struct boot_input *in, uint64_t from, uint64_t gpa[BOOT_MODULES_MAX],
                       struct err *e) MUST_CHECK;
/* Protected mode, flat segments, no paging, interrupts off: PVH and Multiboot. */
void boot_cpu_flat32(struct cpu_state *c, uint64_t entry);
/* Long mode, the first 4 GiB mapped to themselves; writes GDT and page tables. */
int boot_cpu_long(struct mem *mem, struct cpu_state *c, uint64_t entry, struct err *e) MUST_CHECK;

#endif
