/*
 * The state of x87, SSE and AVX as a whole: FXSAVE, FXRSTOR, the XSAVE family (SDM 1 chapter 13),
 * MXCSR, and the control bits that forbid its use.
 *
 * The last instruction's address and operand (FIP, FDP, FOP) are saved as they are: our x87 keeps
 * them as Intel's does, with or without a pending exception.
 */
#include "engine/soft/fpu.h"

#include <assert.h>

#include "engine/soft/run.h"

static_assert(sizeof(struct fpu_area) == FPU_AREA_SIZE, "the XSAVE area is what it is");

#define OFFSET_XMM    160u
#define OFFSET_HEADER 512u
#define OFFSET_AVX    576u
#define COMPACT       (1ull << 63) /* in XCOMP_BV */

void fpu_x87_init(struct fpu_area *f)
{
	f->fcw = FCW_INIT;
	f->fsw = 0;
	f->ftw = 0;
	f->fop = 0;
	f->fip = f->fdp = 0;
}

/* What XRSTOR makes of components that are not in the image; n: vector registers there are. */
static void initialise(struct fpu_area *f, uint64_t components, unsigned n)
{
	if (components & XCR0_X87) {
		fpu_x87_init(f);
		memset(f->st, 0, sizeof(f->st));
	}
	if (components & XCR0_SSE)
		memset(f->xmm, 0, n * sizeof(f->xmm[0]));
	if (components & XCR0_AVX)
		memset(f->high, 0, n * sizeof(f->high[0]));
}

void fpu_reset(struct soft_cpu *c)
{
	struct fpu_area *f = fpu_area(c);

	memset(c->xsave, 0, sizeof(c->xsave));
	f->mxcsr = MXCSR_INIT;
	initialise(f, XCR0_ALL, 16);
	fpu_loaded(c);
}

void fpu_loaded(struct soft_cpu *c)
{
	struct fpu_area *f = fpu_area(c);

	/* A header of zeros and a control word: no XSAVE made this, it's a processor's reset state. */
	if (f->xstate_bv != 0 || f->fcw == 0)
		initialise(f, ~f->xstate_bv, 16);
	f->fcw |= FCW_FIXED;
	f->fsw = fpu_summary(f->fsw, f->fcw);
	f->mxcsr &= MXCSR_MASK;
	f->mxcsr_mask = MXCSR_MASK;
	f->xstate_bv = XCR0_ALL;
	f->xcomp_bv = 0;
}

void fpu_refuse_sse(struct soft_cpu *c)
{
	if ((c->cr0 & CR0_EM) || !(c->cr4 & CR4_OSFXSR))
		soft_fault(c, EXC_UD);
	soft_fault(c, EXC_NM);
}

void fpu_refuse_avx(struct soft_cpu *c)
{
	soft_fault(c, fpu_avx_on(c) ? EXC_NM : EXC_UD);
}

void fpu_enter_mmx(struct soft_cpu *c)
{
	struct fpu_area *f = fpu_area(c);
	unsigned top = f->fsw >> 11 & 7;
	struct fpu_st old[8];

	f->ftw = 0xff;
	if (top == 0)
		return;
	memcpy(old, f->st, sizeof(old));
	for (unsigned i = 0; i < 8; i++)
		f->st[(i + top) & 7] = old[i];
	f->fsw &= (uint16_t)~0x3800;
}

void fpu_pending(struct soft_cpu *c)
{
	/* Without CR0.NE a PC reports by IRQ 13: system software since the 486 sets NE. */
	if (c->cr0 & CR0_NE)
		soft_fault(c, EXC_MF);
	irq_pulse(c->machine, 13);
}

static bool in_64bit(const struct soft_cpu *c)
{
	return (c->mode & MODE_BITS) == MODE_64;
}

/* XMM8 and up exist in 64-bit code only. */
static unsigned registers(const struct soft_cpu *c)
{
	return in_64bit(c) ? 16 : 8;
}

static void pointers_out(const struct fpu_area *f, struct fpu_area *out, bool wide)
{
	out->fcw = f->fcw;
	out->fsw = f->fsw;
	out->ftw = f->ftw;
	out->unused = 0;
	out->fop = f->fop;
	out->fip = wide ? f->fip : (uint32_t)f->fip;
	out->fdp = wide ? f->fdp : (uint32_t)f->fdp;
}

static void x87_in(struct fpu_area *f, const struct fpu_area *in, bool wide)
{
	f->fcw = (uint16_t)((in->fcw & 0x1f7f) | FCW_FIXED);
	f->fsw = fpu_summary(in->fsw, f->fcw);
	f->ftw = in->ftw;
	f->fop = in->fop & 0x7ff;
	f->fip = wide ? in->fip : (uint32_t)in->fip;
	f->fdp = wide ? in->fdp : (uint32_t)in->fdp;
	memcpy(f->st, in->st, sizeof(f->st));
	for (unsigned i = 0; i < 8; i++)
		memset(f->st[i].unused, 0, sizeof(f->st[i].unused));
}

static void check_fxsave(struct soft_cpu *c, gva_t va)
{
	if (c->cr0 & (CR0_EM | CR0_TS))
		soft_fault(c, EXC_NM);
	if (va & 15)
		soft_fault_error(c, EXC_GP, 0);
}

static NOINLINE void do_fxsave(struct soft_cpu *c, const struct op *op)
{
	const struct fpu_area *f = fpu_area(c);
	struct fpu_area image = {0};
	gva_t va;

	c->op = op;
	va = op_ea(c, op, 512, true);
	check_fxsave(c, va);
	pointers_out(f, &image, op->n);
	image.mxcsr = f->mxcsr;
	image.mxcsr_mask = MXCSR_MASK;
	memcpy(image.st, f->st, sizeof(image.st));
	memcpy(image.xmm, f->xmm, registers(c) * sizeof(image.xmm[0]));
	/* The rest of the 512 bytes is software's, but must be writable too. */
	mmu_check(c, va, 512, true, c->cpl == 3);
	fpu_store(c, va, &image, OFFSET_XMM + registers(c) * (unsigned)sizeof(image.xmm[0]));
}
OP_OF(fxsave)

static NOINLINE void do_fxrstor(struct soft_cpu *c, const struct op *op)
{
	struct fpu_area *f = fpu_area(c), image;
	gva_t va;

	c->op = op;
	va = op_ea(c, op, 512, false);
	check_fxsave(c, va);
	fpu_load(c, va, &image, 512);
	if (image.mxcsr & ~MXCSR_MASK)
		soft_fault_error(c, EXC_GP, 0);
	x87_in(f, &image, op->n);
	f->mxcsr = image.mxcsr;
	memcpy(f->xmm, image.xmm, registers(c) * sizeof(image.xmm[0]));
}
OP_OF(fxrstor)

static bool is_zero(const void *p, size_t len)
{
	const uint64_t *q = p;
	uint64_t any = 0;

	for (size_t i = 0; i < len / 8; i++)
		any |= q[i];
	return any == 0;
}

/* Components that are not in their initial state (XINUSE, SDM 1 13.6). */
static uint64_t in_use(const struct fpu_area *f)
{
	uint64_t bv = 0;

	if (f->fcw != FCW_INIT || f->fsw || f->ftw || f->fop || f->fip || f->fdp ||
	    !is_zero(f->st, sizeof(f->st)))
		bv |= XCR0_X87;
	if (!is_zero(f->xmm, sizeof(f->xmm)))
		bv |= XCR0_SSE;
	if (!is_zero(f->high, sizeof(f->high)))
		bv |= XCR0_AVX;
	return bv;
}

static gva_t check_xsave(struct soft_cpu *c, const struct op *op, uint64_t *wanted, bool write)
{
	gva_t va;

	c->op = op;
	if (!(c->cr4 & CR4_OSXSAVE))
		soft_fault(c, EXC_UD);
	if (c->cr0 & CR0_TS)
		soft_fault(c, EXC_NM);
	*wanted = c->xcr0 & (c->gpr[CPU_RDX] << 32 | (uint32_t)c->gpr[CPU_RAX]);
	va = op_ea(c, op, *wanted & XCR0_AVX ? FPU_AREA_SIZE : OFFSET_AVX, write);
	if (va & 63)
		soft_fault_error(c, EXC_GP, 0);
	return va;
}

enum { XSAVE_PLAIN, XSAVE_OPT, XSAVE_COMPACT };

/* Writes the components, after it is known that all of the area can be written. */
static void xsave_components(struct soft_cpu *c, gva_t va, uint64_t write, bool mxcsr, bool wide)
{
	const struct fpu_area *f = fpu_area(c);
	struct fpu_area image;

	if (write & XCR0_X87) {
		pointers_out(f, &image, wide);
		fpu_store(c, va, &image, offsetof(struct fpu_area, mxcsr));
		fpu_store(c, va + offsetof(struct fpu_area, st), f->st, sizeof(f->st));
	}
	if (mxcsr)
		fpu_store(c, va + offsetof(struct fpu_area, mxcsr), &f->mxcsr, 8);
	if (write & XCR0_SSE)
		fpu_store(c, va + OFFSET_XMM, f->xmm, registers(c) * (unsigned)sizeof(f->xmm[0]));
	if (write & XCR0_AVX)
		fpu_store(c, va + OFFSET_AVX, f->high, registers(c) * (unsigned)sizeof(f->high[0]));
}

static NOINLINE void do_xsave(struct soft_cpu *c, const struct op *op)
{
	const struct fpu_area *f = fpu_area(c);
	bool wide = op->size == 8;
	uint64_t wanted, used = in_use(f), header[2];
	gva_t va = check_xsave(c, op, &wanted, true);

	mmu_check(c, va, wanted & XCR0_AVX ? FPU_AREA_SIZE : OFFSET_AVX, true, c->cpl == 3);
	if (op->n == XSAVE_COMPACT) {
		if (f->mxcsr != MXCSR_INIT)
			used |= XCR0_SSE;
		used &= wanted;
		xsave_components(c, va, used, used & XCR0_SSE, wide);
		header[0] = used;
		header[1] = wanted | COMPACT;
		fpu_store(c, va + OFFSET_HEADER, header, sizeof(header));
		return;
	}
	fpu_load(c, va + OFFSET_HEADER, header, 8);
	header[0] = (header[0] & ~wanted) | (used & wanted);
	xsave_components(c, va, op->n == XSAVE_OPT ? wanted & used : wanted,
	                 wanted & (XCR0_SSE | XCR0_AVX), wide);
	fpu_store(c, va + OFFSET_HEADER, header, 8);
}
OP_OF(xsave)

/* XRSTOR's rules for the header: true when the image is compacted. */
static bool check_header(struct soft_cpu *c, const struct fpu_area *image)
{
	bool compact = image->xcomp_bv & COMPACT;
	uint64_t may = compact ? image->xcomp_bv & ~COMPACT : c->xcr0;

	if ((image->xstate_bv & ~may) || (may & ~c->xcr0) || (!compact && image->xcomp_bv) ||
	    !is_zero(image->header, compact ? sizeof(image->header) : 8))
		soft_fault_error(c, EXC_GP, 0);
	return compact;
}

static NOINLINE void do_xrstor(struct soft_cpu *c, const struct op *op)
{
	struct fpu_area *f = fpu_area(c), image;
	uint64_t wanted, load;
	gva_t va = check_xsave(c, op, &wanted, false);
	bool compact, mxcsr;

	fpu_load(c, va, &image, OFFSET_AVX);
	compact = check_header(c, &image);
	load = wanted & image.xstate_bv;
	/* In the standard format MXCSR belongs to SSE and AVX, and is there in any case. */
	mxcsr = compact ? load & XCR0_SSE : wanted & (XCR0_SSE | XCR0_AVX);
	if (mxcsr && (image.mxcsr & ~MXCSR_MASK))
		soft_fault_error(c, EXC_GP, 0);
	if (load & XCR0_AVX)
		fpu_load(c, va + OFFSET_AVX, image.high, sizeof(image.high));
	initialise(f, wanted & ~load, registers(c));
	if (load & XCR0_X87)
		x87_in(f, &image, op->size == 8);
	if (load & XCR0_SSE)
		memcpy(f->xmm, image.xmm, registers(c) * sizeof(f->xmm[0]));
	if (load & XCR0_AVX)
		memcpy(f->high, image.high, registers(c) * sizeof(f->high[0]));
	if (mxcsr)
		f->mxcsr = image.mxcsr;
	else if (compact && (wanted & XCR0_SSE))
		f->mxcsr = MXCSR_INIT;
}
OP_OF(xrstor)

/* n: the VEX form, which obeys AVX's rules. */
static void check_mxcsr(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	if (op->n)
		fpu_check_avx(c);
	else
		fpu_check_sse(c);
}

static void op_ldmxcsr(struct soft_cpu *c, const struct op *op)
{
	uint32_t v;

	check_mxcsr(c, op);
	v = soft_ld32(c, op_ea(c, op, 4, false));
	if (v & ~MXCSR_MASK)
		soft_fault_error(c, EXC_GP, 0);
	fpu_area(c)->mxcsr = v;
	return op_next(c, op);
}

static void op_stmxcsr(struct soft_cpu *c, const struct op *op)
{
	check_mxcsr(c, op);
	soft_st32(c, op_ea(c, op, 4, true), fpu_area(c)->mxcsr);
	return op_next(c, op);
}

static bool plain(struct op *op, op_fn *fn, unsigned n)
{
	op->fn = fn;
	op->n = (uint8_t)n;
	return true;
}

bool decode_fpu(struct soft_cpu *c, const struct decoded *d, struct op *op)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_FXSAVE:
	case ZYDIS_MNEMONIC_FXSAVE64:
		return plain(op, op_fxsave, d->insn.mnemonic == ZYDIS_MNEMONIC_FXSAVE64);
	case ZYDIS_MNEMONIC_FXRSTOR:
	case ZYDIS_MNEMONIC_FXRSTOR64:
		return plain(op, op_fxrstor, d->insn.mnemonic == ZYDIS_MNEMONIC_FXRSTOR64);
	case ZYDIS_MNEMONIC_XSAVE:
	case ZYDIS_MNEMONIC_XSAVE64:
		op->size = d->insn.mnemonic == ZYDIS_MNEMONIC_XSAVE64 ? 8 : 4;
		return plain(op, op_xsave, XSAVE_PLAIN);
	case ZYDIS_MNEMONIC_XSAVEOPT:
	case ZYDIS_MNEMONIC_XSAVEOPT64:
		op->size = d->insn.mnemonic == ZYDIS_MNEMONIC_XSAVEOPT64 ? 8 : 4;
		return plain(op, op_xsave, XSAVE_OPT);
	case ZYDIS_MNEMONIC_XSAVEC:
	case ZYDIS_MNEMONIC_XSAVEC64:
		op->size = d->insn.mnemonic == ZYDIS_MNEMONIC_XSAVEC64 ? 8 : 4;
		return plain(op, op_xsave, XSAVE_COMPACT);
	case ZYDIS_MNEMONIC_XRSTOR:
	case ZYDIS_MNEMONIC_XRSTOR64:
		op->size = d->insn.mnemonic == ZYDIS_MNEMONIC_XRSTOR64 ? 8 : 4;
		return plain(op, op_xrstor, 0);
	case ZYDIS_MNEMONIC_LDMXCSR:
	case ZYDIS_MNEMONIC_VLDMXCSR:
		return plain(op, op_ldmxcsr, d->insn.mnemonic == ZYDIS_MNEMONIC_VLDMXCSR);
	case ZYDIS_MNEMONIC_STMXCSR:
	case ZYDIS_MNEMONIC_VSTMXCSR:
		return plain(op, op_stmxcsr, d->insn.mnemonic == ZYDIS_MNEMONIC_VSTMXCSR);
	default:
		return false;
	}
}
