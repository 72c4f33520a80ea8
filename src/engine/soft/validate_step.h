/*
 * What the validator makes of one host instruction: one of the few forms whose effect it follows, or
 * a plain one, of which it knows the registers and the memory operand.  Everything else is
 * refused.
 */
#ifndef ENGINE_SOFT_VALIDATE_STEP_H
#define ENGINE_SOFT_VALIDATE_STEP_H

#include "base/lang.h"

/* Host registers by number, as in instructions. */
enum {
	STEP_RCX = 1,
	STEP_R14 = 14,
	STEP_R15 = 15,
	STEP_NO_REG = 255,
};

enum step_form {
	STEP_PLAIN,       /* of the allow list; its memory operand, if any: (base,index) */
	STEP_COPY,        /* to = from */
	STEP_CONST,       /* to = value */
	STEP_CODE,        /* to = the address of the offset `value` in the code */
	STEP_ADD,         /* to = from + index */
	STEP_ADD_CONST,   /* to = from + value */
	STEP_STATE_LOAD,  /* to = the word at offset `value` of struct soft_cpu */
	STEP_STATE_STORE, /* ... = from */
	STEP_STATE_CONST, /* the low 16 bits of it = a constant */
	STEP_PEXT,        /* to = PEXT(from, that word) */
	STEP_TABLE,       /* to = flat table[index] */
	STEP_HASH_RIP,    /* to = flat_hash.minus_rip[index] */
	STEP_HASH_CODE,   /* to = flat_hash.code[index] */
	STEP_JUMP,        /* to the offset `value` in the code */
	STEP_BRANCH,      /* the same, on a condition */
	STEP_RCX_ZERO,    /* the same, if rcx is 0 */
	STEP_JUMP_STATE,  /* to the address at offset `value` of struct soft_cpu */
	STEP_JUMP_HASH,   /* to flat_hash.code[index] */
};

struct step {
	uint32_t at; /* offset in the code */
	uint8_t len;
	uint8_t form;
	uint8_t to, from, base, index; /* STEP_NO_REG: none */
	uint8_t size;                  /* bytes of the memory operand; 0: there is none */
	bool stores;                   /* it is written */
	bool aligned;           /* the host faults unless its address is a multiple of size */
	bool nop5;              /* a no-op of five bytes */
	uint16_t reads, writes; /* general registers of STEP_PLAIN: bits */
	int64_t value;
};

/* Decodes the instruction at code + at, before end.  NULL: done; or what is wrong with it. */
const char *step_decode(const uint8_t *code, uint32_t at, uint32_t end, struct step *s) MUST_CHECK;

#endif
