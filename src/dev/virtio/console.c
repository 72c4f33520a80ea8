/*
 * Console (virtio 1.2, 5.3): one port.  Input comes on the main loop and is taken to the guest on the
 * lane; `lock` covers the buffer between them.
 */
#include <string.h>
#include "dev/virtio/devices.h"
#include "dev/virtio/virtio.h"

#define F_SIZE        (1ull << 0)
#define F_EMERG_WRITE (1ull << 2)
#define INPUT_SIZE    1024
#define BATCH         64 /* buffers before others on the lane have their turn */

enum { RX, TX };

struct config {
	uint16_t cols, rows;
	uint32_t ports;
	uint32_t emerg_wr;
};

struct virtio_console {
	struct virtio v;
	struct chr *chr;
	struct virtq_chain chain;

	struct lock lock; /* LOCK_DEVICE */
	uint32_t len;
	uint8_t input[INPUT_SIZE];
};

static void receive(void *owner, const uint8_t *data, size_t len)
{
	struct virtio_console *c = owner;

	lock_take(&c->lock);
	len = MIN(len, (size_t)INPUT_SIZE - c->len);
	memcpy(c->input + c->len, data, len);
	c->len += len;
	lock_drop(&c->lock);
	virtio_again(&c->v, RX);
}

static void accept(struct virtio_console *c)
{
	size_t room;

	lock_take(&c->lock);
	room = INPUT_SIZE - c->len;
	lock_drop(&c->lock);
	chr_accept(c->chr, room);
}

static bool has_input(struct virtio_console *c)
{
	bool has;

	lock_take(&c->lock);
	has = c->len > 0;
	lock_drop(&c->lock);
	return has;
}

static void input(struct virtio_console *c)
{
	struct virtio *v = &c->v;

	while (has_input(c) && virtio_pop(v, RX, &c->chain)) {
		size_t n;

		lock_take(&c->lock);
		n = virtq_write(&c->chain, 0, c->input, c->len);
		memmove(c->input, c->input + n, c->len - n);
		c->len -= n;
		lock_drop(&c->lock);
		virtq_push(&v->queue[RX].vq, &c->chain, n);
		virtio_interrupt(v, RX);
	}
	accept(c);
}

static void output(struct virtio_console *c)
{
	struct virtio *v = &c->v;

	for (unsigned n = 0; n < BATCH; n++) {
		if (!virtio_pop(v, TX, &c->chain))
			return;
		for (unsigned i = 0; i < c->chain.out; i++)
			chr_write(c->chr, c->chain.iov[i].iov_base, c->chain.iov[i].iov_len);
		virtq_push(&v->queue[TX].vq, &c->chain, 0);
		virtio_interrupt(v, TX);
	}
	virtio_again(v, TX);
}

static void kick(struct virtio *v, unsigned queue)
{
	struct virtio_console *c = container_of(v, struct virtio_console, v);

	if (queue == RX)
		input(c);
	else
		output(c);
}

/* A guest in trouble prints without queues (5.3.4). */
static void config_write(struct virtio *v, unsigned offset, unsigned size, uint32_t value)
{
	uint8_t byte = value;

	if (offset == offsetof(struct config, emerg_wr))
		chr_write(container_of(v, struct virtio_console, v)->chr, &byte, 1);
}

static void console_state(struct virtio *v, struct state *s)
{
	struct virtio_console *c = container_of(v, struct virtio_console, v);
	uint32_t len;
	uint8_t data[INPUT_SIZE] = {0};

	lock_take(&c->lock);
	len = c->len;
	memcpy(data, c->input, len);
	lock_drop(&c->lock);
	state_enter(s, "input", 1);
	state_u32(s, "len", &len);
	state_bytes(s, "data", data, sizeof(data));
	state_leave(s);
	if (!state_loading(s) || state_failed(s))
		return;
	if (len > INPUT_SIZE) {
		state_fail(s, "console with %u bytes of input", len);
		return;
	}
	lock_take(&c->lock);
	c->len = len;
	memcpy(c->input, data, len);
	lock_drop(&c->lock);
	accept(c);
}

static void console_free(struct virtio *v)
{
	struct virtio_console *c = container_of(v, struct virtio_console, v);

	chr_free(c->chr);
	lock_fini(&c->lock);
	free(c);
}

static const struct virtio_type type = {
	.name = "virtio-console",
	.id = 3,
	.class = 0x078000,
	.queues = 2,
	.queue_size = 64,
	.config_size = sizeof(struct config),
	.features = F_EMERG_WRITE,
	.kick = kick,
	.config_write = config_write,
	.state = console_state,
	.free = console_free,
};

int virtio_console_new(struct pci_host *h, unsigned slot, const char *name, struct chr *chr,
                       uint16_t cols, uint16_t rows, struct err *e)
{
	struct virtio_console *c = xalloc(sizeof(*c));
	struct config config = {.cols = cols, .rows = rows, .ports = 1};
	int r;

	memcpy(c->v.config, &config, sizeof(config));
	c->v.offered = cols && rows ? F_SIZE : 0;
	c->chr = chr;
	lock_init(&c->lock, LOCK_DEVICE);
	r = virtio_add(&c->v, &type, h, slot, name, e);
	if (r < 0) {
		lock_fini(&c->lock);
		free(c);
		return r;
	}
	chr->owner = c;
	chr->receive = receive;
	accept(c);
	return 0;
}
