/*
 * Makes the stub of one MMX, SSE or AVX instruction.
 *
 * The instruction is encoded again: prefixes that mean nothing are left out, vector registers keep
 * their numbers, a general register becomes rax, memory becomes [rcx].  Which registers are loaded and
 * stored follows from the decoder's list of operands, hidden ones included.
 */
#include "engine/soft/vec.h"

/* Widths in bytes by register number; 0: not at all. */
struct plan {
	uint8_t load[16], store[16];
	uint8_t mmx_load, mmx_store; /* masks */
	bool vex, mxcsr, flags, mmx, memory;
	int gpr;                         /* number of the general register operand, -1: none */
	bool gpr_load, gpr_store;        /* it's read, written */
	uint8_t fixed_load, fixed_store; /* masks: rax, rcx, rdx by their own names */
};

#define ACTION_READ (ZYDIS_OPERAND_ACTION_MASK_READ)

static uint32_t low(unsigned r)
{
	return (uint32_t)(offsetof(struct soft_cpu, xsave) + offsetof(struct fpu_area, xmm) +
	                  16 * r);
}

static uint32_t high(unsigned r)
{
	return (uint32_t)(offsetof(struct soft_cpu, xsave) + offsetof(struct fpu_area, high) +
	                  16 * r);
}

static uint32_t mantissa(unsigned r)
{
	return (uint32_t)(offsetof(struct soft_cpu, xsave) + offsetof(struct fpu_area, st) +
	                  16 * r);
}

/* The conversions between MMX and SSE have no class. */
bool vec_uses_mxcsr(const ZydisDecodedInstruction *z)
{
	switch (z->meta.exception_class) {
	case ZYDIS_EXCEPTION_CLASS_SSE2:
	case ZYDIS_EXCEPTION_CLASS_SSE3:
	case ZYDIS_EXCEPTION_CLASS_AVX2:
	case ZYDIS_EXCEPTION_CLASS_AVX3:
	case ZYDIS_EXCEPTION_CLASS_AVX11:
		return true;
	default:
		break;
	}
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_CVTPI2PS:
	case ZYDIS_MNEMONIC_CVTPS2PI:
	case ZYDIS_MNEMONIC_CVTTPS2PI:
	case ZYDIS_MNEMONIC_CVTPI2PD:
	case ZYDIS_MNEMONIC_CVTPD2PI:
	case ZYDIS_MNEMONIC_CVTTPD2PI:
		return true;
	default:
		return false;
	}
}

static void plan_vector(struct plan *p, const ZydisDecodedOperand *o, unsigned width)
{
	unsigned r = vec_number(o);

	/* Legacy instructions may leave part of their destination as it was. */
	if (!p->vex || (o->actions & ACTION_READ))
		p->load[r] = (uint8_t)MAX(p->load[r], width);
	if (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
		p->store[r] = (uint8_t)width;
}

static void plan_general(struct plan *p, const ZydisDecodedOperand *o)
{
	bool unused;
	int r = decode_gpr(o->reg.value, &unused);

	if (o->encoding != ZYDIS_OPERAND_ENCODING_NONE) {
		p->gpr = r;
		p->gpr_load = o->actions & ACTION_READ;
		p->gpr_store = o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
		return;
	}
	if (o->actions & ACTION_READ)
		p->fixed_load |= (uint8_t)(1 << r);
	if (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
		p->fixed_store |= (uint8_t)(1 << r);
}

/* False: an operand of a kind that stubs don't have. */
static bool plan_operand(struct plan *p, const ZydisDecodedOperand *o)
{
	if (o->type == ZYDIS_OPERAND_TYPE_MEMORY)
		p->memory = true;
	if (o->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return true;
	switch (ZydisRegisterGetClass(o->reg.value)) {
	case ZYDIS_REGCLASS_XMM:
		plan_vector(p, o, 16);
		return true;
	case ZYDIS_REGCLASS_YMM:
		plan_vector(p, o, 32);
		return true;
	case ZYDIS_REGCLASS_MMX:
		p->mmx = true;
		p->mmx_load |= (uint8_t)(1 << (vec_number(o) & 7));
		if (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
			p->mmx_store |= (uint8_t)(1 << (vec_number(o) & 7));
		return true;
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		plan_general(p, o);
		return true;
	case ZYDIS_REGCLASS_FLAGS:
		p->flags = true;
		return true;
	default:
		return ZydisRegisterGetClass(o->reg.value) == ZYDIS_REGCLASS_INVALID ||
		       o->reg.value == ZYDIS_REGISTER_MXCSR;
	}
}

/* A move between memory at rdi + disp and a vector register; VEX where the instruction has it. */
static void emit_low(struct emit *e, bool vex, uint8_t opcode, unsigned r, uint32_t disp)
{
	uint8_t modrm = (uint8_t)(0x87 | (r & 7) << 3);

	if (vex)
		EMIT(e, 0xc5, (uint8_t)(r & 8 ? 0x78 : 0xf8), opcode, modrm);
	else if (r & 8)
		EMIT(e, 0x44, 0x0f, opcode, modrm);
	else
		EMIT(e, 0x0f, opcode, modrm);
	emit_u32(e, disp);
}

/* vinsertf128 ymm, ymm, [], 1 (0x18) and vextractf128 [], ymm, 1 (0x19) */
static void emit_high(struct emit *e, uint8_t opcode, unsigned r, uint32_t disp)
{
	unsigned vvvv = opcode == 0x18 ? ~r & 15 : 15;

	EMIT(e, 0xc4, (uint8_t)((r & 8 ? 0x63 : 0xe3)), (uint8_t)(vvvv << 3 | 5), opcode,
	     (uint8_t)(0x87 | (r & 7) << 3));
	emit_u32(e, disp);
	EMIT(e, 1);
}

static void emit_loads(struct emit *e, const struct plan *p)
{
	for (unsigned r = 0; r < 16; r++) {
		if (p->load[r])
			emit_low(e, p->vex, 0x10, r, low(r));
		if (p->load[r] == 32)
			emit_high(e, 0x18, r, high(r));
	}
	for (unsigned r = 0; r < 8; r++) {
		if (p->mmx_load & 1 << r) {
			EMIT(e, 0x0f, 0x6f, (uint8_t)(0x87 | r << 3)); /* movq */
			emit_u32(e, mantissa(r));
		}
	}
	if (p->mxcsr) {
		EMIT(e, 0x0f, 0xae, 0x97); /* ldmxcsr */
		emit_u32(e, (uint32_t)(offsetof(struct soft_cpu, xsave) +
		                       offsetof(struct fpu_area, mxcsr)));
	}
	if (p->memory)
		EMIT(e, 0x48, 0x89, 0xd1); /* mov rcx, rdx */
	if (p->flags)
		emit_flags_load(e);
	if (p->gpr_load)
		emit_gpr_load(e, 0, (unsigned)p->gpr);
	for (unsigned r = 0; r < 3; r++)
		if (p->fixed_load & 1 << r)
			emit_gpr_load(e, r, r);
}

static void emit_vector_stores(struct emit *e, const struct plan *p)
{
	bool upper = false;

	for (unsigned r = 0; r < 16; r++) {
		upper |= p->load[r] == 32 || p->store[r] == 32;
		if (!p->store[r])
			continue;
		emit_low(e, p->vex, 0x11, r, low(r));
		if (p->store[r] == 32) {
			emit_high(e, 0x19, r, high(r));
			continue;
		}
		/* VEX.128 clears the upper half: mov qword [], 0 */
		for (unsigned i = 0; p->vex && i < 16; i += 8) {
			EMIT(e, 0x48, 0xc7, 0x87);
			emit_u32(e, high(r) + i);
			emit_u32(e, 0);
		}
	}
	if (upper)
		EMIT(e, 0xc5, 0xf8, 0x77); /* vzeroupper */
}

static void emit_stores(struct emit *e, const struct plan *p)
{
	if (p->gpr_store)
		emit_gpr_store(e, 0, (unsigned)p->gpr);
	for (unsigned r = 0; r < 3; r++)
		if (p->fixed_store & 1 << r)
			emit_gpr_store(e, r, r);
	if (p->flags)
		emit_flags_store(e);
	emit_vector_stores(e, p);
	for (unsigned r = 0; r < 8; r++) {
		if (!(p->mmx_store & 1 << r))
			continue;
		EMIT(e, 0x0f, 0x7f, (uint8_t)(0x87 | r << 3)); /* movq */
		emit_u32(e, mantissa(r));
		EMIT(e, 0x66, 0xc7, 0x87); /* the exponent: mov word [], 0xffff */
		emit_u32(e, mantissa(r) + 8);
		EMIT(e, 0xff, 0xff);
	}
	if (p->mmx)
		EMIT(e, 0x0f, 0x77); /* emms */
	if (!p->mxcsr)
		return;
	EMIT(e, 0x0f, 0xae, 0x9f); /* stmxcsr */
	emit_u32(e,
	         (uint32_t)(offsetof(struct soft_cpu, xsave) + offsetof(struct fpu_area, mxcsr)));
	emit_mxcsr_host(e);
}

/* What the encodings share: the numbers for ModRM and the prefixes' register bits. */
struct fields {
	unsigned reg, rm, vvvv;
	bool memory, has_imm;
	uint8_t imm;
};

static struct fields fields_of(const struct decoded *d)
{
	const ZydisDecodedInstruction *z = &d->insn;
	struct fields f = {.reg = z->raw.modrm.reg,
	                   .has_imm = z->raw.imm[0].size != 0,
	                   .imm = d->bytes[z->length - 1]};

	for (unsigned i = 0; i < z->operand_count; i++) {
		const ZydisDecodedOperand *o = &d->operand[i];
		bool unused;
		unsigned r;

		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY)
			f.memory = true;
		if (o->type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		r = decode_gpr(o->reg.value, &unused) >= 0 ? 0 : vec_number(o);
		if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG)
			f.reg = r;
		else if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM)
			f.rm = r;
		else if (o->encoding == ZYDIS_OPERAND_ENCODING_NDSNDD)
			f.vvvv = r;
		else if (o->encoding == ZYDIS_OPERAND_ENCODING_IS4) {
			f.has_imm = true;
			f.imm = (uint8_t)((f.imm & 15) | r << 4);
		}
	}
	return f;
}

static void emit_tail(struct emit *e, const struct decoded *d, const struct fields *f)
{
	uint8_t reg = (uint8_t)((f->reg & 7) << 3);

	EMIT(e, d->insn.opcode, (uint8_t)(f->memory ? reg | 1 : 0xc0 | reg | (f->rm & 7)));
	if (f->has_imm)
		EMIT(e, f->imm);
}

static bool emit_legacy(struct emit *e, const struct decoded *d)
{
	const ZydisDecodedInstruction *z = &d->insn;
	struct fields f = fields_of(d);
	uint8_t rex = (uint8_t)((f.reg & 8) >> 1 | (f.memory ? 0 : (f.rm & 8) >> 3));

	for (unsigned i = 0; i < z->raw.prefix_count; i++)
		if (z->raw.prefixes[i].type == ZYDIS_PREFIX_TYPE_MANDATORY)
			EMIT(e, z->raw.prefixes[i].value);
	if ((z->attributes & ZYDIS_ATTRIB_HAS_REX) && z->raw.rex.W)
		rex |= 8;
	if (rex)
		EMIT(e, (uint8_t)(0x40 | rex));
	EMIT(e, 0x0f);
	if (z->opcode_map == ZYDIS_OPCODE_MAP_0F38)
		EMIT(e, 0x38);
	else if (z->opcode_map == ZYDIS_OPCODE_MAP_0F3A)
		EMIT(e, 0x3a);
	else if (z->opcode_map != ZYDIS_OPCODE_MAP_0F)
		return false;
	emit_tail(e, d, &f);
	return true;
}

/* Instructions whose VEX.W chooses a general register's size: outside 64-bit code it is ignored. */
static bool w_is_size(const ZydisDecodedInstruction *z)
{
	if (z->opcode_map == ZYDIS_OPCODE_MAP_0F)
		return z->opcode == 0x6e || z->opcode == 0x7e || z->opcode == 0x2a ||
		       z->opcode == 0x2c || z->opcode == 0x2d;
	/* VPCMPESTRM, VPCMPESTRI: of the lengths */
	return z->opcode_map == ZYDIS_OPCODE_MAP_0F3A && (z->opcode == 0x60 || z->opcode == 0x61);
}

/* VPEXTRQ and VPINSRQ are not there outside 64-bit code, where the decoder takes them for VPEXTRD. */
static bool is_missing(const struct decoded *d)
{
	const ZydisDecodedInstruction *z = &d->insn;

	return (d->mode & MODE_BITS) != MODE_64 && z->raw.vex.W &&
	       z->opcode_map == ZYDIS_OPCODE_MAP_0F3A && (z->opcode == 0x16 || z->opcode == 0x22);
}

static bool emit_vex(struct emit *e, const struct decoded *d)
{
	const ZydisDecodedInstruction *z = &d->insn;
	struct fields f = fields_of(d);
	bool w = z->raw.vex.W && ((d->mode & MODE_BITS) == MODE_64 || !w_is_size(z));
	unsigned map = z->opcode_map == ZYDIS_OPCODE_MAP_0F     ? 1
	               : z->opcode_map == ZYDIS_OPCODE_MAP_0F38 ? 2
	               : z->opcode_map == ZYDIS_OPCODE_MAP_0F3A ? 3
	                                                        : 0;

	EMIT(e, 0xc4,
	     (uint8_t)((f.reg & 8 ? 0 : 0x80) | 0x40 | (!f.memory && (f.rm & 8) ? 0 : 0x20) | map),
	     (uint8_t)(w << 7 | (~f.vvvv & 15) << 3 | z->raw.vex.L << 2 | z->raw.vex.pp));
	emit_tail(e, d, &f);
	return map != 0;
}

vec_stub *vec_stub_make(struct soft_cpu *c, const struct decoded *d)
{
	struct plan p = {.vex = vec_is_vex(d), .mxcsr = vec_uses_mxcsr(&d->insn), .gpr = -1};
	struct emit e = {0};

	if (p.vex && is_missing(d))
		return NULL;
	for (unsigned i = 0; i < d->insn.operand_count; i++)
		if (!plan_operand(&p, &d->operand[i]))
			return NULL;
	emit_loads(&e, &p);
	if (!(p.vex ? emit_vex(&e, d) : emit_legacy(&e, d)))
		return NULL;
	emit_stores(&e, &p);
	emit_next(&e);
	return vec_keep(c, &e);
}
