/* Vector work: plain loops that the compiler vectorizes for AVX2, AES-NI, carry-less products, ChaCha20. */
#include "bench.h"

#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#define FLOATS    4096
#define BYTES     8192
#define AES_BYTES 8192
#define CHACHA    8192

static float left[FLOATS], right[FLOATS];
static uint8_t data[BYTES], result[BYTES];

static void fill(void)
{
	uint64_t state = 7;

	for (size_t i = 0; i < FLOATS; i++) {
		left[i] = (float)(bench_random(&state) % 1000) / 8;
		right[i] = (float)(bench_random(&state) % 1000) / 16;
	}
	for (size_t i = 0; i < BYTES; i++)
		data[i] = (uint8_t)(bench_random(&state) % 255 + 1);
}

static bool prepare_avx2(void)
{
	fill();
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool prepare_aes(void)
{
	fill();
	return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul") &&
	       __builtin_cpu_supports("ssse3");
}

static bool prepare_sse2(void)
{
	fill();
	return true;
}

__attribute__((target("avx2,fma"), optimize("O3,fast-math"), noipa)) static float dot(void)
{
	float sum = 0;

	for (size_t i = 0; i < FLOATS; i++)
		sum += left[i] * right[i];
	return sum;
}

static uint64_t run_dot(uint64_t n)
{
	float sum = 0;

	while (n-- > 0) {
		sum = dot();
		BENCH_BARRIER();
	}
	return bench_digest(&sum, sizeof(sum));
}

/* Integers of several sizes: saturation, comparison, widening. */
__attribute__((target("avx2"), optimize("O3"), noipa)) static void bend(void)
{
	for (size_t i = 0; i < BYTES; i++) {
		unsigned v = data[i] * 3u + 40;

		v = v > 255 ? 255 : v;
		result[i] = (uint8_t)(v > 90 ? v - data[i] / 2 : v);
	}
}

static uint64_t run_integers(uint64_t n)
{
	while (n-- > 0) {
		bend();
		BENCH_BARRIER();
	}
	return bench_digest(result, BYTES);
}

/* As strlen and memchr work: compare, mask, find the first bit; the loop depends on the mask. */
__attribute__((noipa)) static uint64_t count_byte(uint8_t wanted)
{
	const __m128i w = _mm_set1_epi8((char)wanted);
	uint64_t sum = 0;

	for (size_t i = 0; i < BYTES; i += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(data + i));

		for (unsigned mask = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, w)); mask;
		     mask &= mask - 1)
			sum += i + (unsigned)__builtin_ctz(mask);
	}
	return sum;
}

static uint64_t run_search(uint64_t n)
{
	uint64_t sum = 0;

	while (n-- > 0) {
		sum = count_byte(17);
		BENCH_BARRIER();
	}
	return sum;
}

/* AES-128 in counter mode, four blocks at a time, with any eleven round keys. */
__attribute__((target("aes,ssse3"), noipa)) static void aes_ctr(void)
{
	__m128i key[11], counter = _mm_set_epi64x(1, 2), one = _mm_set_epi64x(0, 1);

	for (size_t i = 0; i < 11; i++)
		key[i] = _mm_loadu_si128((const __m128i *)(data + 16 * i));
	for (size_t i = 0; i < AES_BYTES; i += 64) {
		__m128i b[4];

		for (size_t k = 0; k < 4; k++) {
			b[k] = _mm_xor_si128(counter, key[0]);
			counter = _mm_add_epi64(counter, one);
		}
		for (size_t round = 1; round < 10; round++)
			for (size_t k = 0; k < 4; k++)
				b[k] = _mm_aesenc_si128(b[k], key[round]);
		for (size_t k = 0; k < 4; k++) {
			const __m128i *in = (const __m128i *)(data + i + 16 * k);

			b[k] = _mm_aesenclast_si128(b[k], key[10]);
			_mm_storeu_si128((__m128i *)(result + i + 16 * k),
			                 _mm_xor_si128(b[k], _mm_loadu_si128(in)));
		}
	}
}

static uint64_t run_aes(uint64_t n)
{
	while (n-- > 0) {
		aes_ctr();
		BENCH_BARRIER();
	}
	return bench_digest(result, AES_BYTES);
}

/* Carry-less products with byte swaps, the heart of GCM's authentication. */
__attribute__((target("pclmul,ssse3"), noipa)) static __m128i products(void)
{
	const __m128i swap = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
	__m128i h = _mm_loadu_si128((const __m128i *)data), sum = _mm_setzero_si128();

	for (size_t i = 0; i < BYTES; i += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(data + i));
		__m128i a = _mm_xor_si128(sum, _mm_shuffle_epi8(v, swap));
		__m128i low = _mm_clmulepi64_si128(a, h, 0x00),
			high = _mm_clmulepi64_si128(a, h, 0x11);
		__m128i middle = _mm_xor_si128(_mm_clmulepi64_si128(a, h, 0x10),
		                               _mm_clmulepi64_si128(a, h, 0x01));

		sum = _mm_xor_si128(_mm_xor_si128(low, high), _mm_slli_si128(middle, 8));
	}
	return sum;
}

static uint64_t run_clmul(uint64_t n)
{
	__m128i sum = _mm_setzero_si128();

	while (n-- > 0) {
		sum = products();
		BENCH_BARRIER();
	}
	return bench_digest(&sum, sizeof(sum));
}

/* ChaCha20's block function (RFC 8439, 2.3), a row of the state in a vector. */
typedef uint32_t row __attribute__((vector_size(16)));

#define ROTATE(v, n) (((v) << (n)) | ((v) >> (32 - (n))))

static inline void quarters(row *a, row *b, row *c, row *d)
{
	*a += *b, *d ^= *a, *d = ROTATE(*d, 16);
	*c += *d, *b ^= *c, *b = ROTATE(*b, 12);
	*a += *b, *d ^= *a, *d = ROTATE(*d, 8);
	*c += *d, *b ^= *c, *b = ROTATE(*b, 7);
}

__attribute__((noipa)) static void chacha(void)
{
	row state[4] = {
		{0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}, {1, 2, 3, 4}, {5, 6, 7, 8}, {0}};

	for (size_t i = 0; i < CHACHA; i += 64) {
		row a = state[0], b = state[1], c = state[2], d = state[3], out[4];

		for (unsigned round = 0; round < 10; round++) {
			quarters(&a, &b, &c, &d);
			b = __builtin_shuffle(b, (row){1, 2, 3, 0});
			c = __builtin_shuffle(c, (row){2, 3, 0, 1});
			d = __builtin_shuffle(d, (row){3, 0, 1, 2});
			quarters(&a, &b, &c, &d);
			b = __builtin_shuffle(b, (row){3, 0, 1, 2});
			c = __builtin_shuffle(c, (row){2, 3, 0, 1});
			d = __builtin_shuffle(d, (row){1, 2, 3, 0});
		}
		out[0] = a + state[0], out[1] = b + state[1];
		out[2] = c + state[2], out[3] = d + state[3];
		memcpy(result + i, out, 64);
		state[3][0]++;
	}
}

static uint64_t run_chacha(uint64_t n)
{
	while (n-- > 0) {
		chacha();
		BENCH_BARRIER();
	}
	return bench_digest(result, CHACHA);
}

static const struct bench_case cases[] = {
	{"dot-product", run_dot, prepare_avx2, FLOATS},
	{"integers", run_integers, prepare_avx2, BYTES},
	{"search", run_search, prepare_sse2, BYTES},
	{"aes-ctr", run_aes, prepare_aes, AES_BYTES},
	{"clmul", run_clmul, prepare_aes, BYTES},
	{"chacha20", run_chacha, prepare_sse2, CHACHA},
};
const struct bench_group bench_group = {"simd", cases, sizeof(cases) / sizeof(*cases)};
