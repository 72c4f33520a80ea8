/* The KVM engine behind the engine contract, and its counters. */
#include "engine/kvm/engine.h"

#include "base/json.h"
#include "engine/kvm/kvm.h"

static struct json *stats(struct machine *m)
{
	struct kvm_vm *vm = m->engine_data;
	struct json *j = json_object();
	uint64_t pio = 0, mmio = 0, eois = 0, windows = 0, interrupts = 0, kicks = 0, full = 0;

	for (unsigned i = 0; i < m->opened; i++) {
		const struct kvm_cpu *c = m->vcpu[i].engine_data;

		pio += c->pio;
		mmio += c->mmio;
		eois += c->eois;
		windows += c->windows;
		interrupts += c->interrupts;
		kicks += c->kicks;
		full += c->rings_full;
	}
	json_put(j, "port_accesses", json_u64(pio));
	json_put(j, "mmio", json_u64(mmio));
	json_put(j, "level_eois", json_u64(eois));
	json_put(j, "interrupt_windows", json_u64(windows));
	json_put(j, "pic_interrupts", json_u64(interrupts));
	json_put(j, "kicks", json_u64(kicks));
	json_put(j, "dirty_ring", json_bool(vm->ring));
	json_put(j, "dirty_rings_full", json_u64(full));
	return j;
}

const struct engine engine_kvm = {
	.name = "kvm",
	.own_apic = true,
	.probe = kvm_probe,
	.describe = kvm_describe,
	.abilities = kvm_abilities,
	.vm_open = kvm_vm_open,
	.vm_close = kvm_vm_close,
	.mem_update = kvm_memory_update,
	.dirty_start = kvm_dirty_start,
	.dirty_sync = kvm_dirty_sync,
	.dirty_stop = kvm_dirty_stop,
	.vcpu_open = kvm_vcpu_open,
	.vcpu_close = kvm_vcpu_close,
	.vcpu_run = kvm_vcpu_run,
	.vcpu_kick = kvm_vcpu_kick,
	.vcpu_get = kvm_state_get,
	.vcpu_set = kvm_state_set,
	.apic_state = kvm_apic_state,
	.msi = kvm_msi,
	.msi_fd = kvm_msi_fd,
	.ioapic_route = kvm_ioapic_route,
	.notify_fd = kvm_notify_fd,
	.stats = stats,
};
