/*
 * Virtio devices over PCI (virtio 1.2).  A device is a const struct virtio_type and a struct that
 * begins with struct virtio; virtio.c is its life, virtio_pci.c its registers, virtq.c its queues.
 *
 * Two threads meet here:
 *   - a vCPU (or the main thread) in the registers, with the machine's lock;
 *   - the lane, in the queues and back ends.
 * Whoever holds the machine's lock may wait for the lane (loop_call_wait: start, stop).  So the lane
 * never takes the machine's lock: it interrupts through pci_msix_send() and pci_intx_set(), which
 * take LOCK_DEVICE and the interrupt controllers' locks only, and it tells its failure through
 * atomic fields.  While the device is stopped the lane does not touch it.
 *
 * States:
 *	stopped	 the driver sets it up, or the machine is quiesced; no access to guest memory
 *	running	 DRIVER_OK: the lane serves the queues
 *	failed	 the guest wrote nonsense: NEEDS_RESET, nothing is served until a reset
 */
#ifndef DEV_VIRTIO_VIRTIO_H
#define DEV_VIRTIO_VIRTIO_H

#include "dev/pci/pci.h"
#include "dev/virtio/virtq.h"

#define VIRTIO_QUEUES_MAX 4
#define VIRTIO_CONFIG_MAX 64
#define VIRTIO_NO_VECTOR  0xffff

/* Device status (2.1) */
#define VIRTIO_ACKNOWLEDGE 0x01
#define VIRTIO_DRIVER      0x02
#define VIRTIO_DRIVER_OK   0x04
#define VIRTIO_FEATURES_OK 0x08
#define VIRTIO_NEEDS_RESET 0x40
#define VIRTIO_FAILED      0x80

/* Features that every device has (6) */
#define VIRTIO_F_INDIRECT  (1ull << 28)
#define VIRTIO_F_EVENT_IDX (1ull << 29)
#define VIRTIO_F_VERSION_1 (1ull << 32)

struct virtio;

struct virtio_type {
	const char *name;
	uint16_t id;    /* 5: "Device Types" */
	uint32_t class; /* PCI class code */
	unsigned queues;
	uint16_t queue_size;
	size_t config_size;
	uint64_t features; /* besides the common ones and v->offered */

	/* On the lane, running: the guest notified the queue, or virtio_again() was called. */
	void (*kick)(struct virtio *v, unsigned queue);
	/* On the lane: all requests are given up or finished when it returns.  May be NULL. */
	void (*stop)(struct virtio *v);
	/* The driver wrote into the configuration (vCPU).  May be NULL. */
	void (*config_write)(struct virtio *v, unsigned offset, unsigned size, uint32_t value);
	/* Fields besides registers and queues.  May be NULL. */
	void (*state)(struct virtio *v, struct state *s);
	void (*free)(struct virtio *v); /* back end and struct */
};

struct virtio_queue {
	struct virtq vq;
	uint16_t vector;
	struct watch watch; /* an eventfd: the notification */
	struct virtio *virtio;
};

struct virtio {
	struct pci_device pci;
	const struct virtio_type *type;
	uint64_t offered; /* features */
	uint8_t config[VIRTIO_CONFIG_MAX];

	/* Registers */
	_Atomic uint8_t status;
	_Atomic uint8_t isr;
	uint64_t features; /* accepted by the driver */
	uint32_t device_select, driver_select;
	uint16_t queue_select, config_vector;
	struct virtio_queue queue[VIRTIO_QUEUES_MAX];

	bool quiet;        /* between quiesce and resume */
	bool started;      /* the lane was told to start */
	bool running;      /* lane's: serves the queues */
	bool bound;        /* the engine signals our eventfds */
	uint64_t bound_at; /* ... for stores at this address */
	unsigned cfg_cap;  /* PCI configuration access capability */
};

/* Registers the device on the bus.  On failure the caller frees its own; eventfds are closed. */
int virtio_add(struct virtio *v, const struct virtio_type *type, struct pci_host *host,
               unsigned slot, const char *name, struct err *e) MUST_CHECK;

/* For the device types, on the lane. */

/* The next chain; false: none, or the device failed. */
bool virtio_pop(struct virtio *v, unsigned queue, struct virtq_chain *c);
/* Interrupts the guest if it wants one for what was published. */
void virtio_interrupt(struct virtio *v, unsigned queue);
/* The guest wrote nonsense: NEEDS_RESET. */
void virtio_fail(struct virtio *v, const char *why);
/* Has kick() called again soon; any thread. */
void virtio_again(struct virtio *v, unsigned queue);

static inline bool virtio_has(const struct virtio *v, uint64_t feature)
{
	return v->features & feature;
}

/* Between virtio.c and virtio_pci.c. */
void virtio_pci_init(struct virtio *v);
void virtio_pci_bind(struct virtio *v); /* lets the engine signal the eventfds, or stops it */
void virtio_status_write(struct virtio *v, uint8_t status);

#endif
