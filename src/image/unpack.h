/*
 * Unpacking the compressed vmlinux that a bzImage carries.  The boot protocol has payload_offset and
 * payload_length for exactly this purpose; it saves the guest the work, which a software CPU does
 * many times slower than the host.
 */
#ifndef IMAGE_UNPACK_H
#define IMAGE_UNPACK_H

#include "base/err.h"

/* "lz4", "gzip", "xz", or NULL when we have no unpacker for it. */
const char *unpack_format(const uint8_t *data, size_t size);

/*
 * Unpacks all of it; at most limit bytes come out.  Data behind the compressed stream (the build
 * appends the unpacked size) is ignored.  out is malloc'ed.
 */
int unpack(const uint8_t *data, size_t size, size_t limit, uint8_t **out, size_t *out_size,
           struct err *e) MUST_CHECK;

/* LZ4's legacy frame: magic, then blocks of at most 8 MiB, each with its length (LZ4 frame format,
 * "Legacy frame").  Writes at most limit bytes.  Returns the bytes written or -EBADMSG. */
int64_t unpack_lz4(const uint8_t *data, size_t size, uint8_t *out, size_t limit) MUST_CHECK;

#endif
