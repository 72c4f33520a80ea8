/*
 * Arithmetic at privilege 3: integers with their flags, wide multiplication and division, shifts, bits,
 * strings, SSE2, x87.  Each part makes one number of many results.
 */
#include "micro.h"

#define ROUNDS 1000
#define FLAGS  0x8d5 /* CF PF AF ZF SF OF */
#define NO_AF  0x8c5 /* where AF is undefined */
#define CARRY  0x001

static uint8_t stack[8192] __attribute__((aligned(16)));
static uint64_t seed, sum;
static uint64_t result[8];

static uint64_t next(void)
{
	return seed = seed * 6364136223846793005u + 1442695040888963407u;
}

static void add(uint64_t v)
{
	sum = (sum << 7 | sum >> 57) ^ v;
}

/* The carry that comes in is a bit of b. */
#define BINARY(insn, a, b, mask)                                     \
	do {                                                         \
		uint64_t a_ = (a), b_ = (b), flags_;                 \
		__asm__("bt $5, %1; " insn " %1, %0; pushfq; pop %2" \
		        : "+r"(a_), "+r"(b_), "=&r"(flags_)          \
		        :                                            \
		        : "cc");                                     \
		add(a_);                                             \
		add(b_);                                             \
		add(flags_ &(mask));                                 \
	} while (0)

static void integers(void)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t a = next(), b = next();

		BINARY("add", a, b, FLAGS);
		BINARY("adc", a, b, FLAGS);
		BINARY("sub", a, b, FLAGS);
		BINARY("sbb", a, b, FLAGS);
		BINARY("cmp", a, b, FLAGS);
		BINARY("and", a, b, NO_AF);
		BINARY("or", a, b, NO_AF);
		BINARY("xor", a, b, NO_AF);
		BINARY("imul", a, b, CARRY);
		BINARY("xadd", a, b, FLAGS);
	}
}

static void wide(void)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t a = next(), b = next() | 1, high;

		__asm__("mul %3" : "=a"(a), "=d"(high) : "a"(a), "r"(b) : "cc");
		add(a);
		add(high);
		high %= b;
		__asm__("div %4" : "=a"(a), "=d"(high) : "a"(a), "d"(high), "r"(b) : "cc");
		add(a);
		add(high);
		__asm__("cqo; idiv %3" : "=a"(a), "=&d"(high) : "a"(a), "r"(b) : "cc");
		add(a);
		add(high);
	}
}

static void shifts(void)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t a = next(), b = next();
		uint8_t n = (uint8_t)(i % 63 + 1);

		__asm__("shl %%cl, %0" : "+r"(a) : "c"(n) : "cc");
		add(a);
		__asm__("sar %%cl, %0" : "+r"(b) : "c"(n) : "cc");
		add(b);
		__asm__("shld %%cl, %1, %0" : "+r"(a) : "r"(b), "c"(n) : "cc");
		add(a);
		__asm__("stc; rcl %%cl, %0; rcr $3, %0; ror %%cl, %0" : "+r"(a) : "c"(n) : "cc");
		add(a);
	}
}

static void bits(void)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t a = next() << i % 50, n;

		__asm__("bsf %1, %0" : "=r"(n) : "r"(a | 1ull << 63) : "cc");
		add(n);
		__asm__("bsr %1, %0" : "=r"(n) : "r"(a | 1) : "cc");
		add(n);
		__asm__("btc %1, %0; sbb %1, %1" : "+r"(a), "+r"(n) : : "cc");
		add(a);
		add(n);
		__asm__("bswap %0; cmovs %1, %0" : "+r"(a) : "r"(n) : "cc");
		add(a);
	}
}

static uint8_t from[1024], to[1024];

static void strings(void)
{
	uint64_t n = sizeof(from), at = (uintptr_t)from, other = (uintptr_t)to;

	for (unsigned i = 0; i < sizeof(from); i++)
		from[i] = (uint8_t)(next() >> 56);
	__asm__ volatile("rep movsb" : "+S"(at), "+D"(other), "+c"(n) : : "memory");
	to[700] ^= 1;
	at = (uintptr_t)from;
	other = (uintptr_t)to;
	n = sizeof(from);
	__asm__ volatile("repe cmpsb" : "+S"(at), "+D"(other), "+c"(n) : : "cc", "memory");
	add(n);
	at = (uintptr_t)from;
	n = sizeof(from);
	__asm__ volatile("repne scasb" : "+D"(at), "+c"(n) : "a"(from[500]) : "cc", "memory");
	add(n);
	n = sizeof(to) / 8;
	other = (uintptr_t)to;
	__asm__ volatile("rep stosq" : "+D"(other), "+c"(n) : "a"(sum) : "memory");
	for (unsigned i = 0; i < sizeof(to); i++)
		add(to[i] + i);
}

/* The compiler uses no vector registers here, so they need no saving. */
static void vectors(void)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t a[2] = {next(), next()}, b[2] = {next(), next()}, out[2];
		uint64_t n = next() >> 12;

		__asm__("movdqu %1, %%xmm0; movdqu %2, %%xmm1; movdqa %%xmm0, %%xmm2;"
		        "pmuludq %%xmm1, %%xmm0; paddq %%xmm1, %%xmm2; pshufd $0x1b, %%xmm0, %%xmm3;"
		        "pxor %%xmm2, %%xmm3; punpcklbw %%xmm1, %%xmm0; psubusw %%xmm0, %%xmm3;"
		        "pmaxub %%xmm2, %%xmm3; movdqu %%xmm3, %0"
		        : "=m"(out)
		        : "m"(a), "m"(b));
		add(out[0]);
		add(out[1]);
		__asm__("cvtsi2sd %1, %%xmm0; sqrtsd %%xmm0, %%xmm1; divsd %%xmm1, %%xmm0;"
		        "mulsd %%xmm1, %%xmm0; addsd %%xmm1, %%xmm0; movq %%xmm0, %0"
		        : "=r"(out[0])
		        : "r"(n));
		add(out[0]);
	}
}

static void x87(void)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t n = next() >> 8, out;

		__asm__("fildll %1; fld %%st(0); fsqrt; fmul %%st(1), %%st; fldpi; fsubrp; fistpll %0;"
		        "fstp %%st(0)"
		        : "=m"(out)
		        : "m"(n));
		add(out);
	}
}

static void (*const part[])(void) = {integers, wide, shifts, bits, strings, vectors, x87};
static const char *const name[] = {"integers", "wide",    "shifts", "bits",
                                   "strings",  "vectors", "x87"};
#define PARTS (sizeof(part) / sizeof(part[0]))

static void work(void)
{
	for (unsigned i = 0; i < PARTS; i++) {
		seed = i;
		sum = 0;
		part[i]();
		result[i] = sum;
	}
	__asm__ volatile("int3");
}

void on_event(struct event *e)
{
	print_number("unexpected event", e->vector);
	print_number("at", e->rip);
	end(1);
}

void second(void)
{
}

int main(void)
{
	user(work, stack + sizeof(stack));
	for (unsigned i = 0; i < PARTS; i++)
		print_number(name[i], result[i]);
	return 0;
}
