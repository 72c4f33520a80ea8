/*
 * The software engine as executors: its interpreter alone, and with its translator, which translates
 * every block before it is first executed.  Each is a machine of one vCPU, run on the caller's thread.
 *
 * Guest-physical memory is one range; the box's data pages are out of order in it, so that an access
 * over a page's end that ignores paging shows.  All that belongs to ring 0 lies in the upper half of
 * the address space: each exception's handler is one HLT, on a stack of its own (IST).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "case.h"
#include "engine/soft/engine.h"
#include "machine/machine.h"

#define RAM 0x40000ull
/* Guest-physical pages */
#define PML4     0x1000
#define PDPT     0x2000
#define PD       0x3000
#define PT_CODE  0x4000
#define PT_DATA  0x5000
#define SYS_PDPT 0x6000
#define SYS_PD   0x7000
#define SYS_PT   0x8000
#define CODE     0x10000
#define DATA     0x20000
#define SYSTEM   0x30000 /* descriptors, handlers, stack: one page each */
/* Linear */
#define SYS        0xffff800000000000ull
#define SYS_GDT    (SYS + 0x000)
#define SYS_LDT    (SYS + 0x100)
#define SYS_TSS    (SYS + 0x200)
#define SYS_IDT    (SYS + 0x800)
#define SYS_HLT    (SYS + 0x1000)
#define SYS_STACK  (SYS + 0x3000) /* its top */
#define HLT_STEP   16
#define VECTORS    32
#define GDT_LIMIT  0x5f
#define SEL_KERNEL 0x10
#define SEL_TSS    0x40

#define PTE_P  1ull
#define PTE_W  2ull
#define PTE_U  4ull
#define PTE_NX (1ull << 63)

struct instance {
	struct loop *loop;
	struct machine *m;
	struct cpu_state base;
	struct box box;
	uint8_t *frame; /* where the exception's frame ends */
};
static struct instance interpreter, translator;
static struct instance *s; /* the one at work */

static void put64(gpa_t gpa, uint64_t v)
{
	memcpy(mem_ptr(&s->m->mem, gpa, 8, true), &v, 8);
}

static gpa_t data_page(unsigned i)
{
	return DATA + (BOX_DATA_PAGES - 1 - i) * 2 * BOX_PAGE;
}

static void map_box(void)
{
	const uint64_t user = PTE_P | PTE_W | PTE_U;

	put64(PML4, PDPT | user);
	put64(PDPT, PD | user);
	put64(PD + (BOX_CODE >> 21) * 8, PT_CODE | user);
	put64(PD + (BOX_DATA >> 21) * 8, PT_DATA | user);
	for (unsigned i = 0; i < BOX_CODE_PAGES; i++)
		put64(PT_CODE + i * 8, (CODE + i * BOX_PAGE) | PTE_P | PTE_U |
		                               (i * BOX_PAGE >= BOX_CODE_WRITABLE ? PTE_W : 0));
	for (unsigned i = 0; i < BOX_DATA_PAGES; i++)
		put64(PT_DATA + i * 8,
		      data_page(i) | PTE_P | PTE_U | PTE_NX | (i < BOX_DATA_RW ? PTE_W : 0));
	put64(PML4 + (SYS >> 39 & 511) * 8, SYS_PDPT | PTE_P | PTE_W);
	put64(SYS_PDPT, SYS_PD | PTE_P | PTE_W);
	put64(SYS_PD, SYS_PT | PTE_P | PTE_W);
	for (unsigned i = 0; i < 3; i++)
		put64(SYS_PT + i * 8, (SYSTEM + i * BOX_PAGE) | PTE_P | PTE_W);
}

static uint64_t descriptor(uint32_t base, uint32_t limit, uint16_t attr)
{
	return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)attr << 40 |
	       (uint64_t)(limit >> 16 & 15) << 48 | (uint64_t)(base >> 24) << 56;
}

static void put_system_descriptor(gpa_t gpa, uint64_t base, uint32_t limit, uint16_t attr)
{
	put64(gpa, descriptor((uint32_t)base, limit, attr));
	put64(gpa + 8, base >> 32);
}

static void put_gate(unsigned vector)
{
	uint64_t handler = SYS_HLT + vector * HLT_STEP;
	gpa_t gpa = SYSTEM + (SYS_IDT - SYS) + vector * 16;
	/* Linux lets programs use INT 3 and INT 4. */
	uint64_t dpl = vector == EXC_BP || vector == EXC_OF ? 3 : 0;

	put64(gpa, (handler & 0xffff) | SEL_KERNEL << 16 | 1ull << 32 | 0x8eull << 40 | dpl << 45 |
	                   (handler >> 16 & 0xffff) << 48);
	put64(gpa + 8, handler >> 32);
}

static void fill_system(void)
{
	const uint16_t user = SEG_S | SEG_P | 3 << SEG_DPL_SHIFT;
	const gpa_t gdt = SYSTEM + (SYS_GDT - SYS), ldt = SYSTEM + (SYS_LDT - SYS);

	put64(gdt + SEL_KERNEL, descriptor(0, 0xfffff, SEG_S | SEG_P | 0xb | SEG_L | SEG_G));
	put64(gdt + (SEL_CODE32 & ~7), descriptor(0, 0xfffff, user | 0xb | SEG_DB | SEG_G));
	put64(gdt + (SEL_DATA & ~7), descriptor(0, 0xfffff, user | 3 | SEG_DB | SEG_G));
	put64(gdt + (SEL_CODE64 & ~7), descriptor(0, 0xfffff, user | 0xb | SEG_L | SEG_G));
	put_system_descriptor(gdt + SEL_TSS, SYS_TSS, 0x67, SEG_P | 0xb);
	for (unsigned i = 0; i < BOX_SEGMENTS; i++)
		put64(ldt + i * 8,
		      descriptor(box_segment[i].base, box_segment[i].limit, box_segment[i].attr));
	put64(SYSTEM + (SYS_TSS - SYS) + 4, SYS_STACK);        /* RSP0 */
	put64(SYSTEM + (SYS_TSS - SYS) + 0x24, SYS_STACK);     /* IST1 */
	put64(SYSTEM + (SYS_TSS - SYS) + 0x60, 0x68ull << 48); /* no I/O bitmap */
	for (unsigned i = 0; i < VECTORS; i++) {
		put_gate(i);
		*(uint8_t *)mem_ptr(&s->m->mem, SYSTEM + BOX_PAGE + i * HLT_STEP, 1, true) = 0xf4;
	}
}

static void fill_state(struct cpu_state *c)
{
	cpu_state_reset(c, true);
	c->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
	c->cr3 = PML4;
	c->cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE |
	         CR4_UMIP;
	c->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	c->xcr0 = 7;
	c->gdt = (struct cpu_table){SYS_GDT, GDT_LIMIT};
	c->idt = (struct cpu_table){SYS_IDT, VECTORS * 16 - 1};
	c->ldt = (struct cpu_seg){SYS_LDT, BOX_SEGMENTS * 8 - 1, 0x50, SEG_P | 2};
	c->tr = (struct cpu_seg){SYS_TSS, 0x67, SEL_TSS, SEG_P | 0xb};
}

/* As loading the selector would have left the segment register. */
static struct cpu_seg segment(uint16_t sel)
{
	const uint16_t user = SEG_S | SEG_P | 3 << SEG_DPL_SHIFT | SEG_G;
	const struct box_segment *b;

	switch (sel) {
	case 0:
		return (struct cpu_seg){0};
	case SEL_CODE64:
		return (struct cpu_seg){0, UINT32_MAX, sel, user | 0xb | SEG_L};
	case SEL_CODE32:
		return (struct cpu_seg){0, UINT32_MAX, sel, user | 0xb | SEG_DB};
	case SEL_DATA:
		return (struct cpu_seg){0, UINT32_MAX, sel, user | 3 | SEG_DB};
	default:
		b = &box_segment[sel >> 3];
		return (struct cpu_seg){b->base, b->limit, sel, b->attr};
	}
}

static void make_model(struct machine *m)
{
	struct cpuid_wish w = {0};

	m->tsc_khz = 1000000;
	engine_soft.abilities(&w);
	w.cpus = 1;
	w.tsc_khz = m->tsc_khz;
	cpuid_model_make(&m->cpuid, &w);
}

static int soft_open(struct box *box)
{
	struct err e = {0};
	int rc;

	rc = loop_new("cpu-test", &s->loop, &e);
	if (rc >= 0)
		rc = machine_new(1, s->loop, true, &s->m, &e);
	if (rc >= 0)
		rc = mem_add(&s->m->mem, "ram", MEM_RAM, 0, RAM, &e);
	if (rc < 0)
		goto out;
	map_box();
	fill_system();
	make_model(s->m);
	rc = machine_open_engine(s->m, &engine_soft, &e);
	if (rc < 0)
		goto out;
	fill_state(&s->base);
	s->box.code = mem_ptr(&s->m->mem, CODE, BOX_CODE_PAGES * BOX_PAGE, true);
	for (unsigned i = 0; i < BOX_DATA_PAGES; i++)
		s->box.data[i] = mem_ptr(&s->m->mem, data_page(i), BOX_PAGE, true);
	s->frame = (uint8_t *)mem_ptr(&s->m->mem, SYSTEM, 3 * BOX_PAGE, true) + (SYS_STACK - SYS);
	*box = s->box;
	return 0;
out:
	fprintf(stderr, "soft executor: %s\n", e.text);
	return rc;
}

static void soft_close(void)
{
	machine_free(s->m);
	loop_free(s->loop);
}

static void code_changed(unsigned offset, unsigned len)
{
	mem_written(&s->m->mem, CODE + offset, len);
}

static bool has_error(unsigned vector)
{
	return vector == EXC_DF || (vector >= EXC_TS && vector <= EXC_PF) || vector == EXC_AC;
}

static void read_frame(const struct cpu_state *c, struct outcome *o)
{
	/* [error], RIP, CS, RFLAGS, RSP, SS, up to the stack's top */
	const uint8_t *f = s->frame - 40;

	o->vector = (unsigned)((c->rip - 1 - SYS_HLT) / HLT_STEP);
	o->error = 0;
	if (has_error(o->vector))
		memcpy(&o->error, f - 8, 4);
	o->cr2 = o->vector == EXC_PF ? c->cr2 : 0;
	memcpy(o->out.gpr, c->gpr, sizeof(o->out.gpr));
	memcpy(&o->out.rip, f, 8);
	memcpy(&o->out.rflags, f + 16, 8);
	memcpy(&o->out.gpr[CPU_RSP], f + 24, 8);
	o->out.gs_base = c->seg[CPU_GS].base;
	memcpy(&o->cs, f + 8, 2);
	memcpy(&o->ss, f + 32, 2);
	o->ds = c->seg[CPU_DS].sel;
	o->es = c->seg[CPU_ES].sel;
	o->gs = c->seg[CPU_GS].sel;
	memcpy(o->out.xsave, c->xsave, CASE_XSAVE);
}

static void soft_run(const struct cpu_case *c, struct outcome *o)
{
	static struct cpu_state state;
	struct vcpu *v = &s->m->vcpu[0];

	state = s->base;
	memcpy(state.gpr, c->in.gpr, sizeof(state.gpr));
	state.rip = c->in.rip;
	state.rflags = c->in.rflags;
	state.seg[CPU_CS] = segment(c->cs);
	state.seg[CPU_SS] = segment(c->ss);
	state.seg[CPU_DS] = segment(c->ds);
	state.seg[CPU_ES] = segment(c->es);
	state.seg[CPU_FS] = (struct cpu_seg){0};
	state.seg[CPU_GS] = (struct cpu_seg){.base = c->in.gs_base};
	memcpy(state.xsave, c->in.xsave, CASE_XSAVE);
	o->timeout = true;
	if (engine_soft.vcpu_set(v, &state, NULL) < 0)
		return;
	if (engine_soft.vcpu_run(v) != ENGINE_EXIT_HALT ||
	    engine_soft.vcpu_get(v, &state, NULL) < 0)
		return;
	o->timeout = false;
	read_frame(&state, o);
}

static void soft_stop(void *context)
{
	engine_soft.vcpu_kick(&s->m->vcpu[0]);
}

const struct cpuid_model *soft_model(void)
{
	return &interpreter.m->cpuid;
}

uint64_t soft_translated(void)
{
	struct json *j = engine_soft.stats(translator.m);
	uint64_t blocks = 0;

	if (json_to_u64(json_get(j, "translated_blocks"), &blocks) < 0)
		blocks = 0;
	json_free(j);
	return blocks;
}

/* The executors differ in the instance that they make current. */
#define EXECUTOR(instance, after, title)                                        \
	static int instance##_open(struct box *box)                             \
	{                                                                       \
		s = &instance;                                                  \
		engine_soft_translate_after(after);                             \
		engine_soft_validate(ENGINE_SOFT_VALIDATE_ABORT);               \
		return soft_open(box);                                          \
	}                                                                       \
	static void instance##_close(void)                                      \
	{                                                                       \
		s = &instance;                                                  \
		soft_close();                                                   \
	}                                                                       \
	static void instance##_code_changed(unsigned offset, unsigned len)      \
	{                                                                       \
		s = &instance;                                                  \
		code_changed(offset, len);                                      \
	}                                                                       \
	static void instance##_run(const struct cpu_case *c, struct outcome *o) \
	{                                                                       \
		s = &instance;                                                  \
		soft_run(c, o);                                                 \
	}                                                                       \
	const struct executor executor_##instance = {                           \
		.name = title,                                                  \
		.open = instance##_open,                                        \
		.close = instance##_close,                                      \
		.code_changed = instance##_code_changed,                        \
		.run = instance##_run,                                          \
		.stop = soft_stop,                                              \
	};
EXECUTOR(interpreter, 0, "interpreter")
EXECUTOR(translator, 1, "translator")
