/*
 * A whole PC for fuzzers: all chips, PCI and virtio devices of a virtual machine, the fake engine, a
 * clock that only moves when told.  Made once; rig_reset() brings it back between inputs.
 */
#ifndef TESTS_FUZZ_RIG_H
#define TESTS_FUZZ_RIG_H

#include "backend/chr.h"
#include "vm/devices.h"

#define RIG_RAM   (16 * MIB)
#define RIG_CPUS  2
#define RIG_RINGS 0x10000ull /* guest memory that fuzzed drivers use */
#define RIG_ROOM  0x20000u

enum rig_virtio { RIG_BLK, RIG_NET, RIG_CONSOLE, RIG_RNG, RIG_VIRTIO };
#define RIG_SLOT(device) (8 + (device))

struct rig {
	struct vm vm;
	struct machine *m;
	struct loop *loop;
	struct chr *console;   /* of the virtio console, a buffer */
	gpa_t bar[RIG_VIRTIO]; /* of the virtio registers */
};

struct rig *rig_get(void);
void rig_reset(struct rig *r);
/* Lets the lane do what it has to, within bounds. */
void rig_settle(struct rig *r);

#endif
