/*
 * LZ4 decompression, from the format's description (lz4_Block_format, lz4_Frame_format): a block is
 * a list of sequences
 *
 *	token | more literal length | literals | offset (2) | more match length
 *
 * token's high nibble is the literals' length, its low nibble the match's length - 4; 15 means that
 * bytes to be added follow, as long as they are 255.  The last sequence ends after its literals.
 */
#include "image/unpack.h"

#include <errno.h>
#include <string.h>

#define LEGACY_MAGIC 0x184c2102u
#define LEGACY_BLOCK (8 * MIB)

struct input {
	const uint8_t *at, *end;
};

static bool more_length(struct input *in, uint64_t *len)
{
	uint8_t b;

	do {
		if (in->at == in->end)
			return false;
		b = *in->at++;
		*len += b;
	} while (b == 255);
	return true;
}

/* A match may overlap what it produces: then it repeats a pattern of `offset` bytes. */
static void copy_match(uint8_t *out, size_t offset, uint64_t len)
{
	const uint8_t *from = out - offset;

	if (offset >= len) {
		memcpy(out, from, len);
		return;
	}
	for (uint64_t i = 0; i < len; i++)
		out[i] = from[i];
}

/* Returns the bytes written, or -EBADMSG. */
static int64_t unpack_block(struct input in, uint8_t *out, size_t limit)
{
	size_t n = 0;

	while (in.at < in.end) {
		uint8_t token = *in.at++;
		uint64_t len = token >> 4;
		size_t offset;

		if (len == 15 && !more_length(&in, &len))
			return -EBADMSG;
		if (len > (size_t)(in.end - in.at) || len > limit - n)
			return -EBADMSG;
		memcpy(out + n, in.at, len);
		in.at += len;
		n += len;
		if (in.at == in.end)
			break;

		if (in.end - in.at < 2)
			return -EBADMSG;
		offset = in.at[0] | in.at[1] << 8;
		in.at += 2;
		len = token & 15;
		if (len == 15 && !more_length(&in, &len))
			return -EBADMSG;
		len += 4;
		if (offset == 0 || offset > n || len > limit - n)
			return -EBADMSG;
		copy_match(out + n, offset, len);
		n += len;
	}
	return n;
}

static uint32_t get32(const uint8_t *p)
{
	return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

int64_t unpack_lz4(const uint8_t *data, size_t size, uint8_t *out, size_t limit)
{
	size_t at = 4, n = 0;

	if (size < 4 || get32(data) != LEGACY_MAGIC)
		return -EBADMSG;
	/* The stream has no end mark: a length that cannot be one is what follows it. */
	while (size - at >= 4) {
		uint32_t len = get32(data + at);
		struct input in = {data + at + 4, data + at + 4 + len};
		int64_t r;

		if (len == LEGACY_MAGIC) {
			at += 4;
			continue;
		}
		if (len == 0 || len > size - at - 4)
			break;
		r = unpack_block(in, out + n, MIN(limit - n, (size_t)LEGACY_BLOCK));
		if (r < 0)
			return r;
		n += r;
		at += 4 + len;
	}
	return n;
}
