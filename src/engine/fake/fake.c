/*
 * The fake engine: scripts on vCPU threads, and the list of messages.
 */
#include "engine/fake/fake.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include "machine/irq.h"

#define MSIS_MAX 256

struct fake_vm {
	struct lock lock; /* of the messages; as a local APIC's */
	struct fake_msi msi[MSIS_MAX];
	size_t first, n; /* a ring */
};

struct fake_cpu {
	struct cpu_state state;
	const struct fake_op *ops;
	size_t n, at;
	struct lock lock; /* finished */
	pthread_cond_t cond;
	bool finished;
};

static void probe(struct engine_report *out)
{
	*out = (struct engine_report){.openable = true};
	snprintf(out->reason, sizeof(out->reason), "runs scripts of device tests, no guest's code");
}

static void abilities(struct cpuid_wish *w)
{
	w->f1_edx = 1 << 4 | 1 << 5 | 1 << 9; /* TSC, MSR, APIC */
}

static int vm_open(struct machine *m, struct err *e)
{
	struct fake_vm *vm = xalloc(sizeof(*vm));

	lock_init(&vm->lock, LOCK_APIC);
	m->engine_data = vm;
	return 0;
}

static void vm_close(struct machine *m)
{
	struct fake_vm *vm = m->engine_data;

	lock_fini(&vm->lock);
	free(vm);
	m->engine_data = NULL;
}

static int nothing_to_do(struct machine *m, struct err *e)
{
	return 0;
}

static void dirty_stop(struct machine *m)
{
	mem_dirty_stop(&m->mem);
}

static int dirty_start(struct machine *m, struct err *e)
{
	return mem_dirty_start(&m->mem, e);
}

static int vcpu_open(struct vcpu *v, struct err *e)
{
	struct fake_cpu *c = aligned_alloc(64, align_up(sizeof(*c), 64));

	if (!c)
		return err_set(e, ENOMEM, "no memory for vCPU %u", v->id);
	memset(c, 0, sizeof(*c));
	lock_init(&c->lock, LOCK_VCPU);
	cond_init(&c->cond);
	v->engine_data = c;
	return 0;
}

static void vcpu_close(struct vcpu *v)
{
	struct fake_cpu *c = v->engine_data;

	pthread_cond_destroy(&c->cond);
	lock_fini(&c->lock);
	free(c);
	v->engine_data = NULL;
}

/* A script looks at its requests after every step. */
static void vcpu_kick(struct vcpu *v)
{
}

static int vcpu_get(struct vcpu *v, struct cpu_state *out, struct err *e)
{
	const struct fake_cpu *c = v->engine_data;

	*out = c->state;
	out->rip = c->at; /* the step, for crash reports */
	return 0;
}

static int vcpu_set(struct vcpu *v, const struct cpu_state *in, struct err *e)
{
	struct fake_cpu *c = v->engine_data;

	c->state = *in;
	return 0;
}

static int msi(struct machine *m, uint64_t address, uint32_t data)
{
	struct fake_vm *vm = m->engine_data;
	int rc = -ENOBUFS;

	lock_take(&vm->lock);
	if (vm->n < MSIS_MAX) {
		vm->msi[(vm->first + vm->n++) % MSIS_MAX] = (struct fake_msi){address, data};
		rc = 0;
	}
	lock_drop(&vm->lock);
	for (unsigned i = 0; i < m->cpus; i++)
		vcpu_request(&m->vcpu[i], VCPU_REQ_INTERRUPT);
	return rc;
}

bool fake_msi_take(struct machine *m, struct fake_msi *out)
{
	struct fake_vm *vm = m->engine_data;
	bool any;

	lock_take(&vm->lock);
	any = vm->n > 0;
	if (any) {
		*out = vm->msi[vm->first];
		vm->first = (vm->first + 1) % MSIS_MAX;
		vm->n--;
	}
	lock_drop(&vm->lock);
	return any;
}

size_t fake_msi_count(struct machine *m)
{
	struct fake_vm *vm = m->engine_data;
	size_t n;

	lock_take(&vm->lock);
	n = vm->n;
	lock_drop(&vm->lock);
	return n;
}

static bool interrupt_pending(struct vcpu *v)
{
	if (v->machine->engine->own_apic)
		return fake_msi_count(v->machine) > 0;
	return v->intc ? v->intc->ops->pending(v->intc) : irq_pic_pending(v->machine);
}

int fake_accept(struct vcpu *v)
{
	struct fake_msi message;

	if (!interrupt_pending(v))
		return -1;
	if (v->machine->engine->own_apic)
		return fake_msi_take(v->machine, &message) ? (int)(message.data & 0xff) : -1;
	return v->intc ? v->intc->ops->accept(v->intc) : irq_pic_accept(v->machine);
}

void fake_eoi(struct vcpu *v)
{
	if (v->intc)
		v->intc->ops->eoi(v->intc);
}

static bool expect(struct vcpu *v, const struct fake_op *op, uint64_t got)
{
	const struct fake_cpu *c = v->engine_data;
	uint64_t mask = op->mask ? op->mask : UINT64_MAX;

	if (((got ^ op->value) & mask) == 0)
		return true;
	snprintf(v->fail, sizeof(v->fail),
	         "step %zu (address %#" PRIx64 "): %#" PRIx64 " expected, %#" PRIx64 " found",
	         c->at, op->addr, op->value, got);
	return false;
}

static bool memory(struct vcpu *v, const struct fake_op *op)
{
	struct mem *mem = &v->machine->mem;
	uint64_t value = op->value;
	int rc;

	if (op->kind == FAKE_MEM_WRITE)
		rc = mem_write(mem, op->addr, &value, MIN(op->size, 8u));
	else {
		value = 0;
		rc = mem_read(mem, op->addr, &value, MIN(op->size, 8u));
	}
	if (rc < 0) {
		snprintf(v->fail, sizeof(v->fail), "no memory at %#" PRIx64, op->addr);
		return false;
	}
	return op->kind == FAKE_MEM_WRITE || expect(v, op, value);
}

/* One step.  ENGINE_EXIT_KICK: done. */
static enum engine_exit step(struct vcpu *v, const struct fake_op *op)
{
	struct machine *m = v->machine;
	bool good = true;
	int vector;

	switch (op->kind) {
	case FAKE_OUT:
		machine_pio_write(m, (uint16_t)op->addr, op->size, (uint32_t)op->value);
		break;
	case FAKE_IN:
		good = expect(v, op, machine_pio_read(m, (uint16_t)op->addr, op->size));
		break;
	case FAKE_MMIO_WRITE:
		machine_mmio_write(m, op->addr, op->size, op->value);
		break;
	case FAKE_MMIO_READ:
		good = expect(v, op, machine_mmio_read(m, op->addr, op->size));
		break;
	case FAKE_MEM_WRITE:
	case FAKE_MEM_READ:
		good = memory(v, op);
		break;
	case FAKE_WAIT_VECTOR:
		vector = fake_accept(v);
		if (vector < 0)
			return ENGINE_EXIT_HALT;
		fake_eoi(v);
		good = expect(v, op, (uint64_t)vector);
		break;
	case FAKE_HALT:
		if (!interrupt_pending(v))
			return ENGINE_EXIT_HALT;
		break;
	case FAKE_SHUTDOWN:
		return ENGINE_EXIT_SHUTDOWN;
	}
	return good ? ENGINE_EXIT_KICK : ENGINE_EXIT_FAIL;
}

static enum engine_exit vcpu_run(struct vcpu *v)
{
	struct fake_cpu *c = v->engine_data;

	while (c->at < c->n) {
		enum engine_exit exit;

		/* Cleared before looking: what comes after the look raises it again. */
		atomic_fetch_and(&v->requests,
		                 ~(VCPU_REQ_INTERRUPT | VCPU_REQ_NMI | VCPU_REQ_ENGINE));
		if (v->requests)
			return ENGINE_EXIT_KICK;
		exit = step(v, &c->ops[c->at]);
		if (exit != ENGINE_EXIT_KICK)
			return exit;
		v->mp = CPU_MP_RUNNING;
		c->at++;
	}
	atomic_fetch_and(&v->requests, ~(VCPU_REQ_INTERRUPT | VCPU_REQ_NMI | VCPU_REQ_ENGINE));
	lock_take(&c->lock);
	c->finished = true;
	pthread_cond_broadcast(&c->cond);
	lock_drop(&c->lock);
	return ENGINE_EXIT_HALT;
}

void fake_script(struct vcpu *v, const struct fake_op *ops, size_t n)
{
	struct fake_cpu *c = v->engine_data;

	c->ops = ops;
	c->n = n;
	c->at = 0;
	c->finished = false;
	/* Scripts need no start-up by another processor. */
	v->mp = CPU_MP_RUNNING;
}

bool fake_finished(struct vcpu *v, unsigned timeout_ms)
{
	struct fake_cpu *c = v->engine_data;
	uint64_t until = loop_now() + timeout_ms * 1000000ull;
	bool finished;

	lock_take(&c->lock);
	while (!c->finished && loop_now() < until)
		lock_wait(&c->lock, &c->cond, until);
	finished = c->finished;
	lock_drop(&c->lock);
	return finished;
}

#define FAKE_COMMON                                                                           \
	.probe = probe, .abilities = abilities, .vm_open = vm_open, .vm_close = vm_close,     \
	.mem_update = nothing_to_do, .dirty_start = dirty_start, .dirty_sync = nothing_to_do, \
	.dirty_stop = dirty_stop, .vcpu_open = vcpu_open, .vcpu_close = vcpu_close,           \
	.vcpu_run = vcpu_run, .vcpu_kick = vcpu_kick, .vcpu_get = vcpu_get, .vcpu_set = vcpu_set

const struct engine fake_engine = {.name = "fake", FAKE_COMMON};
const struct engine fake_engine_apic = {
	.name = "fake-apic", .own_apic = true, FAKE_COMMON, .msi = msi};
