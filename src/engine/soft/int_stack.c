/* PUSH POP PUSHA POPA ENTER LEAVE. */
#include "engine/soft/stack.h"

static void op_push_reg(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	stack_push(c, op->size, reg_get(c, op->reg, op->size, false));
	return op_next(c, op);
}

static void op_push_rm(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	stack_push(c, op->size, rm_get(c, op));
	return op_next(c, op);
}

static void op_push_imm(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	stack_push(c, op->size, op->imm);
	return op_next(c, op);
}

static void op_pop_reg(struct soft_cpu *c, const struct op *op)
{
	uint64_t v;

	c->op = op;
	v = stack_peek(c, 0, op->size);
	stack_set(c, c->gpr[CPU_RSP] + op->size);
	reg_set(c, op->rm, op->size, false, v);
	return op_next(c, op);
}

/* The usual ones: 64-bit code, or flat 32-bit code with a 32-bit stack, and a page the TLB knows. */
#define PUSH_POP(bits)                                                            \
	static void op_push##bits(struct soft_cpu *c, const struct op *op)        \
	{                                                                         \
		uint##bits##_t sp = (uint##bits##_t)(c->gpr[CPU_RSP] - bits / 8); \
		void *p = soft_write_ptr(c, sp, bits / 8);                        \
                                                                                  \
		if (unlikely(p == NULL))                                          \
			return op_push_reg(c, op);                                \
		__builtin_memcpy(p, &c->gpr[op->reg], bits / 8);                  \
		c->gpr[CPU_RSP] = sp;                                             \
		return op_next(c, op);                                            \
	}                                                                         \
	/* POP of the stack pointer: the value wins. */                           \
	static void op_pop##bits(struct soft_cpu *c, const struct op *op)         \
	{                                                                         \
		uint##bits##_t sp = (uint##bits##_t)c->gpr[CPU_RSP], v;           \
		const void *p = soft_read_ptr(c, sp, bits / 8);                   \
                                                                                  \
		if (unlikely(p == NULL))                                          \
			return op_pop_reg(c, op);                                 \
		__builtin_memcpy(&v, p, bits / 8);                                \
		c->gpr[CPU_RSP] = (uint##bits##_t)(sp + bits / 8);                \
		c->gpr[op->rm] = v;                                               \
		return op_next(c, op);                                            \
	}
PUSH_POP(32)
PUSH_POP(64)

static op_fn *push_of(const struct decoded *d, const struct op *op)
{
	if (op->size == 8)
		return op_push64;
	return op->size == 4 && int_flat_stack(d->mode) ? op_push32 : op_push_reg;
}

static op_fn *pop_of(const struct decoded *d, const struct op *op)
{
	if (op->size == 8)
		return op_pop64;
	return op->size == 4 && int_flat_stack(d->mode) ? op_pop32 : op_pop_reg;
}

/* The address is formed with RSP already moved; a fault leaves RSP as it was. */
static void op_pop_mem(struct soft_cpu *c, const struct op *op)
{
	uint64_t v, sp = c->gpr[CPU_RSP];
	gva_t va;

	c->op = op;
	v = stack_peek(c, 0, op->size);
	if (op->base == CPU_RSP) {
		struct op moved = *op;

		moved.disp += op->size;
		va = mmu_linear(c, op->seg, op_offset(c, &moved), op->size, true);
	} else {
		va = op_ea(c, op, op->size, true);
	}
	mem_put(c, va, op->size, v);
	stack_set(c, sp + op->size);
	return op_next(c, op);
}

static void op_pusha(struct soft_cpu *c, const struct op *op)
{
	unsigned size = op->size;

	c->op = op;
	/* All eight must fit before the first is written. */
	for (unsigned r = 0; r < 8; r++)
		mmu_check(c, stack_at(c, -(int64_t)(r + 1) * size, size, true), size, true,
		          c->cpl == 3);
	for (unsigned r = 0; r < 8; r++)
		mem_put(c, stack_at(c, -(int64_t)(r + 1) * size, size, true), size, c->gpr[r]);
	stack_set(c, c->gpr[CPU_RSP] - 8 * size);
	return op_next(c, op);
}

static void op_popa(struct soft_cpu *c, const struct op *op)
{
	uint64_t v[8];

	c->op = op;
	for (unsigned r = 8; r-- > 0;)
		v[r] = stack_peek(c, (int64_t)(7 - r) * op->size, op->size);
	for (unsigned r = 0; r < 8; r++)
		if (r != CPU_RSP)
			reg_set(c, r, op->size, false, v[r]);
	stack_set(c, c->gpr[CPU_RSP] + 8 * op->size);
	return op_next(c, op);
}

/* SDM 2A ENTER: imm is the frame's size, n the nesting level. */
static void op_enter(struct soft_cpu *c, const struct op *op)
{
	unsigned size = op->size, level = op->n;
	uint64_t bp = c->gpr[CPU_RBP], frame, mask = stack_mask(c), last;
	int64_t at = -(int64_t)size;

	c->op = op;
	/* RSP as a push leaves it: a 16-bit stack keeps the upper half. */
	frame = (c->gpr[CPU_RSP] & ~mask) | ((c->gpr[CPU_RSP] - size) & mask);
	mem_put(c, stack_at(c, at, size, true), size, bp);
	for (unsigned i = 1; i < level; i++) {
		uint64_t from = (bp - (uint64_t)i * size) & mask;

		if ((c->mode & MODE_BITS) != MODE_64)
			from = mmu_linear(c, CPU_SS, from, size, false);
		at -= size;
		mem_put(c, stack_at(c, at, size, true), size, mem_get(c, from, size));
	}
	if (level > 0) {
		at -= size;
		mem_put(c, stack_at(c, at, size, true), size, frame);
	}
	last = c->gpr[CPU_RSP] + (uint64_t)at - op->imm;
	/* The new top of stack must be writable. */
	mmu_check(c, stack_at(c, at - (int64_t)op->imm, size, true), size, true, c->cpl == 3);
	reg_set(c, CPU_RBP, size, false, frame);
	stack_set(c, last);
	return op_next(c, op);
}

static void op_leave_frame(struct soft_cpu *c, const struct op *op)
{
	uint64_t mask = stack_mask(c), sp = c->gpr[CPU_RBP] & mask, v;

	c->op = op;
	v = mem_get(c, mask == ~0ull ? sp : mmu_linear(c, CPU_SS, sp, op->size, false), op->size);
	stack_set(c, sp + op->size);
	reg_set(c, CPU_RBP, op->size, false, v);
	return op_next(c, op);
}

/* 64-bit code: pushes are 8 bytes but with a 66 prefix that REX.W does not overrule. */
static void stack_size(const struct decoded *d, struct op *op)
{
	if ((d->mode & MODE_BITS) == MODE_64)
		op->size = (d->insn.attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE) && !d->insn.raw.rex.W
		                   ? 2
		                   : 8;
}

static bool decode_push(const struct decoded *d, struct op *op)
{
	const ZydisDecodedOperand *o = &d->operand[0];
	bool high;

	/* With a memory operand only that one's segment counts; stack_at() sees to the stack. */
	if (!(op->flags & OP_MEM))
		op->flags |= OP_STACK;
	stack_size(d, op);
	if (o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
		op->fn = op_push_imm;
	else if (op->flags & OP_MEM)
		op->fn = op_push_rm;
	else if (decode_gpr(o->reg.value, &high) < 0)
		return false; /* segment register */
	else if (o->encoding == ZYDIS_OPERAND_ENCODING_OPCODE)
		op->fn = push_of(d, op);
	else
		op->fn = op_push_rm;
	return true;
}

static bool decode_pop(const struct decoded *d, struct op *op)
{
	const ZydisDecodedOperand *o = &d->operand[0];
	bool high;

	if (!(op->flags & OP_MEM))
		op->flags |= OP_STACK;
	stack_size(d, op);
	if (op->flags & OP_MEM) {
		op->fn = op_pop_mem;
		return true;
	}
	if (decode_gpr(o->reg.value, &high) < 0)
		return false;
	if (o->encoding == ZYDIS_OPERAND_ENCODING_OPCODE)
		op->rm = op->reg;
	op->fn = pop_of(d, op);
	return true;
}

bool decode_stack(struct soft_cpu *c, const struct decoded *d, struct op *op)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_PUSH:
		return decode_push(d, op);
	case ZYDIS_MNEMONIC_POP:
		return decode_pop(d, op);
	case ZYDIS_MNEMONIC_PUSHA:
	case ZYDIS_MNEMONIC_PUSHAD:
		op->fn = op_pusha;
		break;
	case ZYDIS_MNEMONIC_POPA:
	case ZYDIS_MNEMONIC_POPAD:
		op->fn = op_popa;
		break;
	case ZYDIS_MNEMONIC_ENTER:
		stack_size(d, op);
		op->imm = d->operand[0].imm.value.u & 0xffff;
		op->n = d->operand[1].imm.value.u & 31;
		op->fn = op_enter;
		break;
	case ZYDIS_MNEMONIC_LEAVE:
		stack_size(d, op);
		op->fn = op_leave_frame;
		break;
	default:
		return false;
	}
	op->flags |= OP_STACK;
	return true;
}
