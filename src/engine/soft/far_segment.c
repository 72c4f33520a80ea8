/* Segment registers in instructions: MOV, PUSH, POP, LDS.., and LAR, LSL, VERR, VERW, ARPL. */
#include "engine/soft/far.h"
#include "engine/soft/stack.h"

/* Loads a checked segment and goes on: on the short way when the mode is as it was. */
static void load(struct soft_cpu *c, const struct op *op, unsigned seg, const struct cpu_seg *s)
{
	uint32_t mode = c->mode;

	c->seg[seg] = *s;
	soft_mode_update(c);
	if (c->mode == mode && c->shadow == 0)
		return op_jump(c, op, op_end(c, op));
	return far_leave(c, op, op_end(c, op));
}

/* MOV and POP of SS hold off interrupts and debug traps until the next instruction is done. */
static void shade(struct soft_cpu *c, unsigned seg)
{
	if (seg == CPU_SS)
		c->shadow = 2;
}

static uint16_t rm16(struct soft_cpu *c, const struct op *op)
{
	if (op->flags & OP_MEM)
		return soft_ld16(c, op_ea(c, op, 2, false));
	return (uint16_t)c->gpr[op->rm];
}

static void op_mov_to_seg(struct soft_cpu *c, const struct op *op)
{
	struct cpu_seg s;

	c->op = op;
	s = seg_check(c, op->reg, rm16(c, op));
	shade(c, op->reg);
	return load(c, op, op->reg, &s);
}

static void op_mov_from_seg(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	if (op->flags & OP_MEM)
		soft_st16(c, op_ea(c, op, 2, true), c->seg[op->reg].sel);
	else
		reg_set(c, op->rm, op->size, false, c->seg[op->reg].sel);
	return op_next(c, op);
}

static void op_push_seg(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	stack_push(c, op->size, c->seg[op->reg].sel);
	return op_next(c, op);
}

static void op_pop_seg(struct soft_cpu *c, const struct op *op)
{
	struct cpu_seg s;

	c->op = op;
	s = seg_check(c, op->reg, (uint16_t)stack_peek(c, 0, op->size));
	stack_set(c, c->gpr[CPU_RSP] + op->size);
	shade(c, op->reg);
	return load(c, op, op->reg, &s);
}

/* LDS LES LFS LGS LSS: offset, then selector; n is the segment register. */
static void op_load_far(struct soft_cpu *c, const struct op *op)
{
	struct cpu_seg s;
	uint64_t offset;
	gva_t va;

	c->op = op;
	va = op_ea(c, op, op->size + 2, false);
	offset = mem_get(c, va, op->size);
	s = seg_check(c, op->n, soft_ld16(c, va + op->size));
	reg_set(c, op->reg, op->size, false, offset);
	return load(c, op, op->n, &s);
}

static void set_zero(struct soft_cpu *c, bool on)
{
	c->aflags = (uint16_t)(on ? c->aflags | AF_ZF : c->aflags & ~AF_ZF);
}

/* May the current privilege and the selector's see the descriptor? */
static bool visible(const struct soft_cpu *c, const struct seg_desc *d)
{
	unsigned dpl = SEG_DPL(d->attr);

	return seg_is_conforming(d->attr) || (c->cpl <= dpl && (d->sel & 3u) <= dpl);
}

/* System types that LAR (gates: true) and LSL can look at. */
static bool has_view(const struct soft_cpu *c, uint16_t attr, bool gates)
{
	if (attr & SEG_S)
		return true;
	switch (attr & SEG_TYPE) {
	case SEG_LDT:
	case SEG_TSS:
	case SEG_TSS_BUSY:
		return true;
	case SEG_TSS16:
	case SEG_TSS16_BUSY:
		return !seg_is_long(c);
	case SEG_CALL:
		return gates;
	case SEG_CALL16:
	case SEG_TASK_GATE:
		return gates && !seg_is_long(c);
	default:
		return false;
	}
}

/* LAR (n = 1), LSL (0) */
static NOINLINE void do_lar_lsl(struct soft_cpu *c, const struct op *op)
{
	struct seg_desc d;
	uint16_t sel;
	bool ok;

	c->op = op;
	if (seg_is_real(c))
		soft_fault(c, EXC_UD);
	sel = rm16(c, op);
	ok = !seg_is_null(sel) && seg_find(c, sel, &d) && has_view(c, d.attr, op->n) &&
	     visible(c, &d);
	set_zero(c, ok);
	if (ok)
		reg_set(c, op->reg, op->size, false,
		        op->n ? d.hi & 0xffff00 : seg_unpack(&d).limit);
}
OP_OF(lar_lsl)

/* VERR (n = 0), VERW (1) */
static NOINLINE void do_verify(struct soft_cpu *c, const struct op *op)
{
	struct seg_desc d;
	uint16_t sel;

	c->op = op;
	if (seg_is_real(c))
		soft_fault(c, EXC_UD);
	sel = rm16(c, op);
	set_zero(c, !seg_is_null(sel) && seg_find(c, sel, &d) && visible(c, &d) &&
	                    (op->n ? seg_is_writable(d.attr) : seg_is_readable(d.attr)));
}
OP_OF(verify)

static void op_arpl(struct soft_cpu *c, const struct op *op)
{
	uint16_t rpl = (uint16_t)(c->gpr[op->reg] & 3), v;
	gva_t va = 0;

	c->op = op;
	if (seg_is_real(c))
		soft_fault(c, EXC_UD);
	/* Memory need only be writable when it changes. */
	if (op->flags & OP_MEM)
		va = op_ea(c, op, 2, false);
	v = op->flags & OP_MEM ? soft_ld16(c, va) : (uint16_t)c->gpr[op->rm];
	if ((v & 3) >= rpl) {
		set_zero(c, false);
		return op_next(c, op);
	}
	v = (uint16_t)((v & ~3u) | rpl);
	if (op->flags & OP_MEM)
		soft_st16(c, op_ea(c, op, 2, true), v);
	else
		reg_set(c, op->rm, 2, false, v);
	set_zero(c, true);
	return op_next(c, op);
}

/* The number of a segment register operand, or -1. */
static int segment(const ZydisDecodedOperand *o)
{
	if (o->type != ZYDIS_OPERAND_TYPE_REGISTER ||
	    ZydisRegisterGetClass(o->reg.value) != ZYDIS_REGCLASS_SEGMENT)
		return -1;
	return ZydisRegisterGetId(o->reg.value);
}

static bool decode_moves(struct decoded *d, struct op *op)
{
	unsigned from = d->insn.mnemonic == ZYDIS_MNEMONIC_MOV && segment(&d->operand[0]) < 0;
	int seg = segment(&d->operand[from]);

	if (seg < 0)
		return false;
	op->reg = (uint8_t)seg;
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_PUSH:
		op->fn = op_push_seg;
		return true;
	case ZYDIS_MNEMONIC_POP:
		op->fn = op_pop_seg;
		break;
	default:
		op->fn = from ? op_mov_from_seg : op_mov_to_seg;
		break;
	}
	d->ends = op->fn != op_mov_from_seg;
	return true;
}

static bool load_far(struct decoded *d, struct op *op, enum cpu_seg_name seg)
{
	op->n = (uint8_t)seg;
	op->fn = op_load_far;
	d->ends = true;
	return true;
}

static bool plain(struct op *op, op_fn *fn, unsigned n)
{
	op->n = (uint8_t)n;
	op->fn = fn;
	return true;
}

bool decode_far_segment(struct soft_cpu *c, const struct decoded *cd, struct op *op)
{
	struct decoded *d = (struct decoded *)cd; /* d->ends is an output */

	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
	case ZYDIS_MNEMONIC_PUSH:
	case ZYDIS_MNEMONIC_POP:
		return decode_moves(d, op);
	case ZYDIS_MNEMONIC_LES:
		return load_far(d, op, CPU_ES);
	case ZYDIS_MNEMONIC_LDS:
		return load_far(d, op, CPU_DS);
	case ZYDIS_MNEMONIC_LSS:
		return load_far(d, op, CPU_SS);
	case ZYDIS_MNEMONIC_LFS:
		return load_far(d, op, CPU_FS);
	case ZYDIS_MNEMONIC_LGS:
		return load_far(d, op, CPU_GS);
	case ZYDIS_MNEMONIC_LAR:
		return plain(op, op_lar_lsl, 1);
	case ZYDIS_MNEMONIC_LSL:
		return plain(op, op_lar_lsl, 0);
	case ZYDIS_MNEMONIC_VERR:
		return plain(op, op_verify, 0);
	case ZYDIS_MNEMONIC_VERW:
		return plain(op, op_verify, 1);
	case ZYDIS_MNEMONIC_ARPL:
		return plain(op, op_arpl, 0);
	default:
		return false;
	}
}
