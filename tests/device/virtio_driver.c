/* A small virtio driver for tests. */
#include "virtio_driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA    0xcfc
#define ECAM           0xe0000000ull
#define QUEUE_AT(i)    (0x10000ull + (i)*0x4000ull)

/* Common configuration (4.1.4.3) */
enum {
	DEVICE_SELECT = 0,
	DEVICE_FEATURE = 4,
	DRIVER_SELECT = 8,
	DRIVER_FEATURE = 12,
	CONFIG_VECTOR = 16,
	STATUS = 20,
	QUEUE_SELECT = 22,
	QUEUE_SIZE = 24,
	QUEUE_VECTOR = 26,
	QUEUE_ENABLE = 28,
	QUEUE_NOTIFY = 30,
	QUEUE_DESC = 32,
	QUEUE_DRIVER = 40,
	QUEUE_DEVICE = 48,
};

void drv_open(struct drv *d)
{
	struct pci_host_config cfg = {.ecam = ECAM, .pm_base = 0x600};
	struct err e = {0};

	*d = (struct drv){0};
	assert_int_equal(loop_new("test", &d->loop, &e), 0);
	assert_int_equal(machine_new(1, d->loop, true, &d->m, &e), 0);
	assert_int_equal(mem_add(&d->m->mem, "ram", MEM_RAM, 0, DRV_RAM, &e), 0);
	assert_int_equal(machine_open_engine(d->m, &fake_engine_apic, &e), 0);
	assert_int_equal(pci_host_new(d->m, &cfg, &d->host, &e), 0);
}

void drv_close(struct drv *d)
{
	machine_free(d->m);
	loop_free(d->loop);
}

uint32_t drv_config_read(struct drv *d, unsigned slot, unsigned offset, unsigned size)
{
	uint16_t port = CONFIG_DATA + (offset & 3);

	fake_out32(d->m, CONFIG_ADDRESS, 0x80000000u | slot << 11 | (offset & 0xfc));
	if (size == 1)
		return fake_in8(d->m, port);
	return size == 2 ? fake_in16(d->m, port) : fake_in32(d->m, port);
}

void drv_config_write(struct drv *d, unsigned slot, unsigned offset, unsigned size, uint32_t v)
{
	uint16_t port = CONFIG_DATA + (offset & 3);

	fake_out32(d->m, CONFIG_ADDRESS, 0x80000000u | slot << 11 | (offset & 0xfc));
	if (size == 1)
		fake_out8(d->m, port, v);
	else if (size == 2)
		fake_out16(d->m, port, v);
	else
		fake_out32(d->m, port, v);
}

static gpa_t bar_address(struct drv *d, unsigned bar)
{
	return drv_config_read(d, DRV_SLOT, 0x10 + 4 * bar, 4) & ~0xfull;
}

static void capability(struct drv *d, unsigned at)
{
	gpa_t where = bar_address(d, drv_config_read(d, DRV_SLOT, at + 4, 1)) +
	              drv_config_read(d, DRV_SLOT, at + 8, 4);

	switch (drv_config_read(d, DRV_SLOT, at + 3, 1)) {
	case 1:
		d->common = where;
		break;
	case 2:
		d->notify = where;
		d->notify_step = drv_config_read(d, DRV_SLOT, at + 16, 4);
		break;
	case 3:
		d->isr = where;
		break;
	case 4:
		d->device = where;
		break;
	}
}

void drv_find(struct drv *d)
{
	struct err e = {0};
	unsigned at, caps = 0;

	if (bar_address(d, 0) == 0)
		assert_int_equal(pci_assign(d->host, DRV_BARS, 0x10000000, &e), 0);
	drv_config_write(d, DRV_SLOT, 4, 2, 6);
	for (at = drv_config_read(d, DRV_SLOT, 0x34, 1); at;
	     at = drv_config_read(d, DRV_SLOT, at + 1, 1)) {
		uint8_t id = drv_config_read(d, DRV_SLOT, at, 1);

		assert_true(++caps < 16);
		if (id == 9)
			capability(d, at);
		else if (id == 0x11)
			d->msix = bar_address(d, drv_config_read(d, DRV_SLOT, at + 4, 4) & 7);
	}
	assert_true(d->common && d->isr && d->notify && d->msix);
}

uint8_t drv_status(struct drv *d)
{
	return fake_read(d->m, d->common + STATUS, 1);
}

void drv_reset(struct drv *d)
{
	fake_write(d->m, d->common + STATUS, 1, 0);
}

uint64_t drv_features(struct drv *d)
{
	uint64_t low;

	fake_write(d->m, d->common + DEVICE_SELECT, 4, 0);
	low = fake_read(d->m, d->common + DEVICE_FEATURE, 4);
	fake_write(d->m, d->common + DEVICE_SELECT, 4, 1);
	return low | fake_read(d->m, d->common + DEVICE_FEATURE, 4) << 32;
}

static void queue_init(struct drv *d, unsigned i)
{
	struct drv_queue *q = &d->q[i];
	static const uint8_t zeroes[0x4000];

	fake_write(d->m, d->common + QUEUE_SELECT, 2, i);
	*q = (struct drv_queue){.index = i,
	                        .size = fake_read(d->m, d->common + QUEUE_SIZE, 2),
	                        .desc = QUEUE_AT(i),
	                        .avail = QUEUE_AT(i) + 0x1000,
	                        .used = QUEUE_AT(i) + 0x2000};
	assert_in_range(q->size, 1, 256);
	drv_write(d, q->desc, zeroes, sizeof(zeroes));
	q->notify = d->notify + d->notify_step * fake_read(d->m, d->common + QUEUE_NOTIFY, 2);
	fake_write(d->m, d->common + QUEUE_DESC, 8, q->desc);
	fake_write(d->m, d->common + QUEUE_DRIVER, 8, q->avail);
	fake_write(d->m, d->common + QUEUE_DEVICE, 8, q->used);
	fake_write(d->m, d->common + QUEUE_VECTOR, 2, i + 1);
	fake_write(d->m, d->common + QUEUE_ENABLE, 2, 1);
}

static void features_write(struct drv *d, uint64_t features)
{
	fake_write(d->m, d->common + DRIVER_SELECT, 4, 0);
	fake_write(d->m, d->common + DRIVER_FEATURE, 4, (uint32_t)features);
	fake_write(d->m, d->common + DRIVER_SELECT, 4, 1);
	fake_write(d->m, d->common + DRIVER_FEATURE, 4, features >> 32);
}

uint8_t drv_init(struct drv *d, uint64_t features, unsigned queues, unsigned steps)
{
	static const uint8_t status[] = {0x01, 0x03, 0x03, 0x0b, 0x0b, 0x0f};

	d->event_idx = features & 1ull << 29;
	for (unsigned step = 1; step <= steps; step++) {
		if (step == 3)
			features_write(d, features);
		if (step == 5) {
			fake_write(d->m, d->common + CONFIG_VECTOR, 2, 0);
			for (unsigned i = 0; i < queues; i++)
				queue_init(d, i);
		}
		fake_write(d->m, d->common + STATUS, 1, status[step - 1]);
	}
	return drv_status(d);
}

void drv_msix(struct drv *d, unsigned vectors)
{
	unsigned at = drv_config_read(d, DRV_SLOT, 0x34, 1);

	while (drv_config_read(d, DRV_SLOT, at, 1) != 0x11)
		at = drv_config_read(d, DRV_SLOT, at + 1, 1);
	for (unsigned i = 0; i < vectors; i++) {
		fake_write(d->m, d->msix + 16 * i, 4, 0xfee00000);
		fake_write(d->m, d->msix + 16 * i + 8, 4, 0x40 + i);
		fake_write(d->m, d->msix + 16 * i + 12, 4, 0);
	}
	drv_config_write(d, DRV_SLOT, at + 2, 2, 0x8000);
}

void drv_desc(struct drv *d, gpa_t table, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
              uint16_t next)
{
	fake_write(d->m, table + 16 * i, 8, addr);
	fake_write(d->m, table + 16 * i + 8, 4, len);
	fake_write(d->m, table + 16 * i + 12, 2, flags);
	fake_write(d->m, table + 16 * i + 14, 2, next);
}

void drv_submit(struct drv *d, unsigned queue, uint16_t head)
{
	struct drv_queue *q = &d->q[queue];

	fake_write(d->m, q->avail + 4 + 2 * (q->avail_idx % q->size), 2, head);
	fake_write(d->m, q->avail + 2, 2, ++q->avail_idx);
	fake_write(d->m, q->notify, 2, queue);
}

int64_t drv_wait(struct drv *d, unsigned queue)
{
	struct drv_queue *q = &d->q[queue];
	gpa_t elem = q->used + 4 + 8 * (q->used_idx % q->size);

	for (unsigned i = 0; i < 100; i++) {
		if ((uint16_t)fake_read(d->m, q->used + 2, 2) != q->used_idx) {
			q->used_idx++;
			return (uint32_t)fake_read(d->m, elem + 4, 4);
		}
		loop_step(d->m->lane, 20);
		if (drv_status(d) & 0x40)
			break;
	}
	return -1;
}

void drv_settle(struct drv *d)
{
	for (unsigned i = 0; i < 100 && loop_step(d->m->lane, 0); i++)
		;
}

void drv_write(struct drv *d, gpa_t gpa, const void *buf, size_t len)
{
	assert_int_equal(mem_write(&d->m->mem, gpa, buf, len), 0);
}

void drv_read(struct drv *d, gpa_t gpa, void *buf, size_t len)
{
	assert_int_equal(mem_read(&d->m->mem, gpa, buf, len), 0);
}
