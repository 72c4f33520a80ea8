/*
 * Near jumps, calls, returns, loops.  In 64-bit code a direct target in the same page is linked,
 * others go through the jump cache.  In segmented code targets wrap and are checked against CS.
 */
#include <sched.h>

#include "engine/soft/stack.h"

static bool canonical(uint64_t a)
{
	return (int64_t)(a << 16) >> 16 == (int64_t)a;
}

/* Wraps and checks a target: raises #GP. */
static uint64_t target(struct soft_cpu *c, const struct op *op, uint64_t rip)
{
	if (likely((c->mode & MODE_BITS) == MODE_64)) {
		if (unlikely(!canonical(rip)))
			soft_fault_error(c, EXC_GP, 0);
		return rip;
	}
	rip = op->size == 2 ? (uint16_t)rip : (uint32_t)rip;
	if (rip > c->seg[CPU_CS].limit)
		soft_fault_error(c, EXC_GP, 0);
	return rip;
}

/* The direct target: op->imm counts from the block's start. */
static uint64_t direct(struct soft_cpu *c, const struct op *op)
{
	return target(c, op, c->block_rip + op->imm);
}

#define JCC(cc)                                                                \
	static void op_jcc##cc##_near(struct soft_cpu *c, const struct op *op) \
	{                                                                      \
		if (flags_test(c->aflags, cc))                                 \
			return op_direct(c, op, c->block_rip + op->imm);       \
		return op_next(c, op);                                         \
	}                                                                      \
	static void op_jcc##cc##_far(struct soft_cpu *c, const struct op *op)  \
	{                                                                      \
		c->op = op;                                                    \
		if (flags_test(c->aflags, cc))                                 \
			return op_jump(c, op, direct(c, op));                  \
		return op_next(c, op);                                         \
	}
JCC(0)
JCC(1)
JCC(2)
JCC(3)
JCC(4)
JCC(5)
JCC(6)
JCC(7)
JCC(8)
JCC(9)
JCC(10)
JCC(11)
JCC(12)
JCC(13)
JCC(14)
JCC(15)

#define ROW(kind)                                                                               \
	{                                                                                       \
		op_jcc0_##kind, op_jcc1_##kind, op_jcc2_##kind, op_jcc3_##kind, op_jcc4_##kind, \
			op_jcc5_##kind, op_jcc6_##kind, op_jcc7_##kind, op_jcc8_##kind,         \
			op_jcc9_##kind, op_jcc10_##kind, op_jcc11_##kind, op_jcc12_##kind,      \
			op_jcc13_##kind, op_jcc14_##kind, op_jcc15_##kind                       \
	}

static op_fn *const jcc[2][16] = {ROW(far), ROW(near)};

static void op_jmp_near(struct soft_cpu *c, const struct op *op)
{
	return op_direct(c, op, c->block_rip + op->imm);
}

static void op_jmp(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	return op_jump(c, op, direct(c, op));
}

static void op_jmp_indirect(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	return op_jump(c, op, target(c, op, rm_get(c, op)));
}

static void op_jmp_reg64(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	return op_jump(c, op, target(c, op, c->gpr[op->rm]));
}

static void op_call(struct soft_cpu *c, const struct op *op)
{
	uint64_t rip;

	c->op = op;
	rip = direct(c, op);
	stack_push(c, op->size, op_end(c, op));
	return op_jump(c, op, rip);
}

static void op_call_indirect(struct soft_cpu *c, const struct op *op)
{
	uint64_t rip;

	c->op = op;
	rip = target(c, op, rm_get(c, op));
	stack_push(c, op->size, op_end(c, op));
	return op_jump(c, op, rip);
}

static void op_ret(struct soft_cpu *c, const struct op *op)
{
	uint64_t rip;

	c->op = op;
	rip = target(c, op, stack_peek(c, 0, op->size));
	stack_set(c, c->gpr[CPU_RSP] + op->size + op->imm);
	return op_jump(c, op, rip);
}

/*
 * The usual ones: 64-bit code, or flat 32-bit code with a 32-bit stack, and a page the TLB knows.
 */
#define CALL_RET(bits)                                                                   \
	static void op_call##bits(struct soft_cpu *c, const struct op *op)               \
	{                                                                                \
		uint##bits##_t sp = (uint##bits##_t)(c->gpr[CPU_RSP] - bits / 8);        \
		uint##bits##_t back = (uint##bits##_t)(c->block_rip + op->ip + op->len); \
		void *p = soft_write_ptr(c, sp, bits / 8);                               \
                                                                                         \
		if (unlikely(p == NULL))                                                 \
			return op_call(c, op);                                           \
		__builtin_memcpy(p, &back, bits / 8);                                    \
		c->gpr[CPU_RSP] = sp;                                                    \
		return op_jump(c, op, (uint##bits##_t)(c->block_rip + op->imm));         \
	}                                                                                \
	static void op_ret##bits(struct soft_cpu *c, const struct op *op)                \
	{                                                                                \
		uint##bits##_t sp = (uint##bits##_t)c->gpr[CPU_RSP], rip;                \
		const void *p = soft_read_ptr(c, sp, bits / 8);                          \
                                                                                         \
		if (unlikely(p == NULL))                                                 \
			return op_ret(c, op);                                            \
		__builtin_memcpy(&rip, p, bits / 8);                                     \
		if (unlikely(!canonical(rip)))                                           \
			return op_ret(c, op);                                            \
		c->gpr[CPU_RSP] = (uint##bits##_t)(sp + bits / 8 + op->imm);             \
		return op_jump(c, op, rip);                                              \
	}
CALL_RET(32)
CALL_RET(64)

/* LOOP, LOOPE, LOOPNE (n: 0, 1, 2), JrCXZ (3): the counter is as wide as addresses. */
static void op_loop(struct soft_cpu *c, const struct op *op)
{
	uint64_t count = reg_get(c, CPU_RCX, op->asize, false);
	bool taken;

	c->op = op;
	if (op->n == 3) {
		if (count == 0)
			return op_jump(c, op, direct(c, op));
		return op_next(c, op);
	}
	count--;
	if (op->asize == 2)
		count = (uint16_t)count;
	else if (op->asize == 4)
		count = (uint32_t)count;
	taken = count != 0 && (op->n == 0 || !!(c->aflags & AF_ZF) == (op->n == 1));
	if (taken) {
		uint64_t rip = direct(c, op);

		reg_set(c, CPU_RCX, op->asize, false, count);
		return op_jump(c, op, rip);
	}
	reg_set(c, CPU_RCX, op->asize, false, count);
	return op_next(c, op);
}

/* A vCPU that spins for another one lets it run, when there may be more of them than processors. */
static void op_pause(struct soft_cpu *c, const struct op *op)
{
	if (c->machine->cpus > 1 && (++c->run->pauses & 31) == 0)
		sched_yield();
	return op_next(c, op);
}

static bool in_page(uint64_t a, uint64_t b)
{
	return ((a ^ b) & PAGE_MASK) == 0;
}

/* Target, counted from the block's start; true: in the same page, may be linked. */
static bool decode_target(const struct decoded *d, struct op *op)
{
	uint64_t end = d->rip + d->insn.length, to;

	to = end + (uint64_t)d->operand[0].imm.value.s;
	op->imm = to - (d->rip - op->ip);
	return ((d->mode & MODE_BITS) == MODE_64 || (int_flat32(d->mode) && op->size == 4)) &&
	       !(d->mode & MODE_STEP) && in_page(to, d->rip - op->ip) && canonical(to);
}

static bool decode_jmp(struct decoded *d, struct op *op)
{
	d->ends = true;
	if (d->operand[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		op->fn = decode_target(d, op) ? op_jmp_near : op_jmp;
		return true;
	}
	op->fn = !(op->flags & OP_MEM) && op->size == 8 ? op_jmp_reg64 : op_jmp_indirect;
	return true;
}

static bool decode_call(struct decoded *d, struct op *op)
{
	bool long_mode = (d->mode & MODE_BITS) == MODE_64;

	d->ends = true;
	if (!(op->flags & OP_MEM))
		op->flags |= OP_STACK;
	if (d->operand[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		op->fn = op_call_indirect;
		return true;
	}
	decode_target(d, op);
	op->fn = op_call;
	if (long_mode && canonical(d->rip + op->imm - op->ip))
		op->fn = op_call64;
	else if (int_flat_stack(d->mode) && op->size == 4)
		op->fn = op_call32;
	return true;
}

static bool decode_loop(struct decoded *d, struct op *op, unsigned n)
{
	decode_target(d, op);
	op->n = (uint8_t)n;
	op->fn = op_loop;
	return true;
}

static bool decode_jcc(struct decoded *d, struct op *op)
{
	bool near = decode_target(d, op);

	op->n = op->opcode & 15;
	op->fn = jcc[near][op->n];
	if (near)
		op->flags |= OP_LINKED;
	return true;
}

static bool is_far(const struct decoded *d)
{
	return d->insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
}

bool decode_flow(struct soft_cpu *c, const struct decoded *cd, struct op *op)
{
	struct decoded *d = (struct decoded *)cd; /* d->ends is an output */

	/* Near branches in 64-bit code are always 64 bits wide. */
	bool long_mode = (d->mode & MODE_BITS) == MODE_64;

	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_JMP:
	case ZYDIS_MNEMONIC_CALL:
	case ZYDIS_MNEMONIC_RET:
		if (is_far(d))
			return false;
		if (long_mode)
			op->size = 8;
		if (d->insn.mnemonic == ZYDIS_MNEMONIC_JMP)
			return decode_jmp(d, op);
		if (d->insn.mnemonic == ZYDIS_MNEMONIC_CALL)
			return decode_call(d, op);
		d->ends = true;
		op->flags |= OP_STACK;
		op->imm &= 0xffff;
		op->fn = long_mode                                  ? op_ret64
		         : int_flat_stack(d->mode) && op->size == 4 ? op_ret32
		                                                    : op_ret;
		return true;
	case ZYDIS_MNEMONIC_LOOP:
		return decode_loop(d, op, 0);
	case ZYDIS_MNEMONIC_LOOPE:
		return decode_loop(d, op, 1);
	case ZYDIS_MNEMONIC_LOOPNE:
		return decode_loop(d, op, 2);
	case ZYDIS_MNEMONIC_JCXZ:
	case ZYDIS_MNEMONIC_JECXZ:
	case ZYDIS_MNEMONIC_JRCXZ:
		return decode_loop(d, op, 3);
	case ZYDIS_MNEMONIC_PAUSE:
		op->fn = op_pause;
		return true;
	default:
		if (d->insn.meta.category == ZYDIS_CATEGORY_COND_BR)
			return decode_jcc(d, op);
		return false;
	}
}
