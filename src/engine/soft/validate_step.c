/* Which host instructions translated code may have, by Zydis: see validate_step.h. */
#include "engine/soft/validate_step.h"

#include <Zydis/Zydis.h>

#include "engine/soft/flat.h"

#define ACCESS_MAX 64 /* bytes */

struct decoding {
	ZydisDecodedInstruction z;
	ZydisDecodedOperand o[ZYDIS_MAX_OPERAND_COUNT];
	const ZydisDecodedOperand *memory; /* or address, of LEA; NULL: none */
};

static bool is_gpr(ZydisRegister r)
{
	ZydisRegisterClass k = ZydisRegisterGetClass(r);

	return k >= ZYDIS_REGCLASS_GPR8 && k <= ZYDIS_REGCLASS_GPR64;
}

/* AH..BH are parts of the first four. */
static uint8_t number(ZydisRegister r)
{
	if (r >= ZYDIS_REGISTER_AL && r <= ZYDIS_REGISTER_BH)
		return (r - ZYDIS_REGISTER_AL) & 3;
	if (r >= ZYDIS_REGISTER_SPL && r <= ZYDIS_REGISTER_R15B)
		return (uint8_t)(r - ZYDIS_REGISTER_SPL + 4);
	return (uint8_t)ZydisRegisterGetId(r);
}

/* The 64-bit register of an operand, or STEP_NO_REG. */
static uint8_t wide(const ZydisDecodedOperand *o)
{
	if (o->type != ZYDIS_OPERAND_TYPE_REGISTER ||
	    ZydisRegisterGetClass(o->reg.value) != ZYDIS_REGCLASS_GPR64)
		return STEP_NO_REG;
	return number(o->reg.value);
}

static bool category_allowed(const ZydisDecodedInstruction *z)
{
	switch (z->meta.category) {
	case ZYDIS_CATEGORY_ADOX_ADCX:
	case ZYDIS_CATEGORY_AES:
	case ZYDIS_CATEGORY_AVX:
	case ZYDIS_CATEGORY_AVX2:
	case ZYDIS_CATEGORY_BINARY:
	case ZYDIS_CATEGORY_BITBYTE:
	case ZYDIS_CATEGORY_BMI1:
	case ZYDIS_CATEGORY_BMI2:
	case ZYDIS_CATEGORY_BROADCAST:
	case ZYDIS_CATEGORY_CMOV:
	case ZYDIS_CATEGORY_CONVERT:
	case ZYDIS_CATEGORY_DATAXFER:
	case ZYDIS_CATEGORY_FCMOV:
	case ZYDIS_CATEGORY_GFNI:
	case ZYDIS_CATEGORY_LOGICAL:
	case ZYDIS_CATEGORY_LOGICAL_FP:
	case ZYDIS_CATEGORY_LZCNT:
	case ZYDIS_CATEGORY_MMX:
	case ZYDIS_CATEGORY_NOP:
	case ZYDIS_CATEGORY_PCLMULQDQ:
	case ZYDIS_CATEGORY_ROTATE:
	case ZYDIS_CATEGORY_SEMAPHORE:
	case ZYDIS_CATEGORY_SETCC:
	case ZYDIS_CATEGORY_SHA:
	case ZYDIS_CATEGORY_SHIFT:
	case ZYDIS_CATEGORY_SSE:
	case ZYDIS_CATEGORY_STTNI:
	case ZYDIS_CATEGORY_VAES:
	case ZYDIS_CATEGORY_VFMA:
	case ZYDIS_CATEGORY_VPCLMULQDQ:
	case ZYDIS_CATEGORY_WIDENOP:
	case ZYDIS_CATEGORY_X87_ALU:
		return true;
	default:
		return false;
	}
}

/* Categories with a bit of everything name what they may have. */
static bool is_allowed(const ZydisDecodedInstruction *z)
{
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_BSWAP:
	case ZYDIS_MNEMONIC_CLC:
	case ZYDIS_MNEMONIC_CMC:
	case ZYDIS_MNEMONIC_LAHF:
	case ZYDIS_MNEMONIC_LEA:
	case ZYDIS_MNEMONIC_LFENCE:
	case ZYDIS_MNEMONIC_MFENCE:
	case ZYDIS_MNEMONIC_PAUSE:
	case ZYDIS_MNEMONIC_SAHF:
	case ZYDIS_MNEMONIC_SFENCE:
	case ZYDIS_MNEMONIC_STC:
		return true;
	default:
		return category_allowed(z) && !(z->attributes & ZYDIS_ATTRIB_IS_PRIVILEGED) &&
		       (z->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY ||
		        z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX);
	}
}

static bool register_allowed(ZydisRegister r)
{
	switch (ZydisRegisterGetClass(r)) {
	case ZYDIS_REGCLASS_GPR8:
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
	case ZYDIS_REGCLASS_X87:
	case ZYDIS_REGCLASS_MMX:
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM:
	case ZYDIS_REGCLASS_FLAGS:
		return true;
	default:
		return r == ZYDIS_REGISTER_MXCSR || r == ZYDIS_REGISTER_X87CONTROL ||
		       r == ZYDIS_REGISTER_X87STATUS || r == ZYDIS_REGISTER_X87TAG;
	}
}

/* Its operand of 16 or 32 bytes must be aligned, or the host faults. */
static bool faults_unaligned(const ZydisDecodedInstruction *z, unsigned size)
{
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_VMOVAPD:
	case ZYDIS_MNEMONIC_VMOVAPS:
	case ZYDIS_MNEMONIC_VMOVDQA:
	case ZYDIS_MNEMONIC_VMOVNTDQ:
	case ZYDIS_MNEMONIC_VMOVNTDQA:
	case ZYDIS_MNEMONIC_VMOVNTPD:
	case ZYDIS_MNEMONIC_VMOVNTPS:
		return true;
	case ZYDIS_MNEMONIC_LDDQU:
	case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_MOVUPD:
	case ZYDIS_MNEMONIC_MOVUPS:
		return false;
	default:
		return size == 16 && z->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
		       z->meta.category != ZYDIS_CATEGORY_STTNI &&
		       z->meta.category != ZYDIS_CATEGORY_SHA;
	}
}

static const char *access_of(const struct decoding *d, struct step *s)
{
	const ZydisDecodedOperand *m = d->memory;
	unsigned size = m->size / 8;

	if (m->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM || m->mem.type != ZYDIS_MEMOP_TYPE_MEM)
		return "a memory operand that isn't ModRM's";
	if (m->mem.segment != ZYDIS_REGISTER_DS && m->mem.segment != ZYDIS_REGISTER_SS)
		return "a segment override";
	if (size == 0 || size > ACCESS_MAX)
		return "a memory operand of no ordinary size";
	if (d->z.meta.category == ZYDIS_CATEGORY_BITBYTE &&
	    d->o[1].type == ZYDIS_OPERAND_TYPE_REGISTER)
		return "a bit number that reaches beyond the operand";
	if (!is_gpr(m->mem.base) || m->mem.disp.value != 0 || m->mem.scale > 1)
		return "a memory operand that isn't (base,index)";
	s->base = number(m->mem.base);
	if (m->mem.index != ZYDIS_REGISTER_NONE)
		s->index = number(m->mem.index);
	s->size = (uint8_t)size;
	s->stores = m->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
	s->aligned = faults_unaligned(&d->z, size);
	return NULL;
}

static void registers_of(const struct decoding *d, struct step *s)
{
	for (unsigned i = 0; i < d->z.operand_count; i++) {
		const ZydisDecodedOperand *o = &d->o[i];

		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY && o->mem.type == ZYDIS_MEMOP_TYPE_AGEN) {
			if (is_gpr(o->mem.base))
				s->reads |= (uint16_t)(1u << number(o->mem.base));
			if (is_gpr(o->mem.index))
				s->reads |= (uint16_t)(1u << number(o->mem.index));
		}
		if (o->type != ZYDIS_OPERAND_TYPE_REGISTER || !is_gpr(o->reg.value))
			continue;
		if (o->actions & ZYDIS_OPERAND_ACTION_MASK_READ)
			s->reads |= (uint16_t)(1u << number(o->reg.value));
		if (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
			s->writes |= (uint16_t)(1u << number(o->reg.value));
	}
}

/* LEA and MOV whose values are followed. */
static void refine(const struct decoding *d, struct step *s)
{
	const ZydisDecodedOperand *o = d->o, *m = &o[1];
	uint8_t to = wide(&o[0]);
	bool base = m->mem.base != ZYDIS_REGISTER_NONE, index = m->mem.index != ZYDIS_REGISTER_NONE;

	s->to = to;
	if (d->z.mnemonic == ZYDIS_MNEMONIC_MOV && o[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
	    o[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE && o[0].size >= 32) {
		s->form = STEP_CONST;
		s->to = number(o[0].reg.value);
		s->value = o[0].size == 32 ? (int64_t)(uint32_t)o[1].imm.value.u : o[1].imm.value.s;
	} else if (d->z.mnemonic == ZYDIS_MNEMONIC_MOV && to != STEP_NO_REG &&
	           wide(&o[1]) != STEP_NO_REG) {
		s->form = STEP_COPY;
		s->from = wide(&o[1]);
	} else if (d->z.mnemonic == ZYDIS_MNEMONIC_LEA && to != STEP_NO_REG && base && !index) {
		s->form = STEP_ADD_CONST;
		s->from = number(m->mem.base);
		s->value = m->mem.disp.value;
	} else if (d->z.mnemonic == ZYDIS_MNEMONIC_LEA && to != STEP_NO_REG && base &&
	           m->mem.scale == 1 && m->mem.disp.value == 0) {
		s->form = STEP_ADD;
		s->from = number(m->mem.base);
		s->index = number(m->mem.index);
	}
}

static const char *plain(struct decoding *d, struct step *s)
{
	for (unsigned i = 0; i < d->z.operand_count; i++) {
		const ZydisDecodedOperand *o = &d->o[i];

		if (o->type == ZYDIS_OPERAND_TYPE_REGISTER && !register_allowed(o->reg.value))
			return "a register of the system's";
		if (o->type == ZYDIS_OPERAND_TYPE_POINTER)
			return "a far pointer";
		if (o->type != ZYDIS_OPERAND_TYPE_MEMORY || o->mem.type == ZYDIS_MEMOP_TYPE_AGEN)
			continue;
		if (o != d->memory)
			return "a second memory operand";
	}
	s->nop5 = d->z.meta.category == ZYDIS_CATEGORY_WIDENOP ||
	          d->z.meta.category == ZYDIS_CATEGORY_NOP;
	if (s->nop5) { /* touches nothing that it names */
		s->nop5 = d->z.length == 5;
		return NULL;
	}
	registers_of(d, s);
	if (d->memory != NULL && d->memory->mem.type != ZYDIS_MEMOP_TYPE_AGEN)
		return access_of(d, s);
	refine(d, s);
	return NULL;
}

/* An operand by GS: the state, the table or the hash. */
static const char *by_gs(const struct decoding *d, struct step *s)
{
	const ZydisDecodedOperand *o = d->o, *m = d->memory;
	int64_t disp = m->mem.disp.value;
	bool hash = disp >= FLAT_HASH;
	bool rip = disp == FLAT_HASH + (int64_t)offsetof(struct flat_hash, minus_rip);
	bool code = disp == FLAT_HASH + (int64_t)offsetof(struct flat_hash, code);
	bool indexed = m->mem.index != ZYDIS_REGISTER_NONE;

	if (d->z.mnemonic == ZYDIS_MNEMONIC_MOV && m->size == 16 && !indexed &&
	    m->mem.base == ZYDIS_REGISTER_NONE && o[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		s->form = STEP_STATE_CONST;
		s->value = disp - FLAT_STATE;
		return NULL;
	}
	if (m->mem.base != ZYDIS_REGISTER_NONE || (indexed && m->mem.scale != 8) || m->size != 64)
		return "a GS operand of another form";
	if (indexed)
		s->index = number(m->mem.index);
	s->value = disp - FLAT_STATE;
	s->to = wide(&o[0]);
	s->from = wide(&o[1]);
	if (indexed && !(hash && (disp == 0 || rip || code)))
		return "a GS operand of neither table nor hash";
	if (!indexed && (s->value < 0 || s->value > (int64_t)sizeof(struct soft_cpu) - 8))
		return "a GS operand outside of the state";
	if (d->z.mnemonic == ZYDIS_MNEMONIC_MOV && s->to != STEP_NO_REG)
		s->form = !indexed ? STEP_STATE_LOAD
		          : rip    ? STEP_HASH_RIP
		          : code   ? STEP_HASH_CODE
		                   : STEP_TABLE;
	else if (d->z.mnemonic == ZYDIS_MNEMONIC_MOV && s->from != STEP_NO_REG && !indexed)
		s->form = STEP_STATE_STORE;
	else if (d->z.mnemonic == ZYDIS_MNEMONIC_PEXT && !indexed && m == &o[2])
		s->form = STEP_PEXT;
	else if (d->z.mnemonic == ZYDIS_MNEMONIC_JMP && (!indexed || code))
		s->form = indexed ? STEP_JUMP_HASH : STEP_JUMP_STATE;
	else
		return "an instruction that may not use GS";
	return NULL;
}

static const char *jump(const struct decoding *d, struct step *s)
{
	const ZydisDecodedInstruction *z = &d->z;

	if (d->o[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE || !d->o[0].imm.is_relative)
		return "an indirect jump of another form";
	s->value = (int64_t)s->at + s->len + d->o[0].imm.value.s;
	if (z->mnemonic == ZYDIS_MNEMONIC_JMP)
		s->form = STEP_JUMP;
	else if (z->mnemonic == ZYDIS_MNEMONIC_JRCXZ)
		s->form = STEP_RCX_ZERO;
	else if ((z->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && z->opcode >> 4 == 7) ||
	         (z->opcode_map == ZYDIS_OPCODE_MAP_0F && z->opcode >> 4 == 8))
		s->form = STEP_BRANCH;
	else
		return "a jump of another kind";
	return NULL;
}

static bool decode(const uint8_t *code, size_t len, struct decoding *d)
{
	static _Thread_local ZydisDecoder z;
	static _Thread_local bool ready;

	if (!ready) {
		ZydisDecoderInit(&z, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
		ready = true;
	}
	return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&z, code, len, &d->z, d->o));
}

const char *step_decode(const uint8_t *code, uint32_t at, uint32_t end, struct step *s)
{
	struct decoding d = {0};

	*s = (struct step){.at = at,
	                   .to = STEP_NO_REG,
	                   .from = STEP_NO_REG,
	                   .base = STEP_NO_REG,
	                   .index = STEP_NO_REG};
	if (!decode(code + at, end - at, &d))
		return "no instruction";
	s->len = d.z.length;
	if (d.z.address_width != 64)
		return "addresses of less than 64 bits";
	for (unsigned i = 0; i < d.z.operand_count && d.memory == NULL; i++)
		if (d.o[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			d.memory = &d.o[i];
	if (d.memory != NULL && d.memory->mem.segment == ZYDIS_REGISTER_GS)
		return by_gs(&d, s);
	if (d.z.meta.category == ZYDIS_CATEGORY_COND_BR ||
	    d.z.meta.category == ZYDIS_CATEGORY_UNCOND_BR)
		return jump(&d, s);
	if (!is_allowed(&d.z))
		return "an instruction that isn't allowed";
	if (d.z.mnemonic == ZYDIS_MNEMONIC_LEA && d.memory->mem.base == ZYDIS_REGISTER_RIP) {
		s->form = STEP_CODE;
		s->to = wide(&d.o[0]);
		s->value = (int64_t)at + s->len + d.memory->mem.disp.value;
		return s->to == STEP_NO_REG ? "part of a code address" : NULL;
	}
	return plain(&d, s);
}
