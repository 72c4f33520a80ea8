/* Which class an instruction is tested in, and whether the guest's processor has it. */
#include "insn.h"
#include "machine/cpu.h"
#include "machine/cpuid.h"

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
	{ZYDIS_MNEMONIC_IRET, CLASS_SEGMENT},
	{ZYDIS_MNEMONIC_IRETD, CLASS_SEGMENT},
	{ZYDIS_MNEMONIC_IRETQ, CLASS_SEGMENT},
	{ZYDIS_MNEMONIC_RDFSBASE, CLASS_NONE},
	{ZYDIS_MNEMONIC_WRFSBASE, CLASS_NONE},
	{ZYDIS_MNEMONIC_XGETBV, CLASS_NONE},
	{ZYDIS_MNEMONIC_XSETBV, CLASS_TRAP},
	{ZYDIS_MNEMONIC_LDS, CLASS_SEGMENT},
	{ZYDIS_MNEMONIC_LAR, CLASS_SEGMENT},
	{ZYDIS_MNEMONIC_LSL, CLASS_SEGMENT},
	{ZYDIS_MNEMONIC_VERR, CLASS_SEGMENT},
	{ZYDIS_MNEMONIC_VERW, CLASS_SEGMENT},
	{ZYDIS_MNEMONIC_LES, CLASS_SEGMENT},
	{ZYDIS_MNEMONIC_LFS, CLASS_NONE},
	{ZYDIS_MNEMONIC_LGS, CLASS_SEGMENT},
	{ZYDIS_MNEMONIC_LSS, CLASS_SEGMENT},
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

static bool has_floats(const struct insn *n)
{
	for (unsigned i = 0; i < n->i.operand_count; i++)
		if (n->op[i].element_type == ZYDIS_ELEMENT_TYPE_FLOAT32 ||
		    n->op[i].element_type == ZYDIS_ELEMENT_TYPE_FLOAT64)
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

static bool uses_fs(const struct insn *n)
{
	for (unsigned i = 0; i < n->i.operand_count_visible; i++)
		if (n->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    n->op[i].reg.value == ZYDIS_REGISTER_FS)
			return true;
	return false;
}

static enum insn_class full_class(const struct insn *n)
{
	enum insn_class class = insn_class(&n->i);
	bool segment, control = special_operands(n, &segment);

	if (uses_fs(n))
		return CLASS_NONE; /* the C library's */
	if (segment || n->i.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return class == CLASS_TRAP || n->i.meta.category == ZYDIS_CATEGORY_SYSCALL ||
		                       n->i.meta.category == ZYDIS_CATEGORY_SYSRET
		               ? CLASS_NONE
		               : CLASS_SEGMENT;
	if (control)
		return CLASS_TRAP;
	if (has_floats(n)) {
		if (class == CLASS_SSE)
			class = CLASS_SSE_FP;
		if (class == CLASS_AVX)
			class = CLASS_AVX_FP;
	}
	return class;
}

bool insn_wanted(const struct insn *n, enum insn_class class, const struct form *f)
{
	enum insn_class of = full_class(n);

	if (!offered(n->i.meta.isa_set) && of != CLASS_TRAP)
		return false;
	if (class == CLASS_ATOMIC && f->memory && (n->i.attributes & ZYDIS_ATTRIB_ACCEPTS_LOCK))
		return true;
	return of == class;
}
