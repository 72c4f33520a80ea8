#include "image/unpack.h"

#include <errno.h>
#include <lzma.h>
#include <string.h>
#include <zlib.h>

#define XZ_MEMORY (256 * MIB)

/* All return the bytes written or a negative number. */
static int64_t unpack_gzip(const uint8_t *data, size_t size, uint8_t *out, size_t limit)
{
	z_stream z = {
		.next_in = (uint8_t *)data, .avail_in = size, .next_out = out, .avail_out = limit};
	int r;

	if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK) /* 16: gzip header */
		return -ENOMEM;
	r = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	return r == Z_STREAM_END ? (int64_t)z.total_out : -EBADMSG;
}

static int64_t unpack_xz(const uint8_t *data, size_t size, uint8_t *out, size_t limit)
{
	uint64_t memory = XZ_MEMORY;
	size_t in_at = 0, out_at = 0;

	if (lzma_stream_buffer_decode(&memory, 0, NULL, data, &in_at, size, out, &out_at, limit) !=
	    LZMA_OK)
		return -EBADMSG;
	return out_at;
}

static const struct format {
	const char *name;
	uint8_t magic[6];
	size_t len;
	int64_t (*fn)(const uint8_t *data, size_t size, uint8_t *out, size_t limit);
} formats[] = {
	{"lz4", {0x02, 0x21, 0x4c, 0x18}, 4, unpack_lz4},
	{"gzip", {0x1f, 0x8b}, 2, unpack_gzip},
	{"xz", {0xfd, '7', 'z', 'X', 'Z', 0}, 6, unpack_xz},
};

static const struct format *find(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		if (size > formats[i].len && memcmp(data, formats[i].magic, formats[i].len) == 0)
			return &formats[i];
	}
	return NULL;
}

const char *unpack_format(const uint8_t *data, size_t size)
{
	const struct format *f = find(data, size);

	return f ? f->name : NULL;
}

int unpack(const uint8_t *data, size_t size, size_t limit, uint8_t **out, size_t *out_size,
           struct err *e)
{
	const struct format *f = find(data, size);
	AUTO_FREE uint8_t *buf = NULL;
	int64_t n;

	if (!f)
		return err_set(e, ENOTSUP, "the payload's compression is not known");
	buf = alloc_checked(limit, 1, limit);
	if (!buf)
		return err_set(e, ENOMEM, "no memory to unpack %zu bytes", limit);
	n = f->fn(data, size, buf, limit);
	if (n <= 0)
		return err_set(e, EBADMSG, "the %s payload is damaged", f->name);
	*out = take_ptr(buf);
	*out_size = n;
	return 0;
}
