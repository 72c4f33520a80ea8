/* Bytes that grow: tables and parameter blocks under construction.  Little-endian. */
#ifndef DEV_FIRMWARE_BLOB_H
#define DEV_FIRMWARE_BLOB_H

#include "base/lang.h"

struct blob {
	uint8_t *data;
	size_t len, cap;
};

void blob_put(struct blob *b, const void *data, size_t len);
void blob_zero(struct blob *b, size_t len);
void blob_align(struct blob *b, size_t align);
void blob_u8(struct blob *b, uint8_t v);
void blob_u16(struct blob *b, uint16_t v);
void blob_u32(struct blob *b, uint32_t v);
void blob_u64(struct blob *b, uint64_t v);
void blob_free(struct blob *b);

/* Stores the low len bytes of v. */
void store_le(uint8_t *at, uint64_t v, size_t len);
uint64_t load_le(const uint8_t *at, size_t len);

#endif
