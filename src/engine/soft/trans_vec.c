/*
 * Vector instructions go through as they are, on the guest's registers in the host's
 * (native_vec.c).  A block that has some looks at its entry whether they are there and may be used; on
 * the way back from the interpreter they are not there.  The look is a jump that is not taken:
 *
 *	1: jmp	out of line
 *	far...
 *	near:	nop
 *	mov	%gs:vec_live, %rcx
 *	jrcxz	1b
 */
#include "engine/soft/trans.h"
#include "engine/soft/vec.h"

/* Vector instructions whose operands don't show it. */
static bool is_silent(const ZydisDecodedInstruction *z)
{
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_VZEROALL:
	case ZYDIS_MNEMONIC_VZEROUPPER:
	case ZYDIS_MNEMONIC_STMXCSR:
	case ZYDIS_MNEMONIC_VSTMXCSR:
		return true;
	default:
		return false;
	}
}

/* Elements that are not chosen may not fault: the whole operand would be looked at. */
static bool is_masked(const ZydisDecodedInstruction *z)
{
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_VMASKMOVPS:
	case ZYDIS_MNEMONIC_VMASKMOVPD:
	case ZYDIS_MNEMONIC_VPMASKMOVD:
	case ZYDIS_MNEMONIC_VPMASKMOVQ:
		return true;
	default:
		return false;
	}
}

/* Registers that an operand needs; it has no size or kind that is the interpreter's. */
static bool operand_plain(const ZydisDecodedOperand *o, unsigned *needs)
{
	unsigned n, size = o->size / 8;

	if (o->type == ZYDIS_OPERAND_TYPE_MEMORY)
		return o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM &&
		       o->mem.type == ZYDIS_MEMOP_TYPE_MEM && size != 0 && !(size & (size - 1));
	if (o->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return true;
	switch (ZydisRegisterGetClass(o->reg.value)) {
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM:
		*needs |= 1u << NATIVE_SSE;
		return true;
	case ZYDIS_REGCLASS_MMX:
		*needs |= 1u << NATIVE_X87;
		return true;
	case ZYDIS_REGCLASS_FLAGS:
		return true;
	default:
		return trans_gpr(o, &n) || o->reg.value == ZYDIS_REGISTER_MXCSR;
	}
}

/* Legacy operands of 16 bytes must be aligned, and those of instructions that say so. */
static bool wants_alignment(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o)
{
	if (o == NULL || o->size < 128)
		return false;
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_LDDQU:
	case ZYDIS_MNEMONIC_MOVUPS:
	case ZYDIS_MNEMONIC_MOVUPD:
	case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_PCMPESTRI:
	case ZYDIS_MNEMONIC_PCMPESTRM:
	case ZYDIS_MNEMONIC_PCMPISTRI:
	case ZYDIS_MNEMONIC_PCMPISTRM:
		return false;
	case ZYDIS_MNEMONIC_VMOVAPS:
	case ZYDIS_MNEMONIC_VMOVAPD:
	case ZYDIS_MNEMONIC_VMOVDQA:
	case ZYDIS_MNEMONIC_VMOVNTPS:
	case ZYDIS_MNEMONIC_VMOVNTPD:
	case ZYDIS_MNEMONIC_VMOVNTDQ:
	case ZYDIS_MNEMONIC_VMOVNTDQA:
		return true;
	default:
		/* Processors differ on SHA: the check of pages is right for both. */
		return z->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
		       z->meta.isa_set != ZYDIS_ISA_SET_SHA;
	}
}

/*
 * Bits by enum native_vec of what op i needs, 0: it's not a vector instruction, or the interpreter's.
 * LDMXCSR is: the host's MXCSR may have more bits than the guest's.
 */
static unsigned vector_needs(const struct translation *t, unsigned i)
{
	const ZydisDecodedInstruction *z = &t->insn[i];
	bool vex = z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
	unsigned needs = is_silent(z) || vec_uses_mxcsr(z) ? 1u << NATIVE_SSE : 0;

	if ((!vex && z->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY) || is_masked(z) ||
	    !vec_host_has(z))
		return 0;
	for (unsigned k = 0; k < z->operand_count; k++)
		if (!operand_plain(&t->operand[i][k], &needs))
			return 0;
	return vex && needs ? 1u << NATIVE_AVX : needs;
}

void trans_vector_before(struct translation *t)
{
	for (unsigned i = 0; i < t->b->n; i++) {
		unsigned needs = vector_needs(t, i) | trans_x87_needs(t, i);

		if (needs)
			t->vec_last = i;
		t->vec |= needs;
	}
	if (t->vec & 1u << NATIVE_AVX)
		t->vec &= ~(1u << NATIVE_SSE); /* has it */
	if (t->vec)
		t->vec_missing = asm_jmp(&t->e);
}

/* By enum native_vec. */
#define VECTOR(field, v) (NATIVE(field) + 8 * (int32_t)(v))

void trans_vector_entry(struct translation *t)
{
	for (unsigned v = 0; v < NATIVE_VECS; v++) {
		if (!(t->vec & 1u << v))
			continue;
		asm_load_gs(&t->e, HOST_RCX, VECTOR(vec_live, v));
		asm_to8(asm_jrcxz(&t->e), t->vec_missing - 1);
	}
	t->vec_there = t->e.at;
}

/* Loads all, then goes on in the code. */
static void load_all(struct translation *t, const uint8_t *then)
{
	uint8_t *next = NULL;

	for (unsigned v = 0; v < NATIVE_VECS; v++) {
		if (!(t->vec & 1u << v))
			continue;
		if (next)
			asm_to(next, t->e.at);
		next = asm_lea_code(&t->e, HOST_R15, then);
		asm_jmp_gs(&t->e, VECTOR(vec_load, v));
	}
}

void trans_vector_load(struct translation *t)
{
	struct assembly *e = &t->e;

	if (!t->vec)
		return;
	asm_to(t->vec_missing, e->at);
	for (unsigned v = 0; v < NATIVE_VECS; v++) {
		uint8_t *allowed;

		if (!(t->vec & 1u << v))
			continue;
		asm_load_gs(e, HOST_RCX, VECTOR(vec_off, v));
		allowed = asm_jrcxz(e);
		/* The interpreter runs all of the block, and raises what is to be raised. */
		asm_mov_u64(e, HOST_R15, (uint64_t)t->b->op);
		asm_mov_u32(e, HOST_R14, t->offset);
		asm_jmp_gs(e, NATIVE(fallback));
		asm_to8(allowed, e->at);
	}
	load_all(t, t->vec_there);
}

const uint8_t *trans_vector_back(struct translation *t, unsigned i)
{
	const uint8_t *at = t->e.at;

	if (!t->vec || i > t->vec_last)
		return t->start[i];
	/* What forbids them would have ended the block. */
	load_all(t, t->start[i]);
	return at;
}

bool trans_vector(struct translation *t)
{
	const ZydisDecodedInstruction *z = &t->insn[t->i];
	unsigned needs = vector_needs(t, t->i);

	if (!needs)
		return false;
	t->aligned = wants_alignment(z, trans_memory_of(t));
	/* MMX instructions report what x87 ones left pending. */
	t->traps = vec_uses_mxcsr(z) || (needs & 1u << NATIVE_X87);
	return trans_verbatim(t);
}
