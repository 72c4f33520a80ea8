/* Entropy device (virtio 1.2, 5.4): fills what it is given. */
#include "backend/rng.h"
#include "dev/virtio/devices.h"
#include "dev/virtio/virtio.h"

#define FILL_MAX 65536 /* bytes at once; a driver asks again */
#define BATCH    16    /* requests before others on the lane have their turn */

struct virtio_rng {
	struct virtio v;
	struct virtq_chain chain;
};

static void kick(struct virtio *v, unsigned queue)
{
	struct virtio_rng *r = container_of(v, struct virtio_rng, v);
	struct virtq_chain *c = &r->chain;

	for (unsigned n = 0; n < BATCH; n++) {
		uint32_t done = 0;

		if (!virtio_pop(v, queue, c))
			return;
		for (unsigned i = c->out; i < c->out + c->in && done < FILL_MAX; i++)
			done += rng_fill(c->iov[i].iov_base,
			                 MIN(c->iov[i].iov_len, (size_t)FILL_MAX - done));
		virtq_push(&v->queue[queue].vq, c, done);
		virtio_interrupt(v, queue);
	}
	virtio_again(v, queue);
}

static void rng_free(struct virtio *v)
{
	free(container_of(v, struct virtio_rng, v));
}

static const struct virtio_type type = {
	.name = "virtio-rng",
	.id = 4,
	.class = 0x00ff00,
	.queues = 1,
	.queue_size = 16,
	.kick = kick,
	.free = rng_free,
};

int virtio_rng_new(struct pci_host *h, unsigned slot, const char *name, struct err *e)
{
	struct virtio_rng *r = xalloc(sizeof(*r));
	int result = virtio_add(&r->v, &type, h, slot, name, e);

	if (result < 0)
		free(r);
	return result;
}
