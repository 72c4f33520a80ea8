/* Clock and TSCs in step: see times.h. */
#include "engine/soft/times.h"

#include <x86intrin.h>

#include "engine/soft/code.h"

void times_open(struct soft_times *t)
{
	pthread_mutex_init(&t->lock, NULL);
}

void times_close(struct soft_times *t)
{
	pthread_mutex_destroy(&t->lock);
}

static uint64_t clock_word(struct soft_cpu *c)
{
	return atomic_load(&c->machine->clock.time);
}

static bool is_current(struct soft_cpu *c, const struct soft_times *t)
{
	return t->generation != 0 && t->clock == clock_word(c);
}

/*
 * Ticks that have passed without the clock since the pair was made.  Clock and TSC drift apart in
 * hours, so that this may be somewhat too much; but nobody has seen the TSC since the last vCPU
 * left guest code.
 */
static uint64_t standing(struct soft_cpu *c, const struct soft_times *t, uint64_t tsc)
{
	uint64_t ns = clock_now(&c->machine->clock), left = atomic_load(&t->left);
	uint64_t passed = tsc - t->tsc, counted;

	if (is_current(c, t) || t->generation == 0 || ns < t->ns || tsc < left)
		return 0;
	counted = (uint64_t)((unsigned __int128)(ns - t->ns) * c->machine->tsc_khz / 1000000);
	return counted < passed ? MIN(passed - counted, tsc - left) : 0;
}

/* Lock held: the host's TSC and the clock now. */
static void pair_set(struct soft_cpu *c, struct soft_times *t, uint64_t tsc)
{
	t->clock = clock_word(c);
	t->ns = clock_now(&c->machine->clock);
	t->tsc = tsc;
	t->generation++;
	atomic_store(&t->left, tsc);
}

static void renew(struct soft_cpu *c, struct soft_times *t)
{
	uint64_t tsc = __rdtsc(), held = standing(c, t, tsc);

	atomic_fetch_add(&t->held, held);
	atomic_fetch_sub(&t->offset, (int64_t)held);
	pair_set(c, t, tsc);
}

struct times_pair times_pair(struct soft_cpu *c)
{
	struct soft_times *t = &c->vm->times;
	struct times_pair p;

	pthread_mutex_lock(&t->lock);
	if (!is_current(c, t))
		renew(c, t);
	p = (struct times_pair){t->tsc, t->ns, t->generation};
	pthread_mutex_unlock(&t->lock);
	return p;
}

void times_resumed(struct soft_cpu *c)
{
	uint64_t held;

	times_pair(c);
	held = atomic_load(&c->vm->times.held);
	c->tsc_offset -= (int64_t)(held - c->tsc_held);
	c->tsc_held = held;
}

void times_left(struct soft_cpu *c)
{
	struct soft_times *t = &c->vm->times;
	uint64_t now = __rdtsc(), last = atomic_load(&t->left);

	while (last < now && !atomic_compare_exchange_weak(&t->left, &last, now))
		;
}

uint64_t times_tsc(struct soft_cpu *c)
{
	struct soft_times *t = &c->vm->times;
	uint64_t now = __rdtsc(), held;

	pthread_mutex_lock(&t->lock);
	held = atomic_load(&t->held) - c->tsc_held + standing(c, t, now);
	pthread_mutex_unlock(&t->lock);
	return now + (uint64_t)c->tsc_offset - held;
}

/*
 * A value that is what the VM's counter showed a moment ago comes from there (start, INIT, vCPUs
 * that are loaded one after the other): then they stay in step.  Any other one is a new beginning.
 */
void times_tsc_set(struct soft_cpu *c, uint64_t tsc)
{
	struct soft_times *t = &c->vm->times;
	int64_t second = (int64_t)(c->machine->tsc_khz * 1000), ahead;
	uint64_t now = __rdtsc();

	pthread_mutex_lock(&t->lock);
	ahead = (int64_t)(now + (uint64_t)atomic_load(&t->offset) - standing(c, t, now) - tsc);
	if (ahead >= second || ahead <= -second / 100) {
		atomic_store(&t->offset, (int64_t)(tsc - now));
		pair_set(c, t, now);
	}
	c->tsc_offset = atomic_load(&t->offset);
	c->tsc_held = atomic_load(&t->held);
	pthread_mutex_unlock(&t->lock);
}
