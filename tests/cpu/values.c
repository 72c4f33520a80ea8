/* Random values with a liking for edges: integers, floating point of three widths, whole states. */
#include <string.h>
#include "gen.h"
#include "machine/cpu.h"

uint64_t rng_number(struct rng *r)
{
	uint64_t v = rng64(r);

	switch (rng_below(r, 8)) {
	case 0:
		return rng_below(r, 17);
	case 1:
		return (uint64_t) - (int64_t)rng_below(r, 17);
	case 2:
		return 1ull << rng_below(r, 64);
	case 3:
		return (1ull << rng_below(r, 64)) - 1;
	case 4:
		/* The ends of 8, 16, 32 and 64 bits, and around them */
		return (8u << rng_below(r, 4) == 64 ? 0 : 1ull << (8u << rng_below(r, 3))) - 1 +
		       rng_below(r, 3);
	case 5:
		return (uint64_t)(int64_t)(int32_t)v;
	case 6:
		return (1ull << (7 + 8 * rng_below(r, 8))) - 1 + rng_below(r, 3);
	default:
		return v;
	}
}

static uint32_t float32(struct rng *r)
{
	static const uint32_t edge[] = {
		0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000,
		0x7fc00000, 0xffc00000, 0x7f800001, 0x7fa00000, 1,          0x80000001,
		0x007fffff, 0x00800000, 0x7f7fffff, 0x4f000000, 0xcf000000, 0x5f000000,
		0x3f000000, 0x40490fdb, 0x33800000, 0x4b800001,
	};
	uint32_t v = (uint32_t)rng64(r);

	if (rng_one_in(r, 2))
		return edge[rng_below(r, ARRAY_LEN(edge))];
	/* Exponents near each other, so that sums don't lose one operand */
	return rng_one_in(r, 3) ? v : (v & 0x807fffff) | (0x7f - 16 + rng_below(r, 32)) << 23;
}

static uint64_t float64(struct rng *r)
{
	static const uint64_t edge[] = {
		0,
		1ull << 63,
		0x3ff0000000000000,
		0xbff0000000000000,
		0x7ff0000000000000,
		0xfff0000000000000,
		0x7ff8000000000000,
		0x7ff0000000000001,
		0xfff4000000000000,
		1,
		0x000fffffffffffff,
		0x0010000000000000,
		0x7fefffffffffffff,
		0x41e0000000000000, /* 2^31 */
		0xc1e0000000000000,
		0x43e0000000000000, /* 2^63 */
		0xc3e0000000000000,
		0x3fe0000000000000,
		0x400921fb54442d18,
		0x47efffffe0000000, /* FLT_MAX */
		0x36a0000000000000, /* smallest float */
	};
	uint64_t v = rng64(r);

	if (rng_one_in(r, 2))
		return edge[rng_below(r, ARRAY_LEN(edge))];
	return rng_one_in(r, 3)
	               ? v
	               : (v & 0x800fffffffffffff) | (uint64_t)(0x3ff - 32 + rng_below(r, 64)) << 52;
}

static void float80(struct rng *r, uint8_t *out)
{
	static const struct {
		uint16_t exponent;
		uint64_t mantissa;
	} edge[] = {
		{0, 0},
		{0x3fff, 1ull << 63},
		{0x7fff, 1ull << 63},
		{0x7fff, 3ull << 62},
		{0x7fff, 0xa000000000000000},
		{0, 1},
		{0, 1ull << 63}, /* pseudo-denormal */
		{0x7fff, 0},     /* pseudo-infinity */
		{0x4000, 1},     /* unnormal */
		{0x7ffe, ~0ull},
		{1, 1ull << 63},
		{0x4000, 0xc90fdaa22168c235}, /* pi */
		{0x403e, 1ull << 63},         /* 2^63 */
		{0x401e, 1ull << 63},
		{0x3ffe, 1ull << 63},
	};
	uint16_t exponent;
	uint64_t mantissa;

	if (rng_one_in(r, 2)) {
		unsigned i = rng_below(r, ARRAY_LEN(edge));

		exponent = edge[i].exponent;
		mantissa = edge[i].mantissa;
	} else {
		exponent = (uint16_t)(0x3fff - 40 + rng_below(r, 80));
		mantissa = rng64(r) | 1ull << 63;
		if (rng_one_in(r, 4))
			mantissa &= ~0ull << rng_below(r, 63);
	}
	exponent |= (uint16_t)(rng_below(r, 2) << 15);
	memcpy(out, &mantissa, 8);
	memcpy(out + 8, &exponent, 2);
}

enum lane_style { LANE_BITS, LANE_INT, LANE_F32, LANE_F64, LANE_STYLES };

static void fill_lanes(struct rng *r, uint8_t *p, size_t len, enum lane_style style)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t v;

		switch (style) {
		case LANE_INT:
			v = rng_number(r);
			break;
		case LANE_F32:
			v = float32(r) | (uint64_t)float32(r) << 32;
			break;
		case LANE_F64:
			v = float64(r);
			break;
		default:
			v = rng64(r);
		}
		memcpy(p + i, &v, 8);
	}
}

static void gen_vectors(struct rng *r, uint8_t *x)
{
	enum lane_style style = rng_below(r, LANE_STYLES);
	uint32_t mxcsr = 0x1f80;

	for (unsigned i = 0; i < 16; i++) {
		if (rng_one_in(r, 4))
			style = rng_below(r, LANE_STYLES);
		fill_lanes(r, x + CASE_XMM + 16 * i, 16, style);
		fill_lanes(r, x + CASE_YMMH + 16 * i, 16, style);
	}
	if (rng_one_in(r, 3))
		mxcsr |= rng_below(r, 4) << 13; /* rounding */
	if (rng_one_in(r, 6))
		mxcsr |= 1u << 15; /* FTZ */
	if (rng_one_in(r, 6))
		mxcsr |= 1u << 6; /* DAZ */
	if (rng_one_in(r, 4))
		mxcsr |= rng_below(r, 64); /* flags */
	if (rng_one_in(r, 12))
		mxcsr &= ~(rng_below(r, 64) << 7); /* unmasked */
	memcpy(x + CASE_MXCSR, &mxcsr, 4);
}

static void gen_x87(struct rng *r, uint8_t *x)
{
	uint16_t fcw = 0x37f, fsw = (uint16_t)(rng_below(r, 8) << 11);

	if (rng_one_in(r, 3))
		fcw = (uint16_t)((fcw & ~0xf00) | rng_below(r, 4) << 10 | rng_below(r, 4) << 8);
	if (rng_one_in(r, 12))
		fcw &= (uint16_t)~rng_below(r, 64);
	if (rng_one_in(r, 3))
		fsw |= (uint16_t)((rng64(r) & 0x4700) | (rng64(r) & 0x7f & fcw));
	memcpy(x + CASE_FCW, &fcw, 2);
	memcpy(x + CASE_FSW, &fsw, 2);
	x[CASE_FTW] = rng_one_in(r, 2) ? 0xff : (uint8_t)rng64(r);
	for (unsigned i = 0; i < 8; i++)
		float80(r, x + CASE_ST + 16 * i);
}

void gen_regs(struct rng *r, struct cpu_case *c)
{
	const uint64_t components = 7;

	memset(&c->in, 0, sizeof(c->in));
	for (unsigned i = 0; i < 16; i++)
		c->in.gpr[i] = rng_number(r);
	c->in.rflags = FLAG_FIXED | FLAG_IF | (rng64(r) & FLAGS_ARITH);
	if (rng_one_in(r, 24))
		c->in.rflags |= FLAG_TF; /* ends by #DB behind the first instruction */
	if (rng_one_in(r, 24))
		c->in.rflags |= FLAG_AC;
	if (c->mode == CASE_64)
		c->in.gs_base = 16 * rng_below(r, 64);
	else
		for (unsigned i = 0; i < 16; i++)
			c->in.gpr[i] = (uint32_t)c->in.gpr[i];
	gen_x87(r, c->in.xsave);
	gen_vectors(r, c->in.xsave);
	memcpy(c->in.xsave + CASE_BV, &components, 8);
}

void gen_image(struct rng *r, struct image *image)
{
	/* Stretches of one style, short enough that a wide access sees two */
	for (size_t i = 0; i < sizeof(image->data); i += 64)
		fill_lanes(r, image->data + i, 64, rng_below(r, LANE_STYLES));
}
