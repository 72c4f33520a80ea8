/*
 * Network back ends: where Ethernet frames go.  user (libslirp: no privilege), tap, none; for tests a
 * loopback.  Everything happens on the lane's thread.
 */
#ifndef BACKEND_NET_H
#define BACKEND_NET_H

#include <sys/uio.h>
#include "base/loop.h"

struct net;

struct net_ops {
	const char *name;
	/* Sends one frame, without any virtio header.  Never blocks; a frame that finds no room is dropped. */
	void (*send)(struct net *n, const struct iovec *iov, unsigned iovcnt);
	/* The owner can take frames again after receive returned false. */
	void (*ready)(struct net *n);
	void (*free)(struct net *n);
};

struct net {
	const struct net_ops *ops;
	/* A frame for the guest; false: no room now, keep it or drop it. */
	bool (*receive)(void *owner, const void *frame, size_t len);
	void *owner;
};

#define NET_FRAME_MAX 1518 /* bytes of a frame: header and 1500 (and a VLAN tag), no checksum */

/* spec: "user", "tap=NAME", "none" (gives NULL).  Before the guest runs; arg: what follows the '='. */
int net_open(struct loop *lane, const char *spec, struct net **out, struct err *e) MUST_CHECK;
int net_user_open(struct loop *lane, const char *arg, struct net **out, struct err *e) MUST_CHECK;
int net_tap_open(struct loop *lane, const char *arg, struct net **out, struct err *e) MUST_CHECK;
/* For tests: what is sent comes back. */
struct net *net_loopback_new(void);

/* Copies a gathered frame; 0 when it does not fit into len. */
size_t net_gather(const struct iovec *iov, unsigned iovcnt, void *buf, size_t len);

static inline void net_free(struct net *n)
{
	if (n)
		n->ops->free(n);
}

#endif
