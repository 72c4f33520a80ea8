/*
 * The split virtqueue (virtio 1.2, 2.7): the one place that walks a guest's descriptors.
 *
 *	descriptors  { address, length, flags, next } x size	the guest's
 *	driver area  { flags, idx, ring[size], used_event }	the guest's: heads of chains for us
 *	device area  { flags, idx, {id, len}[size], avail_event }	ours: chains that are used
 *
 * Every address is checked against guest memory, every descriptor is copied before it is looked at,
 * and nothing that the guest writes meanwhile leads anywhere else.  Nonsense makes the functions
 * return -EINVAL; the caller then stops using the queue (virtio_fail()).
 *
 * The registers (size... device) belong to the machine's lock until virtq_start(); from then until
 * the lane has stopped everything belongs to the lane's thread.
 */
#ifndef DEV_VIRTIO_VIRTQ_H
#define DEV_VIRTIO_VIRTQ_H

#include <sys/uio.h>
#include "base/state.h"
#include "machine/mem.h"

#define VIRTQ_SEGS     128 /* buffers of one chain that we take */
#define VIRTQ_SIZE_MAX 256 /* largest queue we offer */

struct virtq_desc;
struct virtq_avail;
struct virtq_used;

struct virtq {
	/* Registers */
	uint16_t size_max, size; /* powers of two */
	bool enabled;
	gpa_t desc, driver, device; /* the three areas */

	/* Positions */
	uint16_t last_avail; /* next entry of the driver area */
	uint16_t used_idx;   /* next entry of the device area */
	uint16_t published;  /* device area's idx as the guest sees it */
	uint16_t signalled;  /* ... at the last look at whether to interrupt */
	bool signalled_valid;

	/* While it runs */
	struct mem *mem;
	bool event_idx;
	volatile struct virtq_desc *descs;
	volatile uint16_t *avail; /* flags, idx, ring, used_event */
	volatile uint8_t *used;
};

/* A chain: `out` buffers to read, then `in` buffers to write. */
struct virtq_chain {
	uint16_t head;
	unsigned out, in;
	uint64_t out_len, in_len;
	struct iovec iov[VIRTQ_SEGS];
	gpa_t gpa[VIRTQ_SEGS];
};

void virtq_reset(struct virtq *q);
/* Finds the areas in memory.  -EINVAL: misaligned or not in RAM. */
int virtq_start(struct virtq *q, struct mem *mem, bool event_idx);
/* On load, checks the registers. */
void virtq_state(struct virtq *q, struct state *s);

/* 1: the next chain; 0: none; -EINVAL. */
int virtq_pop(struct virtq *q, struct virtq_chain *c);
/* Puts the last n popped chains back, none of which was filled. */
void virtq_unpop(struct virtq *q, unsigned n);
/* The chain is used, the first `written` bytes of its in buffers are written; told later. */
void virtq_fill(struct virtq *q, const struct virtq_chain *c, uint32_t written);
/* Tells the guest of all filled chains at once. */
void virtq_publish(struct virtq *q);
static inline void virtq_push(struct virtq *q, const struct virtq_chain *c, uint32_t written)
{
	virtq_fill(q, c, written);
	virtq_publish(q);
}
/* Does the guest want an interrupt for what was published since the last call? */
bool virtq_should_interrupt(struct virtq *q);
/* Asks for a notification at the next chain; false when one is there already. */
bool virtq_idle(struct virtq *q);
/* Asks for none while we look at the queue anyway. */
void virtq_busy(struct virtq *q);

/* Copies from the out buffers, to the in buffers, from offset on; returns how much there was. */
size_t virtq_read(const struct virtq_chain *c, uint64_t offset, void *buf, size_t len);
size_t virtq_write(const struct virtq_chain *c, uint64_t offset, const void *buf, size_t len);
/* The part [offset, offset + len) of the out (in) buffers as an iovec; returns its length. */
unsigned virtq_slice(const struct virtq_chain *c, bool in, uint64_t offset, uint64_t len,
                     struct iovec *iov);

#endif
