/*
 * Translated code of one vCPU: where it lies, how it is entered and left, how it goes stale.
 *
 * While translated code runs, guest registers RAX..R12 are in the host's registers of the same name,
 * RSP included, but RCX is in R13; R13..R15 stay in c->gpr.  The host's RCX, R14 and R15 are the
 * translator's own.  Arithmetic flags are the host's.
 *
 * Ways out, all of which put everything back into struct soft_cpu:
 *   exit      to the dispatch loop, with the guest address to go on at in r15
 *   fallback  to the interpreter's function for one op.  Where that is the rule, a copy of the op lies before
 *	       one whose function is native_enter(), so that op_next() comes back; where it is rare (faults),
 *	       the block's own ops go on to its end
 * A host fault at an instruction that is known to fault (struct native_site) is turned into one of:
 * try again after filling the flat table, or fallback.
 *
 * A block has two entries.  `far` takes the guest address in r15 (indirect jumps, the dispatch loop), and
 * notes the page it is in (native.page_rip); `near` is for jumps within the page.  The first bytes of
 * `near` are a no-op that becomes a jump out when the block is stale.
 */
#ifndef ENGINE_SOFT_NATIVE_H
#define ENGINE_SOFT_NATIVE_H

#include "engine/soft/flat.h"
#include "engine/soft/run.h"

#define NATIVE_CODE  (64 * MIB)
#define NATIVE_OPS   (64 * MIB)
#define NATIVE_SITES (1u << 20)
#define NATIVE_PAGES 4096 /* buckets */

/* In native.site when code exits: what the dispatch loop may do with the block it finds. */
#define NATIVE_SITE_NONE 0
#define NATIVE_SITE_HASH 1 /* enter it into the hash; greater: offset of a rel32 to link */

struct native_site {
	uint32_t pc, restart, stub; /* offsets in the code */
	uint8_t ea;                 /* host register with the guest address; HOST_NONE: no access */
	uint8_t align;              /* address bits that fault when they are set */
	uint8_t op;                 /* number in the block */
	bool write;
	uint8_t slow; /* how often it was a device, or code */
	struct block *block;
};

struct native_block {
	uint32_t far, near, out; /* offsets in the code; out: leaves for the block's start */
	uint32_t end;
	uint64_t ours; /* ops that are translated: bits */
	uint64_t runs; /* in lockstep */
};

struct native {
	unsigned after;   /* executions before a block is translated */
	uint8_t *rw, *rx; /* the code, mapped twice */
	size_t used;
	struct op *ops; /* of fallbacks */
	size_t ops_used;
	struct native_site *site; /* by pc */
	size_t sites;
	struct block *page[NATIVE_PAGES];
	uint64_t seen; /* vm->changes at the last sweep */
	/* Counters */
	uint64_t blocks, bytes, refused, faults, slow, dropped, fills, validated, invalid;
	struct validator *validator; /* NULL: nothing is validated */
};

/* Where the host lacks something: no translation, and not an error. */
void native_open(struct soft_cpu *c);
void native_close(struct soft_cpu *c);
/* Forgets all code; the blocks go, too. */
void native_reset(struct soft_cpu *c);

/* Before the thread runs guest code: signals, GS. */
void native_thread(struct soft_cpu *c);

/* translate.c: makes code for a block, or decides that it isn't worth it. */
void native_translate(struct soft_cpu *c, struct block *b);
/* Code was made: it becomes the way into the block. */
void native_install(struct soft_cpu *c, struct block *b, struct native_block *nb);
bool native_is_full(const struct native *n);
/* Code was found to be wrong: says what and where; only in builds and runs that don't abort it returns. */
void native_invalid(struct native *n, const struct block *b, const char *what, uint32_t start,
                    uint32_t end, uint32_t at);
/* After a request was raised: translated code leaves at its next jump that is not a link.  Any thread. */
static inline void native_poke(struct soft_cpu *c)
{
	__atomic_store_n(&c->native.hash_mask, 0, __ATOMIC_RELEASE);
}

/* Before requests are looked at. */
static inline void native_poked(struct soft_cpu *c)
{
	if (__atomic_load_n(&c->native.hash_mask, __ATOMIC_RELAXED) != FLAT_HASH_MASK)
		__atomic_exchange_n(&c->native.hash_mask, FLAT_HASH_MASK, __ATOMIC_SEQ_CST);
}

/* A block was found for where translated code left. */
void native_link(struct soft_cpu *c, struct block *b);

/* Code in the page changed: its blocks are stale.  native_sweep: somewhere, by anyone. */
void native_page_changed(struct soft_cpu *c, uint32_t page);
void native_sweep(struct soft_cpu *c);
/* A stale block's bytes are what they were when it was translated. */
void native_revive(struct soft_cpu *c, struct block *b);
/* Takes the code of one block away; it will be translated again. */
void native_discard(struct soft_cpu *c, struct block *b);
/* What a near entry begins with. */
extern const uint8_t native_nop[5];

/* As an op's function: goes on in translated code at op->ptr. */
void native_enter(struct soft_cpu *c, const struct op *op);
/* As a block's entry: counts until it is worth translating; never will be. */
void native_count(struct soft_cpu *c, const struct op *op);
void native_never(struct soft_cpu *c, const struct op *op);
/* The entry of a new block. */
void native_block_entry(struct soft_cpu *c, struct block *b);

/*
 * native_vec.c: the registers beside the general ones, when translated code uses them.
 */
enum native_vec {
	NATIVE_SSE, /* XMM0..15 and MXCSR */
	NATIVE_AVX, /* YMM0..15 besides */
	NATIVE_X87, /* x87 and MMX */
	NATIVE_VECS,
};

void native_vec_open(struct soft_cpu *c);
/* Before translated code runs: control registers may have changed. */
void native_vec_permit(struct soft_cpu *c);
/* As part of a way out, when some are live: back into the state.  rdi: c; keeps r14 and r15. */
void native_vec_store(void);

/* fault.c: handles the host's faults on this thread for c.  False: it has no stack for that. */
bool native_catch_faults(struct soft_cpu *c) MUST_CHECK;

#endif
