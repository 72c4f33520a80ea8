/*
 * Two processors: the time for a unit of work when one thread does all of it and when two share it (their
 * quotient is the speed-up), and operations on memory that both want.
 * Units take milliseconds, as the start of a thread is no part of this.
 */
#include "bench.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define THREADS 2
#define STEPS   4000000
#define OPS     1000000
#define ROUNDS  20000
#define LINE    64

static struct {
	_Alignas(LINE) atomic_uint_fast64_t counter;
	_Alignas(LINE) atomic_uint turn;
	_Alignas(LINE) atomic_flag locked;
	uint64_t guarded;
} shared;

static uint64_t results[THREADS][LINE / 8];

struct share {
	unsigned index;
	uint64_t units;
};

/* Runs the work in two threads, n units each. */
static void both(void *(*work)(void *), uint64_t n)
{
	pthread_t t[THREADS];
	struct share s[THREADS];

	for (unsigned i = 0; i < THREADS; i++) {
		s[i] = (struct share){i, n};
		if (pthread_create(&t[i], NULL, work, &s[i]))
			bench_fail("thread");
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
}

static void *compute(void *arg)
{
	const struct share *s = arg;

	for (uint64_t n = s->units; n > 0; n--) {
		uint64_t state = 9, sum = 0;

		for (unsigned i = 0; i < STEPS; i++)
			sum = sum * 5 ^ bench_random(&state);
		results[s->index][0] = sum;
		BENCH_BARRIER();
	}
	return NULL;
}

static uint64_t run_alone(uint64_t n)
{
	struct share s = {0, n * THREADS};

	compute(&s);
	return results[0][0];
}

static uint64_t run_together(uint64_t n)
{
	both(compute, n);
	return results[0][0] ^ results[1][0];
}

static void *count(void *arg)
{
	const struct share *s = arg;

	for (uint64_t n = s->units * OPS; n > 0; n--)
		atomic_fetch_add(&shared.counter, 1);
	return NULL;
}

static uint64_t run_add(uint64_t n)
{
	atomic_store(&shared.counter, 0);
	both(count, n);
	return atomic_load(&shared.counter) / n;
}

static void *lock(void *arg)
{
	const struct share *s = arg;

	for (uint64_t n = s->units * OPS; n > 0; n--) {
		while (atomic_flag_test_and_set_explicit(&shared.locked, memory_order_acquire))
			__builtin_ia32_pause();
		shared.guarded++;
		atomic_flag_clear_explicit(&shared.locked, memory_order_release);
	}
	return NULL;
}

static uint64_t run_lock(uint64_t n)
{
	shared.guarded = 0;
	both(lock, n);
	return shared.guarded / n;
}

/* A line that goes from one to the other and back. */
static void *hand_over(void *arg)
{
	const struct share *s = arg;

	for (uint64_t n = 0; n < s->units * ROUNDS; n++) {
		while (atomic_load_explicit(&shared.turn, memory_order_acquire) != s->index)
			__builtin_ia32_pause();
		atomic_store_explicit(&shared.turn, 1 - s->index, memory_order_release);
	}
	return NULL;
}

static uint64_t run_hand_over(uint64_t n)
{
	atomic_store(&shared.turn, 0);
	both(hand_over, n);
	return 0;
}

static const struct bench_case cases[] = {
	{"work-1-thread", run_alone, NULL, THREADS *STEPS},
	{"work-2-threads", run_together, NULL, THREADS *STEPS},
	{"contended-add", run_add, NULL, THREADS *OPS},
	{"spin-lock", run_lock, NULL, THREADS *OPS},
	{"hand-over", run_hand_over, NULL, 2 * ROUNDS},
};
const struct bench_group bench_group = {"smp", cases, sizeof(cases) / sizeof(*cases)};
