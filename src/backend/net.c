/* The kinds of network back ends, and the tests' loopback. */
#include "backend/net.h"

#include <errno.h>
#include <string.h>

static int none_open(struct loop *lane, const char *arg, struct net **out, struct err *e)
{
	*out = NULL;
	return 0;
}

static const struct net_kind {
	const char *name;
	int (*open)(struct loop *lane, const char *arg, struct net **out, struct err *e);
} kinds[] = {
	{"user", net_user_open},
	{"tap", net_tap_open},
	{"none", none_open},
};

int net_open(struct loop *lane, const char *spec, struct net **out, struct err *e)
{
	size_t len = strcspn(spec, "=");
	const char *arg = spec + len + (spec[len] == '=');

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (strlen(kinds[i].name) == len && !strncmp(kinds[i].name, spec, len))
			return kinds[i].open(lane, arg, out, e);
	}
	return err_set(e, EINVAL, "unknown network '%s': use user, tap=NAME or none", spec);
}

size_t net_gather(const struct iovec *iov, unsigned iovcnt, void *buf, size_t len)
{
	size_t done = 0;

	for (unsigned i = 0; i < iovcnt; i++) {
		if (iov[i].iov_len > len - done)
			return 0;
		memcpy((uint8_t *)buf + done, iov[i].iov_base, iov[i].iov_len);
		done += iov[i].iov_len;
	}
	return done;
}

static void loopback_send(struct net *n, const struct iovec *iov, unsigned iovcnt)
{
	uint8_t frame[NET_FRAME_MAX];
	size_t len = net_gather(iov, iovcnt, frame, sizeof(frame));

	if (len && n->receive)
		n->receive(n->owner, frame, len);
}

static void loopback_ready(struct net *n)
{
}

static void loopback_free(struct net *n)
{
	free(n);
}

static const struct net_ops loopback_ops = {"loopback", loopback_send, loopback_ready,
                                            loopback_free};

struct net *net_loopback_new(void)
{
	struct net *n = xalloc(sizeof(*n));

	n->ops = &loopback_ops;
	return n;
}
