/*
 * A vCPU: running it, and what its exits ask for.
 *
 * No kick is lost.  The kicker has raised a request, sets immediate_exit and, if a thread is in
 * vcpu_run, sends it the signal.  The vCPU says that it is there (tid), clears immediate_exit, looks
 * at its requests, and enters the kernel:
 *
 *	request raised before the look    the look sees it
 *	... after the look                immediate_exit, set later still, keeps KVM_RUN from running the
 *	                                  guest, or the signal, sent after that, ends it
 *
 * An access to a device that came out of KVM_RUN is finished by the kernel at the next KVM_RUN only.
 * Before the vCPU rests, where its state may be read, one with immediate_exit is due.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "engine/kvm/kvm.h"

#define NO_KICK       (-1)
#define RESET_CS_BASE 0xffff0000u

static void on_kick(int signal)
{
}

static pthread_once_t signal_once = PTHREAD_ONCE_INIT;
static int signal_number = NO_KICK;

static void take_signal(void)
{
	/* KVM_RUN ends all the same; what devices do on the vCPU's thread goes on. */
	struct sigaction action = {.sa_handler = on_kick, .sa_flags = SA_RESTART};

	if (sigaction(SIGRTMIN, &action, NULL) == 0)
		signal_number = SIGRTMIN;
}

int kvm_kick_signal(void)
{
	sigset_t set;

	pthread_once(&signal_once, take_signal);
	if (signal_number != NO_KICK) {
		sigemptyset(&set);
		sigaddset(&set, signal_number);
		pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	}
	return signal_number;
}

static int map_run(struct kvm_cpu *c, struct err *e)
{
	struct vcpu *v = c->vcpu;
	void *p = mmap(NULL, c->vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);

	if (p == MAP_FAILED)
		return err_set(e, errno, "cannot map vCPU %u: %s", v->id, strerror(errno));
	c->run = p;
	if (!c->vm->ring)
		return 0;
	p = mmap(NULL, KVM_RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd,
	         KVM_DIRTY_LOG_PAGE_OFFSET * (off_t)PAGE_SIZE);
	if (p == MAP_FAILED)
		return err_set(e, errno, "cannot map the dirty ring of vCPU %u: %s", v->id,
		               strerror(errno));
	c->ring = p;
	return 0;
}

int kvm_vcpu_open(struct vcpu *v, struct err *e)
{
	struct kvm_vm *vm = v->machine->engine_data;
	struct kvm_cpu *c = xalloc(sizeof(*c));
	int rc;

	c->vcpu = v;
	c->vm = vm;
	c->epoch = UINT64_MAX;
	c->fd = kvm_ioctl_n(vm->fd, KVM_CREATE_VCPU, v->id);
	v->engine_data = c;
	rc = c->fd;
	if (rc < 0)
		err_set(e, -rc, "KVM cannot make vCPU %u: %s", v->id, strerror(-rc));
	else
		rc = map_run(c, e);
	if (rc == 0)
		rc = kvm_cpuid_set(c, e);
	if (rc < 0)
		kvm_vcpu_close(v);
	return rc;
}

void kvm_vcpu_close(struct vcpu *v)
{
	struct kvm_cpu *c = v->engine_data;

	v->engine_data = NULL;
	if (c->ring)
		munmap(c->ring, KVM_RING_BYTES);
	if (c->run)
		munmap(c->run, c->vm->run_size);
	if (c->fd >= 0)
		close(c->fd);
	free(c);
}

void kvm_vcpu_kick(struct vcpu *v)
{
	struct kvm_cpu *c = v->engine_data;
	int tid;

	if (!c)
		return;
	__atomic_store_n(&c->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	tid = atomic_load(&c->tid);
	if (tid)
		syscall(SYS_tgkill, getpid(), tid, signal_number);
}

/* Takes the requests that are the engine's; what is left is the thread body's. */
static uint32_t serve_requests(struct kvm_cpu *c)
{
	const uint32_t ours = VCPU_REQ_INTERRUPT | VCPU_REQ_NMI | VCPU_REQ_ENGINE;
	uint32_t requests = atomic_load(&c->vcpu->requests);

	if (unlikely(requests & ours)) {
		requests = atomic_fetch_and(&c->vcpu->requests, ~ours);
		if (requests & VCPU_REQ_NMI)
			kvm_ioctl_n(c->fd, KVM_NMI, 0);
		if (requests & VCPU_REQ_INTERRUPT)
			c->extint = true;
	}
	return requests & ~ours;
}

static void do_pio(struct kvm_cpu *c)
{
	struct machine *m = c->vm->machine;
	struct kvm_run *run = c->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		uint32_t value = 0;

		if (run->io.direction == KVM_EXIT_IO_OUT) {
			memcpy(&value, data, run->io.size);
			machine_pio_write(m, run->io.port, run->io.size, value);
		} else {
			value = machine_pio_read(m, run->io.port, run->io.size);
			memcpy(data, &value, run->io.size);
		}
	}
	c->unfinished = true;
	c->pio++;
}

static void do_mmio(struct kvm_cpu *c)
{
	struct machine *m = c->vm->machine;
	struct kvm_run *run = c->run;
	unsigned len = MIN(run->mmio.len, 8u);
	uint64_t value = 0;

	if (run->mmio.is_write) {
		memcpy(&value, run->mmio.data, len);
		machine_mmio_write(m, run->mmio.phys_addr, len, value);
	} else {
		value = machine_mmio_read(m, run->mmio.phys_addr, len);
		memcpy(run->mmio.data, &value, len);
	}
	c->unfinished = true;
	c->mmio++;
}

static enum engine_exit PRINTF(2, 3) fail(struct kvm_cpu *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->vcpu->fail, sizeof(c->vcpu->fail), fmt, ap);
	va_end(ap);
	return ENGINE_EXIT_FAIL;
}

/* The kernel's own emulator met an instruction that it doesn't know. */
static enum engine_exit fail_emulation(struct kvm_cpu *c)
{
	const struct kvm_run *run = c->run;
	const uint8_t *insn = run->emulation_failure.insn_bytes;
	char bytes[3 * 15 + 1] = "";
	unsigned n = 0;

	if (run->emulation_failure.ndata >= 3 &&
	    run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)
		n = MIN(run->emulation_failure.insn_size, (__u8)15);
	for (unsigned i = 0; i < n; i++)
		snprintf(bytes + 3 * i, sizeof(bytes) - 3 * i, " %02x", insn[i]);
	return fail(
		c,
		"KVM cannot emulate an instruction%s%s: this host's KVM does not fit the guest; "
		"try --engine soft",
		n ? " that begins" : "", bytes);
}

static enum engine_exit fail_internal(struct kvm_cpu *c)
{
	const struct kvm_run *run = c->run;

	if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION)
		return fail_emulation(c);
	return fail(c, "KVM met an error of its own: suberror %u, data %#llx",
	            run->internal.suberror,
	            run->internal.ndata ? (unsigned long long)run->internal.data[0] : 0);
}

/* AMD's processors leave no state behind a triple fault, so KVM resets the vCPU then. */
static enum engine_exit shut_down(struct kvm_cpu *c)
{
	struct kvm_sregs s;

	if (kvm_ioctl(c->fd, KVM_GET_SREGS, &s) == 0 && s.cs.base == RESET_CS_BASE)
		snprintf(
			c->vcpu->fail, sizeof(c->vcpu->fail),
			"triple fault; the processor lost its registers in it: these are a reset's");
	return ENGINE_EXIT_SHUTDOWN;
}

/* ENGINE_EXIT_KICK: go on. */
static enum engine_exit handle(struct kvm_cpu *c)
{
	struct kvm_run *run = c->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		do_pio(c);
		return ENGINE_EXIT_KICK;
	case KVM_EXIT_MMIO:
		do_mmio(c);
		return ENGINE_EXIT_KICK;
	case KVM_EXIT_IOAPIC_EOI:
		c->eois++;
		irq_eoi(c->vm->machine, run->eoi.vector);
		return ENGINE_EXIT_KICK;
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		c->windows++;
		return ENGINE_EXIT_KICK;
	case KVM_EXIT_INTR:
		return ENGINE_EXIT_KICK;
	case KVM_EXIT_DIRTY_RING_FULL:
		c->rings_full++;
		if (kvm_ring_harvest(c) < 0)
			return fail(c, "KVM does not reset its dirty rings");
		return ENGINE_EXIT_KICK;
	case KVM_EXIT_SHUTDOWN:
		return shut_down(c);
	case KVM_EXIT_DEBUG:
		return ENGINE_EXIT_DEBUG;
	case KVM_EXIT_INTERNAL_ERROR:
		return fail_internal(c);
	case KVM_EXIT_FAIL_ENTRY:
		return fail(c, "the processor refuses to enter the guest: reason %#llx",
		            (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
	default:
		return fail(c, "KVM came back for a reason that is unknown here: %u",
		            run->exit_reason);
	}
}

static enum engine_exit run_loop(struct kvm_cpu *c)
{
	enum engine_exit exit;

	for (;;) {
		int rc;

		__atomic_store_n(&c->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
		if (unlikely(serve_requests(c))) {
			if (!c->unfinished)
				return ENGINE_EXIT_KICK;
			c->run->immediate_exit = 1;
		}
		if (unlikely(c->extint) && kvm_take_extint(c) < 0)
			return fail(c, "KVM refuses an interrupt of the PIC");
		rc = ioctl(c->fd, KVM_RUN, 0);
		c->unfinished = false;
		if (rc < 0) {
			/* EAGAIN: a SIPI has come */
			if (errno != EINTR && errno != EAGAIN)
				return fail(c, "KVM_RUN: %s", strerror(errno));
			c->kicks++;
			continue;
		}
		exit = handle(c);
		if (exit != ENGINE_EXIT_KICK)
			return exit;
	}
}

enum engine_exit kvm_vcpu_run(struct vcpu *v)
{
	struct kvm_cpu *c = v->engine_data;
	enum engine_exit exit;

	if (kvm_clock_follow(c) < 0)
		return fail(c, "KVM refuses the machine's time");
	atomic_store(&c->tid, (int)gettid());
	exit = run_loop(c);
	atomic_store(&c->tid, 0);
	return exit;
}
