/* Floating point, a number at a time: SSE2 as compilers use it, the C library's functions, x87. */
#include "bench.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define BODIES 5
#define STEPS  40
#define SIDE   24
#define DEPTH  64
#define MATRIX 24
#define TERMS  512
#define VALUES 256

/* Planets under gravity, in the number format asked for: products, square roots, quotients. */
#define NBODY(name, real, root)                                                                 \
	__attribute__((noipa)) static real name(void)                                           \
	{                                                                                       \
		real x[BODIES][3], v[BODIES][3], sum = 0;                                       \
		for (int i = 0; i < BODIES; i++)                                                \
			for (int k = 0; k < 3; k++) {                                           \
				x[i][k] = (real)(i * 3 + k * k + 1) / 4;                        \
				v[i][k] = (real)(i - k) / 64;                                   \
			}                                                                       \
		for (int step = 0; step < STEPS; step++) {                                      \
			for (int i = 0; i < BODIES; i++)                                        \
				for (int j = i + 1; j < BODIES; j++) {                          \
					real dx = x[i][0] - x[j][0], dy = x[i][1] - x[j][1];    \
					real dz = x[i][2] - x[j][2];                            \
					real square = dx * dx + dy * dy + dz * dz + (real)0.01; \
					real pull = (real)0.001 / (square * root(square));      \
					v[i][0] -= dx * pull, v[j][0] += dx * pull;             \
					v[i][1] -= dy * pull, v[j][1] += dy * pull;             \
					v[i][2] -= dz * pull, v[j][2] += dz * pull;             \
				}                                                               \
			for (int i = 0; i < BODIES; i++)                                        \
				for (int k = 0; k < 3; k++)                                     \
					x[i][k] += v[i][k] / 8;                                 \
		}                                                                               \
		for (int i = 0; i < BODIES; i++)                                                \
			sum += x[i][0] + x[i][1] * 2 + x[i][2] * 3;                             \
		return sum;                                                                     \
	}
NBODY(nbody_double, double, sqrt)
NBODY(nbody_x87, long double, sqrtl)

static uint64_t run_nbody(uint64_t n)
{
	double sum = 0;

	while (n-- > 0) {
		sum = nbody_double();
		BENCH_BARRIER();
	}
	return bench_digest(&sum, sizeof(sum));
}

static uint64_t run_nbody_x87(uint64_t n)
{
	long double sum = 0;

	while (n-- > 0) {
		sum = nbody_x87();
		BENCH_BARRIER();
	}
	return bench_digest(&sum, 10);
}

static uint64_t run_mandelbrot(uint64_t n)
{
	uint64_t inside = 0;

	while (n-- > 0) {
		inside = 0;
		for (int i = 0; i < SIDE * SIDE; i++) {
			double cx = (i % SIDE) * 3.0 / SIDE - 2, cy = (i / SIDE) * 2.0 / SIDE - 1;
			double x = 0, y = 0;
			unsigned k;

			for (k = 0; k < DEPTH && x * x + y * y < 4; k++) {
				double t = x * x - y * y + cx;

				y = 2 * x * y + cy;
				x = t;
			}
			inside += k;
		}
		BENCH_BARRIER();
	}
	return inside;
}

__attribute__((noipa)) static void multiply(double (*a)[MATRIX], double (*b)[MATRIX],
                                            double (*c)[MATRIX])
{
	for (int i = 0; i < MATRIX; i++)
		for (int j = 0; j < MATRIX; j++) {
			double sum = 0;

			for (int k = 0; k < MATRIX; k++)
				sum += a[i][k] * b[k][j];
			c[i][j] = sum;
		}
}

static uint64_t run_matrix(uint64_t n)
{
	static double a[MATRIX][MATRIX], b[MATRIX][MATRIX], c[MATRIX][MATRIX];

	for (int i = 0; i < MATRIX; i++)
		for (int j = 0; j < MATRIX; j++) {
			a[i][j] = i - j / 2.0;
			b[i][j] = i * j % 7;
		}
	while (n-- > 0) {
		multiply(a, b, c);
		BENCH_BARRIER();
	}
	return bench_digest(c, sizeof(c));
}

/* The C library's functions differ in the last bit between processors with FMA and without: no digest. */
static uint64_t run_functions(uint64_t n)
{
	volatile double sum = 0;

	while (n-- > 0)
		for (int i = 1; i <= VALUES; i++)
			sum = sum + sin(i) * exp(-i / 100.0) + log(i);
	return 0;
}

__attribute__((noipa)) static long double series(void)
{
	long double sum = 0, sign = 1;

	for (int i = 0; i < TERMS; i++) {
		sum += sign / (2 * i + 1);
		sign = -sign;
	}
	return sum;
}

static uint64_t run_series_x87(uint64_t n)
{
	long double sum = 0;

	while (n-- > 0) {
		sum = series();
		BENCH_BARRIER();
	}
	return bench_digest(&sum, 10);
}

/* Instructions that only x87 has: sine and arc tangent. */
static uint64_t run_transcendental_x87(uint64_t n)
{
	long double sum = 0;
	float rough;

	while (n-- > 0) {
		sum = 0;
		for (int i = 1; i <= VALUES; i++) {
			long double x = (long double)i / 50, y = 1;

			__asm__("fsin" : "+t"(x));
			sum += x;
			x = (long double)i / 300;
			__asm__("fpatan" : "=t"(x) : "0"(x), "u"(y) : "st(1)");
			sum += x;
		}
		BENCH_BARRIER();
	}
	rough = (float)sum; /* processors may differ in the last bits */
	return bench_digest(&rough, sizeof(rough));
}

static const struct bench_case cases[] = {
	{"nbody", run_nbody, NULL, STEPS},
	{"mandelbrot", run_mandelbrot, NULL, SIDE *SIDE},
	{"matrix", run_matrix, NULL, MATRIX *MATRIX *MATRIX},
	{"functions", run_functions, NULL, 3 * VALUES},
	{"x87-nbody", run_nbody_x87, NULL, STEPS},
	{"x87-series", run_series_x87, NULL, TERMS},
	{"x87-functions", run_transcendental_x87, NULL, 2 * VALUES},
};
const struct bench_group bench_group = {"float", cases, sizeof(cases) / sizeof(*cases)};
