/*
 * Stores and loads of chosen elements: MASKMOVQ, MASKMOVDQU, VMASKMOV, VPMASKMOV.  Elements that are
 * not chosen are neither read nor written, and cannot fault.
 */
#include "engine/soft/vec.h"

#include "engine/soft/run.h"

/* A whole register of 32 bytes. */
struct whole {
	uint8_t byte[32];
};

static struct whole get(struct soft_cpu *c, unsigned r)
{
	struct whole w;

	memcpy(w.byte, &fpu_area(c)->xmm[r], 16);
	memcpy(w.byte + 16, &fpu_area(c)->high[r], 16);
	return w;
}

/*
 * Elements of `each` bytes whose highest bit is set in mask.  Checks all before the first store; with
 * one run of chosen bytes that is one access.
 */
static void store_chosen(struct soft_cpu *c, gva_t va, const uint8_t *data, const uint8_t *mask,
                         unsigned len, unsigned each)
{
	unsigned first = len, end = 0;

	for (unsigned i = 0; i < len; i += each) {
		if (!(mask[i + each - 1] & 0x80))
			continue;
		first = MIN(first, i);
		end = i + each;
	}
	if (end == 0)
		return;
	mmu_check(c, va + first, end - first, true, c->cpl == 3);
	for (unsigned i = first; i < end; i += each)
		if (mask[i + each - 1] & 0x80)
			fpu_store(c, va + i, data + i, each);
}

/* reg: data, rm: mask, n: MMX (0), SSE (1), VEX (2) */
static void op_maskmov_bytes(struct soft_cpu *c, const struct op *op)
{
	struct fpu_area *f = fpu_area(c);
	gva_t va;

	c->op = op;
	if (op->n == 2)
		fpu_check_avx(c);
	else if (op->n == 1)
		fpu_check_sse(c);
	else
		fpu_check_mmx(c);
	va = op_ea(c, op, op->size, true);
	if (op->n == 0) {
		fpu_enter_mmx(c);
		store_chosen(c, va, (uint8_t *)&f->st[op->reg & 7], (uint8_t *)&f->st[op->rm & 7],
		             8, 1);
	} else {
		store_chosen(c, va, (uint8_t *)&f->xmm[op->reg], (uint8_t *)&f->xmm[op->rm], 16, 1);
	}
	return op_next(c, op);
}

/* Then the operand isn't looked at, not even its segment. */
static bool none_chosen(const struct whole *mask, unsigned len, unsigned each)
{
	uint8_t any = 0;

	for (unsigned i = each - 1; i < len; i += each)
		any |= mask->byte[i];
	return !(any & 0x80);
}

/* reg: data, rm: mask, n: bytes of an element, size: of the vector */
static NOINLINE void do_maskmov_store(struct soft_cpu *c, const struct op *op)
{
	struct whole data, mask;

	c->op = op;
	fpu_check_avx(c);
	data = get(c, op->reg);
	mask = get(c, op->rm);
	if (none_chosen(&mask, op->size, op->n))
		return;
	store_chosen(c, op_ea(c, op, op->size, true), data.byte, mask.byte, op->size, op->n);
}
OP_OF(maskmov_store)

static NOINLINE void do_maskmov_load(struct soft_cpu *c, const struct op *op)
{
	struct fpu_area *f = fpu_area(c);
	struct whole mask, out = {{0}};
	gva_t va = 0;

	c->op = op;
	fpu_check_avx(c);
	mask = get(c, op->rm);
	if (!none_chosen(&mask, op->size, op->n))
		va = op_ea(c, op, op->size, false);
	for (unsigned i = 0; i < op->size; i += op->n)
		if (mask.byte[i + op->n - 1u] & 0x80)
			fpu_load(c, va + i, out.byte + i, op->n);
	memcpy(&f->xmm[op->reg], out.byte, 16);
	memcpy(&f->high[op->reg], out.byte + 16, 16);
}
OP_OF(maskmov_load)

/* The operand is implied: DS:rDI, or another segment by prefix. */
static bool decode_bytes(const struct decoded *d, struct op *op, unsigned kind)
{
	op->reg = (uint8_t)vec_number(&d->operand[0]);
	op->rm = (uint8_t)vec_number(&d->operand[1]);
	op->size = kind ? 16 : 8;
	op->base = CPU_RDI;
	op->flags |= OP_MEM;
	for (unsigned i = 0; i < d->insn.operand_count; i++)
		if (d->operand[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			op->seg = (uint8_t)decode_seg(d, &d->operand[i]);
	op->n = (uint8_t)kind;
	op->fn = op_maskmov_bytes;
	return true;
}

static bool decode_elements(const struct decoded *d, struct op *op, unsigned each)
{
	bool is_load = d->operand[2].type == ZYDIS_OPERAND_TYPE_MEMORY;

	op->reg = (uint8_t)vec_number(&d->operand[is_load ? 0 : 2]);
	op->rm = (uint8_t)vec_number(&d->operand[1]);
	op->size = (uint8_t)(d->operand[1].size / 8);
	op->n = (uint8_t)each;
	op->fn = is_load ? op_maskmov_load : op_maskmov_store;
	return true;
}

bool decode_vec_mask(struct soft_cpu *c, const struct decoded *d, struct op *op)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_MASKMOVQ:
		return decode_bytes(d, op, 0);
	case ZYDIS_MNEMONIC_MASKMOVDQU:
		return decode_bytes(d, op, 1);
	case ZYDIS_MNEMONIC_VMASKMOVDQU:
		return decode_bytes(d, op, 2);
	case ZYDIS_MNEMONIC_VMASKMOVPS:
	case ZYDIS_MNEMONIC_VPMASKMOVD:
		return decode_elements(d, op, 4);
	case ZYDIS_MNEMONIC_VMASKMOVPD:
	case ZYDIS_MNEMONIC_VPMASKMOVQ:
		return decode_elements(d, op, 8);
	default:
		return false;
	}
}
