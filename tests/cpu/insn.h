/*
 * The catalogue of instructions: every encoding that Zydis knows, found by asking it about all opcodes
 * once, sorted into classes.  A form is an encoding without its free parts (registers, addressing,
 * immediates), which are chosen at random for each case.
 */
#ifndef TESTS_CPU_INSN_H
#define TESTS_CPU_INSN_H

#include <Zydis/Zydis.h>
#include "case.h"
#include "rng.h"

enum insn_class {
	CLASS_NONE, /* not tested here */
	CLASS_ALU,
	CLASS_MOV,
	CLASS_SHIFT,
	CLASS_MUL,
	CLASS_BIT,
	CLASS_STRING,
	CLASS_ATOMIC, /* XCHG, XADD, CMPXCHG..., and whatever takes a LOCK prefix */
	CLASS_STACK,
	CLASS_FLOW,
	CLASS_SEGMENT, /* loads of segment registers, far jumps, looks at descriptors */
	CLASS_TRAP,    /* always an exception in ring 3 */
	CLASS_BCD,
	CLASS_X87,
	CLASS_MMX,
	CLASS_SSE,
	CLASS_SSE_FP,
	CLASS_AVX,
	CLASS_AVX_FP,
	CLASS_CRYPTO,
	CLASS_XSAVE,
	CLASSES,
};

struct form {
	uint16_t mnemonic;
	bool vex;       /* prefix and map are in a VEX prefix */
	uint8_t prefix; /* 0, 66, F3, F2; with VEX: pp */
	uint8_t map;    /* 0: one-byte opcodes, 1: 0F, 2: 0F38, 3: 0F3A */
	uint8_t opcode;
	bool w, l; /* REX.W or VEX.W, VEX.L */
	bool modrm;
	bool memory; /* ModRM.mod chooses memory */
	uint8_t reg; /* ModRM.reg */
	int8_t rm;   /* ModRM.rm when it chooses the instruction, or -1 */
};

struct catalogue {
	struct form *form;
	unsigned n;
	unsigned *group; /* [groups + 1]: index of each mnemonic's first form */
	unsigned groups;
};

/* All forms of the class in the mode that the processor of soft_model() offers. */
void catalogue_make(struct catalogue *c, enum insn_class class, enum case_mode mode);
void catalogue_free(struct catalogue *c);
const struct form *catalogue_pick(const struct catalogue *c, struct rng *r);

/* What Zydis says about bytes; false when they are no instruction. */
struct insn {
	ZydisDecodedInstruction i;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
};
bool insn_decode(enum case_mode mode, const uint8_t *bytes, size_t len, struct insn *out);
enum insn_class insn_class(const ZydisDecodedInstruction *i);
/* Is it of the class, with all its operands, and does the guest's processor have it? */
bool insn_wanted(const struct insn *n, enum insn_class class, const struct form *f);
/* General register number 0..15 of any width, or -1. */
int insn_gpr(ZydisRegister reg);
/* Flags that the instruction leaves undefined, as bits of RFLAGS. */
uint32_t insn_undefined(const struct insn *i);

#endif
