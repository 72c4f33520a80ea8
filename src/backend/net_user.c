/*
 * Networking without privilege: libslirp speaks TCP/IP to the guest and uses ordinary sockets.  The
 * guest sees 10.0.2.0/24 with a gateway at .2 that answers pings, a name server at .3, and DHCP
 * that gives .15.
 *
 * libslirp wants a poll() loop: it names its descriptors and a time-out (fill), and is told what
 * happened (poll).  They live in an epoll set of their own, which only wakes the lane:
 *
 *	lane: set readable, or `tick` due -> poll() all -> slirp_pollfds_poll -> fill -> set, tick
 *
 * A frame from the guest may open sockets, so it makes the tick due.
 */
#include "backend/net.h"

#include <errno.h>
#include <poll.h>
#include <slirp/libslirp.h>
#include <string.h>
#include <sys/epoll.h>
#include "backend/lane.h"
#include "base/log.h"

#define FDS_MAX     1024
#define QUEUE       128 /* frames that wait for room in the guest; a power of two */
#define TICK_MAX_MS 1000

struct frame {
	size_t len;
	uint8_t data[NET_FRAME_MAX];
};

struct user {
	struct net net;
	struct loop *lane;
	Slirp *slirp;
	struct watch watch;
	struct loop_timer tick;
	bool stale; /* a descriptor was closed: the epoll set is to be made anew */
	struct pollfd fds[FDS_MAX], old[FDS_MAX];
	unsigned n, n_old;
	unsigned head, tail; /* of the queue, counted up */
	struct frame queue[QUEUE];
};

struct user_timer {
	struct loop_timer timer;
	struct loop *lane;
	SlirpTimerCb cb;
	void *opaque;
};

static void soon(struct user *u)
{
	timer_arm(u->lane, &u->tick, loop_now());
}

static void flush(struct user *u)
{
	while (u->tail != u->head) {
		struct frame *f = &u->queue[u->tail % QUEUE];

		if (u->net.receive && !u->net.receive(u->net.owner, f->data, f->len))
			return;
		u->tail++;
	}
}

static ssize_t cb_send(const void *buf, size_t len, void *opaque)
{
	struct user *u = opaque;
	struct frame *f = &u->queue[u->head % QUEUE];

	if (len > sizeof(f->data) || u->head - u->tail == QUEUE)
		return len; /* dropped: TCP sends it again */
	memcpy(f->data, buf, len);
	f->len = len;
	u->head++;
	flush(u);
	return len;
}

static void cb_guest_error(const char *msg, void *opaque)
{
	log_guest("network: %s", msg);
}

static int64_t cb_clock(void *opaque)
{
	return loop_now();
}

static void timer_due(struct loop_timer *t)
{
	struct user_timer *ut = container_of(t, struct user_timer, timer);

	ut->cb(ut->opaque);
}

static void *cb_timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque)
{
	struct user_timer *t = xalloc(sizeof(*t));

	*t = (struct user_timer){.timer = {.fn = timer_due},
	                         .lane = ((struct user *)opaque)->lane,
	                         .cb = cb,
	                         .opaque = cb_opaque};
	return t;
}

static void cb_timer_free(void *timer, void *opaque)
{
	struct user_timer *t = timer;

	timer_cancel(t->lane, &t->timer);
	free(t);
}

static void cb_timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
	struct user_timer *t = timer;

	timer_arm(t->lane, &t->timer, (uint64_t)MAX(expire_ms, 0) * 1000000);
}

static void cb_register(int fd, void *opaque)
{
}

static void cb_unregister(int fd, void *opaque)
{
	((struct user *)opaque)->stale = true;
}

static void cb_notify(void *opaque)
{
	soon(opaque);
}

static const SlirpCb callbacks = {
	.send_packet = cb_send,
	.guest_error = cb_guest_error,
	.clock_get_ns = cb_clock,
	.timer_new = cb_timer_new,
	.timer_free = cb_timer_free,
	.timer_mod = cb_timer_mod,
	.register_poll_fd = cb_register,
	.unregister_poll_fd = cb_unregister,
	.notify = cb_notify,
};

static const struct {
	int slirp;
	short poll;
} poll_bits[] = {
	{SLIRP_POLL_IN, POLLIN},   {SLIRP_POLL_OUT, POLLOUT}, {SLIRP_POLL_PRI, POLLPRI},
	{SLIRP_POLL_ERR, POLLERR}, {SLIRP_POLL_HUP, POLLHUP},
};

static int add_poll(int fd, int events, void *opaque)
{
	struct user *u = opaque;
	struct pollfd *p = &u->fds[u->n];

	if (u->n == FDS_MAX)
		return -1;
	*p = (struct pollfd){.fd = fd};
	for (size_t i = 0; i < ARRAY_LEN(poll_bits); i++) {
		if (events & poll_bits[i].slirp)
			p->events |= poll_bits[i].poll;
	}
	return u->n++;
}

static int get_revents(int idx, void *opaque)
{
	struct user *u = opaque;
	int events = 0;

	if (idx < 0 || (unsigned)idx >= u->n)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(poll_bits); i++) {
		if (u->fds[idx].revents & poll_bits[i].poll)
			events |= poll_bits[i].slirp;
	}
	return events;
}

static bool same_fds(const struct user *u)
{
	if (u->stale || u->n != u->n_old)
		return false;
	for (unsigned i = 0; i < u->n; i++) {
		if (u->fds[i].fd != u->old[i].fd || u->fds[i].events != u->old[i].events)
			return false;
	}
	return true;
}

/* Asks libslirp what to wait for. */
static void fill(struct user *u)
{
	uint32_t timeout = TICK_MAX_MS;

	u->n = 0;
	slirp_pollfds_fill(u->slirp, &timeout, add_poll, u);
	if (!same_fds(u)) {
		for (unsigned i = 0; i < u->n_old; i++) /* fails for closed ones */
			epoll_ctl(u->watch.fd, EPOLL_CTL_DEL, u->old[i].fd, NULL);
		for (unsigned i = 0; i < u->n; i++) {
			/* The bits of poll() and epoll are the same. */
			struct epoll_event ev = {.events = (uint16_t)u->fds[i].events};

			epoll_ctl(u->watch.fd, EPOLL_CTL_ADD, u->fds[i].fd, &ev);
		}
		memcpy(u->old, u->fds, u->n * sizeof(u->fds[0]));
		u->n_old = u->n;
		u->stale = false;
	}
	timer_arm(u->lane, &u->tick, loop_now() + MIN(timeout, TICK_MAX_MS) * 1000000ull);
}

static void serve(struct user *u)
{
	int n = poll(u->fds, u->n, 0);

	slirp_pollfds_poll(u->slirp, n < 0, get_revents, u);
	flush(u);
	fill(u);
}

static void watch_ready(struct watch *w, uint32_t events)
{
	serve(container_of(w, struct user, watch));
}

static void tick_due(struct loop_timer *t)
{
	struct user *u = container_of(t, struct user, tick);

	/* New sockets are known to libslirp, not yet to fds: fill first, then look at all. */
	fill(u);
	serve(u);
}

static void user_send(struct net *n, const struct iovec *iov, unsigned iovcnt)
{
	struct user *u = container_of(n, struct user, net);
	uint8_t frame[NET_FRAME_MAX];
	size_t len = net_gather(iov, iovcnt, frame, sizeof(frame));

	if (len == 0)
		return;
	slirp_input(u->slirp, frame, len);
	soon(u);
}

static void user_ready(struct net *n)
{
	flush(container_of(n, struct user, net));
}

/* On the lane: libslirp is not for two threads. */
static void stop(void *arg)
{
	struct user *u = arg;

	timer_cancel(u->lane, &u->tick);
	watch_del(&u->watch);
	if (u->slirp)
		slirp_cleanup(u->slirp);
}

static void user_free(struct net *n)
{
	struct user *u = container_of(n, struct user, net);

	loop_call_wait(u->lane, stop, u);
	if (u->watch.fd >= 0)
		close(u->watch.fd);
	free(u);
}

static const struct net_ops user_ops = {"user", user_send, user_ready, user_free};

static void start(void *arg)
{
	struct user *u = arg;
	SlirpConfig cfg = {
		.version = 1,
		.in_enabled = true,
		.vnetwork = {htonl(0x0a000200)},
		.vnetmask = {htonl(0xffffff00)},
		.vhost = {htonl(0x0a000202)},
		.vnameserver = {htonl(0x0a000203)},
		.vdhcp_start = {htonl(0x0a00020f)},
		.vhostname = "casulo",
	};

	u->slirp = slirp_new(&cfg, &callbacks, u);
	if (u->slirp)
		fill(u);
}

int net_user_open(struct loop *lane, const char *arg, struct net **out, struct err *e)
{
	struct user *u = xalloc(sizeof(*u));
	int r;

	u->net.ops = &user_ops;
	u->lane = lane;
	u->tick.fn = tick_due;
	u->watch = (struct watch){
		.fd = epoll_create1(EPOLL_CLOEXEC), .events = EPOLLIN, .fn = watch_ready};
	if (u->watch.fd < 0) {
		r = err_set(e, errno, "cannot make an epoll set: %s", strerror(errno));
		goto fail;
	}
	r = lane_watch(lane, &u->watch, e);
	if (r < 0)
		goto fail;
	loop_call_wait(lane, start, u);
	if (!u->slirp) {
		r = err_set(e, ENOMEM, "cannot start user networking: libslirp refused");
		goto fail;
	}
	*out = &u->net;
	return 0;
fail:
	user_free(&u->net);
	return r;
}
