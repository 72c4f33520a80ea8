/*
 * vCPU threads: no request is lost, whatever the vCPU does at that moment; pauses hold; start-up by
 * INIT and SIPI; a crash is reported with registers.
 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <cmocka.h>

#include "machine/machine.h"

#define SECOND 1000000000ull

/* A processor that does nothing but see interrupts. */
static struct test_cpu {
	_Atomic uint64_t sent, seen, runs;
	struct cpu_state state;
} cpus[2];
static enum engine_exit when_idle;

static int vm_open(struct machine *m, struct err *e)
{
	return 0;
}

static void vm_close(struct machine *m)
{
}

static int vcpu_open(struct vcpu *v, struct err *e)
{
	return 0;
}

static void vcpu_nothing(struct vcpu *v)
{
}

static int vcpu_get(struct vcpu *v, struct cpu_state *out, struct err *e)
{
	*out = cpus[v->id].state;
	return 0;
}

static int vcpu_set(struct vcpu *v, const struct cpu_state *in, struct err *e)
{
	cpus[v->id].state = *in;
	return 0;
}

static enum engine_exit vcpu_run(struct vcpu *v)
{
	struct test_cpu *c = &cpus[v->id];

	c->runs++;
	for (;;) {
		uint32_t requests = atomic_fetch_and(&v->requests, ~VCPU_REQ_INTERRUPT);

		if (requests & VCPU_REQ_INTERRUPT)
			c->seen = c->sent;
		else
			return requests ? ENGINE_EXIT_KICK : when_idle;
	}
}

static const struct engine engine = {
	.name = "test",
	.vm_open = vm_open,
	.vm_close = vm_close,
	.vcpu_open = vcpu_open,
	.vcpu_close = vcpu_nothing,
	.vcpu_run = vcpu_run,
	.vcpu_kick = vcpu_nothing,
	.vcpu_get = vcpu_get,
	.vcpu_set = vcpu_set,
};

struct fixture {
	struct loop *loop;
	struct machine *m;
};

static int setup(void **state)
{
	static struct fixture f;
	struct err e;

	memset(cpus, 0, sizeof(cpus));
	when_idle = ENGINE_EXIT_HALT;
	assert_int_equal(loop_new("test", &f.loop, &e), 0);
	assert_int_equal(machine_new(2, f.loop, false, &f.m, &e), 0);
	assert_int_equal(machine_open_engine(f.m, &engine, &e), 0);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	machine_free(f->m);
	loop_free(f->loop);
	return 0;
}

/* Until the condition holds, or a second has passed. */
#define EVENTUALLY(condition)                               \
	({                                                  \
		uint64_t until_ = loop_now() + SECOND;      \
		while (!(condition) && loop_now() < until_) \
			sched_yield();                      \
		(condition);                                \
	})

struct sender {
	struct vcpu *v;
	uint64_t until;
	bool lost;
};

static void *send_requests(void *arg)
{
	struct sender *s = arg;
	struct test_cpu *c = &cpus[s->v->id];

	for (unsigned i = 0; !s->lost && loop_now() < s->until; i++) {
		uint64_t number = ++c->sent;

		vcpu_request(s->v, VCPU_REQ_INTERRUPT);
		s->lost = !EVENTUALLY(c->seen >= number);
		/* Meet the vCPU at other points of its way into the wait. */
		for (volatile unsigned spin = 0; spin < i % 512; spin++)
			;
	}
	return NULL;
}

static void no_request_is_lost(void **state)
{
	struct fixture *f = *state;
	struct sender s[2];
	pthread_t thread[2];
	struct err e;

	assert_int_equal(vcpu_state_set(&f->m->vcpu[1], &cpus[0].state, &e), 0); /* runs */
	assert_int_equal(machine_start(f->m, &e), 0);
	for (unsigned i = 0; i < 2; i++) {
		s[i] = (struct sender){&f->m->vcpu[i], loop_now() + SECOND / 8, false};
		assert_int_equal(pthread_create(&thread[i], NULL, send_requests, &s[i]), 0);
	}
	while (loop_now() < s[0].until) {
		loop_step(f->loop, 3);
		machine_pause(f->m);
		machine_resume(f->m);
	}
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(thread[i], NULL);
		assert_false(s[i].lost);
		assert_true(cpus[i].seen > 10);
	}
	assert_true(f->m->vcpu[0].halted_ns > 0);
}

static void a_paused_machine_does_nothing(void **state)
{
	struct fixture *f = *state;
	struct err e;
	uint64_t now;

	assert_int_equal(machine_start(f->m, &e), 0);
	assert_true(EVENTUALLY(f->m->vcpu[0].waiting != 0));
	machine_pause(f->m);
	now = clock_now(&f->m->clock);
	cpus[0].sent = 1;
	vcpu_request(&f->m->vcpu[0], VCPU_REQ_INTERRUPT);
	loop_step(f->loop, 5);
	assert_int_equal(cpus[0].seen, 0);
	assert_true(clock_now(&f->m->clock) == now);
	machine_resume(f->m);
	assert_true(EVENTUALLY(cpus[0].seen == 1)); /* what came in the pause isn't lost */
}

static void processors_start_by_init_and_sipi(void **state)
{
	struct fixture *f = *state;
	struct vcpu *ap = &f->m->vcpu[1];
	struct err e;

	assert_int_equal(machine_start(f->m, &e), 0);
	vcpu_request(ap, VCPU_REQ_INTERRUPT);
	loop_step(f->loop, 3);
	assert_int_equal(cpus[1].runs, 0); /* waits for the SIPI, nothing else */
	ap->sipi_vector = 0x9a;
	vcpu_request(ap, VCPU_REQ_INIT);
	vcpu_request(ap, VCPU_REQ_SIPI);
	assert_true(EVENTUALLY(cpus[1].runs > 0));
	assert_int_equal(cpus[1].state.seg[CPU_CS].base, 0x9a000);
	/* A second SIPI is ignored by a processor that runs */
	ap->sipi_vector = 0x10;
	vcpu_request(ap, VCPU_REQ_SIPI);
	assert_true(EVENTUALLY(!(ap->requests & VCPU_REQ_SIPI)));
	machine_pause(f->m);
	assert_int_equal(cpus[1].state.seg[CPU_CS].base, 0x9a000);
	machine_resume(f->m);
	/* An INIT alone puts it to sleep */
	vcpu_request(ap, VCPU_REQ_INIT);
	assert_true(EVENTUALLY(ap->mp == CPU_MP_WAIT_SIPI));
}

static void a_triple_fault_is_reported_with_registers(void **state)
{
	struct fixture *f = *state;
	struct err e;

	when_idle = ENGINE_EXIT_SHUTDOWN;
	cpus[0].state.gpr[CPU_RBX] = 0xabcdef;
	assert_int_equal(machine_start(f->m, &e), 0);
	loop_run(f->loop);
	assert_int_equal(f->m->ended, MACHINE_CRASH);
	assert_non_null(strstr(f->m->end_text, "vCPU 0: triple fault"));
	assert_non_null(strstr(f->m->end_text, "rbx 0000000000abcdef"));
	assert_non_null(strstr(f->m->end_text, "gdt "));
	/* The first end counts */
	machine_end(f->m, MACHINE_POWEROFF, 0, "off");
	assert_int_equal(f->m->ended, MACHINE_CRASH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(no_request_is_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(a_paused_machine_does_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(processors_start_by_init_and_sipi, setup, teardown),
		cmocka_unit_test_setup_teardown(a_triple_fault_is_reported_with_registers, setup,
	                                        teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
