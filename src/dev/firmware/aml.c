#include "dev/firmware/aml.h"

#include <assert.h>
#include <string.h>

enum { /* 20.3 */
       OP_ZERO = 0x00,
       OP_ONE = 0x01,
       OP_NAME = 0x08,
       OP_BYTE = 0x0a,
       OP_WORD = 0x0b,
       OP_DWORD = 0x0c,
       OP_STRING = 0x0d,
       OP_QWORD = 0x0e,
       OP_SCOPE = 0x10,
       OP_BUFFER = 0x11,
       OP_PACKAGE = 0x12,
       OP_DUAL_NAME = 0x2e,
       OP_MULTI_NAME = 0x2f,
       OP_EXT = 0x5b,
       OP_EXT_DEVICE = 0x82,
};

/* A name segment has four characters; short ones end in '_'. */
static void put_segment(struct blob *b, const char *s, size_t len)
{
	char seg[4] = {'_', '_', '_', '_'};

	assert(len >= 1 && len <= 4);
	memcpy(seg, s, len);
	blob_put(b, seg, sizeof(seg));
}

static void put_path(struct blob *b, const char *path)
{
	unsigned n = 1;

	if (*path == '\\')
		blob_u8(b, *path++);
	for (const char *p = path; *p; p++)
		n += *p == '.';
	if (n == 2) {
		blob_u8(b, OP_DUAL_NAME);
	} else if (n > 2) {
		blob_u8(b, OP_MULTI_NAME);
		blob_u8(b, n);
	}
	while (n--) {
		size_t len = strcspn(path, ".");

		put_segment(b, path, len);
		path += len + (path[len] == '.');
	}
}

static void open_block(struct aml *a)
{
	assert(a->depth < AML_DEPTH_MAX);
	a->open[a->depth++] = a->out->len;
}

/*
 * PkgLength (20.2.4) counts itself: one byte with 6 bits of length, or a byte with the number of
 * bytes that follow in bits 7:6 and the length's low 4 bits, then the rest.
 */
static size_t encode_length(size_t body, uint8_t out[4])
{
	size_t n = 1;

	if (body + 1 < 64) {
		out[0] = body + 1;
		return 1;
	}
	while (body + n + 1 >= (size_t)1 << (4 + 8 * n))
		n++;
	assert(n <= 3);
	body += n + 1;
	out[0] = n << 6 | (body & 15);
	store_le(out + 1, body >> 4, n);
	return n + 1;
}

void aml_end(struct aml *a)
{
	size_t at = a->open[--a->depth], body = a->out->len - at;
	uint8_t len[4];
	size_t n = encode_length(body, len);

	blob_zero(a->out, n);
	memmove(a->out->data + at + n, a->out->data + at, body);
	memcpy(a->out->data + at, len, n);
}

void aml_scope(struct aml *a, const char *path)
{
	blob_u8(a->out, OP_SCOPE);
	open_block(a);
	put_path(a->out, path);
}

void aml_device(struct aml *a, const char *name)
{
	blob_u8(a->out, OP_EXT);
	blob_u8(a->out, OP_EXT_DEVICE);
	open_block(a);
	put_path(a->out, name);
}

void aml_package(struct aml *a, uint8_t n)
{
	blob_u8(a->out, OP_PACKAGE);
	open_block(a);
	blob_u8(a->out, n);
}

static void put_name(struct aml *a, const char *name)
{
	blob_u8(a->out, OP_NAME);
	put_path(a->out, name);
}

void aml_name_package(struct aml *a, const char *name, uint8_t n)
{
	put_name(a, name);
	aml_package(a, n);
}

void aml_int(struct aml *a, uint64_t v)
{
	if (v <= 1) {
		blob_u8(a->out, v ? OP_ONE : OP_ZERO);
	} else if (v <= UINT8_MAX) {
		blob_u8(a->out, OP_BYTE);
		blob_u8(a->out, v);
	} else if (v <= UINT16_MAX) {
		blob_u8(a->out, OP_WORD);
		blob_u16(a->out, v);
	} else if (v <= UINT32_MAX) {
		blob_u8(a->out, OP_DWORD);
		blob_u32(a->out, v);
	} else {
		blob_u8(a->out, OP_QWORD);
		blob_u64(a->out, v);
	}
}

void aml_name_int(struct aml *a, const char *name, uint64_t v)
{
	put_name(a, name);
	aml_int(a, v);
}

void aml_name_str(struct aml *a, const char *name, const char *s)
{
	put_name(a, name);
	blob_u8(a->out, OP_STRING);
	blob_put(a->out, s, strlen(s) + 1);
}

static unsigned hex(char c)
{
	return c <= '9' ? c - '0' : c - 'A' + 10;
}

/* Three letters of 5 bits, then four hexadecimal digits, big-endian. */
void aml_name_eisa(struct aml *a, const char *name, const char *id)
{
	uint32_t letters = (id[0] - '@') << 10 | (id[1] - '@') << 5 | (id[2] - '@');
	uint8_t bytes[4] = {letters >> 8, letters, hex(id[3]) << 4 | hex(id[4]),
	                    hex(id[5]) << 4 | hex(id[6])};

	put_name(a, name);
	blob_u8(a->out, OP_DWORD);
	blob_put(a->out, bytes, sizeof(bytes));
}

void aml_name_resources(struct aml *a, const char *name, const struct blob *res)
{
	put_name(a, name);
	blob_u8(a->out, OP_BUFFER);
	open_block(a);
	aml_int(a, res->len + 2);
	blob_put(a->out, res->data, res->len);
	blob_u8(a->out, 0x79); /* end tag */
	blob_u8(a->out, 0);    /* its checksum: 0 means "don't check" */
	aml_end(a);
}

void res_io(struct blob *r, uint16_t base, uint8_t len)
{
	blob_u8(r, 0x47);
	blob_u8(r, 1); /* decodes 16 bits */
	blob_u16(r, base);
	blob_u16(r, base);
	blob_u8(r, 1);
	blob_u8(r, len);
}

void res_irq(struct blob *r, unsigned irq)
{
	blob_u8(r, 0x22); /* without flags: edge, active high, exclusive */
	blob_u16(r, 1u << irq);
}

void res_memory(struct blob *r, uint32_t base, uint32_t len)
{
	blob_u8(r, 0x86);
	blob_u16(r, 9);
	blob_u8(r, 1); /* read-write */
	blob_u32(r, base);
	blob_u32(r, len);
}

/* An address space descriptor: kind 0 memory, 1 I/O, 2 bus; width in bytes of its numbers. */
static void put_window(struct blob *r, uint8_t tag, size_t width, uint8_t kind, uint8_t flags,
                       uint64_t first, uint64_t last)
{
	uint64_t numbers[5] = {0, first, last, 0, last - first + 1};

	blob_u8(r, tag);
	blob_u16(r, 3 + 5 * width);
	blob_u8(r, kind);
	blob_u8(r, 0x0c); /* minimum and maximum are fixed, positive decode, producer */
	blob_u8(r, flags);
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		uint8_t le[8];

		store_le(le, numbers[i], 8);
		blob_put(r, le, width);
	}
}

void res_bus_window(struct blob *r, uint16_t first, uint16_t last)
{
	put_window(r, 0x88, 2, 2, 0, first, last);
}

void res_io_window(struct blob *r, uint16_t first, uint16_t last)
{
	put_window(r, 0x88, 2, 1, 3 /* the entire range */, first, last);
}

void res_memory_window(struct blob *r, uint64_t first, uint64_t last)
{
	bool wide = last > UINT32_MAX;

	put_window(r, wide ? 0x8a : 0x87, wide ? 8 : 4, 0, 1 /* read-write */, first, last);
}
