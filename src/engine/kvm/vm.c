/* A VM's life: its capabilities, its memory, its notifications. */
#include <errno.h>
#include <string.h>

#include "engine/kvm/kvm.h"
#include "host/host.h"

/*
 * Intel's processors without "unrestricted guest" run real mode with three pages of ours as a TSS and
 * one as a page table: nothing else may be there.
 */
#define TSS_ADDRESS      0xfeffd000ul
#define IDENTITY_ADDRESS 0xfeffc000ull

enum kvm_dirty_kind kvm_dirty_kind = KVM_DIRTY_AUTO;

static int enable(struct kvm_vm *vm, unsigned which, uint64_t arg)
{
	struct kvm_enable_cap cap = {.cap = which, .args = {arg}};

	return kvm_ioctl(vm->fd, KVM_ENABLE_CAP, &cap);
}

/*
 * A kernel that interprets the guest (PVM) fills a ring beyond its end before it comes back to tell that
 * it's full, and loses pages.  The log is safe everywhere.
 */
static bool enable_ring(struct kvm_vm *vm)
{
	static const unsigned which[] = {KVM_CAP_DIRTY_LOG_RING_ACQ_REL, KVM_CAP_DIRTY_LOG_RING};
	struct engine_report report;

	if (kvm_dirty_kind == KVM_DIRTY_LOG)
		return false;
	kvm_probe(&report);
	if (kvm_dirty_kind == KVM_DIRTY_AUTO && !report.usable)
		return false;
	/* On x86 the one with acquire and release semantics (Linux 6.1) is the same. */
	for (unsigned i = 0; i < ARRAY_LEN(which); i++)
		if (kvm_extension(vm->fd, which[i]) >= (int)KVM_RING_BYTES &&
		    enable(vm, which[i], KVM_RING_BYTES) == 0)
			return true;
	return false;
}

/*
 * KVM can rewrite a guest's VMCALL as VMMCALL or the other way round, as the processor wants it.
 * Guests of our model use AMD's; on AMD the rewriting is of no use, and some hosts (PVM) try it for ever.
 */
static void disable_quirks(struct kvm_vm *vm)
{
	const uint64_t rewriting = KVM_X86_QUIRK_FIX_HYPERCALL_INSN;

	if (strcmp(host_cpu()->vendor, "AuthenticAMD") == 0 &&
	    (uint64_t)kvm_extension(vm->fd, KVM_CAP_DISABLE_QUIRKS2) & rewriting)
		enable(vm, KVM_CAP_DISABLE_QUIRKS2, rewriting);
}

static int create(struct kvm_vm *vm, struct err *e)
{
	int rc = kvm_ioctl_n(vm->dev, KVM_CREATE_VM, 0);

	if (rc < 0)
		return err_set(e, -rc, "KVM cannot make a virtual machine: %s%s", strerror(-rc),
		               rc == -EBUSY ? ": another program uses virtualization" : "");
	vm->fd = rc;
	rc = kvm_ioctl_n(vm->dev, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (rc < (int)sizeof(struct kvm_run))
		return err_set(e, EIO, "KVM does not tell the size of its vCPUs");
	vm->run_size = (size_t)rc;
	rc = enable(vm, KVM_CAP_SPLIT_IRQCHIP, IRQ_GSIS);
	if (rc < 0)
		return err_set(e, -rc, "KVM cannot split the interrupt controllers: %s",
		               strerror(-rc));
	disable_quirks(vm);
	/* Then the exit brings the instruction's bytes; without, only the place is known. */
	if (kvm_extension(vm->fd, KVM_CAP_EXIT_ON_EMULATION_FAILURE))
		enable(vm, KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1);
	vm->ring = enable_ring(vm);
	return 0;
}

static int place_pages(struct kvm_vm *vm, struct err *e)
{
	uint64_t identity = IDENTITY_ADDRESS;
	int rc = kvm_ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);

	if (rc == 0)
		rc = kvm_ioctl_n(vm->fd, KVM_SET_TSS_ADDR, TSS_ADDRESS);
	if (rc < 0)
		return err_set(e, -rc, "KVM refuses the place of its pages: %s", strerror(-rc));
	return 0;
}

int kvm_vm_open(struct machine *m, struct err *e)
{
	struct kvm_vm *vm = xalloc(sizeof(*vm));
	int rc = kvm_dev_open(e);

	vm->machine = m;
	vm->dev = rc;
	vm->fd = -1;
	vm->clock_epoch = UINT64_MAX;
	lock_init(&vm->lock, LOCK_APIC);
	lock_init(&vm->dirty_lock, LOCK_MEM);
	m->engine_data = vm;
	if (rc >= 0)
		rc = kvm_kick_signal() < 0 ? err_set(e, EBUSY, "no signal is free") : 0;
	if (rc == 0)
		rc = create(vm, e);
	if (rc == 0)
		rc = place_pages(vm, e);
	if (rc == 0)
		rc = kvm_memory_update(m, e);
	if (rc < 0)
		kvm_vm_close(m);
	return rc;
}

void kvm_vm_close(struct machine *m)
{
	struct kvm_vm *vm = m->engine_data;

	if (vm->logging)
		kvm_dirty_stop(m);
	if (vm->fd >= 0)
		close(vm->fd);
	if (vm->dev >= 0)
		close(vm->dev);
	lock_fini(&vm->dirty_lock);
	lock_fini(&vm->lock);
	free(vm);
	m->engine_data = NULL;
}

int kvm_notify_fd(struct machine *m, bool pio, uint64_t addr, unsigned size, int fd, bool on)
{
	struct kvm_vm *vm = m->engine_data;
	struct kvm_ioeventfd io = {
		.addr = addr,
		.len = size,
		.fd = fd,
		.flags =
			(pio ? KVM_IOEVENTFD_FLAG_PIO : 0) | (on ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN),
	};

	return kvm_ioctl(vm->fd, KVM_IOEVENTFD, &io);
}
