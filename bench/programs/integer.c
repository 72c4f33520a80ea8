/* Integer work as compilers make it: sorting, hashing, interpreting, recursion, indirect calls, bits. */
#include "bench.h"

#include <stdbool.h>
#include <string.h>

#define SORT_COUNT 4096
#define HASH_SLOTS 16384
#define HASH_KEYS  8192
#define TREE_NODES 4096
#define CALLS      4096
#define SHA_BYTES  4096
#define TEXT_BYTES 8192
#define CRC_BYTES  8192
#define VM_ROUNDS  500
#define FIBONACCI  18
#define FIB_CALLS  8361 /* how often fibonacci(FIBONACCI) calls itself, and once */
#define SEED       42

static uint32_t numbers[SORT_COUNT];

static void quicksort(uint32_t *a, long n)
{
	while (n > 1) {
		uint32_t pivot = a[(n - 1) / 2];
		long i = -1, j = n;

		for (;;) {
			do
				i++;
			while (a[i] < pivot);
			do
				j--;
			while (a[j] > pivot);
			if (i >= j)
				break;
			uint32_t t = a[i];
			a[i] = a[j];
			a[j] = t;
		}
		quicksort(a, j + 1);
		a += j + 1;
		n -= j + 1;
	}
}

static uint64_t run_sort(uint64_t n)
{
	while (n-- > 0) {
		uint64_t state = SEED;

		for (size_t i = 0; i < SORT_COUNT; i++)
			numbers[i] = bench_random(&state);
		quicksort(numbers, SORT_COUNT);
	}
	return bench_digest(numbers, sizeof(numbers));
}

static struct slot {
	uint32_t key, value;
} slots[HASH_SLOTS];

static struct slot *find_slot(uint32_t key)
{
	uint32_t i = (key * 2654435761u) >> 18;

	while (slots[i].key && slots[i].key != key)
		i = (i + 1) % HASH_SLOTS;
	return &slots[i];
}

static uint64_t run_hash(uint64_t n)
{
	uint64_t sum = 0;

	while (n-- > 0) {
		uint64_t state = SEED;

		memset(slots, 0, sizeof(slots));
		sum = 0;
		for (size_t i = 0; i < HASH_KEYS; i++) {
			uint32_t key = bench_random(&state) % 100000 + 1;
			struct slot *s = find_slot(key);

			s->key = key;
			s->value++;
		}
		for (uint32_t key = 1; key <= HASH_KEYS; key++)
			sum = sum * 3 + find_slot(key * 7)->value;
	}
	return sum;
}

/* A machine of eight registers; its program computes a remainder by subtraction and counts. */
enum op { OP_SET, OP_ADD, OP_SUB, OP_LESS, OP_MOVE, OP_JUMP_IF, OP_XOR, OP_LOOP, OP_END };
struct insn {
	uint8_t op, a, b, c;
};

static uint64_t interpret(const struct insn *code)
{
	uint64_t r[8] = {0};

	for (const struct insn *i = code;; i++) {
		switch ((enum op)i->op) {
		case OP_SET:
			r[i->a] = (uint64_t)i->b << i->c;
			break;
		case OP_ADD:
			r[i->a] = r[i->b] + r[i->c];
			break;
		case OP_SUB:
			r[i->a] = r[i->b] - r[i->c];
			break;
		case OP_LESS:
			r[i->a] = r[i->b] < r[i->c];
			break;
		case OP_MOVE:
			r[i->a] = r[i->b];
			break;
		case OP_JUMP_IF:
			if (r[i->a])
				i += (int8_t)i->b;
			break;
		case OP_XOR:
			r[i->a] = r[i->b] ^ (r[i->c] << 1);
			break;
		case OP_LOOP:
			if (--r[i->a])
				i += (int8_t)i->b;
			break;
		case OP_END:
			return r[i->a];
		}
	}
}

static uint64_t run_interpreter(uint64_t n)
{
	static const struct insn code[] = {
		{OP_SET, 0, 125, 2}, /* VM_ROUNDS */
		{OP_SET, 1, 1, 0},        {OP_SET, 2, 77, 1},
		{OP_SET, 3, 0, 0}, /* one, divisor, sum */
		{OP_ADD, 4, 0, 0},        {OP_MOVE, 5, 4, 0},
		{OP_LESS, 6, 5, 2}, /* loop: */
		{OP_JUMP_IF, 6, 4, 0},    {OP_SUB, 5, 5, 2},
		{OP_LESS, 6, 5, 2},       {OP_LESS, 7, 6, 1},
		{OP_JUMP_IF, 7, 0xfc, 0}, {OP_XOR, 3, 5, 3},
		{OP_LOOP, 0, 0xf6, 0},    {OP_END, 3, 0, 0},
	};
	uint64_t result = 0;

	while (n-- > 0) {
		BENCH_BARRIER();
		result = interpret(code);
	}
	return result;
}

__attribute__((noinline, noclone, optimize("no-optimize-sibling-calls"))) static uint64_t fibonacci(
	unsigned n)
{
	BENCH_BARRIER(); /* otherwise the compiler unrolls the recursion */
	return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static uint64_t run_recursion(uint64_t n)
{
	uint64_t result = 0;

	while (n-- > 0)
		result = fibonacci(FIBONACCI);
	return result;
}

#define TARGET(name, expression)                                   \
	__attribute__((noinline)) static uint64_t name(uint64_t x) \
	{                                                          \
		return expression;                                 \
	}
TARGET(target_add, x + 1)
TARGET(target_xor, x ^ 0x5555)
TARGET(target_rotate, (x << 7) | (x >> 57))
TARGET(target_multiply, x * 3)
TARGET(target_invert, ~x)
TARGET(target_subtract, x - 77)
TARGET(target_shift, x ^ (x >> 11))
TARGET(target_swap, __builtin_bswap64(x))

static uint64_t (*const targets[8])(uint64_t) = {target_add,      target_xor,    target_rotate,
                                                 target_multiply, target_invert, target_subtract,
                                                 target_shift,    target_swap};

static uint64_t run_indirect(uint64_t n)
{
	uint64_t x = 0;

	while (n-- > 0) {
		uint64_t state = SEED;

		x = 1;
		for (size_t i = 0; i < CALLS; i++)
			x = targets[bench_random(&state) % 8](x);
	}
	return x;
}

static uint32_t rotate(uint32_t x, unsigned n)
{
	return (x >> n) | (x << (32 - n));
}

/* SHA-256's compression (FIPS 180-4, 6.2.2), with made-up round constants: the work is the same. */
static void sha_block(uint32_t h[8], const uint8_t *p)
{
	uint32_t w[64], v[8];

	for (size_t i = 0; i < 16; i++) {
		memcpy(&w[i], p + 4 * i, 4);
		w[i] = __builtin_bswap32(w[i]);
	}
	for (size_t i = 16; i < 64; i++)
		w[i] = w[i - 16] + w[i - 7] +
		       (rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ (w[i - 15] >> 3)) +
		       (rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ (w[i - 2] >> 10));
	memcpy(v, h, sizeof(v));
	for (uint32_t i = 0; i < 64; i++) {
		uint32_t t1 = v[7] + (rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25)) +
		              ((v[4] & v[5]) ^ (~v[4] & v[6])) + i * 0x428a2f98 + w[i];
		uint32_t t2 = (rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22)) +
		              ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));

		memmove(v + 1, v, 7 * sizeof(*v));
		v[4] += t1;
		v[0] = t1 + t2;
	}
	for (size_t i = 0; i < 8; i++)
		h[i] += v[i];
}

static uint8_t bytes[SHA_BYTES];

static uint64_t run_sha(uint64_t n)
{
	uint32_t h[8];

	while (n-- > 0) {
		for (uint32_t i = 0; i < 8; i++)
			h[i] = 0x6a09e667 * (i + 1);
		for (size_t i = 0; i < SHA_BYTES; i += 64)
			sha_block(h, bytes + i);
	}
	return bench_digest(h, sizeof(h));
}

/* A binary tree without balance: pointer after pointer, with comparisons in between. */
static struct node {
	struct node *child[2];
	uint32_t key;
} nodes[TREE_NODES];

static bool prepare_tree(void)
{
	uint64_t state = SEED;

	for (size_t i = 0; i < TREE_NODES; i++) {
		struct node **at = &nodes[0].child[1];

		nodes[i].key = bench_random(&state);
		while (i > 0 && *at)
			at = &(*at)->child[nodes[i].key > (*at)->key];
		if (i > 0)
			*at = &nodes[i];
	}
	return true;
}

static uint64_t run_tree(uint64_t n)
{
	uint64_t found = 0;

	while (n-- > 0) {
		uint64_t state = SEED;

		found = 0;
		for (size_t i = 0; i < TREE_NODES; i++) {
			uint32_t key = bench_random(&state);
			const struct node *at = nodes[0].child[1];

			while (at && at->key != key)
				at = at->child[key > at->key];
			found += at != NULL;
		}
	}
	return found;
}

static char text[TEXT_BYTES];

static bool prepare_text(void)
{
	uint64_t state = SEED;

	for (size_t i = 0; i < TEXT_BYTES; i++)
		text[i] = "etaoin shrdlu\n"[bench_random(&state) % 14];
	return true;
}

/* Counts words and their lengths, as wc and parsers do: a byte at a time. */
static uint64_t run_words(uint64_t n)
{
	uint32_t lengths[64];

	while (n-- > 0) {
		unsigned length = 0;

		memset(lengths, 0, sizeof(lengths));
		for (const char *p = text; p < text + TEXT_BYTES; p++) {
			if (*p != ' ' && *p != '\n') {
				length++;
			} else {
				lengths[length % 64]++;
				length = 0;
			}
		}
		BENCH_BARRIER();
	}
	return bench_digest(lengths, sizeof(lengths));
}

static uint32_t crc_table[256];

static bool prepare_crc(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (unsigned bit = 0; bit < 8; bit++)
			c = c & 1 ? (c >> 1) ^ 0xedb88320 : c >> 1;
		crc_table[i] = c;
	}
	return prepare_text();
}

static uint64_t run_crc(uint64_t n)
{
	uint32_t c = 0;

	while (n-- > 0) {
		c = ~0u;
		for (size_t i = 0; i < CRC_BYTES; i++)
			c = crc_table[(c ^ (uint8_t)text[i]) & 255] ^ (c >> 8);
		BENCH_BARRIER();
	}
	return c;
}

static const struct bench_case cases[] = {
	{"sort", run_sort, NULL, SORT_COUNT},
	{"hash", run_hash, NULL, 2 * HASH_KEYS},
	{"interpreter", run_interpreter, NULL, VM_ROUNDS},
	{"recursion", run_recursion, NULL, FIB_CALLS},
	{"indirect-calls", run_indirect, NULL, CALLS},
	{"sha", run_sha, NULL, SHA_BYTES},
	{"tree", run_tree, prepare_tree, TREE_NODES},
	{"words", run_words, prepare_text, TEXT_BYTES},
	{"crc", run_crc, prepare_crc, CRC_BYTES},
};
const struct bench_group bench_group = {"integer", cases, sizeof(cases) / sizeof(*cases)};
