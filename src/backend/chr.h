/*
 * Character back ends: where a serial port's or console's bytes go.  stdio (raw terminal with an
 * escape key), pty, file, stderr (output only), none, and for tests a buffer.
 *
 * The owner (a device) sets receive; it is called on the main loop's thread with no lock held.
 * chr_write is called from any thread and never blocks for long: what cannot be taken at once is queued
 * to a limit, then dropped and counted.
 */
#ifndef BACKEND_CHR_H
#define BACKEND_CHR_H

#include "base/loop.h"

struct chr;

struct chr_ops {
	const char *name;
	void (*write)(struct chr *c, const void *data, size_t len);
	/* The owner can take `room` bytes of input from now on (flow control); 0: hold back.  Any thread. */
	void (*accept)(struct chr *c, size_t room);
	void (*free)(struct chr *c);
};

struct chr {
	const struct chr_ops *ops;
	/* At most as many bytes as the last accept allowed. */
	void (*receive)(void *owner, const uint8_t *data, size_t len);
	void *owner;
};

/* spec: "stdio", "pty", "file=PATH", "stderr", "none".  escape: the terminal's escape key (stdio), 0: none. */
struct chr_spec {
	const char *spec;
	uint8_t escape;
	/* stdio: called for an escape command: 'q' quit, others by the caller. */
	void (*command)(void *arg, char key);
	void *arg;
};
int chr_open(struct loop *loop, const struct chr_spec *spec, struct chr **out,
             struct err *e) MUST_CHECK;

/* For tests: keeps what is written; chr_buffer_input() is what somebody types. */
struct chr *chr_buffer_new(void);
/* Copies and removes at most len bytes of the output; returns how many. */
size_t chr_buffer_output(struct chr *c, void *buf, size_t len);
/* Hands over as much as the owner accepts; returns how much that was. */
size_t chr_buffer_input(struct chr *c, const void *data, size_t len);

static inline void chr_write(struct chr *c, const void *data, size_t len)
{
	c->ops->write(c, data, len);
}
static inline void chr_accept(struct chr *c, size_t room)
{
	c->ops->accept(c, room);
}
static inline void chr_free(struct chr *c)
{
	if (c)
		c->ops->free(c);
}

#endif
