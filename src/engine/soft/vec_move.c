/*
 * The moves that programs spend their time in, in C: whole vectors, and the low 4 or 8 bytes, between
 * registers and memory; and the instructions that only clear registers.
 *
 * Non-temporal stores are ordinary ones here, so they need no fence.
 */
#include "engine/soft/vec.h"

#include "engine/soft/run.h"

enum { MOVE_ALIGNED = 1 }; /* op->n */

static inline void check(struct soft_cpu *c, const struct op *op, bool vex)
{
	c->op = op;
	if (vex)
		fpu_check_avx(c);
	else
		fpu_check_sse(c);
}

static inline gva_t address(struct soft_cpu *c, const struct op *op, unsigned len, bool write)
{
	gva_t va = op_ea(c, op, len, write);

	if (len >= 16 && (op->n & MOVE_ALIGNED) && unlikely(va & (len - 1)))
		vec_misaligned(c);
	return va;
}

static inline void clear_high(struct fpu_area *f, unsigned r, bool vex)
{
	if (vex)
		f->high[r] = (struct vec128){{0, 0}};
}

static inline __attribute__((always_inline)) void load(struct soft_cpu *c, const struct op *op,
                                                       unsigned len, bool vex)
{
	struct fpu_area *f = fpu_area(c);
	const uint8_t *from;
	uint64_t low = 0;

	check(c, op, vex);
	from = vec_read(c, address(c, op, len, false), len);
	if (len < 16) {
		memcpy(&low, from, len);
		f->xmm[op->reg] = (struct vec128){{low, 0}};
	} else {
		memcpy(&f->xmm[op->reg], from, 16);
	}
	if (len == 32)
		memcpy(&f->high[op->reg], from + 16, 16);
	else
		clear_high(f, op->reg, vex);
	return op_next(c, op);
}

static inline __attribute__((always_inline)) void store(struct soft_cpu *c, const struct op *op,
                                                        unsigned len, bool vex)
{
	struct fpu_area *f = fpu_area(c);
	uint8_t *to;
	gva_t va;

	check(c, op, vex);
	va = address(c, op, len, true);
	to = vec_write(c, va, len);
	memcpy(to, &f->xmm[op->reg], MIN(len, 16u));
	if (len == 32)
		memcpy(to + 16, &f->high[op->reg], 16);
	if (unlikely(to == c->vec->bounce))
		mmu_store_bytes(c, va, to, len, c->cpl == 3);
	return op_next(c, op);
}

/* reg = rm: 8 (MOVQ: the rest is cleared), 16, 32 bytes */
static inline __attribute__((always_inline)) void copy(struct soft_cpu *c, const struct op *op,
                                                       unsigned len, bool vex)
{
	struct fpu_area *f = fpu_area(c);

	check(c, op, vex);
	f->xmm[op->reg] = f->xmm[op->rm];
	if (len == 8)
		f->xmm[op->reg].q[1] = 0;
	if (len == 32)
		f->high[op->reg] = f->high[op->rm];
	else
		clear_high(f, op->reg, vex);
	return op_next(c, op);
}

/* MOVD and MOVQ with general registers: vector reg, general rm. */
static inline __attribute__((always_inline)) void from_gpr(struct soft_cpu *c, const struct op *op,
                                                           unsigned len, bool vex)
{
	struct fpu_area *f = fpu_area(c);

	check(c, op, vex);
	f->xmm[op->reg].q[0] = len == 8 ? c->gpr[op->rm] : (uint32_t)c->gpr[op->rm];
	f->xmm[op->reg].q[1] = 0;
	clear_high(f, op->reg, vex);
	return op_next(c, op);
}

static inline __attribute__((always_inline)) void to_gpr(struct soft_cpu *c, const struct op *op,
                                                         unsigned len, bool vex)
{
	uint64_t v = fpu_area(c)->xmm[op->reg].q[0];

	check(c, op, vex);
	c->gpr[op->rm] = len == 8 ? v : (uint32_t)v;
	return op_next(c, op);
}

#define MOVE(what, len, vex)                                                        \
	static void op_##what##len##_##vex(struct soft_cpu *c, const struct op *op) \
	{                                                                           \
		return what(c, op, len, vex);                                       \
	}
#define MOVES(what, len)   \
	MOVE(what, len, 0) \
	MOVE(what, len, 1)
MOVES(load, 4)
MOVES(load, 8)
MOVES(load, 16)
MOVE(load, 32, 1)
MOVES(store, 4)
MOVES(store, 8)
MOVES(store, 16)
MOVE(store, 32, 1)
MOVES(copy, 8)
MOVES(copy, 16)
MOVE(copy, 32, 1)
MOVES(from_gpr, 4)
MOVES(from_gpr, 8)
MOVES(to_gpr, 4)
MOVES(to_gpr, 8)

/* By log2 of the length - 2, and whether it's VEX. */
static op_fn *const loads[4][2] = {{op_load4_0, op_load4_1},
                                   {op_load8_0, op_load8_1},
                                   {op_load16_0, op_load16_1},
                                   {NULL, op_load32_1}};
static op_fn *const stores[4][2] = {{op_store4_0, op_store4_1},
                                    {op_store8_0, op_store8_1},
                                    {op_store16_0, op_store16_1},
                                    {NULL, op_store32_1}};
static op_fn *const copies[4][2] = {
	{NULL}, {op_copy8_0, op_copy8_1}, {op_copy16_0, op_copy16_1}, {NULL, op_copy32_1}};
static op_fn *const from[2][2] = {{op_from_gpr4_0, op_from_gpr4_1},
                                  {op_from_gpr8_0, op_from_gpr8_1}};
static op_fn *const to[2][2] = {{op_to_gpr4_0, op_to_gpr4_1}, {op_to_gpr8_0, op_to_gpr8_1}};

/* Registers 8 and up exist in 64-bit code only. */
static inline void clear(struct vec128 *v, unsigned n)
{
	for (unsigned i = 0; i < 8; i++)
		v[i] = (struct vec128){{0, 0}};
	for (unsigned i = 8; n == 16 && i < 16; i++)
		v[i] = (struct vec128){{0, 0}};
}

static void op_vzeroupper(struct soft_cpu *c, const struct op *op)
{
	check(c, op, true);
	clear(fpu_area(c)->high, op->n);
	return op_next(c, op);
}

static void op_vzeroall(struct soft_cpu *c, const struct op *op)
{
	check(c, op, true);
	clear(fpu_area(c)->xmm, op->n);
	clear(fpu_area(c)->high, op->n);
	return op_next(c, op);
}

static void op_emms(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	fpu_check_mmx(c);
	fpu_enter_mmx(c); /* the stack's top becomes 0, as with AMD's processors */
	fpu_area(c)->ftw = 0;
	return op_next(c, op);
}

/* A whole vector; size from the operand. */
static bool decode_whole(const struct decoded *d, struct op *op, bool aligned)
{
	const ZydisDecodedOperand *to_ = &d->operand[0], *from_ = &d->operand[1];
	unsigned size = d->operand[0].size / 8, i = (unsigned)__builtin_ctz(size) - 2;
	bool vex = vec_is_vex(d);

	if (i > 3 || size < 16)
		return false;
	op->n = aligned ? MOVE_ALIGNED : 0;
	op->size = (uint8_t)size;
	if (from_->type == ZYDIS_OPERAND_TYPE_MEMORY) {
		op->reg = (uint8_t)vec_number(to_);
		op->fn = loads[i][vex];
	} else if (to_->type == ZYDIS_OPERAND_TYPE_MEMORY) {
		op->reg = (uint8_t)vec_number(from_);
		op->fn = stores[i][vex];
	} else {
		op->reg = (uint8_t)vec_number(to_);
		op->rm = (uint8_t)vec_number(from_);
		op->fn = copies[i][vex];
	}
	return op->fn != NULL;
}

static bool is_xmm(const ZydisDecodedOperand *o)
{
	return vec_is(o, ZYDIS_REGCLASS_XMM);
}

/* MOVD, MOVQ, MOVSS, MOVSD: the low 4 or 8 bytes.  Register forms that merge have stubs. */
static bool decode_low(const struct decoded *d, struct op *op, unsigned size, bool merges)
{
	const ZydisDecodedOperand *to_ = &d->operand[0], *from_ = &d->operand[1];
	unsigned i = size == 8;
	bool vex = vec_is_vex(d), high;

	op->n = 0;
	op->size = (uint8_t)size;
	if (is_xmm(to_) && from_->type == ZYDIS_OPERAND_TYPE_MEMORY) {
		op->reg = (uint8_t)vec_number(to_);
		op->fn = loads[i][vex];
	} else if (to_->type == ZYDIS_OPERAND_TYPE_MEMORY && is_xmm(from_)) {
		op->reg = (uint8_t)vec_number(from_);
		op->fn = stores[i][vex];
	} else if (is_xmm(to_) && is_xmm(from_) && !merges && size == 8) {
		op->reg = (uint8_t)vec_number(to_);
		op->rm = (uint8_t)vec_number(from_);
		op->fn = copies[i][vex];
	} else if (is_xmm(to_) && decode_gpr(from_->reg.value, &high) >= 0) {
		op->reg = (uint8_t)vec_number(to_);
		op->rm = (uint8_t)decode_gpr(from_->reg.value, &high);
		op->fn = from[i][vex];
	} else if (is_xmm(from_) && decode_gpr(to_->reg.value, &high) >= 0) {
		op->reg = (uint8_t)vec_number(from_);
		op->rm = (uint8_t)decode_gpr(to_->reg.value, &high);
		op->fn = to[i][vex];
	} else {
		return false; /* MMX, merging */
	}
	return true;
}

static bool clears(const struct decoded *d, struct op *op, op_fn *fn)
{
	op->n = (d->mode & MODE_BITS) == MODE_64 ? 16 : 8;
	op->fn = fn;
	return true;
}

bool decode_vec_move(struct soft_cpu *c, const struct decoded *d, struct op *op)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_MOVUPS:
	case ZYDIS_MNEMONIC_MOVUPD:
	case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_LDDQU:
	case ZYDIS_MNEMONIC_VMOVUPS:
	case ZYDIS_MNEMONIC_VMOVUPD:
	case ZYDIS_MNEMONIC_VMOVDQU:
	case ZYDIS_MNEMONIC_VLDDQU:
		return decode_whole(d, op, false);
	case ZYDIS_MNEMONIC_MOVAPS:
	case ZYDIS_MNEMONIC_MOVAPD:
	case ZYDIS_MNEMONIC_MOVDQA:
	case ZYDIS_MNEMONIC_MOVNTPS:
	case ZYDIS_MNEMONIC_MOVNTPD:
	case ZYDIS_MNEMONIC_MOVNTDQ:
	case ZYDIS_MNEMONIC_MOVNTDQA:
	case ZYDIS_MNEMONIC_VMOVAPS:
	case ZYDIS_MNEMONIC_VMOVAPD:
	case ZYDIS_MNEMONIC_VMOVDQA:
	case ZYDIS_MNEMONIC_VMOVNTPS:
	case ZYDIS_MNEMONIC_VMOVNTPD:
	case ZYDIS_MNEMONIC_VMOVNTDQ:
	case ZYDIS_MNEMONIC_VMOVNTDQA:
		return decode_whole(d, op, true);
	case ZYDIS_MNEMONIC_MOVD:
	case ZYDIS_MNEMONIC_VMOVD:
		return decode_low(d, op, 4, false);
	case ZYDIS_MNEMONIC_MOVQ:
	case ZYDIS_MNEMONIC_VMOVQ:
		return decode_low(d, op, 8, false);
	case ZYDIS_MNEMONIC_MOVSS:
	case ZYDIS_MNEMONIC_VMOVSS:
		return decode_low(d, op, 4, true);
	case ZYDIS_MNEMONIC_MOVSD:
	case ZYDIS_MNEMONIC_VMOVSD:
		return decode_low(d, op, 8, true);
	case ZYDIS_MNEMONIC_VZEROUPPER:
		return clears(d, op, op_vzeroupper);
	case ZYDIS_MNEMONIC_VZEROALL:
		return clears(d, op, op_vzeroall);
	case ZYDIS_MNEMONIC_EMMS:
		return clears(d, op, op_emms);
	default:
		return false;
	}
}
