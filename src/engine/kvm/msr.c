/*
 * The MSRs of the engine-neutral state.  Kernels differ in which of them they have (and refuse a whole
 * list for one that is unknown), so each is tried once a VM.
 */
#include <errno.h>
#include <string.h>

#include "engine/kvm/kvm.h"

#define MSR_TSC_DEADLINE 0x6e0
#define MSR_MTRR_BASE(i) (0x200 + 2 * (i))
#define MSR_MTRR_MASK(i) (0x201 + 2 * (i))

#define FIELD(f) offsetof(struct cpu_state, f)

/* In the order of writing: the deadline is compared with the TSC. */
static const struct {
	uint32_t index;
	uint32_t offset; /* of the field in struct cpu_state */
} list[] = {
	{0xc0000081, FIELD(star)},
	{0xc0000082, FIELD(lstar)},
	{0xc0000083, FIELD(cstar)},
	{0xc0000084, FIELD(fmask)},
	{0xc0000102, FIELD(kernel_gs_base)},
	{0xc0000103, FIELD(tsc_aux)},
	{0x174, FIELD(sysenter_cs)},
	{0x175, FIELD(sysenter_esp)},
	{0x176, FIELD(sysenter_eip)},
	{0x1a0, FIELD(misc_enable)},
	{0x48, FIELD(spec_ctrl)},
	{0x277, FIELD(pat)},
	{0x250, FIELD(mtrr_fixed[0])},
	{0x258, FIELD(mtrr_fixed[1])},
	{0x259, FIELD(mtrr_fixed[2])},
	{0x268, FIELD(mtrr_fixed[3])},
	{0x269, FIELD(mtrr_fixed[4])},
	{0x26a, FIELD(mtrr_fixed[5])},
	{0x26b, FIELD(mtrr_fixed[6])},
	{0x26c, FIELD(mtrr_fixed[7])},
	{0x26d, FIELD(mtrr_fixed[8])},
	{0x26e, FIELD(mtrr_fixed[9])},
	{0x26f, FIELD(mtrr_fixed[10])},
	{MSR_MTRR_BASE(0), FIELD(mtrr_base[0])},
	{MSR_MTRR_MASK(0), FIELD(mtrr_mask[0])},
	{MSR_MTRR_BASE(1), FIELD(mtrr_base[1])},
	{MSR_MTRR_MASK(1), FIELD(mtrr_mask[1])},
	{MSR_MTRR_BASE(2), FIELD(mtrr_base[2])},
	{MSR_MTRR_MASK(2), FIELD(mtrr_mask[2])},
	{MSR_MTRR_BASE(3), FIELD(mtrr_base[3])},
	{MSR_MTRR_MASK(3), FIELD(mtrr_mask[3])},
	{MSR_MTRR_BASE(4), FIELD(mtrr_base[4])},
	{MSR_MTRR_MASK(4), FIELD(mtrr_mask[4])},
	{MSR_MTRR_BASE(5), FIELD(mtrr_base[5])},
	{MSR_MTRR_MASK(5), FIELD(mtrr_mask[5])},
	{MSR_MTRR_BASE(6), FIELD(mtrr_base[6])},
	{MSR_MTRR_MASK(6), FIELD(mtrr_mask[6])},
	{MSR_MTRR_BASE(7), FIELD(mtrr_base[7])},
	{MSR_MTRR_MASK(7), FIELD(mtrr_mask[7])},
	{0x2ff, FIELD(mtrr_def)},
	{0x4b564d00, FIELD(pv_wall_clock)},
	{0x4b564d01, FIELD(pv_system_time)},
	{0x4b564d03, FIELD(pv_steal_time)},
	{0x4b564d04, FIELD(pv_eoi)},
	{0x3b, FIELD(tsc_adjust)},
	{0x10, FIELD(tsc)},
	{MSR_TSC_DEADLINE, FIELD(tsc_deadline)},
};
_Static_assert(ARRAY_LEN(list) <= ARRAY_LEN(((struct kvm_vm *)0)->msr), "room for all");

struct msrs {
	struct kvm_msrs head;
	struct kvm_msr_entry entry[ARRAY_LEN(list)];
};

static void find_known(struct kvm_cpu *c)
{
	struct kvm_vm *vm = c->vm;
	struct msrs one = {.head.nmsrs = 1};

	for (unsigned i = 0; i < ARRAY_LEN(list); i++) {
		one.entry[0].index = list[i].index;
		if (kvm_ioctl(c->fd, KVM_GET_MSRS, &one) == 1)
			vm->msr[vm->msrs++] = i;
	}
}

static uint64_t *field(struct cpu_state *state, unsigned i)
{
	return (uint64_t *)((uint8_t *)state + list[i].offset);
}

static void fill(struct kvm_cpu *c, struct msrs *m, struct cpu_state *state)
{
	struct kvm_vm *vm = c->vm;

	if (vm->msrs == 0)
		find_known(c);
	memset(m, 0, sizeof(*m));
	m->head.nmsrs = vm->msrs;
	for (unsigned i = 0; i < vm->msrs; i++) {
		m->entry[i].index = list[vm->msr[i]].index;
		if (state)
			m->entry[i].data = *field(state, vm->msr[i]);
	}
}

int kvm_msr_get(struct kvm_cpu *c, struct cpu_state *out, struct err *e)
{
	struct kvm_vm *vm = c->vm;
	struct msrs m;
	int rc;

	fill(c, &m, NULL);
	rc = kvm_ioctl(c->fd, KVM_GET_MSRS, &m);
	if (rc < 0)
		return err_set(e, -rc, "KVM does not give its MSRs: %s", strerror(-rc));
	if ((unsigned)rc < vm->msrs)
		return err_set(e, EIO, "KVM does not give MSR %#x", m.entry[rc].index);
	for (unsigned i = 0; i < vm->msrs; i++)
		*field(out, vm->msr[i]) = m.entry[i].data;
	return 0;
}

int kvm_msr_set(struct kvm_cpu *c, const struct cpu_state *in, struct err *e)
{
	struct msrs m;
	int rc;

	fill(c, &m, (struct cpu_state *)in);
	rc = kvm_ioctl(c->fd, KVM_SET_MSRS, &m);
	if (rc < 0)
		return err_set(e, -rc, "KVM does not take MSRs: %s", strerror(-rc));
	if ((unsigned)rc < c->vm->msrs)
		return err_set(e, EINVAL, "KVM refuses the value %#llx of MSR %#x",
		               (unsigned long long)m.entry[rc].data, m.entry[rc].index);
	c->deadline = in->tsc_deadline;
	return 0;
}

int kvm_set_deadline(struct kvm_cpu *c)
{
	struct msrs m = {.head.nmsrs = 1,
	                 .entry[0] = {.index = MSR_TSC_DEADLINE, .data = c->deadline}};

	if (c->deadline == 0)
		return 0;
	return kvm_ioctl(c->fd, KVM_SET_MSRS, &m) == 1 ? 0 : -EINVAL;
}
