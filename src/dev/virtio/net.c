/*
 * Network device (virtio 1.2, 5.1): one pair of queues.  Every frame has a 12-byte header, all zero
 * but for the number of buffers, since no offload is offered.
 */
#include <string.h>
#include "dev/virtio/devices.h"
#include "dev/virtio/virtio.h"

#define F_MAC          (1ull << 5)
#define F_MRG_RXBUF    (1ull << 15)
#define F_STATUS       (1ull << 16)
#define STATUS_LINK_UP 1
#define BATCH          64 /* frames before others on the lane have their turn */
#define MERGE_MAX      64 /* buffers of one frame */

enum { RX, TX };

struct header {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset;
	uint16_t num_buffers;
};

struct config {
	uint8_t mac[6];
	uint16_t status;
};

struct virtio_net {
	struct virtio v;
	struct net *net;
	struct virtq_chain tx, rx; /* those in work; sending may bring an answer at once */
};

static void transmit(struct virtio_net *n)
{
	struct virtio *v = &n->v;
	struct virtq_chain *c = &n->tx;
	struct iovec iov[VIRTQ_SEGS];

	for (unsigned i = 0; i < BATCH; i++) {
		unsigned count;

		if (!virtio_pop(v, TX, c))
			return;
		if (c->out_len <= sizeof(struct header) || c->in) {
			virtio_fail(v, "frame without header or with buffers to write");
			return;
		}
		count = virtq_slice(c, false, sizeof(struct header), UINT64_MAX, iov);
		n->net->ops->send(n->net, iov, count);
		virtq_push(&v->queue[TX].vq, c, 0);
		virtio_interrupt(v, TX);
	}
	virtio_again(v, TX);
}

/* Are there buffers for len bytes?  Returns how many it takes; 0: not now. */
static unsigned buffers_for(struct virtio_net *n, uint64_t len)
{
	struct virtio *v = &n->v;
	unsigned max = virtio_has(v, F_MRG_RXBUF) ? MERGE_MAX : 1, count = 0;
	uint64_t room = 0;

	while (count < max && room < len) {
		if (!virtio_pop(v, RX, &n->rx))
			break;
		if (n->rx.in_len < sizeof(struct header)) {
			virtio_fail(v, "receive buffer without room for a header");
			return 0;
		}
		room += n->rx.in_len;
		count++;
	}
	virtq_unpop(&v->queue[RX].vq, count);
	return room >= len || count == max ? count : 0;
}

static bool receive(void *owner, const void *frame, size_t len)
{
	struct virtio_net *n = owner;
	struct virtio *v = &n->v;
	struct virtq *q = &v->queue[RX].vq;
	struct header h = {0};
	uint8_t buf[sizeof(h) + NET_FRAME_MAX];
	size_t total = sizeof(h) + len, done = 0;

	if (!v->running || !q->enabled || len > NET_FRAME_MAX)
		return len > NET_FRAME_MAX; /* a giant is dropped, not kept */
	h.num_buffers = buffers_for(n, total);
	if (h.num_buffers == 0)
		return false;
	memcpy(buf, &h, sizeof(h));
	memcpy(buf + sizeof(h), frame, len);
	for (unsigned i = 0; i < h.num_buffers; i++) {
		size_t part;

		/* The guest may have changed them meanwhile: then they are checked again here. */
		if (!virtio_pop(v, RX, &n->rx))
			return true;
		part = virtq_write(&n->rx, 0, buf + done, total - done);
		virtq_fill(q, &n->rx, part);
		done += part;
	}
	virtq_publish(q);
	virtio_interrupt(v, RX);
	return true;
}

static void kick(struct virtio *v, unsigned queue)
{
	struct virtio_net *n = container_of(v, struct virtio_net, v);

	if (queue == TX)
		transmit(n);
	else
		n->net->ops->ready(n->net);
}

static void virtio_net_free(struct virtio *v)
{
	struct virtio_net *n = container_of(v, struct virtio_net, v);

	net_free(n->net);
	free(n);
}

static const struct virtio_type type = {
	.name = "virtio-net",
	.id = 1,
	.class = 0x020000,
	.queues = 2,
	.queue_size = 256,
	.config_size = sizeof(struct config),
	.features = F_MAC | F_MRG_RXBUF | F_STATUS,
	.kick = kick,
	.free = virtio_net_free,
};

int virtio_net_new(struct pci_host *h, unsigned slot, const char *name, struct net *net,
                   const uint8_t mac[6], struct err *e)
{
	struct virtio_net *n = xalloc(sizeof(*n));
	struct config config = {.status = STATUS_LINK_UP};
	int r;

	memcpy(config.mac, mac, sizeof(config.mac));
	memcpy(n->v.config, &config, sizeof(config));
	n->net = net;
	r = virtio_add(&n->v, &type, h, slot, name, e);
	if (r < 0) {
		free(n);
		return r;
	}
	net->owner = n;
	net->receive = receive;
	return 0;
}
