/*
 * Shifts and rotates.  The host's instruction runs with the guest's flags loaded, so that a count of
 * 0 leaves them alone, rotates keep what they keep, and what is undefined is what this processor does.
 */
#include "engine/soft/int.h"

#define SHIFT_FN(name, insn, bits, sfx, con)                                                    \
	static inline uint##bits##_t name##bits(struct soft_cpu *c, uint##bits##_t a,           \
	                                        uint8_t count)                                  \
	{                                                                                       \
		uint16_t f = c->aflags;                                                         \
                                                                                                \
		asm(FLAGS_IN insn sfx " %%cl, %0" FLAGS_OUT                                     \
		    : "+&" con(a), "+&a"(f)                                                     \
		    : "c"(count)                                                                \
		    : "cc");                                                                    \
		c->aflags = f;                                                                  \
		return a;                                                                       \
	}                                                                                       \
	static void op_##name##bits##_i(struct soft_cpu *c, const struct op *op)                \
	{                                                                                       \
		PUT##bits(c, op->rm, name##bits(c, GET##bits(c, op->rm), (uint8_t)op->imm));    \
		return op_next(c, op);                                                          \
	}                                                                                       \
	static void op_##name##bits##_cl(struct soft_cpu *c, const struct op *op)               \
	{                                                                                       \
		uint8_t n = (uint8_t)c->gpr[CPU_RCX];                                           \
                                                                                                \
		PUT##bits(c, op->rm, name##bits(c, GET##bits(c, op->rm), n));                   \
		return op_next(c, op);                                                          \
	}                                                                                       \
	static uint64_t name##bits##_mem(struct soft_cpu *c, const struct op *op, uint64_t old) \
	{                                                                                       \
		return name##bits(c, (uint##bits##_t)old,                                       \
		                  (uint8_t)(op->n ? c->gpr[CPU_RCX] : op->imm));                \
	}

#define ALL_SIZES(name)                     \
	SHIFT_FN(name, #name, 8, "b", "q")  \
	SHIFT_FN(name, #name, 16, "w", "r") \
	SHIFT_FN(name, #name, 32, "l", "r") \
	SHIFT_FN(name, #name, 64, "q", "r")

ALL_SIZES(rol)
ALL_SIZES(ror)
ALL_SIZES(rcl)
ALL_SIZES(rcr)
ALL_SIZES(shl)
ALL_SIZES(shr)
ALL_SIZES(sar)

#define ROW(name)                                                                       \
	{                                                                               \
		{op_##name##8_i, op_##name##8_cl}, {op_##name##16_i, op_##name##16_cl}, \
			{op_##name##32_i, op_##name##32_cl},                            \
		{                                                                       \
			op_##name##64_i, op_##name##64_cl                               \
		}                                                                       \
	}
#define MEM_ROW(name)                                                 \
	{                                                             \
		name##8_mem, name##16_mem, name##32_mem, name##64_mem \
	}

static op_fn *const shift[7][4][2] = {ROW(rol), ROW(ror), ROW(rcl), ROW(rcr),
                                      ROW(shl), ROW(shr), ROW(sar)};
static mmu_modify_fn *const shift_mem[7][4] = {MEM_ROW(rol), MEM_ROW(ror), MEM_ROW(rcl),
                                               MEM_ROW(rcr), MEM_ROW(shl), MEM_ROW(shr),
                                               MEM_ROW(sar)};

/* The common ones with a count other than 0 when nobody sees the flags. */
#define QUIET(name, bits, expr)                                                  \
	static void op_##name##bits##_q(struct soft_cpu *c, const struct op *op) \
	{                                                                        \
		uint##bits##_t a = GET##bits(c, op->rm);                         \
                                                                                 \
		PUT##bits(c, op->rm, (uint##bits##_t)(expr));                    \
		return op_next(c, op);                                           \
	}
QUIET(shl, 32, a << (op->imm & 31))
QUIET(shl, 64, a << (op->imm & 63))
QUIET(shr, 32, a >> (op->imm & 31))
QUIET(shr, 64, a >> (op->imm & 63))
QUIET(sar, 32, (int32_t)a >> (op->imm & 31))
QUIET(sar, 64, (int64_t)a >> (op->imm & 63))

static op_fn *const quiet[3][2] = {
	{op_shl32_q, op_shl64_q}, {op_shr32_q, op_shr64_q}, {op_sar32_q, op_sar64_q}};

static void op_shift_mem(struct soft_cpu *c, const struct op *op)
{
	int_modify(c, op, (mmu_modify_fn *)op->ptr);
	return op_next(c, op);
}

#define DOUBLE_FN(name, bits, sfx)                                                    \
	static inline uint##bits##_t name##bits(struct soft_cpu *c, uint##bits##_t a, \
	                                        uint##bits##_t b, uint8_t count)      \
	{                                                                             \
		uint16_t f = c->aflags;                                               \
                                                                                      \
		asm(FLAGS_IN #name sfx " %%cl, %2, %0" FLAGS_OUT                      \
		    : "+&r"(a), "+&a"(f)                                              \
		    : "r"(b), "c"(count)                                              \
		    : "cc");                                                          \
		c->aflags = f;                                                        \
		return a;                                                             \
	}
#define DOUBLE(name)                                                                     \
	DOUBLE_FN(name, 16, "w")                                                         \
	DOUBLE_FN(name, 32, "l")                                                         \
	DOUBLE_FN(name, 64, "q")                                                         \
	static uint64_t name##_fn(struct soft_cpu *c, const struct op *op, uint64_t old) \
	{                                                                                \
		uint8_t n = (uint8_t)(op->n ? c->gpr[CPU_RCX] : op->imm);                \
		uint64_t b = c->gpr[op->reg];                                            \
                                                                                         \
		if (op->size == 2)                                                       \
			return name##16(c, (uint16_t)old, (uint16_t)b, n);               \
		if (op->size == 4)                                                       \
			return name##32(c, (uint32_t)old, (uint32_t)b, n);               \
		return name##64(c, old, b, n);                                           \
	}

DOUBLE(shld)
DOUBLE(shrd)

static bool decode_double(const struct decoded *d, struct op *op, mmu_modify_fn *fn)
{
	op->n = d->operand[2].type == ZYDIS_OPERAND_TYPE_REGISTER;
	op->ptr = (void *)fn;
	op->fn = op_shift_mem;
	return true;
}

bool decode_shift(struct soft_cpu *c, const struct decoded *d, struct op *op)
{
	unsigned k, s = op->size ? (unsigned)__builtin_ctz(op->size) : 0;

	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_ROL:
		k = 0;
		break;
	case ZYDIS_MNEMONIC_ROR:
		k = 1;
		break;
	case ZYDIS_MNEMONIC_RCL:
		k = 2;
		break;
	case ZYDIS_MNEMONIC_RCR:
		k = 3;
		break;
	case ZYDIS_MNEMONIC_SHL:
		k = 4;
		break;
	case ZYDIS_MNEMONIC_SHR:
		k = 5;
		break;
	case ZYDIS_MNEMONIC_SAR:
		k = 6;
		break;
	case ZYDIS_MNEMONIC_SHLD:
		return decode_double(d, op, shld_fn);
	case ZYDIS_MNEMONIC_SHRD:
		return decode_double(d, op, shrd_fn);
	default:
		return false;
	}
	op->n = d->operand[1].type == ZYDIS_OPERAND_TYPE_REGISTER;
	/* D0 and D1: by one, which Zydis shows as an operand too. */
	if (op->flags & OP_MEM) {
		op->ptr = (void *)shift_mem[k][s];
		op->fn = op_shift_mem;
		return true;
	}
	if (op->size == 1)
		op->rm = (uint8_t)(op->rm * 8 + !!(op->flags & OP_HIGH_RM));
	op->fn = shift[k][s][op->n];
	if (k >= 4 && s >= 2 && !op->n && (op->imm & (op->size * 8u - 1)) != 0)
		int_kills(op, quiet[k - 4][s - 2]);
	return true;
}
