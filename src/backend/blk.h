/*
 * Block back ends: a disk as numbered bytes.  They know nothing of virtio.  Requests are submitted and
 * completed on the lane's thread; completion may come from within submit.  The lane never waits for the
 * disk, but in drain.
 */
#ifndef BACKEND_BLK_H
#define BACKEND_BLK_H

#include <sys/uio.h>
#include "base/loop.h"

struct blk;

enum blk_op { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD, BLK_ZERO };

struct blk_request {
	enum blk_op op;
	uint64_t offset, len; /* bytes; len of iov's together for read and write */
	struct iovec *iov;
	unsigned iovcnt;
	void (*done)(struct blk_request *r, int result); /* 0 or -errno */

	struct blk_request *next; /* the back end's, until done */
	int result;
};

struct blk_ops {
	const char *name; /* "raw" */
	/* A request outside the disk is completed with -EINVAL, a write to a read-only one with -EROFS. */
	void (*submit)(struct blk *b, struct blk_request *r);
	/* Completes all that was submitted before it returns (reset, pause). */
	void (*drain)(struct blk *b);
	void (*free)(struct blk *b);
};

struct blk {
	const struct blk_ops *ops;
	uint64_t size; /* bytes, a multiple of 512 */
	uint32_t block_size;
	bool readonly;
};

struct blk_spec {
	const char *path;
	const char *format; /* "raw" */
	bool readonly;
};
/* A read-only file opened for writing, a missing file, a directory, an odd size: one error each. */
int blk_open(struct loop *lane, const struct blk_spec *spec, struct blk **out,
             struct err *e) MUST_CHECK;
int blk_raw_open(struct loop *lane, const struct blk_spec *spec, struct blk **out,
                 struct err *e) MUST_CHECK;

static inline void blk_free(struct blk *b)
{
	if (b)
		b->ops->free(b);
}

#endif
