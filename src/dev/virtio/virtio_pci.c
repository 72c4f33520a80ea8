/*
 * Virtio's registers over PCI (virtio 1.2, 4.1).  BAR 0, found by the guest through capabilities:
 *
 *	0x0000	common configuration (4.1.4.3)
 *	0x1000	ISR status (4.1.4.5), reading clears
 *	0x2000	device configuration (4.1.4.6)
 *	0x3000	notifications: queue n is told of by any store at 0x3000 + 4 n (4.1.4.4)
 *
 * BAR 1 has the MSI-X table: vector 0..queues.  A fifth capability lets firmware reach BAR 0 through
 * PCI configuration space (4.1.4.9).
 */
#include <stdatomic.h>
#include <string.h>
#include "base/log.h"
#include "dev/virtio/virtio.h"

#define VENDOR_QUMRANET 0x1af4
#define DEVICE_MODERN   0x1040
#define SUBSYSTEM       0x1100
#define CAP_VENDOR      0x09
#define BAR_SIZE        0x4000

enum { PART_COMMON, PART_ISR, PART_DEVICE, PART_NOTIFY }; /* address bits 13-12 */
#define PART_SHIFT  12
#define PART_MASK   0xfff
#define NOTIFY_AT   (PART_NOTIFY << PART_SHIFT)
#define NOTIFY_STEP 4

enum cap_type { CAP_COMMON = 1, CAP_NOTIFY, CAP_ISR, CAP_DEVICE, CAP_PCI };
/* struct virtio_pci_cap */
enum cap_field {
	CAP_LEN = 2,
	CAP_TYPE = 3,
	CAP_BAR = 4,
	CAP_OFFSET = 8,
	CAP_LENGTH = 12,
	CAP_DATA = 16, /* CAP_NOTIFY: the multiplier */
};

/* struct virtio_pci_common_cfg */
struct common {
	uint32_t device_feature_select;
	uint32_t device_feature;
	uint32_t driver_feature_select;
	uint32_t driver_feature;
	uint16_t config_msix_vector;
	uint16_t num_queues;
	uint8_t device_status;
	uint8_t config_generation;
	uint16_t queue_select;
	uint16_t queue_size;
	uint16_t queue_msix_vector;
	uint16_t queue_enable;
	uint16_t queue_notify_off;
	uint32_t queue_desc[2];
	uint32_t queue_driver[2];
	uint32_t queue_device[2];
	uint16_t queue_notify_data;
	uint16_t queue_reset;
};
#define COMMON_AT(field) offsetof(struct common, field)

static struct virtio_queue *selected(struct virtio *v)
{
	return v->queue_select < v->type->queues ? &v->queue[v->queue_select] : NULL;
}

static uint32_t half(uint64_t v, uint32_t select)
{
	return select < 2 ? v >> 32 * select : 0;
}

static void half_set(uint64_t *v, uint32_t select, uint32_t value)
{
	if (select < 2)
		*v = (*v & ~(0xffffffffull << 32 * select)) | (uint64_t)value << 32 * select;
}

static void common_fill(struct virtio *v, struct common *c)
{
	const struct virtio_queue *q = selected(v);

	*c = (struct common){
		.device_feature_select = v->device_select,
		.device_feature = half(v->offered, v->device_select),
		.driver_feature_select = v->driver_select,
		.driver_feature = half(v->features, v->driver_select),
		.config_msix_vector = v->config_vector,
		.num_queues = v->type->queues,
		.device_status = v->status,
		.queue_select = v->queue_select,
		.queue_msix_vector = VIRTIO_NO_VECTOR,
	};
	if (!q)
		return;
	c->queue_size = q->vq.size;
	c->queue_msix_vector = q->vector;
	c->queue_enable = q->vq.enabled;
	c->queue_notify_off = v->queue_select;
	for (unsigned i = 0; i < 2; i++) {
		c->queue_desc[i] = half(q->vq.desc, i);
		c->queue_driver[i] = half(q->vq.driver, i);
		c->queue_device[i] = half(q->vq.device, i);
	}
}

static uint16_t vector_check(const struct virtio *v, uint16_t vector)
{
	return vector < v->pci.msix.n ? vector : VIRTIO_NO_VECTOR; /* refused: reads back so */
}

/* Queue registers are the lane's once the device has started. */
static void queue_write(struct virtio *v, uint64_t offset, uint32_t value)
{
	struct virtio_queue *q = selected(v);
	struct virtq *vq;

	if (!q || v->status & VIRTIO_DRIVER_OK) {
		log_guest("%s: queue register 0x%llx written at the wrong time", v->pci.dev.name,
		          (unsigned long long)offset);
		return;
	}
	vq = &q->vq;
	switch (offset) {
	case COMMON_AT(queue_size):
		if (value && value <= vq->size_max && !(value & (value - 1)))
			vq->size = value;
		break;
	case COMMON_AT(queue_msix_vector):
		q->vector = vector_check(v, value);
		break;
	case COMMON_AT(queue_enable):
		if (value == 1)
			vq->enabled = true;
		break;
	case COMMON_AT(queue_desc):
	case COMMON_AT(queue_desc[1]):
		half_set(&vq->desc, (offset - COMMON_AT(queue_desc)) / 4, value);
		break;
	case COMMON_AT(queue_driver):
	case COMMON_AT(queue_driver[1]):
		half_set(&vq->driver, (offset - COMMON_AT(queue_driver)) / 4, value);
		break;
	case COMMON_AT(queue_device):
	case COMMON_AT(queue_device[1]):
		half_set(&vq->device, (offset - COMMON_AT(queue_device)) / 4, value);
		break;
	default:
		log_guest("%s: write to read-only register 0x%llx", v->pci.dev.name,
		          (unsigned long long)offset);
	}
}

static void common_write(struct virtio *v, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case COMMON_AT(device_feature_select):
		v->device_select = value;
		break;
	case COMMON_AT(driver_feature_select):
		v->driver_select = value;
		break;
	case COMMON_AT(driver_feature):
		if (!(v->status & VIRTIO_FEATURES_OK))
			half_set(&v->features, v->driver_select, value);
		break;
	case COMMON_AT(config_msix_vector):
		if (!(v->status & VIRTIO_DRIVER_OK))
			v->config_vector = vector_check(v, value);
		break;
	case COMMON_AT(device_status):
		virtio_status_write(v, value);
		break;
	case COMMON_AT(queue_select):
		v->queue_select = value;
		break;
	default:
		queue_write(v, offset, value);
	}
}

static uint64_t bar_read(void *dev, uint64_t offset, unsigned size)
{
	struct virtio *v = dev;
	uint64_t at = offset & PART_MASK, value = 0;
	struct common c;

	switch (offset >> PART_SHIFT) {
	case PART_COMMON:
		common_fill(v, &c);
		if (at + size <= sizeof(c))
			memcpy(&value, (uint8_t *)&c + at, size);
		break;
	case PART_ISR:
		if (at == 0) {
			value = atomic_exchange(&v->isr, 0);
			pci_intx_set(&v->pci, false);
		}
		break;
	case PART_DEVICE:
		if (at + size <= v->type->config_size)
			memcpy(&value, v->config + at, size);
		break;
	}
	return value;
}

static void bar_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct virtio *v = dev;
	uint64_t at = offset & PART_MASK;

	switch (offset >> PART_SHIFT) {
	case PART_COMMON:
		common_write(v, at, value);
		break;
	case PART_DEVICE:
		if (v->type->config_write && at + size <= v->type->config_size)
			v->type->config_write(v, at, size, value);
		break;
	case PART_NOTIFY:
		if (v->started && at / NOTIFY_STEP < v->type->queues)
			virtio_again(v, at / NOTIFY_STEP);
		break;
	}
}

static const struct bus_ops bar_ops = {bar_read, bar_write, 4};

static uint32_t config_u32(const struct virtio *v, unsigned offset)
{
	uint32_t value;

	memcpy(&value, v->pci.config + offset, sizeof(value));
	return value;
}

/* What the access capability points to; false when it points nowhere. */
static bool cfg_target(const struct virtio *v, unsigned offset, unsigned size, uint32_t *at,
                       uint32_t *len)
{
	unsigned data = v->cfg_cap + CAP_DATA;

	if (offset >= data + 4 || offset + size <= data)
		return false;
	*at = config_u32(v, v->cfg_cap + CAP_OFFSET);
	*len = config_u32(v, v->cfg_cap + CAP_LENGTH);
	return v->pci.config[v->cfg_cap + CAP_BAR] == 0 && (*len == 1 || *len == 2 || *len == 4) &&
	       *at % *len == 0 && *at < BAR_SIZE;
}

static void config_read(struct pci_device *d, unsigned offset, unsigned size)
{
	struct virtio *v = container_of(d, struct virtio, pci);
	uint32_t at, len, value;

	if (!cfg_target(v, offset, size, &at, &len))
		return;
	value = bar_read(v, at, len);
	memcpy(d->config + v->cfg_cap + CAP_DATA, &value, len);
}

static void config_write(struct pci_device *d, unsigned offset, unsigned size)
{
	struct virtio *v = container_of(d, struct virtio, pci);
	uint32_t at, len, value;

	if (!cfg_target(v, offset, size, &at, &len))
		return;
	value = config_u32(v, v->cfg_cap + CAP_DATA) & (UINT32_MAX >> (32 - 8 * len));
	bar_write(v, at, len, value);
}

void virtio_pci_bind(struct virtio *v)
{
	struct machine *m = v->pci.dev.machine;
	const struct pci_bar *bar = &v->pci.bar[0];
	uint64_t at = bar->range.base + NOTIFY_AT;
	bool want = v->started && bar->range.on && m->engine && m->engine->notify_fd;

	if (v->bound && (!want || v->bound_at != at)) {
		for (unsigned i = 0; i < v->type->queues; i++)
			m->engine->notify_fd(m, false, v->bound_at + i * NOTIFY_STEP, 2,
			                     v->queue[i].watch.fd, false);
		v->bound = false;
	}
	if (!want || v->bound)
		return;
	/* Where the engine refuses one, bar_write() sees the store. */
	for (unsigned i = 0; i < v->type->queues; i++) {
		int r = m->engine->notify_fd(m, false, at + i * NOTIFY_STEP, 2,
		                             v->queue[i].watch.fd, true);

		v->bound |= r >= 0;
	}
	v->bound_at = at;
}

static void mapped(struct pci_device *d, unsigned bar)
{
	if (bar == 0)
		virtio_pci_bind(container_of(d, struct virtio, pci));
}

static const struct pci_ops pci_ops = {
	.config_read = config_read,
	.config_write = config_write,
	.mapped = mapped,
};

static unsigned cap_add(struct virtio *v, enum cap_type type, unsigned part, uint32_t length)
{
	unsigned len = type == CAP_NOTIFY || type == CAP_PCI ? 20 : 16;
	unsigned at = pci_init_cap(&v->pci, CAP_VENDOR, len);
	uint8_t *cap = v->pci.initial + at;
	uint32_t offset = part << PART_SHIFT;

	cap[CAP_LEN] = len;
	cap[CAP_TYPE] = type;
	memcpy(cap + CAP_OFFSET, &offset, 4);
	memcpy(cap + CAP_LENGTH, &length, 4);
	return at;
}

void virtio_pci_init(struct virtio *v)
{
	const struct virtio_type *t = v->type;
	struct pci_device *d = &v->pci;
	uint16_t vendor = VENDOR_QUMRANET, subsystem = SUBSYSTEM;
	unsigned notify;

	pci_init(d, &pci_ops, vendor, DEVICE_MODERN + t->id, t->class, 1);
	memcpy(d->initial + PCI_SUBSYSTEM_VENDOR, &vendor, 2);
	memcpy(d->initial + PCI_SUBSYSTEM, &subsystem, 2);
	d->initial[PCI_INTERRUPT_PIN] = 1;
	pci_init_bar(d, 0, PCI_BAR_MEM32, BAR_SIZE, &bar_ops, v);
	pci_init_msix(d, 1, t->queues + 1);
	cap_add(v, CAP_COMMON, PART_COMMON, sizeof(struct common));
	cap_add(v, CAP_ISR, PART_ISR, 1);
	if (t->config_size)
		cap_add(v, CAP_DEVICE, PART_DEVICE, t->config_size);
	notify = cap_add(v, CAP_NOTIFY, PART_NOTIFY, NOTIFY_STEP * t->queues);
	d->initial[notify + CAP_DATA] = NOTIFY_STEP;
	v->cfg_cap = cap_add(v, CAP_PCI, 0, 0);
	d->writable[v->cfg_cap + CAP_BAR] = 0xff;
	memset(d->writable + v->cfg_cap + CAP_OFFSET, 0xff, 12);
}
