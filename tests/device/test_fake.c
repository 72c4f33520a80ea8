/* The fake engine itself: scripts reach devices, wait for interrupts, and report what differs. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "engine/fake/fake.h"

/* A device of one register: read back what was written, plus one; a write sends a message. */
struct echo {
	struct device device;
	struct bus_range pio, mmio;
	uint8_t value;
};

static uint64_t echo_read(void *dev, uint64_t offset, unsigned size)
{
	return ((struct echo *)dev)->value + 1;
}

static void echo_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct echo *echo = dev;

	echo->value = (uint8_t)value;
	if (value == 0x77)
		irq_msi(echo->device.machine, 0xfee00000, 0x4051);
}

static const struct bus_ops echo_ops = {echo_read, echo_write, 1};
static const struct device_type echo_type = {.name = "echo"};

struct fixture {
	struct loop *loop;
	struct machine *m;
	struct echo echo;
};

static void make(struct fixture *f, const struct engine *engine, bool stepped)
{
	struct err e;

	memset(f, 0, sizeof(*f));
	assert_int_equal(loop_new("test", &f->loop, &e), 0);
	assert_int_equal(machine_new(1, f->loop, stepped, &f->m, &e), 0);
	assert_int_equal(mem_add(&f->m->mem, "ram", MEM_RAM, 0, 0x10000, &e), 0);
	machine_add_device(f->m, &f->echo.device, &echo_type, "echo");
	f->echo.pio = (struct bus_range){0x300, 1, &echo_ops, &f->echo, "echo", false};
	f->echo.mmio = (struct bus_range){0xd0000000, 8, &echo_ops, &f->echo, "echo", false};
	assert_int_equal(bus_add(&f->m->pio, &f->echo.pio, &e), 0);
	assert_int_equal(bus_add(&f->m->mmio, &f->echo.mmio, &e), 0);
	assert_int_equal(machine_open_engine(f->m, engine, &e), 0);
}

static void drop(struct fixture *f)
{
	machine_free(f->m);
	loop_free(f->loop);
}

static void a_test_acts_as_the_processor(void **state)
{
	struct fixture f;
	struct fake_msi msi;

	make(&f, &fake_engine_apic, true);
	fake_out8(f.m, 0x300, 0x41);
	assert_int_equal(fake_in8(f.m, 0x300), 0x42);
	assert_int_equal(fake_in16(f.m, 0x300), 0xff42);
	fake_write(f.m, 0x1000, 4, 0x12345678);
	assert_int_equal(fake_read(f.m, 0x1002, 2), 0x1234);
	assert_false(fake_msi_take(f.m, &msi));
	fake_write(f.m, 0xd0000004, 1, 0x77);
	assert_int_equal(fake_read(f.m, 0xd0000004, 1), 0x78);
	assert_true(fake_msi_take(f.m, &msi));
	assert_int_equal(msi.address, 0xfee00000);
	assert_int_equal(msi.data, 0x4051);
	assert_int_equal(fake_msi_count(f.m), 0);
	drop(&f);
}

static void a_script_runs_on_its_vcpu(void **state)
{
	static const struct fake_op script[] = {
		{FAKE_OUT, 0x300, 1, 0x10, 0},
		{FAKE_IN, 0x300, 1, 0x11, 0},
		{FAKE_MEM_WRITE, 0x2000, 8, 0x1122334455667788, 0},
		{FAKE_MEM_READ, 0x2004, 2, 0x3344, 0},
		{FAKE_MMIO_READ, 0xd0000000, 1, 0x01, 0x0f},
		{FAKE_HALT, 0, 0, 0, 0},
		{FAKE_WAIT_VECTOR, 0, 0, 0x51, 0},
		{FAKE_OUT, 0x300, 1, 0x20, 0},
	};
	struct fixture f;
	struct err e;

	make(&f, &fake_engine_apic, false);
	fake_script(&f.m->vcpu[0], script, ARRAY_LEN(script));
	assert_int_equal(machine_start(f.m, &e), 0);
	assert_false(fake_finished(&f.m->vcpu[0], 5)); /* waits for the interrupt */
	irq_msi(f.m, 0xfee00000, 0x51);
	assert_true(fake_finished(&f.m->vcpu[0], 1000));
	assert_int_equal(f.echo.value, 0x20);
	assert_int_equal(f.m->ended, MACHINE_RUNS);
	drop(&f);
}

static void a_difference_ends_the_machine(void **state)
{
	static const struct fake_op script[] = {
		{FAKE_OUT, 0x300, 1, 0x10, 0},
		{FAKE_IN, 0x300, 1, 0x55, 0},
	};
	struct fixture f;
	struct err e;

	make(&f, &fake_engine, false);
	fake_script(&f.m->vcpu[0], script, ARRAY_LEN(script));
	assert_int_equal(machine_start(f.m, &e), 0);
	loop_run(f.loop);
	assert_int_equal(f.m->ended, MACHINE_CRASH);
	assert_non_null(strstr(f.m->end_text, "step 1"));
	assert_non_null(strstr(f.m->end_text, "0x55 expected, 0x11 found"));
	drop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_test_acts_as_the_processor),
		cmocka_unit_test(a_script_runs_on_its_vcpu),
		cmocka_unit_test(a_difference_ends_the_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
