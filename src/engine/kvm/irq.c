/*
 * Interrupts on their way to the kernel's local APICs: messages, irqfds, routes of the IOAPIC's pins, and
 * the PIC's ExtINT.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "engine/kvm/kvm.h"

#define MSI_DATA_LEVEL (1u << 15) /* trigger mode of a message (SDM 3A 11.11.2) */

int kvm_msi(struct machine *m, uint64_t address, uint32_t data)
{
	struct kvm_vm *vm = m->engine_data;
	struct kvm_msi msi = {
		.address_lo = (uint32_t)address,
		.address_hi = (uint32_t)(address >> 32),
		.data = data,
	};

	/* 0: nobody took it, or it was there already; as on a bus, the sender does not hear of it */
	return kvm_ioctl(vm->fd, KVM_SIGNAL_MSI, &msi) < 0 ? -EIO : 0;
}

/* Lock held: tells the kernel all routes. */
static int commit(struct kvm_vm *vm)
{
	unsigned n = 0;

	for (unsigned i = 0; i < vm->routes; i++) {
		const struct kvm_route *r = &vm->route[i];

		if (!r->used)
			continue;
		vm->table.entry[n++] = (struct kvm_irq_routing_entry){
			.gsi = i,
			.type = KVM_IRQ_ROUTING_MSI,
			.u.msi.address_lo = (uint32_t)r->address,
			.u.msi.address_hi = (uint32_t)(r->address >> 32),
			.u.msi.data = r->data,
		};
	}
	vm->table.head = (struct kvm_irq_routing){.nr = n};
	return kvm_ioctl(vm->fd, KVM_SET_GSI_ROUTING, &vm->table);
}

/* Lock held: sets a route and commits, unless nothing changes. */
static int set_route(struct kvm_vm *vm, unsigned gsi, const struct kvm_route *new)
{
	struct kvm_route *r = &vm->route[gsi];

	if (!r->used && !new->used)
		return 0;
	if (r->used == new->used && r->address == new->address && r->data == new->data)
		return 0;
	*r = *new;
	vm->routes = MAX(vm->routes, gsi + 1);
	return commit(vm);
}

/*
 * Only level-triggered pins matter: of the others the kernel has nothing to tell.  A pin that is masked
 * keeps its route, because the end of an interrupt that is in service must still be heard.
 */
void kvm_ioapic_route(struct machine *m, unsigned pin, uint64_t address, uint32_t data, bool on)
{
	struct kvm_vm *vm = m->engine_data;
	struct kvm_route route = {.address = address, .data = data, .fd = -1, .used = true};

	if (!on || pin >= IRQ_GSIS)
		return;
	if (!(data & MSI_DATA_LEVEL))
		route = (struct kvm_route){.fd = -1};
	lock_take(&vm->lock);
	if (set_route(vm, pin, &route) < 0)
		log_guest("KVM refuses the route of interrupt pin %u", pin);
	lock_drop(&vm->lock);
}

static int irqfd(struct kvm_vm *vm, int fd, unsigned gsi, bool on)
{
	struct kvm_irqfd irqfd = {
		.fd = (uint32_t)fd,
		.gsi = gsi,
		.flags = on ? 0 : KVM_IRQFD_FLAG_DEASSIGN,
	};

	return kvm_ioctl(vm->fd, KVM_IRQFD, &irqfd);
}

/* Lock held: fd's GSI, or a free one; 0 when there is none. */
static unsigned find_gsi(struct kvm_vm *vm, int fd)
{
	unsigned free = 0;

	for (unsigned i = IRQ_GSIS; i < KVM_ROUTES_MAX; i++) {
		if (vm->route[i].used && vm->route[i].fd == fd)
			return i;
		if (!vm->route[i].used && free == 0)
			free = i;
	}
	return free;
}

static int attach(struct kvm_vm *vm, unsigned gsi, const struct kvm_route *route)
{
	bool known = vm->route[gsi].used;
	int rc = set_route(vm, gsi, route);

	if (known)
		return rc;
	if (rc == 0)
		rc = irqfd(vm, route->fd, gsi, true);
	if (rc < 0)
		vm->route[gsi].used = false;
	return rc;
}

/* The route's entry in the kernel goes with the next commit: nothing refers to it. */
static int detach(struct kvm_vm *vm, unsigned gsi, int fd)
{
	if (!vm->route[gsi].used)
		return 0;
	vm->route[gsi].used = false;
	return irqfd(vm, fd, gsi, false);
}

int kvm_msi_fd(struct machine *m, uint64_t address, uint32_t data, int fd, bool on)
{
	struct kvm_vm *vm = m->engine_data;
	struct kvm_route route = {.address = address, .data = data, .fd = fd, .used = true};
	unsigned gsi;
	int rc;

	lock_take(&vm->lock);
	gsi = find_gsi(vm, fd);
	if (gsi == 0)
		rc = -ENOSPC;
	else
		rc = on ? attach(vm, gsi, &route) : detach(vm, gsi, fd);
	lock_drop(&vm->lock);
	return rc;
}

/* An external interrupt that the processor has accepted and is about to deliver. */
static int inject(struct kvm_cpu *c, uint8_t vector)
{
	struct kvm_mp_state mp;
	struct kvm_vcpu_events ev;
	int rc = kvm_ioctl(c->fd, KVM_GET_VCPU_EVENTS, &ev);

	if (rc < 0)
		return rc;
	ev.interrupt.injected = 1;
	ev.interrupt.nr = vector;
	ev.interrupt.soft = 0;
	ev.flags = 0; /* leave the rest alone */
	rc = kvm_ioctl(c->fd, KVM_SET_VCPU_EVENTS, &ev);
	if (rc == 0)
		rc = kvm_ioctl(c->fd, KVM_GET_MP_STATE, &mp);
	if (rc == 0 && mp.mp_state == KVM_MP_STATE_HALTED) {
		mp.mp_state = KVM_MP_STATE_RUNNABLE;
		rc = kvm_ioctl(c->fd, KVM_SET_MP_STATE, &mp);
	}
	return rc;
}

/*
 * KVM tells when the vCPU can take an interrupt from outside (IF set, nothing in its way, LINT0 open).
 * The vector is then put among the events in delivery, not handed over by KVM_INTERRUPT: that would keep
 * it, until the guest runs, where no state can be read from.
 */
int kvm_take_extint(struct kvm_cpu *c)
{
	struct machine *m = c->vm->machine;
	struct kvm_run *run = c->run;
	int rc;

	if (!c->extint)
		return 0;
	c->extint = irq_pic_pending(m);
	run->request_interrupt_window = c->extint;
	if (!c->extint || c->unfinished || !run->ready_for_interrupt_injection)
		return 0;
	rc = inject(c, irq_pic_accept(m));
	run->ready_for_interrupt_injection = 0;
	c->interrupts++;
	c->extint = irq_pic_pending(m);
	run->request_interrupt_window = c->extint;
	return rc;
}
