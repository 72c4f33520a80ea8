/* See bench.h. */
#include "bench.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH_NS    1000000
#define WARM_NS     10000000
#define BATCHES_MAX 16384

uint64_t bench_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void bench_fail(const char *what)
{
	perror(what);
	exit(1);
}

void bench_print(const char *name, double value, const char *unit, uint64_t digest)
{
	printf("bench %s %s %.5g %s %016lx\n", bench_group.name, name, value, unit, digest);
	fflush(stdout);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* How many units take about a batch's time, when what is slow at first is over. */
static uint64_t calibrate(const struct bench_case *c)
{
	uint64_t warm = bench_now() + WARM_NS;

	do
		c->run(1);
	while (bench_now() < warm);
	for (uint64_t n = 1;; n *= 2) {
		uint64_t began = bench_now();

		c->run(n);
		if (bench_now() - began >= BATCH_NS / 2)
			return n;
	}
}

static void measure(const struct bench_case *c, uint64_t ns)
{
	static uint64_t times[BATCHES_MAX];
	uint64_t n, digest, began, end;
	size_t count = 0;

	if (c->prepare && !c->prepare()) {
		printf("bench: %s %s cannot run here\n", bench_group.name, c->name);
		return;
	}
	n = calibrate(c);
	end = bench_now() + ns;
	do {
		began = bench_now();
		digest = c->run(n);
		times[count++] = bench_now() - began;
	} while (count < 3 || (count < BATCHES_MAX && bench_now() < end));
	qsort(times, count, sizeof(*times), compare);
	bench_print(c->name, (double)times[count / 4] / (double)(n * (c->items ? c->items : 1)),
	            "ns", digest);
}

static bool is_wanted(const char *name, int count, char **names)
{
	for (int i = 0; i < count; i++)
		if (!strcmp(name, names[i]))
			return true;
	return count == 0;
}

int main(int argc, char **argv)
{
	uint64_t ms = argc > 1 ? strtoul(argv[1], NULL, 10) : 100;

	for (size_t i = 0; i < bench_group.count; i++)
		if (is_wanted(bench_group.cases[i].name, argc > 2 ? argc - 2 : 0, argv + 2))
			measure(&bench_group.cases[i], ms * 1000000);
	return 0;
}
