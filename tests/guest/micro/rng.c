/* The virtio entropy device (virtio 1.2, 4.1 and 5.4), as far as one buffer at a time needs it. */
#include "rng.h"

#define ECAM 0xe0000000ul
#define RNG  0x10441af4u

/* Capabilities (virtio 1.2, 4.1.4), by configuration type */
enum { COMMON = 1, NOTIFY, ISR, DEVICE, TYPES };

struct common { /* 4.1.4.3 */
	uint32_t device_select, device_feature, driver_select, driver_feature;
	uint16_t config_vector, queues;
	uint8_t status, generation;
	uint16_t select, size, vector, enable, notify_off;
	uint32_t desc[2], avail[2], used[2];
};

static struct {
	uint64_t address;
	uint32_t length;
	uint16_t flags, next;
} desc[8] __attribute__((aligned(16)));
static volatile struct {
	uint16_t flags, index, ring[8], event;
} avail __attribute__((aligned(2)));
static volatile struct {
	uint16_t flags, index;
	struct {
		uint32_t id, length;
	} ring[8];
	uint16_t event;
} used __attribute__((aligned(4)));
static uint8_t buffer[RNG_LENGTH];
static uint64_t config, where[TYPES], table, msix;
static uint32_t notify_step;

static uint32_t get32(uint64_t address)
{
	return *(volatile uint32_t *)address;
}

static void find_device(void)
{
	for (uint64_t slot = 0; slot < 32; slot++) {
		config = ECAM + (slot << 15);
		if (get32(config) == RNG)
			return;
	}
	print("FAIL no entropy device\n");
	end(1);
}

static uint64_t bar(unsigned n)
{
	uint64_t low = get32(config + 0x10 + 4 * n), high = 0;

	if ((low & 6) == 4)
		high = get32(config + 0x14 + 4 * n);
	return (low & ~15ull) | high << 32;
}

static void read_capabilities(void)
{
	for (uint32_t at = get32(config + 0x34) & 0xff; at;) {
		uint32_t head = get32(config + at), type = head >> 24;

		if ((head & 0xff) == 0x11) {
			uint32_t place = get32(config + at + 4);

			table = bar(place & 7) + (place & ~7u);
			msix = config + at;
		} else if ((head & 0xff) == 9 && type < TYPES && where[type] == 0) {
			where[type] = bar(get32(config + at + 4) & 0xff) + get32(config + at + 8);
			if (type == NOTIFY)
				notify_step = get32(config + at + 16);
		}
		at = head >> 8 & 0xff;
	}
}

static void start_queue(bool with_msix)
{
	volatile struct common *c = (volatile struct common *)where[COMMON];

	c->status = 0;
	c->status = 3; /* seen, has a driver */
	c->driver_select = 1;
	c->driver_feature = 1; /* VERSION_1 */
	c->status = 3 | 8;
	check("features", c->status & 8, 8);
	c->select = 0;
	c->size = 8;
	if (with_msix) {
		c->vector = 0;
		check("vector of the queue", c->vector, 0);
	}
	c->desc[0] = (uint32_t)(uintptr_t)desc;
	c->desc[1] = 0;
	c->avail[0] = (uint32_t)(uintptr_t)&avail;
	c->avail[1] = 0;
	c->used[0] = (uint32_t)(uintptr_t)&used;
	c->used[1] = 0;
	c->enable = 1;
	c->status = 3 | 8 | 4;
}

unsigned rng_start(unsigned vector)
{
	find_device();
	*(volatile uint16_t *)(config + 4) = 6; /* memory, bus master */
	read_capabilities();
	if (vector) {
		*(volatile uint32_t *)table = 0xfee00000;
		*(volatile uint32_t *)(table + 4) = 0;
		*(volatile uint32_t *)(table + 8) = vector;
		*(volatile uint32_t *)(table + 12) = 0;
		*(volatile uint32_t *)msix |= 0x80000000; /* on */
	}
	start_queue(vector != 0);
	return config >> 15 & 31;
}

void rng_ask(void)
{
	volatile struct common *c = (volatile struct common *)where[COMMON];

	desc[0].address = (uintptr_t)buffer;
	desc[0].length = RNG_LENGTH;
	desc[0].flags = 2; /* the device writes */
	__asm__ volatile("" : : : "memory");
	avail.index++;
	*(volatile uint16_t *)(where[NOTIFY] + notify_step * c->notify_off) = 0;
}

uint8_t rng_isr(void)
{
	return *(volatile uint8_t *)where[ISR];
}

void rng_check(unsigned asked)
{
	uint8_t any = 0;

	check("buffers", used.index, asked);
	check("length", used.ring[0].length, RNG_LENGTH);
	for (unsigned i = 0; i < RNG_LENGTH; i++)
		any |= buffer[i];
	check("something in them", any != 0, true);
}
