/*
 * Which pages vCPUs have written: by dirty rings where the kernel has them, by its dirty log otherwise.
 *
 * A ring is one vCPU's, written by the kernel in KVM_RUN and read by whoever holds dirty_lock: the main
 * thread in kvm_dirty_sync(), or the vCPU's thread when the ring is full.  An entry goes
 *
 *	free --kernel--> DIRTY --we--> RESET --KVM_RESET_DIRTY_RINGS--> free, page write-protected again
 *
 * so the bit in the machine's log must be set before RESET: from then on the page may be written and
 * reported again.
 */
#include <errno.h>
#include <string.h>

#include "engine/kvm/kvm.h"

#define RING_ENTRIES (KVM_RING_BYTES / sizeof(struct kvm_dirty_gfn))

static void note(struct kvm_vm *vm, const struct kvm_dirty_gfn *g)
{
	uint32_t slot = g->slot & 0xffff;

	if (slot < MEM_RANGES_MAX && g->offset < vm->slot[slot].size / PAGE_SIZE)
		mem_dirty_set(&vm->machine->mem, vm->slot[slot].page0 + g->offset);
}

/* dirty_lock held. */
static void harvest(struct kvm_cpu *c)
{
	for (;;) {
		struct kvm_dirty_gfn *g = &c->ring[c->ring_next % RING_ENTRIES];

		if (!(__atomic_load_n(&g->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY))
			return;
		note(c->vm, g);
		__atomic_store_n(&g->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
		c->ring_next++;
	}
}

int kvm_ring_harvest(struct kvm_cpu *c)
{
	int rc;

	lock_take(&c->vm->dirty_lock);
	harvest(c);
	rc = kvm_ioctl_n(c->vm->fd, KVM_RESET_DIRTY_RINGS, 0);
	lock_drop(&c->vm->dirty_lock);
	return rc;
}

static int sync_rings(struct machine *m, struct err *e)
{
	struct kvm_vm *vm = m->engine_data;
	int rc;

	lock_take(&vm->dirty_lock);
	for (unsigned i = 0; i < m->opened; i++)
		harvest(m->vcpu[i].engine_data);
	rc = kvm_ioctl_n(vm->fd, KVM_RESET_DIRTY_RINGS, 0);
	lock_drop(&vm->dirty_lock);
	if (rc < 0)
		return err_set(e, -rc, "KVM does not reset its dirty rings: %s", strerror(-rc));
	return 0;
}

static void merge(struct machine *m, const struct kvm_slot *s, const uint64_t *bitmap)
{
	for (uint64_t i = 0; i < align_up(s->size / PAGE_SIZE, 64) / 64; i++)
		for (uint64_t word = bitmap[i]; word; word &= word - 1)
			mem_dirty_set(&m->mem, s->page0 + i * 64 + (unsigned)__builtin_ctzll(word));
}

static int sync_log(struct machine *m, struct err *e)
{
	struct kvm_vm *vm = m->engine_data;

	for (unsigned i = 0; i < MEM_RANGES_MAX; i++) {
		struct kvm_dirty_log log = {.slot = i, .dirty_bitmap = vm->bitmap};
		int rc;

		if (vm->slot[i].size == 0 || !(vm->slot[i].flags & KVM_MEM_LOG_DIRTY_PAGES))
			continue;
		rc = kvm_ioctl(vm->fd, KVM_GET_DIRTY_LOG, &log);
		if (rc < 0)
			return err_set(e, -rc, "KVM does not give its dirty log: %s",
			               strerror(-rc));
		merge(m, &vm->slot[i], vm->bitmap);
	}
	return 0;
}

int kvm_dirty_sync(struct machine *m, struct err *e)
{
	struct kvm_vm *vm = m->engine_data;

	if (!vm->logging)
		return err_set(e, EINVAL, "the dirty log is not running");
	return vm->ring ? sync_rings(m, e) : sync_log(m, e);
}

static int alloc_bitmap(struct kvm_vm *vm, struct err *e)
{
	uint64_t pages = 0;

	for (unsigned i = 0; i < MEM_RANGES_MAX; i++)
		pages = MAX(pages, vm->slot[i].size / PAGE_SIZE);
	vm->bitmap = calloc(pages / 64 + 1, sizeof(*vm->bitmap));
	if (!vm->bitmap)
		return err_set(e, ENOMEM, "no memory for the dirty log");
	return 0;
}

int kvm_dirty_start(struct machine *m, struct err *e)
{
	struct kvm_vm *vm = m->engine_data;
	int rc = mem_dirty_start(&m->mem, e);

	if (rc < 0)
		return rc;
	if (!vm->ring) {
		rc = alloc_bitmap(vm, e);
		if (rc < 0)
			goto fail;
	}
	vm->logging = true;
	rc = kvm_memory_update(m, e);
	if (rc == 0)
		return 0;
fail:
	kvm_dirty_stop(m);
	return rc;
}

void kvm_dirty_stop(struct machine *m)
{
	struct kvm_vm *vm = m->engine_data;
	int rc;

	vm->logging = false;
	rc = kvm_memory_update(m, NULL);
	/* The rings' rest must not be taken for news at the next start. */
	if (rc == 0 && vm->ring)
		rc = sync_rings(m, NULL);
	(void)rc;
	free(vm->bitmap);
	vm->bitmap = NULL;
	mem_dirty_stop(&m->mem);
}
