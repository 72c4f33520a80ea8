/*
 * A small virtio driver for tests: finds a device on the PCI bus and drives real rings in guest memory
 * by the accesses that a processor makes.  The machine's lane has no thread of its own; drv_wait()
 * steps it.
 */
#ifndef TESTS_DEVICE_VIRTIO_DRIVER_H
#define TESTS_DEVICE_VIRTIO_DRIVER_H

#include "dev/pci/pci.h"
#include "dev/virtio/devices.h"
#include "engine/fake/fake.h"
#include "machine/machine.h"

#define DRV_RAM    (16 * MIB)
#define DRV_BUFFER 0x100000ull /* buffers for tests start here */
#define DRV_BARS   0xc0000000ull
#define DRV_SLOT   5

#define DESC_NEXT     1
#define DESC_WRITE    2
#define DESC_INDIRECT 4

struct drv_queue {
	unsigned index;
	gpa_t desc, avail, used;
	uint16_t size, avail_idx, used_idx;
	gpa_t notify;
};

struct drv {
	struct loop *loop;
	struct machine *m;
	struct pci_host *host;
	gpa_t common, isr, device, notify, msix; /* found through capabilities */
	uint32_t notify_step;
	struct drv_queue q[2];
	bool event_idx;
};

/* A machine with RAM, PCI, and an engine that lists messages. */
void drv_open(struct drv *d);
void drv_close(struct drv *d);
/* After the device was added in DRV_SLOT: addresses for BARs, capabilities. */
void drv_find(struct drv *d);

uint32_t drv_config_read(struct drv *d, unsigned slot, unsigned offset, unsigned size);
void drv_config_write(struct drv *d, unsigned slot, unsigned offset, unsigned size, uint32_t v);

uint8_t drv_status(struct drv *d);
void drv_reset(struct drv *d);
uint64_t drv_features(struct drv *d);

/*
 * Initialisation (virtio 1.2, 3.1.1) up to a step: 1 acknowledge, 2 driver, 3 features, 4 FEATURES_OK,
 * 5 queues, 6 DRIVER_OK.  Returns the status at the end.
 */
#define DRV_ALL 6
uint8_t drv_init(struct drv *d, uint64_t features, unsigned queues, unsigned steps);
void drv_msix(struct drv *d, unsigned vectors); /* vector n: address 0xfee00000, data 0x40 + n */

void drv_desc(struct drv *d, gpa_t table, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
              uint16_t next);
void drv_submit(struct drv *d, unsigned queue, uint16_t head);
/* Steps the lane until the queue has a used chain; returns its length, -1 when none comes. */
int64_t drv_wait(struct drv *d, unsigned queue);
/* Steps the lane until nothing happens. */
void drv_settle(struct drv *d);

void drv_write(struct drv *d, gpa_t gpa, const void *buf, size_t len);
void drv_read(struct drv *d, gpa_t gpa, void *buf, size_t len);

#endif
