/* Checked numbers from text.  All return 0 or -errno with the error set, output untouched on failure. */
#ifndef BASE_NUM_H
#define BASE_NUM_H

#include "base/err.h"

/* An unsigned number, decimal or 0x, the whole string, within [min, max].  what names it in errors. */
int num_parse_u64(const char *text, const char *what, uint64_t min, uint64_t max, uint64_t *out,
                  struct err *e) MUST_CHECK;

/*
 * A size in bytes with a binary suffix: 512M, 2G, 64K, 1T, with optional "iB" or "B".  A bare number
 * is refused with the two readings (bytes or MiB) in the message.
 */
int num_parse_size(const char *text, const char *what, uint64_t *out, struct err *e) MUST_CHECK;

/* "512 MiB", "3.5 GiB" into buf; returns buf. */
char *num_format_size(uint64_t bytes, char *buf, size_t len);

#endif
