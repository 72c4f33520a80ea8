/* MOV MOVZX MOVSX LEA XCHG (registers) CMOV SETCC MOVBE BSWAP CBW.. CWD.. XLAT, flag moves, NOPs. */
#include "engine/soft/int.h"

#define MOV_FORMS(bits)                                                                      \
	static void op_mov##bits##_rr(struct soft_cpu *c, const struct op *op)               \
	{                                                                                    \
		PUT##bits(c, op->rm, GET##bits(c, op->reg));                                 \
		return op_next(c, op);                                                       \
	}                                                                                    \
	static void op_mov##bits##_ri(struct soft_cpu *c, const struct op *op)               \
	{                                                                                    \
		PUT##bits(c, op->rm, (uint##bits##_t)op->imm);                               \
		return op_next(c, op);                                                       \
	}                                                                                    \
	static inline void mov##bits##_rm(struct soft_cpu *c, const struct op *op,           \
	                                  uint##bits##_t m)                                  \
	{                                                                                    \
		PUT##bits(c, op->reg, m);                                                    \
	}                                                                                    \
	static inline uint##bits##_t mov##bits##_mr(struct soft_cpu *c, const struct op *op) \
	{                                                                                    \
		return GET##bits(c, op->reg);                                                \
	}                                                                                    \
	static inline uint##bits##_t mov##bits##_mi(struct soft_cpu *c, const struct op *op) \
	{                                                                                    \
		return (uint##bits##_t)op->imm;                                              \
	}                                                                                    \
	INT_LOAD(mov##bits##_rm, bits)                                                       \
	INT_STORE(mov##bits##_mr, bits)                                                      \
	INT_STORE(mov##bits##_mi, bits)

MOV_FORMS(8)
MOV_FORMS(16)
MOV_FORMS(32)
MOV_FORMS(64)

struct mov_row {
	op_fn *rr, *ri, *rm[INT_FORMS], *mr[INT_FORMS], *mi[INT_FORMS];
};

#define MOV_ROW(b)                                                           \
	{                                                                    \
		op_mov##b##_rr, op_mov##b##_ri, INT_FORM_ROW(mov##b##_rm),   \
			INT_FORM_ROW(mov##b##_mr), INT_FORM_ROW(mov##b##_mi) \
	}

static const struct mov_row mov[4] = {MOV_ROW(8), MOV_ROW(16), MOV_ROW(32), MOV_ROW(64)};

/* Widening: from the rm operand's size to reg's. */
#define WIDEN(name, from, cast, to)                                                     \
	static inline void name##from##_##to(struct soft_cpu *c, const struct op *op,   \
	                                     uint##from##_t v)                          \
	{                                                                               \
		PUT##to(c, op->reg, (uint##to##_t)(cast)v);                             \
	}                                                                               \
	static void op_##name##from##_##to##_r(struct soft_cpu *c, const struct op *op) \
	{                                                                               \
		name##from##_##to(c, op, GET##from(c, op->rm));                         \
		return op_next(c, op);                                                  \
	}                                                                               \
	INT_LOAD(name##from##_##to, from)

WIDEN(movzx, 8, uint8_t, 16)
WIDEN(movzx, 8, uint8_t, 32)
WIDEN(movzx, 16, uint16_t, 32)
WIDEN(movsx, 8, int8_t, 16)
WIDEN(movsx, 8, int8_t, 32)
WIDEN(movsx, 8, int8_t, 64)
WIDEN(movsx, 16, int16_t, 32)
WIDEN(movsx, 16, int16_t, 64)
WIDEN(movsx, 32, int32_t, 64)
WIDEN(movsx, 32, int32_t, 32)
WIDEN(movsx, 16, int16_t, 16)

struct widen_row {
	op_fn *reg, *mem[INT_FORMS];
};

#define W3(name, from, to)                                                  \
	{                                                                   \
		op_##name##from##_##to##_r, INT_FORM_ROW(name##from##_##to) \
	}
#define NONE3 \
	{     \
	}

/* [signed][from 1, 2, 4][to 2, 4, 8]; zero-extending to 64 is to 32. */
static const struct widen_row widen[2][3][3] = {
	{{W3(movzx, 8, 16), W3(movzx, 8, 32), W3(movzx, 8, 32)},
         {NONE3, W3(movzx, 16, 32), W3(movzx, 16, 32)},
         {NONE3, NONE3, NONE3}},
	{{W3(movsx, 8, 16), W3(movsx, 8, 32), W3(movsx, 8, 64)},
         {W3(movsx, 16, 16), W3(movsx, 16, 32), W3(movsx, 16, 64)},
         {NONE3, W3(movsx, 32, 32), W3(movsx, 32, 64)}},
};

static void op_lea64_s(struct soft_cpu *c, const struct op *op)
{
	c->gpr[op->reg] = EA_s(c, op);
	return op_next(c, op);
}

static void op_lea64_f(struct soft_cpu *c, const struct op *op)
{
	c->gpr[op->reg] =
		c->gpr[op->base] + (c->gpr[op->index] << op->scale) + (uint64_t)(int64_t)op->disp;
	return op_next(c, op);
}

static void op_lea(struct soft_cpu *c, const struct op *op)
{
	reg_set(c, op->reg, op->size, false, op_offset(c, op));
	return op_next(c, op);
}

static void op_cmov64(struct soft_cpu *c, const struct op *op)
{
	if (flags_test(c->aflags, op->n))
		c->gpr[op->reg] = c->gpr[op->rm];
	return op_next(c, op);
}

static void op_cmov(struct soft_cpu *c, const struct op *op)
{
	uint64_t v;

	c->op = op;
	v = rm_get(c, op); /* read even if not moved */
	if (!flags_test(c->aflags, op->n))
		v = reg_get(c, op->reg, op->size, false);
	reg_set(c, op->reg, op->size, false, v);
	return op_next(c, op);
}

static void op_setcc(struct soft_cpu *c, const struct op *op)
{
	uint8_t v = flags_test(c->aflags, op->n);

	c->op = op;
	soft_st8(c, op_ea(c, op, 1, true), v);
	return op_next(c, op);
}

static void op_setcc_reg(struct soft_cpu *c, const struct op *op)
{
	*reg8(c, op->rm, op->flags & OP_HIGH_RM) = flags_test(c->aflags, op->n);
	return op_next(c, op);
}

static void op_xchg_reg(struct soft_cpu *c, const struct op *op)
{
	uint64_t a = reg_get(c, op->rm, op->size, op->flags & OP_HIGH_RM);
	uint64_t b = reg_get(c, op->reg, op->size, op->flags & OP_HIGH_REG);

	reg_set(c, op->rm, op->size, op->flags & OP_HIGH_RM, b);
	reg_set(c, op->reg, op->size, op->flags & OP_HIGH_REG, a);
	return op_next(c, op);
}

static uint64_t swapped(uint64_t v, unsigned size)
{
	return __builtin_bswap64(v) >> (64 - size * 8);
}

static void op_movbe(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	if (op->n)
		mem_put(c, op_ea(c, op, op->size, true), op->size,
		        swapped(reg_get(c, op->reg, op->size, false), op->size));
	else
		reg_set(c, op->reg, op->size, false, swapped(rm_get(c, op), op->size));
	return op_next(c, op);
}

static void op_bswap(struct soft_cpu *c, const struct op *op)
{
	/* With 16 bits the result is undefined; processors give 0. */
	uint64_t v = op->size == 2 ? 0 : swapped(reg_get(c, op->reg, op->size, false), op->size);

	reg_set(c, op->reg, op->size, false, v);
	return op_next(c, op);
}

static int64_t sign_extended(struct soft_cpu *c, unsigned size)
{
	uint64_t a = c->gpr[CPU_RAX];

	return size == 1 ? (int8_t)a : size == 2 ? (int16_t)a : size == 4 ? (int32_t)a : (int64_t)a;
}

/* CBW, CWDE, CDQE */
static void op_cbw(struct soft_cpu *c, const struct op *op)
{
	reg_set(c, CPU_RAX, op->size, false, (uint64_t)sign_extended(c, op->size / 2));
	return op_next(c, op);
}

/* CWD, CDQ, CQO */
static void op_cwd(struct soft_cpu *c, const struct op *op)
{
	reg_set(c, CPU_RDX, op->size, false, (uint64_t)(sign_extended(c, op->size) >> 63));
	return op_next(c, op);
}

static void op_xlat(struct soft_cpu *c, const struct op *op)
{
	uint64_t a = c->gpr[CPU_RBX] + (uint8_t)c->gpr[CPU_RAX];

	c->op = op;
	a = op->asize == 8 ? a : op->asize == 4 ? (uint32_t)a : (uint16_t)a;
	*reg8(c, CPU_RAX, false) = soft_ld8(c, mmu_linear(c, op->seg, a, 1, false));
	return op_next(c, op);
}

/* MOV with the address as an immediate: too wide for op->disp. */
static void op_mov_moffs(struct soft_cpu *c, const struct op *op)
{
	gva_t va;

	c->op = op;
	va = mmu_linear(c, op->seg, op->imm, op->size, op->n);
	if (op->n)
		mem_put(c, va, op->size, reg_get(c, CPU_RAX, op->size, false));
	else
		reg_set(c, CPU_RAX, op->size, false, mem_get(c, va, op->size));
	return op_next(c, op);
}

static void op_lahf(struct soft_cpu *c, const struct op *op)
{
	*reg8(c, CPU_RAX, true) = (uint8_t)flags_get(c);
	return op_next(c, op);
}

static void op_sahf(struct soft_cpu *c, const struct op *op)
{
	c->aflags = flags_pack((flags_get(c) & FLAG_OF) | *reg8(c, CPU_RAX, true));
	return op_next(c, op);
}

static void op_carry(struct soft_cpu *c, const struct op *op)
{
	c->aflags = (uint16_t)(op->n == 0   ? c->aflags & ~AF_CF
	                       : op->n == 1 ? c->aflags | AF_CF
	                                    : c->aflags ^ AF_CF);
	return op_next(c, op);
}

static void op_direction(struct soft_cpu *c, const struct op *op)
{
	c->eflags = op->n ? c->eflags | FLAG_DF : c->eflags & ~FLAG_DF;
	return op_next(c, op);
}

static void op_salc(struct soft_cpu *c, const struct op *op)
{
	*reg8(c, CPU_RAX, false) = c->aflags & AF_CF ? 0xff : 0;
	return op_next(c, op);
}

static void op_nop(struct soft_cpu *c, const struct op *op)
{
	return op_next(c, op);
}

/* Caches aren't modelled; the operand is checked as a load of a byte. */
static void op_cache_line(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	mmu_check(c, op_ea(c, op, 1, false), 1, false, c->cpl == 3);
	return op_next(c, op);
}

static void op_mfence(struct soft_cpu *c, const struct op *op)
{
	atomic_thread_fence(memory_order_seq_cst);
	return op_next(c, op);
}

static void byte_regs(struct op *op)
{
	op->reg = (uint8_t)(op->reg * 8 + !!(op->flags & OP_HIGH_REG));
	op->rm = (uint8_t)(op->rm * 8 + !!(op->flags & OP_HIGH_RM));
}

static bool decode_mov(const struct decoded *d, struct op *op)
{
	const ZydisDecodedOperand *o = d->operand;
	bool imm = o[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
	bool store = o[0].type == ZYDIS_OPERAND_TYPE_MEMORY;
	const struct mov_row *row;
	unsigned s;

	for (unsigned i = 0; i < 2; i++)
		if (o[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    ZydisRegisterGetClass(o[i].reg.value) > ZYDIS_REGCLASS_GPR64)
			return false; /* segment, control, debug registers */
	if (o[0].encoding == ZYDIS_OPERAND_ENCODING_DISP16_32_64 ||
	    o[1].encoding == ZYDIS_OPERAND_ENCODING_DISP16_32_64) {
		op->n = store;
		op->fn = op_mov_moffs;
		return true;
	}
	s = (unsigned)__builtin_ctz(op->size);
	if (!(op->flags & OP_MEM)) {
		if (!imm && o[0].encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG) {
			uint8_t r = op->reg;
			bool high = op->flags & OP_HIGH_REG, other = op->flags & OP_HIGH_RM;

			op->reg = op->rm;
			op->rm = r;
			op->flags &= (uint16_t) ~(OP_HIGH_REG | OP_HIGH_RM);
			op->flags |= (other ? OP_HIGH_REG : 0) | (high ? OP_HIGH_RM : 0);
		}
		if (o[0].encoding == ZYDIS_OPERAND_ENCODING_OPCODE) {
			op->rm = op->reg;
			op->flags |= op->flags & OP_HIGH_REG ? OP_HIGH_RM : 0;
		}
		op->flags |= OP_PURE;
	}
	if (s == 0)
		byte_regs(op);
	row = &mov[s];
	if (!(op->flags & OP_MEM))
		op->fn = imm ? row->ri : row->rr;
	else
		op->fn = (!store ? row->rm : imm ? row->mi : row->mr)[int_form(d, op)];
	return true;
}

static bool decode_widen(const struct decoded *d, struct op *op, bool sign)
{
	unsigned from = (unsigned)__builtin_ctz(d->operand[1].size / 8);
	unsigned to = (unsigned)__builtin_ctz(op->size) - 1;

	/* MOVSXD with 16-bit operands only copies. */
	if (sign && from == 2 && to == 0)
		from = 1;
	if (from > 2 || to > 2)
		return false;
	if (from == 1 && to == 0)
		sign = true; /* 16 to 16 bits: a move */
	if (from == 0 && !(op->flags & OP_MEM))
		op->rm = (uint8_t)(op->rm * 8 + !!(op->flags & OP_HIGH_RM));
	if (!(op->flags & OP_MEM))
		op->flags |= OP_PURE;
	op->fn = op->flags & OP_MEM ? widen[sign][from][to].mem[int_form(d, op)]
	                            : widen[sign][from][to].reg;
	return op->fn != NULL;
}

static bool decode_lea(const struct decoded *d, struct op *op)
{
	op->flags = (uint16_t)((op->flags & ~OP_MEM) | OP_PURE);
	op->fn = op_lea;
	if (op->size == 8 && op->asize == 8)
		op->fn = op->index == SOFT_ZERO ? op_lea64_s : op_lea64_f;
	return true;
}

static bool plain(struct op *op, op_fn *fn, unsigned n)
{
	op->fn = fn;
	op->n = (uint8_t)n;
	return true;
}

static bool decode_conditional(const struct decoded *d, struct op *op)
{
	switch (d->insn.meta.category) {
	case ZYDIS_CATEGORY_CMOV:
		if (d->insn.mnemonic >= ZYDIS_MNEMONIC_FCMOVB &&
		    d->insn.mnemonic <= ZYDIS_MNEMONIC_FCMOVU)
			return false;
		return plain(op, op->size == 8 && !(op->flags & OP_MEM) ? op_cmov64 : op_cmov,
		             op->opcode & 15);
	case ZYDIS_CATEGORY_SETCC:
		return plain(op, op->flags & OP_MEM ? op_setcc : op_setcc_reg, op->opcode & 15);
	case ZYDIS_CATEGORY_PREFETCH:
	case ZYDIS_CATEGORY_NOP:
	case ZYDIS_CATEGORY_WIDENOP:
		/* AMD's PREFETCH group has no register form. */
		if (op->opcode == 0x10d && !(op->flags & OP_MEM))
			return false;
		op->flags = (uint16_t)((op->flags & ~OP_MEM) | OP_PURE);
		return plain(op, op_nop, 0);
	default:
		return false;
	}
}

bool decode_move(struct soft_cpu *c, const struct decoded *d, struct op *op)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_MOVNTI:
		op->size = (uint8_t)(d->operand[0].size / 8); /* 32 bits in 16-bit code too */
		return decode_mov(d, op);
	case ZYDIS_MNEMONIC_MOV:
		return decode_mov(d, op);
	case ZYDIS_MNEMONIC_MOVZX:
		return decode_widen(d, op, false);
	case ZYDIS_MNEMONIC_MOVSX:
	case ZYDIS_MNEMONIC_MOVSXD:
		return decode_widen(d, op, true);
	case ZYDIS_MNEMONIC_LEA:
		return decode_lea(d, op);
	case ZYDIS_MNEMONIC_PAUSE:
		/* With REX.B it's XCHG R8, RAX. */
		if (!(d->insn.attributes & ZYDIS_ATTRIB_HAS_REX) || !d->insn.raw.rex.B)
			return false;
		op->reg = CPU_R8;
		op->rm = CPU_RAX;
		return plain(op, op_xchg_reg, 0);
	case ZYDIS_MNEMONIC_XCHG:
		if (d->operand[0].encoding == ZYDIS_OPERAND_ENCODING_OPCODE ||
		    d->operand[1].encoding == ZYDIS_OPERAND_ENCODING_OPCODE)
			op->rm = CPU_RAX;
		return !(op->flags & OP_MEM) && plain(op, op_xchg_reg, 0);
	case ZYDIS_MNEMONIC_MOVBE:
		return plain(op, op_movbe, d->operand[0].type == ZYDIS_OPERAND_TYPE_MEMORY);
	case ZYDIS_MNEMONIC_BSWAP:
		return plain(op, op_bswap, 0);
	case ZYDIS_MNEMONIC_CBW:
	case ZYDIS_MNEMONIC_CWDE:
	case ZYDIS_MNEMONIC_CDQE:
		return plain(op, op_cbw, 0);
	case ZYDIS_MNEMONIC_CWD:
	case ZYDIS_MNEMONIC_CDQ:
	case ZYDIS_MNEMONIC_CQO:
		return plain(op, op_cwd, 0);
	case ZYDIS_MNEMONIC_XLAT:
		for (unsigned i = 0; i < d->insn.operand_count; i++)
			if (d->operand[i].type == ZYDIS_OPERAND_TYPE_MEMORY) {
				int seg = ZydisRegisterGetId(d->operand[i].mem.segment);

				op->seg = (uint8_t)(seg < 0 ? CPU_DS : seg);
			}
		return plain(op, op_xlat, 0);
	case ZYDIS_MNEMONIC_LAHF:
		return plain(op, op_lahf, 0);
	case ZYDIS_MNEMONIC_SAHF:
		return plain(op, op_sahf, 0);
	case ZYDIS_MNEMONIC_CLC:
		return plain(op, op_carry, 0);
	case ZYDIS_MNEMONIC_STC:
		return plain(op, op_carry, 1);
	case ZYDIS_MNEMONIC_CMC:
		return plain(op, op_carry, 2);
	case ZYDIS_MNEMONIC_CLD:
		return plain(op, op_direction, 0);
	case ZYDIS_MNEMONIC_STD:
		return plain(op, op_direction, 1);
	case ZYDIS_MNEMONIC_SALC:
		return plain(op, op_salc, 0);
	case ZYDIS_MNEMONIC_MFENCE:
		return plain(op, op_mfence, 0);
	case ZYDIS_MNEMONIC_CLFLUSH:
	case ZYDIS_MNEMONIC_CLFLUSHOPT:
	case ZYDIS_MNEMONIC_CLWB:
		return plain(op, op_cache_line, 0);
	case ZYDIS_MNEMONIC_ENDBR32:
	case ZYDIS_MNEMONIC_ENDBR64:
	case ZYDIS_MNEMONIC_LFENCE:
	case ZYDIS_MNEMONIC_SFENCE:
	case ZYDIS_MNEMONIC_CLDEMOTE:
		op->flags = (uint16_t)((op->flags & ~OP_MEM) | OP_PURE);
		return plain(op, op_nop, 0);
	default:
		return decode_conditional(d, op);
	}
}
