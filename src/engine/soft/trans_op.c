/* What the translator does with an instruction. */
#include "engine/soft/trans.h"

/* Which instructions go through as they are. */
static bool is_verbatim(const ZydisDecodedInstruction *z)
{
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_ADC:
	case ZYDIS_MNEMONIC_ADCX:
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_ADOX:
	case ZYDIS_MNEMONIC_AND:
	case ZYDIS_MNEMONIC_ANDN:
	case ZYDIS_MNEMONIC_BEXTR:
	case ZYDIS_MNEMONIC_BLSI:
	case ZYDIS_MNEMONIC_BLSMSK:
	case ZYDIS_MNEMONIC_BLSR:
	case ZYDIS_MNEMONIC_BSF:
	case ZYDIS_MNEMONIC_BSR:
	case ZYDIS_MNEMONIC_BSWAP:
	case ZYDIS_MNEMONIC_BT:
	case ZYDIS_MNEMONIC_BTC:
	case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTS:
	case ZYDIS_MNEMONIC_BZHI:
	case ZYDIS_MNEMONIC_CBW:
	case ZYDIS_MNEMONIC_CDQ:
	case ZYDIS_MNEMONIC_CDQE:
	case ZYDIS_MNEMONIC_CLC:
	case ZYDIS_MNEMONIC_CMC:
	case ZYDIS_MNEMONIC_CMP:
	case ZYDIS_MNEMONIC_CMPXCHG:
	case ZYDIS_MNEMONIC_CMPXCHG8B:
	case ZYDIS_MNEMONIC_CMPXCHG16B:
	case ZYDIS_MNEMONIC_CQO:
	case ZYDIS_MNEMONIC_CRC32:
	case ZYDIS_MNEMONIC_CWD:
	case ZYDIS_MNEMONIC_CWDE:
	case ZYDIS_MNEMONIC_DEC:
	case ZYDIS_MNEMONIC_DIV:
	case ZYDIS_MNEMONIC_IDIV:
	case ZYDIS_MNEMONIC_IMUL:
	case ZYDIS_MNEMONIC_INC:
	case ZYDIS_MNEMONIC_LAHF:
	case ZYDIS_MNEMONIC_LFENCE:
	case ZYDIS_MNEMONIC_LZCNT:
	case ZYDIS_MNEMONIC_MFENCE:
	case ZYDIS_MNEMONIC_MOV:
	case ZYDIS_MNEMONIC_MOVBE:
	case ZYDIS_MNEMONIC_MOVNTI:
	case ZYDIS_MNEMONIC_MOVSX:
	case ZYDIS_MNEMONIC_MOVSXD:
	case ZYDIS_MNEMONIC_MOVZX:
	case ZYDIS_MNEMONIC_MUL:
	case ZYDIS_MNEMONIC_MULX:
	case ZYDIS_MNEMONIC_NEG:
	case ZYDIS_MNEMONIC_NOT:
	case ZYDIS_MNEMONIC_OR:
	case ZYDIS_MNEMONIC_PDEP:
	case ZYDIS_MNEMONIC_PEXT:
	case ZYDIS_MNEMONIC_POPCNT:
	case ZYDIS_MNEMONIC_RCL:
	case ZYDIS_MNEMONIC_RCR:
	case ZYDIS_MNEMONIC_ROL:
	case ZYDIS_MNEMONIC_ROR:
	case ZYDIS_MNEMONIC_RORX:
	case ZYDIS_MNEMONIC_SAHF:
	case ZYDIS_MNEMONIC_SAR:
	case ZYDIS_MNEMONIC_SARX:
	case ZYDIS_MNEMONIC_SBB:
	case ZYDIS_MNEMONIC_SFENCE:
	case ZYDIS_MNEMONIC_SHL:
	case ZYDIS_MNEMONIC_SHLD:
	case ZYDIS_MNEMONIC_SHLX:
	case ZYDIS_MNEMONIC_SHR:
	case ZYDIS_MNEMONIC_SHRD:
	case ZYDIS_MNEMONIC_SHRX:
	case ZYDIS_MNEMONIC_STC:
	case ZYDIS_MNEMONIC_SUB:
	case ZYDIS_MNEMONIC_TEST:
	case ZYDIS_MNEMONIC_TZCNT:
	case ZYDIS_MNEMONIC_XADD:
	case ZYDIS_MNEMONIC_XCHG:
	case ZYDIS_MNEMONIC_XOR:
		return true;
	default:
		return z->meta.category == ZYDIS_CATEGORY_SETCC ||
		       z->meta.category == ZYDIS_CATEGORY_CMOV;
	}
}

/* Only general registers, memory by ModRM, and immediates. */
static bool operands_plain(const struct translation *t, unsigned i)
{
	const ZydisDecodedInstruction *z = &t->insn[i];

	for (unsigned k = 0; k < z->operand_count_visible; k++) {
		const ZydisDecodedOperand *o = &t->operand[i][k];
		unsigned n;

		/* CH would have to be R13's second byte. */
		if (o->type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    (!trans_gpr(o, &n) || o->reg.value == ZYDIS_REGISTER_CH))
			return false;
		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    o->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM)
			return false;
	}
	/* A bit's number in a register reaches beyond the operand. */
	if (z->meta.category == ZYDIS_CATEGORY_BITBYTE &&
	    t->operand[i][0].type == ZYDIS_OPERAND_TYPE_MEMORY &&
	    t->operand[i][1].type == ZYDIS_OPERAND_TYPE_REGISTER)
		return false;
	return true;
}

static bool is_nothing(const ZydisDecodedInstruction *z)
{
	/* 0f 0d with a register is undefined. */
	return (z->mnemonic == ZYDIS_MNEMONIC_NOP && z->opcode != 0x0d) ||
	       z->mnemonic == ZYDIS_MNEMONIC_ENDBR64 || z->meta.category == ZYDIS_CATEGORY_PREFETCH;
}

/* Emits the op at work; false: it's the interpreter's. */
bool trans_op(struct translation *t)
{
	const ZydisDecodedInstruction *z = &t->insn[t->i];

	if (is_nothing(z))
		return true;
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_LEA:
		return trans_lea(t);
	case ZYDIS_MNEMONIC_PUSH:
		return trans_push(t);
	case ZYDIS_MNEMONIC_POP:
		return trans_pop(t);
	case ZYDIS_MNEMONIC_LEAVE:
		return trans_leave_frame(t);
	case ZYDIS_MNEMONIC_JMP:
		return trans_jump(t);
	case ZYDIS_MNEMONIC_CALL:
		return trans_call(t);
	case ZYDIS_MNEMONIC_RET:
		return trans_ret(t);
	case ZYDIS_MNEMONIC_JCXZ:
	case ZYDIS_MNEMONIC_JECXZ:
	case ZYDIS_MNEMONIC_JRCXZ:
	case ZYDIS_MNEMONIC_LOOP:
	case ZYDIS_MNEMONIC_LOOPE:
	case ZYDIS_MNEMONIC_LOOPNE:
		return false;
	default:
		if (z->meta.category == ZYDIS_CATEGORY_COND_BR)
			return trans_jcc(t);
		if (is_verbatim(z))
			return operands_plain(t, t->i) && trans_verbatim(t);
		return trans_vector(t) || trans_x87(t);
	}
}
