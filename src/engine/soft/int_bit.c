/* BT BTS BTR BTC, BSF BSR TZCNT LZCNT POPCNT, ADCX ADOX, CRC32, RDRAND, RDSEED. */
#include <string.h>
#include <sys/random.h>

#include "engine/soft/int.h"

/* 0: BT, 1: BTS, 2: BTR, 3: BTC; bit number in op->imm or reg. */
static uint64_t bit_fn(struct soft_cpu *c, const struct op *op, uint64_t old)
{
	uint64_t bit = op->n & 4 ? op->imm : c->gpr[op->reg];
	uint64_t mask;

	bit &= op->size * 8u - 1;
	mask = 1ull << bit;
	c->aflags = (uint16_t)((c->aflags & ~AF_CF) | (old & mask ? AF_CF : 0));
	switch (op->n & 3) {
	case 1:
		return old | mask;
	case 2:
		return old & ~mask;
	case 3:
		return old ^ mask;
	default:
		return old;
	}
}

/* A bit number in a register reaches beyond the operand: the bit string's word that holds it. */
static gva_t bit_ea(struct soft_cpu *c, const struct op *op)
{
	struct op at = *op;
	int64_t bit = 0;
	uint64_t offset;

	if (!(op->n & 4)) {
		bit = op->size == 8   ? (int64_t)c->gpr[op->reg]
		      : op->size == 4 ? (int32_t)c->gpr[op->reg]
		                      : (int16_t)c->gpr[op->reg];
		bit = (bit >> (__builtin_ctz(op->size) + 3)) * op->size;
	}
	offset = op_offset(c, op) + (uint64_t)bit;
	if (at.asize != 8)
		offset = at.asize == 4 ? (uint32_t)offset : (uint16_t)offset;
	return mmu_linear(c, op->seg, offset, op->size, op->n & 3);
}

static void op_bit(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	if (!(op->flags & OP_MEM)) {
		uint64_t v = bit_fn(c, op, c->gpr[op->rm]);

		if (op->n & 3)
			reg_set(c, op->rm, op->size, false, v);
	} else if ((op->n & 3) == 0) {
		bit_fn(c, op, mem_get(c, bit_ea(c, op), op->size));
	} else {
		int_modify_at(c, op, bit_ea(c, op), bit_fn);
	}
	return op_next(c, op);
}

/* One source, one destination, flags as the host makes them. */
#define COUNT_FN(name, bits, sfx)                                                  \
	static uint64_t name##bits(struct soft_cpu *c, uint64_t old, uint64_t src) \
	{                                                                          \
		uint##bits##_t a = (uint##bits##_t)old;                            \
		uint16_t f = c->aflags;                                            \
                                                                                   \
		asm(FLAGS_IN #name sfx " %2, %0" FLAGS_OUT                         \
		    : "+&r"(a), "+&a"(f)                                           \
		    : "r"((uint##bits##_t)src)                                     \
		    : "cc");                                                       \
		c->aflags = f;                                                     \
		return a;                                                          \
	}
#define COUNT(name)                                                         \
	COUNT_FN(name, 16, "w")                                             \
	COUNT_FN(name, 32, "l")                                             \
	COUNT_FN(name, 64, "q")                                             \
	static void op_##name(struct soft_cpu *c, const struct op *op)      \
	{                                                                   \
		uint64_t v, old = c->gpr[op->reg];                          \
                                                                            \
		c->op = op;                                                 \
		v = rm_get(c, op);                                          \
		v = op->size == 2   ? name##16(c, old, v)                   \
		    : op->size == 4 ? name##32(c, old, v)                   \
		                    : name##64(c, old, v);                  \
		/* BSF and BSR of 0 leave the register alone, all of it. */ \
		if (op->n == 0 || !(c->aflags & AF_ZF))                     \
			reg_set(c, op->reg, op->size, false, v);            \
		return op_next(c, op);                                      \
	}

COUNT(bsf)
COUNT(bsr)
COUNT(tzcnt)
COUNT(lzcnt)
COUNT(popcnt)

#define CARRY2(name, bits, sfx)                                                    \
	static uint64_t name##bits(struct soft_cpu *c, uint64_t old, uint64_t src) \
	{                                                                          \
		uint##bits##_t a = (uint##bits##_t)old;                            \
		uint16_t f = c->aflags;                                            \
                                                                                   \
		asm(FLAGS_IN #name sfx " %2, %0" FLAGS_OUT                         \
		    : "+&r"(a), "+&a"(f)                                           \
		    : "r"((uint##bits##_t)src)                                     \
		    : "cc");                                                       \
		c->aflags = f;                                                     \
		return a;                                                          \
	}
#define ADX(name)                                                                  \
	CARRY2(name, 32, "l")                                                      \
	CARRY2(name, 64, "q")                                                      \
	static void op_##name(struct soft_cpu *c, const struct op *op)             \
	{                                                                          \
		uint64_t v;                                                        \
                                                                                   \
		c->op = op;                                                        \
		v = rm_get(c, op);                                                 \
		c->gpr[op->reg] = op->size == 4 ? name##32(c, c->gpr[op->reg], v)  \
		                                : name##64(c, c->gpr[op->reg], v); \
		return op_next(c, op);                                             \
	}
ADX(adcx)
ADX(adox)

/* Real randomness; never fails. */
static NOINLINE void do_random(struct soft_cpu *c, const struct op *op)
{
	uint64_t v = 0;

	if (getrandom(&v, op->size, 0) != op->size)
		v = 0;
	reg_set(c, op->rm, op->size, false, v);
	c->aflags = 0x200 | AF_CF;
}
OP_OF(random)

static uint32_t crc32c(uint32_t crc, uint64_t v, unsigned size)
{
	for (unsigned i = 0; i < size * 8; i++, v >>= 1)
		crc = crc >> 1 ^ (((crc ^ (uint32_t)v) & 1) ? 0x82f63b78u : 0);
	return crc;
}

static void op_crc32(struct soft_cpu *c, const struct op *op)
{
	uint64_t v;

	c->op = op;
	v = rm_get(c, op);
	c->gpr[op->reg] = crc32c((uint32_t)c->gpr[op->reg], v, op->size);
	return op_next(c, op);
}

static bool plain(struct op *op, op_fn *fn, unsigned n)
{
	op->fn = fn;
	op->n = (uint8_t)n;
	return true;
}

static bool bit_op(const struct decoded *d, struct op *op, unsigned n)
{
	return plain(op, op_bit, n | (d->operand[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? 4 : 0));
}

bool decode_bit(struct soft_cpu *c, const struct decoded *d, struct op *op)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_BT:
		return bit_op(d, op, 0);
	case ZYDIS_MNEMONIC_BTS:
		return bit_op(d, op, 1);
	case ZYDIS_MNEMONIC_BTR:
		return bit_op(d, op, 2);
	case ZYDIS_MNEMONIC_BTC:
		return bit_op(d, op, 3);
	case ZYDIS_MNEMONIC_BSF:
		return plain(op, op_bsf, 1);
	case ZYDIS_MNEMONIC_BSR:
		return plain(op, op_bsr, 1);
	case ZYDIS_MNEMONIC_TZCNT:
		return plain(op, op_tzcnt, 0);
	case ZYDIS_MNEMONIC_LZCNT:
		return plain(op, op_lzcnt, 0);
	case ZYDIS_MNEMONIC_POPCNT:
		return plain(op, op_popcnt, 0);
	case ZYDIS_MNEMONIC_ADCX:
		return plain(op, op_adcx, 0);
	case ZYDIS_MNEMONIC_ADOX:
		return plain(op, op_adox, 0);
	case ZYDIS_MNEMONIC_RDRAND:
	case ZYDIS_MNEMONIC_RDSEED:
		return plain(op, op_random, 0);
	case ZYDIS_MNEMONIC_CRC32:
		/* Its operand size is the source's. */
		op->size = (uint8_t)(d->operand[1].size / 8);
		return plain(op, op_crc32, 0);
	default:
		return false;
	}
}
