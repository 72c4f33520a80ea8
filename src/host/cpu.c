/*
 * The processor: CPUID once, and the TSC's frequency.
 */
#include "host/host.h"

#include <cpuid.h>
#include <pthread.h>
#include <string.h>
#include <sys/auxv.h>
#include <time.h>
#include <x86intrin.h>

#define HWCAP2_FSGSBASE 2
#define XCR0_AVX        0x6ull
#define XCR0_AVX512     0xe6ull
#define TSC_TRIES       50
#define TSC_INTERVAL_NS 25000000

static struct host_cpu cpu;
static pthread_once_t cpu_once = PTHREAD_ONCE_INIT;
static uint64_t tsc_khz;
static pthread_once_t tsc_once = PTHREAD_ONCE_INIT;

static uint64_t read_xcr0(void)
{
	uint32_t lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (uint64_t)hi << 32 | lo;
}

static void put_words(char *out, uint32_t a, uint32_t b, uint32_t c)
{
	memcpy(out, &a, 4);
	memcpy(out + 4, &b, 4);
	memcpy(out + 8, &c, 4);
	out[12] = '\0';
}

static void read_basic(struct host_cpu *c)
{
	uint32_t a, b, cx, d, max;

	__cpuid(0, max, b, cx, d);
	put_words(c->vendor, b, d, cx);
	__cpuid(1, a, b, c->f1_ecx, c->f1_edx);
	c->stepping = a & 15;
	c->family = a >> 8 & 15;
	c->model = (a >> 4 & 15) | (a >> 12 & 0xf0);
	if (c->family == 15)
		c->family += a >> 20 & 0xff;
	if (max >= 7)
		__cpuid_count(7, 0, a, c->f7_ebx, c->f7_ecx, c->f7_edx);
	if (c->f1_ecx & bit_OSXSAVE)
		c->xcr0 = read_xcr0();
	if (max >= 0xd && c->xcr0)
		__cpuid_count(0xd, 1, c->fd1_eax, b, cx, d);
	c->is_guest = c->f1_ecx >> 31;
	if (c->is_guest) {
		__cpuid(0x40000000, a, b, cx, d);
		put_words(c->hypervisor, b, cx, d);
	}
}

static void read_extended(struct host_cpu *c)
{
	uint32_t max, a, b, cx, d, word[12];

	c->phys_bits = 36;
	__cpuid(0x80000000, max, b, cx, d);
	if (max >= 0x80000001)
		__cpuid(0x80000001, a, b, c->fe1_ecx, c->fe1_edx);
	if (max >= 0x80000004) {
		for (unsigned i = 0; i < 3; i++)
			__cpuid(0x80000002 + i, word[4 * i], word[4 * i + 1], word[4 * i + 2],
			        word[4 * i + 3]);
		memcpy(c->brand, word, sizeof(word));
	}
	if (max >= 0x80000007) {
		__cpuid(0x80000007, a, b, cx, d);
		c->tsc_invariant = d >> 8 & 1;
	}
	if (max >= 0x80000008) {
		__cpuid(0x80000008, a, b, cx, d);
		c->phys_bits = a & 0xff;
	}
}

static void read_cpu(void)
{
	struct host_cpu *c = &cpu;

	read_basic(c);
	read_extended(c);
	c->avx = c->f1_ecx & bit_AVX && (c->xcr0 & XCR0_AVX) == XCR0_AVX;
	c->avx2 = c->avx && c->f7_ebx & bit_AVX2;
	c->fma = c->avx && c->f1_ecx & bit_FMA;
	c->f16c = c->avx && c->f1_ecx & bit_F16C;
	c->avx512 = c->f7_ebx & bit_AVX512F && (c->xcr0 & XCR0_AVX512) == XCR0_AVX512;
	c->bmi = c->f7_ebx & bit_BMI && c->f7_ebx & bit_BMI2;
	c->aes = c->f1_ecx & bit_AES;
	c->sha = c->f7_ebx & bit_SHA;
	c->fsgsbase = getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE;
	c->vmx = c->f1_ecx >> 5 & 1;
	c->svm = c->fe1_ecx >> 2 & 1;
}

const struct host_cpu *host_cpu(void)
{
	pthread_once(&cpu_once, read_cpu);
	return &cpu;
}

/* TSC and clock at one moment: of many tries the one that was disturbed least. */
static void sample(uint64_t *tsc, uint64_t *ns)
{
	uint64_t best = UINT64_MAX;

	for (unsigned i = 0; i < TSC_TRIES; i++) {
		struct timespec ts;
		uint64_t before, after;

		_mm_lfence();
		before = __rdtsc();
		clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
		_mm_lfence();
		after = __rdtsc();
		if (after - before >= best)
			continue;
		best = after - before;
		*tsc = before + best / 2;
		*ns = (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
	}
}

static void measure_tsc(void)
{
	const struct timespec interval = {.tv_nsec = TSC_INTERVAL_NS};
	uint64_t tsc0 = 0, tsc1 = 0, ns0 = 0, ns1 = 0;

	sample(&tsc0, &ns0);
	nanosleep(&interval, NULL);
	sample(&tsc1, &ns1);
	if (ns1 > ns0)
		tsc_khz = (uint64_t)((unsigned __int128)(tsc1 - tsc0) * 1000000 / (ns1 - ns0));
}

uint64_t host_tsc_khz(void)
{
	pthread_once(&tsc_once, measure_tsc);
	return tsc_khz;
}
