/*
 * From bytes to ops: Zydis names the instruction and its operands, then the areas' decoders choose
 * the function.  What nobody wants raises #UD, as on a processor that lacks the instruction.
 */
#include "engine/soft/decode.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "engine/soft/reg.h"

int decode_gpr(ZydisRegister r, bool *high)
{
	*high = false;
	if (r >= ZYDIS_REGISTER_AL && r <= ZYDIS_REGISTER_BL)
		return r - ZYDIS_REGISTER_AL;
	if (r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH) {
		*high = true;
		return r - ZYDIS_REGISTER_AH;
	}
	if (r >= ZYDIS_REGISTER_SPL && r <= ZYDIS_REGISTER_R15B)
		return r - ZYDIS_REGISTER_SPL + 4;
	if (r >= ZYDIS_REGISTER_AX && r <= ZYDIS_REGISTER_R15W)
		return r - ZYDIS_REGISTER_AX;
	if (r >= ZYDIS_REGISTER_EAX && r <= ZYDIS_REGISTER_R15D)
		return r - ZYDIS_REGISTER_EAX;
	if (r >= ZYDIS_REGISTER_RAX && r <= ZYDIS_REGISTER_R15)
		return r - ZYDIS_REGISTER_RAX;
	return -1;
}

/* Number of any register operand: general, segment, control, vector... by its class. */
static unsigned reg_number(ZydisRegister r, bool *high)
{
	int n = decode_gpr(r, high);
	int id = n >= 0 ? n : ZydisRegisterGetId(r);

	return id < 0 ? 0 : (unsigned)id;
}

unsigned decode_seg(const struct decoded *d, const ZydisDecodedOperand *o)
{
	int id = ZydisRegisterGetId(o->mem.segment);

	if ((d->mode & MODE_BITS) == MODE_64 && id < CPU_FS)
		return SOFT_SEG_NONE;
	return id < 0 ? SOFT_SEG_NONE : (unsigned)id;
}

/*
 * SIB's base 5 without a displacement of ModRM's means a 32-bit displacement and no base.  Zydis 4.0
 * takes it for R13D where REX.B and an address size prefix come together.
 */
void decode_correct(const ZydisDecodedInstruction *z, ZydisDecodedOperand *operand)
{
	if (!(z->attributes & ZYDIS_ATTRIB_HAS_MODRM) || z->raw.modrm.mod != 0 ||
	    z->raw.modrm.rm != 4 || z->address_width == 16 || (z->raw.sib.base & 7) != 5)
		return;
	for (unsigned i = 0; i < z->operand_count; i++) {
		ZydisDecodedOperand *o = &operand[i];

		if (o->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM)
			continue;
		o->mem.base = ZYDIS_REGISTER_NONE;
		o->mem.disp.has_displacement = ZYAN_TRUE;
		o->mem.disp.value = z->raw.disp.value;
	}
}

static void fill_memory(const struct decoded *d, struct op *op, const ZydisDecodedOperand *o,
                        uint64_t start)
{
	int64_t disp = o->mem.disp.value;
	bool high;

	op->flags |= OP_MEM;
	op->seg = (uint8_t)decode_seg(d, o);
	if (o->mem.base == ZYDIS_REGISTER_RIP || o->mem.base == ZYDIS_REGISTER_EIP) {
		op->base = SOFT_RIP;
		disp += (int64_t)(d->rip - start) + d->insn.length;
	} else if (o->mem.base != ZYDIS_REGISTER_NONE) {
		op->base = (uint8_t)decode_gpr(o->mem.base, &high);
	}
	if (o->mem.index != ZYDIS_REGISTER_NONE && decode_gpr(o->mem.index, &high) >= 0) {
		op->index = (uint8_t)decode_gpr(o->mem.index, &high);
		op->scale = (uint8_t)__builtin_ctz(o->mem.scale ? o->mem.scale : 1);
	}
	op->disp = (int32_t)disp;
	/* MOV with an absolute address of the address size: an unsigned number of up to 64 bits. */
	if (o->encoding == ZYDIS_OPERAND_ENCODING_DISP16_32_64)
		op->imm = (uint64_t)disp & (UINT64_MAX >> (64 - d->insn.address_width));
	if (o->mem.segment == ZYDIS_REGISTER_SS)
		op->flags |= OP_STACK;
}

static void fill_operands(const struct decoded *d, struct op *op, uint64_t start)
{
	for (unsigned i = 0; i < d->insn.operand_count; i++) {
		const ZydisDecodedOperand *o = &d->operand[i];
		bool high = false;

		switch (o->type) {
		case ZYDIS_OPERAND_TYPE_MEMORY:
			if (o->visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN)
				fill_memory(d, op, o, start);
			break;
		case ZYDIS_OPERAND_TYPE_REGISTER:
			if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG ||
			    o->encoding == ZYDIS_OPERAND_ENCODING_OPCODE) {
				op->reg = (uint8_t)reg_number(o->reg.value, &high);
				op->flags |= high ? OP_HIGH_REG : 0;
			} else if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM) {
				op->rm = (uint8_t)reg_number(o->reg.value, &high);
				op->flags |= high ? OP_HIGH_RM : 0;
			}
			break;
		case ZYDIS_OPERAND_TYPE_IMMEDIATE:
			op->imm = o->imm.is_signed ? (uint64_t)o->imm.value.s : o->imm.value.u;
			break;
		default:
			break;
		}
	}
}

static void op_undefined(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	log_guest("undefined or unknown instruction at 0x%llx, opcode 0x%03x",
	          (unsigned long long)op_rip(c, op), op->opcode);
	soft_fault(c, EXC_UD);
}

/* What the processor finds wrong before it looks at the opcode. */
static void op_too_long(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	soft_fault_error(c, EXC_GP, 0);
}

static void decoder_init(ZydisDecoder *z, uint32_t mode)
{
	switch (mode & MODE_BITS) {
	case MODE_64:
		ZydisDecoderInit(z, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
		break;
	case MODE_32:
		ZydisDecoderInit(z, ZYDIS_MACHINE_MODE_LONG_COMPAT_32,
		                 mode & MODE_STACK32 ? ZYDIS_STACK_WIDTH_32 : ZYDIS_STACK_WIDTH_16);
		break;
	default:
		ZydisDecoderInit(z, ZYDIS_MACHINE_MODE_LONG_COMPAT_16,
		                 mode & MODE_STACK32 ? ZYDIS_STACK_WIDTH_32 : ZYDIS_STACK_WIDTH_16);
		break;
	}
	ZydisDecoderEnableMode(z, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
	ZydisDecoderEnableMode(z, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
}

static void fill_common(const struct decoded *d, struct op *op)
{
	const ZydisDecodedInstruction *z = &d->insn;

	op->len = z->length;
	op->size = z->operand_width / 8;
	op->asize = z->address_width / 8;
	op->opcode =
		(uint16_t)(z->opcode | (z->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT ? 0x100 : 0));
	if (z->attributes & ZYDIS_ATTRIB_HAS_LOCK)
		op->flags |= OP_LOCK;
	if (z->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPZ))
		op->flags |= OP_REP;
	if (z->attributes & (ZYDIS_ATTRIB_HAS_REPNE | ZYDIS_ATTRIB_HAS_REPNZ))
		op->flags |= OP_REPNE;
	if (z->attributes & ZYDIS_ATTRIB_HAS_SEGMENT)
		op->flags |= OP_SEG;
}

int decode_op(struct soft_cpu *c, const uint8_t *bytes, size_t len, uint64_t rip, uint32_t mode,
              struct decoded *d, struct op *op)
{
	static _Thread_local ZydisDecoder z;
	static _Thread_local uint32_t z_mode = UINT32_MAX;
	uint64_t start = d->rip; /* the block's */
	ZyanStatus status;

	if (z_mode != (mode & (MODE_BITS | MODE_STACK32))) {
		z_mode = mode & (MODE_BITS | MODE_STACK32);
		decoder_init(&z, mode);
	}
	*op = (struct op){.base = SOFT_ZERO, .index = SOFT_ZERO, .seg = SOFT_SEG_NONE, .len = 1};
	op->ip = (uint16_t)(rip - start);
	len = MIN(len, sizeof(d->bytes));
	status = ZydisDecoderDecodeFull(&z, bytes, len, &d->insn, d->operand);
	if (status == ZYDIS_STATUS_NO_MORE_DATA && len < sizeof(d->bytes))
		return -EAGAIN;
	memcpy(d->bytes, bytes, len);
	d->rip = rip;
	d->mode = mode;
	d->ends = false;
	op->opcode = bytes[0];
	if (!ZYAN_SUCCESS(status)) {
		op->fn = status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG ||
		                         status == ZYDIS_STATUS_NO_MORE_DATA
		                 ? op_too_long
		                 : op_undefined;
		/* The verdict depends on all of the bytes: any change of them is one of the code. */
		op->len = (uint8_t)len;
		d->ends = true;
	} else {
		decode_correct(&d->insn, d->operand);
		fill_common(d, op);
		fill_operands(d, op, start);
		if (!decode_integer(c, d, op) && !decode_vector(c, d, op) &&
		    !decode_system(c, d, op)) {
			op->fn = op_undefined;
			d->ends = true;
		}
	}
	d->rip = start;
	return 0;
}
