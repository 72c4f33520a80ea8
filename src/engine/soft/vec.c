/*
 * Who decodes x87, MMX, SSE and AVX instructions, and which of them the guest may be shown: those that
 * the host has, since its own instructions do the arithmetic.
 */
#include "engine/soft/fpu.h"
#include "host/host.h"
#include "machine/cpuid.h"

#define BIT(n) (1u << (n))

bool decode_vector(struct soft_cpu *c, const struct decoded *d, struct op *op)
{
	return decode_fpu(c, d, op);
}

void vector_abilities(struct cpuid_wish *w)
{
	w->f1_edx |= BIT(24);          /* FXSR */
	w->f1_ecx |= BIT(26);          /* XSAVE */
	w->fd1_eax |= BIT(0) | BIT(1); /* XSAVEOPT, XSAVEC */
	w->xcr0 |= XCR0_X87 | XCR0_SSE;
}
