#include "far_guest.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/soft/engine.h"

#define RAM_SIZE (4 * MIB)
#define FLAT     0xffffffffu
#define RING3    (3 << SEG_DPL_SHIFT)
#define CODE32   (SEG_G | SEG_DB | SEG_P | SEG_S | 0xb)
#define CODE64   (SEG_G | SEG_L | SEG_P | SEG_S | 0xb)
#define DATA     (SEG_G | SEG_DB | SEG_P | SEG_S | 0x3)

static void must(int rc, const struct err *e)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "%s\n", e->text);
	abort();
}

void guest_new(struct guest *g)
{
	struct err e;

	memset(g, 0, sizeof(*g));
	must(loop_new("test", &g->loop, &e), &e);
	must(machine_new(1, g->loop, true, &g->m, &e), &e);
	must(mem_add(&g->m->mem, "ram", MEM_RAM, 0, RAM_SIZE, &e), &e);
	must(machine_open_engine(g->m, &engine_soft, &e), &e);
	g->ram = mem_ptr(&g->m->mem, 0, RAM_SIZE, true);
	assert(g->ram != NULL);
}

void guest_free(struct guest *g)
{
	machine_free(g->m);
	loop_free(g->loop);
}

uint64_t guest_get(const struct guest *g, uint32_t at, unsigned size)
{
	uint64_t v = 0;

	memcpy(&v, g->ram + at, size);
	return v;
}

void guest_set(struct guest *g, uint32_t at, unsigned size, uint64_t v)
{
	memcpy(g->ram + at, &v, size);
	mem_written(&g->m->mem, at, size);
}

void guest_code(struct guest *g, uint32_t at, const uint8_t *code, size_t len)
{
	memcpy(g->ram + at, code, len);
	mem_written(&g->m->mem, at, len);
}

void guest_descriptor(struct guest *g, unsigned sel, uint64_t base, uint32_t limit, unsigned attr)
{
	uint32_t at = AT_GDT + (sel & ~7u), n = attr & SEG_G ? limit >> 12 : limit;
	uint64_t d = (n & 0xffff) | (base & 0xffffff) << 16 | (uint64_t)(attr & 0xf0ff) << 40 |
	             (uint64_t)(n & 0xf0000) << 32 | (base >> 24 & 0xff) << 56;

	guest_set(g, at, 8, d);
	if (g->wide && !(attr & SEG_S))
		guest_set(g, at + 8, 8, base >> 32);
}

void guest_call_gate(struct guest *g, unsigned sel, uint64_t offset, unsigned type, unsigned n)
{
	uint64_t attr = SEG_P | RING3 | type;

	guest_set(g, AT_GDT + (sel & ~7u), 8,
	          (offset & 0xffff) | (uint64_t)KCODE << 16 | (uint64_t)n << 32 | attr << 40 |
	                  (offset >> 16 & 0xffff) << 48);
	if (g->wide)
		guest_set(g, AT_GDT + (sel & ~7u) + 8, 8, offset >> 32);
}

void guest_gate(struct guest *g, unsigned vector, unsigned sel, uint64_t offset, unsigned attr,
                unsigned ist)
{
	uint64_t d = (offset & 0xffff) | (uint64_t)sel << 16 | (uint64_t)ist << 32 |
	             (uint64_t)attr << 40 | (offset >> 16 & 0xffff) << 48;

	guest_set(g, AT_IDT + vector * (g->wide ? 16 : 8), 8, d);
	if (g->wide)
		guest_set(g, AT_IDT + vector * 16 + 8, 8, offset >> 32);
}

struct guest_frame guest_frame(const struct guest *g, bool has_error)
{
	const uint8_t *top = g->ram + g->s.seg[CPU_SS].base + (uint32_t)g->s.gpr[CPU_RSP];
	struct guest_frame f = {0};

	if (has_error)
		memcpy(&f, top, sizeof(f));
	else
		memcpy(&f.eip, top, sizeof(f) - sizeof(f.error));
	return f;
}

static void common(struct guest *g, bool wide)
{
	memset(g->ram, 0, AT_PAGED);
	mem_written(&g->m->mem, 0, AT_PAGED);
	g->wide = wide;
	cpu_state_reset(&g->s, true);
	g->s.gpr[CPU_RDX] = 0;
	g->s.gdt = (struct cpu_table){AT_GDT, GDT_END - 1};
	for (unsigned v = 0; v < 256; v++)
		guest_set(g, AT_HANDLERS + v * 16, 1, 0xf4);
}

void guest_real(struct guest *g)
{
	common(g, false);
	g->s.idt = (struct cpu_table){0, 0x3ff};
	for (unsigned v = 0; v < 256; v++)
		guest_set(g, v * 4, 4, AT_HANDLERS + v * 16);
	g->s.seg[CPU_CS].sel = AT_CODE >> 4;
	g->s.seg[CPU_CS].base = AT_CODE;
	g->s.rip = 0;
	g->s.gpr[CPU_RSP] = AT_STACK0;
}

static void load(struct guest *g, unsigned seg, unsigned sel, unsigned attr)
{
	g->s.seg[seg] = (struct cpu_seg){0, FLAT, (uint16_t)sel, (uint16_t)attr};
}

/* What protected and long mode share. */
static void tables(struct guest *g, bool wide)
{
	unsigned tss = SEG_P | 9;

	common(g, wide);
	guest_descriptor(g, KCODE, 0, FLAT, wide ? CODE64 : CODE32);
	guest_descriptor(g, KDATA, 0, FLAT, DATA);
	guest_descriptor(g, UCODE, 0, FLAT, RING3 | (wide ? CODE64 : CODE32));
	guest_descriptor(g, UDATA, 0, FLAT, RING3 | DATA);
	guest_descriptor(g, TSS, AT_TSS, 0x7ff, tss | 2);
	guest_descriptor(g, CODE16, 0, 0xffff, SEG_P | SEG_S | 0xb);
	guest_descriptor(g, CONFORMING, 0, FLAT, (wide ? CODE64 : CODE32) | 4);
	guest_descriptor(g, ABSENT, 0, FLAT, DATA & ~SEG_P);
	guest_descriptor(g, UCODE32, 0, FLAT, RING3 | CODE32);
	guest_descriptor(g, EXEC_ONLY, 0, FLAT, CODE32 & ~2);
	guest_descriptor(g, READ_ONLY, 0, FLAT, DATA & ~2);
	for (unsigned v = 0; v < 256; v++)
		guest_gate(g, v, KCODE, AT_HANDLERS + v * 16, SEG_P | 14, 0);
	g->s.idt = (struct cpu_table){AT_IDT, wide ? 0xfff : 0x7ff};
	g->s.tr = (struct cpu_seg){AT_TSS, 0x7ff, TSS, (uint16_t)(tss | 2)};
	g->s.ldt = (struct cpu_seg){0};
	load(g, CPU_CS, KCODE, wide ? CODE64 : CODE32);
	for (unsigned i = 0; i < CPU_SEGS; i++)
		if (i != CPU_CS)
			load(g, i, KDATA, DATA);
	g->s.cr0 = CR0_PE | CR0_ET | CR0_NE;
	g->s.rip = AT_CODE;
	g->s.gpr[CPU_RSP] = AT_STACK0;
}

void guest_protected(struct guest *g)
{
	tables(g, false);
	guest_set(g, AT_TSS + 4, 4, AT_STACK0);
	guest_set(g, AT_TSS + 8, 2, KDATA);
	guest_descriptor(g, TSS2, AT_TSS2, 0x67, SEG_P | 9);
	guest_descriptor(g, LDT, AT_LDT, 0xf, SEG_P | 2);
}

void guest_long(struct guest *g)
{
	const uint64_t flags = 7; /* present, writable, user */

	tables(g, true);
	guest_set(g, AT_TSS + 4, 8, AT_STACK0);
	guest_set(g, AT_TSS + 36, 8, AT_IST);
	guest_set(g, AT_TABLES, 8, (AT_TABLES + 0x1000) | flags);
	guest_set(g, AT_TABLES + 0x1000, 8, (AT_TABLES + 0x2000) | flags);
	guest_set(g, AT_TABLES + 0x2000, 8, 0x80 | flags);
	guest_set(g, AT_TABLES + 0x2008, 8, (AT_TABLES + 0x3000) | flags);
	g->s.cr3 = AT_TABLES;
	g->s.cr4 = CR4_PAE;
	g->s.cr0 |= CR0_PG | CR0_WP;
	g->s.efer = EFER_LME | EFER_LMA | EFER_SCE;
}

void guest_ring3(struct guest *g)
{
	load(g, CPU_CS, UCODE, RING3 | (g->wide ? CODE64 : CODE32));
	for (unsigned i = 0; i < CPU_SEGS; i++)
		if (i != CPU_CS)
			load(g, i, UDATA, RING3 | DATA);
	g->s.gpr[CPU_RSP] = AT_STACK3;
}

enum engine_exit guest_run(struct guest *g)
{
	struct vcpu *v = &g->m->vcpu[0];
	enum engine_exit how;
	struct err e;

	g->s.mp = CPU_MP_RUNNING;
	must(g->m->engine->vcpu_set(v, &g->s, &e), &e);
	do
		how = g->m->engine->vcpu_run(v);
	while (how == ENGINE_EXIT_KICK);
	must(g->m->engine->vcpu_get(v, &g->s, &e), &e);
	return how;
}

int guest_vector(const struct guest *g)
{
	uint64_t rip = g->s.seg[CPU_CS].base + g->s.rip - 1;

	if (rip < AT_HANDLERS || rip >= AT_HANDLERS + 0x1000 || rip % 16 != 0)
		return -1;
	return (int)(rip - AT_HANDLERS) / 16;
}
