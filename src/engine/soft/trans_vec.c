/*
 * Vector instructions go through as they are, on the guest's vector registers in the host's
 * (native_vec.c).  The first one in a block looks whether they are there, and so does
 * the way back from the interpreter, where they are not.
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

static bool is_vector(const ZydisDecodedOperand *o)
{
	return vec_is(o, ZYDIS_REGCLASS_XMM) || vec_is(o, ZYDIS_REGCLASS_YMM);
}

/*
 * Vector and general registers, an ordinary memory operand whose size is a power of two.  LDMXCSR is not
 * among them: the host's MXCSR may have more bits than the guest's.
 */
static bool operands_plain(const struct translation *t)
{
	const ZydisDecodedInstruction *z = &t->insn[t->i];
	bool vector = is_silent(z);

	for (unsigned k = 0; k < z->operand_count; k++) {
		const ZydisDecodedOperand *o = &t->operand[t->i][k];
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

/* Makes sure that the registers are there. */
static void need(struct translation *t, enum native_vec v)
{
	uint8_t *there;

	if (t->live > v)
		return;
	asm_load_gs(&t->e, HOST_RCX, NATIVE(vec_dead) + 8 * (int32_t)v);
	there = asm_jrcxz(&t->e);
	trans_fix(t, FIX_VECTOR, asm_jmp(&t->e), v);
	asm_to8(there, t->e.at);
	t->live = (uint8_t)(v + 1);
}

void trans_vector_load(struct translation *t, const struct fix *f)
{
	struct assembly *e = &t->e;
	int32_t v = 8 * (int32_t)f->to;
	uint8_t *allowed;

	asm_to(f->rel, e->at);
	asm_load_gs(e, HOST_RCX, NATIVE(vec_off) + v);
	allowed = asm_jrcxz(e);
	trans_fix(t, FIX_FALLBACK, asm_jmp(e), f->op);
	asm_to8(allowed, e->at);
	asm_lea_code(e, HOST_R15, f->rel + 4);
	asm_jmp_gs(e, NATIVE(vec_load) + v);
}

const uint8_t *trans_vector_back(struct translation *t, unsigned i)
{
	const uint8_t *at = t->e.at;

	if (t->live_at[i] == 0)
		return t->start[i];
	/* They were allowed before the interpreter's op, which did not end the block. */
	asm_lea_code(&t->e, HOST_R15, t->start[i]);
	asm_jmp_gs(&t->e, NATIVE(vec_load) + 8 * (t->live_at[i] - 1));
	return at;
}

bool trans_vector(struct translation *t)
{
	const ZydisDecodedInstruction *z = &t->insn[t->i];
	bool vex = z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;

	if ((!vex && z->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY) || is_masked(z) ||
	    !vec_host_has(z) || !operands_plain(t))
		return false;
	need(t, vex ? NATIVE_AVX : NATIVE_SSE);
	t->aligned = wants_alignment(z, trans_memory_of(t));
	t->traps = vec_uses_mxcsr(z);
	return trans_verbatim(t);
}
