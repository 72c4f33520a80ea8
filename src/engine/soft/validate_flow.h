/* Between the validator's files: validate.c has blocks and entries, validate_flow.c what is known where. */
#ifndef ENGINE_SOFT_VALIDATE_FLOW_H
#define ENGINE_SOFT_VALIDATE_FLOW_H

#include "engine/soft/validate.h"
#include "engine/soft/validate_step.h"

enum fact_kind {
	FACT_NONE,
	FACT_CONST,    /* `value` */
	FACT_PAGE,     /* page number of the address in `reg` */
	FACT_ADDEND,   /* the table's entry for it */
	FACT_PIECE,    /* which piece of `value` bytes of its page the address in `reg` is in */
	FACT_BEFORE,   /* not 0: it isn't in the last; `value` bytes there are in one page */
	FACT_OFFSET,   /* of the address in `reg` in its page */
	FACT_LAST,     /* the same of the last of `value` bytes there, counted on behind the page */
	FACT_CROSS,    /* 0: `value` bytes at the address in `reg` are in one page */
	FACT_SLOT,     /* in the hash, of the guest address in `reg` */
	FACT_MINUS,    /* minus the guest address that has slot `reg` */
	FACT_MISMATCH, /* 0: the slot in `reg` is taken by its guest address */
	FACT_HIT,      /* a slot of the hash that is taken by the guest address in `reg` */
	FACT_TARGET,   /* address of code to go on at, from the hash */
	FACT_CODE,     /* address of the offset `value` in the code */
};

struct fact {
	uint8_t kind, reg;
	uint64_t value;
};

#define CALLEE 16 /* as a register: native.callee */

struct facts {
	bool reached;
	uint8_t inside[16]; /* so many bytes at the address in a register are in one page; 0: 1 */
	struct fact reg[17];
};

struct validator {
	uint8_t *entry, *link; /* by offset in the code: a bit for entries, for links' rel32 */
	struct step *step;     /* of the block at work */
	struct facts *facts;   /* before each */
	size_t steps, room;
};

struct proof {
	struct validator *v;
	const struct native *n;
	const struct validator_block *vb;
	const char *what; /* is wrong */
	bool changed;
};

/* The instruction that begins at an offset in the code; NULL: none does. */
struct step *proof_step(const struct validator *v, uint64_t at);

/*
 * The ops at an address that native_fallback() gets: the block's own, up to one that comes back to the
 * offset that is returned.  0: they leave the block; -1: they are not the block's.
 */
int64_t proof_fallback(const struct proof *p, uint64_t ops);

/* One comes to `at` knowing f. */
void proof_reach(struct proof *p, uint64_t at, const struct facts *f);

/* Checks one instruction and tells those that follow what is known. */
void proof_check(struct proof *p, const struct step *s, struct facts f);

#endif
