#include "dev/firmware/blob.h"

#include <string.h>

static uint8_t *grow(struct blob *b, size_t len)
{
	uint8_t *at;

	if (b->cap - b->len < len) {
		b->cap = MAX(b->cap * 2, b->len + len + 256);
		b->data = xrealloc(b->data, b->cap);
	}
	at = b->data + b->len;
	b->len += len;
	return at;
}

void blob_put(struct blob *b, const void *data, size_t len)
{
	if (len)
		memcpy(grow(b, len), data, len);
}

void blob_zero(struct blob *b, size_t len)
{
	if (len)
		memset(grow(b, len), 0, len);
}

void blob_align(struct blob *b, size_t align)
{
	blob_zero(b, align_up(b->len, align) - b->len);
}

void blob_u8(struct blob *b, uint8_t v)
{
	store_le(grow(b, 1), v, 1);
}

void blob_u16(struct blob *b, uint16_t v)
{
	store_le(grow(b, 2), v, 2);
}

void blob_u32(struct blob *b, uint32_t v)
{
	store_le(grow(b, 4), v, 4);
}

void blob_u64(struct blob *b, uint64_t v)
{
	store_le(grow(b, 8), v, 8);
}

void blob_free(struct blob *b)
{
	free(b->data);
	*b = (struct blob){};
}

void store_le(uint8_t *at, uint64_t v, size_t len)
{
	for (size_t i = 0; i < len; i++)
		at[i] = v >> 8 * i;
}

uint64_t load_le(const uint8_t *at, size_t len)
{
	uint64_t v = 0;

	for (size_t i = 0; i < len; i++)
		v |= (uint64_t)at[i] << 8 * i;
	return v;
}
