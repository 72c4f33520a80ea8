/*
 * The VM's times: what the guest's TSCs and clock pages have in common.
 *
 * A guest's TSC is the host's plus an offset.  All vCPUs have the VM's offset, unless the guest
 * sets one apart.  While the machine is paused its clock stands still, and so must the TSCs: the
 * ticks that pass meanwhile are `held` back, by all vCPUs when they run again.
 *
 * Clock pages (pv.c) name one moment by TSC and clock.  All are made from the same pair, since
 * guests compare the clocks of different vCPUs directly.  The pair is renewed when the clock has
 * jumped, that is after a pause: then all vCPUs come through times_resumed() before they execute
 * guest code.
 */
#ifndef ENGINE_SOFT_TIMES_H
#define ENGINE_SOFT_TIMES_H

#include "engine/soft/soft.h"

struct soft_times {
	pthread_mutex_t lock;   /* all but the atomic ones */
	uint64_t tsc, ns;       /* the pair: the host's TSC, the machine's clock */
	uint64_t clock;         /* the machine's clock.time then: another value tells a jump */
	uint64_t generation;    /* of the pair; 0: none yet */
	_Atomic uint64_t held;  /* TSC ticks held back since the start */
	_Atomic uint64_t left;  /* the host's TSC when the last vCPU left guest code */
	_Atomic int64_t offset; /* the VM's, held considered */
};

/* A copy of the pair, with the generation. */
struct times_pair {
	uint64_t tsc, ns, generation;
};

void times_open(struct soft_times *t);
void times_close(struct soft_times *t);

struct times_pair times_pair(struct soft_cpu *c);
/*
 * Before and after guest code is executed: the vCPU's TSC takes back what was held, notes the
 * moment.
 */
void times_resumed(struct soft_cpu *c);
void times_left(struct soft_cpu *c);

/* The TSC as part of the processor's state: a paused one stands still. */
uint64_t times_tsc(struct soft_cpu *c);
void times_tsc_set(struct soft_cpu *c, uint64_t tsc);

#endif
