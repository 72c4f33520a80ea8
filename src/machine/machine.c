/*
 * The virtual computer: its life, its list of devices, and the engines' doors to them.
 *
 * Pausing: vCPUs park first, then the I/O lane is told to stop working on queues, then the time stands
 * still; going on is the reverse.  Devices are only called on the lane's thread with the machine's
 * lock held, so that neither register accesses nor queue work go on meanwhile.
 */
#include "machine/machine.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include "base/log.h"

#define CPUS_MAX 254 /* xAPIC ids, 0xff is everyone */

static void *lane_body(void *arg)
{
	struct machine *m = arg;

	pthread_setname_np(pthread_self(), "lane0");
	loop_run(m->lane);
	return NULL;
}

static int start_lane(struct machine *m, struct err *e)
{
	int rc = pthread_create(&m->lane_thread, NULL, lane_body, m);

	if (rc != 0)
		return err_set(e, rc, "cannot start the I/O thread: %s", strerror(rc));
	m->lane_started = true;
	return 0;
}

int machine_new(unsigned cpus, struct loop *loop, bool stepped, struct machine **out, struct err *e)
{
	struct machine *m;
	int rc;

	if (cpus < 1 || cpus > CPUS_MAX)
		return err_set(e, EINVAL, "a machine has 1 to %u vCPUs, not %u", CPUS_MAX, cpus);
	m = xalloc(sizeof(*m));
	m->loop = loop;
	mem_init(&m->mem);
	lock_init(&m->lock, LOCK_MACHINE);
	irq_init(&m->irq);
	clock_init(&m->clock, loop, stepped);
	m->vcpu = xalloc(cpus * sizeof(*m->vcpu));
	for (; m->cpus < cpus; m->cpus++) {
		rc = vcpu_init(&m->vcpu[m->cpus], m, m->cpus, e);
		if (rc < 0)
			goto fail;
	}
	rc = loop_new("lane0", &m->lane, e);
	if (rc < 0)
		goto fail;
	if (!stepped) {
		rc = start_lane(m, e);
		if (rc < 0)
			goto fail;
	}
	*out = m;
	return 0;
fail:
	machine_free(m);
	return rc;
}

static void close_engine(struct machine *m)
{
	if (!m->engine)
		return;
	for (unsigned i = m->opened; i-- > 0;)
		m->engine->vcpu_close(&m->vcpu[i]);
	m->opened = 0;
	m->engine->vm_close(m);
	m->engine = NULL;
}

static void free_devices(struct machine *m)
{
	struct device *reversed = NULL, *d, *next;

	for (d = m->devices; d; d = next) {
		next = d->next;
		d->next = reversed;
		reversed = d;
	}
	m->devices = NULL;
	lock_take(&m->lock);
	for (d = reversed; d; d = next) {
		next = d->next;
		if (d->type->free)
			d->type->free(d);
	}
	lock_drop(&m->lock);
	for (unsigned i = 0; i < m->cpus; i++)
		m->vcpu[i].intc = NULL;
}

void machine_free(struct machine *m)
{
	if (!m)
		return;
	for (unsigned i = 0; i < m->cpus; i++)
		vcpu_stop(&m->vcpu[i]);
	if (m->lane_started) {
		loop_stop(m->lane);
		pthread_join(m->lane_thread, NULL);
	}
	free_devices(m);
	close_engine(m);
	for (unsigned i = 0; i < m->cpus; i++)
		vcpu_fini(&m->vcpu[i]);
	free(m->vcpu);
	loop_free(m->lane);
	clock_fini(&m->clock);
	irq_fini(&m->irq);
	lock_fini(&m->lock);
	mem_fini(&m->mem);
	free(m);
}

void machine_add_device(struct machine *m, struct device *d, const struct device_type *type,
                        const char *name)
{
	struct device **at = &m->devices;

	assert(!machine_find_device(m, name));
	d->type = type;
	d->machine = m;
	snprintf(d->name, sizeof(d->name), "%s", name);
	d->next = NULL;
	while (*at)
		at = &(*at)->next;
	*at = d;
}

struct device *machine_find_device(struct machine *m, const char *name)
{
	struct device *d = m->devices;

	while (d && strcmp(d->name, name) != 0)
		d = d->next;
	return d;
}

int machine_open_engine(struct machine *m, const struct engine *engine, struct err *e)
{
	int rc;

	assert(!m->engine);
	m->engine = engine;
	rc = engine->vm_open(m, e);
	if (rc < 0) {
		m->engine = NULL;
		return rc;
	}
	while (m->opened < m->cpus) {
		struct vcpu *v = &m->vcpu[m->opened];
		struct cpu_state reset;

		rc = engine->vcpu_open(v, e);
		if (rc < 0)
			goto fail;
		m->opened++;
		cpu_state_reset(&reset, v->id == 0);
		rc = vcpu_state_set(v, &reset, e);
		if (rc < 0)
			goto fail;
	}
	return 0;
fail:
	close_engine(m);
	return rc;
}

/* Runs fn(m) on the lane's thread with the machine's lock held, and waits for it. */
struct lane_call {
	struct machine *m;
	void (*fn)(struct machine *m, void *arg);
	void *arg;
};

static void lane_call_body(void *p)
{
	struct lane_call *call = p;

	lock_take(&call->m->lock);
	call->fn(call->m, call->arg);
	lock_drop(&call->m->lock);
}

static void on_lane(struct machine *m, void (*fn)(struct machine *m, void *arg), void *arg)
{
	struct lane_call call = {.m = m, .fn = fn, .arg = arg};

	loop_call_wait(m->lane, lane_call_body, &call);
}

static void quiesce(struct machine *m, void *arg)
{
	for (struct device *d = m->devices; d; d = d->next)
		if (d->type->quiesce)
			d->type->quiesce(d);
}

static void resume(struct machine *m, void *arg)
{
	for (struct device *d = m->devices; d; d = d->next)
		if (d->type->resume)
			d->type->resume(d);
}

static void reset(struct machine *m, void *arg)
{
	for (struct device *d = m->devices; d; d = d->next)
		if (d->type->reset)
			d->type->reset(d);
}

void machine_reset_devices(struct machine *m)
{
	on_lane(m, reset, NULL);
}

int machine_start(struct machine *m, struct err *e)
{
	for (unsigned i = 0; i < m->cpus; i++) {
		int rc = m->vcpu[i].started ? 0 : vcpu_start(&m->vcpu[i], e);

		if (rc < 0)
			return rc;
	}
	machine_resume(m);
	return 0;
}

void machine_pause(struct machine *m)
{
	if (!m->running)
		return;
	m->running = false;
	for (unsigned i = 0; i < m->cpus; i++)
		vcpu_hold(&m->vcpu[i]);
	for (unsigned i = 0; i < m->cpus; i++)
		vcpu_wait_parked(&m->vcpu[i]);
	on_lane(m, quiesce, NULL);
	clock_pause(&m->clock);
}

void machine_resume(struct machine *m)
{
	if (m->running)
		return;
	m->running = true;
	clock_resume(&m->clock);
	on_lane(m, resume, NULL);
	for (unsigned i = 0; i < m->cpus; i++)
		vcpu_release(&m->vcpu[i]);
}

void machine_end(struct machine *m, enum machine_end how, int code, const char *fmt, ...)
{
	va_list ap;

	if (atomic_exchange(&m->ending, true))
		return;
	m->end_code = code;
	va_start(ap, fmt);
	vsnprintf(m->end_text, sizeof(m->end_text), fmt, ap);
	va_end(ap);
	atomic_store(&m->ended, how);
	if (m->engine)
		for (unsigned i = 0; i < m->opened; i++)
			vcpu_request(&m->vcpu[i], VCPU_REQ_EXIT);
	loop_stop(m->loop);
}

static void visit_clock(struct machine *m, struct state *s)
{
	uint64_t now = clock_now(&m->clock);

	state_enter(s, "clock", 1);
	state_u64(s, "now", &now);
	state_u64(s, "tsc_khz", &m->tsc_khz);
	state_leave(s);
	if (state_loading(s) && !state_failed(s))
		clock_set(&m->clock, now);
}

static void visit_vcpu(struct vcpu *v, struct state *s)
{
	struct err e = {0};
	struct cpu_state c;
	char name[16];

	snprintf(name, sizeof(name), "vcpu%u", v->id);
	memset(&c, 0, sizeof(c));
	state_enter(s, name, 1);
	if (!state_loading(s) && vcpu_state_get(v, &c, &e) < 0)
		state_fail(s, "%s: %s", name, e.text);
	cpu_state_visit(s, &c);
	if (state_loading(s) && !state_failed(s) && vcpu_state_set(v, &c, &e) < 0)
		state_fail(s, "%s: %s", name, e.text);
	if (v->machine->engine->apic_state)
		v->machine->engine->apic_state(v, s);
	else if (v->intc)
		v->intc->ops->state(v->intc, s);
	state_leave(s);
}

static void visit_all(struct machine *m, void *arg)
{
	struct state *s = arg;
	uint32_t cpus = m->cpus;

	state_enter(s, "machine", 1);
	state_u32(s, "cpus", &cpus);
	if (state_loading(s) && cpus != m->cpus)
		state_fail(s, "the saved machine has %u vCPUs, this one %u", cpus, m->cpus);
	visit_clock(m, s);
	state_enter(s, "irq", 1);
	state_u32(s, "levels", &m->irq.levels);
	state_leave(s);
	for (struct device *d = m->devices; d; d = d->next) {
		if (!d->type->state)
			continue;
		state_enter(s, d->name, 1);
		d->type->state(d, s);
		state_leave(s);
	}
	for (unsigned i = 0; i < m->opened; i++)
		visit_vcpu(&m->vcpu[i], s);
	state_leave(s);
}

void machine_state(struct machine *m, struct state *s)
{
	on_lane(m, visit_all, s);
}

uint32_t machine_pio_read(struct machine *m, uint16_t port, unsigned size)
{
	uint32_t value;

	lock_take(&m->lock);
	value = (uint32_t)bus_read(&m->pio, port, size);
	lock_drop(&m->lock);
	return value;
}

void machine_pio_write(struct machine *m, uint16_t port, unsigned size, uint32_t value)
{
	lock_take(&m->lock);
	bus_write(&m->pio, port, size, value);
	lock_drop(&m->lock);
}

uint64_t machine_mmio_read(struct machine *m, gpa_t gpa, unsigned size)
{
	uint64_t value;

	lock_take(&m->lock);
	value = bus_read(&m->mmio, gpa, size);
	lock_drop(&m->lock);
	return value;
}

void machine_mmio_write(struct machine *m, gpa_t gpa, unsigned size, uint64_t value)
{
	lock_take(&m->lock);
	bus_write(&m->mmio, gpa, size, value);
	lock_drop(&m->lock);
}
