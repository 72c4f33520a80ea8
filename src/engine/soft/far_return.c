/* RET far and IRET in all modes (SDM 2A). */
#include "engine/soft/far.h"

/* What a return found on the stack. */
struct frame {
	uint64_t rip, sp;
	uint32_t flags;
	uint16_t cs, ss;
};

/* The segment that CS returns to; the selector's RPL is the new CPL. */
static struct cpu_seg return_segment(struct soft_cpu *c, uint16_t sel)
{
	unsigned rpl = sel & 3;
	struct seg_desc d;
	struct cpu_seg cs;

	if (seg_is_null(sel))
		soft_fault_error(c, EXC_GP, 0);
	if (!seg_find(c, sel, &d) || !seg_is_code(d.attr) || rpl < c->cpl)
		seg_fault(c, EXC_GP, sel);
	if (seg_is_conforming(d.attr) ? SEG_DPL(d.attr) > rpl : SEG_DPL(d.attr) != rpl)
		seg_fault(c, EXC_GP, sel);
	if (seg_is_long(c) && (d.attr & (SEG_L | SEG_DB)) == (SEG_L | SEG_DB))
		seg_fault(c, EXC_GP, sel);
	if (!(d.attr & SEG_P))
		seg_fault(c, EXC_NP, sel);
	seg_mark(c, &d, 1, 0);
	cs = seg_unpack(&d);
	cs.sel = sel;
	return cs;
}

static struct cpu_seg return_stack(struct soft_cpu *c, uint16_t sel, const struct cpu_seg *cs)
{
	unsigned cpl = cs->sel & 3;

	if (seg_is_null(sel) && seg_is_long(c) && (cs->attr & SEG_L) && cpl != 3)
		return seg_null(sel, cpl);
	return seg_check_stack(c, sel, cpl, EXC_GP);
}

/* Data segments that the outer ring may not use must not stay loaded. */
static void drop_inner(struct soft_cpu *c, unsigned cpl)
{
	static const uint8_t data[] = {CPU_ES, CPU_DS, CPU_FS, CPU_GS};

	for (unsigned i = 0; i < ARRAY_LEN(data); i++) {
		struct cpu_seg *s = &c->seg[data[i]];

		if ((s->attr & SEG_P) && SEG_DPL(s->attr) < cpl && !seg_is_conforming(s->attr))
			*s = seg_null(0, 0);
	}
}

/* Loads CS and, when new is given, SS:RSP.  All checks have been done. */
static void load(struct soft_cpu *c, const struct cpu_seg *cs, const struct far_stack *s)
{
	unsigned cpl = cs->sel & 3;

	if (cpl > c->cpl)
		drop_inner(c, cpl);
	c->seg[CPU_CS] = *cs;
	far_stack_load(c, s);
	c->cpl = (uint8_t)cpl;
}

/* The stack a return leaves behind: in the mode of the code it returns to. */
static struct far_stack outer_stack(struct soft_cpu *c, const struct frame *f,
                                    const struct cpu_seg *cs)
{
	return (struct far_stack){
		.ss = return_stack(c, f->ss, cs),
		.sp = f->sp,
		.wide = seg_is_long(c) && (cs->attr & SEG_L),
	};
}

static void return_real(struct soft_cpu *c, const struct frame *f, struct far_stack *s)
{
	if (f->rip > c->seg[CPU_CS].limit)
		soft_fault_error(c, EXC_GP, 0);
	far_stack_load(c, s);
	c->seg[CPU_CS] = seg_real(c, CPU_CS, f->cs);
}

static void op_ret_far(struct soft_cpu *c, const struct op *op)
{
	struct far_stack s = far_stack_current(c, op->size);
	struct frame f;
	struct cpu_seg cs;

	c->op = op;
	f.rip = far_pop(c, &s);
	f.cs = (uint16_t)far_pop(c, &s);
	s.sp += op->imm;
	if (seg_is_real(c)) {
		return_real(c, &f, &s);
	} else {
		cs = return_segment(c, f.cs);
		if ((cs.sel & 3u) > c->cpl) {
			f.sp = far_pop(c, &s);
			f.ss = (uint16_t)far_pop(c, &s);
			s = outer_stack(c, &f, &cs);
			s.sp += op->imm;
		}
		far_check_rip(c, &cs, f.rip);
		load(c, &cs, &s);
	}
	soft_mode_update(c);
	far_leave(c, op, f.rip);
}

/* Flags that IRET takes from the stack at the current privilege. */
static uint32_t iret_flags(const struct soft_cpu *c, unsigned size)
{
	unsigned iopl = (c->eflags & FLAG_IOPL) >> FLAG_IOPL_SHIFT;
	bool real = !(c->cr0 & CR0_PE), v86 = !real && (c->eflags & FLAG_VM);
	uint32_t mask = FLAGS_ARITH | FLAG_TF | FLAG_DF | FLAG_NT;

	if (c->cpl <= iopl)
		mask |= FLAG_IF;
	if (c->cpl == 0 && !v86)
		mask |= FLAG_IOPL;
	if (size > 2)
		mask |= FLAG_RF | FLAG_AC | FLAG_ID;
	if (size > 2 && c->cpl == 0 && !real)
		mask |= FLAG_VIF | FLAG_VIP;
	return mask;
}

static void iret_real(struct soft_cpu *c, const struct op *op, const struct frame *f,
                      struct far_stack *s)
{
	uint32_t mask = iret_flags(c, op->size);

	return_real(c, f, s);
	far_flags_set(c, f->flags, mask);
}

/* To virtual 8086 mode: nine doublewords; the rest of them follows the flags. */
static void iret_v86(struct soft_cpu *c, const struct frame *f, struct far_stack *s)
{
	static const uint8_t data[] = {CPU_ES, CPU_DS, CPU_FS, CPU_GS};
	uint32_t sp = (uint32_t)far_pop(c, s);
	uint16_t ss = (uint16_t)far_pop(c, s), sel[ARRAY_LEN(data)];

	for (unsigned i = 0; i < ARRAY_LEN(data); i++)
		sel[i] = (uint16_t)far_pop(c, s);
	far_flags_set(c, f->flags, ~0u);
	c->seg[CPU_CS] = seg_real(c, CPU_CS, f->cs);
	c->seg[CPU_SS] = seg_real(c, CPU_SS, ss);
	for (unsigned i = 0; i < ARRAY_LEN(data); i++)
		c->seg[data[i]] = seg_real(c, data[i], sel[i]);
	c->gpr[CPU_RSP] = sp;
	c->cpl = 3;
}

static void iret_protected(struct soft_cpu *c, const struct op *op, struct frame *f,
                           struct far_stack *s)
{
	uint32_t mask = iret_flags(c, op->size);
	struct cpu_seg cs;

	if (op->size > 2 && (f->flags & FLAG_VM) && c->cpl == 0 && !seg_is_long(c)) {
		iret_v86(c, f, s);
		return;
	}
	cs = return_segment(c, f->cs);
	if (s->wide || (cs.sel & 3u) > c->cpl) {
		f->sp = far_pop(c, s);
		f->ss = (uint16_t)far_pop(c, s);
		*s = outer_stack(c, f, &cs);
	}
	far_check_rip(c, &cs, f->rip);
	load(c, &cs, s);
	far_flags_set(c, f->flags, mask);
}

/* IRET with NT set: back to the task that this one was called from. */
static void iret_task(struct soft_cpu *c, const struct op *op)
{
	uint16_t link;

	if (seg_is_long(c))
		soft_fault_error(c, EXC_GP, 0);
	link = soft_ld16_sys(c, seg_linear(c, c->tr.base));
	c->rip = op_end(c, op);
	far_task_switch(c, link, TASK_IRET, NULL);
	c->instructions += op->nth;
}

static void op_iret(struct soft_cpu *c, const struct op *op)
{
	struct far_stack s = far_stack_current(c, op->size);
	bool real = seg_is_real(c);
	struct frame f;

	c->op = op;
	c->nmi_masked = false;
	if ((c->eflags & FLAG_VM) && (c->eflags & FLAG_IOPL) != FLAG_IOPL)
		soft_fault_error(c, EXC_GP, 0);
	if (!real && (c->eflags & FLAG_NT))
		return iret_task(c, op);
	f.rip = far_pop(c, &s);
	f.cs = (uint16_t)far_pop(c, &s);
	f.flags = (uint32_t)far_pop(c, &s);
	if (real)
		iret_real(c, op, &f, &s);
	else
		iret_protected(c, op, &f, &s);
	soft_mode_update(c);
	far_leave(c, op, f.rip);
}

bool decode_far_return(struct soft_cpu *c, const struct decoded *cd, struct op *op)
{
	struct decoded *d = (struct decoded *)cd; /* d->ends is an output */

	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_RET:
		op->imm &= 0xffff;
		op->fn = op_ret_far;
		break;
	case ZYDIS_MNEMONIC_IRET:
	case ZYDIS_MNEMONIC_IRETD:
	case ZYDIS_MNEMONIC_IRETQ:
		op->fn = op_iret;
		break;
	default:
		return false;
	}
	op->flags |= OP_STACK;
	d->ends = true;
	return true;
}
