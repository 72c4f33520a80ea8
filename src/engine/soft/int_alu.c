/*
 * ADD OR ADC SBB AND SUB XOR CMP TEST INC DEC NEG NOT, one handler per size and operand form, made
 * by macros: rr (rm register, reg), ri (rm register, immediate), rm (reg, memory), mr (memory, reg),
 * mi (memory, immediate).  The host's instruction computes result and flags.
 */
#include "engine/soft/int.h"

#define ALU_FN(name, insn, bits, sfx, con)                                                    \
	static inline uint##bits##_t name##bits(struct soft_cpu *c, uint##bits##_t a,         \
	                                        uint##bits##_t b)                             \
	{                                                                                     \
		uint16_t f;                                                                   \
                                                                                              \
		asm(insn sfx " %2, %0" FLAGS_OUT : "+" con(a), "=&a"(f) : con "m"(b) : "cc"); \
		c->aflags = f;                                                                \
		return a;                                                                     \
	}
#define ALU_CARRY_FN(name, insn, bits, sfx, con)                                      \
	static inline uint##bits##_t name##bits(struct soft_cpu *c, uint##bits##_t a, \
	                                        uint##bits##_t b)                     \
	{                                                                             \
		uint16_t f = c->aflags;                                               \
                                                                                      \
		asm(FLAGS_IN insn sfx " %2, %0" FLAGS_OUT                             \
		    : "+&" con(a), "+&a"(f)                                           \
		    : con "m"(b)                                                      \
		    : "cc");                                                          \
		c->aflags = f;                                                        \
		return a;                                                             \
	}
/* One operand; INC and DEC keep CF.  b is not used. */
#define ALU_ONE_FN(name, insn, bits, sfx, con)                                           \
	static inline uint##bits##_t name##bits(struct soft_cpu *c, uint##bits##_t a,    \
	                                        uint##bits##_t b)                        \
	{                                                                                \
		uint16_t f = c->aflags;                                                  \
                                                                                         \
		asm(FLAGS_IN insn sfx " %0" FLAGS_OUT : "+&" con(a), "+&a"(f) : : "cc"); \
		c->aflags = f;                                                           \
		return a;                                                                \
	}

#define ALL_SIZES(M, name, insn)    \
	M(name, insn, 8, "b", "q")  \
	M(name, insn, 16, "w", "r") \
	M(name, insn, 32, "l", "r") \
	M(name, insn, 64, "q", "r")

ALL_SIZES(ALU_FN, add, "add")
ALL_SIZES(ALU_FN, or, "or")
ALL_SIZES(ALU_CARRY_FN, adc, "adc")
ALL_SIZES(ALU_CARRY_FN, sbb, "sbb")
ALL_SIZES(ALU_FN, and, "and")
ALL_SIZES(ALU_FN, sub, "sub")
ALL_SIZES(ALU_FN, xor, "xor")
ALL_SIZES(ALU_FN, cmp, "cmp")
ALL_SIZES(ALU_FN, test, "test")
ALL_SIZES(ALU_ONE_FN, inc, "inc")
ALL_SIZES(ALU_ONE_FN, dec, "dec")
ALL_SIZES(ALU_ONE_FN, neg, "neg")
ALL_SIZES(ALU_ONE_FN, not, "not")

/* Write-back of a register, or none for CMP and TEST. */
#define BACK_yes(bits, c, r, v) PUT##bits(c, r, v)
#define BACK_no(bits, c, r, v)  (void)(v)

#define REG_FORMS(name, bits, back)                                                              \
	static void op_##name##bits##_rr(struct soft_cpu *c, const struct op *op)                \
	{                                                                                        \
		uint##bits##_t v = name##bits(c, GET##bits(c, op->rm), GET##bits(c, op->reg));   \
                                                                                                 \
		BACK_##back(bits, c, op->rm, v);                                                 \
		return op_next(c, op);                                                           \
	}                                                                                        \
	static void op_##name##bits##_ri(struct soft_cpu *c, const struct op *op)                \
	{                                                                                        \
		uint##bits##_t v = name##bits(c, GET##bits(c, op->rm), (uint##bits##_t)op->imm); \
                                                                                                 \
		BACK_##back(bits, c, op->rm, v);                                                 \
		return op_next(c, op);                                                           \
	}

#define LOAD_FORM(name, bits, back)                                                 \
	static inline void name##bits##_rm(struct soft_cpu *c, const struct op *op, \
	                                   uint##bits##_t m)                        \
	{                                                                           \
		m = name##bits(c, GET##bits(c, op->reg), m);                        \
		BACK_##back(bits, c, op->reg, m);                                   \
	}                                                                           \
	INT_LOAD(name##bits##_rm, bits)

/* Memory is the destination, `with` the other operand. */
#define STORE_FORM(name, bits, form, with)                                                         \
	static uint64_t name##bits##_##form(struct soft_cpu *c, const struct op *op, uint64_t old) \
	{                                                                                          \
		return name##bits(c, (uint##bits##_t)old, (uint##bits##_t)(with));                 \
	}                                                                                          \
	INT_MODIFY(name##bits##_##form, bits)

/* The same for CMP and TEST, which only read. */
#define READ_FORM(name, bits, form, with)                                               \
	static inline void name##bits##_##form(struct soft_cpu *c, const struct op *op, \
	                                       uint##bits##_t m)                        \
	{                                                                               \
		(void)name##bits(c, m, (uint##bits##_t)(with));                         \
	}                                                                               \
	INT_LOAD(name##bits##_##form, bits)

#define ALU_FORMS(name, bits)                             \
	REG_FORMS(name, bits, yes)                        \
	LOAD_FORM(name, bits, yes)                        \
	STORE_FORM(name, bits, mr, GET##bits(c, op->reg)) \
	STORE_FORM(name, bits, mi, op->imm)
#define CMP_FORMS(name, bits)                            \
	REG_FORMS(name, bits, no)                        \
	LOAD_FORM(name, bits, no)                        \
	READ_FORM(name, bits, mr, GET##bits(c, op->reg)) \
	READ_FORM(name, bits, mi, op->imm)
#define ONE_FORMS(name, bits)                                                     \
	STORE_FORM(name, bits, mi, 0)                                             \
	static void op_##name##bits##_ri(struct soft_cpu *c, const struct op *op) \
	{                                                                         \
		uint##bits##_t v = name##bits(c, GET##bits(c, op->rm), 0);        \
                                                                                  \
		PUT##bits(c, op->rm, v);                                          \
		return op_next(c, op);                                            \
	}

#define FORMS(M, name) M(name, 8) M(name, 16) M(name, 32) M(name, 64)

FORMS(ALU_FORMS, add)
FORMS(ALU_FORMS, or)
FORMS(ALU_FORMS, adc)
FORMS(ALU_FORMS, sbb)
FORMS(ALU_FORMS, and)
FORMS(ALU_FORMS, sub)
FORMS(ALU_FORMS, xor)
FORMS(CMP_FORMS, cmp)
FORMS(CMP_FORMS, test)
FORMS(ONE_FORMS, inc)
FORMS(ONE_FORMS, dec)
FORMS(ONE_FORMS, neg)
FORMS(ONE_FORMS, not )

/* Variants for when nobody sees the flags. */
#define QUIET_FORMS(name, bits, expr)                                                 \
	static void op_##name##bits##_rr_q(struct soft_cpu *c, const struct op *op)   \
	{                                                                             \
		uint##bits##_t a = GET##bits(c, op->rm), b = GET##bits(c, op->reg);   \
                                                                                      \
		PUT##bits(c, op->rm, (uint##bits##_t)(expr));                         \
		return op_next(c, op);                                                \
	}                                                                             \
	static void op_##name##bits##_ri_q(struct soft_cpu *c, const struct op *op)   \
	{                                                                             \
		uint##bits##_t a = GET##bits(c, op->rm), b = (uint##bits##_t)op->imm; \
                                                                                      \
		PUT##bits(c, op->rm, (uint##bits##_t)(expr));                         \
		return op_next(c, op);                                                \
	}

#define QUIET(name, expr)           \
	QUIET_FORMS(name, 8, expr)  \
	QUIET_FORMS(name, 16, expr) \
	QUIET_FORMS(name, 32, expr) \
	QUIET_FORMS(name, 64, expr)

QUIET(add, a + b)
QUIET(or, a | b)
QUIET(and, a &b)
QUIET(sub, a - b)
QUIET(xor, a ^ b)

/* By operands: with immediate or without; those in memory by form. */
struct alu_row {
	op_fn *reg[2], *quiet[2]; /* rr, ri; without flags */
	op_fn *rm[INT_FORMS], *mem[2][INT_FORMS];
};

#define ROW(name, bits, q)                                                           \
	{                                                                            \
		{op_##name##bits##_rr, op_##name##bits##_ri}, q(name, bits),         \
			INT_FORM_ROW(name##bits##_rm),                               \
		{                                                                    \
			INT_FORM_ROW(name##bits##_mr), INT_FORM_ROW(name##bits##_mi) \
		}                                                                    \
	}
#define WITH_QUIET(name, bits)                                 \
	{                                                      \
		op_##name##bits##_rr_q, op_##name##bits##_ri_q \
	}
#define NO_QUIET(name, bits) \
	{                    \
		NULL, NULL   \
	}
#define ROWS(name, q)                                                                 \
	{                                                                             \
		ROW(name, 8, q), ROW(name, 16, q), ROW(name, 32, q), ROW(name, 64, q) \
	}

/* In the order of the opcodes' and ModRM.reg's encoding, TEST last. */
static const struct alu_row alu[9][4] = {
	ROWS(add, WITH_QUIET), ROWS(or, WITH_QUIET),  ROWS(adc, NO_QUIET),
	ROWS(sbb, NO_QUIET),   ROWS(and, WITH_QUIET), ROWS(sub, WITH_QUIET),
	ROWS(xor, WITH_QUIET), ROWS(cmp, NO_QUIET),   ROWS(test, NO_QUIET),
};

struct one_row {
	op_fn *reg, *mem[INT_FORMS];
};

#define ONE_ROW(name, bits)                                         \
	{                                                           \
		op_##name##bits##_ri, INT_FORM_ROW(name##bits##_mi) \
	}
#define ONE_ROWS(name)                                                                    \
	{                                                                                 \
		ONE_ROW(name, 8), ONE_ROW(name, 16), ONE_ROW(name, 32), ONE_ROW(name, 64) \
	}

static const struct one_row one[4][4] = {ONE_ROWS(inc), ONE_ROWS(dec), ONE_ROWS(neg),
                                         ONE_ROWS(not )};

/* LOCK: the functions of the memory forms serve as steps of compare-and-exchange. */
#define LOCKED_ROW(name)                                                  \
	{                                                                 \
		{name##8_mr, name##16_mr, name##32_mr, name##64_mr},      \
		{                                                         \
			name##8_mi, name##16_mi, name##32_mi, name##64_mi \
		}                                                         \
	}
#define LOCKED_ONE(name)                                          \
	{                                                         \
		name##8_mi, name##16_mi, name##32_mi, name##64_mi \
	}

static mmu_modify_fn *const locked[7][2][4] = {
	LOCKED_ROW(add), LOCKED_ROW(or),  LOCKED_ROW(adc), LOCKED_ROW(sbb),
	LOCKED_ROW(and), LOCKED_ROW(sub), LOCKED_ROW(xor),
};
static mmu_modify_fn *const locked_one[4][4] = {LOCKED_ONE(inc), LOCKED_ONE(dec), LOCKED_ONE(neg),
                                                LOCKED_ONE(not )};

static void op_locked(struct soft_cpu *c, const struct op *op)
{
	int_modify(c, op, (mmu_modify_fn *)op->ptr);
	return op_next(c, op);
}

static void byte_regs(struct op *op)
{
	if (op->size != 1)
		return;
	op->reg = (uint8_t)(op->reg * 8 + !!(op->flags & OP_HIGH_REG));
	op->rm = (uint8_t)(op->rm * 8 + !!(op->flags & OP_HIGH_RM));
}

static bool decode_one(const struct decoded *d, struct op *op, unsigned k)
{
	unsigned s = (unsigned)__builtin_ctz(op->size);

	op->size = (uint8_t)(1u << s);
	byte_regs(op);
	if (!(op->flags & OP_MEM)) {
		if (d->operand[0].encoding == ZYDIS_OPERAND_ENCODING_OPCODE)
			op->rm = op->reg;
		op->fn = one[k][s].reg;
		if (k == 3)
			op->flags |= OP_PURE;
	} else if (op->flags & OP_LOCK) {
		op->fn = op_locked;
		op->ptr = (void *)locked_one[k][s];
	} else {
		op->fn = one[k][s].mem[int_form(d, op)];
	}
	return true;
}

static int alu_number(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_ADD:
		return 0;
	case ZYDIS_MNEMONIC_OR:
		return 1;
	case ZYDIS_MNEMONIC_ADC:
		return 2;
	case ZYDIS_MNEMONIC_SBB:
		return 3;
	case ZYDIS_MNEMONIC_AND:
		return 4;
	case ZYDIS_MNEMONIC_SUB:
		return 5;
	case ZYDIS_MNEMONIC_XOR:
		return 6;
	case ZYDIS_MNEMONIC_CMP:
		return 7;
	case ZYDIS_MNEMONIC_TEST:
		return 8;
	default:
		return -1;
	}
}

static bool decode_two(const struct decoded *d, struct op *op, unsigned k)
{
	const ZydisDecodedOperand *o = d->operand;
	bool imm = o[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
	unsigned s = (unsigned)__builtin_ctz(op->size);
	const struct alu_row *row = &alu[k][s];

	byte_regs(op);
	if (!(op->flags & OP_MEM)) {
		/* Opcodes with rAX and an immediate: rm is 0 already.  OP reg, rm: turned round. */
		if (!imm && o[0].encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG) {
			uint8_t r = op->reg;

			op->reg = op->rm;
			op->rm = r;
		}
		op->fn = row->reg[imm];
		if (k != 2 && k != 3)
			int_kills(op, row->quiet[imm]);
		return true;
	}
	if (op->flags & OP_LOCK) {
		op->fn = op_locked;
		op->ptr = (void *)locked[k][imm][s];
		return true;
	}
	if (imm || o[0].type == ZYDIS_OPERAND_TYPE_MEMORY)
		op->fn = row->mem[imm][int_form(d, op)];
	else
		op->fn = row->rm[int_form(d, op)];
	return true;
}

bool decode_alu(struct soft_cpu *c, const struct decoded *d, struct op *op)
{
	int k = alu_number(d->insn.mnemonic);

	if (k >= 0)
		return decode_two(d, op, (unsigned)k);
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_INC:
		return decode_one(d, op, 0);
	case ZYDIS_MNEMONIC_DEC:
		return decode_one(d, op, 1);
	case ZYDIS_MNEMONIC_NEG:
		return decode_one(d, op, 2);
	case ZYDIS_MNEMONIC_NOT:
		return decode_one(d, op, 3);
	default:
		return false;
	}
}
