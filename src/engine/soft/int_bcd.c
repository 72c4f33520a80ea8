/* DAA DAS AAA AAS AAM AAD (SDM 2A's pseudo-code; flags they leave undefined stay), BOUND. */
#include "engine/soft/int.h"

static uint16_t result_flags(uint8_t v)
{
	return (uint16_t)((v == 0 ? AF_ZF : 0) | (v & 0x80 ? AF_SF : 0) |
	                  (__builtin_parity(v) ? 0 : AF_PF) | 0x200);
}

/* n: DAS */
static void op_daa(struct soft_cpu *c, const struct op *op)
{
	uint8_t *al = reg8(c, CPU_RAX, false), old = *al;
	bool cf = c->aflags & AF_CF, af = c->aflags & AF_AF, carry = false;

	if ((old & 15) > 9 || af) {
		carry = cf || (op->n ? old < 6 : old > 0xf9);
		*al = (uint8_t)(op->n ? *al - 6 : *al + 6);
		af = true;
	}
	if (old > 0x99 || cf) {
		*al = (uint8_t)(op->n ? *al - 0x60 : *al + 0x60);
		carry = true;
	}
	c->aflags = (uint16_t)((c->aflags & AF_OF) | result_flags(*al) | (carry ? AF_CF : 0) |
	                       (af ? AF_AF : 0));
	return op_next(c, op);
}

/* n: AAS */
static void op_aaa(struct soft_cpu *c, const struct op *op)
{
	uint16_t ax = (uint16_t)c->gpr[CPU_RAX];
	bool adjust = (ax & 15) > 9 || (c->aflags & AF_AF);

	if (adjust)
		ax = (uint16_t)(op->n ? ax - 0x106 : ax + 0x106);
	ax &= 0xff0f;
	reg_set(c, CPU_RAX, 2, false, ax);
	c->aflags = (uint16_t)(result_flags((uint8_t)ax) | (adjust ? AF_CF | AF_AF : 0));
	return op_next(c, op);
}

static void op_aam(struct soft_cpu *c, const struct op *op)
{
	uint8_t al = (uint8_t)c->gpr[CPU_RAX], base = (uint8_t)op->imm;

	c->op = op;
	if (base == 0)
		soft_fault(c, EXC_DE);
	reg_set(c, CPU_RAX, 2, false, (uint64_t)(al / base) << 8 | al % base);
	c->aflags = result_flags(al % base);
	return op_next(c, op);
}

static void op_aad(struct soft_cpu *c, const struct op *op)
{
	uint16_t ax = (uint16_t)c->gpr[CPU_RAX];
	uint8_t al = (uint8_t)(ax + (ax >> 8) * (uint8_t)op->imm);

	reg_set(c, CPU_RAX, 2, false, al);
	c->aflags = result_flags(al);
	return op_next(c, op);
}

static void op_bound(struct soft_cpu *c, const struct op *op)
{
	unsigned size = op->size;
	int64_t low, high, v;
	gva_t va;

	c->op = op;
	va = op_ea(c, op, 2 * size, false);
	low = size == 2 ? (int16_t)soft_ld16(c, va) : (int32_t)soft_ld32(c, va);
	high = size == 2 ? (int16_t)soft_ld16(c, va + 2) : (int32_t)soft_ld32(c, va + 4);
	v = size == 2 ? (int16_t)c->gpr[op->reg] : (int32_t)c->gpr[op->reg];
	if (v < low || v > high)
		soft_fault(c, EXC_BR);
	return op_next(c, op);
}

bool decode_bcd(struct soft_cpu *c, const struct decoded *d, struct op *op)
{
	op->n = d->insn.mnemonic == ZYDIS_MNEMONIC_DAS || d->insn.mnemonic == ZYDIS_MNEMONIC_AAS;
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_DAA:
	case ZYDIS_MNEMONIC_DAS:
		op->fn = op_daa;
		return true;
	case ZYDIS_MNEMONIC_AAA:
	case ZYDIS_MNEMONIC_AAS:
		op->fn = op_aaa;
		return true;
	case ZYDIS_MNEMONIC_AAM:
		op->fn = op_aam;
		return true;
	case ZYDIS_MNEMONIC_AAD:
		op->fn = op_aad;
		return true;
	case ZYDIS_MNEMONIC_BOUND:
		op->fn = op_bound;
		return true;
	default:
		return false;
	}
}
