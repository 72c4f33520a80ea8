/*
 * Vector instructions go through as they are, on the guest's vector registers in the host's
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

/* Of the registers that the block uses. */
#define VECTOR(field) (NATIVE(field) + 8 * ((int32_t)t->vec - 1))

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

static bool is_vector(const ZydisDecodedOperand *o)
{
	return vec_is(o, ZYDIS_REGCLASS_XMM) || vec_is(o, ZYDIS_REGCLASS_YMM);
}

/*
 * Vector and general registers, an ordinary memory operand whose size is a power of two.  LDMXCSR is not
 * among them: the host's MXCSR may have more bits than the guest's.
 */
static bool operands_plain(const struct translation *t, unsigned i)
{
	const ZydisDecodedInstruction *z = &t->insn[i];
	bool vector = is_silent(z);

	for (unsigned k = 0; k < z->operand_count; k++) {
		const ZydisDecodedOperand *o = &t->operand[i][k];
		unsigned n, size = o->size / 8;

		vector |= is_vector(o);
		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    (o->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM ||
		     o->mem.type != ZYDIS_MEMOP_TYPE_MEM || size == 0 || (size & (size - 1))))
			return false;
		if (o->type == ZYDIS_OPERAND_TYPE_REGISTER && !is_vector(o) && !trans_gpr(o, &n) &&
		    !vec_is(o, ZYDIS_REGCLASS_FLAGS) && o->reg.value != ZYDIS_REGISTER_MXCSR)
			return false;
	}
	return vector;
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

static bool is_vex(const ZydisDecodedInstruction *z)
{
	return z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
}

static bool is_ours(const struct translation *t, unsigned i)
{
	const ZydisDecodedInstruction *z = &t->insn[i];

	return (is_vex(z) || z->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY) && !is_masked(z) &&
	       vec_host_has(z) && operands_plain(t, i);
}

void trans_vector_before(struct translation *t)
{
	for (unsigned i = 0; i < t->b->n; i++) {
		if (!is_ours(t, i))
			continue;
		t->vec = MAX(t->vec, is_vex(&t->insn[i]) ? NATIVE_AVX + 1u : NATIVE_SSE + 1u);
		t->vec_last = i;
	}
	if (t->vec)
		t->vec_missing = asm_jmp(&t->e);
}

void trans_vector_entry(struct translation *t)
{
	if (!t->vec)
		return;
	asm_load_gs(&t->e, HOST_RCX, VECTOR(vec_live));
	asm_to8(asm_jrcxz(&t->e), t->vec_missing - 1);
	t->vec_there = t->e.at;
}

void trans_vector_load(struct translation *t)
{
	struct assembly *e = &t->e;
	uint8_t *allowed;

	if (!t->vec)
		return;
	asm_to(t->vec_missing, e->at);
	asm_load_gs(e, HOST_RCX, VECTOR(vec_off));
	allowed = asm_jrcxz(e);
	/* The interpreter runs all of the block, and raises what is to be raised. */
	asm_mov_u64(e, HOST_R15, (uint64_t)t->b->op);
	asm_mov_u32(e, HOST_R14, t->offset);
	asm_jmp_gs(e, NATIVE(fallback));
	asm_to8(allowed, e->at);
	asm_lea_code(e, HOST_R15, t->vec_there);
	asm_jmp_gs(e, VECTOR(vec_load));
}

const uint8_t *trans_vector_back(struct translation *t, unsigned i)
{
	const uint8_t *at = t->e.at;

	if (!t->vec || i > t->vec_last)
		return t->start[i];
	/* What forbids them would have ended the block. */
	asm_lea_code(&t->e, HOST_R15, t->start[i]);
	asm_jmp_gs(&t->e, VECTOR(vec_load));
	return at;
}

bool trans_vector(struct translation *t)
{
	const ZydisDecodedInstruction *z = &t->insn[t->i];

	if (!is_ours(t, t->i))
		return false;
	t->aligned = wants_alignment(z, trans_memory_of(t));
	t->traps = vec_uses_mxcsr(z);
	return trans_verbatim(t);
}
