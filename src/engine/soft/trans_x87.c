/*
 * x87 instructions go through as they are, too, on the guest's x87 registers in the host's.
 *
 * The last instruction's opcode, address and operand (FOP, FIP, FDP) would be those of our code: they are
 * kept in c->xsave by us.  The operand's address is stored behind the instruction; its own address
 * and opcode are known, so that they are stored only where somebody could look: before the interpreter has
 * an op, and before the block is left.
 */
#include "engine/soft/fpu.h"
#include "engine/soft/trans.h"

#define FPU(field) (STATE(xsave) + (int32_t)offsetof(struct fpu_area, field))

static bool is_arithmetic(const ZydisDecodedInstruction *z)
{
	return z->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && z->opcode >= 0xd8 && z->opcode <= 0xdf;
}

/* Those of the control instructions that keep FOP, FIP and FDP, and are ours. */
static bool is_control(const ZydisDecodedInstruction *z)
{
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_EMMS:
	case ZYDIS_MNEMONIC_FLDCW:
	case ZYDIS_MNEMONIC_FNCLEX:
	case ZYDIS_MNEMONIC_FNSTCW:
	case ZYDIS_MNEMONIC_FNSTSW:
	case ZYDIS_MNEMONIC_FWAIT:
		return true;
	default:
		return false;
	}
}

static bool is_interpreted(const ZydisDecodedInstruction *z)
{
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_FENI8087_NOP:
	case ZYDIS_MNEMONIC_FDISI8087_NOP:
	case ZYDIS_MNEMONIC_FSETPM287_NOP:
	case ZYDIS_MNEMONIC_FNINIT:
	case ZYDIS_MNEMONIC_FLDENV:
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_FRSTOR:
		return true;
	default:
		return false;
	}
}

unsigned trans_x87_needs(const struct translation *t, unsigned i)
{
	const ZydisDecodedInstruction *z = &t->insn[i];
	const ZydisDecodedOperand *o = &t->operand[i][0];

	if ((!is_arithmetic(z) && !is_control(z)) || is_interpreted(z))
		return 0;
	/* FDP is counted from the segment's start. */
	if (z->operand_count && o->type == ZYDIS_OPERAND_TYPE_MEMORY &&
	    (o->mem.segment == ZYDIS_REGISTER_FS || o->mem.segment == ZYDIS_REGISTER_GS))
		return 0;
	return 1u << NATIVE_X87;
}

bool trans_x87(struct translation *t)
{
	const ZydisDecodedInstruction *z = &t->insn[t->i];

	if (!trans_x87_needs(t, t->i))
		return false;
	t->traps = true;
	if (!trans_verbatim(t))
		return false;
	if (!is_control(z) && t->ea != HOST_NONE)
		asm_store_gs(&t->e, FPU(fdp), t->ea);
	return true;
}

static bool moves_pointers(const struct translation *t, unsigned i)
{
	return is_arithmetic(&t->insn[i]) && !is_control(&t->insn[i]);
}

void trans_x87_pointers(struct translation *t, unsigned i)
{
	if (!(t->vec & 1u << NATIVE_X87))
		return;
	/* Ops of the interpreter did that themselves. */
	while (i-- > 0 && t->ours[i]) {
		if (!moves_pointers(t, i))
			continue;
		trans_address(t, trans_at(t, i));
		asm_store_gs(&t->e, FPU(fip), HOST_R15);
		asm_store_gs_u16(&t->e, FPU(fop), (uint16_t)t->b->op[i].imm);
		return;
	}
}
