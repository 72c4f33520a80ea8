/* The kernel's local APICs through the state visitor, in the form of dev/chip/lapic.c. */
#include <errno.h>
#include <string.h>

#include "engine/kvm/kvm.h"

void kvm_apic_state(struct vcpu *v, struct state *s)
{
	struct kvm_cpu *c = v->engine_data;
	struct kvm_lapic_state page = {};
	int rc = kvm_ioctl(c->fd, KVM_GET_LAPIC, &page);

	if (rc < 0)
		state_fail(s, "KVM does not give the local APIC of vCPU %u: %s", v->id,
		           strerror(-rc));
	state_enter(s, "lapic", 1);
	state_bytes(s, "regs", page.regs, sizeof(page.regs));
	state_leave(s);
	if (!state_loading(s) || state_failed(s))
		return;
	rc = kvm_ioctl(c->fd, KVM_SET_LAPIC, &page);
	if (rc == 0)
		rc = kvm_msr_write(c, 0x6e0, c->deadline);
	if (rc < 0)
		state_fail(s, "KVM refuses the local APIC of vCPU %u: %s", v->id, strerror(-rc));
}
