/*
 * Executes instructions that have a stub: who may, where the memory operand is, and what becomes of
 * SIMD floating-point exceptions.
 *
 * With all exceptions masked in MXCSR (nearly always) the stub works with the guest's MXCSR itself.
 * Otherwise it runs with all of them masked; when one came up that is not, all is put back as it was
 * and #XM raised: no destination changes.
 */
#include "engine/soft/vec.h"

#include "engine/soft/run.h"
#include "host/host.h"

enum { VEC_ALIGNED = 1 }; /* op->n */

enum class { CLASS_SSE, CLASS_AVX, CLASS_MMX, CLASS_MMX_SSE, CLASSES };
enum kind { KIND_REG, KIND_LOAD, KIND_STORE, KINDS };

#define MXCSR_FLAGS 0x003fu
#define MXCSR_PRE   0x0007u /* invalid, denormal, divide by zero: found before computing */
#define MXCSR_UE    0x0010u
#define MXCSR_MASKS 0x1f80u
#define MXCSR_UM    0x0800u
#define MXCSR_FZ    0x8000u
#define MASKS_SHIFT 7

static void stop(struct soft_cpu *c, const struct op *op)
{
}

const struct op vec_stop[2] = {{.fn = stop}, {.fn = stop}};

static inline void check(struct soft_cpu *c, enum class class)
{
	switch (class) {
	case CLASS_SSE:
		fpu_check_sse(c);
		break;
	case CLASS_AVX:
		fpu_check_avx(c);
		break;
	default:
		if (class == CLASS_MMX_SSE)
			fpu_check_sse(c);
		fpu_check_mmx(c);
		break;
	}
}

struct snapshot {
	struct fpu_area fpu;
	uint64_t gpr[CPU_GPRS];
	uint16_t aflags;
};

static void put_back(struct soft_cpu *c, const struct snapshot *s)
{
	*fpu_area(c) = s->fpu;
	memcpy(c->gpr, s->gpr, sizeof(s->gpr));
	c->aflags = s->aflags;
}

/* Runs the stub with all exceptions masked; which came up? */
static uint32_t run_masked(struct soft_cpu *c, const struct op *op, void *mem, uint32_t also)
{
	struct fpu_area *f = fpu_area(c);

	f->mxcsr = ((f->mxcsr | MXCSR_MASKS) & ~MXCSR_FLAGS) | also;
	((vec_stub *)op->ptr)(c, vec_stop, mem);
	return f->mxcsr & MXCSR_FLAGS;
}

/*
 * With unmasked exceptions.  Unmasked underflow comes up for exact tiny results, too: flushing to zero
 * tells of them.  (Whether such a result would be inexact with an unbounded exponent isn't known: the
 * precision flag is that of the denormal result.)
 */
static NOINLINE void run_unmasked(struct soft_cpu *c, const struct op *op, void *mem)
{
	struct fpu_area *f = fpu_area(c);
	struct snapshot before = {.fpu = *f, .aflags = c->aflags};
	uint32_t mxcsr = f->mxcsr, raised = 0, unmasked;

	memcpy(before.gpr, c->gpr, sizeof(before.gpr));
	if (!(mxcsr & MXCSR_UM)) {
		raised = run_masked(c, op, mem, MXCSR_FZ) & MXCSR_UE;
		put_back(c, &before);
		f->mxcsr &= ~MXCSR_FZ;
	}
	raised |= run_masked(c, op, mem, 0);
	unmasked = raised & ~(mxcsr >> MASKS_SHIFT);
	if (unmasked & MXCSR_PRE)
		raised &= MXCSR_PRE;
	if (unmasked)
		put_back(c, &before);
	f->mxcsr = mxcsr | raised;
	if (unmasked)
		soft_fault(c, c->cr4 & CR4_OSXMMEXCPT ? EXC_XM : EXC_UD);
}

static inline bool all_masked(struct soft_cpu *c)
{
	return (fpu_area(c)->mxcsr & MXCSR_MASKS) == MXCSR_MASKS;
}

/* Conversion to half floats in memory: the store may fault, the conversion may raise. */
static NOINLINE void store_computed(struct soft_cpu *c, const struct op *op, gva_t va)
{
	mmu_check(c, va, op->size, true, c->cpl == 3);
	if (all_masked(c))
		((vec_stub *)op->ptr)(c, vec_stop, c->vec->bounce);
	else
		run_unmasked(c, op, c->vec->bounce);
	fpu_store(c, va, c->vec->bounce, op->size);
}

/* Everything; the callers below give constants. */
static inline __attribute__((always_inline)) void execute(struct soft_cpu *c, const struct op *op,
                                                          enum class class, enum kind kind, bool fp)
{
	vec_stub *stub = (vec_stub *)op->ptr;
	void *mem = NULL;
	gva_t va = 0;

	c->op = op;
	check(c, class);
	if (kind != KIND_REG) {
		va = op_ea(c, op, op->size, kind == KIND_STORE);
		if ((op->n & VEC_ALIGNED) && unlikely(va & (op->size - 1u)))
			vec_misaligned(c);
	}
	if (kind == KIND_LOAD)
		mem = vec_read(c, va, op->size);
	if (kind == KIND_STORE && !fp) {
		mem = vec_write(c, va, op->size);
		if (mem == c->vec->bounce)
			mmu_check(c, va, op->size, true, c->cpl == 3);
	}
	if (class == CLASS_MMX || class == CLASS_MMX_SSE)
		fpu_enter_mmx(c);
	if (kind == KIND_STORE && fp) {
		store_computed(c, op, va);
		return op_next(c, op);
	}
	if (kind == KIND_STORE && unlikely(mem == c->vec->bounce)) {
		stub(c, vec_stop, mem);
		fpu_store(c, va, c->vec->bounce, op->size);
		return op_next(c, op);
	}
	if (fp && unlikely(!all_masked(c))) {
		run_unmasked(c, op, mem);
		return op_next(c, op);
	}
	return stub(c, op, mem);
}

/* By class and kind; _fp: with MXCSR. */
#define HANDLER(name, class, kind)                                          \
	static void op_##name(struct soft_cpu *c, const struct op *op)      \
	{                                                                   \
		return execute(c, op, class, kind, false);                  \
	}                                                                   \
	static void op_##name##_fp(struct soft_cpu *c, const struct op *op) \
	{                                                                   \
		return execute(c, op, class, kind, true);                   \
	}
#define HANDLERS(name, class)                  \
	HANDLER(name##_reg, class, KIND_REG)   \
	HANDLER(name##_load, class, KIND_LOAD) \
	HANDLER(name##_store, class, KIND_STORE)
HANDLERS(sse, CLASS_SSE)
HANDLERS(avx, CLASS_AVX)
HANDLERS(mmx, CLASS_MMX)
HANDLERS(mmx_sse, CLASS_MMX_SSE)

#define ROW(name)                                                                               \
	{                                                                                       \
		{op_##name##_reg, op_##name##_reg_fp}, {op_##name##_load, op_##name##_load_fp}, \
			{op_##name##_store, op_##name##_store_fp},                              \
	}
static op_fn *const handler[CLASSES][KINDS][2] = {ROW(sse), ROW(avx), ROW(mmx), ROW(mmx_sse)};

/* Legacy 16-byte operands must be aligned, but for those made to be not. */
static bool wants_alignment(const struct decoded *d, unsigned size)
{
	/* AMD's processors take any alignment here. */
	if (d->insn.meta.isa_set == ZYDIS_ISA_SET_SHA)
		return false;
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_LDDQU:
	case ZYDIS_MNEMONIC_MOVUPS:
	case ZYDIS_MNEMONIC_MOVUPD:
	case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_PCMPESTRI:
	case ZYDIS_MNEMONIC_PCMPESTRM:
	case ZYDIS_MNEMONIC_PCMPISTRI:
	case ZYDIS_MNEMONIC_PCMPISTRM:
		return false;
	case ZYDIS_MNEMONIC_VMOVNTDQA:
		return true;
	default:
		return !vec_is_vex(d) && size == 16;
	}
}

static enum class class_of(const struct decoded *d) {
	bool mmx = false, xmm = false;

	for (unsigned i = 0; i < d->insn.operand_count;
	     i++){mmx |= vec_is(&d->operand[i], ZYDIS_REGCLASS_MMX);
	          xmm |= vec_is(&d->operand[i], ZYDIS_REGCLASS_XMM);}
if (vec_is_vex(d)) return CLASS_AVX;
return mmx ? xmm ? CLASS_MMX_SSE : CLASS_MMX : CLASS_SSE;
}

bool decode_vec_stub(struct soft_cpu *c, const struct decoded *d, struct op *op)
{
	enum kind kind = KIND_REG;

	op->n = 0;
	for (unsigned i = 0; i < d->insn.operand_count; i++) {
		const ZydisDecodedOperand *o = &d->operand[i];

		if (o->type != ZYDIS_OPERAND_TYPE_MEMORY)
			continue;
		kind = o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE ? KIND_STORE : KIND_LOAD;
		op->size = (uint8_t)(o->size / 8);
		op->n = wants_alignment(d, op->size) ? VEC_ALIGNED : 0;
	}
	op->ptr = (void *)vec_stub_make(c, d);
	if (op->ptr == NULL)
		return false;
	op->fn = handler[class_of(d)][kind][vec_uses_mxcsr(&d->insn)];
	return true;
}
