/* Power: ACPI registers, power-off, the power button, and the test devices' ports. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>
#include "board.h"
#include "dev/chip/acpi_pm.h"
#include "dev/chip/debug_exit.h"
#include "dev/chip/debugcon.h"

#define PORT   0x600
#define STATUS PORT
#define ENABLE (PORT + 2)
#define CNT    (PORT + ACPI_PM_CONTROL)
#define TIMER  (PORT + ACPI_PM_TIMER)
#define SCI    9
#define S      1000000000ull
#define BUTTON 0x100

static struct acpi_pm *open_pm(struct board *b)
{
	struct acpi_pm *pm = NULL;

	board_open(b);
	assert_int_equal(acpi_pm_new(b->m, PORT, SCI, &pm, NULL), 0);
	return pm;
}

static void timer_counts(void **state)
{
	struct board b;

	open_pm(&b);
	assert_int_equal(fake_in32(b.m, TIMER), 0);
	clock_step(&b.m->clock, S);
	assert_int_equal(fake_in32(b.m, TIMER), 3579545);
	assert_int_equal(fake_in16(b.m, TIMER + 2), 3579545 >> 16);
	assert_int_equal(fake_in8(b.m, TIMER + 1), 3579545 >> 8 & 0xff);
	/* 32 bits: around after 1200 seconds; the status bit tells of every change of the topmost. */
	clock_step(&b.m->clock, 598 * S);
	assert_int_equal(fake_in16(b.m, STATUS), 0);
	clock_step(&b.m->clock, S);
	assert_int_equal(fake_in16(b.m, STATUS), 1);
	fake_out16(b.m, STATUS, 1);
	assert_int_equal(fake_in16(b.m, STATUS), 0);
	clock_step(&b.m->clock, 600 * S);
	assert_int_equal(fake_in32(b.m, TIMER), (uint32_t)(1200ull * 3579545));
	assert_int_equal(fake_in16(b.m, STATUS), 1);
	board_close(&b);
}

static void timer_interrupt(void **state)
{
	struct board b;

	open_pm(&b);
	fake_out16(b.m, ENABLE, 1);
	clock_step(&b.m->clock, 599 * S);
	assert_false(board_irq(&b, SCI));
	clock_step(&b.m->clock, S);
	assert_true(board_irq(&b, SCI));
	fake_out8(b.m, STATUS, 1);
	assert_false(board_irq(&b, SCI));
	clock_step(&b.m->clock, 600 * S);
	assert_true(board_irq(&b, SCI));
	board_close(&b);
}

static void power_button(void **state)
{
	struct board b;
	struct acpi_pm *pm = open_pm(&b);

	acpi_pm_power_button(pm);
	assert_int_equal(fake_in16(b.m, STATUS), BUTTON);
	assert_false(board_irq(&b, SCI)); /* nobody listens */
	fake_out16(b.m, ENABLE, BUTTON);
	assert_true(board_irq(&b, SCI));
	fake_out16(b.m, STATUS, BUTTON);
	assert_false(board_irq(&b, SCI));
	assert_int_equal(fake_in32(b.m, PORT), BUTTON << 16);
	board_close(&b);
}

static void power_off(void **state)
{
	struct board b;

	open_pm(&b);
	assert_int_equal(fake_in16(b.m, CNT), 1); /* ACPI mode */
	fake_out16(b.m, CNT, 1 << 10 | 1 << 13);
	assert_int_equal(b.m->ended, MACHINE_RUNS); /* no S1 */
	fake_out16(b.m, CNT, ACPI_PM_S5 << 10);
	assert_int_equal(b.m->ended, MACHINE_RUNS);
	fake_out8(b.m, CNT + 1, ACPI_PM_S5 << 2 | 1 << 5);
	assert_int_equal(b.m->ended, MACHINE_POWEROFF);
	board_close(&b);
}

static void ports_move(void **state)
{
	struct board b;
	struct acpi_pm *pm = open_pm(&b);

	lock_take(&b.m->lock);
	acpi_pm_moved(pm, 0xb000, true);
	lock_drop(&b.m->lock);
	assert_int_equal(fake_in16(b.m, CNT), 0xffff);
	assert_int_equal(fake_in16(b.m, 0xb000 + ACPI_PM_CONTROL), 1);
	lock_take(&b.m->lock);
	acpi_pm_moved(pm, 0xb000, false);
	lock_drop(&b.m->lock);
	assert_int_equal(fake_in16(b.m, 0xb000 + ACPI_PM_CONTROL), 0xffff);
	board_close(&b);
}

static void state_moves(void **state)
{
	struct board b, c;
	struct acpi_pm *pm = open_pm(&b);

	open_pm(&c);
	clock_step(&b.m->clock, 700 * S);
	fake_out16(b.m, ENABLE, BUTTON | 1);
	fake_out16(b.m, CNT, 3 << 10);
	fake_out16(b.m, STATUS, 1);
	acpi_pm_power_button(pm);
	board_move(&b, &c, "acpi-pm");
	assert_true(board_irq(&c, SCI));
	assert_int_equal(fake_in16(c.m, STATUS), BUTTON);
	assert_int_equal(fake_in16(c.m, CNT), 3 << 10 | 1);
	fake_out16(c.m, STATUS, BUTTON);
	clock_step(&c.m->clock, 500 * S); /* the timer's half goes on from where it was */
	assert_true(board_irq(&c, SCI));
	board_close(&b);
	board_close(&c);
}

static void debug_console(void **state)
{
	struct chr *chr = chr_buffer_new();
	struct board b;
	char buf[8];

	board_open(&b);
	assert_int_equal(debugcon_new(b.m, 0x402, chr, NULL), 0);
	assert_int_equal(fake_in8(b.m, 0x402), 0xe9);
	fake_out8(b.m, 0x402, 'o');
	fake_out8(b.m, 0x402, 'k');
	assert_int_equal(chr_buffer_output(chr, buf, sizeof(buf)), 2);
	assert_memory_equal(buf, "ok", 2);
	board_close(&b);
}

static void debug_exit(void **state)
{
	struct board b;

	board_open(&b);
	assert_int_equal(debug_exit_new(b.m, 0xf4, NULL), 0);
	fake_out32(b.m, 0xf4, 0x10);
	assert_int_equal(b.m->ended, MACHINE_DEBUG_EXIT);
	assert_int_equal(b.m->end_code, 0x10);
	fake_out8(b.m, 0xf4, 0x11); /* the first one counts */
	assert_int_equal(b.m->end_code, 0x10);
	board_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timer_counts),  cmocka_unit_test(timer_interrupt),
		cmocka_unit_test(power_button),  cmocka_unit_test(power_off),
		cmocka_unit_test(ports_move),    cmocka_unit_test(state_moves),
		cmocka_unit_test(debug_console), cmocka_unit_test(debug_exit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
