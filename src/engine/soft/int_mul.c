/* MUL IMUL DIV IDIV, and the decimal adjustments.  Undefined flags are what this processor makes. */
#include "engine/soft/int.h"

/* rDX:rAX = rAX * rm, and the other way round. */
#define WIDE(name, insn, bits, sfx)                                 \
	static void name##bits(struct soft_cpu *c, uint64_t b)      \
	{                                                           \
		uint##bits##_t a = (uint##bits##_t)c->gpr[CPU_RAX]; \
		uint##bits##_t d = (uint##bits##_t)c->gpr[CPU_RDX]; \
		uint64_t f = flags_host(c);                         \
                                                                    \
		asm volatile(WITH_FLAGS(insn sfx " %[b]")           \
		             : "+a"(a), "+d"(d), [f] "+r"(f)        \
		             : [b] "r"((uint##bits##_t)b)           \
		             : "cc", "memory");                     \
		PUT##bits(c, CPU_RAX, a);                           \
		PUT##bits(c, CPU_RDX, d);                           \
		c->aflags = flags_pack((uint32_t)f);                \
	}
WIDE(mul, "mul", 16, "w")
WIDE(mul, "mul", 32, "l")
WIDE(mul, "mul", 64, "q")
WIDE(imul, "imul", 16, "w")
WIDE(imul, "imul", 32, "l")
WIDE(imul, "imul", 64, "q")
WIDE(div, "div", 16, "w")
WIDE(div, "div", 32, "l")
WIDE(div, "div", 64, "q")
WIDE(idiv, "idiv", 16, "w")
WIDE(idiv, "idiv", 32, "l")
WIDE(idiv, "idiv", 64, "q")

/* AX = AL * rm, and the other way round. */
#define NARROW(name, insn)                                   \
	static void name##8(struct soft_cpu * c, uint64_t b) \
	{                                                    \
		uint16_t a = (uint16_t)c->gpr[CPU_RAX];      \
		uint64_t f = flags_host(c);                  \
                                                             \
		asm volatile(WITH_FLAGS(insn "b %b[b]")      \
		             : "+a"(a), [f] "+r"(f)          \
		             : [b] "q"(b)                    \
		             : "cc", "memory");              \
		PUT16(c, CPU_RAX, a);                        \
		c->aflags = flags_pack((uint32_t)f);         \
	}
NARROW(mul, "mul")
NARROW(imul, "imul")
NARROW(div, "div")
NARROW(idiv, "idiv")

static void op_mul(struct soft_cpu *c, const struct op *op)
{
	uint64_t b;

	c->op = op;
	b = rm_get(c, op);
	switch (op->size << 1 | op->n) {
	case 2:
		mul8(c, b);
		break;
	case 3:
		imul8(c, b);
		break;
	case 4:
		mul16(c, b);
		break;
	case 5:
		imul16(c, b);
		break;
	case 8:
		mul32(c, b);
		break;
	case 9:
		imul32(c, b);
		break;
	case 16:
		mul64(c, b);
		break;
	default:
		imul64(c, b);
		break;
	}
	return op_next(c, op);
}

#define IMUL2(bits, sfx)                                                         \
	static uint64_t imul2_##bits(struct soft_cpu *c, uint64_t x, uint64_t b) \
	{                                                                        \
		uint##bits##_t a = (uint##bits##_t)x;                            \
		uint16_t f = c->aflags;                                          \
                                                                                 \
		asm(FLAGS_IN "imul" sfx " %2, %0" FLAGS_OUT                      \
		    : "+&r"(a), "+&a"(f)                                         \
		    : "r"((uint##bits##_t)b)                                     \
		    : "cc");                                                     \
		c->aflags = f;                                                   \
		return a;                                                        \
	}
IMUL2(16, "w")
IMUL2(32, "l")
IMUL2(64, "q")

/* reg = reg * rm, or rm * imm */
static void op_imul2(struct soft_cpu *c, const struct op *op)
{
	uint64_t a, b;

	c->op = op;
	a = rm_get(c, op);
	b = op->n ? op->imm : c->gpr[op->reg];
	if (op->size == 2)
		reg_set(c, op->reg, 2, false, imul2_16(c, a, b));
	else if (op->size == 4)
		c->gpr[op->reg] = imul2_32(c, a, b);
	else
		c->gpr[op->reg] = imul2_64(c, a, b);
	return op_next(c, op);
}

/* The dividend rDX:rAX (AX for bytes) and both results; #DE when the quotient doesn't fit. */
static void divide(struct soft_cpu *c, unsigned size, unsigned __int128 n, uint64_t b)
{
	if (b == 0 || (n / b) >> (size * 8) != 0)
		soft_fault(c, EXC_DE);
	switch (size) {
	case 1:
		div8(c, b);
		break;
	case 2:
		div16(c, b);
		break;
	case 4:
		div32(c, b);
		break;
	default:
		div64(c, b);
		break;
	}
}

static void divide_signed(struct soft_cpu *c, unsigned size, __int128 n, int64_t b)
{
	unsigned __int128 most = (unsigned __int128)1 << (size * 8 - 1);
	unsigned __int128 un = n < 0 ? -(unsigned __int128)n : (unsigned __int128)n, q;
	uint64_t ub = b < 0 ? -(uint64_t)b : (uint64_t)b;

	if (b == 0)
		soft_fault(c, EXC_DE);
	q = un / ub;
	if (q > most || (q == most && (n < 0) == (b < 0)))
		soft_fault(c, EXC_DE);
	switch (size) {
	case 1:
		idiv8(c, (uint64_t)b);
		break;
	case 2:
		idiv16(c, (uint64_t)b);
		break;
	case 4:
		idiv32(c, (uint64_t)b);
		break;
	default:
		idiv64(c, (uint64_t)b);
		break;
	}
}

static unsigned __int128 dividend(const struct soft_cpu *c, unsigned size)
{
	uint64_t a = c->gpr[CPU_RAX], d = c->gpr[CPU_RDX];

	switch (size) {
	case 1:
		return (uint16_t)a;
	case 2:
		return (uint32_t)(uint16_t)d << 16 | (uint16_t)a;
	case 4:
		return d << 32 | (uint32_t)a;
	default:
		return (unsigned __int128)d << 64 | a;
	}
}

static void op_div(struct soft_cpu *c, const struct op *op)
{
	unsigned __int128 n = dividend(c, op->size);
	unsigned spare = 64 - op->size * 8;
	uint64_t b;

	c->op = op;
	b = rm_get(c, op);
	if (!op->n) {
		divide(c, op->size, n, b);
		return op_next(c, op);
	}
	/* Sign-extend both from their widths. */
	n = (unsigned __int128)((__int128)(n << 2 * spare) >> 2 * spare);
	divide_signed(c, op->size, (__int128)n, (int64_t)(b << spare) >> spare);
	return op_next(c, op);
}

static void op_div64(struct soft_cpu *c, const struct op *op)
{
	uint64_t b;

	c->op = op;
	b = rm_get(c, op);
	if (c->gpr[CPU_RDX] >= b)
		soft_fault(c, EXC_DE);
	div64(c, b);
	return op_next(c, op);
}

bool decode_mul(struct soft_cpu *c, const struct decoded *d, struct op *op)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_MUL:
		op->fn = op_mul;
		return true;
	case ZYDIS_MNEMONIC_IMUL:
		if (d->insn.operand_count_visible == 1) {
			op->n = 1;
			op->fn = op_mul;
			return true;
		}
		op->n = d->insn.operand_count_visible == 3;
		op->fn = op_imul2;
		return true;
	case ZYDIS_MNEMONIC_DIV:
		op->fn = op->size == 8 ? op_div64 : op_div;
		return true;
	case ZYDIS_MNEMONIC_IDIV:
		op->n = 1;
		op->fn = op_div;
		return true;
	default:
		return false;
	}
}
