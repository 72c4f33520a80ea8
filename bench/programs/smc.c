/* Code that changes: patched in place, generated again and again into the same pages, beside its data. */
#include "bench.h"

#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE      4096
#define JIT_PAGES 16
#define JIT_INSNS 200
#define JIT_CALLS 50
#define CALLS     20
#define COUNTS    1000

static uint8_t *code;

typedef uint32_t function(uint32_t);

static bool prepare(void)
{
	if (!code)
		code = mmap(NULL, JIT_PAGES * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
		            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (code == MAP_FAILED)
		bench_fail("mmap");
	return true;
}

static uint8_t *put(uint8_t *p, const char *bytes, size_t n)
{
	memcpy(p, bytes, n);
	return p + n;
}

static uint8_t *put_32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, 4);
	return p + 4;
}

/* mov %edi,%eax; add $N,%eax; ret: N is another one each time, as with inline caches and static keys. */
static uint64_t run_patch(uint64_t n)
{
	uint8_t *p = put(code, "\x89\xf8\x05", 3);
	uint32_t sum = 0;

	put(put_32(p, 0), "\xc3", 1);
	while (n-- > 0) {
		sum = 0;
		for (uint32_t i = 0; i < CALLS; i++) {
			put_32(p, i * 3);
			BENCH_BARRIER();
			sum = ((function *)code)(sum);
		}
	}
	return sum;
}

/* A new function each time, in the page after the last one's; it runs a few times, as in a young JIT. */
static uint64_t run_jit(uint64_t n)
{
	static unsigned next;
	uint32_t sum = 0;

	while (n-- > 0) {
		uint8_t *start = code + next++ % JIT_PAGES * PAGE, *p = put(start, "\x89\xf8", 2);
		uint64_t state = 5;

		for (unsigned i = 0; i < JIT_INSNS; i++) {
			uint32_t v = bench_random(&state);

			switch (v % 3) {
			case 0: /* add $v,%eax */
				p = put_32(put(p, "\x05", 1), v);
				break;
			case 1: /* xor $v,%eax */
				p = put_32(put(p, "\x35", 1), v);
				break;
			default: /* rol $5,%eax */
				p = put(p, "\xc1\xc0\x05", 3);
			}
		}
		put(p, "\xc3", 1);
		BENCH_BARRIER();
		sum = 0;
		for (unsigned i = 0; i < JIT_CALLS; i++)
			sum = ((function *)start)(sum);
	}
	return sum;
}

/* A counter in the page of the loop that counts: incl 64(%rip); dec %edi; jnz; mov ...,%eax; ret. */
static uint64_t run_data_beside(uint64_t n)
{
	uint8_t *p = put(code, "\xff\x05", 2);
	uint32_t result = 0;

	p = put_32(p, 64 - 6);
	p = put(p, "\xff\xcf\x75\xf6", 4);
	p = put(p, "\x8b\x05", 2);
	p = put_32(p, 64 - 16);
	put(p, "\xc3", 1);
	while (n-- > 0) {
		put_32(code + 64, 0);
		BENCH_BARRIER();
		result = ((function *)code)(COUNTS);
	}
	return result;
}

static const struct bench_case cases[] = {
	{"patching", run_patch, prepare, CALLS},
	{"jit", run_jit, prepare, JIT_INSNS},
	{"data-beside-code", run_data_beside, prepare, COUNTS},
};
const struct bench_group bench_group = {"smc", cases, sizeof(cases) / sizeof(*cases)};
