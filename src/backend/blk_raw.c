/*
 * Raw disks: a file or a block device, byte by byte.  A few threads do the blocking calls.
 *
 *	lane --submit--> todo --worker--> done --eventfd--> lane: request's done()
 *
 * `lock` covers both lists and `busy`.  Requests under way at the same time have no order, as with
 * a real disk; a flush covers the writes that were completed before it was submitted.
 */
#include "backend/blk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include "backend/lane.h"
#include "base/lock.h"
#include "base/log.h"

#define WORKERS 3
#define ZEROES  65536

struct raw {
	struct blk blk;
	int fd;
	struct watch ready;
	pthread_t worker[WORKERS];
	unsigned workers;

	struct lock lock;
	pthread_cond_t work, idle;
	struct blk_request *todo, **todo_end, *done;
	unsigned busy; /* requests submitted and not yet in done */
	bool stop;
};

/* The whole of one buffer; an image that has become shorter reads as zeroes. */
static int piece(int fd, bool write, uint8_t *p, size_t len, uint64_t offset)
{
	while (len) {
		ssize_t n = write ? pwrite(fd, p, len, offset) : pread(fd, p, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0 && write)
			return -ENOSPC;
		if (n == 0) {
			memset(p, 0, len);
			return 0;
		}
		p += n;
		len -= n;
		offset += n;
	}
	return 0;
}

static int transfer(int fd, const struct blk_request *r)
{
	bool write = r->op == BLK_WRITE;
	uint64_t offset = r->offset;
	ssize_t n = write ? pwritev(fd, r->iov, r->iovcnt, offset)
	                  : preadv(fd, r->iov, r->iovcnt, offset);
	uint64_t skip = MAX(n, 0);

	if (skip == r->len)
		return 0;
	/* Short or refused: buffer by buffer, which finishes it or finds the reason. */
	for (unsigned i = 0; i < r->iovcnt; i++) {
		uint64_t part = MIN(skip, r->iov[i].iov_len);
		int result = piece(fd, write, (uint8_t *)r->iov[i].iov_base + part,
		                   r->iov[i].iov_len - part, offset + part);

		if (result < 0)
			return result;
		skip -= part;
		offset += r->iov[i].iov_len;
	}
	return 0;
}

static int zero(int fd, uint64_t offset, uint64_t len)
{
	static const uint8_t zeroes[ZEROES];
	int result = 0;

	if (fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, len) == 0)
		return 0;
	while (len && result == 0) {
		size_t n = MIN(len, (uint64_t)ZEROES);

		result = piece(fd, true, (uint8_t *)zeroes, n, offset);
		offset += n;
		len -= n;
	}
	return result;
}

static int perform(struct raw *b, const struct blk_request *r)
{
	switch (r->op) {
	case BLK_READ:
	case BLK_WRITE:
		return transfer(b->fd, r);
	case BLK_FLUSH:
		return fdatasync(b->fd) < 0 ? -errno : 0;
	case BLK_DISCARD:
		/* A hint: a file system that cannot keeps the bytes. */
		if (fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, r->offset,
		              r->len) < 0 &&
		    errno != EOPNOTSUPP && errno != ENODEV)
			return -errno;
		return 0;
	case BLK_ZERO:
		return zero(b->fd, r->offset, r->len);
	}
	return -EINVAL;
}

static void *work(void *arg)
{
	struct raw *b = arg;

	lock_take(&b->lock);
	for (;;) {
		struct blk_request *r = b->todo;
		uint64_t one = 1;

		if (!r && b->stop)
			break;
		if (!r) {
			lock_wait(&b->lock, &b->work, UINT64_MAX);
			continue;
		}
		b->todo = r->next;
		if (!b->todo)
			b->todo_end = &b->todo;
		lock_drop(&b->lock);
		r->result = perform(b, r);
		lock_take(&b->lock);
		r->next = b->done;
		b->done = r;
		if (--b->busy == 0)
			pthread_cond_signal(&b->idle);
		if (!r->next && write(b->ready.fd, &one, sizeof(one)) < 0)
			log_debug("disk: cannot wake the lane: %s", strerror(errno));
	}
	lock_drop(&b->lock);
	return NULL;
}

static int check(const struct blk *b, const struct blk_request *r)
{
	if (r->op == BLK_FLUSH)
		return 0;
	if (r->offset > b->size || r->len > b->size - r->offset)
		return -EINVAL;
	if (r->op != BLK_READ && b->readonly)
		return -EROFS;
	return 0;
}

static void raw_submit(struct blk *blk, struct blk_request *r)
{
	struct raw *b = container_of(blk, struct raw, blk);
	int bad = check(blk, r);

	if (bad < 0) {
		r->done(r, bad);
		return;
	}
	r->next = NULL;
	lock_take(&b->lock);
	*b->todo_end = r;
	b->todo_end = &r->next;
	b->busy++;
	pthread_cond_signal(&b->work);
	lock_drop(&b->lock);
}

static void complete(struct raw *b)
{
	struct blk_request *r, *next;

	lock_take(&b->lock);
	r = b->done;
	b->done = NULL;
	lock_drop(&b->lock);
	for (; r; r = next) {
		next = r->next;
		r->done(r, r->result);
	}
}

static void raw_ready(struct watch *w, uint32_t events)
{
	struct raw *b = container_of(w, struct raw, ready);
	uint64_t n;

	if (read(w->fd, &n, sizeof(n)) > 0)
		complete(b);
}

static void raw_drain(struct blk *blk)
{
	struct raw *b = container_of(blk, struct raw, blk);
	bool more;

	do { /* a completion may submit */
		lock_take(&b->lock);
		while (b->busy)
			lock_wait(&b->lock, &b->idle, UINT64_MAX);
		lock_drop(&b->lock);
		complete(b);
		lock_take(&b->lock);
		more = b->busy || b->done;
		lock_drop(&b->lock);
	} while (more);
}

static void raw_free(struct blk *blk)
{
	struct raw *b = container_of(blk, struct raw, blk);

	lock_take(&b->lock);
	b->stop = true;
	pthread_cond_broadcast(&b->work);
	lock_drop(&b->lock);
	for (unsigned i = 0; i < b->workers; i++)
		pthread_join(b->worker[i], NULL);
	lane_unwatch(&b->ready);
	if (b->ready.fd >= 0)
		close(b->ready.fd);
	close(b->fd);
	lock_fini(&b->lock);
	pthread_cond_destroy(&b->work);
	pthread_cond_destroy(&b->idle);
	free(b);
}

static const struct blk_ops raw_ops = {"raw", raw_submit, raw_drain, raw_free};

static int open_file(const struct blk_spec *spec, uint64_t *size, struct err *e)
{
	AUTO_FD int fd = open(spec->path, (spec->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	struct stat st;

	if (fd < 0 && !spec->readonly && (errno == EACCES || errno == EROFS || errno == EPERM) &&
	    access(spec->path, R_OK) == 0)
		return err_set(e, errno,
		               "disk '%s' cannot be written: add ,readonly to its option or "
		               "change its permissions",
		               spec->path);
	if (fd < 0 && errno == ENOENT)
		return err_set(e, ENOENT, "no disk '%s': give an existing file", spec->path);
	if (fd < 0 && errno == EISDIR)
		return err_set(e, EISDIR, "disk '%s' is a directory: give a disk image",
		               spec->path);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(e, errno, "cannot open disk '%s': %s", spec->path, strerror(errno));
	if (S_ISBLK(st.st_mode)) {
		if (ioctl(fd, BLKGETSIZE64, size) < 0)
			return err_set(e, errno, "cannot read the size of disk '%s': %s",
			               spec->path, strerror(errno));
	} else if (S_ISREG(st.st_mode)) {
		*size = st.st_size;
	} else {
		return err_set(e, EINVAL, "disk '%s' is neither a file nor a block device",
		               spec->path);
	}
	if (*size == 0 || *size % 512)
		return err_set(e, EINVAL,
		               "disk '%s' has %llu bytes, not a whole number of 512-byte sectors: "
		               "use truncate(1) to round its size up",
		               spec->path, (unsigned long long)*size);
	return take_fd(&fd);
}

static int workers_start(struct raw *b, struct err *e)
{
	sigset_t all, old;
	int r = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the main thread's */
	while (r == 0 && b->workers < WORKERS) {
		r = pthread_create(&b->worker[b->workers], NULL, work, b);
		if (r == 0)
			b->workers++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r ? err_set(e, r, "cannot start a disk thread: %s", strerror(r)) : 0;
}

int blk_raw_open(struct loop *lane, const struct blk_spec *spec, struct blk **out, struct err *e)
{
	uint64_t size;
	int fd = open_file(spec, &size, e);
	struct raw *b;
	int r;

	if (fd < 0)
		return fd;
	b = xalloc(sizeof(*b));
	b->blk = (struct blk){
		.ops = &raw_ops, .size = size, .block_size = 512, .readonly = spec->readonly};
	b->fd = fd;
	b->todo_end = &b->todo;
	lock_init(&b->lock, LOCK_MEM);
	cond_init(&b->work);
	cond_init(&b->idle);
	b->ready = (struct watch){
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .events = EPOLLIN, .fn = raw_ready};
	if (b->ready.fd < 0)
		r = err_set(e, errno, "cannot make an eventfd: %s", strerror(errno));
	else
		r = lane_watch(lane, &b->ready, e);
	if (r == 0)
		r = workers_start(b, e);
	if (r < 0) {
		raw_free(&b->blk);
		return r;
	}
	*out = &b->blk;
	return 0;
}
