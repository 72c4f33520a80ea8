/*
 * From bytes to ops: Zydis' view of one instruction, and what decoders may ask.
 */
#ifndef ENGINE_SOFT_DECODE_H
#define ENGINE_SOFT_DECODE_H

#include <Zydis/Zydis.h>
#include "engine/soft/soft.h"

struct decoded {
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];
	uint8_t bytes[15];
	uint64_t rip;  /* of the instruction */
	uint32_t mode; /* MODE_* */
	bool ends;     /* out: the block must end behind this instruction */
};

/* gpr number 0..15 of a Zydis register; *high for AH, CH, DH, BH; -1 when it is none. */
int decode_gpr(ZydisRegister r, bool *high);

/* Corrects what Zydis takes wrongly. */
void decode_correct(const ZydisDecodedInstruction *z, ZydisDecodedOperand *operand);

/* Number of a memory operand's segment, as struct op has it. */
unsigned decode_seg(const struct decoded *d, const ZydisDecodedOperand *o);

/*
 * Decodes one instruction of at most len bytes; fills op's operands, len and fn.  Bytes that are no
 * instruction, or one that the engine does not have, give an op that raises #UD.  -EAGAIN when more
 * bytes are needed than len.
 */
int decode_op(struct soft_cpu *c, const uint8_t *bytes, size_t len, uint64_t rip, uint32_t mode,
              struct decoded *d, struct op *op);

#endif
