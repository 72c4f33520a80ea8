/* Local APICs between threads: no interrupt gets lost on the way to a processor that halts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dev/chip/lapic.h"
#include "engine/fake/fake.h"
#include "machine/apic.h"

#define PORT   0x300
#define ROUNDS 3000
#define VECTOR 0x41

/* A device whose port sends the byte that is written there as an interrupt to vCPU `offset`. */
struct ball {
	struct device dev;
	struct bus_range ports;
};

static void ball_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct ball *b = dev;

	irq_msi(b->dev.machine, 0xfee00000 | offset << 12, value);
}

static const struct bus_ops ball_ops = {.write = ball_write, .max = 1};
static const struct device_type ball_type = {.name = "ball"};

struct game {
	struct loop *loop;
	struct machine *m;
	struct ball ball;
};

static void begin(struct game *g)
{
	struct err e = {0};

	*g = (struct game){0};
	assert_int_equal(loop_new("test", &g->loop, &e), 0);
	assert_int_equal(machine_new(2, g->loop, false, &g->m, &e), 0);
	assert_int_equal(lapics_new(g->m, NULL, &e), 0);
	machine_add_device(g->m, &g->ball.dev, &ball_type, "ball");
	g->ball.ports = (struct bus_range){
		.base = PORT, .len = 2, .ops = &ball_ops, .dev = &g->ball, .name = "ball"};
	assert_int_equal(bus_add(&g->m->pio, &g->ball.ports, &e), 0);
	assert_int_equal(machine_open_engine(g->m, &fake_engine, &e), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct intc *ic = g->m->vcpu[i].intc;

		ic->ops->mmio_write(ic, APIC_SVR, 0x1ff);
	}
}

static void end(struct game *g)
{
	machine_free(g->m);
	loop_free(g->loop);
}

static void halted_processors_wake_each_other(void **state)
{
	struct fake_op *script[2];
	struct err e = {0};
	struct game g;

	begin(&g);
	for (unsigned i = 0; i < 2; i++) {
		script[i] = xalloc(2 * ROUNDS * sizeof(*script[i]));
		for (unsigned n = 0; n < 2 * ROUNDS; n += 2) {
			script[i][n] =
				(struct fake_op){.kind = FAKE_WAIT_VECTOR, .value = VECTOR + i};
			script[i][n + 1] = (struct fake_op){.kind = FAKE_OUT,
			                                    .addr = PORT + (i ^ 1),
			                                    .size = 1,
			                                    .value = VECTOR + (i ^ 1)};
		}
		fake_script(&g.m->vcpu[i], script[i], 2 * ROUNDS);
	}
	assert_int_equal(machine_start(g.m, &e), 0);
	irq_msi(g.m, 0xfee00000, VECTOR);
	assert_true(fake_finished(&g.m->vcpu[0], 20000));
	assert_true(fake_finished(&g.m->vcpu[1], 20000));
	assert_int_equal(g.m->ended, MACHINE_RUNS);
	end(&g);
	free(script[0]);
	free(script[1]);
}

static void timers_wake_halted_processors(void **state)
{
	static const struct fake_op script[] = {
		{.kind = FAKE_WAIT_VECTOR, .value = VECTOR},
		{.kind = FAKE_WAIT_VECTOR, .value = VECTOR},
		{.kind = FAKE_WAIT_VECTOR, .value = VECTOR},
	};
	struct err e = {0};
	struct game g;
	bool finished = false;

	begin(&g);
	for (unsigned i = 0; i < 2; i++) {
		struct intc *ic = g.m->vcpu[i].intc;

		ic->ops->mmio_write(ic, APIC_LVT, APIC_LVT_PERIODIC | VECTOR);
		ic->ops->mmio_write(ic, APIC_TIMER_INIT, 1000000 * (i + 1));
		fake_script(&g.m->vcpu[i], script, ARRAY_LEN(script));
	}
	assert_int_equal(machine_start(g.m, &e), 0);
	for (unsigned i = 0; i < 2000 && !finished; i++) {
		loop_step(g.loop, 10);
		finished = fake_finished(&g.m->vcpu[0], 0) && fake_finished(&g.m->vcpu[1], 0);
	}
	assert_true(finished);
	assert_in_range(clock_now(&g.m->clock), 6000000, UINT64_MAX);
	end(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(halted_processors_wake_each_other),
		cmocka_unit_test(timers_wake_halted_processors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
