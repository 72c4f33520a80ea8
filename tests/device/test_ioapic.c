/* The I/O APIC: pins become messages, once for an edge, until the end of the interrupt for a level. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "board.h"
#include "dev/chip/ioapic.h"

#define BASE   0xfec00000u
#define MASKED 0x10000u
#define LEVEL  0x8000u
#define IRR    0x4000u

static uint32_t get(struct board *b, uint8_t reg)
{
	fake_write(b->m, BASE, 4, reg);
	return fake_read(b->m, BASE + 0x10, 4);
}

static void put(struct board *b, uint8_t reg, uint32_t v)
{
	fake_write(b->m, BASE, 4, reg);
	fake_write(b->m, BASE + 0x10, 4, v);
}

static void entry(struct board *b, unsigned pin, uint8_t destination, uint32_t low)
{
	put(b, 0x11 + 2 * pin, (uint32_t)destination << 24);
	put(b, 0x10 + 2 * pin, low);
}

static void open_ioapic(struct board *b)
{
	struct err e = {0};

	board_open(b);
	assert_int_equal(ioapic_new(b->m, BASE, 3, &e), 0);
}

static void sends(struct board *b, uint64_t address, uint32_t data)
{
	struct fake_msi msi;

	assert_true(fake_msi_take(b->m, &msi));
	assert_int_equal(msi.address, address);
	assert_int_equal(msi.data, data);
}

static void is_silent(struct board *b)
{
	assert_int_equal(fake_msi_count(b->m), 0);
}

static void registers(void **state)
{
	struct board b;

	open_ioapic(&b);
	assert_int_equal(get(&b, 0), 0x03000000);
	assert_int_equal(get(&b, 1), 0x00170020);
	assert_int_equal(get(&b, 0x10), MASKED);
	put(&b, 0, 0xff000000);
	put(&b, 1, 0xffffffff);
	put(&b, 0x10, 0xffffffff);
	put(&b, 0x11, 0xffffffff);
	put(&b, 0x40, 0xffffffff); /* there is no such pin */
	assert_int_equal(get(&b, 0), 0xff000000);
	assert_int_equal(get(&b, 1), 0x00170020);
	assert_int_equal(get(&b, 0x10), 0x1afff);
	assert_int_equal(get(&b, 0x11), 0xff000000);
	assert_int_equal(get(&b, 0x40), 0xffffffff);
	machine_reset_devices(b.m);
	assert_int_equal(get(&b, 0x10), MASKED);
	board_close(&b);
}

static void edges(void **state)
{
	struct board b;

	open_ioapic(&b);
	entry(&b, 4, 0x12, 0x41);
	irq_set(b.m, 4, true);
	sends(&b, 0xfee12000, 0x4041);
	irq_eoi(b.m, 0x41);
	is_silent(&b);
	irq_set(b.m, 4, false);
	is_silent(&b);
	entry(&b, 4, 0x12, MASKED | 0x41);
	irq_set(b.m, 4, true);
	entry(&b, 4, 0x12, 0x41);
	is_silent(&b); /* lost */
	irq_set(b.m, 4, false);
	entry(&b, 4, 0x03, 0x0952); /* lowest priority, logical destination */
	irq_set(b.m, 4, true);
	sends(&b, 0xfee03004, 0x4152);
	board_close(&b);
}

static void the_timer_is_on_pin_2(void **state)
{
	struct board b;

	open_ioapic(&b);
	entry(&b, 0, 0, 0x30);
	entry(&b, 2, 0, 0x32);
	irq_pulse(b.m, 0);
	sends(&b, 0xfee00000, 0x4032);
	is_silent(&b);
	board_close(&b);
}

static void levels(void **state)
{
	struct board b;

	open_ioapic(&b);
	irq_set(b.m, 20, true);
	entry(&b, 20, 0, LEVEL | 0x61); /* it is high already */
	sends(&b, 0xfee00000, 0xc061);
	assert_int_equal(get(&b, 0x10 + 40), LEVEL | IRR | 0x61);
	irq_set(b.m, 20, false);
	irq_set(b.m, 20, true);
	is_silent(&b); /* not before its end */
	irq_eoi(b.m, 0x62);
	is_silent(&b);
	irq_eoi(b.m, 0x61);
	sends(&b, 0xfee00000, 0xc061); /* still high */
	irq_set(b.m, 20, false);
	irq_eoi(b.m, 0x61);
	is_silent(&b);
	assert_int_equal(get(&b, 0x10 + 40), LEVEL | 0x61);
	irq_set(b.m, 20, true);
	sends(&b, 0xfee00000, 0xc061);
	fake_write(b.m, BASE + 0x40, 4, 0x61); /* the EOI register */
	sends(&b, 0xfee00000, 0xc061);
	board_close(&b);
}

static void masks_and_stuck_ends(void **state)
{
	struct board b;

	open_ioapic(&b);
	entry(&b, 9, 0, LEVEL | 0x39);
	irq_set(b.m, 9, true);
	sends(&b, 0xfee00000, 0xc039);
	entry(&b, 9, 0, MASKED | LEVEL | 0x39);
	irq_eoi(b.m, 0x39);
	is_silent(&b);
	entry(&b, 9, 0, LEVEL | 0x39);
	sends(&b, 0xfee00000, 0xc039);
	/* Remote IRR is cleared by making it edge-triggered, and only so. */
	entry(&b, 9, 0, MASKED | LEVEL | 0x39);
	assert_true(get(&b, 0x10 + 18) & IRR);
	entry(&b, 9, 0, MASKED | 0x39);
	entry(&b, 9, 0, MASKED | LEVEL | 0x39);
	assert_false(get(&b, 0x10 + 18) & IRR);
	is_silent(&b);
	/* An NMI has no end. */
	entry(&b, 10, 0, LEVEL | 0x400);
	irq_set(b.m, 10, true);
	sends(&b, 0xfee00000, 0xc400);
	assert_false(get(&b, 0x10 + 20) & IRR);
	board_close(&b);
}

static void state_moves(void **state)
{
	struct board b, c;

	open_ioapic(&b);
	open_ioapic(&c);
	entry(&b, 20, 0x80, LEVEL | 0x61);
	irq_set(b.m, 20, true);
	sends(&b, 0xfee80000, 0xc061);
	entry(&b, 4, 0, 0x41);
	put(&b, 0, 0x07000000);
	board_move(&b, &c, "ioapic");
	is_silent(&c);
	irq_eoi(c.m, 0x61); /* the line's level came along */
	sends(&c, 0xfee80000, 0xc061);
	irq_pulse(c.m, 4);
	sends(&c, 0xfee00000, 0x4041);
	assert_int_equal(get(&c, 0), 0x07000000);
	board_close(&b);
	board_close(&c);
}

static void nonsense(void **state)
{
	uint32_t seed = 1;
	struct fake_msi msi;
	struct board b;

	open_ioapic(&b);
	for (unsigned i = 0; i < 100000; i++) {
		seed = seed * 1664525 + 1013904223;
		fake_write(b.m, BASE + (seed >> 8 & 0xff8), 1u << (seed >> 6 & 3), seed >> 4);
		put(&b, seed >> 16, seed * 7);
		irq_set(b.m, (seed >> 18) % 40, seed >> 30);
		fake_read(b.m, BASE + (seed >> 8 & 0xfff), 1);
		while (fake_msi_take(b.m, &msi))
			;
	}
	for (unsigned i = 0; i < IRQ_GSIS; i++)
		irq_set(b.m, i, false);
	machine_reset_devices(b.m);
	entry(&b, 1, 0, 0x31);
	irq_pulse(b.m, 1);
	sends(&b, 0xfee00000, 0x4031);
	board_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(registers),
		cmocka_unit_test(edges),
		cmocka_unit_test(the_timer_is_on_pin_2),
		cmocka_unit_test(levels),
		cmocka_unit_test(masks_and_stuck_ends),
		cmocka_unit_test(state_moves),
		cmocka_unit_test(nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
