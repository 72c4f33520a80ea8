/*
 * Who decodes x87, MMX, SSE and AVX instructions, and which of them the guest may be shown: those that
 * the host has, since its own instructions do the arithmetic.
 */
#include "engine/soft/vec.h"
#include "host/host.h"
#include "machine/cpuid.h"

#define BIT(n) (1u << (n))

/* Feature bits of what the host must have; the same ones are shown to the guest. */
#define F1_SSE3      BIT(0)
#define F1_PCLMUL    BIT(1)
#define F1_SSSE3     BIT(9)
#define F1_FMA       BIT(12)
#define F1_SSE41     BIT(19)
#define F1_SSE42     BIT(20)
#define F1_AES       BIT(25)
#define F1_XSAVE     BIT(26)
#define F1_AVX       BIT(28)
#define F1_F16C      BIT(29)
#define F1_EDX_FPU   BIT(0)
#define F1_EDX_MMX   BIT(23)
#define F1_EDX_FXSR  BIT(24)
#define F1_EDX_SSE   BIT(25)
#define F1_EDX_SSE2  BIT(26)
#define F7_AVX2      BIT(5)
#define F7_SHA       BIT(29)
#define F7_GFNI      BIT(8)
#define F7_VAES      BIT(9)
#define F7_VPCLMUL   BIT(10)
#define FE1_MMXEXT   BIT(22)
#define FD1_XSAVEOPT BIT(0)
#define FD1_XSAVEC   BIT(1)

bool vec_host_has(const ZydisDecodedInstruction *z)
{
	const struct host_cpu *h = host_cpu();

	if (z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX && !h->avx)
		return false;
	switch (z->meta.isa_set) {
	case ZYDIS_ISA_SET_PENTIUMMMX:
	case ZYDIS_ISA_SET_SSE:
	case ZYDIS_ISA_SET_SSE2:
	case ZYDIS_ISA_SET_SSE2MMX:
	case ZYDIS_ISA_SET_SSEMXCSR:
	case ZYDIS_ISA_SET_AVX:
		return true;
	case ZYDIS_ISA_SET_SSE3:
		return h->f1_ecx & F1_SSE3;
	case ZYDIS_ISA_SET_SSSE3:
	case ZYDIS_ISA_SET_SSSE3MMX:
		return h->f1_ecx & F1_SSSE3;
	case ZYDIS_ISA_SET_SSE4:
		return h->f1_ecx & F1_SSE41;
	case ZYDIS_ISA_SET_SSE42:
		return h->f1_ecx & F1_SSE42;
	case ZYDIS_ISA_SET_AES:
	case ZYDIS_ISA_SET_AVXAES:
		return h->f1_ecx & F1_AES;
	case ZYDIS_ISA_SET_PCLMULQDQ:
		return h->f1_ecx & F1_PCLMUL;
	case ZYDIS_ISA_SET_SHA:
		return h->f7_ebx & F7_SHA;
	case ZYDIS_ISA_SET_AVX2:
	case ZYDIS_ISA_SET_AVX2GATHER:
		return h->avx2;
	case ZYDIS_ISA_SET_FMA:
		return h->fma;
	case ZYDIS_ISA_SET_F16C:
		return h->f16c;
	case ZYDIS_ISA_SET_GFNI:
	case ZYDIS_ISA_SET_AVX_GFNI:
		return h->f7_ecx & F7_GFNI;
	case ZYDIS_ISA_SET_VAES:
		return h->f7_ecx & F7_VAES;
	case ZYDIS_ISA_SET_VPCLMULQDQ:
		return h->f7_ecx & F7_VPCLMUL;
	default:
		return false;
	}
}

bool decode_vector(struct soft_cpu *c, const struct decoded *d, struct op *op)
{
	if (decode_fpu(c, d, op) || decode_x87_control(c, d, op) || decode_x87(c, d, op))
		return true;
	if (d->insn.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY && !vec_is_vex(d))
		return false;
	if (!vec_host_has(&d->insn))
		return false;
	return decode_vec_move(c, d, op) || decode_vec_mask(c, d, op) ||
	       decode_vec_gather(c, d, op) || decode_vec_stub(c, d, op);
}

void vector_abilities(struct cpuid_wish *w)
{
	const struct host_cpu *h = host_cpu();
	uint32_t avx = h->avx ? F1_AVX | F1_FMA | F1_F16C : 0;

	w->f1_edx |= F1_EDX_FPU | F1_EDX_MMX | F1_EDX_FXSR | F1_EDX_SSE | F1_EDX_SSE2;
	w->f1_ecx |=
		F1_XSAVE |
		(h->f1_ecx & (F1_SSE3 | F1_PCLMUL | F1_SSSE3 | F1_SSE41 | F1_SSE42 | F1_AES | avx));
	w->f7_ebx |= h->f7_ebx & (F7_SHA | (h->avx ? F7_AVX2 : 0));
	w->f7_ecx |= h->f7_ecx & (F7_GFNI | (h->avx ? F7_VAES | F7_VPCLMUL : 0));
	w->fe1_edx |= FE1_MMXEXT;
	w->fd1_eax |= FD1_XSAVEOPT | FD1_XSAVEC;
	w->xcr0 |= XCR0_X87 | XCR0_SSE | (h->avx ? XCR0_AVX : 0);
}
