/* Encoding of host instructions (SDM 2, chapter 2): see asm.h. */
#include "engine/soft/asm.h"

#include <string.h>

#define GS 0x65

void asm_bytes(struct assembly *e, const void *p, size_t n)
{
	if ((size_t)(e->end - e->at) < n) {
		e->full = true;
		return;
	}
	memcpy(e->at, p, n);
	e->at += n;
}

void asm_u8(struct assembly *e, uint8_t v)
{
	asm_bytes(e, &v, 1);
}

void asm_u32(struct assembly *e, uint32_t v)
{
	asm_bytes(e, &v, 4);
}

static void rex(struct assembly *e, bool w, unsigned reg, unsigned index, unsigned base)
{
	asm_u8(e, (uint8_t)(0x40 | w << 3 | (reg >> 3 & 1) << 2 | (index >> 3 & 1) << 1 |
	                    (base >> 3 & 1)));
}

static void modrm(struct assembly *e, unsigned mod, unsigned reg, unsigned rm)
{
	asm_u8(e, (uint8_t)(mod << 6 | (reg & 7) << 3 | (rm & 7)));
}

/* ModRM, SIB and displacement for disp(base, index << shift); base or index may be HOST_NONE. */
static void memory(struct assembly *e, unsigned reg, unsigned base, unsigned index, unsigned shift,
                   int32_t disp)
{
	unsigned sib_index = index == HOST_NONE ? 4 : index & 7;
	unsigned mod;

	if (base == HOST_NONE) {
		modrm(e, 0, reg, 4);
		asm_u8(e, (uint8_t)(shift << 6 | sib_index << 3 | 5));
		asm_u32(e, (uint32_t)disp);
		return;
	}
	mod = disp == 0 && (base & 7) != 5 ? 0 : disp == (int8_t)disp ? 1 : 2;
	if (index == HOST_NONE && (base & 7) != 4) {
		modrm(e, mod, reg, base);
	} else {
		modrm(e, mod, reg, 4);
		asm_u8(e, (uint8_t)(shift << 6 | sib_index << 3 | (base & 7)));
	}
	if (mod == 1)
		asm_u8(e, (uint8_t)disp);
	else if (mod == 2)
		asm_u32(e, (uint32_t)disp);
}

/* The REX bits that a register number of a memory operand needs; none for HOST_NONE. */
static unsigned high(unsigned reg)
{
	return reg == HOST_NONE ? 0 : reg;
}

static void op_gs(struct assembly *e, uint8_t opcode, unsigned reg, unsigned index, int32_t offset)
{
	asm_u8(e, GS);
	rex(e, true, reg, high(index), 0);
	asm_u8(e, opcode);
	memory(e, reg, HOST_NONE, index, index == HOST_NONE ? 0 : 3, offset);
}

void asm_load_gs(struct assembly *e, enum host_reg to, int32_t offset)
{
	op_gs(e, 0x8b, to, HOST_NONE, offset);
}

void asm_store_gs(struct assembly *e, int32_t offset, enum host_reg from)
{
	op_gs(e, 0x89, from, HOST_NONE, offset);
}

void asm_store_gs_u16(struct assembly *e, int32_t offset, uint16_t v)
{
	asm_u8(e, GS);
	asm_u8(e, 0x66);
	asm_u8(e, 0xc7);
	memory(e, 0, HOST_NONE, HOST_NONE, 0, offset);
	asm_bytes(e, &v, 2);
}

void asm_load_gs_index(struct assembly *e, enum host_reg to, int32_t offset, enum host_reg index)
{
	op_gs(e, 0x8b, to, index, offset);
}

static void vex3(struct assembly *e, unsigned reg, unsigned index, unsigned base, unsigned map,
                 bool w, unsigned vvvv, unsigned l, unsigned pp)
{
	asm_u8(e, 0xc4);
	asm_u8(e, (uint8_t)((~reg >> 3 & 1) << 7 | (~index >> 3 & 1) << 6 | (~base >> 3 & 1) << 5 |
	                    map));
	asm_u8(e, (uint8_t)(w << 7 | (~vvvv & 15) << 3 | l << 2 | pp));
}

void asm_pext_gs(struct assembly *e, enum host_reg to, enum host_reg from, int32_t offset)
{
	asm_u8(e, GS);
	vex3(e, to, 0, 0, 2, true, from, 0, 2);
	asm_u8(e, 0xf5);
	memory(e, to, HOST_NONE, HOST_NONE, 0, offset);
}

void asm_mov(struct assembly *e, enum host_reg to, enum host_reg from)
{
	if (to == from)
		return;
	rex(e, true, from, 0, to);
	asm_u8(e, 0x89);
	modrm(e, 3, from, to);
}

void asm_mov_u32(struct assembly *e, enum host_reg to, uint32_t v)
{
	if (to & 8)
		rex(e, false, 0, 0, to);
	asm_u8(e, (uint8_t)(0xb8 | (to & 7)));
	asm_u32(e, v);
}

void asm_mov_u64(struct assembly *e, enum host_reg to, uint64_t v)
{
	rex(e, true, 0, 0, to);
	asm_u8(e, (uint8_t)(0xb8 | (to & 7)));
	asm_bytes(e, &v, 8);
}

void asm_lea(struct assembly *e, enum host_reg to, enum host_reg base, enum host_reg index,
             unsigned scale_shift, int32_t disp, bool wide)
{
	unsigned bits = (to | high(index) | high(base)) & 8;

	if (wide || bits)
		rex(e, wide, to, high(index), high(base));
	asm_u8(e, 0x8d);
	memory(e, to, base, index, scale_shift, disp);
}

static void op_memory(struct assembly *e, uint8_t opcode, unsigned reg, unsigned base,
                      unsigned index)
{
	rex(e, true, reg, high(index), base);
	asm_u8(e, opcode);
	memory(e, reg, base, index, 0, 0);
}

void asm_load(struct assembly *e, enum host_reg to, enum host_reg base, enum host_reg index)
{
	op_memory(e, 0x8b, to, base, index);
}

void asm_store(struct assembly *e, enum host_reg base, enum host_reg index, enum host_reg from)
{
	op_memory(e, 0x89, from, base, index);
}

void asm_store_s32(struct assembly *e, enum host_reg base, enum host_reg index, int32_t v)
{
	op_memory(e, 0xc7, 0, base, index);
	asm_u32(e, (uint32_t)v);
}

/* SHLX (66), SARX (F3) to, from, rcx */
static void shift_rcx(struct assembly *e, unsigned pp, unsigned to, unsigned from)
{
	vex3(e, to, 0, from, 2, true, HOST_RCX, 0, pp);
	asm_u8(e, 0xf7);
	modrm(e, 3, to, from);
}

void asm_sign_extend_48(struct assembly *e, enum host_reg to, enum host_reg from)
{
	asm_mov_u32(e, HOST_RCX, 16);
	shift_rcx(e, 1, to, from);
	shift_rcx(e, 2, to, to);
}

void asm_not(struct assembly *e, enum host_reg r)
{
	rex(e, true, 0, 0, r);
	asm_u8(e, 0xf7);
	modrm(e, 3, 2, r);
}

uint8_t *asm_lea_code(struct assembly *e, enum host_reg to, const uint8_t *target)
{
	rex(e, true, to, 0, 0);
	asm_u8(e, 0x8d);
	modrm(e, 0, to, 5);
	asm_u32(e, 0);
	asm_to(e->at - 4, target);
	return e->at - 4;
}

uint8_t *asm_jmp(struct assembly *e)
{
	asm_u8(e, 0xe9);
	asm_u32(e, 0);
	return e->at - 4;
}

uint8_t *asm_jmp8(struct assembly *e)
{
	asm_u8(e, 0xeb);
	asm_u8(e, 0);
	return e->at - 1;
}

uint8_t *asm_jcc(struct assembly *e, unsigned cc)
{
	asm_u8(e, 0x0f);
	asm_u8(e, (uint8_t)(0x80 | cc));
	asm_u32(e, 0);
	return e->at - 4;
}

uint8_t *asm_jrcxz(struct assembly *e)
{
	asm_u8(e, 0xe3);
	asm_u8(e, 0);
	return e->at - 1;
}

void asm_to8(uint8_t *rel, const uint8_t *target)
{
	*rel = (uint8_t)(target - (rel + 1));
}

void asm_to(uint8_t *rel, const uint8_t *target)
{
	int32_t v = (int32_t)(target - (rel + 4));

	memcpy(rel, &v, 4);
}

void asm_jmp_gs(struct assembly *e, int32_t offset)
{
	asm_u8(e, GS);
	asm_u8(e, 0xff);
	memory(e, 4, HOST_NONE, HOST_NONE, 0, offset);
}

void asm_jmp_gs_index(struct assembly *e, int32_t offset, enum host_reg index)
{
	asm_u8(e, GS);
	rex(e, false, 0, index, 0);
	asm_u8(e, 0xff);
	memory(e, 4, HOST_NONE, index, 3, offset);
}

/* Re-encoding. */

static bool is_dropped(uint8_t prefix)
{
	switch (prefix) {
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
	case 0x64:
	case 0x65:
	case 0x67:
		return true;
	default:
		return false;
	}
}

static bool has_high_byte(const struct recode *r)
{
	for (unsigned i = 0; i < r->insn->operand_count_visible; i++) {
		const ZydisDecodedOperand *o = &r->operand[i];

		if (o->type == ZYDIS_OPERAND_TYPE_REGISTER && o->reg.value >= ZYDIS_REGISTER_AH &&
		    o->reg.value <= ZYDIS_REGISTER_BH)
			return true;
	}
	return false;
}

/* The fields of the new instruction. */
struct fields {
	bool w, modrm, memory, vex, rex;
	bool in_opcode; /* the opcode's low bits are a register: rm */
	unsigned reg, rm, index, vvvv;
};

static bool is_gpr(const ZydisDecodedOperand *o)
{
	ZydisRegisterClass k;

	if (o->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return false;
	k = ZydisRegisterGetClass(o->reg.value);
	return k >= ZYDIS_REGCLASS_GPR8 && k <= ZYDIS_REGCLASS_GPR64;
}

static void rename(const struct recode *r, struct fields *f)
{
	for (unsigned i = 0; i < r->insn->operand_count; i++) {
		const ZydisDecodedOperand *o = &r->operand[i];

		if (!is_gpr(o))
			continue;
		if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG) {
			f->reg = r->reg[f->reg];
		} else if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM) {
			f->rm = r->reg[f->rm];
		} else if (o->encoding == ZYDIS_OPERAND_ENCODING_NDSNDD) {
			f->vvvv = r->reg[f->vvvv];
		} else if (o->encoding == ZYDIS_OPERAND_ENCODING_OPCODE) {
			f->rm = r->reg[(r->insn->opcode & 7u) | (f->rm & 8)];
			f->in_opcode = true;
		}
	}
}

static void fields_of(const struct recode *r, struct fields *f)
{
	const ZydisDecodedInstruction *z = r->insn;
	bool vex = z->attributes & ZYDIS_ATTRIB_HAS_VEX;

	/* VEX has its bits inverted. */
	*f = (struct fields){
		.vex = vex,
		.rex = z->attributes & ZYDIS_ATTRIB_HAS_REX,
		.modrm = z->attributes & ZYDIS_ATTRIB_HAS_MODRM,
		.w = vex ? z->raw.vex.W : z->raw.rex.W,
		.reg = (unsigned)(vex ? !z->raw.vex.R : z->raw.rex.R) << 3,
		.rm = (unsigned)(vex ? !z->raw.vex.B : z->raw.rex.B) << 3,
		.vvvv = vex ? ~z->raw.vex.vvvv & 15u : 0,
	};
	if (f->modrm) {
		f->reg |= z->raw.modrm.reg;
		f->rm |= z->raw.modrm.rm;
		f->memory = z->raw.modrm.mod != 3;
	}
	rename(r, f);
	if (f->memory) {
		f->rm = r->base;
		f->index = r->index;
	}
}

static void opcode(struct assembly *e, const struct recode *r, const struct fields *f)
{
	const ZydisDecodedInstruction *z = r->insn;
	unsigned start = z->raw.prefix_count, end = z->length;

	if (f->modrm)
		end = z->raw.modrm.offset;
	else if (z->raw.imm[0].size)
		end = z->raw.imm[0].offset;
	asm_bytes(e, r->bytes + start, end - start - 1);
	asm_u8(e, f->in_opcode ? (uint8_t)((z->opcode & 0xf8) | (f->rm & 7)) : z->opcode);
}

bool asm_recoded(struct assembly *e, const struct recode *r)
{
	const ZydisDecodedInstruction *z = r->insn;
	struct fields f;
	bool need_rex;

	fields_of(r, &f);
	need_rex = f.w || f.rex || (f.reg | f.rm | f.index) & 8;
	if (!f.vex && need_rex && has_high_byte(r))
		return false;
	for (unsigned i = 0; i < z->raw.prefix_count; i++) {
		uint8_t p = z->raw.prefixes[i].value;

		if ((p & 0xf0) != 0x40 && !is_dropped(p))
			asm_u8(e, p);
	}
	if (f.vex) {
		vex3(e, f.reg, f.index, f.rm, z->raw.vex.m_mmmm, f.w, f.vvvv, z->raw.vex.L,
		     z->raw.vex.pp);
		asm_u8(e, z->opcode);
	} else {
		if (need_rex)
			rex(e, f.w, f.modrm ? f.reg : 0, f.index, f.rm);
		opcode(e, r, &f);
	}
	if (f.memory)
		memory(e, f.reg, f.rm, f.index, 0, 0);
	else if (f.modrm)
		modrm(e, 3, f.reg, f.rm);
	if (z->raw.imm[0].size)
		asm_bytes(e, r->bytes + z->raw.imm[0].offset, z->length - z->raw.imm[0].offset);
	return true;
}
