/*
 * PVH: a 32-bit entry with a start-of-day structure in EBX (Xen's public headers
 * arch-x86/hvm/start_info.h; "x86/HVM direct boot ABI").  Linux, Xen, unikernels have it.
 */
#include <errno.h>

#include "dev/firmware/blob.h"
#include "dev/firmware/boot.h"

#define START_MAGIC 0x336ec578u
#define MODULE_SIZE 32

/* The list of modules, with their command lines. */
static int put_modules(const struct boot_input *in, const uint64_t *gpa, unsigned n,
                       uint64_t *strings, struct blob *out, struct err *e)
{
	for (unsigned i = 0; i < n; i++) {
		bool initrd = in->modules == 0;
		const struct file *f = initrd ? &in->initrd : &in->module[i].file;
		const char *args = initrd ? NULL : in->module[i].args;
		uint64_t args_gpa = 0;

		if (args && *args) {
			int r = boot_string(in, strings, args, &args_gpa, e);

			if (r < 0)
				return r;
		}
		blob_u64(out, gpa[i]);
		blob_u64(out, f->size);
		blob_u64(out, args_gpa);
		blob_u64(out, 0);
	}
	return 0;
}

static void put_map(const struct e820 *map, struct blob *out)
{
	for (unsigned i = 0; i < map->n; i++) {
		blob_u64(out, map->entry[i].base);
		blob_u64(out, map->entry[i].size);
		blob_u32(out, map->entry[i].type);
		blob_u32(out, 0);
	}
}

/* Tables at BOOT_TABLES: modules, then the memory map. */
static int write_start_info(const struct boot_input *in, const uint64_t *gpa, unsigned modules,
                            uint64_t cmdline, uint64_t *strings, struct err *e)
{
	struct blob tables = {}, start = {};
	int r = put_modules(in, gpa, modules, strings, &tables, e);

	if (r < 0)
		goto out;
	put_map(in->e820, &tables);

	blob_u32(&start, START_MAGIC);
	blob_u32(&start, 1); /* version: has a memory map */
	blob_u32(&start, 0);
	blob_u32(&start, modules);
	blob_u64(&start, modules ? BOOT_TABLES : 0);
	blob_u64(&start, cmdline);
	blob_u64(&start, in->rsdp);
	blob_u64(&start, BOOT_TABLES + modules * MODULE_SIZE);
	blob_u32(&start, in->e820->n);
	blob_u32(&start, 0);
	r = 0;
	if (mem_load(in->mem, BOOT_TABLES, tables.data, tables.len) < 0 ||
	    mem_load(in->mem, BOOT_PARAMS, start.data, start.len) < 0)
		r = err_set(e, EFAULT, "cannot write boot parameters to guest memory");
out:
	blob_free(&tables);
	blob_free(&start);
	return r;
}

int pvh_load(const struct kernel *k, const struct boot_input *in, struct cpu_state *cpu,
             struct boot_result *out, struct err *e)
{
	uint64_t gpa[BOOT_MODULES_MAX], strings = BOOT_STRINGS, cmdline;
	int modules, r = boot_segments(k, k->file.data, k->segment, k->segments, in, e);

	if (r < 0)
		return r;
	modules = boot_place_modules(in, kernel_end(k), gpa, e);
	if (modules < 0)
		return modules;
	r = boot_string(in, &strings, in->cmdline, &cmdline, e);
	if (r < 0)
		return r;
	r = write_start_info(in, gpa, modules, cmdline, &strings, e);
	if (r < 0)
		return r;
	boot_cpu_flat32(cpu, k->entry);
	cpu->gpr[CPU_RBX] = BOOT_PARAMS;
	out->entry = k->entry;
	out->initrd = modules ? gpa[0] : 0;
	boot_describe(k, in->unpack, out->protocol, sizeof(out->protocol));
	return 0;
}
