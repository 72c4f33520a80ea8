/*
 * Between the files of the translator: translate.c drives, trans_op.c chooses, trans_mem.c has registers
 * and memory operands, trans_flow.c jumps.  translate.c says how it works.
 */
#ifndef ENGINE_SOFT_TRANS_H
#define ENGINE_SOFT_TRANS_H

#include "engine/soft/asm.h"
#include "engine/soft/flat.h"
#include "engine/soft/native.h"

#define FIXES_MAX 512

enum fix_kind {
	FIX_FALLBACK, /* to the interpreter, for op number `to` */
	FIX_CROSS,    /* a misaligned access: `to` says how large, and by which register */
	FIX_LINK,     /* to offset `to` of the same page */
	FIX_TAKEN,    /* the same, but looks for requests first */
	FIX_FAR,      /* to offset `to` from the page's start, in another page */
};

struct fix {
	enum fix_kind kind;
	uint8_t *rel; /* rel32 of a jump */
	int64_t to;
	unsigned op;   /* that it belongs to */
	uint8_t *back; /* FIX_CROSS: where it goes on */
};

/*
 * JRCXZ reaches 127 bytes.  Those that lead out of line go by way of a jump in a pool, which is emitted
 * where nothing comes by, or is jumped over.
 */
#define NEARS_MAX 8
struct near_jump {
	uint8_t *rel; /* its rel8 */
	int64_t to;   /* of the FIX_CROSS */
	unsigned op;
};
struct nears {
	unsigned n;
	struct near_jump jump[NEARS_MAX];
};

struct translation {
	struct soft_cpu *c;
	struct native *n;
	struct block *b;
	struct assembly e;
	uint8_t *far, *near;
	unsigned offset;               /* of the block in its page */
	unsigned i;                    /* the op at work */
	bool ours[BLOCK_OPS];          /* translated, not left to the interpreter */
	uint8_t *start[BLOCK_OPS + 1]; /* of an op's code; NULL: inside a run of fallbacks */
	uint8_t *stub[BLOCK_OPS];      /* of an op's fallback */
	unsigned fixes;
	struct nears nears; /* that wait for a pool */
	size_t first_site;
	/* Registers that the block needs, bits by enum native_vec; the last op that does */
	unsigned vec, vec_last;
	uint8_t *vec_missing; /* rel32 of the jump that is taken when they are not in the host's, */
	uint8_t *vec_there;   /* and where it goes on */
	/* Of the op at work */
	struct recode recode;
	unsigned temps; /* of the translator's registers, how many are in use */
	uint8_t *restart;
	enum host_reg ea; /* has the address of the memory operand */
	bool aligned;     /* its memory operand must be: the host faults otherwise */
	bool traps;       /* the host may raise an arithmetic exception */
	/* Large, and not cleared for each block. */
	struct fix fix[FIXES_MAX];
	ZydisDecodedInstruction insn[BLOCK_OPS];
	ZydisDecodedOperand operand[BLOCK_OPS][ZYDIS_MAX_OPERAND_COUNT];
};

/* Offsets by GS. */
#define STATE(field)  (FLAT_STATE + (int32_t)offsetof(struct soft_cpu, field))
#define NATIVE(field) (STATE(native) + (int32_t)offsetof(struct soft_native, field))
#define GPR(n)        (STATE(gpr) + 8 * (int32_t)(n))
#define HASH(field)   (FLAT_HASH + (int32_t)offsetof(struct flat_hash, field))

/* Guest registers from here on live in memory. */
#define FIRST_IN_MEMORY 13

/* Where the others are. */
static inline enum host_reg host_of(unsigned guest)
{
	return guest == CPU_RCX ? HOST_R13 : (enum host_reg)guest;
}

static inline uint32_t trans_offset(const struct translation *t, const uint8_t *p)
{
	return (uint32_t)(p - t->n->rw);
}

/* Offset of an op from the start of the page. */
static inline int64_t trans_at(const struct translation *t, unsigned i)
{
	return (int64_t)t->offset + t->b->op[i].ip;
}

static inline int64_t trans_behind(const struct translation *t, unsigned i)
{
	return trans_at(t, i) + t->b->op[i].len;
}

static inline bool trans_in_page(int64_t offset)
{
	return offset >= 0 && offset < (int64_t)PAGE_SIZE;
}

/* translate.c */
void trans_fix(struct translation *t, enum fix_kind kind, uint8_t *rel, int64_t to);
/* The rel8 of a jump that becomes a FIX_CROSS, and goes on behind itself. */
void trans_near(struct translation *t, uint8_t *rel, int64_t to);
/* Here nothing comes by: a good place for the pool. */
void trans_pool(struct translation *t);
/* So many bytes follow before the next call: if the pool would be too far then, it comes here. */
void trans_room(struct translation *t, unsigned bytes);
/* The host instruction at pc may fault, with the guest address in ea (HOST_NONE: no access). */
void trans_site(struct translation *t, uint8_t *pc, enum host_reg ea, bool write);

/* trans_op.c: emits the op at work; false: it's the interpreter's. */
bool trans_op(struct translation *t);

/* trans_mem.c */

/* Number of a general register operand. */
bool trans_gpr(const ZydisDecodedOperand *o, unsigned *n);
bool trans_verbatim(struct translation *t);
const ZydisDecodedOperand *trans_memory_of(const struct translation *t);
bool trans_lea(struct translation *t);
bool trans_push(struct translation *t);
bool trans_pop(struct translation *t);
bool trans_leave_frame(struct translation *t);
/* r: not one of ours but r15. */
void trans_push_reg(struct translation *t, enum host_reg r);
/* Loads the top of the stack; trans_popped() takes it off. */
void trans_pop_in(struct translation *t, enum host_reg to);
void trans_popped(struct translation *t, int32_t size);
/* Loads a 64-bit memory operand into r15. */
void trans_load_operand(struct translation *t, const ZydisDecodedOperand *o);
/* Out of line, for FIX_CROSS. */
void trans_cross(struct translation *t, const struct fix *f);

/* trans_vec.c */

bool trans_vector(struct translation *t);
/* What a block with vector or x87 instructions needs before its entry, at it, and out of line. */
void trans_vector_before(struct translation *t);
void trans_vector_entry(struct translation *t);
void trans_vector_load(struct translation *t);
/* The way back from the interpreter to op i; returns where it begins. */
const uint8_t *trans_vector_back(struct translation *t, unsigned i);

/* trans_x87.c */

/* Bits by enum native_vec of what op i needs, 0: it's not x87, or the interpreter's. */
unsigned trans_x87_needs(const struct translation *t, unsigned i);
bool trans_x87(struct translation *t);
/* Before the interpreter has op i, or code behind it leaves: the last x87 instruction's pointers. */
void trans_x87_pointers(struct translation *t, unsigned i);

/* trans_flow.c */

bool trans_jump(struct translation *t);
bool trans_call(struct translation *t);
bool trans_ret(struct translation *t);
bool trans_jcc(struct translation *t);
/* r15: the guest address of an offset from the page's start. */
void trans_address(struct translation *t, int64_t offset);
/* Leaves for the guest address in r15; site: NATIVE_SITE_*. */
void trans_leave(struct translation *t, uint32_t site);
/* Goes to the guest address in r15 by the hash, or leaves. */
void trans_go_hash(struct translation *t);
/* To an offset from the page's start, from the op at work; within the page by a link. */
void trans_go(struct translation *t, int64_t to);
void trans_go_link(struct translation *t, int64_t to);
/* The same, but leaves when a request waits. */
void trans_go_back(struct translation *t, int64_t to);

#endif
