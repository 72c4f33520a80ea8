/* Random numbers that a seed reproduces: splitmix64. */
#ifndef TESTS_CPU_RNG_H
#define TESTS_CPU_RNG_H

#include "base/lang.h"

struct rng {
	uint64_t s;
};

static inline uint64_t rng_mix(uint64_t z)
{
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static inline uint64_t rng64(struct rng *r)
{
	r->s += 0x9e3779b97f4a7c15ull;
	return rng_mix(r->s);
}

/* 0 .. n - 1 */
static inline unsigned rng_below(struct rng *r, unsigned n)
{
	return (unsigned)((rng64(r) >> 32) * n >> 32);
}

/* True once in n times. */
static inline bool rng_one_in(struct rng *r, unsigned n)
{
	return rng_below(r, n) == 0;
}

static inline void rng_fill(struct rng *r, void *p, size_t len)
{
	uint8_t *b = p;

	for (size_t i = 0; i < len; i += 8) {
		uint64_t v = rng64(r);

		__builtin_memcpy(b + i, &v, MIN(len - i, 8u));
	}
}

/* Numbers with a liking for edges. */
uint64_t rng_number(struct rng *r);

#endif
