/* Multiboot 1: machine state and information structure (Multiboot Specification 0.6.96, 3.2, 3.3). */
#include <errno.h>
#include <string.h>

#include "dev/firmware/blob.h"
#include "dev/firmware/boot.h"

#define LOADER_MAGIC 0x2badb002u
#define INFO_SIZE    120

/* BIOS data area: the EBDA's segment, the size of conventional memory in KiB, room for others */
#define BDA_EBDA   0x40e
#define BDA_MEMORY 0x413
#define BDA_ANSWER 0x4f0

enum {
	INFO_MEMORY = 1 << 0,
	INFO_CMDLINE = 1 << 2,
	INFO_MODULES = 1 << 3,
	INFO_MAP = 1 << 6,
	INFO_LOADER_NAME = 1 << 9,
};

/* "path args", as boot loaders hand command lines over. */
static int put_line(const struct boot_input *in, uint64_t *strings, const char *path,
                    const char *args, uint64_t *gpa, struct err *e)
{
	AUTO_FREE char *line =
		xasprintf("%s%s%s", path, args && *args ? " " : "", args ? args : "");

	return boot_string(in, strings, line, gpa, e);
}

static int put_modules(const struct boot_input *in, const uint64_t *gpa, unsigned n,
                       uint64_t *strings, struct blob *out, struct err *e)
{
	for (unsigned i = 0; i < n; i++) {
		bool initrd = in->modules == 0;
		const struct file *f = initrd ? &in->initrd : &in->module[i].file;
		uint64_t line;
		int r = put_line(in, strings, initrd ? "initrd" : in->module[i].path,
		                 initrd ? NULL : in->module[i].args, &line, e);

		if (r < 0)
			return r;
		blob_u32(out, gpa[i]);
		blob_u32(out, gpa[i] + f->size);
		blob_u32(out, line);
		blob_u32(out, 0);
	}
	return 0;
}

/* An entry's size field does not count itself. */
static void put_map(const struct e820 *map, struct blob *out)
{
	for (unsigned i = 0; i < map->n; i++) {
		blob_u32(out, 20);
		blob_u64(out, map->entry[i].base);
		blob_u64(out, map->entry[i].size);
		blob_u32(out, map->entry[i].type);
	}
}

static int write_info(const struct kernel *k, const struct boot_input *in, const uint64_t *gpa,
                      unsigned modules, struct err *e)
{
	uint64_t strings = BOOT_STRINGS, cmdline, name = 0, map;
	uint8_t info[INFO_SIZE] = {};
	struct blob tables = {};
	int r = put_line(in, &strings, k->path, in->cmdline, &cmdline, e);

	if (r == 0)
		r = boot_string(in, &strings, "Casulo", &name, e);
	if (r == 0)
		r = put_modules(in, gpa, modules, &strings, &tables, e);
	if (r < 0)
		goto out;
	map = BOOT_TABLES + tables.len;
	put_map(in->e820, &tables);

	store_le(info, INFO_MEMORY | INFO_CMDLINE | INFO_MODULES | INFO_MAP | INFO_LOADER_NAME, 4);
	store_le(info + 4, E820_LOW_END / KIB, 4);
	store_le(info + 8, (in->low_ram - MIB) / KIB, 4);
	store_le(info + 16, cmdline, 4);
	store_le(info + 20, modules, 4);
	store_le(info + 24, BOOT_TABLES, 4);
	store_le(info + 44, BOOT_TABLES + tables.len - map, 4);
	store_le(info + 48, map, 4);
	store_le(info + 64, name, 4);
	r = 0;
	if (mem_load(in->mem, BOOT_TABLES, tables.data, tables.len) < 0 ||
	    mem_load(in->mem, BOOT_PARAMS, info, sizeof(info)) < 0)
		r = err_set(e, EFAULT, "cannot write boot parameters to guest memory");
out:
	blob_free(&tables);
	return r;
}

/*
 * What a BIOS would have left for those who go back to real mode, as Xen does: where conventional memory
 * ends, and interrupts that answer "no such function" by CF = 1.
 */
static int write_bios(const struct boot_input *in, struct err *e)
{
	/* push bp; mov bp, sp; or byte [bp + 6], 1; pop bp; iret */
	static const uint8_t answer[] = {0x55, 0x89, 0xe5, 0x80, 0x4e, 0x06, 0x01, 0x5d, 0xcf};
	uint8_t low[BDA_ANSWER + sizeof(answer)] = {};

	for (unsigned vector = 0; vector < 256; vector++)
		store_le(low + vector * 4, BDA_ANSWER, 4);
	store_le(low + BDA_EBDA, E820_LOW_END >> 4, 2);
	store_le(low + BDA_MEMORY, E820_LOW_END / KIB, 2);
	memcpy(low + BDA_ANSWER, answer, sizeof(answer));
	if (mem_load(in->mem, 0, low, sizeof(low)) < 0)
		return err_set(e, EFAULT, "cannot write the BIOS data area to guest memory");
	return 0;
}

int multiboot_load(const struct kernel *k, const struct boot_input *in, struct cpu_state *cpu,
                   struct boot_result *out, struct err *e)
{
	uint64_t gpa[BOOT_MODULES_MAX];
	int modules, r = boot_segments(k, k->file.data, k->segment, k->segments, in, e);

	if (r < 0)
		return r;
	modules = boot_place_modules(in, kernel_end(k), gpa, e);
	if (modules < 0)
		return modules;
	r = write_info(k, in, gpa, modules, e);
	if (r == 0)
		r = write_bios(in, e);
	if (r < 0)
		return r;
	boot_cpu_flat32(cpu, k->entry);
	cpu->gpr[CPU_RAX] = LOADER_MAGIC;
	cpu->gpr[CPU_RBX] = BOOT_PARAMS;
	out->entry = k->entry;
	out->initrd = modules ? gpa[0] : 0;
	boot_describe(k, in->unpack, out->protocol, sizeof(out->protocol));
	return 0;
}
