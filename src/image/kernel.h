/*
 * Recognising and parsing kernels.  A file is one of
 *
 *	bzImage		Linux, x86 boot protocol 2.12 or later with a 64-bit entry
 *	ELF		64-bit, with a PVH note (Xen's PHYS32_ENTRY), or without (a Linux vmlinux)
 *	Multiboot 1	a header in the first 8 KiB; an ELF, or the header's address fields
 *
 * Every offset and length is checked here: what a struct kernel says about its file is inside the
 * file, and segments lie in the first 4 GiB and don't overlap.  Errors name the file and the remedy.
 */
#ifndef IMAGE_KERNEL_H
#define IMAGE_KERNEL_H

#include "image/file.h"

enum kernel_kind {
	KERNEL_BZIMAGE,  /* linux: protected-mode part at linux.code */
	KERNEL_ELF64,    /* segments, 64-bit entry */
	KERNEL_PVH,      /* segments, 32-bit entry without paging */
	KERNEL_MULTIBOOT /* segments, 32-bit entry without paging */
};

/* A piece of the file that goes to physical memory; [filesz, memsz) is zeroed. */
struct kernel_segment {
	uint64_t offset, filesz;
	uint64_t paddr, memsz;
};

#define KERNEL_SEGMENTS_MAX 32

/* Fields of the setup header (Linux Documentation/arch/x86/boot.rst). */
struct kernel_linux {
	uint16_t protocol;                     /* 0x020f: 2.15 */
	uint64_t code_offset, code_size;       /* the protected-mode part in the file */
	uint64_t payload_offset, payload_size; /* compressed vmlinux in the file; size 0: unknown */
	uint64_t pref_address, init_size;
	uint64_t alignment;
	bool relocatable;
	uint64_t initrd_max;  /* highest address of the initrd's last byte */
	uint64_t cmdline_max; /* bytes without the final 0 */
	char version[80];
};

struct kernel {
	enum kernel_kind kind;
	const char *path; /* borrowed */
	struct file file;
	uint64_t entry; /* physical; BZIMAGE: unused */
	unsigned segments;
	struct kernel_segment segment[KERNEL_SEGMENTS_MAX];
	struct kernel_linux linux_hdr;
	uint32_t multiboot_flags;
};

#define KERNEL_FILE_MAX (1ull << 30)

int kernel_open(const char *path, struct kernel *out, struct err *e) MUST_CHECK;
/* The same on bytes in memory, which are taken over on success. */
int kernel_parse(const char *path, struct file *file, struct kernel *out, struct err *e) MUST_CHECK;
void kernel_free(struct kernel *k);

const char *kernel_kind_name(enum kernel_kind kind);
/* End of the highest segment. */
uint64_t kernel_end(const struct kernel *k);

#endif
