#include "base/lock.h"

#include <assert.h>
#include <errno.h>
#include <time.h>

/* The orders of the locks that this thread holds, to find a wrong order before it deadlocks. */
#ifndef NDEBUG
#define HELD_MAX 16

static _Thread_local int held[HELD_MAX];
static _Thread_local unsigned n_held;

static void note_take(int order)
{
	assert(n_held < HELD_MAX);
	assert(n_held == 0 || held[n_held - 1] < order);
	held[n_held++] = order;
}

static void note_drop(int order)
{
	unsigned i = n_held;

	while (i > 0 && held[i - 1] != order)
		i--;
	assert(i > 0);
	for (; i < n_held; i++)
		held[i - 1] = held[i];
	n_held--;
}
#else
static void note_take(int order)
{
}

static void note_drop(int order)
{
}
#endif

void lock_init(struct lock *l, enum lock_order order)
{
	pthread_mutex_init(&l->mutex, NULL);
	l->order = order;
}

void lock_fini(struct lock *l)
{
	pthread_mutex_destroy(&l->mutex);
}

void lock_take(struct lock *l)
{
	note_take(l->order);
	pthread_mutex_lock(&l->mutex);
}

void lock_drop(struct lock *l)
{
	pthread_mutex_unlock(&l->mutex);
	note_drop(l->order);
}

bool lock_wait(struct lock *l, pthread_cond_t *cond, uint64_t until_ns)
{
	const struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000),
	                               .tv_nsec = (long)(until_ns % 1000000000)};

	if (until_ns == UINT64_MAX)
		return pthread_cond_wait(cond, &l->mutex) == 0;
	return pthread_cond_timedwait(cond, &l->mutex, &until) != ETIMEDOUT;
}

void cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}
