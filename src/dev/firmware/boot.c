#include "dev/firmware/boot.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "image/unpack.h"

void boot_describe(const struct kernel *k, bool unpack, char *buf, size_t len)
{
	const struct kernel_linux *l = &k->linux_hdr;
	const char *format = NULL;

	switch (k->kind) {
	case KERNEL_BZIMAGE:
		if (unpack && l->payload_size)
			format = unpack_format(k->file.data + l->payload_offset, l->payload_size);
		if (format)
			snprintf(buf, len, "Linux 64-bit, %s payload unpacked by us", format);
		else
			snprintf(buf, len, "Linux 64-bit, unpacked by the kernel itself");
		break;
	case KERNEL_ELF64:
		snprintf(buf, len, "Linux 64-bit, ELF");
		break;
	case KERNEL_PVH:
		snprintf(buf, len, "PVH");
		break;
	case KERNEL_MULTIBOOT:
		snprintf(buf, len, "Multiboot 1");
		break;
	}
}

int boot_load(const struct kernel *k, const struct boot_input *in, struct cpu_state *cpu,
              struct boot_result *out, struct err *e)
{
	switch (k->kind) {
	case KERNEL_BZIMAGE:
	case KERNEL_ELF64:
		return linux_load(k, in, cpu, out, e);
	case KERNEL_PVH:
		return pvh_load(k, in, cpu, out, e);
	case KERNEL_MULTIBOOT:
		return multiboot_load(k, in, cpu, out, e);
	}
	return -EINVAL;
}

static bool is_ram(const struct boot_input *in, uint64_t base, uint64_t size)
{
	for (unsigned i = 0; i < in->e820->n; i++) {
		const struct e820_entry *r = &in->e820->entry[i];

		if (r->type == E820_RAM && base >= r->base && base - r->base <= r->size &&
		    size <= r->size - (base - r->base))
			return true;
	}
	return false;
}

int boot_need_ram(const struct boot_input *in, const char *what, const char *path, uint64_t base,
                  uint64_t size, struct err *e)
{
	char need[32];

	if (is_ram(in, base, size))
		return 0;
	if (base + size > in->low_ram && base + size < 3 * GIB)
		return err_set(e, ENOSPC,
		               "too little memory: %s '%s' needs memory up to %s: "
		               "give --memory more",
		               what, path,
		               num_format_size(align_up(base + size, MIB), need, sizeof(need)));
	return err_set(e, ENOSPC, "%s '%s' needs memory at 0x%llx-0x%llx, where there is none",
	               what, path, (unsigned long long)base, (unsigned long long)(base + size - 1));
}

int boot_segments(const struct kernel *k, const uint8_t *data, const struct kernel_segment *segment,
                  unsigned n, const struct boot_input *in, struct err *e)
{
	for (unsigned i = 0; i < n; i++) {
		const struct kernel_segment *s = &segment[i];
		int r = boot_need_ram(in, "kernel", k->path, s->paddr, s->memsz, e);

		if (r < 0)
			return r;
		if (s->paddr < BOOT_STRINGS + BOOT_STRINGS_SIZE)
			return err_set(e, EINVAL,
			               "kernel '%s' wants to be loaded at 0x%llx, where boot "
			               "parameters are: link it at 1 MiB or higher",
			               k->path, (unsigned long long)s->paddr);
		if (mem_load(in->mem, s->paddr, data + s->offset, s->filesz) < 0)
			return err_set(e, EFAULT, "cannot write kernel '%s' to guest memory",
			               k->path);
	}
	return 0;
}

int boot_string(const struct boot_input *in, uint64_t *at, const char *s, uint64_t *gpa,
                struct err *e)
{
	size_t len = strlen(s) + 1;

	if (len > BOOT_STRINGS + BOOT_STRINGS_SIZE - *at)
		return err_set(e, E2BIG, "command lines are longer than %u bytes: shorten them",
		               BOOT_STRINGS_SIZE - 1);
	if (mem_load(in->mem, *at, s, len) < 0)
		return err_set(e, EFAULT, "cannot write the command line to guest memory");
	*gpa = *at;
	*at += len;
	return 0;
}

static int place(const struct boot_input *in, const char *what, const char *path,
                 const struct file *f, uint64_t *from, uint64_t *gpa, struct err *e)
{
	uint64_t at = align_up(*from, PAGE_SIZE);
	int r = boot_need_ram(in, what, path, at, f->size, e);

	if (r < 0)
		return r;
	if (mem_load(in->mem, at, f->data, f->size) < 0)
		return err_set(e, EFAULT, "cannot write %s '%s' to guest memory", what, path);
	*gpa = at;
	*from = at + f->size;
	return 0;
}

int boot_place_modules(const struct boot_input *in, uint64_t from, uint64_t gpa[BOOT_MODULES_MAX],
                       struct err *e)
{
	if (in->modules == 0 && in->initrd.size) {
		int r = place(in, "initial RAM disk", "--initrd", &in->initrd, &from, &gpa[0], e);

		return r < 0 ? r : 1;
	}
	for (unsigned i = 0; i < in->modules; i++) {
		const struct boot_module *m = &in->module[i];
		int r = place(in, "module", m->path, &m->file, &from, &gpa[i], e);

		if (r < 0)
			return r;
	}
	return in->modules;
}

static struct cpu_seg flat(uint16_t sel, uint16_t attr)
{
	return (struct cpu_seg){.limit = UINT32_MAX, .sel = sel, .attr = attr};
}

#define DATA_ATTR   (3 | SEG_S | SEG_P | SEG_DB | SEG_G)  /* read-write, accessed */
#define CODE32_ATTR (11 | SEG_S | SEG_P | SEG_DB | SEG_G) /* execute-read, accessed */
#define CODE64_ATTR (11 | SEG_S | SEG_P | SEG_L | SEG_G)
#define TSS_ATTR    (11 | SEG_P) /* busy 32-bit (64-bit in long mode) TSS */

static void set_segments(struct cpu_state *c, uint16_t code_attr)
{
	for (unsigned i = 0; i < CPU_SEGS; i++)
		c->seg[i] = flat(0x18, DATA_ATTR);
	c->seg[CPU_CS] = flat(0x10, code_attr);
	c->tr = (struct cpu_seg){.limit = 0x67, .attr = TSS_ATTR};
	c->ldt = (struct cpu_seg){};
}

void boot_cpu_flat32(struct cpu_state *c, uint64_t entry)
{
	cpu_state_reset(c, true);
	memset(c->gpr, 0, sizeof(c->gpr));
	set_segments(c, CODE32_ATTR);
	c->gdt = c->idt = (struct cpu_table){};
	c->cr0 = CR0_PE | CR0_ET;
	c->cr4 = 0;
	c->efer = 0;
	c->rflags = FLAG_FIXED;
	c->rip = entry;
	c->mp = CPU_MP_RUNNING;
}

/* A descriptor of a flat segment (SDM 3A 3.4.5). */
static uint64_t descriptor(uint16_t attr)
{
	return 0xffffull | (uint64_t)(attr & 0xf0ff) << 40 | 0xfull << 48;
}

/* 4 GiB in pages of 2 MiB: PML4, PDPT, four page directories. */
static void fill_page_tables(uint64_t *table)
{
	enum { PRESENT_WRITE = 3, LARGE = 1 << 7 };
	uint64_t *pdpt = table + 512, *pd = pdpt + 512;

	table[0] = (BOOT_PAGE_TABLES + PAGE_SIZE) | PRESENT_WRITE;
	for (uint64_t i = 0; i < 4; i++)
		pdpt[i] = (BOOT_PAGE_TABLES + (2 + i) * PAGE_SIZE) | PRESENT_WRITE;
	for (uint64_t i = 0; i < 4 * 512; i++)
		pd[i] = i << 21 | PRESENT_WRITE | LARGE;
}

int boot_cpu_long(struct mem *mem, struct cpu_state *c, uint64_t entry, struct err *e)
{
	uint64_t gdt[5] = {0, 0, descriptor(CODE64_ATTR), descriptor(DATA_ATTR), 0};
	size_t size = 6 * PAGE_SIZE;
	AUTO_FREE uint64_t *table = xalloc(size);

	fill_page_tables(table);
	if (mem_load(mem, BOOT_GDT, gdt, sizeof(gdt)) < 0 ||
	    mem_load(mem, BOOT_PAGE_TABLES, table, size) < 0)
		return err_set(e, EFAULT, "cannot write page tables to guest memory");

	cpu_state_reset(c, true);
	memset(c->gpr, 0, sizeof(c->gpr));
	set_segments(c, CODE64_ATTR);
	c->gdt = (struct cpu_table){BOOT_GDT, sizeof(gdt) - 1};
	c->idt = (struct cpu_table){};
	c->cr0 = CR0_PE | CR0_ET | CR0_PG;
	c->cr3 = BOOT_PAGE_TABLES;
	c->cr4 = CR4_PAE;
	c->efer = EFER_LME | EFER_LMA;
	c->rflags = FLAG_FIXED;
	c->rip = entry;
	c->mp = CPU_MP_RUNNING;
	return 0;
}
