/* The real-time clock: telling and setting the time, its three interrupts, CMOS memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>
#include "board.h"
#include "dev/chip/rtc.h"

#define IRQ   8
#define S     1000000000ull
#define START 1709251195 /* 2024-02-29 23:59:55, a Thursday */

static void open_rtc(struct board *b)
{
	const struct rtc_config cfg = {
		.now = START, .low_ram = 3 * GIB, .high_ram = 5 * GIB, .cpus = 4};

	board_open(b);
	assert_int_equal(rtc_new(b->m, IRQ, &cfg, NULL), 0);
}

static uint8_t get(struct board *b, uint8_t reg)
{
	fake_out8(b->m, 0x70, reg);
	return fake_in8(b->m, 0x71);
}

static void set(struct board *b, uint8_t reg, uint8_t v)
{
	fake_out8(b->m, 0x70, reg);
	fake_out8(b->m, 0x71, v);
}

/* As century to second, and the day of the week. */
static void shows(struct board *b, const uint8_t want[8])
{
	static const uint8_t regs[] = {0x32, 9, 8, 7, 4, 2, 0, 6};

	for (unsigned i = 0; i < ARRAY_LEN(regs); i++)
		assert_int_equal(get(b, regs[i]), want[i]);
}
#define SHOWS(b, ...) shows(b, (const uint8_t[8]){__VA_ARGS__})

static void time_is_told(void **state)
{
	struct board b;

	open_rtc(&b);
	assert_int_equal(get(&b, 13), 0x80);
	SHOWS(&b, 0x20, 0x24, 0x02, 0x29, 0x23, 0x59, 0x55, 0x05);
	clock_step(&b.m->clock, 4 * S + 999 * S / 1000);
	SHOWS(&b, 0x20, 0x24, 0x02, 0x29, 0x23, 0x59, 0x59, 0x05);
	assert_int_equal(get(&b, 10) & 0x80, 0);
	clock_step(&b.m->clock, 900000);
	assert_int_equal(get(&b, 10) & 0x80, 0x80); /* update in progress */
	clock_step(&b.m->clock, 100000);
	assert_int_equal(get(&b, 10) & 0x80, 0);
	SHOWS(&b, 0x20, 0x24, 0x03, 0x01, 0x00, 0x00, 0x00, 0x06);
	set(&b, 11, 0x06); /* binary, 24 hours */
	clock_step(&b.m->clock, 13 * 3600 * S);
	SHOWS(&b, 20, 24, 3, 1, 13, 0, 0, 6);
	set(&b, 11, 0x00); /* BCD, 12 hours */
	assert_int_equal(get(&b, 4), 0x81);
	clock_step(&b.m->clock, 11 * 3600 * S);
	assert_int_equal(get(&b, 4), 0x12); /* midnight */
	board_close(&b);
}

static void time_is_set(void **state)
{
	struct board b;

	open_rtc(&b);
	set(&b, 11, 0x82);
	clock_step(&b.m->clock, 10 * S);
	assert_int_equal(get(&b, 0), 0x55); /* it stands still */
	set(&b, 0x32, 0x19);
	set(&b, 9, 0x69);
	set(&b, 8, 0x07);
	set(&b, 7, 0x20);
	set(&b, 4, 0x20);
	set(&b, 2, 0x17);
	set(&b, 0, 0x40);
	set(&b, 11, 0x02);
	SHOWS(&b, 0x19, 0x69, 0x07, 0x20, 0x20, 0x17, 0x40, 0x01);
	clock_step(&b.m->clock, 20 * S);
	SHOWS(&b, 0x19, 0x69, 0x07, 0x20, 0x20, 0x18, 0x00, 0x01);
	/* A divider that was held starts half a second before an update. */
	set(&b, 10, 0x66);
	clock_step(&b.m->clock, 10 * S);
	set(&b, 10, 0x26);
	assert_int_equal(get(&b, 0), 0x00);
	clock_step(&b.m->clock, S / 2);
	assert_int_equal(get(&b, 0), 0x01);
	set(&b, 11, 0x00); /* 12 hours */
	set(&b, 4, 0x92);
	set(&b, 11, 0x02);
	assert_int_equal(get(&b, 4), 0x12);
	set(&b, 4, 0x20);
	/* While it runs, too. */
	set(&b, 2, 0x30);
	SHOWS(&b, 0x19, 0x69, 0x07, 0x20, 0x20, 0x30, 0x01, 0x01);
	/* Nonsense is some time. */
	for (unsigned reg = 0; reg < 10; reg++)
		set(&b, reg, 0xff);
	set(&b, 0x32, 0xff);
	clock_step(&b.m->clock, S);
	get(&b, 0);
	board_close(&b);
}

static void periodic_interrupt(void **state)
{
	struct board b;

	open_rtc(&b);
	clock_step(&b.m->clock, S);
	assert_int_equal(get(&b, 12), 0x50); /* flags without interrupts */
	assert_int_equal(get(&b, 12), 0x00);
	set(&b, 10, 0x2f); /* 2 Hz */
	set(&b, 11, 0x42);
	clock_step(&b.m->clock, S / 2 - 1000);
	assert_false(board_irq(&b, IRQ));
	clock_step(&b.m->clock, 1000);
	assert_true(board_irq(&b, IRQ));
	clock_step(&b.m->clock, S);
	assert_int_equal(get(&b, 12) & 0xc0, 0xc0); /* acknowledges */
	assert_false(board_irq(&b, IRQ));
	for (unsigned i = 0; i < 10; i++) {
		clock_step(&b.m->clock, S / 2);
		assert_true(board_irq(&b, IRQ));
		get(&b, 12);
	}
	set(&b, 10, 0x20); /* no rate */
	clock_step(&b.m->clock, 10 * S);
	assert_false(board_irq(&b, IRQ));
	board_close(&b);
}

static void update_and_alarm_interrupts(void **state)
{
	struct board b;

	open_rtc(&b);
	set(&b, 11, 0x12);
	clock_step(&b.m->clock, S - 1);
	assert_false(board_irq(&b, IRQ));
	clock_step(&b.m->clock, 1);
	assert_true(board_irq(&b, IRQ));
	assert_int_equal(get(&b, 12) & 0x90, 0x90);
	set(&b, 11, 0x22);
	set(&b, 1, 0x01); /* at second 1 of any minute and hour */
	set(&b, 3, 0xff);
	set(&b, 5, 0xc0);
	clock_step(&b.m->clock, 4 * S);
	assert_false(board_irq(&b, IRQ));
	clock_step(&b.m->clock, S);
	assert_true(board_irq(&b, IRQ));
	assert_int_equal(get(&b, 12) & 0xa0, 0xa0);
	/* Also when nobody looked for days. */
	set(&b, 11, 0x02);
	set(&b, 5, 0x17);
	set(&b, 3, 0x30);
	clock_step(&b.m->clock, 3 * 86400 * S);
	assert_int_equal(get(&b, 12) & 0x20, 0x20);
	board_close(&b);
}

static void memory(void **state)
{
	struct board b;

	open_rtc(&b);
	assert_int_equal(get(&b, 0x15) | get(&b, 0x16) << 8, 640);
	assert_int_equal(get(&b, 0x30) | get(&b, 0x31) << 8, 0xffff);
	assert_int_equal(get(&b, 0x34) | get(&b, 0x35) << 8, (3 * GIB - 16 * MIB) >> 16);
	assert_int_equal(get(&b, 0x5b) | get(&b, 0x5c) << 8 | get(&b, 0x5d) << 16, 5 * GIB >> 16);
	assert_int_equal(get(&b, 0x5f), 3);
	set(&b, 0x0f, 0x0a);
	assert_int_equal(get(&b, 0x8f), 0x0a); /* bit 7 is the NMI mask */
	machine_reset_devices(b.m);
	assert_int_equal(get(&b, 0x0f), 0x0a);
	SHOWS(&b, 0x20, 0x24, 0x02, 0x29, 0x23, 0x59, 0x55, 0x05);
	board_close(&b);
}

static void state_moves(void **state)
{
	struct board b, c;

	open_rtc(&b);
	open_rtc(&c);
	clock_step(&b.m->clock, S / 4);
	set(&b, 9, 0x30);
	set(&b, 10, 0x2f);
	set(&b, 11, 0x52);
	set(&b, 0x40, 0x77);
	get(&b, 0x40);
	board_move(&b, &c, "rtc");
	assert_int_equal(fake_in8(c.m, 0x71), 0x77);
	SHOWS(&c, 0x20, 0x30, 0x03, 0x01, 0x23, 0x59, 0x55, 0x06); /* 2030 has no February 29 */
	clock_step(&c.m->clock, S / 4);
	assert_true(board_irq(&c, IRQ));
	assert_int_equal(get(&c, 12), 0xc0);
	clock_step(&c.m->clock, S / 2);
	assert_int_equal(get(&c, 12), 0xd0);
	board_close(&b);
	board_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(time_is_told),
		cmocka_unit_test(time_is_set),
		cmocka_unit_test(periodic_interrupt),
		cmocka_unit_test(update_and_alarm_interrupts),
		cmocka_unit_test(memory),
		cmocka_unit_test(state_moves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
