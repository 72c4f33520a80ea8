/*
 * An event loop: descriptors, timers, and calls from other threads.  One thread runs it; everything
 * is called back on that thread, with no lock held.  Sources are embedded in their owners
 * (container_of), so that adding one allocates nothing.
 *
 * watch_*   only on the loop's thread, or before it runs.
 * timer_*   from any thread.  A timer that is being called back is no longer armed; cancelling from
 *	     another thread does not wait for a callback under way.
 * loop_call from any thread.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include "base/err.h"

struct loop;

struct watch {
	int fd;
	uint32_t events; /* EPOLLIN, EPOLLOUT... */
	void (*fn)(struct watch *w, uint32_t events);
	struct loop *loop; /* NULL: not added */
};

struct loop_timer {
	void (*fn)(struct loop_timer *t);
	uint64_t deadline; /* ns, CLOCK_MONOTONIC */
	size_t slot;       /* place in the heap + 1; 0: not armed.  The loop's. */
};

int loop_new(const char *name, struct loop **out, struct err *e) MUST_CHECK;
void loop_free(struct loop *l);

/* Runs until loop_stop(). */
void loop_run(struct loop *l);
/* One round: waits at most timeout_ms (-1: ever) and returns whether anything was called. */
bool loop_step(struct loop *l, int timeout_ms);
void loop_stop(struct loop *l); /* from any thread, also from a signal handler */

int watch_add(struct loop *l, struct watch *w, struct err *e) MUST_CHECK;
int watch_change(struct watch *w, uint32_t events);
void watch_del(struct watch *w); /* accepts one that was not added */

uint64_t loop_now(void); /* ns, CLOCK_MONOTONIC */
void timer_arm(struct loop *l, struct loop_timer *t, uint64_t deadline_ns);
void timer_cancel(struct loop *l, struct loop_timer *t);

/* Has fn(arg) called on the loop's thread.  loop_call_wait returns when it was (called directly when
 * this is the loop's thread, or when the loop does not run). */
void loop_call(struct loop *l, void (*fn)(void *arg), void *arg);
void loop_call_wait(struct loop *l, void (*fn)(void *arg), void *arg);

#endif
