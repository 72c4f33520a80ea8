/* A virtio device's life: status, start and stop on the lane, failure, interrupts, state. */
#include "dev/virtio/virtio.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include "base/log.h"

#define ISR_QUEUE       1
#define ISR_CONFIG      2
#define COMMON_FEATURES (VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_IDX | VIRTIO_F_VERSION_1)

static void interrupt(struct virtio *v, uint16_t vector, uint8_t isr)
{
	if (pci_msix_enabled(&v->pci)) {
		if (vector != VIRTIO_NO_VECTOR)
			pci_msix_send(&v->pci, vector);
		return;
	}
	/* The guest reading ISR in between leaves the wire up with ISR 0: one spurious interrupt,
	 * whose handler reads ISR again and lowers it. */
	atomic_fetch_or(&v->isr, isr);
	pci_intx_set(&v->pci, true);
}

void virtio_interrupt(struct virtio *v, unsigned queue)
{
	if (virtq_should_interrupt(&v->queue[queue].vq))
		interrupt(v, v->queue[queue].vector, ISR_QUEUE);
}

void virtio_fail(struct virtio *v, const char *why)
{
	log_guest("%s: %s: device needs reset", v->pci.dev.name, why);
	v->running = false;
	atomic_fetch_or(&v->status, VIRTIO_NEEDS_RESET);
	interrupt(v, v->config_vector, ISR_CONFIG);
}

void virtio_again(struct virtio *v, unsigned queue)
{
	uint64_t one = 1;

	if (write(v->queue[queue].watch.fd, &one, sizeof(one)) < 0)
		log_debug("%s: cannot wake the lane: %s", v->pci.dev.name, strerror(errno));
}

bool virtio_pop(struct virtio *v, unsigned queue, struct virtq_chain *c)
{
	struct virtq *q = &v->queue[queue].vq;
	int r;

	if (!v->running || !q->enabled)
		return false;
	do {
		r = virtq_pop(q, c);
	} while (r == 0 && !virtq_idle(q));
	if (r < 0)
		virtio_fail(v, "bad descriptors");
	return r > 0;
}

static void notified(struct watch *w, uint32_t events)
{
	struct virtio_queue *q = container_of(w, struct virtio_queue, watch);
	struct virtio *v = q->virtio;
	uint64_t n;

	if (read(w->fd, &n, sizeof(n)) < 0)
		return;
	if (v->running && q->vq.enabled) {
		virtq_busy(&q->vq); /* until virtio_pop() finds it empty */
		v->type->kick(v, q - v->queue);
	}
}

static void lane_start(void *arg)
{
	struct virtio *v = arg;
	struct machine *m = v->pci.dev.machine;

	v->running = true;
	for (unsigned i = 0; i < v->type->queues && v->running; i++) {
		struct virtio_queue *q = &v->queue[i];

		if (q->vq.enabled &&
		    virtq_start(&q->vq, &m->mem, virtio_has(v, VIRTIO_F_EVENT_IDX)) < 0)
			virtio_fail(v, "queue outside of memory");
	}
	for (unsigned i = 0; i < v->type->queues && v->running; i++) {
		if (watch_add(m->lane, &v->queue[i].watch, NULL) < 0)
			virtio_fail(v, "the host has no room for a watch");
		virtio_again(v, i); /* what was there before we looked */
	}
}

static void lane_stop(void *arg)
{
	struct virtio *v = arg;

	if (v->type->stop)
		v->type->stop(v); /* completions still go to the guest, so before the rest */
	v->running = false;
	for (unsigned i = 0; i < v->type->queues; i++)
		watch_del(&v->queue[i].watch);
}

static void start(struct virtio *v)
{
	uint8_t status = v->status;

	if (v->started || v->quiet || !(status & VIRTIO_DRIVER_OK) || status & VIRTIO_NEEDS_RESET)
		return;
	v->started = true;
	loop_call_wait(v->pci.dev.machine->lane, lane_start, v);
	virtio_pci_bind(v);
}

static void stop(struct virtio *v)
{
	if (!v->started)
		return;
	loop_call_wait(v->pci.dev.machine->lane, lane_stop, v);
	v->started = false;
	virtio_pci_bind(v);
}

static void registers_reset(struct virtio *v)
{
	v->status = 0;
	v->isr = 0;
	v->features = 0;
	v->device_select = v->driver_select = 0;
	v->queue_select = 0;
	v->config_vector = VIRTIO_NO_VECTOR;
	for (unsigned i = 0; i < v->type->queues; i++) {
		virtq_reset(&v->queue[i].vq);
		v->queue[i].vector = VIRTIO_NO_VECTOR;
	}
}

void virtio_status_write(struct virtio *v, uint8_t status)
{
	uint8_t old = v->status;

	if (status == 0) {
		stop(v);
		registers_reset(v);
		pci_intx_set(&v->pci, false);
		return;
	}
	if (status & VIRTIO_FEATURES_OK && !(old & VIRTIO_FEATURES_OK) &&
	    (v->features & ~v->offered || !virtio_has(v, VIRTIO_F_VERSION_1)))
		status &= ~VIRTIO_FEATURES_OK; /* the driver reads back that we refuse (3.1.1) */
	if (status & VIRTIO_DRIVER_OK && !(status & VIRTIO_FEATURES_OK)) {
		log_guest("%s: DRIVER_OK without FEATURES_OK", v->pci.dev.name);
		status &= ~VIRTIO_DRIVER_OK;
	}
	/* A driver can only add bits, but by a reset; NEEDS_RESET is ours and may come meanwhile. */
	atomic_fetch_or(&v->status, status & ~VIRTIO_NEEDS_RESET);
	start(v);
}

static struct virtio *of_device(struct device *d)
{
	return container_of(d, struct virtio, pci.dev);
}

static void dev_reset(struct device *d)
{
	struct virtio *v = of_device(d);

	virtio_status_write(v, 0);
	pci_reset(&v->pci);
}

static void dev_quiesce(struct device *d)
{
	struct virtio *v = of_device(d);

	v->quiet = true;
	stop(v);
}

static void dev_resume(struct device *d)
{
	struct virtio *v = of_device(d);

	v->quiet = false;
	start(v);
}

static void registers_state(struct virtio *v, struct state *s)
{
	uint8_t status = v->status, isr = v->isr;

	state_enter(s, "virtio", 1);
	state_u8(s, "status", &status);
	state_u8(s, "isr", &isr);
	state_u64(s, "features", &v->features);
	state_u32(s, "device_select", &v->device_select);
	state_u32(s, "driver_select", &v->driver_select);
	state_u16(s, "queue_select", &v->queue_select);
	state_u16(s, "config_vector", &v->config_vector);
	for (unsigned i = 0; i < v->type->queues; i++) {
		virtq_state(&v->queue[i].vq, s);
		state_u16(s, "vector", &v->queue[i].vector);
	}
	state_leave(s);
	if (!state_loading(s) || state_failed(s))
		return;
	v->status = status;
	v->isr = isr;
	if (v->features & ~v->offered)
		state_fail(s, "device '%s' has features 0x%llx that it is not offered here",
		           v->pci.dev.name, (unsigned long long)v->features);
}

static void dev_state(struct device *d, struct state *s)
{
	struct virtio *v = of_device(d);

	if (state_loading(s))
		stop(v);
	pci_state(&v->pci, s);
	registers_state(v, s);
	if (v->type->state)
		v->type->state(v, s);
	if (!state_loading(s))
		return;
	if (state_failed(s))
		registers_reset(v);
	start(v);
}

static void queues_fini(struct virtio *v)
{
	for (unsigned i = 0; i < v->type->queues; i++) {
		if (v->queue[i].watch.fd >= 0)
			close(v->queue[i].watch.fd);
		v->queue[i].watch.fd = -1;
	}
}

static void dev_free(struct device *d)
{
	struct virtio *v = of_device(d);

	stop(v);
	pci_remove(&v->pci);
	queues_fini(v);
	v->type->free(v);
}

static const struct device_type virtio_device = {
	.name = "virtio",
	.reset = dev_reset,
	.state = dev_state,
	.free = dev_free,
	.quiesce = dev_quiesce,
	.resume = dev_resume,
};

int virtio_add(struct virtio *v, const struct virtio_type *type, struct pci_host *host,
               unsigned slot, const char *name, struct err *e)
{
	int r = 0;

	v->type = type;
	v->offered |= type->features | COMMON_FEATURES;
	for (unsigned i = 0; i < type->queues; i++) {
		struct virtio_queue *q = &v->queue[i];

		q->virtio = v;
		q->vq.size_max = type->queue_size;
		q->watch = (struct watch){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		                          .events = EPOLLIN,
		                          .fn = notified};
		if (q->watch.fd < 0)
			r = err_set(e, errno, "cannot make an eventfd: %s", strerror(errno));
	}
	registers_reset(v);
	virtio_pci_init(v);
	if (r == 0)
		r = pci_add(host, &v->pci, &virtio_device, name, slot, e);
	if (r < 0)
		queues_fini(v);
	return r;
}
