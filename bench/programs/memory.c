/* Memory: copies and fills by the C library and by string instructions, strides, chains of pointers. */
#include "bench.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SMALL     4096
#define MEDIUM    65536
#define LARGE     (4 << 20)
#define HUGE_AREA (64 << 20)
#define LINE      64
#define PAGE      4096
#define STEPS     4096

static uint8_t *area; /* HUGE_AREA bytes, each page touched */
static void **chain;

static bool prepare(void)
{
	if (area)
		return true;
	area = mmap(NULL, HUGE_AREA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		bench_fail("mmap");
	for (size_t i = 0; i < HUGE_AREA; i += PAGE)
		area[i] = (uint8_t)(i >> 12);
	return true;
}

/* Links all lines of the first bytes of the area into one cycle in random order. */
static bool link_chain(size_t bytes)
{
	size_t count = bytes / LINE, at = 0;
	uint32_t *order = malloc(count * sizeof(*order));
	uint64_t state = 3;

	prepare();
	if (!order)
		bench_fail("malloc");
	for (size_t i = 0; i < count; i++)
		order[i] = (uint32_t)i;
	for (size_t i = count - 1; i > 0; i--) {
		size_t k = 1 + bench_random(&state) % i;
		uint32_t t = order[i];

		order[i] = order[k];
		order[k] = t;
	}
	for (size_t i = 1; i < count; i++) {
		size_t next = order[i];

		*(void **)(area + at * LINE) = area + next * LINE;
		at = next;
	}
	*(void **)(area + at * LINE) = area;
	chain = (void **)area;
	free(order);
	return true;
}

#define CHAIN(name, bytes)                \
	static bool name(void)            \
	{                                 \
		return link_chain(bytes); \
	}
CHAIN(prepare_chain_16k, 16 << 10)
CHAIN(prepare_chain_256k, 256 << 10)
CHAIN(prepare_chain_4m, 4 << 20)
CHAIN(prepare_chain_64m, HUGE_AREA)

static uint64_t run_chain(uint64_t n)
{
	void **p = chain;

	while (n-- > 0)
		for (unsigned i = 0; i < STEPS; i++)
			p = *p;
	chain = p;
	return 0;
}

static void copy(uint64_t n, size_t bytes)
{
	while (n-- > 0) {
		memcpy(area + HUGE_AREA / 2, area, bytes);
		BENCH_BARRIER();
	}
}

static uint64_t run_memcpy_64(uint64_t n)
{
	for (; n > 0; n--)
		for (size_t i = 0; i < 64; i++) {
			size_t bytes = 64;

			__asm__("" : "+r"(bytes)); /* a call, not a load and a store */
			memcpy(area + HUGE_AREA / 2 + i * LINE, area + i * LINE, bytes);
			BENCH_BARRIER();
		}
	return 0;
}

static uint64_t run_memcpy_64k(uint64_t n)
{
	copy(n, MEDIUM);
	return 0;
}

static uint64_t run_memcpy_4m(uint64_t n)
{
	copy(n, LARGE);
	return 0;
}

static void rep_movs(void *to, const void *from, size_t bytes)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes)::"memory");
}

static uint64_t run_movs_4k(uint64_t n)
{
	while (n-- > 0)
		rep_movs(area + HUGE_AREA / 2, area, SMALL);
	return 0;
}

static uint64_t run_movs_4m(uint64_t n)
{
	while (n-- > 0)
		rep_movs(area + HUGE_AREA / 2, area, LARGE);
	return 0;
}

static uint64_t run_stos_64k(uint64_t n)
{
	while (n-- > 0) {
		void *to = area + HUGE_AREA / 2;
		size_t count = MEDIUM / 8;

		__asm__ volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(0) : "memory");
	}
	return 0;
}

static uint64_t run_sum(uint64_t n)
{
	uint64_t sum = 0;

	while (n-- > 0) {
		sum = 0;
		for (size_t i = 0; i < LARGE / 8; i++) {
			sum += ((const uint64_t *)area)[i];
			__asm__("" : "+r"(sum)); /* one load after the other, not vectors */
		}
		BENCH_BARRIER();
	}
	return 0;
}

static uint64_t run_fill(uint64_t n)
{
	while (n-- > 0)
		for (size_t i = 0; i < LARGE / 8; i++) {
			((uint64_t *)area)[i] = i;
			BENCH_BARRIER();
		}
	return 0;
}

/* A load a page: each asks the TLB, ours and the processor's. */
static uint64_t run_stride_page(uint64_t n)
{
	uint64_t sum = 0;

	while (n-- > 0)
		for (size_t i = 0; i < HUGE_AREA / 4; i += PAGE + LINE)
			sum += area[i];
	__asm__ volatile("" ::"r"(sum));
	return 0;
}

static uint64_t run_stride_line(uint64_t n)
{
	while (n-- > 0)
		for (size_t i = 0; i < LARGE; i += LINE)
			area[i]++;
	return 0;
}

/* Some cross a line, few a page: as packed data structures are. */
static uint64_t run_misaligned(uint64_t n)
{
	uint64_t sum = 0;

	while (n-- > 0)
		for (size_t i = 1; i < MEDIUM; i += 13) {
			uint64_t v;

			memcpy(&v, area + i, sizeof(v));
			sum += v;
		}
	__asm__ volatile("" ::"r"(sum));
	return 0;
}

static const struct bench_case cases[] = {
	{"memcpy-64", run_memcpy_64, prepare, 64},
	{"memcpy-64K", run_memcpy_64k, prepare, MEDIUM},
	{"memcpy-4M", run_memcpy_4m, prepare, LARGE},
	{"rep-movsb-4K", run_movs_4k, prepare, SMALL},
	{"rep-movsb-4M", run_movs_4m, prepare, LARGE},
	{"rep-stosq-64K", run_stos_64k, prepare, MEDIUM},
	{"sum-4M", run_sum, prepare, LARGE / 8},
	{"fill-4M", run_fill, prepare, LARGE / 8},
	{"stride-line", run_stride_line, prepare, LARGE / LINE},
	{"stride-page", run_stride_page, prepare, HUGE_AREA / 4 / (PAGE + LINE)},
	{"misaligned", run_misaligned, prepare, MEDIUM / 13},
	{"chain-16K", run_chain, prepare_chain_16k, STEPS},
	{"chain-256K", run_chain, prepare_chain_256k, STEPS},
	{"chain-4M", run_chain, prepare_chain_4m, STEPS},
	{"chain-64M", run_chain, prepare_chain_64m, STEPS},
};
const struct bench_group bench_group = {"memory", cases, sizeof(cases) / sizeof(*cases)};
