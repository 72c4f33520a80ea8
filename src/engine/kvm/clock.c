/*
 * kvmclock shows the machine's time: it stands still while the machine is paused, and goes on from the
 * saved time after a load.
 *
 * The machine's clock is one word that changes exactly when it is stopped, started or set.  Every vCPU
 * looks at it when its thread enters the engine; the first one to find it changed sets the kernel's
 * clock, before any of them runs guest code.  Each one tells its guest, if that listens, that it was
 * stopped, so that it doesn't take the pause for a hang.
 */
#include <errno.h>
#include <string.h>

#include "engine/kvm/kvm.h"

#define LATE_NS 1000000u
#define TRIES   5

/* The guest's time falls behind by what setting it takes, so that is tried again when it takes long. */
static int set_clock(struct kvm_vm *vm)
{
	struct clock *clock = &vm->machine->clock;
	int rc = 0;

	for (unsigned i = 0; i < TRIES && rc == 0; i++) {
		struct kvm_clock_data data = {.clock = clock_now(clock)};

		rc = kvm_ioctl(vm->fd, KVM_SET_CLOCK, &data);
		if (clock_now(clock) - data.clock < LATE_NS)
			break;
	}
	return rc;
}

int kvm_clock_follow(struct kvm_cpu *c)
{
	struct kvm_vm *vm = c->vm;
	uint64_t epoch = vm->machine->clock.time;
	int rc = 0;

	if (epoch == c->epoch)
		return 0;
	lock_take(&vm->lock);
	if (epoch != vm->clock_epoch) {
		rc = set_clock(vm);
		vm->clock_epoch = epoch;
	}
	lock_drop(&vm->lock);
	c->epoch = epoch;
	/* Fails when the guest has no such clock, or doesn't use it yet. */
	kvm_ioctl_n(c->fd, KVM_KVMCLOCK_CTRL, 0);
	return rc;
}
