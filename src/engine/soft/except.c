/*
 * Delivery of exceptions and interrupts through the IDT (SDM 3A 6.8-6.15, the pseudo-code of INT n in
 * 2A), and what becomes of exceptions that come up meanwhile.
 *
 * All checks and all writes to the handler's stack precede the first change of a register, so an
 * exception in the middle finds the processor as it was.
 */
#include "engine/soft/far.h"

#define DR6_HIT 0xfu
#define DR7_GD  (1ull << 13)

struct gate {
	uint16_t sel;
	uint8_t type; /* enum seg_system */
	uint8_t ist;
	uint64_t offset;
};

/* What is being delivered. */
struct event {
	enum soft_event kind;
	const struct soft_exception *x;
	uint32_t flags; /* to push */
};

static bool is_software(enum soft_event kind)
{
	return kind == SOFT_INT_N || kind == SOFT_INT3 || kind == SOFT_INTO;
}

static bool is_gate(const struct soft_cpu *c, unsigned type)
{
	if (type == SEG_INT || type == SEG_TRAP)
		return true;
	return !seg_is_long(c) &&
	       (type == SEG_TASK_GATE || type == SEG_INT16 || type == SEG_TRAP16);
}

static struct gate read_gate(struct soft_cpu *c, const struct event *e)
{
	bool wide = seg_is_long(c);
	unsigned at = e->x->vector * (wide ? 16u : 8u);
	uint32_t error = e->x->vector * 8u + 2;
	struct gate g;
	uint64_t raw;
	gva_t va;

	if (at + (wide ? 15u : 7u) > c->idt.limit)
		soft_fault_error(c, EXC_GP, error);
	va = seg_linear(c, c->idt.base + at);
	raw = soft_ld64_sys(c, va);
	g.sel = (uint16_t)(raw >> 16);
	g.ist = raw >> 32 & 7;
	g.type = raw >> 40 & (SEG_S | SEG_TYPE);
	g.offset = (raw & 0xffff) | (raw >> 48) << 16;
	if (!is_gate(c, g.type) || (is_software(e->kind) && SEG_DPL(raw >> 40) < c->cpl))
		soft_fault_error(c, EXC_GP, error);
	if (!(raw >> 40 & SEG_P))
		soft_fault_error(c, EXC_NP, error);
	if (wide)
		g.offset |= (uint64_t)soft_ld32_sys(c, va + 8) << 32;
	else if (g.type < SEG_TSS)
		g.offset &= 0xffff;
	return g;
}

/* The handler's code segment; its selector's RPL is the handler's CPL. */
static struct cpu_seg handler_segment(struct soft_cpu *c, const struct gate *g)
{
	bool v86 = c->eflags & FLAG_VM;
	struct seg_desc d;
	struct cpu_seg cs;
	unsigned cpl;

	if (seg_is_null(g->sel))
		soft_fault_error(c, EXC_GP, 0);
	if (!seg_find(c, g->sel, &d) || !seg_is_code(d.attr) || SEG_DPL(d.attr) > c->cpl)
		seg_fault(c, EXC_GP, g->sel);
	if (seg_is_long(c) && (d.attr & (SEG_L | SEG_DB)) != SEG_L)
		seg_fault(c, EXC_GP, g->sel);
	if (!(d.attr & SEG_P))
		seg_fault(c, EXC_NP, g->sel);
	cpl = seg_is_conforming(d.attr) ? c->cpl : SEG_DPL(d.attr);
	if (v86 && cpl != 0)
		seg_fault(c, EXC_GP, g->sel);
	seg_mark(c, &d, 1, 0);
	cs = seg_unpack(&d);
	cs.sel = (uint16_t)((g->sel & ~3u) | cpl);
	far_check_rip(c, &cs, g->offset);
	return cs;
}

static void push_frame(struct soft_cpu *c, struct far_stack *s, const struct event *e)
{
	far_push(c, s, e->flags);
	far_push(c, s, c->seg[CPU_CS].sel);
	far_push(c, s, c->rip);
	if (e->x->has_error)
		far_push(c, s, e->x->error);
}

/* Everything has been checked and written: on to the handler. */
static void enter(struct soft_cpu *c, const struct gate *g, const struct cpu_seg *cs,
                  const struct far_stack *s)
{
	uint32_t gone = FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM;

	if (!(g->type & 1))
		gone |= FLAG_IF;
	far_stack_load(c, s);
	c->seg[CPU_CS] = *cs;
	c->cpl = cs->sel & 3;
	c->eflags &= ~gone;
	c->rip = g->offset;
}

/* 16- and 32-bit gates. */
static void deliver_legacy(struct soft_cpu *c, const struct event *e, const struct gate *g)
{
	static const uint8_t data[] = {CPU_GS, CPU_FS, CPU_DS, CPU_ES};
	struct cpu_seg cs = handler_segment(c, g);
	bool v86 = c->eflags & FLAG_VM;
	unsigned cpl = cs.sel & 3;
	struct far_stack s = far_stack_current(c, g->type >= SEG_TSS ? 4 : 2);

	if (cpl < c->cpl) {
		seg_inner_stack(c, cpl, &s.ss, &s.sp);
		s.user = false;
		s.error = s.ss.sel & 0xfffc;
		for (unsigned i = 0; v86 && i < ARRAY_LEN(data); i++)
			far_push(c, &s, c->seg[data[i]].sel);
		far_push(c, &s, c->seg[CPU_SS].sel);
		far_push(c, &s, c->gpr[CPU_RSP]);
	}
	push_frame(c, &s, e);
	for (unsigned i = 0; v86 && i < ARRAY_LEN(data); i++)
		c->seg[data[i]] = seg_null(0, 0);
	enter(c, g, &cs, &s);
}

/* 64-bit gates (SDM 3A 6.14): SS:RSP is always pushed, on a stack that is aligned to 16. */
static void deliver_long(struct soft_cpu *c, const struct event *e, const struct gate *g)
{
	struct cpu_seg cs = handler_segment(c, g);
	unsigned cpl = cs.sel & 3;
	struct far_stack s = far_stack_current(c, 8);

	s.wide = true;
	if (cpl < c->cpl) {
		s.ss = seg_null((uint16_t)cpl, cpl);
		s.user = false;
	}
	if (g->ist)
		s.sp = seg_tss_rsp(c, 28 + 8u * g->ist);
	else if (cpl < c->cpl)
		s.sp = seg_tss_rsp(c, 4 + 8 * cpl);
	s.sp &= ~15ull;
	far_push(c, &s, c->seg[CPU_SS].sel);
	far_push(c, &s, c->gpr[CPU_RSP]);
	push_frame(c, &s, e);
	enter(c, g, &cs, &s);
}

/* Real mode's table of far pointers (SDM 3B 20.1.4); no error codes. */
static void deliver_real(struct soft_cpu *c, const struct event *e)
{
	struct far_stack s = far_stack_current(c, 2);
	unsigned at = e->x->vector * 4u;
	uint32_t entry;

	if (at + 3 > c->idt.limit)
		soft_fault_error(c, EXC_GP, 0);
	entry = soft_ld32_sys(c, seg_linear(c, c->idt.base + at));
	far_push(c, &s, e->flags);
	far_push(c, &s, c->seg[CPU_CS].sel);
	far_push(c, &s, c->rip);
	far_stack_load(c, &s);
	c->seg[CPU_CS] = seg_real(c, CPU_CS, (uint16_t)(entry >> 16));
	c->eflags &= ~(FLAG_IF | FLAG_TF | FLAG_RF | FLAG_AC);
	c->rip = entry & 0xffff;
}

/* RF in the pushed flags (SDM 3B 17.3.1.1): set by faults, but not by instruction breakpoints. */
static uint32_t flags_to_push(const struct soft_cpu *c, enum soft_event kind,
                              const struct soft_exception *x)
{
	uint32_t flags = flags_get(c);
	bool trap = x->trap || (x->vector == EXC_DB && (x->dr6 & DR6_HIT));

	if (is_software(kind))
		return flags & ~FLAG_RF;
	return kind == SOFT_EXCEPTION && x->vector != EXC_DF && !trap ? flags | FLAG_RF : flags;
}

static void deliver(struct soft_cpu *c, enum soft_event kind, const struct soft_exception *x)
{
	struct event e = {kind, x, flags_to_push(c, kind, x)};
	struct gate g;

	if (!(c->cr0 & CR0_PE)) {
		deliver_real(c, &e);
	} else {
		g = read_gate(c, &e);
		if (g.type == SEG_TASK_GATE)
			far_task_switch(c, g.sel, TASK_EVENT, x->has_error ? x : NULL);
		else if (seg_is_long(c))
			deliver_long(c, &e, &g);
		else
			deliver_legacy(c, &e, &g);
	}
	c->shadow = 0;
	soft_mode_update(c);
}

void soft_deliver(struct soft_cpu *c, enum soft_event kind, const struct soft_exception *x)
{
	jmp_buf here, *outer = c->catch;

	if (setjmp(here) != 0) {
		c->catch = outer;
		/* EXT: not the program's fault. */
		if (!is_software(kind) && c->exc.has_error && c->exc.vector >= EXC_TS &&
		    c->exc.vector <= EXC_GP)
			c->exc.error |= 1;
		longjmp(*outer, 1);
	}
	c->catch = &here;
	deliver(c, kind, x);
	c->catch = outer;
}

static bool is_contributory(unsigned vector)
{
	return vector == EXC_DE || (vector >= EXC_TS && vector <= EXC_GP);
}

/* What an exception leaves in CR2, DR6 and DR7 before it is delivered. */
static void record(struct soft_cpu *c, const struct soft_exception *x)
{
	if (x->vector == EXC_PF) {
		c->cr2 = x->cr2;
	} else if (x->vector == EXC_DB) {
		c->dr[6] = (c->dr[6] & ~(uint64_t)DR6_HIT) | x->dr6;
		c->dr[7] &= ~DR7_GD;
	}
}

/* The second of two exceptions becomes a double fault (SDM 3A table 6-5). */
static bool doubles(unsigned first, unsigned second)
{
	if (first == EXC_PF)
		return second == EXC_PF || is_contributory(second);
	return is_contributory(first) && is_contributory(second);
}

void soft_exception(struct soft_cpu *c, const struct soft_exception *x)
{
	jmp_buf here, *outer = c->catch;
	struct soft_exception next;

	record(c, x);
	if (setjmp(here) == 0) {
		c->catch = &here;
		soft_deliver(c, SOFT_EXCEPTION, x);
		c->catch = outer;
		return;
	}
	c->catch = outer;
	next = c->exc;
	if (x->vector == EXC_DF && (next.vector == EXC_PF || is_contributory(next.vector))) {
		c->shutdown = true;
		return;
	}
	if (doubles(x->vector, next.vector)) {
		record(c, &next);
		next = (struct soft_exception){.vector = EXC_DF, .has_error = true};
	}
	soft_exception(c, &next);
}
