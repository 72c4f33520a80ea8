/* Memory slots: one for each range of the machine's map. */
#include <errno.h>
#include <string.h>

#include "base/num.h"
#include "engine/kvm/kvm.h"

static int put(struct kvm_vm *vm, unsigned i, const struct kvm_slot *s, struct err *e)
{
	struct kvm_userspace_memory_region region = {
		.slot = i,
		.flags = s->flags,
		.guest_phys_addr = s->gpa,
		.memory_size = s->size,
		.userspace_addr = (uintptr_t)s->host,
	};
	char size[32];
	int rc = kvm_ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region);

	if (rc < 0)
		return err_set(e, -rc, "KVM refuses %s of guest memory at %#llx: %s",
		               num_format_size(s->size, size, sizeof(size)),
		               (unsigned long long)s->gpa, strerror(-rc));
	vm->slot[i] = *s;
	return 0;
}

static struct kvm_slot wanted(const struct kvm_vm *vm, unsigned i)
{
	const struct mem *mem = &vm->machine->mem;
	const struct mem_range *r = &mem->range[i];
	struct kvm_slot s = {};

	if (i >= mem->n)
		return s;
	s = (struct kvm_slot){.gpa = r->gpa, .size = r->size, .host = r->host, .page0 = r->page0};
	if (r->kind == MEM_ROM)
		s.flags |= KVM_MEM_READONLY;
	else if (vm->logging)
		s.flags |= KVM_MEM_LOG_DIRTY_PAGES;
	return s;
}

/* KVM changes the flag of the log in place, and nothing else. */
static bool moved(const struct kvm_slot *old, const struct kvm_slot *new)
{
	return old->gpa != new->gpa || old->size != new->size || old->host != new->host ||
	       (old->flags ^ new->flags) & KVM_MEM_READONLY;
}

int kvm_memory_update(struct machine *m, struct err *e)
{
	struct kvm_vm *vm = m->engine_data;
	int rc;

	/* All that goes first: slots must not overlap in between. */
	for (unsigned i = 0; i < MEM_RANGES_MAX; i++) {
		struct kvm_slot old = vm->slot[i], new = wanted(vm, i);

		if (old.size == 0 || !moved(&old, &new))
			continue;
		old.size = 0;
		old.flags = 0;
		rc = put(vm, i, &old, e);
		if (rc < 0)
			return rc;
	}
	for (unsigned i = 0; i < MEM_RANGES_MAX; i++) {
		struct kvm_slot new = wanted(vm, i);

		if (new.size == 0 || (vm->slot[i].size && vm->slot[i].flags == new.flags))
			continue;
		rc = put(vm, i, &new, e);
		if (rc < 0)
			return rc;
	}
	/* The numbers of the pages may be new where the slot is the old one. */
	for (unsigned i = 0; i < m->mem.n; i++)
		vm->slot[i].page0 = m->mem.range[i].page0;
	return 0;
}
