/* JMP and CALL far: code segments, call gates, TSSs and task gates (SDM 3A 5.8, 2A JMP and CALL). */
#include "engine/soft/far.h"

struct target {
	uint16_t sel;
	uint64_t offset;
};

static struct target target_of(struct soft_cpu *c, const struct op *op)
{
	gva_t va;

	if (!(op->flags & OP_MEM))
		return (struct target){(uint16_t)op->disp, op->imm};
	va = op_ea(c, op, op->size + 2, false);
	return (struct target){soft_ld16(c, va + op->size), mem_get(c, va, op->size)};
}

/* The return address on the stack; s is not loaded yet. */
static void push_return(struct soft_cpu *c, const struct op *op, struct far_stack *s)
{
	far_push(c, s, c->seg[CPU_CS].sel);
	far_push(c, s, op_end(c, op));
}

static void jump_real(struct soft_cpu *c, const struct op *op, const struct target *t, bool call)
{
	struct far_stack s = far_stack_current(c, op->size);

	if (t->offset > c->seg[CPU_CS].limit)
		soft_fault_error(c, EXC_GP, 0);
	if (call) {
		push_return(c, op, &s);
		far_stack_load(c, &s);
	}
	c->seg[CPU_CS] = seg_real(c, CPU_CS, t->sel);
	soft_mode_update(c);
	far_leave(c, op, t->offset);
}

/* Straight to a code segment: the privilege stays. */
static void jump_segment(struct soft_cpu *c, const struct op *op, const struct target *t,
                         struct seg_desc *d, bool call)
{
	struct far_stack s = far_stack_current(c, op->size);
	unsigned dpl = SEG_DPL(d->attr);
	struct cpu_seg cs;

	if (!seg_is_code(d->attr))
		seg_fault(c, EXC_GP, t->sel);
	if (seg_is_conforming(d->attr) ? dpl > c->cpl : (t->sel & 3u) > c->cpl || dpl != c->cpl)
		seg_fault(c, EXC_GP, t->sel);
	if (seg_is_long(c) && (d->attr & (SEG_L | SEG_DB)) == (SEG_L | SEG_DB))
		seg_fault(c, EXC_GP, t->sel);
	if (!(d->attr & SEG_P))
		seg_fault(c, EXC_NP, t->sel);
	seg_mark(c, d, 1, 0);
	cs = seg_unpack(d);
	cs.sel = (uint16_t)((t->sel & ~3u) | c->cpl);
	far_check_rip(c, &cs, t->offset);
	if (call) {
		push_return(c, op, &s);
		far_stack_load(c, &s);
	}
	c->seg[CPU_CS] = cs;
	soft_mode_update(c);
	far_leave(c, op, t->offset);
}

/* Where a call gate leads, as far as its descriptor says. */
struct call_gate {
	uint16_t sel;
	uint64_t offset;
	unsigned size;  /* of what is pushed */
	unsigned count; /* parameters */
};

static struct call_gate read_gate(struct soft_cpu *c, const struct seg_desc *d)
{
	struct call_gate g = {
		.sel = (uint16_t)(d->lo >> 16),
		.offset = (d->lo & 0xffff) | (d->hi & 0xffff0000),
		.size = 4,
		.count = d->hi & 31,
	};
	uint64_t upper;

	if (SEG_DPL(d->attr) < c->cpl || SEG_DPL(d->attr) < (d->sel & 3u))
		seg_fault(c, EXC_GP, d->sel);
	if (!(d->attr & SEG_P))
		seg_fault(c, EXC_NP, d->sel);
	if (seg_is_long(c)) {
		/* 16 bytes, the upper half has type 0. */
		if (((d->sel & ~7u) + 15) > (d->sel & 4 ? c->ldt.limit : c->gdt.limit))
			seg_fault(c, EXC_GP, d->sel);
		upper = soft_ld64_sys(c, d->at + 8);
		if ((upper >> 40 & 0x1f) != 0)
			seg_fault(c, EXC_GP, d->sel);
		g.offset |= upper << 32;
		g.size = 8;
		g.count = 0;
	} else if ((d->attr & SEG_TYPE) == SEG_CALL16) {
		g.offset &= 0xffff;
		g.size = 2;
	}
	return g;
}

/* The code segment behind a gate; its selector's RPL is the new CPL. */
static struct cpu_seg gate_segment(struct soft_cpu *c, const struct call_gate *g, bool call)
{
	struct seg_desc d;
	struct cpu_seg cs;
	unsigned dpl, cpl = c->cpl;

	if (seg_is_null(g->sel))
		soft_fault_error(c, EXC_GP, 0);
	if (!seg_find(c, g->sel, &d) || !seg_is_code(d.attr))
		seg_fault(c, EXC_GP, g->sel);
	dpl = SEG_DPL(d.attr);
	if (dpl > cpl || (!call && !seg_is_conforming(d.attr) && dpl != cpl))
		seg_fault(c, EXC_GP, g->sel);
	if (seg_is_long(c) && (d.attr & (SEG_L | SEG_DB)) != SEG_L)
		seg_fault(c, EXC_GP, g->sel);
	if (!(d.attr & SEG_P))
		seg_fault(c, EXC_NP, g->sel);
	if (!seg_is_conforming(d.attr))
		cpl = dpl;
	seg_mark(c, &d, 1, 0);
	cs = seg_unpack(&d);
	cs.sel = (uint16_t)((g->sel & ~3u) | cpl);
	far_check_rip(c, &cs, g->offset);
	return cs;
}

/* The inner ring's stack with the caller's SS:RSP and the parameters on it. */
static struct far_stack inner_stack(struct soft_cpu *c, const struct call_gate *g, unsigned cpl)
{
	struct far_stack old = far_stack_current(c, g->size), s = old;
	uint64_t param[31];

	s.user = false;
	if (seg_is_long(c)) {
		s.wide = true;
		s.ss = seg_null((uint16_t)cpl, cpl);
		s.sp = seg_tss_rsp(c, 4 + 8 * cpl);
	} else {
		seg_inner_stack(c, cpl, &s.ss, &s.sp);
		s.error = s.ss.sel & 0xfffc;
	}
	for (unsigned i = 0; i < g->count; i++)
		param[i] = far_pop(c, &old);
	far_push(c, &s, c->seg[CPU_SS].sel);
	far_push(c, &s, c->gpr[CPU_RSP]);
	for (unsigned i = g->count; i-- > 0;)
		far_push(c, &s, param[i]);
	return s;
}

static void jump_gate(struct soft_cpu *c, const struct op *op, const struct seg_desc *d, bool call)
{
	struct call_gate g = read_gate(c, d);
	struct cpu_seg cs = gate_segment(c, &g, call);
	unsigned cpl = cs.sel & 3;
	struct far_stack s;

	if (call) {
		if (cpl < c->cpl) {
			s = inner_stack(c, &g, cpl);
		} else {
			s = far_stack_current(c, g.size);
			s.wide = seg_is_long(c);
		}
		push_return(c, op, &s);
		far_stack_load(c, &s);
	}
	c->seg[CPU_CS] = cs;
	c->cpl = (uint8_t)cpl;
	soft_mode_update(c);
	far_leave(c, op, g.offset);
}

/* To a task, directly or through a gate. */
static void jump_task(struct soft_cpu *c, const struct op *op, const struct seg_desc *d, bool call)
{
	uint16_t tss = d->sel;

	if (SEG_DPL(d->attr) < c->cpl || SEG_DPL(d->attr) < (d->sel & 3u))
		seg_fault(c, EXC_GP, d->sel);
	if ((d->attr & SEG_TYPE) == SEG_TASK_GATE) {
		if (!(d->attr & SEG_P))
			seg_fault(c, EXC_NP, d->sel);
		tss = (uint16_t)(d->lo >> 16);
	}
	c->rip = op_end(c, op);
	far_task_switch(c, tss, call ? TASK_CALL : TASK_JMP, NULL);
	c->instructions += op->nth;
}

static void transfer(struct soft_cpu *c, const struct op *op, bool call)
{
	struct target t = target_of(c, op);
	struct seg_desc d;
	unsigned type;

	if (seg_is_real(c))
		return jump_real(c, op, &t, call);
	if (seg_is_null(t.sel))
		soft_fault_error(c, EXC_GP, 0);
	if (!seg_find(c, t.sel, &d))
		seg_fault(c, EXC_GP, t.sel);
	if (d.attr & SEG_S)
		return jump_segment(c, op, &t, &d, call);
	type = d.attr & SEG_TYPE;
	if (type == SEG_CALL || (type == SEG_CALL16 && !seg_is_long(c)))
		return jump_gate(c, op, &d, call);
	if (!seg_is_long(c) && (type == SEG_TSS || type == SEG_TSS16 || type == SEG_TASK_GATE))
		return jump_task(c, op, &d, call);
	seg_fault(c, EXC_GP, t.sel);
}

static void op_jmp_far(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	transfer(c, op, false);
}

static void op_call_far(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	transfer(c, op, true);
}

bool decode_far_jump(struct soft_cpu *c, const struct decoded *cd, struct op *op)
{
	struct decoded *d = (struct decoded *)cd; /* d->ends is an output */
	const ZydisDecodedOperand *o = &d->operand[0];
	bool call = d->insn.mnemonic == ZYDIS_MNEMONIC_CALL;

	if (!call && d->insn.mnemonic != ZYDIS_MNEMONIC_JMP)
		return false;
	if (o->type == ZYDIS_OPERAND_TYPE_POINTER) {
		op->disp = o->ptr.segment;
		op->imm = o->ptr.offset;
	}
	d->ends = true;
	op->fn = call ? op_call_far : op_jmp_far;
	return true;
}
