/*
 * Mutexes with an order.  A thread takes locks in rising order only; debug builds check it (the
 * check is an assertion: a wrong order is our bug).
 */
#ifndef BASE_LOCK_H
#define BASE_LOCK_H

#include <pthread.h>
#include "base/lang.h"

enum lock_order {
	LOCK_GUEST = 10,
	LOCK_MACHINE = 20, /* device registers, bus maps */
	LOCK_DEVICE = 35,  /* what a device shares with its lane: INTx, MSI-X tables, input */
	LOCK_IRQ = 40,     /* PIC, IOAPIC, routing */
	LOCK_APIC = 50,    /* one local APIC */
	LOCK_VCPU = 60,    /* a vCPU's state and wait */
	LOCK_CLOCK = 62,   /* the machine's timers */
	LOCK_LANE = 65,    /* a loop's timers and calls: armed with any of the above held */
	LOCK_MEM = 70,
	LOCK_LOG = 90,
};

struct lock {
	pthread_mutex_t mutex;
	int order;
};

void lock_init(struct lock *l, enum lock_order order);
void lock_fini(struct lock *l);
void lock_take(struct lock *l);
void lock_drop(struct lock *l);
/* Waits on cond with the lock held; until the absolute CLOCK_MONOTONIC time ns (UINT64_MAX: ever). */
bool lock_wait(struct lock *l, pthread_cond_t *cond, uint64_t until_ns);
void cond_init(pthread_cond_t *cond); /* on CLOCK_MONOTONIC */

#endif
