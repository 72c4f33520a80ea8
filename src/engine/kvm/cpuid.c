/*
 * The CPU model and the kernel: what KVM can execute here goes into the model's wish, and the model,
 * with each vCPU's numbers, to KVM.
 */
#include <errno.h>
#include <string.h>

#include "engine/kvm/kvm.h"

#define ENTRIES_MAX 256

/* Of leaf 0x40000001: those whose state the engine-neutral form holds. */
#define PV_KNOWN                                                                                   \
	(PV_CLOCKSOURCE | PV_NOP_IO_DELAY | PV_CLOCKSOURCE2 | PV_STEAL_TIME | PV_EOI | PV_UNHALT | \
	 PV_CLOCK_STABLE)

#define F1_ECX_X2APIC       (1u << 21)
#define F1_ECX_TSC_DEADLINE (1u << 24)

struct entries {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entry[ENTRIES_MAX];
};

static int supported(int dev, struct entries *out)
{
	memset(out, 0, sizeof(*out));
	out->head.nent = ENTRIES_MAX;
	return kvm_ioctl(dev, KVM_GET_SUPPORTED_CPUID, out);
}

static const struct kvm_cpuid_entry2 *find(const struct entries *all, uint32_t leaf,
                                           uint32_t subleaf)
{
	static const struct kvm_cpuid_entry2 none;

	for (unsigned i = 0; i < all->head.nent; i++) {
		const struct kvm_cpuid_entry2 *k = &all->entry[i];

		if (k->function == leaf &&
		    (k->index == subleaf || !(k->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX)))
			return k;
	}
	return &none;
}

void kvm_abilities(struct cpuid_wish *w)
{
	AUTO_FREE struct entries *all = xalloc(sizeof(*all));
	AUTO_FD int dev = kvm_dev_open(NULL);
	struct engine_report report;

	*w = (struct cpuid_wish){.phys_bits = 40};
	if (dev < 0 || supported(dev, all) < 0)
		return;
	w->f1_ecx = find(all, 1, 0)->ecx | F1_ECX_X2APIC;
	if (kvm_extension(dev, KVM_CAP_TSC_DEADLINE_TIMER))
		w->f1_ecx |= F1_ECX_TSC_DEADLINE;
	w->f1_edx = find(all, 1, 0)->edx;
	w->f7_ebx = find(all, 7, 0)->ebx;
	w->f7_ecx = find(all, 7, 0)->ecx;
	w->f7_edx = find(all, 7, 0)->edx;
	w->fe1_ecx = find(all, 0x80000001, 0)->ecx;
	w->fe1_edx = find(all, 0x80000001, 0)->edx;
	w->fd1_eax = find(all, 0xd, 1)->eax;
	w->xcr0 = find(all, 0xd, 0)->eax | (uint64_t)find(all, 0xd, 0)->edx << 32;
	w->fe8_ebx = find(all, 0x80000008, 0)->ebx;
	w->fe21_eax = find(all, 0x80000021, 0)->eax;
	w->fe21_ecx = find(all, 0x80000021, 0)->ecx;
	/*
	 * Not fe7_edx: the TSC goes on while the machine is paused, and another host's has another
	 * pace.  Guests keep time by kvmclock then.
	 */
	w->phys_bits = find(all, 0x80000008, 0)->eax & 0xff;
	w->pv_features = find(all, 0x40000001, 0)->eax & PV_KNOWN;
	/* The one feature that needs a hypercall, which does not work everywhere (PVM hosts). */
	kvm_probe(&report);
	if (!report.usable)
		w->pv_features &= ~PV_UNHALT;
}

int kvm_cpuid_set_host(int dev, int cpu)
{
	AUTO_FREE struct entries *all = xalloc(sizeof(*all));
	int rc = supported(dev, all);

	return rc < 0 ? rc : kvm_ioctl(cpu, KVM_SET_CPUID2, all);
}

/* The machine's map needs so many address bits; the processor may have fewer, and then it is as it is. */
static void limit_address(struct kvm_cpuid_entry2 *k, const struct entries *all)
{
	uint32_t real = find(all, k->function, 0)->eax & 0xff;

	if (k->function == 0x80000008 && real >= 32 && (k->eax & 0xff) > real)
		k->eax = (k->eax & ~0xffu) | real;
}

int kvm_cpuid_set(struct kvm_cpu *c, struct err *e)
{
	const struct cpuid_model *m = &c->vm->machine->cpuid;
	AUTO_FREE struct entries *all = xalloc(sizeof(*all));
	AUTO_FREE struct entries *set = xalloc(sizeof(*set));
	int rc = supported(c->vm->dev, all);

	if (rc < 0)
		return err_set(e, -rc, "KVM does not tell which CPU features it has: %s",
		               strerror(-rc));
	for (unsigned i = 0; i < m->n; i++) {
		const struct cpuid_leaf *l = &m->leaf[i];
		struct kvm_cpuid_entry2 *k = &set->entry[set->head.nent++];
		uint32_t out[4];

		/* KVM itself keeps the bits that follow CR4 and XCR0. */
		cpuid_lookup(m, c->vcpu->id, 0, 1, l->leaf, l->subleaf, out);
		*k = (struct kvm_cpuid_entry2){
			.function = l->leaf,
			.index = l->by_subleaf ? l->subleaf : 0,
			.flags = l->by_subleaf ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
			.eax = out[0],
			.ebx = out[1],
			.ecx = out[2],
			.edx = out[3],
		};
		limit_address(k, all);
	}
	rc = kvm_ioctl(c->fd, KVM_SET_CPUID2, set);
	if (rc < 0)
		return err_set(e, -rc, "KVM refuses the CPU model '%s': %s", m->name,
		               strerror(-rc));
	return 0;
}
