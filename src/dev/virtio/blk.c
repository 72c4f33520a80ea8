/*
 * Block device (virtio 1.2, 5.2).  A request is a header, data, and a status byte, however the driver
 * cuts them into buffers.  It keeps its chain until the back end is done with it; there are as many
 * as the queue has entries, and while all are busy the queue waits.
 */
#include <errno.h>
#include <string.h>
#include "dev/virtio/devices.h"
#include "dev/virtio/virtio.h"

#define QUEUE_SIZE        128
#define SECTOR            512
#define SERIAL_LEN        20
#define RANGE_SECTORS_MAX (1u << 21) /* one discard or write-zeroes: 1 GiB */

#define F_SEG_MAX      (1ull << 2)
#define F_RO           (1ull << 5)
#define F_BLK_SIZE     (1ull << 6)
#define F_FLUSH        (1ull << 9)
#define F_DISCARD      (1ull << 13)
#define F_WRITE_ZEROES (1ull << 14)

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };

struct header {
	uint32_t type, reserved;
	uint64_t sector;
};

struct range {
	uint64_t sector;
	uint32_t sectors, flags;
};
#define RANGE_UNMAP 1

struct config {
	uint64_t capacity;
	uint32_t size_max, seg_max;
	uint8_t geometry[4];
	uint32_t blk_size;
	uint8_t topology[8];
	uint8_t writeback, unused0;
	uint16_t num_queues;
	uint32_t max_discard_sectors, max_discard_seg, discard_alignment;
	uint32_t max_zeroes_sectors, max_zeroes_seg;
	uint8_t zeroes_may_unmap, unused1[3];
};

struct request {
	struct blk_request blk;
	struct virtio_blk *owner;
	struct request *next; /* free ones */
	struct virtq_chain chain;
	struct iovec iov[VIRTQ_SEGS];
};

struct virtio_blk {
	struct virtio v;
	struct blk *blk;
	char serial[SERIAL_LEN];
	struct request *idle;
	bool starved; /* the queue waits for a free request */
	struct request request[QUEUE_SIZE];
};

static void finish(struct request *r, uint8_t status)
{
	struct virtio_blk *b = r->owner;

	virtq_write(&r->chain, r->chain.in_len - 1, &status, 1);
	virtq_push(&b->v.queue[0].vq, &r->chain, r->chain.in_len);
	virtio_interrupt(&b->v, 0);
	r->next = b->idle;
	b->idle = r;
	if (b->starved) {
		b->starved = false;
		virtio_again(&b->v, 0);
	}
}

static void done(struct blk_request *blk, int result)
{
	finish(container_of(blk, struct request, blk), result < 0 ? S_IOERR : S_OK);
}

static void submit(struct request *r, enum blk_op op, uint64_t sector, uint64_t len,
                   unsigned iovcnt)
{
	struct blk *blk = r->owner->blk;

	if (sector > blk->size / SECTOR || len > blk->size - sector * SECTOR) {
		finish(r, S_IOERR);
		return;
	}
	r->blk = (struct blk_request){.op = op,
	                              .offset = sector * SECTOR,
	                              .len = len,
	                              .iov = r->iov,
	                              .iovcnt = iovcnt,
	                              .done = done};
	blk->ops->submit(blk, &r->blk);
}

static void transfer(struct request *r, bool in, uint64_t sector)
{
	struct virtq_chain *c = &r->chain;
	uint64_t len = in ? c->in_len - 1 : c->out_len - sizeof(struct header);
	unsigned n = virtq_slice(c, in, in ? 0 : sizeof(struct header), len, r->iov);

	if (len == 0 || len % SECTOR)
		finish(r, S_IOERR);
	else
		submit(r, in ? BLK_READ : BLK_WRITE, sector, len, n);
}

static void range(struct request *r, enum blk_op op)
{
	struct range range;
	uint32_t flags = op == BLK_ZERO ? RANGE_UNMAP : 0;

	if (r->chain.out_len != sizeof(struct header) + sizeof(range) ||
	    virtq_read(&r->chain, sizeof(struct header), &range, sizeof(range)) != sizeof(range) ||
	    range.sectors > RANGE_SECTORS_MAX)
		finish(r, S_IOERR);
	else if (range.flags & ~flags)
		finish(r, S_UNSUPP);
	else
		submit(r, op, range.sector, (uint64_t)range.sectors * SECTOR, 0);
}

static void get_id(struct request *r)
{
	size_t room = MIN(r->chain.in_len - 1, (uint64_t)SERIAL_LEN);

	virtq_write(&r->chain, 0, r->owner->serial, room);
	finish(r, room == SERIAL_LEN ? S_OK : S_IOERR);
}

static void perform(struct request *r, const struct header *h)
{
	bool readonly = r->owner->blk->readonly;

	switch (h->type) {
	case T_IN:
		transfer(r, true, h->sector);
		break;
	case T_OUT:
		transfer(r, false, h->sector);
		break;
	case T_FLUSH:
		submit(r, BLK_FLUSH, 0, 0, 0);
		break;
	case T_GET_ID:
		get_id(r);
		break;
	case T_DISCARD:
	case T_WRITE_ZEROES:
		if (readonly)
			finish(r, S_UNSUPP); /* not offered then */
		else
			range(r, h->type == T_DISCARD ? BLK_DISCARD : BLK_ZERO);
		break;
	default:
		finish(r, S_UNSUPP);
	}
}

static void kick(struct virtio *v, unsigned queue)
{
	struct virtio_blk *b = container_of(v, struct virtio_blk, v);

	for (unsigned n = 0; n < QUEUE_SIZE; n++) {
		struct request *r = b->idle;
		struct header h;

		b->starved = !r;
		if (!r || !virtio_pop(v, queue, &r->chain))
			return;
		if (r->chain.in_len == 0 || virtq_read(&r->chain, 0, &h, sizeof(h)) != sizeof(h)) {
			virtio_fail(v, "disk request without header or status");
			return;
		}
		b->idle = r->next;
		perform(r, &h);
	}
	virtio_again(v, queue);
}

static void stop(struct virtio *v)
{
	struct virtio_blk *b = container_of(v, struct virtio_blk, v);

	b->blk->ops->drain(b->blk);
	b->starved = false;
}

static void virtio_blk_free(struct virtio *v)
{
	struct virtio_blk *b = container_of(v, struct virtio_blk, v);

	blk_free(b->blk);
	free(b);
}

static const struct virtio_type type = {
	.name = "virtio-blk",
	.id = 2,
	.class = 0x018000,
	.queues = 1,
	.queue_size = QUEUE_SIZE,
	.config_size = sizeof(struct config),
	.features = F_SEG_MAX | F_BLK_SIZE | F_FLUSH,
	.kick = kick,
	.stop = stop,
	.free = virtio_blk_free,
};

int virtio_blk_new(struct pci_host *h, unsigned slot, const char *name, struct blk *blk,
                   const char *serial, struct err *e)
{
	struct virtio_blk *b = xalloc(sizeof(*b));
	struct config config = {.capacity = blk->size / SECTOR,
	                        .seg_max = VIRTQ_SEGS - 2,
	                        .blk_size = blk->block_size,
	                        .num_queues = 1,
	                        .max_discard_sectors = RANGE_SECTORS_MAX,
	                        .max_discard_seg = 1,
	                        .discard_alignment = 1,
	                        .max_zeroes_sectors = RANGE_SECTORS_MAX,
	                        .max_zeroes_seg = 1,
	                        .zeroes_may_unmap = 1};
	int r;

	b->blk = blk;
	memcpy(b->v.config, &config, sizeof(config));
	if (serial)
		memcpy(b->serial, serial, strnlen(serial, SERIAL_LEN));
	b->v.offered = blk->readonly ? F_RO : F_DISCARD | F_WRITE_ZEROES;
	for (unsigned i = 0; i < QUEUE_SIZE; i++) {
		b->request[i].owner = b;
		b->request[i].next = b->idle;
		b->idle = &b->request[i];
	}
	r = virtio_add(&b->v, &type, h, slot, name, e);
	if (r < 0)
		free(b);
	return r;
}
