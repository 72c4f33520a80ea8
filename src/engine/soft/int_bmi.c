/*
 * BMI1 and BMI2's VEX-encoded instructions on general registers.  Where the host has them, flags that the
 * manuals leave undefined (AF, PF, BEXTR's SF) are the host's; otherwise they are cleared.
 */
#include "engine/soft/int.h"

#include "host/host.h"

/* The two sources, with the operand size's bits; the operand in VEX.vvvv is op->n. */
struct sources {
	uint64_t rm, v;
};

static struct sources sources(struct soft_cpu *c, const struct op *op)
{
	struct sources s;

	c->op = op;
	/* VEX prefixes are LES and LDS without operands there. */
	if (unlikely(!(c->cr0 & CR0_PE) || (c->eflags & FLAG_VM)))
		soft_fault(c, EXC_UD);
	s.rm = rm_get(c, op);
	s.v = op->size == 4 ? (uint32_t)c->gpr[op->n] : c->gpr[op->n];
	return s;
}

static uint64_t fit(const struct op *op, uint64_t v)
{
	return op->size == 4 ? (uint32_t)v : v;
}

static void put(struct soft_cpu *c, const struct op *op, unsigned r, uint64_t v)
{
	c->gpr[r] = fit(op, v);
}

static void result_flags(struct soft_cpu *c, const struct op *op, uint64_t v, bool carry)
{
	v = fit(op, v);
	c->aflags = (uint16_t)(0x200 | (v == 0 ? AF_ZF : 0) | (carry ? AF_CF : 0) |
	                       (v >> (op->size * 8u - 1) ? AF_SF : 0));
}

static void op_andn(struct soft_cpu *c, const struct op *op)
{
	struct sources s = sources(c, op);
	uint64_t v = ~s.v & s.rm;

	put(c, op, op->reg, v);
	result_flags(c, op, v, false);
	return op_next(c, op);
}

/* The BLS group's destination is in VEX.vvvv. */
static void op_blsi(struct soft_cpu *c, const struct op *op)
{
	uint64_t s = sources(c, op).rm, v = s & -s;

	put(c, op, op->n, v);
	result_flags(c, op, v, s != 0);
	return op_next(c, op);
}

static void op_blsmsk(struct soft_cpu *c, const struct op *op)
{
	uint64_t s = sources(c, op).rm, v = s ^ (s - 1);

	put(c, op, op->n, v);
	result_flags(c, op, v, s == 0);
	return op_next(c, op);
}

static void op_blsr(struct soft_cpu *c, const struct op *op)
{
	uint64_t s = sources(c, op).rm, v = s & (s - 1);

	put(c, op, op->n, v);
	result_flags(c, op, v, s == 0);
	return op_next(c, op);
}

static uint64_t low_bits(unsigned n)
{
	return n >= 64 ? UINT64_MAX : (1ull << n) - 1;
}

static void op_bextr(struct soft_cpu *c, const struct op *op)
{
	struct sources s = sources(c, op);
	unsigned start = s.v & 0xff, len = s.v >> 8 & 0xff;
	uint64_t v = start < 64 ? s.rm >> start & low_bits(len) : 0;

	put(c, op, op->reg, v);
	c->aflags = (uint16_t)(0x200 | (v == 0 ? AF_ZF : 0));
	return op_next(c, op);
}

static void op_bzhi(struct soft_cpu *c, const struct op *op)
{
	struct sources s = sources(c, op);
	unsigned n = s.v & 0xff;
	uint64_t v = s.rm & low_bits(n);

	put(c, op, op->reg, v);
	result_flags(c, op, v, n > op->size * 8u - 1);
	return op_next(c, op);
}

static uint64_t pdep_slow(uint64_t v, uint64_t mask)
{
	uint64_t out = 0;

	for (; mask; mask &= mask - 1, v >>= 1)
		if (v & 1)
			out |= mask & -mask;
	return out;
}

static uint64_t pext_slow(uint64_t v, uint64_t mask)
{
	uint64_t out = 0;

	for (unsigned i = 0; mask; mask &= mask - 1, i++)
		if (v & mask & -mask)
			out |= 1ull << i;
	return out;
}

static void op_pdep(struct soft_cpu *c, const struct op *op)
{
	struct sources s = sources(c, op);

	put(c, op, op->reg, pdep_slow(s.v, s.rm));
	return op_next(c, op);
}

static void op_pext(struct soft_cpu *c, const struct op *op)
{
	struct sources s = sources(c, op);

	put(c, op, op->reg, pext_slow(s.v, s.rm));
	return op_next(c, op);
}

/* The same where the host has them. */
static void op_pdep_host(struct soft_cpu *c, const struct op *op)
{
	struct sources s = sources(c, op);
	uint64_t v;

	asm("pdepq %2, %1, %0" : "=r"(v) : "r"(s.v), "r"(s.rm));
	put(c, op, op->reg, v);
	return op_next(c, op);
}

static void op_pext_host(struct soft_cpu *c, const struct op *op)
{
	struct sources s = sources(c, op);
	uint64_t v;

	asm("pextq %2, %1, %0" : "=r"(v) : "r"(s.v), "r"(s.rm));
	put(c, op, op->reg, v);
	return op_next(c, op);
}

/* Those that set flags; to: where the result goes. */
#define HOST_OP(name, wide, narrow, to)                                       \
	static void op_##name##_host(struct soft_cpu *c, const struct op *op) \
	{                                                                     \
		struct sources s = sources(c, op);                            \
		uint64_t v, f = flags_host(c);                                \
                                                                              \
		if (op->size == 8)                                            \
			asm volatile(WITH_FLAGS(wide)                         \
			             : [out] "=&r"(v), [f] "+r"(f)            \
			             : [rm] "r"(s.rm), [v] "r"(s.v)           \
			             : "cc", "memory");                       \
		else                                                          \
			asm volatile(WITH_FLAGS(narrow)                       \
			             : [out] "=&r"(v), [f] "+r"(f)            \
			             : [rm] "r"(s.rm), [v] "r"(s.v)           \
			             : "cc", "memory");                       \
		put(c, op, to, v);                                            \
		c->aflags = flags_pack((uint32_t)f);                          \
		return op_next(c, op);                                        \
	}
#define HOST_OP3(name) \
	HOST_OP(name, #name " %[rm], %[v], %[out]", #name " %k[rm], %k[v], %k[out]", op->reg)
#define HOST_OP3_BY_V(name) \
	HOST_OP(name, #name " %[v], %[rm], %[out]", #name " %k[v], %k[rm], %k[out]", op->reg)
#define HOST_OP2(name) HOST_OP(name, #name " %[rm], %[out]", #name " %k[rm], %k[out]", op->n)
HOST_OP3(andn)
HOST_OP3_BY_V(bextr)
HOST_OP3_BY_V(bzhi)
HOST_OP2(blsi)
HOST_OP2(blsmsk)
HOST_OP2(blsr)

/* reg: the high half, which wins when both are the same register; n: the low one */
static void op_mulx(struct soft_cpu *c, const struct op *op)
{
	uint64_t a = fit(op, c->gpr[CPU_RDX]), b = sources(c, op).rm;
	unsigned __int128 p = (unsigned __int128)a * b;

	put(c, op, op->n, (uint64_t)p);
	put(c, op, op->reg, (uint64_t)(p >> (op->size * 8)));
	return op_next(c, op);
}

static void op_rorx(struct soft_cpu *c, const struct op *op)
{
	uint64_t s = sources(c, op).rm;
	unsigned bits = op->size * 8, n = op->imm & (bits - 1);

	put(c, op, op->reg, n ? s >> n | s << (bits - n) : s);
	return op_next(c, op);
}

static void op_shlx(struct soft_cpu *c, const struct op *op)
{
	struct sources s = sources(c, op);

	put(c, op, op->reg, s.rm << (s.v & (op->size * 8u - 1)));
	return op_next(c, op);
}

static void op_shrx(struct soft_cpu *c, const struct op *op)
{
	struct sources s = sources(c, op);

	put(c, op, op->reg, s.rm >> (s.v & (op->size * 8u - 1)));
	return op_next(c, op);
}

static void op_sarx(struct soft_cpu *c, const struct op *op)
{
	struct sources s = sources(c, op);
	int64_t v = op->size == 4 ? (int32_t)s.rm : (int64_t)s.rm;

	put(c, op, op->reg, (uint64_t)(v >> (s.v & (op->size * 8u - 1))));
	return op_next(c, op);
}

static op_fn *function_of(ZydisMnemonic m)
{
	bool host = host_cpu()->bmi;

	switch (m) {
	case ZYDIS_MNEMONIC_ANDN:
		return host ? op_andn_host : op_andn;
	case ZYDIS_MNEMONIC_BEXTR:
		return host ? op_bextr_host : op_bextr;
	case ZYDIS_MNEMONIC_BLSI:
		return host ? op_blsi_host : op_blsi;
	case ZYDIS_MNEMONIC_BLSMSK:
		return host ? op_blsmsk_host : op_blsmsk;
	case ZYDIS_MNEMONIC_BLSR:
		return host ? op_blsr_host : op_blsr;
	case ZYDIS_MNEMONIC_BZHI:
		return host ? op_bzhi_host : op_bzhi;
	case ZYDIS_MNEMONIC_PDEP:
		return host ? op_pdep_host : op_pdep;
	case ZYDIS_MNEMONIC_PEXT:
		return host ? op_pext_host : op_pext;
	case ZYDIS_MNEMONIC_MULX:
		return op_mulx;
	case ZYDIS_MNEMONIC_RORX:
		return op_rorx;
	case ZYDIS_MNEMONIC_SARX:
		return op_sarx;
	case ZYDIS_MNEMONIC_SHLX:
		return op_shlx;
	case ZYDIS_MNEMONIC_SHRX:
		return op_shrx;
	default:
		return NULL;
	}
}

bool decode_bmi(struct soft_cpu *c, const struct decoded *d, struct op *op)
{
	/* TBM has an immediate form of BEXTR. */
	if (d->insn.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
		return false;
	op->fn = function_of(d->insn.mnemonic);
	if (op->fn == NULL)
		return false;
	/* Outside 64-bit code VEX.W means nothing. */
	op->size = (d->mode & MODE_BITS) == MODE_64 && d->insn.raw.vex.W ? 8 : 4;
	op->n = 0;
	for (unsigned i = 0; i < d->insn.operand_count; i++) {
		bool high;

		if (d->operand[i].encoding == ZYDIS_OPERAND_ENCODING_NDSNDD)
			op->n = (uint8_t)decode_gpr(d->operand[i].reg.value, &high);
	}
	return true;
}
