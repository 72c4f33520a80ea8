/*
 * Character back ends on descriptors.
 *
 * The descriptors may be shared with other processes (a shell's terminal), so they are never made
 * non-blocking.  Output goes in small pieces, each after poll() has promised room: a terminal
 * promises 256 bytes, a pipe 4096.  Two threads may write; `lock` covers the output queue and the
 * room for input.  Watches are changed on the loop's thread only, which `wake` calls.
 */
#include "backend/chr_impl.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include "base/lock.h"
#include "base/log.h"

#define OUT_SIZE     262144 /* queue; what goes beyond is dropped and counted */
#define OUT_DIRECT   4096   /* queue length from which the writer helps to empty it */
#define OUT_PIECE    256    /* what poll() promises */
#define IN_PIECE     4096
#define LAST_WAIT_MS 500 /* for a stalled reader at the end */

struct chr_fd {
	struct chr chr;
	struct chr_fd_spec spec;
	struct loop *loop;
	struct watch in, out, wake;
	bool in_plain; /* input that epoll does not take: a regular file, /dev/null */
	bool in_end;

	struct lock lock;
	size_t room, len;
	bool woken;
	uint64_t dropped;
	uint8_t data[OUT_SIZE];
};

/* Writes what goes without waiting; lock held. */
static void out_flush(struct chr_fd *c, int wait_ms)
{
	size_t done = 0;

	while (done < c->len) {
		struct pollfd p = {.fd = c->spec.out, .events = POLLOUT};
		ssize_t n;

		if (poll(&p, 1, wait_ms) != 1 || !(p.revents & POLLOUT)) {
			if (p.revents & (POLLERR | POLLHUP | POLLNVAL))
				done = c->len; /* nobody will ever read it */
			break;
		}
		n = write(c->spec.out, c->data + done, MIN(c->len - done, (size_t)OUT_PIECE));
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			break;
		if (n < 0) {
			c->dropped += c->len - done;
			done = c->len;
			break;
		}
		done += n;
	}
	memmove(c->data, c->data + done, c->len - done);
	c->len -= done;
}

static void wake(struct chr_fd *c)
{
	uint64_t one = 1;

	if (write(c->wake.fd, &one, sizeof(one)) < 0)
		log_debug("console: cannot wake the loop: %s", strerror(errno));
}

static void fd_write(struct chr *chr, const void *data, size_t len)
{
	struct chr_fd *c = container_of(chr, struct chr_fd, chr);
	bool call = false;
	size_t n;

	if (c->spec.out < 0)
		return;
	lock_take(&c->lock);
	n = MIN(len, OUT_SIZE - c->len);
	memcpy(c->data + c->len, data, n);
	c->len += n;
	c->dropped += len - n;
	if (c->len >= OUT_DIRECT)
		out_flush(c, 0);
	if (c->len && !c->woken)
		call = c->woken = true;
	lock_drop(&c->lock);
	if (call)
		wake(c);
}

static void fd_accept(struct chr *chr, size_t room)
{
	struct chr_fd *c = container_of(chr, struct chr_fd, chr);
	bool call;

	lock_take(&c->lock);
	call = (c->room == 0) != (room == 0) && !c->woken;
	c->room = room;
	if (call)
		c->woken = true;
	lock_drop(&c->lock);
	if (call)
		wake(c);
}

/* Returns whether there may be more. */
static bool in_read(struct chr_fd *c)
{
	uint8_t buf[IN_PIECE];
	size_t room, len;
	ssize_t n;

	lock_take(&c->lock);
	room = MIN(c->room, sizeof(buf));
	lock_drop(&c->lock);
	if (room == 0 || c->in_end)
		return false;
	n = read(c->spec.in, buf, room);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	if (n <= 0) {
		c->in_end = true; /* not an error: the guest just gets no more input */
		return false;
	}
	len = c->spec.filter ? c->spec.filter(c->spec.arg, buf, n) : n;
	lock_take(&c->lock);
	c->room -= MIN(len, c->room);
	lock_drop(&c->lock);
	if (len && c->chr.receive)
		c->chr.receive(c->chr.owner, buf, len);
	return true;
}

static void watch_want(struct chr_fd *c, struct watch *w, uint32_t events)
{
	if (!w->loop && events) {
		w->events = events;
		if (watch_add(c->loop, w, NULL) < 0)
			w->loop = NULL;
	} else if (w->loop && !events) {
		watch_del(w);
		w->loop = NULL;
	}
}

static void watches_update(struct chr_fd *c)
{
	bool room, rest;

	lock_take(&c->lock);
	room = c->room > 0;
	rest = c->len > 0;
	lock_drop(&c->lock);
	if (c->spec.in >= 0 && !c->in_plain)
		watch_want(c, &c->in, room && !c->in_end ? EPOLLIN : 0);
	if (c->spec.out >= 0)
		watch_want(c, &c->out, rest ? EPOLLOUT : 0);
}

static void in_ready(struct watch *w, uint32_t events)
{
	struct chr_fd *c = container_of(w, struct chr_fd, in);

	in_read(c);
	watches_update(c);
}

static void out_ready(struct watch *w, uint32_t events)
{
	struct chr_fd *c = container_of(w, struct chr_fd, out);

	lock_take(&c->lock);
	out_flush(c, 0);
	lock_drop(&c->lock);
	watches_update(c);
}

static void woken(struct watch *w, uint32_t events)
{
	struct chr_fd *c = container_of(w, struct chr_fd, wake);
	uint64_t n;

	if (read(w->fd, &n, sizeof(n)) < 0)
		return;
	lock_take(&c->lock);
	c->woken = false;
	out_flush(c, 0);
	lock_drop(&c->lock);
	while (c->in_plain && in_read(c))
		;
	watches_update(c);
}

static void fd_free(struct chr *chr)
{
	struct chr_fd *c = container_of(chr, struct chr_fd, chr);

	watch_want(c, &c->in, 0);
	watch_want(c, &c->out, 0);
	watch_del(&c->wake);
	if (c->spec.out >= 0) {
		lock_take(&c->lock);
		out_flush(c, LAST_WAIT_MS);
		lock_drop(&c->lock);
	}
	if (c->dropped)
		log_debug("console: %llu bytes of output found no room",
		          (unsigned long long)c->dropped);
	if (c->spec.free)
		c->spec.free(c->spec.arg);
	if (c->spec.own && c->spec.in >= 0)
		close(c->spec.in);
	if (c->spec.own && c->spec.out >= 0 && c->spec.out != c->spec.in)
		close(c->spec.out);
	close(c->wake.fd);
	lock_fini(&c->lock);
	free(c);
}

static const struct chr_ops fd_ops = {"fd", fd_write, fd_accept, fd_free};

int chr_fd_new(struct loop *loop, const struct chr_fd_spec *spec, struct chr **out, struct err *e)
{
	struct chr_fd *c = xalloc(sizeof(*c));
	int r;

	c->chr.ops = &fd_ops;
	c->spec = *spec;
	c->loop = loop;
	lock_init(&c->lock, LOCK_LOG);
	c->in = (struct watch){.fd = spec->in, .fn = in_ready};
	c->out = (struct watch){.fd = spec->out, .fn = out_ready};
	c->wake = (struct watch){
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .events = EPOLLIN, .fn = woken};
	if (c->wake.fd < 0) {
		r = err_set(e, errno, "cannot make an eventfd: %s", strerror(errno));
		goto fail;
	}
	if (spec->in >= 0) {
		c->in.events = EPOLLIN;
		c->in_plain = watch_add(loop, &c->in, NULL) < 0;
		if (c->in_plain)
			c->in.loop = NULL;
		else
			watch_want(c, &c->in, 0); /* until the owner has room */
	}
	r = watch_add(loop, &c->wake, e);
	if (r < 0) {
		close(c->wake.fd);
		goto fail;
	}
	*out = &c->chr;
	return 0;
fail:
	lock_fini(&c->lock);
	free(c);
	return r;
}
