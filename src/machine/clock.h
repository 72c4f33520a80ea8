/*
 * The machine's time: nanoseconds since it started, standing still while it is paused.  Timers call
 * back on the main loop's thread without a lock held.  A stepped clock (tests) moves only by
 * clock_step(), which calls the timers that are due, in order.
 */
#ifndef MACHINE_CLOCK_H
#define MACHINE_CLOCK_H

#include "base/lock.h"
#include "base/loop.h"

struct clock;

struct clock_timer {
	void (*fn)(struct clock_timer *t);
	struct clock *clock;
	uint64_t deadline; /* machine's time, ns; UINT64_MAX: not armed */
	struct clock_timer *next;
};

struct clock {
	struct loop *loop;
	bool stepped;
	struct lock lock; /* LOCK_CLOCK: timers; writers of time */
	/* CLOCK_STILL | the time, or the host's CLOCK_MONOTONIC at the machine's time 0; 63 bits,
	 * in one word so that clock_now() needs no lock. */
	_Atomic uint64_t time;
	struct clock_timer *timers; /* armed ones, sorted by deadline */
	struct loop_timer tick;     /* for the first of them, unless the time stands still */
};
#define CLOCK_STILL (1ull << 63)

/* A new clock stands at 0 until clock_resume(); a stepped one ignores pause and resume. */
void clock_init(struct clock *c, struct loop *loop, bool stepped);
void clock_fini(struct clock *c);
uint64_t clock_now(struct clock *c); /* any thread, cheap */
void clock_pause(struct clock *c);
void clock_resume(struct clock *c);
/* Sets the time (after a load). */
void clock_set(struct clock *c, uint64_t now);
void clock_step(struct clock *c, uint64_t ns);

void clock_timer_init(struct clock *c, struct clock_timer *t, void (*fn)(struct clock_timer *t));
/*
 * Any thread; deadline UINT64_MAX cancels.  A timer is no longer armed while it is called back.
 * Cancelling on another thread than the main loop's does not wait for a callback under way; owners
 * cancel and free on that thread.
 */
void clock_timer_set(struct clock_timer *t, uint64_t deadline);

#endif
