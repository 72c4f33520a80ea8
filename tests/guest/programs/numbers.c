/*
 * A program whose output tells of each wrong bit of x87, SSE and AVX in a whole system: the C library's
 * mathematics and its string functions (which choose AVX2 where CPUID shows it), conversions of numbers
 * and text, rounding modes, floating-point signals, threads that compute while they are preempted, and code
 * that changes.
 * It must print the same in a guest as on the host.
 */
#include <complex.h>
#include <fenv.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define THREADS 4
#define BUFFER  200000

static uint64_t digest = 0xcbf29ce484222325;
static uint32_t state = 12345;
static sigjmp_buf escape;
static volatile int code;

static void mix(const void *p, size_t n)
{
	for (const uint8_t *b = p; n-- > 0; b++)
		digest = (digest ^ *b) * 0x100000001b3;
}

static void mix_double(double v)
{
	mix(&v, sizeof(v));
}

static void mix_long(long double v)
{
	mix(&v, 10); /* the rest is padding */
}

static uint32_t number(void)
{
	state = state * 1664525 + 1013904223;
	return state >> 8;
}

static void mathematics(void)
{
	char text[100];

	for (unsigned i = 0; i < 3000; i++) {
		double x = number() / 1000.0 - 5000, y = number() / 77777.0;
		float f = (float)x;
		double complex z = cexp(x / 1000 + I * y);

		mix_double(sin(x) + cos(y) * tan(x));
		mix_double(pow(fabs(x), y / 100) + exp(y / 10));
		mix_double(log(fabs(x) + 1) + atan2(x, y));
		mix_double(fmod(x, y + 1) + cbrt(x) + tgamma(fmod(y, 20) + 0.5));
		mix_double(floor(x) + rint(y) + (double)llrint(x * y));
		mix_double(sinf(f) * sqrtf(fabsf(f)) + expf(f / 9000));
		mix_double(creal(z) + cimag(z));
		mix_long(sinl(x / 3) + expl(y / 50) * logl(y + 2) + sqrtl(y) + powl(y + 1, 0.3L));
		mix(text, (size_t)snprintf(text, sizeof(text), "%.15g %Lg %a %.3f", x * y,
		                           (long double)y / 7, y, f));
		mix_double(strtod(text, NULL));
	}
}

static void strings(void)
{
	char *b = calloc(1, BUFFER);

	for (unsigned i = 0; i < 3000; i++) {
		unsigned n = number() % 5000 + 1;
		const char *found;
		int order;

		for (unsigned k = 0; k < 20; k++)
			b[number() % n] = (char)(1 + number() % 255);
		memset(b + 5000, (int)i + 1, n);
		memmove(b + 6000 + number() % 64, b + 5000, n);
		b[5000 + n] = 0;
		mix_double((double)strlen(b + 5000));
		found = memchr(b, (int)(number() % 255), n);
		mix_double(found != NULL ? (double)(found - b) : -1);
		order = memcmp(b + 100, b + 5100, n);
		mix_double(order < 0 ? -1 : order > 0);
		memcpy(b + 100000, b + 5000, strlen(b + 5000) + 1);
		mix(b + 100000, strlen(b + 100000));
	}
	free(b);
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	code = info->si_code;
	siglongjmp(escape, 1);
}

static void signals(void)
{
	const struct sigaction sa = {.sa_sigaction = on_signal,
	                             .sa_flags = SA_SIGINFO | SA_NODEFER};
	volatile double zero = 0, one = 1;
	volatile long double long_zero = 0, long_one = 1;
	volatile int none = 0;

	sigaction(SIGFPE, &sa, NULL);
	for (volatile int i = 0; i < 3; i++) {
		feclearexcept(FE_ALL_EXCEPT);
		feenableexcept(FE_DIVBYZERO);
		code = 0;
		if (sigsetjmp(escape, 1) == 0) {
			if (i == 0)
				one = one / zero + one;
			else if (i == 1)
				long_one = long_one / long_zero + 1;
			else
				none = 5 / none;
		}
		printf("signal %d: code %d\n", i, code);
	}
	fedisableexcept(FE_ALL_EXCEPT);
}

static void rounding(void)
{
	static const int mode[] = {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};
	volatile double one = 1;
	volatile long double long_one = 1;

	for (unsigned i = 0; i < 4; i++) {
		fesetround(mode[i]);
		mix_double(one / 3);
		mix_double((float)(one / 7));
		mix_long(long_one / 7);
		feclearexcept(FE_ALL_EXCEPT);
		mix_double(one / 5);
		mix_double(fetestexcept(FE_ALL_EXCEPT));
	}
	fesetround(FE_TONEAREST);
}

struct sum {
	pthread_t thread;
	double step, value;
};

static void *add_up(void *arg)
{
	struct sum *s = arg;

	for (int i = 1; i < 200000; i++)
		s->value += sin(i * s->step) / sqrt(i);
	return NULL;
}

static void threads(void)
{
	struct sum s[THREADS];

	for (unsigned i = 0; i < THREADS; i++) {
		s[i] = (struct sum){.step = 0.001 * (i + 1)};
		if (pthread_create(&s[i].thread, NULL, add_up, &s[i]) != 0)
			exit(1);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(s[i].thread, NULL);
		printf("thread %u: %.17g\n", i, s[i].value);
	}
}

typedef uint32_t function(uint32_t);

/* lea N(%rdi),%eax; rol $5,%eax; ret */
static function *add_function(uint8_t *at, uint32_t n)
{
	static const uint8_t template[] = {0x8d, 0x87, 0, 0, 0, 0, 0xc1, 0xc0, 5, 0xc3};

	memcpy(at, template, sizeof(template));
	memcpy(at + 2, &n, sizeof(n));
	return (function *)(uintptr_t)at;
}

/*
 * Code that changes: to and fro, among more versions than anyone remembers, one function beside another
 * that stays, and by its own hand.  movl $N,3(%rip); lea (%rdi),%eax; add $0,%eax; ret
 */
static void rewritten(void)
{
	static const uint8_t own[] = {0xc7, 0x05, 3,    0,    0, 0, 0, 0, 0,
	                              0,    0x8d, 0x07, 0x05, 0, 0, 0, 0, 0xc3};
	uint8_t *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC,
	                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t sum = 1;

	if (page == MAP_FAILED)
		exit(1);
	for (uint32_t i = 0; i < 4000; i++) {
		function *stays = add_function(page + 512, 77), *first = add_function(page, i & 1);

		sum = stays(first(sum));
		add_function(page + 4096, i % 50 * 3);
		for (unsigned k = 0; k < i % 40; k++)
			sum = stays(((function *)(uintptr_t)(page + 4096))(sum));
		memcpy(page + 64, own, sizeof(own));
		memcpy(page + 64 + 6, &i, sizeof(i));
		sum ^= ((function *)(uintptr_t)(page + 64))(sum);
		page[4096 + 2048] = (uint8_t)sum;
		mix(&sum, sizeof(sum));
	}
	munmap(page, 8192);
}

int main(void)
{
	rewritten();
	printf("rewritten %016llx\n", (unsigned long long)digest);
	mathematics();
	printf("mathematics %016llx\n", (unsigned long long)digest);
	strings();
	printf("strings %016llx\n", (unsigned long long)digest);
	rounding();
	printf("rounding %016llx\n", (unsigned long long)digest);
	signals();
	threads();
	return 0;
}
