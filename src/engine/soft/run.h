/*
 * From block to block: what the dispatch loop, the block cache and near jumps share.
 *
 * A block is keyed by guest-physical address and mode, so it survives changes of the address space.
 * Three ways lead from one block to the next, fastest first:
 *
 *   link   in a direct jump's op->ptr: the target lies in the same page, so that it stays valid
 *	    in whatever address space the block runs
 *   jump   a direct-mapped cache by rip; entries carry the key (mode, privilege, TLB generation)
 *   find   run.c: translates rip, looks into the block table, decodes when needed
 *
 * Each of them compares the block's version with its page's: see code.h.
 */
#ifndef ENGINE_SOFT_RUN_H
#define ENGINE_SOFT_RUN_H

#include "engine/soft/soft.h"

#define BLOCK_OPS 64 /* most ops in a block */

struct block {
	struct block *next; /* in its hash bucket */
	gpa_t gpa;
	uint32_t mode;
	uint32_t page;               /* mem_page(), UINT32_MAX: not in memory */
	const _Atomic uint32_t *now; /* the page's version */
	uint32_t version;            /* of the page when the block was decoded */
	uint16_t len, n;             /* bytes, instructions */
	bool parked;                 /* the last translation is good when the bytes are */
	bool cross;                  /* its only instruction runs into the next page: */
	gpa_t gpa2;                  /* that page, */
	uint32_t version2;           /* and its version */
	const _Atomic uint32_t *now2;
	uint8_t *bytes; /* what was decoded */
	/* Translation (native.h) */
	struct native_block *native; /* NULL: interpreted */
	struct block *native_next;   /* in its page's bucket */
	struct native_block *last;   /* the last translation, when it isn't in use */
	uint64_t slow;               /* ops that are better interpreted: bits */
	struct op entry;             /* how the block is entered: its fn comes first */
	struct op op[];
};

_Static_assert(offsetof(struct block, entry) == 0x70 && offsetof(struct block, op) == 0xa0,
               "tests/unit/tail-calls.sh knows where their fn are");

struct jump {
	uint64_t rip, key;
	struct block *block;
};
#define JUMP_BITS 12
#define JUMP_SIZE (1u << JUMP_BITS)

/* Where large pages were entered into TLBs since they were flushed: bloom filters. */
struct large_pages {
	uint64_t by_2m[64]; /* those of 2 MiB */
	uint64_t by_1g;     /* larger ones */
};

struct soft_run {
	uint64_t key;          /* of valid jump cache entries */
	uint64_t generations;  /* how many there were */
	uint64_t generation;   /* bumped by TLB flushes; upper part of the key */
	bool again;            /* the op left by op_jump(): nothing but rip changed */
	const struct op *link; /* the direct jump that wants a link to the block at rip */
	struct jump jump[JUMP_SIZE];

	struct op fetch; /* c->op while no instruction executes */
	jmp_buf catch;
	bool inject; /* an event of vcpu_set() to deliver first: */
	enum soft_event inject_kind;
	struct soft_exception inject_exc;
	_Atomic bool kicked; /* vcpu_kick() */

	_Atomic bool inside; /* in guest code: must acknowledge code marks (code.h) */
	_Atomic uint64_t ack;
	struct large_pages large[2]; /* lower and upper half of the address space */
	uint64_t watch_hit;          /* data breakpoints that matched: DR6 bits */
	struct block *hot;           /* to be translated */
	uint64_t scratch;            /* between an op and its mmu_modify_fn */
	uint32_t pauses;

	struct block_cache *blocks;
	struct lockstep *lockstep; /* NULL, unless defects are hunted */
	uint64_t phys_mask;        /* bits that a physical address may not have */

	/* Counters */
	uint64_t decoded, invalidated, tlb_fills, slow, mmio, exceptions, interrupts;
	uint64_t started_ns, user_ns;
};

static inline unsigned jump_slot(uint64_t rip)
{
	return (unsigned)(rip ^ rip >> JUMP_BITS) & (JUMP_SIZE - 1);
}

/* Calls in the last position become jumps only where the compiler optimises. */
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#if defined(__has_feature)
#if !__has_feature(address_sanitizer) && !__has_feature(undefined_behavior_sanitizer)
#define SOFT_TAIL_CALLS 1
#endif
#else
#define SOFT_TAIL_CALLS 1
#endif
#endif
#ifndef SOFT_TAIL_CALLS
#define SOFT_TAIL_CALLS 0
#endif

static inline bool block_fresh(const struct block *b)
{
	return b->version == atomic_load_explicit(b->now, memory_order_relaxed);
}

static inline void op_leave(struct soft_cpu *c, uint64_t rip)
{
	c->rip = rip;
	c->run->again = true;
}

/* Leaves the block for a near address (checked and wrapped by the caller). */
static inline void op_jump(struct soft_cpu *c, const struct op *op, uint64_t rip)
{
	struct soft_run *r = c->run;
	const struct jump *j = &r->jump[jump_slot(rip)];
	const struct block *b = j->block;

	c->instructions += op->nth;
	if (SOFT_TAIL_CALLS && likely(j->rip == rip && j->key == r->key) &&
	    likely(block_fresh(b)) &&
	    likely(atomic_load_explicit(c->requests, memory_order_relaxed) == 0)) {
		c->block_rip = rip;
		return b->entry.fn(c, &b->entry);
	}
	return op_leave(c, rip);
}

/* A direct jump within the page: linked to its target's block by the dispatch loop. */
static inline void op_direct(struct soft_cpu *c, const struct op *op, uint64_t rip)
{
	const struct block *b = op->ptr;

	c->instructions += op->nth;
	if (SOFT_TAIL_CALLS && likely(b != NULL) && likely(block_fresh(b)) &&
	    likely(atomic_load_explicit(c->requests, memory_order_relaxed) == 0)) {
		c->block_rip = rip;
		return b->entry.fn(c, &b->entry);
	}
	c->run->link = op;
	return op_leave(c, rip);
}

/* Next block at rip for the dispatch loop; raises fetch faults. */
struct block *block_find(struct soft_cpu *c, uint64_t rip, uint32_t mode);
int block_cache_open(struct soft_cpu *c);
void block_cache_close(struct soft_cpu *c);
void block_cache_drop(struct soft_cpu *c); /* the vCPU does not run */
/* The current block's code changed under it: it ends behind c->op. */
void block_cut(struct soft_cpu *c);
/* As the function of an op: the block is left before it. */
void block_stop(struct soft_cpu *c, const struct op *op);

enum engine_exit run_vcpu(struct vcpu *v);

/* state.c */
int soft_state_get(struct vcpu *v, struct cpu_state *out, struct err *e);
int soft_state_set(struct vcpu *v, const struct cpu_state *in, struct err *e);

#endif
