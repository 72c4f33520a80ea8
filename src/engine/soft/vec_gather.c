/*
 * AVX2's gathers: VGATHER and VPGATHER.  Each element that arrived leaves the mask, so that a fault in
 * the middle goes on with the rest when the instruction is executed again (SDM 2C VGATHERDPD).
 */
#include "engine/soft/vec.h"

#include "engine/soft/run.h"

/* Place of an element of `each` bytes in a register that lies in two halves. */
static void *element(struct fpu_area *f, unsigned r, unsigned i, unsigned each)
{
	unsigned at = i * each;

	return at < 16 ? (uint8_t *)&f->xmm[r] + at : (uint8_t *)&f->high[r] + at - 16;
}

/* The numbers that don't fit the op's usual fields, in op->imm. */
#define INDEX(op)      ((op)->imm & 15)
#define INDEX_SIZE(op) ((op)->imm >> 4 & 15)
#define COUNT(op)      ((op)->imm >> 8 & 15)

static gva_t element_address(struct soft_cpu *c, const struct op *op, unsigned i)
{
	const void *p = element(fpu_area(c), INDEX(op), i, INDEX_SIZE(op));
	int64_t index = INDEX_SIZE(op) == 4 ? *(const int32_t *)p : *(const int64_t *)p;
	uint64_t offset = op_offset(c, op) + ((uint64_t)index << op->scale);

	if (op->asize == 4)
		offset = (uint32_t)offset;
	if ((c->mode & MODE_BITS) == MODE_64)
		return offset + c->seg_base[op->seg];
	return mmu_linear(c, op->seg, offset, op->size, false);
}

/* reg: destination, rm: mask, size: bytes of an element, n: bytes of the destination */
static void op_gather(struct soft_cpu *c, const struct op *op)
{
	struct fpu_area *f = fpu_area(c);
	unsigned n = COUNT(op);

	c->op = op;
	fpu_check_avx(c);
	for (unsigned i = 0; i < n; i++) {
		void *to = element(f, op->reg, i, op->size);
		uint8_t *mask = element(f, op->rm, i, op->size);

		if (mask[op->size - 1] & 0x80)
			fpu_load(c, element_address(c, op, i), to, op->size);
		memset(mask, 0, op->size);
	}
	f->xmm[op->rm] = f->high[op->rm] = (struct vec128){{0, 0}};
	if (n * op->size < 16)
		f->xmm[op->reg].q[1] = 0;
	if (n * op->size <= 16)
		f->high[op->reg] = (struct vec128){{0, 0}};
	return op_next(c, op);
}

static bool decode_gather(const struct decoded *d, struct op *op, unsigned index, unsigned each)
{
	const ZydisDecodedOperand *to = &d->operand[0], *mem = &d->operand[1],
				  *mask = &d->operand[2];
	int id = ZydisRegisterGetId(mem->mem.index);
	unsigned length = d->insn.raw.vex.L ? 32 : 16, n = length / MAX(index, each);

	op->reg = (uint8_t)vec_number(to);
	op->rm = (uint8_t)vec_number(mask);
	if (id < 0 || id == op->reg || id == op->rm || op->reg == op->rm)
		return false;
	op->size = (uint8_t)each;
	op->scale = (uint8_t)__builtin_ctz(mem->mem.scale ? mem->mem.scale : 1);
	op->index = SOFT_ZERO;
	op->imm = (uint64_t)id | index << 4 | n << 8;
	op->fn = op_gather;
	return true;
}

bool decode_vec_gather(struct soft_cpu *c, const struct decoded *d, struct op *op)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_VGATHERDPS:
	case ZYDIS_MNEMONIC_VPGATHERDD:
		return decode_gather(d, op, 4, 4);
	case ZYDIS_MNEMONIC_VGATHERDPD:
	case ZYDIS_MNEMONIC_VPGATHERDQ:
		return decode_gather(d, op, 4, 8);
	case ZYDIS_MNEMONIC_VGATHERQPS:
	case ZYDIS_MNEMONIC_VPGATHERQD:
		return decode_gather(d, op, 8, 4);
	case ZYDIS_MNEMONIC_VGATHERQPD:
	case ZYDIS_MNEMONIC_VPGATHERQQ:
		return decode_gather(d, op, 8, 8);
	default:
		return false;
	}
}
