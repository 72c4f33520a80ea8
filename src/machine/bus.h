/*
 * Buses: port I/O and memory-mapped I/O ranges, each an array sorted by address.  The map and the
 * devices' registers are under the machine's lock, which bus_read/bus_write expect to be held.
 *
 * Accesses are 1, 2, 4 or 8 bytes.  An access that no range claims reads all ones and writes
 * nothing, as on a PC.  Ranges get the offset from their base.
 */
#ifndef MACHINE_BUS_H
#define MACHINE_BUS_H

#include "base/err.h"

struct bus_ops {
	/* Little-endian value in the low bytes. */
	uint64_t (*read)(void *dev, uint64_t offset, unsigned size);
	void (*write)(void *dev, uint64_t offset, unsigned size, uint64_t value);
	unsigned max; /* widest access that the device takes; wider ones are split.  0: 8 */
};

struct bus_range {
	uint64_t base, len;
	const struct bus_ops *ops;
	void *dev;
	const char *name;
	bool on; /* claims accesses */
};

#define BUS_RANGES_MAX 128

struct bus {
	struct bus_range *range[BUS_RANGES_MAX]; /* those that are on, sorted by base */
	unsigned n;
};

/* The range is embedded in the device; fields but `on` are filled by the caller. -EEXIST on overlap. */
int bus_add(struct bus *b, struct bus_range *r, struct err *e) MUST_CHECK;
void bus_del(struct bus *b, struct bus_range *r); /* accepts one that isn't on */
/* Moves and switches a range that a guest programs (BAR).  An overlap switches it off. */
void bus_move(struct bus *b, struct bus_range *r, uint64_t base, bool on);

uint64_t bus_read(struct bus *b, uint64_t addr, unsigned size);
void bus_write(struct bus *b, uint64_t addr, unsigned size, uint64_t value);
const struct bus_range *bus_find(const struct bus *b, uint64_t addr);

#endif
