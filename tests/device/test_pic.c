/* The two 8259A: priorities, ends of interrupts, the cascade, and what a PC's systems do with them. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "board.h"
#include "dev/chip/pic.h"

#define FIRST  0x20
#define SECOND 0xa0
#define EOI    0x20

/* The lines start low, the vectors at 0x30 and 0x38; everything may interrupt. */
static void set_up(struct board *b, uint8_t icw4)
{
	static const uint16_t port[2] = {FIRST, SECOND};

	for (unsigned i = 0; i < 2; i++) {
		fake_out8(b->m, port[i], 0x11);
		fake_out8(b->m, port[i] + 1, 0x30 + 8 * i);
		fake_out8(b->m, port[i] + 1, i ? 2 : 4);
		fake_out8(b->m, port[i] + 1, icw4);
		fake_out8(b->m, port[i] + 1, 0);
	}
}

static void open_pic(struct board *b)
{
	struct err e = {0};

	board_open(b);
	assert_int_equal(pic_new(b->m, &e), 0);
	set_up(b, 1);
}

static void takes(struct board *b, uint8_t vector)
{
	assert_true(irq_pic_pending(b->m));
	assert_int_equal(irq_pic_accept(b->m), vector);
}

static void nothing_waits(struct board *b)
{
	assert_false(irq_pic_pending(b->m));
}

static void lower_pins_come_first(void **state)
{
	struct board b;

	open_pic(&b);
	irq_pulse(b.m, 4);
	irq_pulse(b.m, 3);
	takes(&b, 0x33);
	nothing_waits(&b); /* 4 is below what is in service */
	irq_pulse(b.m, 1);
	takes(&b, 0x31);
	fake_out8(b.m, FIRST, 0x0b);
	assert_int_equal(fake_in8(b.m, FIRST), 0x0a);
	fake_out8(b.m, FIRST, EOI); /* of 1 */
	assert_int_equal(fake_in8(b.m, FIRST), 0x08);
	nothing_waits(&b);
	fake_out8(b.m, FIRST, 0x0a);
	assert_int_equal(fake_in8(b.m, FIRST), 0x10);
	fake_out8(b.m, FIRST, 0x60 | 3);
	takes(&b, 0x34);
	board_close(&b);
}

static void masked_pins_wait(void **state)
{
	struct board b;

	open_pic(&b);
	fake_out8(b.m, FIRST + 1, 0x10);
	assert_int_equal(fake_in8(b.m, FIRST + 1), 0x10);
	irq_set(b.m, 4, true);
	nothing_waits(&b);
	fake_out8(b.m, FIRST + 1, 0);
	takes(&b, 0x34);
	fake_out8(b.m, FIRST, EOI);
	nothing_waits(&b); /* an edge is one interrupt */
	board_close(&b);
}

static void the_second_chip_comes_through_the_first(void **state)
{
	struct board b;

	open_pic(&b);
	irq_pulse(b.m, 12);
	takes(&b, 0x3c);
	irq_pulse(b.m, 10); /* higher on the second chip, but the first has pin 2 in service */
	nothing_waits(&b);
	fake_out8(b.m, FIRST, EOI);
	takes(&b, 0x3a);
	fake_out8(b.m, SECOND, EOI);
	fake_out8(b.m, FIRST, EOI);
	fake_out8(b.m, SECOND, 0x0b);
	assert_int_equal(fake_in8(b.m, SECOND), 0x10); /* 12 is still in service */
	irq_pulse(b.m, 2);                             /* no device's */
	nothing_waits(&b);
	board_close(&b);
}

static void special_fully_nested_mode(void **state)
{
	struct board b;

	open_pic(&b);
	set_up(&b, 0x11);
	irq_pulse(b.m, 12);
	takes(&b, 0x3c);
	irq_pulse(b.m, 10);
	takes(&b, 0x3a);
	irq_pulse(b.m, 11);
	nothing_waits(&b);
	board_close(&b);
}

static void level_triggered_pins(void **state)
{
	struct board b;

	open_pic(&b);
	fake_out16(b.m, 0x4d0, 0xffff);
	assert_int_equal(fake_in16(b.m, 0x4d0), 0xdef8); /* some are edge-triggered for ever */
	irq_set(b.m, 11, true);
	takes(&b, 0x3b);
	fake_out8(b.m, SECOND, EOI);
	fake_out8(b.m, FIRST, EOI);
	takes(&b, 0x3b); /* the line is still high */
	irq_set(b.m, 11, false);
	fake_out8(b.m, SECOND, EOI);
	fake_out8(b.m, FIRST, EOI);
	nothing_waits(&b);
	board_close(&b);
}

static void spurious_interrupts(void **state)
{
	struct board b;

	open_pic(&b);
	fake_out8(b.m, 0x4d0, 0x20);
	fake_out8(b.m, 0x4d1, 0x04);
	irq_set(b.m, 5, true);
	irq_set(b.m, 5, false);
	nothing_waits(&b);
	assert_int_equal(irq_pic_accept(b.m), 0x37); /* asked all the same */
	fake_out8(b.m, FIRST, 0x0b);
	assert_int_equal(fake_in8(b.m, FIRST), 0); /* and not in service */
	board_close(&b);
}

static void rotation(void **state)
{
	struct board b;

	open_pic(&b);
	irq_pulse(b.m, 3);
	takes(&b, 0x33);
	fake_out8(b.m, FIRST, 0xa0); /* EOI, and 3 becomes the lowest */
	irq_pulse(b.m, 3);
	irq_pulse(b.m, 1);
	irq_pulse(b.m, 4);
	takes(&b, 0x34);
	fake_out8(b.m, FIRST, EOI);
	takes(&b, 0x31);
	fake_out8(b.m, FIRST, EOI);
	takes(&b, 0x33);
	fake_out8(b.m, FIRST, 0xe0 | 3);
	fake_out8(b.m, FIRST, 0xc0 | 5); /* 6 is the highest now */
	irq_pulse(b.m, 7);
	irq_pulse(b.m, 6);
	irq_pulse(b.m, 0);
	takes(&b, 0x36);
	fake_out8(b.m, FIRST, EOI);
	takes(&b, 0x37);
	fake_out8(b.m, FIRST, EOI);
	takes(&b, 0x30);
	board_close(&b);
}

static void automatic_ends(void **state)
{
	struct board b;

	open_pic(&b);
	set_up(&b, 3);
	irq_pulse(b.m, 1);
	irq_pulse(b.m, 0);
	takes(&b, 0x30);
	takes(&b, 0x31);
	fake_out8(b.m, FIRST, 0x80); /* rotate at each of them */
	irq_pulse(b.m, 1);
	takes(&b, 0x31);
	irq_pulse(b.m, 1);
	irq_pulse(b.m, 5);
	takes(&b, 0x35);
	takes(&b, 0x31);
	board_close(&b);
}

static void special_mask_mode(void **state)
{
	struct board b;

	open_pic(&b);
	irq_pulse(b.m, 1);
	takes(&b, 0x31);
	irq_pulse(b.m, 6);
	nothing_waits(&b);
	fake_out8(b.m, FIRST, 0x68);
	fake_out8(b.m, FIRST + 1, 0x02); /* masked, what is in service holds nobody up */
	takes(&b, 0x36);
	fake_out8(b.m, FIRST, EOI); /* 6: 1 is masked */
	fake_out8(b.m, FIRST, 0x0b);
	assert_int_equal(fake_in8(b.m, FIRST), 0x02);
	fake_out8(b.m, FIRST, 0x48);
	irq_pulse(b.m, 6);
	nothing_waits(&b);
	board_close(&b);
}

static void polling(void **state)
{
	struct board b;

	open_pic(&b);
	irq_pulse(b.m, 4);
	fake_out8(b.m, FIRST, 0x0c);
	assert_int_equal(fake_in8(b.m, FIRST), 0x84);
	nothing_waits(&b);
	fake_out8(b.m, FIRST, 0x0c);
	assert_int_equal(fake_in8(b.m, FIRST), 0); /* none */
	fake_out8(b.m, FIRST, 0x0b);
	assert_int_equal(fake_in8(b.m, FIRST), 0x10);
	board_close(&b);
}

static void initialisation(void **state)
{
	struct board b;
	struct err e = {0};

	board_open(&b);
	irq_set(b.m, 6, true);
	assert_int_equal(pic_new(b.m, &e), 0);
	irq_pulse(b.m, 1);
	nothing_waits(&b); /* silent before */
	fake_out8(b.m, FIRST, 0x12);
	fake_out8(b.m, FIRST + 1, 0x47);
	/* Single, without ICW4: the next is a mask already. */
	fake_out8(b.m, FIRST + 1, 0xfd);
	assert_int_equal(fake_in8(b.m, FIRST + 1), 0xfd);
	nothing_waits(&b); /* edges before are forgotten */
	irq_pulse(b.m, 1);
	takes(&b, 0x41);
	machine_reset_devices(b.m);
	assert_int_equal(fake_in8(b.m, FIRST + 1), 0xff);
	nothing_waits(&b);
	board_close(&b);
}

static void the_boot_cpu_hears_of_intr(void **state)
{
	struct board b;

	open_pic(&b);
	b.m->vcpu[0].requests = 0;
	irq_pulse(b.m, 4);
	assert_true(b.m->vcpu[0].requests & VCPU_REQ_INTERRUPT);
	board_close(&b);
}

static void state_moves(void **state)
{
	struct board b, c;

	open_pic(&b);
	open_pic(&c);
	fake_out8(b.m, 0x4d1, 0x04);
	irq_pulse(b.m, 1);
	takes(&b, 0x31);
	irq_pulse(b.m, 9);
	fake_out8(b.m, FIRST, 0xc0 | 6);
	fake_out8(b.m, FIRST + 1, 0x08);
	fake_out8(b.m, SECOND, 0x11);
	fake_out8(b.m, SECOND + 1, 0x50);
	irq_pulse(b.m, 9);
	board_move(&b, &c, "pic");
	fake_out8(c.m, SECOND + 1, 0x02); /* ICW3 and 4 are what it waits for */
	fake_out8(c.m, SECOND + 1, 0x01);
	nothing_waits(&c); /* 1 is in service */
	fake_out8(c.m, FIRST, EOI);
	takes(&c, 0x51);
	board_close(&b);
	board_close(&c);
}

/* No sequence of bytes does harm. */
static void nonsense(void **state)
{
	static const uint16_t port[] = {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1};
	uint32_t seed = 1;
	struct board b;

	open_pic(&b);
	for (unsigned i = 0; i < 100000; i++) {
		seed = seed * 1664525 + 1013904223;
		fake_out8(b.m, port[(seed >> 8) % ARRAY_LEN(port)], seed >> 24);
		irq_set(b.m, seed >> 16 & 15, seed >> 20 & 1);
		fake_in8(b.m, port[(seed >> 12) % ARRAY_LEN(port)]);
		if (irq_pic_pending(b.m))
			irq_pic_accept(b.m);
	}
	for (unsigned i = 0; i < 16; i++)
		irq_set(b.m, i, false);
	machine_reset_devices(b.m);
	set_up(&b, 1);
	irq_pulse(b.m, 14);
	takes(&b, 0x3e);
	board_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lower_pins_come_first),
		cmocka_unit_test(masked_pins_wait),
		cmocka_unit_test(the_second_chip_comes_through_the_first),
		cmocka_unit_test(special_fully_nested_mode),
		cmocka_unit_test(level_triggered_pins),
		cmocka_unit_test(spurious_interrupts),
		cmocka_unit_test(rotation),
		cmocka_unit_test(automatic_ends),
		cmocka_unit_test(special_mask_mode),
		cmocka_unit_test(polling),
		cmocka_unit_test(initialisation),
		cmocka_unit_test(the_boot_cpu_hears_of_intr),
		cmocka_unit_test(state_moves),
		cmocka_unit_test(nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
