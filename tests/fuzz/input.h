/* A fuzzer's bytes as a stream of numbers; behind the end everything is 0. */
#ifndef TESTS_FUZZ_INPUT_H
#define TESTS_FUZZ_INPUT_H

#include "base/lang.h"

struct input {
	const uint8_t *p;
	size_t left;
};

static inline bool input_ended(const struct input *in)
{
	return in->left == 0;
}

static inline uint64_t input_take(struct input *in, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes && in->left > 0; i++) {
		v |= (uint64_t)*in->p++ << 8 * i;
		in->left--;
	}
	return v;
}

/* 1, 2, 4 or 8. */
static inline unsigned input_size(struct input *in)
{
	return 1u << (input_take(in, 1) & 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
