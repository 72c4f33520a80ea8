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

/* spec: "user", "tap=NAME", "none" (gives NULL). */
int net_open(struct loop *lane, const char *spec, struct net **out, struct err *e) MUST_CHECK;

#endif
