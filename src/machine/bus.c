/*
 * Buses: finding the range that claims an address, and splitting accesses that do not fit one.
 *
 * A real bus splits an access at the boundaries of its targets and at their width: an 8-byte read of a
 * 4-byte device is two reads, the lower address first.  So does access_size().
 */
#include "machine/bus.h"

#include <errno.h>
#include <string.h>
#include "base/log.h"

static uint64_t last(const struct bus_range *r)
{
	return r->base + (r->len - 1);
}

/* Index of the first range that ends at or after addr. */
static unsigned lower_bound(const struct bus *b, uint64_t addr)
{
	unsigned lo = 0, hi = b->n;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (last(b->range[mid]) < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct bus_range *bus_find(const struct bus *b, uint64_t addr)
{
	unsigned i = lower_bound(b, addr);

	return i < b->n && b->range[i]->base <= addr ? b->range[i] : NULL;
}

/* The range that stands in r's way, or NULL. */
static const struct bus_range *overlap(const struct bus *b, const struct bus_range *r)
{
	unsigned i = lower_bound(b, r->base);

	return i < b->n && b->range[i]->base <= last(r) ? b->range[i] : NULL;
}

static void insert(struct bus *b, struct bus_range *r)
{
	unsigned i = lower_bound(b, r->base);

	memmove(&b->range[i + 1], &b->range[i], (b->n - i) * sizeof(b->range[0]));
	b->range[i] = r;
	b->n++;
	r->on = true;
}

int bus_add(struct bus *b, struct bus_range *r, struct err *e)
{
	const struct bus_range *other;

	if (r->len == 0 || last(r) < r->base)
		return err_set(e, EINVAL, "bus range '%s' is empty or wraps around", r->name);
	if (b->n == BUS_RANGES_MAX)
		return err_set(e, ENOSPC, "no room on the bus for '%s': give fewer devices",
		               r->name);
	other = overlap(b, r);
	if (other)
		return err_set(e, EEXIST, "'%s' at 0x%llx overlaps '%s'", r->name,
		               (unsigned long long)r->base, other->name);
	insert(b, r);
	return 0;
}

void bus_del(struct bus *b, struct bus_range *r)
{
	if (!r->on)
		return;
	for (unsigned i = 0; i < b->n; i++) {
		if (b->range[i] != r)
			continue;
		b->n--;
		memmove(&b->range[i], &b->range[i + 1], (b->n - i) * sizeof(b->range[0]));
		break;
	}
	r->on = false;
}

void bus_move(struct bus *b, struct bus_range *r, uint64_t base, bool on)
{
	bus_del(b, r);
	r->base = base;
	if (!on)
		return;
	if (r->len == 0 || last(r) < base || b->n == BUS_RANGES_MAX || overlap(b, r)) {
		log_guest("'%s' moved to 0x%llx, which is not free: it is switched off", r->name,
		          (unsigned long long)base);
		return;
	}
	insert(b, r);
}

/* How much of an access at addr goes to r in one piece: a power of two. */
static unsigned access_size(const struct bus_range *r, uint64_t addr, unsigned size)
{
	unsigned max = r->ops->max ? r->ops->max : 8;
	uint64_t room = last(r) - addr; /* less one, so that it cannot overflow */

	while (size > max || size - 1 > room || size & (size - 1))
		size = size & (size - 1) ? size & (size - 1) : size / 2;
	return size;
}

static uint64_t mask(unsigned size)
{
	return size >= 8 ? UINT64_MAX : (1ull << 8 * size) - 1;
}

uint64_t bus_read(struct bus *b, uint64_t addr, unsigned size)
{
	uint64_t value = 0;

	for (unsigned done = 0; done < size;) {
		const struct bus_range *r = bus_find(b, addr + done);
		uint64_t piece = 0xff;
		unsigned n = 1;

		if (r) {
			n = access_size(r, addr + done, size - done);
			piece = r->ops->read(r->dev, addr + done - r->base, n) & mask(n);
		}
		value |= piece << 8 * done;
		done += n;
	}
	return value;
}

void bus_write(struct bus *b, uint64_t addr, unsigned size, uint64_t value)
{
	for (unsigned done = 0; done < size;) {
		const struct bus_range *r = bus_find(b, addr + done);
		unsigned n = 1;

		if (r) {
			n = access_size(r, addr + done, size - done);
			/* r may have moved when this returns */
			r->ops->write(r->dev, addr + done - r->base, n,
			              (value >> 8 * done) & mask(n));
		}
		done += n;
	}
}
