/* The split virtqueue (virtio 1.2, 2.7). */
#include "dev/virtio/virtq.h"

#include <errno.h>
#include <string.h>
#include "base/log.h"

struct virtq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

#define DESC_NEXT          1
#define DESC_WRITE         2
#define DESC_INDIRECT      4
#define AVAIL_NO_INTERRUPT 1
#define USED_NO_NOTIFY     1

/* Driver area, in 16-bit words: flags, idx, ring[size], used_event. */
enum { AVAIL_FLAGS, AVAIL_IDX, AVAIL_RING };
/* Device area, in bytes: flags, idx, {id, len}[size], avail_event. */
enum { USED_FLAGS = 0, USED_IDX = 2, USED_RING = 4, USED_ELEM = 8 };

void virtq_reset(struct virtq *q)
{
	*q = (struct virtq){.size_max = q->size_max, .size = q->size_max};
}

int virtq_start(struct virtq *q, struct mem *mem, bool event_idx)
{
	uint64_t avail_len = 2 * (AVAIL_RING + q->size + 1);
	uint64_t used_len = USED_RING + USED_ELEM * q->size + 2;

	if (q->desc % 16 || q->driver % 2 || q->device % 4)
		return -EINVAL;
	q->descs = mem_ptr(mem, q->desc, 16ull * q->size, false);
	q->avail = mem_ptr(mem, q->driver, avail_len, false);
	q->used = mem_ptr(mem, q->device, used_len, true);
	if (!q->descs || !q->avail || !q->used)
		return -EINVAL;
	q->mem = mem;
	q->event_idx = event_idx;
	return 0;
}

void virtq_state(struct virtq *q, struct state *s)
{
	state_enter(s, "queue", 1);
	state_u16(s, "size", &q->size);
	state_bool(s, "enabled", &q->enabled);
	state_u64(s, "desc", &q->desc);
	state_u64(s, "driver", &q->driver);
	state_u64(s, "device", &q->device);
	state_u16(s, "last_avail", &q->last_avail);
	state_u16(s, "used_idx", &q->used_idx);
	state_u16(s, "signalled", &q->signalled);
	state_bool(s, "signalled_valid", &q->signalled_valid);
	state_leave(s);
	if (!state_loading(s) || state_failed(s))
		return;
	q->published = q->used_idx;
	if (q->size == 0 || q->size > q->size_max || q->size & (q->size - 1))
		state_fail(s, "virtqueue of %u entries", q->size);
}

static struct virtq_desc desc_copy(const volatile struct virtq_desc *d)
{
	return (struct virtq_desc){d->addr, d->len, d->flags, d->next};
}

static int chain_add(struct virtq *q, struct virtq_chain *c, const struct virtq_desc *d)
{
	bool write = d->flags & DESC_WRITE;
	unsigned n = c->out + c->in;
	void *p;

	if (n == VIRTQ_SEGS || d->len == 0 || (c->in && !write))
		return -EINVAL;
	p = mem_ptr(q->mem, d->addr, d->len, write);
	if (!p)
		return -EINVAL;
	c->iov[n] = (struct iovec){p, d->len};
	c->gpa[n] = d->addr;
	if (write) {
		c->in++;
		c->in_len += d->len;
	} else {
		c->out++;
		c->out_len += d->len;
	}
	return 0;
}

/* Follows a chain within one table; each descriptor once at most, so that a loop ends. */
static int chain_walk(struct virtq *q, struct virtq_chain *c,
                      const volatile struct virtq_desc *table, unsigned count, unsigned first)
{
	unsigned next = first;

	for (unsigned seen = 0; seen < count; seen++) {
		struct virtq_desc d;

		if (next >= count)
			return -EINVAL;
		d = desc_copy(&table[next]);
		if (d.flags & DESC_INDIRECT) /* nested, or behind others: not allowed */
			return -EINVAL;
		if (chain_add(q, c, &d) < 0)
			return -EINVAL;
		if (!(d.flags & DESC_NEXT))
			return 0;
		next = d.next;
	}
	return -EINVAL;
}

static int chain_indirect(struct virtq *q, struct virtq_chain *c, const struct virtq_desc *d)
{
	unsigned count = d->len / sizeof(*d);
	const void *table;

	if (d->flags & DESC_NEXT || d->len % sizeof(*d) || count == 0 || count > 65536)
		return -EINVAL;
	table = mem_ptr(q->mem, d->addr, d->len, false);
	return table ? chain_walk(q, c, table, count, 0) : -EINVAL;
}

int virtq_pop(struct virtq *q, struct virtq_chain *c)
{
	uint16_t idx = __atomic_load_n(&q->avail[AVAIL_IDX], __ATOMIC_ACQUIRE);
	uint16_t ready = idx - q->last_avail;
	struct virtq_desc first;
	int r;

	if (ready == 0)
		return 0;
	c->head = q->avail[AVAIL_RING + q->last_avail % q->size];
	c->out = c->in = 0;
	c->out_len = c->in_len = 0;
	if (ready > q->size || c->head >= q->size)
		return -EINVAL;
	first = desc_copy(&q->descs[c->head]);
	if (first.flags & DESC_INDIRECT)
		r = chain_indirect(q, c, &first);
	else
		r = chain_walk(q, c, q->descs, q->size, c->head);
	if (r < 0)
		return r;
	q->last_avail++;
	return 1;
}

void virtq_unpop(struct virtq *q, unsigned n)
{
	q->last_avail -= n;
}

/* DMA must be seen by the dirty log and by translated code. */
static void in_written(struct virtq *q, const struct virtq_chain *c, uint64_t written)
{
	for (unsigned i = c->out; i < c->out + c->in && written; i++) {
		uint64_t len = MIN(written, (uint64_t)c->iov[i].iov_len);

		mem_written(q->mem, c->gpa[i], len);
		written -= len;
	}
}

void virtq_fill(struct virtq *q, const struct virtq_chain *c, uint32_t written)
{
	uint32_t at = USED_RING + USED_ELEM * (q->used_idx % q->size);
	volatile uint32_t *elem = (volatile uint32_t *)(q->used + at);

	in_written(q, c, written);
	elem[0] = c->head;
	elem[1] = written;
	mem_written(q->mem, q->device + at, USED_ELEM);
	q->used_idx++;
}

void virtq_publish(struct virtq *q)
{
	/* Release: buffers and ring entries are seen before the index is. */
	__atomic_store_n((volatile uint16_t *)(q->used + USED_IDX), q->used_idx, __ATOMIC_RELEASE);
	mem_written(q->mem, q->device + USED_IDX, 2);
	q->published = q->used_idx;
}

bool virtq_should_interrupt(struct virtq *q)
{
	uint16_t old = q->signalled, now = q->published, event;
	bool valid = q->signalled_valid;

	/* Our index must be out before we read what the guest wants (2.7.7.2). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!q->event_idx)
		return !(q->avail[AVAIL_FLAGS] & AVAIL_NO_INTERRUPT);
	q->signalled = now;
	q->signalled_valid = true;
	event = q->avail[AVAIL_RING + q->size];
	return !valid || (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

static void used_put(struct virtq *q, uint32_t offset, uint16_t value)
{
	*(volatile uint16_t *)(q->used + offset) = value;
	mem_written(q->mem, q->device + offset, 2);
}

bool virtq_idle(struct virtq *q)
{
	if (q->event_idx)
		used_put(q, USED_RING + USED_ELEM * q->size, q->last_avail);
	else
		used_put(q, USED_FLAGS, 0);
	/* The wish must be out before we look a last time (2.7.10). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return q->avail[AVAIL_IDX] == q->last_avail;
}

void virtq_busy(struct virtq *q)
{
	if (!q->event_idx)
		used_put(q, USED_FLAGS, USED_NO_NOTIFY);
}

unsigned virtq_slice(const struct virtq_chain *c, bool in, uint64_t offset, uint64_t len,
                     struct iovec *iov)
{
	const struct iovec *from = c->iov + (in ? c->out : 0);
	unsigned count = in ? c->in : c->out, n = 0;

	for (unsigned i = 0; i < count && len; i++) {
		uint64_t skip = MIN(offset, (uint64_t)from[i].iov_len);
		uint64_t take = MIN(len, from[i].iov_len - skip);

		offset -= skip;
		if (take == 0)
			continue;
		iov[n++] = (struct iovec){(uint8_t *)from[i].iov_base + skip, take};
		len -= take;
	}
	return n;
}

static size_t copy(const struct virtq_chain *c, bool in, uint64_t offset, uint8_t *buf, size_t len)
{
	struct iovec iov[VIRTQ_SEGS];
	unsigned n = virtq_slice(c, in, offset, len, iov);
	size_t done = 0;

	for (unsigned i = 0; i < n; i++) {
		if (in)
			memcpy(iov[i].iov_base, buf + done, iov[i].iov_len);
		else
			memcpy(buf + done, iov[i].iov_base, iov[i].iov_len);
		done += iov[i].iov_len;
	}
	return done;
}

size_t virtq_read(const struct virtq_chain *c, uint64_t offset, void *buf, size_t len)
{
	return copy(c, false, offset, buf, len);
}

size_t virtq_write(const struct virtq_chain *c, uint64_t offset, const void *buf, size_t len)
{
	return copy(c, true, offset, (uint8_t *)buf, len);
}
