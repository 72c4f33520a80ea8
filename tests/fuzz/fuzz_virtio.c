/*
 * A driver of virtio devices gone mad: the input is a list of what it does with registers, rings and
 * descriptors.  The devices must stay within guest memory and keep their own invariants.
 */
#include <string.h>

#include "engine/fake/fake.h"
#include "input.h"
#include "rig.h"

/* Common configuration (virtio 1.2, 4.1.4.3) and the layout of the register BAR */
enum {
	DRIVER_SELECT = 8,
	DRIVER_FEATURE = 12,
	STATUS = 20,
	QUEUE_SELECT = 22,
	QUEUE_SIZE = 24,
	QUEUE_ENABLE = 28,
	QUEUE_DESC = 32,
	QUEUE_DRIVER = 40,
	QUEUE_DEVICE = 48,
};
#define QUEUES       3
#define QUEUE_AT(i)  (RIG_RINGS + (i)*0x4000ull)
#define AVAIL(i)     (QUEUE_AT(i) + 0x1000)
#define BUFFERS      (RIG_RINGS + 0x10000)
#define REGISTER_BAR 0x4000u
#define NOTIFY_AT    0x3000u

struct driver {
	struct rig *r;
	struct input *in;
	enum rig_virtio device;
	uint16_t size; /* of the queues */
	uint16_t avail[QUEUES];
};

static gpa_t reg(const struct driver *d, unsigned offset)
{
	return d->r->bar[d->device] + offset;
}

/* As the specification wants it, so that the data path is reached. */
static void initialise(struct driver *d)
{
	struct machine *m = d->r->m;
	uint64_t features = input_take(d->in, 4) | 1ull << 32;

	d->size = (uint16_t)(1u << (input_take(d->in, 1) % 9));
	fake_write(m, reg(d, STATUS), 1, 0);
	fake_write(m, reg(d, STATUS), 1, 3);
	for (unsigned i = 0; i < 2; i++) {
		fake_write(m, reg(d, DRIVER_SELECT), 4, i);
		fake_write(m, reg(d, DRIVER_FEATURE), 4, (uint32_t)(features >> 32 * i));
	}
	fake_write(m, reg(d, STATUS), 1, 11);
	for (unsigned i = 0; i < QUEUES; i++) {
		fake_write(m, reg(d, QUEUE_SELECT), 2, i);
		fake_write(m, reg(d, QUEUE_SIZE), 2, d->size);
		fake_write(m, reg(d, QUEUE_DESC), 8, QUEUE_AT(i));
		fake_write(m, reg(d, QUEUE_DRIVER), 8, AVAIL(i));
		fake_write(m, reg(d, QUEUE_DEVICE), 8, QUEUE_AT(i) + 0x2000);
		fake_write(m, reg(d, QUEUE_ENABLE), 2, 1);
		d->avail[i] = 0;
	}
	fake_write(m, reg(d, STATUS), 1, 15);
}

/* Mostly in the buffers; sometimes anywhere. */
static uint64_t address(struct input *in)
{
	uint8_t how = (uint8_t)input_take(in, 1);

	if (how < 8)
		return input_take(in, 8);
	if (how < 32)
		return RIG_RAM - input_take(in, 1);
	if (how < 64)
		return RIG_RINGS + input_take(in, 2);
	return BUFFERS + input_take(in, 2) % 0xf000;
}

static void descriptor(struct driver *d)
{
	gpa_t table = QUEUE_AT(input_take(d->in, 1) % QUEUES);
	gpa_t at = table + 16 * (input_take(d->in, 1) % 256);
	struct machine *m = d->r->m;

	fake_write(m, at, 8, address(d->in));
	fake_write(m, at + 8, 4,
	           input_take(d->in, 1) < 240 ? input_take(d->in, 2) : input_take(d->in, 4));
	fake_write(m, at + 12, 2, input_take(d->in, 1));
	fake_write(m, at + 14, 2, input_take(d->in, 1));
}

static void submit(struct driver *d)
{
	unsigned q = (unsigned)input_take(d->in, 1) % QUEUES;
	struct machine *m = d->r->m;

	fake_write(m, AVAIL(q) + 4 + 2 * (d->avail[q] & (d->size - 1)), 2, input_take(d->in, 1));
	fake_write(m, AVAIL(q) + 2, 2, ++d->avail[q]);
}

static void poke(struct driver *d)
{
	gpa_t at = address(d->in);
	unsigned n = (unsigned)input_take(d->in, 1) & 31;

	while (n-- > 0)
		fake_write(d->r->m, at++, 1, input_take(d->in, 1));
}

static void type(struct driver *d)
{
	uint8_t text[64];
	unsigned n = (unsigned)input_take(d->in, 1) & 63;

	for (unsigned i = 0; i < n; i++)
		text[i] = (uint8_t)input_take(d->in, 1);
	chr_buffer_input(d->r->console, text, n);
}

static void act(struct driver *d)
{
	struct machine *m = d->r->m;
	unsigned size, offset;

	switch (input_take(d->in, 1) % 10) {
	case 0:
		initialise(d);
		break;
	case 1: /* any register */
		size = input_size(d->in);
		offset = (unsigned)input_take(d->in, 2) % REGISTER_BAR;
		fake_write(m, reg(d, offset), size, input_take(d->in, size));
		break;
	case 2: /* the common ones */
		size = input_size(d->in);
		offset = (unsigned)input_take(d->in, 1) % 64;
		fake_write(m, reg(d, offset), size, input_take(d->in, size));
		break;
	case 3:
		size = input_size(d->in);
		fake_read(m, reg(d, (unsigned)input_take(d->in, 2) % REGISTER_BAR), size);
		break;
	case 4:
		descriptor(d);
		break;
	case 5:
		submit(d);
		break;
	case 6:
		offset = (unsigned)input_take(d->in, 1) % QUEUES;
		fake_write(m, reg(d, NOTIFY_AT + 4 * offset), 2, offset);
		rig_settle(d->r);
		break;
	case 7:
		poke(d);
		break;
	case 8:
		type(d);
		break;
	default:
		d->device = input_take(d->in, 1) % RIG_VIRTIO;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct driver d = {.r = rig_get(), .in = &in};

	rig_reset(d.r);
	d.device = input_take(&in, 1) % RIG_VIRTIO;
	initialise(&d);
	while (!input_ended(&in))
		act(&d);
	rig_settle(d.r);
	return 0;
}
