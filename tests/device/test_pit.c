/* The 8254 on a stepped clock: its modes, what can be read of it, port 0x61, the timer interrupt. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "board.h"
#include "dev/chip/pic.h"
#include "dev/chip/pit.h"

#define CONTROL 0x43
#define SYSTEM  0x61
#define GATE    0x01
#define OUT     0x20

/* Nanoseconds in which `ticks` have just happened. */
static uint64_t ticks(uint64_t ticks)
{
	return (ticks * 1000000000 + 1193181) / 1193182;
}

static void step(struct board *b, uint64_t n)
{
	clock_step(&b->m->clock, ticks(n));
}

static void open_pit(struct board *b)
{
	struct err e = {0};

	board_open(b);
	assert_int_equal(pic_new(b->m, &e), 0);
	assert_int_equal(pit_new(b->m, &e), 0);
	/* Vectors at 0x30 with automatic ends. */
	fake_out8(b->m, 0x20, 0x11);
	fake_out8(b->m, 0x21, 0x30);
	fake_out8(b->m, 0x21, 4);
	fake_out8(b->m, 0x21, 3);
}

static void set(struct board *b, unsigned channel, unsigned mode, uint16_t count)
{
	fake_out8(b->m, CONTROL, channel << 6 | 0x30 | mode << 1);
	fake_out8(b->m, 0x40 + channel, count);
	fake_out8(b->m, 0x40 + channel, count >> 8);
}

static uint16_t latched(struct board *b, unsigned channel)
{
	uint16_t v;

	fake_out8(b->m, CONTROL, channel << 6);
	v = fake_in8(b->m, 0x40 + channel);
	return v | fake_in8(b->m, 0x40 + channel) << 8;
}

static unsigned interrupts(struct board *b)
{
	unsigned n = 0;

	for (; irq_pic_pending(b->m); n++)
		assert_int_equal(irq_pic_accept(b->m), 0x30);
	return n;
}

/* Steps to a time at which exactly one interrupt must have come, and not a tick earlier. */
static void one_after(struct board *b, uint64_t n)
{
	step(b, n - 1);
	assert_int_equal(interrupts(b), 0);
	step(b, 1);
	assert_int_equal(interrupts(b), 1);
}

static void periodic_interrupts(void **state)
{
	struct board b;

	open_pit(&b);
	for (unsigned mode = 2; mode <= 3; mode++) {
		set(&b, 0, mode, 1000);
		interrupts(&b);
		for (unsigned i = 0; i < 5; i++)
			one_after(&b, 1000);
	}
	/* A new count is for the next period. */
	step(&b, 400);
	fake_out8(b.m, 0x40, 500 & 0xff);
	fake_out8(b.m, 0x40, 500 >> 8);
	one_after(&b, 600);
	one_after(&b, 500);
	one_after(&b, 500);
	board_close(&b);
}

static void single_interrupts(void **state)
{
	struct board b;

	open_pit(&b);
	interrupts(&b);
	set(&b, 0, 0, 5000);
	assert_false(board_irq(&b, 0));
	one_after(&b, 5000);
	assert_true(board_irq(&b, 0));
	step(&b, 200000);
	assert_int_equal(interrupts(&b), 0);
	set(&b, 0, 0, 0); /* 65536 */
	one_after(&b, 65536);
	set(&b, 0, 4, 300);
	assert_int_equal(interrupts(&b), 0);
	one_after(&b, 301); /* low for a tick, then it rises */
	step(&b, 200000);
	assert_int_equal(interrupts(&b), 0);
	/* A control word stops it. */
	set(&b, 0, 0, 300);
	fake_out8(b.m, CONTROL, 0x30);
	step(&b, 1000);
	assert_int_equal(interrupts(&b), 0);
	board_close(&b);
}

static void counts_are_read(void **state)
{
	struct board b;

	open_pit(&b);
	set(&b, 0, 2, 1000);
	assert_int_equal(latched(&b, 0), 1000);
	step(&b, 1);
	assert_int_equal(latched(&b, 0), 999);
	step(&b, 998);
	assert_int_equal(latched(&b, 0), 1);
	step(&b, 1);
	assert_int_equal(latched(&b, 0), 1000);
	set(&b, 0, 3, 1000);
	step(&b, 100);
	assert_int_equal(latched(&b, 0), 800); /* by twos */
	step(&b, 400);
	assert_int_equal(latched(&b, 0), 1000);
	set(&b, 0, 0, 10);
	step(&b, 12);
	assert_int_equal(latched(&b, 0), 0xfffe); /* goes on behind 0 */
	/* One byte only; decimal. */
	fake_out8(b.m, CONTROL, 0x14);
	fake_out8(b.m, 0x40, 200);
	step(&b, 50);
	assert_int_equal(fake_in8(b.m, 0x40), 150);
	fake_out8(b.m, CONTROL, 0x24);
	fake_out8(b.m, 0x40, 2);
	step(&b, 1);
	assert_int_equal(fake_in8(b.m, 0x40), 1);
	fake_out8(b.m, CONTROL, 0x35);
	fake_out8(b.m, 0x40, 0x34);
	fake_out8(b.m, 0x40, 0x12);
	step(&b, 234);
	assert_int_equal(latched(&b, 0), 0x1000);
	board_close(&b);
}

static void a_latch_holds(void **state)
{
	struct board b;

	open_pit(&b);
	set(&b, 0, 2, 1000);
	step(&b, 10);
	fake_out8(b.m, CONTROL, 0x00);
	step(&b, 10);
	fake_out8(b.m, CONTROL, 0x00); /* counts once */
	assert_int_equal(fake_in8(b.m, 0x40), 990 & 0xff);
	step(&b, 300);
	assert_int_equal(fake_in8(b.m, 0x40), 990 >> 8);
	assert_int_equal(fake_in8(b.m, 0x40), 680 & 0xff);
	assert_int_equal(fake_in8(b.m, 0x40), 680 >> 8);
	board_close(&b);
}

static void read_back(void **state)
{
	struct board b;

	open_pit(&b);
	set(&b, 0, 2, 1000);
	step(&b, 10);
	fake_out8(b.m, CONTROL, 0xc2); /* count and status of channel 0 */
	step(&b, 10);
	assert_int_equal(fake_in8(b.m, 0x40), 0xb4); /* out, both bytes, mode 2 */
	assert_int_equal(fake_in8(b.m, 0x40), 990 & 0xff);
	assert_int_equal(fake_in8(b.m, 0x40), 990 >> 8);
	fake_out8(b.m, 0x40, 0);
	fake_out8(b.m, 0x40, 1);
	fake_out8(b.m, CONTROL, 0xe2);
	assert_int_equal(fake_in8(b.m, 0x40), 0xf4); /* the new count is not in yet */
	step(&b, 980);
	fake_out8(b.m, CONTROL, 0xe2);
	assert_int_equal(fake_in8(b.m, 0x40), 0xb4);
	fake_out8(b.m, CONTROL, 0xb0);
	fake_out8(b.m, CONTROL, 0xe8);
	assert_int_equal(fake_in8(b.m, 0x42), 0x70); /* no count, output low */
	fake_out8(b.m, CONTROL, 0xd4);               /* counts of channels 1 and 2 */
	assert_int_equal(fake_in8(b.m, CONTROL), 0xff);
	board_close(&b);
}

/* How Linux and others measure their clocks. */
static void channel_2_and_its_gate(void **state)
{
	struct board b;

	open_pit(&b);
	assert_int_equal(fake_in8(b.m, SYSTEM) & 3, 0);
	fake_out8(b.m, SYSTEM, 0x02 | GATE);
	assert_int_equal(fake_in8(b.m, SYSTEM) & 3, 3);
	set(&b, 2, 0, 2000);
	assert_false(fake_in8(b.m, SYSTEM) & OUT);
	step(&b, 500);
	fake_out8(b.m, SYSTEM, 0); /* stands */
	step(&b, 10000);
	assert_int_equal(latched(&b, 2), 1500);
	assert_false(fake_in8(b.m, SYSTEM) & OUT);
	fake_out8(b.m, SYSTEM, GATE);
	step(&b, 1498);
	assert_false(fake_in8(b.m, SYSTEM) & OUT);
	step(&b, 2);
	assert_true(fake_in8(b.m, SYSTEM) & OUT);
	assert_int_equal(interrupts(&b), 0); /* it is nobody's interrupt */
	board_close(&b);
}

static void gates_trigger(void **state)
{
	struct board b;

	open_pit(&b);
	set(&b, 2, 1, 100);
	step(&b, 1000);
	assert_true(fake_in8(b.m, SYSTEM) & OUT);
	fake_out8(b.m, SYSTEM, GATE);
	assert_false(fake_in8(b.m, SYSTEM) & OUT);
	step(&b, 60);
	fake_out8(b.m, 0x42, 50); /* for the next one */
	fake_out8(b.m, 0x42, 0);
	fake_out8(b.m, SYSTEM, 0);
	assert_false(fake_in8(b.m, SYSTEM) & OUT);
	step(&b, 41);
	assert_true(fake_in8(b.m, SYSTEM) & OUT);
	fake_out8(b.m, SYSTEM, GATE);
	step(&b, 49);
	assert_false(fake_in8(b.m, SYSTEM) & OUT);
	step(&b, 2);
	assert_true(fake_in8(b.m, SYSTEM) & OUT);
	/* Strobe */
	fake_out8(b.m, SYSTEM, 0);
	set(&b, 2, 5, 100);
	fake_out8(b.m, SYSTEM, GATE);
	step(&b, 99);
	assert_true(fake_in8(b.m, SYSTEM) & OUT);
	step(&b, 1);
	assert_false(fake_in8(b.m, SYSTEM) & OUT);
	step(&b, 1);
	assert_true(fake_in8(b.m, SYSTEM) & OUT);
	/* A square wave starts again with the gate. */
	set(&b, 2, 3, 100);
	step(&b, 70);
	assert_false(fake_in8(b.m, SYSTEM) & OUT);
	fake_out8(b.m, SYSTEM, 0);
	assert_true(fake_in8(b.m, SYSTEM) & OUT);
	step(&b, 70);
	fake_out8(b.m, SYSTEM, GATE);
	step(&b, 49);
	assert_true(fake_in8(b.m, SYSTEM) & OUT);
	step(&b, 2);
	assert_false(fake_in8(b.m, SYSTEM) & OUT);
	board_close(&b);
}

static void the_refresh_bit_toggles(void **state)
{
	unsigned toggles = 0;
	struct board b;
	uint8_t last;

	open_pit(&b);
	last = fake_in8(b.m, SYSTEM) & 0x10;
	for (unsigned i = 0; i < 1000; i++) {
		uint8_t bit;

		clock_step(&b.m->clock, 1000);
		bit = fake_in8(b.m, SYSTEM) & 0x10;
		toggles += bit != last;
		last = bit;
	}
	assert_in_range(toggles, 65, 67); /* each 15 us */
	board_close(&b);
}

static void state_moves(void **state)
{
	struct board b, c;

	open_pit(&b);
	open_pit(&c);
	set(&b, 0, 2, 20000);
	step(&b, 5000);
	fake_out8(b.m, 0x40, 0x10);
	fake_out8(b.m, 0x40, 0x27); /* 10000 next */
	fake_out8(b.m, SYSTEM, GATE);
	set(&b, 2, 0, 100);
	step(&b, 40);
	fake_out8(b.m, SYSTEM, 0x02);
	fake_out8(b.m, CONTROL, 0x00);
	fake_in8(b.m, 0x40);
	board_move(&b, &c, "pit");
	interrupts(&c);
	assert_int_equal(fake_in8(c.m, 0x40), 14960 >> 8);
	assert_int_equal(fake_in8(c.m, SYSTEM) & 3, 2);
	assert_int_equal(latched(&c, 2), 60);
	one_after(&c, 14960);
	one_after(&c, 10000);
	board_close(&b);
	board_close(&c);
}

/* Whatever it is set to, the host is not kept busy, and it works afterwards. */
static void nonsense(void **state)
{
	uint32_t seed = 1;
	struct board b;

	open_pit(&b);
	fake_out8(b.m, CONTROL, 0x14);
	fake_out8(b.m, 0x40, 1);
	interrupts(&b);
	for (unsigned i = 0; i < 100; i++)
		clock_step(&b.m->clock, 10000);
	for (unsigned i = 0; i < 100000; i++) {
		seed = seed * 1664525 + 1013904223;
		fake_out8(b.m, 0x40 + (seed >> 8 & 3), seed >> 16);
		fake_out8(b.m, SYSTEM, seed >> 12);
		fake_in8(b.m, 0x40 + (seed >> 10 & 3));
		fake_in8(b.m, SYSTEM);
		clock_step(&b.m->clock, seed >> 14);
		interrupts(&b);
	}
	set(&b, 0, 2, 1000);
	interrupts(&b);
	one_after(&b, 1000);
	board_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(periodic_interrupts), cmocka_unit_test(single_interrupts),
		cmocka_unit_test(counts_are_read),     cmocka_unit_test(a_latch_holds),
		cmocka_unit_test(read_back),           cmocka_unit_test(channel_2_and_its_gate),
		cmocka_unit_test(gates_trigger),       cmocka_unit_test(the_refresh_bit_toggles),
		cmocka_unit_test(state_moves),         cmocka_unit_test(nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
