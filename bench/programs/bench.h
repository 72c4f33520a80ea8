/*
 * What the benchmark programs share: each is a table of cases, and main() is here.
 *
 * A case does a number of equal units of work.  After a short warming up it is calibrated to batches of
 * about a millisecond, these are repeated for the time asked for, and the lower quartile of the batches'
 * times is printed: what other processes take from a busy computer mostly falls on the batches above it.
 *
 * usage: PROGRAM [MILLISECONDS [CASE]...]
 * output: lines "bench GROUP CASE VALUE UNIT DIGEST".  The digest is of the work's result: it must be the
 * same wherever the program runs.
 */
#ifndef BENCH_PROGRAMS_BENCH_H
#define BENCH_PROGRAMS_BENCH_H

#include <stddef.h>
#include <stdint.h>

struct bench_case {
	const char *name;
	/* Does it n times, returns the digest of one unit; 0 where there is no result. */
	uint64_t (*run)(uint64_t n);
	/* Before the first run; may be NULL.  False: cannot run here (no such instructions). */
	_Bool (*prepare)(void);
	/* Items in a unit (calls, accesses...): the value is for one of them; 0 is 1. */
	uint64_t items;
};

struct bench_group {
	const char *name;
	const struct bench_case *cases;
	size_t count;
};

/* Defined by each program. */
extern const struct bench_group bench_group;

/* Monotonic time in nanoseconds. */
uint64_t bench_now(void);

/* The next of a sequence of pseudo-random numbers. */
static inline uint32_t bench_random(uint64_t *state)
{
	*state = *state * 6364136223846793005 + 1442695040888963407;
	return (uint32_t)(*state >> 33);
}

/* FNV-1a of n bytes. */
static inline uint64_t bench_digest(const void *p, size_t n)
{
	uint64_t h = 0xcbf29ce484222325;

	for (const uint8_t *b = p; n-- > 0; b++)
		h = (h ^ *b) * 0x100000001b3;
	return h;
}

/* Keeps the compiler from knowing what is in memory. */
#define BENCH_BARRIER() __asm__ volatile("" ::: "memory")

/* Prints perror()'s text and ends the program. */
void bench_fail(const char *what) __attribute__((noreturn));

/* Prints a result that isn't a time of batches. */
void bench_print(const char *name, double value, const char *unit, uint64_t digest);

#endif
