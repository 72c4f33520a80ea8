/* Random operands, with the values where arithmetic is at its edges. */
#include "vec_values.h"

#include <string.h>

uint64_t vec_seed;

uint64_t vec_random(void)
{
	uint64_t z = vec_seed += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

unsigned vec_below(unsigned n)
{
	return (unsigned)(vec_random() >> 33) % n;
}

static const uint32_t floats[] = {
	0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000,
	0x7fc00000, 0x7f800001, 0xffa12345, 0x00000001, 0x807fffff, 0x00800000,
	0x7f7fffff, 0x4f000000, 0xcf000001, 0x40490fdb, 0x3f000000, 0x4b7fffff,
};
static const uint64_t doubles[] = {
	0,
	0x8000000000000000,
	0x3ff0000000000000,
	0xbff8000000000000,
	0x7ff0000000000000,
	0xfff0000000000000,
	0x7ff8000000000000,
	0x7ff0000000000001,
	0x0000000000000001,
	0x800fffffffffffff,
	0x0010000000000000,
	0x7fefffffffffffff,
	0x41e0000000000000,
	0x43e0000000000000,
	0x400921fb54442d18,
	0x380fffffe0000000,
};

/* One lane of 8 bytes: noise, floats, doubles, small integers. */
static uint64_t lane(unsigned kind)
{
	switch (kind) {
	case 0:
		return floats[vec_below(ARRAY_LEN(floats))] |
		       (uint64_t)floats[vec_below(ARRAY_LEN(floats))] << 32;
	case 1:
		return doubles[vec_below(ARRAY_LEN(doubles))];
	case 2: /* doubles of moderate size */
		return (vec_random() & 0x800fffffffffffffull) | (uint64_t)(1000 + vec_below(50))
		                                                        << 52;
	case 3: /* floats of moderate size */
		return (vec_random() & 0x807fffff807fffffull) |
		       (uint64_t)(110 + vec_below(40)) << 23 |
		       (uint64_t)(110 + vec_below(40)) << 55;
	case 4:
		return vec_below(300) - 100ull;
	default:
		return vec_random();
	}
}

static void fill(void *p, unsigned len)
{
	unsigned kind = vec_below(8);

	for (unsigned i = 0; i < len; i += 8) {
		uint64_t v = lane(kind == 7 ? vec_below(6) : kind);

		memcpy((uint8_t *)p + i, &v, 8);
	}
}

static struct fpu_st extended(void)
{
	struct fpu_st st = {.mantissa = vec_random() | 1ull << 63};
	unsigned sign = vec_below(2) << 15;

	switch (vec_below(8)) {
	case 0:
		st.mantissa = 0;
		break;
	case 1:
		st.exponent = 0x7fff;
		st.mantissa = vec_below(2) ? 1ull << 63 : vec_random() | 1ull << 63;
		break;
	case 2:
		st.mantissa >>= 1; /* denormal */
		break;
	case 3:
		st.exponent = (uint16_t)(vec_random() & 0x7fff);
		break;
	case 4: /* an integer */
		st.mantissa = (uint64_t)(1 + vec_below(1000)) << 54;
		st.exponent = 0x3fff + 9;
		break;
	case 5: /* of no valid form */
		st.exponent = (uint16_t)(1 + vec_below(0x7fff));
		st.mantissa = vec_random();
		break;
	default:
		st.exponent = (uint16_t)(0x3fff - 20 + vec_below(60));
		break;
	}
	st.exponent |= (uint16_t)sign;
	return st;
}

void vec_random_state(struct vec_state *s)
{
	memset(s, 0, sizeof(*s));
	for (unsigned i = 0; i < 16; i++) {
		fill(&s->fpu.xmm[i], 16);
		fill(&s->fpu.high[i], 16);
		s->gpr[i] = lane(4 + vec_below(2));
	}
	fill(s->mem, sizeof(s->mem));
	s->fpu.mxcsr = MXCSR_INIT | (uint32_t)(vec_random() & 0x3f);
	if (vec_below(2))
		s->fpu.mxcsr ^= (uint32_t)(vec_random() & 0xe040);
	if (vec_below(4) == 0)
		s->fpu.mxcsr &= (uint32_t)vec_random() & MXCSR_MASK;
	s->fpu.mxcsr_mask = MXCSR_MASK;
	s->fpu.fcw = FCW_INIT;
	if (vec_below(2))
		s->fpu.fcw ^= (uint16_t)(vec_random() & 0xc00);
	if (vec_below(4) == 0)
		s->fpu.fcw = (uint16_t)((vec_random() & 0xf3f) | FCW_FIXED);
	if ((s->fpu.fcw >> 8 & 3) == 1)
		s->fpu.fcw |= 0x300;
	s->fpu.fsw = (uint16_t)vec_random();
	if (vec_below(4))
		s->fpu.fsw &= (uint16_t) ~(~s->fpu.fcw & FSW_FLAGS);
	s->fpu.fsw = fpu_summary(s->fpu.fsw, s->fpu.fcw);
	s->fpu.ftw = vec_below(2) ? 0xff : (uint8_t)vec_random();
	for (unsigned i = 0; i < 8; i++)
		s->fpu.st[i] = extended();
	s->fpu.xstate_bv = XCR0_ALL;
	s->flags = vec_random() & FLAGS_ARITH;
}
