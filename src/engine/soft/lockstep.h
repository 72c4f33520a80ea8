/*
 * Lockstep of translator and interpreter, to find defects: a translated block runs twice on the same input, by
 * the interpreter, and then, with registers and memory as before, translated.  What comes out is
 * compared: general registers, defined flags, x87 and vector registers, RIP, the exception if one was
 * raised, and all pages of memory that either could write.  The first difference is reported, and ends the
 * process.
 *
 * A block is compared the first times that it runs, and then now and then, up to its first op that is the
 * interpreter's (there without the flags, which the interpreter makes only where they are read); that op
 * runs alone, once.  Not compared are blocks that met a device or changed code.  For one vCPU:
 * another one's stores would look like a difference; what devices write meanwhile does so, too, and
 * therefore a difference must come again.
 */
#ifndef ENGINE_SOFT_LOCKSTEP_H
#define ENGINE_SOFT_LOCKSTEP_H

#include "engine/soft/run.h"

struct lockstep;

/* NULL: out of memory. */
struct lockstep *lockstep_new(void);
void lockstep_free(struct lockstep *l);

/* Runs the block at c->rip, as run.c does; raises. */
void lockstep_run(struct soft_cpu *c, struct block *b);

/* A page becomes accessible to stores (host: any place in it). */
void lockstep_page(struct lockstep *l, void *host);

#endif
