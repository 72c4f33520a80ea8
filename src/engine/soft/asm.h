/*
 * Host code under construction: bytes, the few instructions that the translator adds by itself, and the
 * re-encoding of a guest instruction with other registers and another memory operand.
 *
 * Memory operands of the translator's own instructions are the vCPU's state, reached by GS.
 */
#ifndef ENGINE_SOFT_ASM_H
#define ENGINE_SOFT_ASM_H

#include <Zydis/Zydis.h>
#include "base/lang.h"

/* Host registers by number, as in instructions. */
enum host_reg {
	HOST_RAX = 0,
	HOST_RCX = 1,
	HOST_RSP = 4,
	HOST_RBP = 5,
	HOST_R13 = 13,
	HOST_R14 = 14,
	HOST_R15 = 15,
	HOST_NONE = 255,
};

struct assembly {
	uint8_t *at, *end; /* nothing is written behind end; full is set then */
	bool full;
};

void asm_bytes(struct assembly *e, const void *p, size_t n);
void asm_u8(struct assembly *e, uint8_t v);
void asm_u32(struct assembly *e, uint32_t v);

void asm_load_gs(struct assembly *e, enum host_reg to, int32_t offset); /* mov %gs:offset, to */
void asm_store_gs(struct assembly *e, int32_t offset,
                  enum host_reg from);                                 /* mov from, %gs:offset */
void asm_store_gs_u16(struct assembly *e, int32_t offset, uint16_t v); /* movw v, %gs:offset */
/* mov %gs:offset(,index,8), to */
void asm_load_gs_index(struct assembly *e, enum host_reg to, int32_t offset, enum host_reg index);
/* pext %gs:offset, from, to */
void asm_pext_gs(struct assembly *e, enum host_reg to, enum host_reg from, int32_t offset);
void asm_mov(struct assembly *e, enum host_reg to, enum host_reg from);
void asm_mov_u32(struct assembly *e, enum host_reg to, uint32_t v);
void asm_mov_u64(struct assembly *e, enum host_reg to, uint64_t v);
/* lea: base and index may be HOST_NONE; wide: 64 bits, else the sum's low 32 */
void asm_lea(struct assembly *e, enum host_reg to, enum host_reg base, enum host_reg index,
             unsigned scale_shift, int32_t disp, bool wide);
void asm_load(struct assembly *e, enum host_reg to, enum host_reg base, enum host_reg index);
void asm_store(struct assembly *e, enum host_reg base, enum host_reg index, enum host_reg from);
void asm_store_s32(struct assembly *e, enum host_reg base, enum host_reg index, int32_t v);
/* The low 48 bits of `from` with their sign, by SHLX and SARX; uses rcx. */
void asm_sign_extend_48(struct assembly *e, enum host_reg to, enum host_reg from);
void asm_not(struct assembly *e, enum host_reg r);
/* The address of a place in the code; returns the place of its rel32, for asm_to(). */
uint8_t *asm_lea_code(struct assembly *e, enum host_reg to, const uint8_t *target);

/* Jumps: those that return an address return the place of their rel32 (rel8), for asm_to(). */
uint8_t *asm_jmp(struct assembly *e);
uint8_t *asm_jmp8(struct assembly *e);
uint8_t *asm_jcc(struct assembly *e, unsigned cc);
uint8_t *asm_jrcxz(struct assembly *e);
void asm_to8(uint8_t *rel, const uint8_t *target);
void asm_to(uint8_t *rel, const uint8_t *target);
void asm_jmp_gs(struct assembly *e, int32_t offset);
void asm_jmp_gs_index(struct assembly *e, int32_t offset, enum host_reg index);

/*
 * A guest instruction with registers renamed and the memory operand, if it has one, replaced by
 * (base, index).  reg[n]: the host register for guest register n.
 * False: it can't be encoded so (AH..BH beside a REX prefix).
 */
struct recode {
	const ZydisDecodedInstruction *insn;
	const ZydisDecodedOperand *operand;
	const uint8_t *bytes;
	uint8_t reg[16];
	uint8_t base, index; /* of the memory operand */
};
bool asm_recoded(struct assembly *e, const struct recode *r);

#endif
