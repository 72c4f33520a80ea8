/*
 * Proves of a translated block, from its bytes alone, that it cannot leave the guest: the wall does not
 * stand on the translator being right.  Shares nothing with it but the layout of state and tables.
 *
 * What is proven of every instruction that can be reached from one of the block's entries:
 * - It is on the allow list: no system call, nothing privileged, nothing of segments, GS, strings or the
 *   host's stack (RSP is the guest's).
 * - Memory is the words of the state block that translated code may touch; the flat table by the page
 *   number of a register; or (ea,addend), where addend was loaded from the table for what is in that very
 *   register, and the bytes lie in one page: a look at the place in the page, or the host faults
 *   when misaligned.  Each such access is known to the fault handler.
 * - Jumps stay in the block, or leave by the state's exits with what these want in r14 and r15, or go to
 *   code that the hash gave for the guest address in r15.
 * - Addends and other host addresses stay in rcx, r14 and r15, and no guest instruction reads them.
 *
 * Later changes of the code (links, blocks that go stale) are checked when they are made.
 */
#ifndef ENGINE_SOFT_VALIDATE_H
#define ENGINE_SOFT_VALIDATE_H

#include "engine/soft/native.h"

/* Of one vCPU's code: what has been proven so far. */
struct validator;

/* NULL: out of memory. */
struct validator *validator_new(void);
void validator_free(struct validator *v);
/* All code was forgotten. */
void validator_reset(struct validator *v);

struct validator_block {
	const struct block *b;
	uint32_t start, end;           /* its code */
	const struct native_block *nb; /* its entries */
	size_t first_site;             /* in n->site, up to n->sites */
};

struct validator_fault {
	const char *what;
	uint32_t at; /* offset in the code */
};

/* False: the block must not run; *f says why. */
bool validator_block(struct validator *v, const struct native *n, const struct validator_block *vb,
                     struct validator_fault *f) MUST_CHECK;

/* May the rel32 at `site` be made to lead to `to`? */
bool validator_link(const struct validator *v, uint32_t site, uint32_t to) MUST_CHECK;
/* Is it an entry of a block? */
bool validator_entry(const struct validator *v, uint32_t at) MUST_CHECK;

#endif
