#include "insn.h"

#include <stdlib.h>
#include <string.h>
#include "machine/cpu.h"
#include "machine/cpuid.h"

#define MODRM_REG(reg) ((reg) << 3)

bool insn_decode(enum case_mode mode, const uint8_t *bytes, size_t len, struct insn *out)
{
	static const struct {
		ZydisMachineMode machine;
		ZydisStackWidth stack;
	} modes[] = {
		[CASE_64] = {ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
		[CASE_32] = {ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32},
		[CASE_SEG32] = {ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32},
		[CASE_SEG16] = {ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16},
	};
	static ZydisDecoder decoder[ARRAY_LEN(modes)];
	static bool ready[ARRAY_LEN(modes)];

	if (!ready[mode]) {
		ZydisDecoderInit(&decoder[mode], modes[mode].machine, modes[mode].stack);
		ZydisDecoderEnableMode(&decoder[mode], ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
		ZydisDecoderEnableMode(&decoder[mode], ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
		ready[mode] = true;
	}
	return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder[mode], bytes, len, &out->i, out->op));
}

/* Where CPUID says that an instruction set is there; sets that are not listed aren't tested. */
static const struct {
	ZydisISASet set;
	uint32_t leaf;
	uint8_t reg, bit; /* eax 0 ... edx 3 */
} feature[] = {
	{ZYDIS_ISA_SET_X87, 1, 3, 0},
	{ZYDIS_ISA_SET_FCMOV, 1, 3, 15},
	{ZYDIS_ISA_SET_CMOV, 1, 3, 15},
	{ZYDIS_ISA_SET_PENTIUMMMX, 1, 3, 23},
	{ZYDIS_ISA_SET_FXSAVE, 1, 3, 24},
	{ZYDIS_ISA_SET_FXSAVE64, 1, 3, 24},
	{ZYDIS_ISA_SET_SSE, 1, 3, 25},
	{ZYDIS_ISA_SET_SSEMXCSR, 1, 3, 25},
	{ZYDIS_ISA_SET_SSE_PREFETCH, 1, 3, 25},
	{ZYDIS_ISA_SET_SSE2, 1, 3, 26},
	{ZYDIS_ISA_SET_SSE2MMX, 1, 3, 26},
	{ZYDIS_ISA_SET_CLFSH, 1, 3, 19},
	{ZYDIS_ISA_SET_SSE3, 1, 2, 0},
	{ZYDIS_ISA_SET_SSE3X87, 1, 2, 0},
	{ZYDIS_ISA_SET_PCLMULQDQ, 1, 2, 1},
	{ZYDIS_ISA_SET_SSSE3, 1, 2, 9},
	{ZYDIS_ISA_SET_SSSE3MMX, 1, 2, 9},
	{ZYDIS_ISA_SET_FMA, 1, 2, 12},
	{ZYDIS_ISA_SET_CMPXCHG16B, 1, 2, 13},
	{ZYDIS_ISA_SET_SSE4, 1, 2, 19},
	{ZYDIS_ISA_SET_SSE42, 1, 2, 20},
	{ZYDIS_ISA_SET_MOVBE, 1, 2, 22},
	{ZYDIS_ISA_SET_POPCNT, 1, 2, 23},
	{ZYDIS_ISA_SET_AES, 1, 2, 25},
	{ZYDIS_ISA_SET_XSAVE, 1, 2, 26},
	{ZYDIS_ISA_SET_AVX, 1, 2, 28},
	{ZYDIS_ISA_SET_AVXAES, 1, 2, 25},
	{ZYDIS_ISA_SET_F16C, 1, 2, 29},
	{ZYDIS_ISA_SET_RDWRFSGS, 7, 1, 0},
	{ZYDIS_ISA_SET_BMI1, 7, 1, 3},
	{ZYDIS_ISA_SET_AVX2, 7, 1, 5},
	{ZYDIS_ISA_SET_AVX2GATHER, 7, 1, 5},
	{ZYDIS_ISA_SET_BMI2, 7, 1, 8},
	{ZYDIS_ISA_SET_ADOX_ADCX, 7, 1, 19},
	{ZYDIS_ISA_SET_CLFLUSHOPT, 7, 1, 23},
	{ZYDIS_ISA_SET_CLWB, 7, 1, 24},
	{ZYDIS_ISA_SET_SHA, 7, 1, 29},
	{ZYDIS_ISA_SET_GFNI, 7, 2, 8},
	{ZYDIS_ISA_SET_AVX_GFNI, 7, 2, 8},
	{ZYDIS_ISA_SET_VAES, 7, 2, 9},
	{ZYDIS_ISA_SET_VPCLMULQDQ, 7, 2, 10},
	{ZYDIS_ISA_SET_XSAVEOPT, 0xd, 0, 0},
	{ZYDIS_ISA_SET_XSAVEC, 0xd, 0, 1},
	{ZYDIS_ISA_SET_LAHF, 0x80000001, 2, 0},
	{ZYDIS_ISA_SET_LZCNT, 0x80000001, 2, 5},
	{ZYDIS_ISA_SET_PREFETCH_NOP, 0x80000001, 2, 8},
	{ZYDIS_ISA_SET_LONGMODE, 0x80000001, 3, 29},
};

static bool offered(ZydisISASet set)
{
	static const ZydisISASet always[] = {
		ZYDIS_ISA_SET_I86,   ZYDIS_ISA_SET_I186,          ZYDIS_ISA_SET_I386,
		ZYDIS_ISA_SET_I486,  ZYDIS_ISA_SET_I486REAL,      ZYDIS_ISA_SET_I286REAL,
		ZYDIS_ISA_SET_PPRO,  ZYDIS_ISA_SET_PENTIUMREAL,   ZYDIS_ISA_SET_FAT_NOP,
		ZYDIS_ISA_SET_PAUSE, ZYDIS_ISA_SET_I286PROTECTED,
	};

	for (unsigned i = 0; i < ARRAY_LEN(always); i++)
		if (always[i] == set)
			return true;
	for (unsigned i = 0; i < ARRAY_LEN(feature); i++) {
		uint32_t out[4];

		if (feature[i].set != set)
			continue;
		cpuid_lookup(soft_model(), 0, CR4_OSXSAVE, 7, feature[i].leaf,
		             feature[i].leaf == 0xd, out);
		return out[feature[i].reg] >> feature[i].bit & 1;
	}
	return false;
}

/* Exceptions to what the categories say. */
static const struct {
	ZydisMnemonic mnemonic;
	enum insn_class class;
} special[] = {
	{ZYDIS_MNEMONIC_MUL, CLASS_MUL},
	{ZYDIS_MNEMONIC_IMUL, CLASS_MUL},
	{ZYDIS_MNEMONIC_DIV, CLASS_MUL},
	{ZYDIS_MNEMONIC_IDIV, CLASS_MUL},
	{ZYDIS_MNEMONIC_MULX, CLASS_MUL},
	{ZYDIS_MNEMONIC_XCHG, CLASS_ATOMIC},
	{ZYDIS_MNEMONIC_ENTER, CLASS_STACK},
	{ZYDIS_MNEMONIC_LEAVE, CLASS_STACK},
	{ZYDIS_MNEMONIC_RDGSBASE, CLASS_MOV},
	{ZYDIS_MNEMONIC_WRGSBASE, CLASS_MOV},
	{ZYDIS_MNEMONIC_ARPL, CLASS_ALU},
	/* Privileged, or traps by nature */
	{ZYDIS_MNEMONIC_CLI, CLASS_TRAP},
	{ZYDIS_MNEMONIC_STI, CLASS_TRAP},
	{ZYDIS_MNEMONIC_HLT, CLASS_TRAP},
	{ZYDIS_MNEMONIC_IN, CLASS_TRAP},
	{ZYDIS_MNEMONIC_OUT, CLASS_TRAP},
	{ZYDIS_MNEMONIC_INSB, CLASS_TRAP},
	{ZYDIS_MNEMONIC_INSW, CLASS_TRAP},
	{ZYDIS_MNEMONIC_INSD, CLASS_TRAP},
	{ZYDIS_MNEMONIC_OUTSB, CLASS_TRAP},
	{ZYDIS_MNEMONIC_OUTSW, CLASS_TRAP},
	{ZYDIS_MNEMONIC_OUTSD, CLASS_TRAP},
	{ZYDIS_MNEMONIC_CLTS, CLASS_TRAP},
	{ZYDIS_MNEMONIC_INVD, CLASS_TRAP},
	{ZYDIS_MNEMONIC_WBINVD, CLASS_TRAP},
	{ZYDIS_MNEMONIC_LGDT, CLASS_TRAP},
	{ZYDIS_MNEMONIC_LIDT, CLASS_TRAP},
	{ZYDIS_MNEMONIC_LLDT, CLASS_TRAP},
	{ZYDIS_MNEMONIC_LTR, CLASS_TRAP},
	{ZYDIS_MNEMONIC_LMSW, CLASS_TRAP},
	{ZYDIS_MNEMONIC_INVLPG, CLASS_TRAP},
	{ZYDIS_MNEMONIC_RDMSR, CLASS_TRAP},
	{ZYDIS_MNEMONIC_WRMSR, CLASS_TRAP},
	{ZYDIS_MNEMONIC_SWAPGS, CLASS_TRAP},
	{ZYDIS_MNEMONIC_SYSRET, CLASS_TRAP},
	{ZYDIS_MNEMONIC_UD0, CLASS_TRAP},
	{ZYDIS_MNEMONIC_UD1, CLASS_TRAP},
	{ZYDIS_MNEMONIC_UD2, CLASS_TRAP},
	{ZYDIS_MNEMONIC_INT, CLASS_TRAP},
	{ZYDIS_MNEMONIC_INT3, CLASS_TRAP},
	{ZYDIS_MNEMONIC_INTO, CLASS_TRAP},
	{ZYDIS_MNEMONIC_BOUND, CLASS_TRAP},
	/* Not the same here and there, or not in a case's reach */
	{ZYDIS_MNEMONIC_SYSEXIT, CLASS_NONE}, /* vendors differ */
	{ZYDIS_MNEMONIC_CPUID, CLASS_NONE},
	{ZYDIS_MNEMONIC_IRET, CLASS_NONE},
	{ZYDIS_MNEMONIC_IRETD, CLASS_NONE},
	{ZYDIS_MNEMONIC_IRETQ, CLASS_NONE},
	{ZYDIS_MNEMONIC_RDFSBASE, CLASS_NONE},
	{ZYDIS_MNEMONIC_WRFSBASE, CLASS_NONE},
	{ZYDIS_MNEMONIC_XGETBV, CLASS_NONE},
	{ZYDIS_MNEMONIC_XSETBV, CLASS_TRAP},
	{ZYDIS_MNEMONIC_LDS, CLASS_NONE},
	{ZYDIS_MNEMONIC_LES, CLASS_NONE},
	{ZYDIS_MNEMONIC_LFS, CLASS_NONE},
	{ZYDIS_MNEMONIC_LGS, CLASS_NONE},
	{ZYDIS_MNEMONIC_LSS, CLASS_NONE},
	{ZYDIS_MNEMONIC_INT1, CLASS_NONE}, /* hosts of virtual machines differ about RIP */
};

static enum insn_class by_set(ZydisISASet set)
{
	switch (set) {
	case ZYDIS_ISA_SET_X87:
	case ZYDIS_ISA_SET_FCMOV:
	case ZYDIS_ISA_SET_SSE3X87:
		return CLASS_X87;
	case ZYDIS_ISA_SET_PENTIUMMMX:
	case ZYDIS_ISA_SET_SSE2MMX:
	case ZYDIS_ISA_SET_SSSE3MMX:
		return CLASS_MMX;
	case ZYDIS_ISA_SET_SSE:
	case ZYDIS_ISA_SET_SSE2:
	case ZYDIS_ISA_SET_SSE3:
	case ZYDIS_ISA_SET_SSSE3:
	case ZYDIS_ISA_SET_SSE4:
	case ZYDIS_ISA_SET_SSEMXCSR:
		return CLASS_SSE;
	case ZYDIS_ISA_SET_AVX:
	case ZYDIS_ISA_SET_AVX2:
	case ZYDIS_ISA_SET_AVX2GATHER:
	case ZYDIS_ISA_SET_FMA:
	case ZYDIS_ISA_SET_F16C:
		return CLASS_AVX;
	case ZYDIS_ISA_SET_AES:
	case ZYDIS_ISA_SET_AVXAES:
	case ZYDIS_ISA_SET_VAES:
	case ZYDIS_ISA_SET_SHA:
	case ZYDIS_ISA_SET_GFNI:
	case ZYDIS_ISA_SET_AVX_GFNI:
	case ZYDIS_ISA_SET_PCLMULQDQ:
	case ZYDIS_ISA_SET_VPCLMULQDQ:
		return CLASS_CRYPTO;
	case ZYDIS_ISA_SET_FXSAVE:
	case ZYDIS_ISA_SET_FXSAVE64:
	case ZYDIS_ISA_SET_XSAVE:
	case ZYDIS_ISA_SET_XSAVEOPT:
	case ZYDIS_ISA_SET_XSAVEC:
		return CLASS_XSAVE;
	default:
		return CLASS_NONE;
	}
}

static enum insn_class by_category(ZydisInstructionCategory category)
{
	switch (category) {
	case ZYDIS_CATEGORY_BINARY:
	case ZYDIS_CATEGORY_LOGICAL:
	case ZYDIS_CATEGORY_CONVERT:
	case ZYDIS_CATEGORY_ADOX_ADCX:
	case ZYDIS_CATEGORY_FLAGOP:
		return CLASS_ALU;
	case ZYDIS_CATEGORY_DATAXFER:
	case ZYDIS_CATEGORY_CMOV:
	case ZYDIS_CATEGORY_SETCC:
	case ZYDIS_CATEGORY_MISC:
	case ZYDIS_CATEGORY_NOP:
	case ZYDIS_CATEGORY_WIDENOP:
	case ZYDIS_CATEGORY_PREFETCH:
	case ZYDIS_CATEGORY_CLFLUSHOPT:
	case ZYDIS_CATEGORY_CLWB:
		return CLASS_MOV;
	case ZYDIS_CATEGORY_SHIFT:
	case ZYDIS_CATEGORY_ROTATE:
		return CLASS_SHIFT;
	case ZYDIS_CATEGORY_BITBYTE:
	case ZYDIS_CATEGORY_BMI1:
	case ZYDIS_CATEGORY_BMI2:
	case ZYDIS_CATEGORY_LZCNT:
	case ZYDIS_CATEGORY_SSE: /* POPCNT, CRC32 */
		return CLASS_BIT;
	case ZYDIS_CATEGORY_STRINGOP:
		return CLASS_STRING;
	case ZYDIS_CATEGORY_SEMAPHORE:
		return CLASS_ATOMIC;
	case ZYDIS_CATEGORY_PUSH:
	case ZYDIS_CATEGORY_POP:
		return CLASS_STACK;
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_RET:
	case ZYDIS_CATEGORY_COND_BR:
	case ZYDIS_CATEGORY_UNCOND_BR:
		return CLASS_FLOW;
	case ZYDIS_CATEGORY_DECIMAL:
		return CLASS_BCD;
	default:
		return CLASS_NONE;
	}
}

enum insn_class insn_class(const ZydisDecodedInstruction *i)
{
	enum insn_class c;

	for (unsigned k = 0; k < ARRAY_LEN(special); k++)
		if (special[k].mnemonic == i->mnemonic)
			return special[k].class;
	if (i->meta.isa_set == ZYDIS_ISA_SET_SSE42)
		return i->mnemonic == ZYDIS_MNEMONIC_CRC32 ? CLASS_BIT : CLASS_SSE;
	c = by_set(i->meta.isa_set);
	return c != CLASS_NONE ? c : by_category(i->meta.category);
}

static bool reads_mxcsr(const struct insn *n)
{
	for (unsigned i = 0; i < n->i.operand_count; i++)
		if (n->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    n->op[i].reg.value == ZYDIS_REGISTER_MXCSR)
			return true;
	return false;
}

/* Segment registers are loaded in classes of their own; control registers only trap. */
static bool special_operands(const struct insn *n, bool *segment)
{
	bool control = false;

	*segment = false;
	for (unsigned i = 0; i < n->i.operand_count_visible; i++) {
		ZydisRegisterClass c;

		if (n->op[i].type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		c = ZydisRegisterGetClass(n->op[i].reg.value);
		*segment |= c == ZYDIS_REGCLASS_SEGMENT;
		control |= c == ZYDIS_REGCLASS_CONTROL || c == ZYDIS_REGCLASS_DEBUG ||
		           c == ZYDIS_REGCLASS_TEST;
	}
	return control;
}

static enum insn_class full_class(const struct insn *n)
{
	enum insn_class class = insn_class(&n->i);
	bool segment, control = special_operands(n, &segment);

	if (segment || n->i.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return CLASS_NONE;
	if (control)
		return CLASS_TRAP;
	if (reads_mxcsr(n) && n->i.meta.isa_set != ZYDIS_ISA_SET_SSEMXCSR) {
		if (class == CLASS_SSE)
			class = CLASS_SSE_FP;
		if (class == CLASS_AVX)
			class = CLASS_AVX_FP;
	}
	return class;
}

static bool wanted(const struct insn *n, enum insn_class class, const struct form *f)
{
	enum insn_class of = full_class(n);

	if (!offered(n->i.meta.isa_set) && of != CLASS_TRAP)
		return false;
	if (class == CLASS_ATOMIC && f->memory && (n->i.attributes & ZYDIS_ATTRIB_ACCEPTS_LOCK))
		return true;
	return of == class;
}

static size_t form_bytes(const struct form *f, enum case_mode mode, uint8_t *b)
{
	static const uint8_t pp[] = {0, 0x66, 0xf3, 0xf2};
	size_t n = 0;

	if (f->vex) {
		unsigned p = 0;

		while (pp[p] != f->prefix)
			p++;
		b[n++] = 0xc4;
		b[n++] = (uint8_t)(0xe0 | f->map);
		b[n++] = (uint8_t)(f->w << 7 | 0xf << 3 | f->l << 2 | p);
	} else {
		if (f->prefix)
			b[n++] = f->prefix;
		if (f->w && mode == CASE_64)
			b[n++] = 0x48;
		if (f->map >= 1)
			b[n++] = 0x0f;
		if (f->map >= 2)
			b[n++] = f->map == 2 ? 0x38 : 0x3a;
	}
	b[n++] = f->opcode;
	return n;
}

/* VEX.vvvv and registers are all ones in the probe; a vvvv that must be unused stays so. */
static bool probe(const struct form *f, enum case_mode mode, struct insn *out)
{
	uint8_t b[24] = {0};
	size_t n = form_bytes(f, mode, b);
	uint8_t modrm = (uint8_t)(MODRM_REG(f->reg) | (f->memory ? 0x03 : 0xc0));

	if (!f->memory)
		modrm |= f->rm > 0 ? (uint8_t)f->rm : 0;
	b[n] = modrm;
	if (insn_decode(mode, b, sizeof(b), out))
		return true;
	if (!f->vex)
		return false;
	b[2] &= (uint8_t) ~(0xf << 3); /* gathers want registers that differ */
	return insn_decode(mode, b, sizeof(b), out);
}

static void add(struct catalogue *c, const struct form *f)
{
	if ((c->n & (c->n - 1)) == 0)
		c->form = xrealloc(c->form, (c->n ? c->n * 2 : 1) * sizeof(*f));
	c->form[c->n++] = *f;
}

static bool prefix_matters(const struct insn *n, bool vex, uint8_t prefix)
{
	const ZydisInstructionAttributes rep =
		ZYDIS_ATTRIB_ACCEPTS_REP | ZYDIS_ATTRIB_ACCEPTS_REPE | ZYDIS_ATTRIB_ACCEPTS_REPNE;

	if (vex || prefix == 0 || prefix == 0x66)
		return true;
	return n->i.raw.prefix_count > 0 &&
	       ((n->i.attributes & rep) ||
	        n->i.raw.prefixes[0].type == ZYDIS_PREFIX_TYPE_MANDATORY);
}

static void try_opcode(struct catalogue *c, enum insn_class class, enum case_mode mode,
                       struct form f)
{
	struct insn n;

	for (unsigned memory = 0; memory < 2; memory++) {
		for (unsigned reg = 0; reg < 8; reg++) {
			/* Only these opcodes have instructions that ModRM.rm chooses. */
			bool by_rm = !f.vex && !memory &&
			             ((f.map == 0 && f.opcode >= 0xd8 && f.opcode <= 0xdf) ||
			              (f.map == 1 && f.opcode == 0x01));

			for (int rm = 0; rm < (by_rm ? 8 : 1); rm++) {
				f.memory = memory;
				f.reg = (uint8_t)reg;
				f.rm = by_rm ? (int8_t)rm : -1;
				if (!probe(&f, mode, &n))
					continue;
				f.modrm = !!(n.i.attributes & ZYDIS_ATTRIB_HAS_MODRM);
				if (!f.modrm && (memory || reg || rm > 0))
					continue;
				if (!prefix_matters(&n, f.vex, f.prefix) || !wanted(&n, class, &f))
					continue;
				f.mnemonic = (uint16_t)n.i.mnemonic;
				add(c, &f);
			}
		}
	}
}

static int by_mnemonic(const void *a, const void *b)
{
	return ((const struct form *)a)->mnemonic - ((const struct form *)b)->mnemonic;
}

static void make_groups(struct catalogue *c)
{
	qsort(c->form, c->n, sizeof(*c->form), by_mnemonic);
	c->group = xalloc((c->n + 1) * sizeof(*c->group));
	for (unsigned i = 0; i < c->n; i++)
		if (i == 0 || c->form[i].mnemonic != c->form[i - 1].mnemonic)
			c->group[c->groups++] = i;
	c->group[c->groups] = c->n;
}

static bool is_prefix(enum case_mode mode, unsigned b)
{
	return b == 0x26 || b == 0x2e || b == 0x36 || b == 0x3e || (b >= 0x64 && b <= 0x67) ||
	       b == 0xf0 || b == 0xf2 || b == 0xf3 || b == 0x0f ||
	       (mode == CASE_64 && (b & 0xf0) == 0x40);
}

void catalogue_make(struct catalogue *c, enum insn_class class, enum case_mode mode)
{
	static const uint8_t prefixes[] = {0, 0x66, 0xf3, 0xf2};
	struct form f = {0};

	*c = (struct catalogue){0};
	for (unsigned k = 0; k < 256 * 4 * 4 * 2; k++) {
		f = (struct form){.opcode = (uint8_t)k,
		                  .prefix = prefixes[k >> 8 & 3],
		                  .map = (uint8_t)(k >> 10 & 3),
		                  .w = k >> 12 & 1};
		if ((f.map == 0 && is_prefix(mode, f.opcode)) || (f.w && mode != CASE_64) ||
		    (f.map == 1 && (f.opcode == 0x38 || f.opcode == 0x3a)))
			continue;
		try_opcode(c, class, mode, f);
	}
	for (unsigned k = 0; k < 256 * 3 * 4 * 4; k++) {
		f = (struct form){.vex = true,
		                  .opcode = (uint8_t)k,
		                  .prefix = prefixes[k >> 8 & 3],
		                  .map = (uint8_t)((k >> 12) + 1),
		                  .w = k >> 10 & 1,
		                  .l = k >> 11 & 1};
		try_opcode(c, class, mode, f);
	}
	make_groups(c);
}

void catalogue_free(struct catalogue *c)
{
	free(c->form);
	free(c->group);
}

const struct form *catalogue_pick(const struct catalogue *c, struct rng *r)
{
	unsigned g = rng_below(r, c->groups);

	return &c->form[c->group[g] + rng_below(r, c->group[g + 1] - c->group[g])];
}

uint32_t insn_undefined(const struct insn *n)
{
	const ZydisDecodedInstruction *i = &n->i;
	uint32_t mask = i->cpu_flags ? i->cpu_flags->undefined : 0;

	/* Zydis can't know of counts: OF is defined for a count of 1, CF for less than the size. */
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_SHL:
	case ZYDIS_MNEMONIC_SHR:
	case ZYDIS_MNEMONIC_SAR:
	case ZYDIS_MNEMONIC_SHLD:
	case ZYDIS_MNEMONIC_SHRD:
		if (i->operand_width < 32)
			mask |= FLAG_CF;
		mask |= FLAG_AF;
		/* fall through */
	case ZYDIS_MNEMONIC_ROL:
	case ZYDIS_MNEMONIC_ROR:
	case ZYDIS_MNEMONIC_RCL:
	case ZYDIS_MNEMONIC_RCR:
		if (!(i->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && (i->opcode & 0xfe) == 0xd0))
			mask |= FLAG_OF;
		break;
	default:
		break;
	}
	return mask & FLAGS_ARITH;
}

int insn_gpr(ZydisRegister reg)
{
	ZydisRegister wide = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);

	return wide >= ZYDIS_REGISTER_RAX && wide <= ZYDIS_REGISTER_R15
	               ? (int)(wide - ZYDIS_REGISTER_RAX)
	               : -1;
}
