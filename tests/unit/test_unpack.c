/* The LZ4 unpacker: the format's cases, and that damaged data stays inside its buffers. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <zlib.h>
#include <cmocka.h>

#include "dev/firmware/blob.h"
#include "image/unpack.h"

/* A legacy frame with one block. */
static struct blob frame(const void *block, size_t len)
{
	struct blob b = {};

	blob_u32(&b, 0x184c2102);
	blob_u32(&b, len);
	blob_put(&b, block, len);
	return b;
}

static void expect(const void *block, size_t len, const char *text)
{
	struct blob b = frame(block, len);
	size_t want = strlen(text);
	uint8_t out[512];

	blob_u32(&b, 12345); /* what a bzImage has behind the stream */
	assert_int_equal(unpack_lz4(b.data, b.len, out, sizeof(out)), want);
	assert_memory_equal(out, text, want);
	/* No room for the last byte: refused, nothing written behind. */
	out[want - 1] = 0xee;
	assert_true(unpack_lz4(b.data, b.len, out, want - 1) < 0);
	assert_int_equal(out[want - 1], 0xee);
	blob_free(&b);
}

static void test_literals(void **state)
{
	expect("\x50hello", 6, "hello");
	/* 15 + 5 literals */
	expect("\xf0\x05"
	       "abcdefghijklmnopqrst",
	       22, "abcdefghijklmnopqrst");
}

static void test_match(void **state)
{
	/* "abcd", then 8 bytes from 4 back, which overlap; then the last literals */
	expect("\x44"
	       "abcd\x04\x00\x10!",
	       9, "abcdabcdabcd!");
	/* a run: 1 byte back, 4 + 15 + 3 bytes */
	expect("\x1f"
	       "x\x01\x00\x03\x10y",
	       7, "xxxxxxxxxxxxxxxxxxxxxxxy");
}

static void bad(const void *block, size_t len)
{
	struct blob b = frame(block, len);
	uint8_t out[64];

	assert_true(unpack_lz4(b.data, b.len, out, sizeof(out)) < 0);
	blob_free(&b);
}

static void test_damaged(void **state)
{
	bad("\x44"
	    "abcd\x05\x00",
	    7); /* before the beginning */
	bad("\x44"
	    "abcd\x00\x00",
	    7); /* offset 0 */
	bad("\x44"
	    "abcd\x04",
	    6); /* half an offset */
	bad("\x90"
	    "abcd",
	    5);                 /* fewer literals than promised */
	bad("\xf0\xff\xff", 3); /* a length without end */
}

static void test_gzip(void **state)
{
	uint8_t packed[256], text[] = "text text text text";
	z_stream z = {.next_in = text,
	              .avail_in = sizeof(text),
	              .next_out = packed,
	              .avail_out = sizeof(packed)};
	uint8_t *out;
	size_t size;

	assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, 0), Z_OK);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	assert_string_equal(unpack_format(packed, z.total_out), "gzip");
	assert_int_equal(unpack(packed, z.total_out + 8, 1024, &out, &size, NULL), 0);
	assert_int_equal(size, sizeof(text));
	assert_memory_equal(out, text, size);
	free(out);
	assert_true(unpack(packed, z.total_out / 2, 1024, &out, &size, NULL) < 0);
	deflateEnd(&z);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_literals),
		cmocka_unit_test(test_match),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_gzip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
