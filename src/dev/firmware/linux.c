/*
 * Linux, 64-bit boot protocol (Documentation/arch/x86/boot.rst, zero-page.rst).
 *
 * Two ways in, with the same parameter block ("zero page") in RSI:
 *   - a bzImage's protected-mode part, entered at its start + 0x200; it unpacks the kernel;
 *   - the kernel itself, an ELF entered at its startup_64: from a vmlinux file, or from a bzImage's
 *     payload that we unpack.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "dev/firmware/blob.h"
#include "dev/firmware/boot.h"
#include "dev/firmware/kaslr.h"
#include "image/bzimage.h"
#include "image/elf.h"
#include "image/unpack.h"

/* Zero page, offsets beside those of the setup header */
#define ZERO_ACPI_RSDP  0x070
#define ZERO_E820_COUNT 0x1e8
#define ZERO_E820       0x2d0
#define ZERO_SIZE       4096
#define HEADER_END_AT   0x201 /* a jump's displacement from 0x202: the header's length */

#define ENTRY64        0x200
#define LOADER_UNKNOWN 0xff
#define LOADED_HIGH    1
#define KASLR_FLAG     2 /* the kernel randomises more when its own address is random */
#define CAN_USE_HEAP   0x80
#define SETUP_RNG_SEED 9 /* setup_data's type */
#define SETUP_DATA_AT  BOOT_TABLES

#define UNPACK_MAX (512 * MIB)

/* Where the kernel went. */
struct placed {
	uint64_t entry;
	uint64_t start, end; /* with what it needs before it reads the memory map */
	bool moved;          /* its virtual addresses are random */
};

static bool has_word(const char *line, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = line; (p = strstr(p, word)); p += len) {
		if ((p == line || p[-1] == ' ') && (p[len] == 0 || p[len] == ' '))
			return true;
	}
	return false;
}

static void move(const struct boot_input *in, const uint8_t *data, size_t size,
                 const struct kernel_segment *segment, unsigned n, struct placed *out)
{
	struct kaslr k = {
		.data = data,
		.size = size,
		.segment = segment,
		.segments = n,
		.end = out->end,
		/* The seed goes to the guest; this number must not follow from it. */
		.random = in->kaslr_random,
	};

	out->moved = kaslr_apply(in->mem, &k) != 0;
}

/* vmlinux from the payload; -ENOEXEC and the like: let the kernel unpack itself. */
static int load_payload(const struct kernel *k, const struct boot_input *in, struct placed *out,
                        struct err *e)
{
	const struct kernel_linux *l = &k->linux_hdr;
	struct kernel_segment segment[KERNEL_SEGMENTS_MAX];
	AUTO_FREE uint8_t *data = NULL;
	struct elf elf;
	size_t size;
	int n, r;

	r = unpack(k->file.data + l->payload_offset, l->payload_size, UNPACK_MAX, &data, &size, e);
	if (r < 0)
		return r;
	if (!elf_is(data, size))
		return err_set(e, ENOEXEC, "the payload is no ELF file");
	r = elf_open(k->path, data, size, &elf, e);
	if (r < 0)
		return r;
	n = elf_load_segments(k->path, &elf, segment, KERNEL_SEGMENTS_MAX, e);
	if (n < 0)
		return n;
	r = boot_segments(k, data, segment, n, in, e);
	if (r < 0)
		return r;
	out->entry = elf_physical(&elf, elf.entry);
	if (out->entry == UINT64_MAX)
		out->entry = elf.entry;
	out->start = segment[0].paddr;
	out->end = l->pref_address + l->init_size;
	for (int i = 0; i < n; i++) {
		out->start = MIN(out->start, segment[i].paddr);
		out->end = MAX(out->end, segment[i].paddr + segment[i].memsz);
	}
	if (k->linux_hdr.relocatable && !has_word(in->cmdline, "nokaslr"))
		move(in, data, size, segment, n, out);
	return 0;
}

/* At the preferred address: a kernel without relocation in mind is linked there. */
static int load_bzimage(const struct kernel *k, const struct boot_input *in, struct placed *out,
                        struct err *e)
{
	const struct kernel_linux *l = &k->linux_hdr;
	int r = boot_need_ram(in, "kernel", k->path, l->pref_address, l->init_size, e);

	if (r < 0)
		return r;
	if (mem_load(in->mem, l->pref_address, k->file.data + l->code_offset, l->code_size) < 0)
		return err_set(e, EFAULT, "cannot write kernel '%s' to guest memory", k->path);
	out->start = l->pref_address;
	out->end = l->pref_address + l->init_size;
	out->entry = l->pref_address + ENTRY64;
	return 0;
}

static int load_code(const struct kernel *k, const struct boot_input *in, struct placed *out,
                     struct err *e)
{
	const struct kernel_linux *l = &k->linux_hdr;
	struct err why = {};
	int r;

	if (k->kind == KERNEL_ELF64) {
		r = boot_segments(k, k->file.data, k->segment, k->segments, in, e);
		out->entry = k->entry;
		out->start = k->segment[0].paddr;
		out->end = kernel_end(k);
		return r;
	}
	if (in->unpack && l->payload_size) {
		r = load_payload(k, in, out, &why);
		if (r == -ENOSPC)
			return err_set(e, ENOSPC, "%s", why.text);
		if (r == 0)
			return 0;
		log_info("the kernel will unpack itself: %s", why.text);
	}
	return load_bzimage(k, in, out, e);
}

/* As high as the kernel allows, so that it's out of the way of everything else. */
static int place_initrd(const struct kernel *k, const struct boot_input *in,
                        const struct placed *code, uint64_t *gpa, struct err *e)
{
	uint64_t top = MIN(in->low_ram, (uint64_t)UINT32_MAX);
	uint64_t size = in->initrd.size;
	char need[32];

	if (k->kind == KERNEL_BZIMAGE)
		top = MIN(top, k->linux_hdr.initrd_max + 1);
	else
		top = MIN(top, 0x80000000ull);
	if (size > top || align_down(top - size, PAGE_SIZE) < code->end)
		return err_set(
			e, ENOSPC,
			"too little memory: kernel '%s' and the initial RAM disk need %s: "
			"give --memory more",
			k->path,
			num_format_size(align_up(code->end + size, MIB), need, sizeof(need)));
	*gpa = align_down(top - size, PAGE_SIZE);
	if (mem_load(in->mem, *gpa, in->initrd.data, size) < 0)
		return err_set(e, EFAULT, "cannot write the initial RAM disk to guest memory");
	return 0;
}

/* The header as the image has it; for a bare ELF what a loader must tell in any case. */
static void fill_header(const struct kernel *k, uint8_t *zero)
{
	if (k->kind == KERNEL_BZIMAGE) {
		size_t end = SETUP_HEADER + k->file.data[HEADER_END_AT];

		end = MIN(end, (size_t)ZERO_E820);
		end = MIN(end, k->file.size);
		memcpy(zero + SETUP_SECTS, k->file.data + SETUP_SECTS, end - SETUP_SECTS);
	} else {
		store_le(zero + SETUP_BOOT_FLAG, 0xaa55, 2);
		memcpy(zero + SETUP_HEADER, "HdrS", 4);
		store_le(zero + SETUP_VERSION, 0x020c, 2);
		store_le(zero + SETUP_KERNEL_ALIGNMENT, 0x1000000, 4);
	}
	zero[SETUP_LOADER_TYPE] = LOADER_UNKNOWN;
	zero[SETUP_LOADFLAGS] = (zero[SETUP_LOADFLAGS] | LOADED_HIGH) & ~CAN_USE_HEAP;
}

static void fill_e820(const struct e820 *map, uint8_t *zero)
{
	uint8_t *at = zero + ZERO_E820;

	zero[ZERO_E820_COUNT] = map->n;
	for (unsigned i = 0; i < map->n; i++, at += 20) {
		store_le(at, map->entry[i].base, 8);
		store_le(at + 8, map->entry[i].size, 8);
		store_le(at + 16, map->entry[i].type, 4);
	}
}

/* A seed for the guest's random generator; Linux wipes it after use. */
static int write_seed(const struct boot_input *in, struct err *e)
{
	uint8_t data[16 + sizeof(in->seed)] = {};

	store_le(data + 8, SETUP_RNG_SEED, 4);
	store_le(data + 12, sizeof(in->seed), 4);
	memcpy(data + 16, in->seed, sizeof(in->seed));
	if (mem_load(in->mem, SETUP_DATA_AT, data, sizeof(data)) < 0)
		return err_set(e, EFAULT, "cannot write boot parameters to guest memory");
	return 0;
}

static int check_input(const struct kernel *k, const struct boot_input *in, struct err *e)
{
	uint64_t max = k->kind == KERNEL_BZIMAGE ? k->linux_hdr.cmdline_max : 2047;
	size_t len = strlen(in->cmdline);

	if (in->modules)
		return err_set(e, EINVAL,
		               "kernel '%s' is a Linux kernel, which takes no --module: "
		               "use --initrd",
		               k->path);
	if (len > max)
		return err_set(e, E2BIG,
		               "the command line has %zu bytes, kernel '%s' takes %llu: shorten "
		               "--append",
		               len, k->path, (unsigned long long)max);
	return 0;
}

int linux_load(const struct kernel *k, const struct boot_input *in, struct cpu_state *cpu,
               struct boot_result *out, struct err *e)
{
	uint8_t zero[ZERO_SIZE] = {};
	uint64_t strings = BOOT_STRINGS, cmdline, initrd = 0;
	struct placed code = {};
	int r = check_input(k, in, e);

	if (r < 0)
		return r;
	r = load_code(k, in, &code, e);
	if (r < 0)
		return r;
	if (in->initrd.size) {
		r = place_initrd(k, in, &code, &initrd, e);
		if (r < 0)
			return r;
	}
	r = boot_string(in, &strings, in->cmdline, &cmdline, e);
	if (r < 0)
		return r;
	r = write_seed(in, e);
	if (r < 0)
		return r;

	fill_header(k, zero);
	if (code.moved)
		zero[SETUP_LOADFLAGS] |= KASLR_FLAG;
	fill_e820(in->e820, zero);
	store_le(zero + SETUP_CODE32_START, code.start, 4);
	store_le(zero + SETUP_CMD_LINE_PTR, cmdline, 4);
	store_le(zero + SETUP_RAMDISK_IMAGE, initrd, 4);
	store_le(zero + SETUP_RAMDISK_SIZE, in->initrd.size, 4);
	store_le(zero + SETUP_DATA, SETUP_DATA_AT, 8);
	store_le(zero + ZERO_ACPI_RSDP, in->rsdp, 8);
	if (mem_load(in->mem, BOOT_PARAMS, zero, sizeof(zero)) < 0)
		return err_set(e, EFAULT, "cannot write boot parameters to guest memory");

	r = boot_cpu_long(in->mem, cpu, code.entry, e);
	if (r < 0)
		return r;
	cpu->gpr[CPU_RSI] = BOOT_PARAMS;
	out->entry = code.entry;
	out->initrd = initrd;
	boot_describe(k, in->unpack, out->protocol, sizeof(out->protocol));
	return 0;
}
