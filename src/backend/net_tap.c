/* Frames through a tap interface of the host.  A frame that the guest has no room for is kept, and no
 * further one is read until there is. */
#include "backend/net.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include "backend/lane.h"

#define BATCH 64 /* frames at once, so that others on the lane get their turn */

struct tap {
	struct net net;
	struct watch watch;
	size_t held; /* length of the frame in buf that waits for room */
	uint8_t buf[NET_FRAME_MAX];
};

static void tap_send(struct net *n, const struct iovec *iov, unsigned iovcnt)
{
	struct tap *t = container_of(n, struct tap, net);

	if (writev(t->watch.fd, iov, iovcnt) < 0)
		return; /* interface down or its queue full: dropped, as on a wire */
}

static bool deliver(struct tap *t, size_t len)
{
	return !t->net.receive || t->net.receive(t->net.owner, t->buf, len);
}

static void tap_readable(struct watch *w, uint32_t events)
{
	struct tap *t = container_of(w, struct tap, watch);

	for (unsigned i = 0; i < BATCH; i++) {
		ssize_t n = read(w->fd, t->buf, sizeof(t->buf));

		if (n <= 0)
			return;
		if (!deliver(t, n)) {
			t->held = n;
			watch_change(w, 0);
			return;
		}
	}
}

static void tap_ready(struct net *n)
{
	struct tap *t = container_of(n, struct tap, net);

	if (!t->held || !deliver(t, t->held))
		return;
	t->held = 0;
	watch_change(&t->watch, EPOLLIN);
}

static void tap_free(struct net *n)
{
	struct tap *t = container_of(n, struct tap, net);

	lane_unwatch(&t->watch);
	close(t->watch.fd);
	free(t);
}

static const struct net_ops tap_ops = {"tap", tap_send, tap_ready, tap_free};

int net_tap_open(struct loop *lane, const char *arg, struct net **out, struct err *e)
{
	struct ifreq req = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	AUTO_FD int fd = -1;
	struct tap *t;
	int r;

	if (!*arg || strlen(arg) >= IFNAMSIZ)
		return err_set(e, EINVAL,
		               "network 'tap=%s' needs an interface name of 1 to %d characters",
		               arg, IFNAMSIZ - 1);
	memcpy(req.ifr_name, arg, strlen(arg));
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return err_set(e, errno, "cannot open '/dev/net/tun': %s", strerror(errno));
	if (ioctl(fd, TUNSETIFF, &req) < 0)
		return err_set(e, errno,
		               "cannot use tap interface '%s': %s: make it with 'ip tuntap add %s "
		               "mode tap user $USER', or use --net user",
		               arg, strerror(errno), arg);
	t = xalloc(sizeof(*t));
	t->net.ops = &tap_ops;
	t->watch = (struct watch){.fd = fd, .events = EPOLLIN, .fn = tap_readable};
	r = lane_watch(lane, &t->watch, e);
	if (r < 0) {
		free(t);
		return r;
	}
	take_fd(&fd);
	*out = &t->net;
	return 0;
}
