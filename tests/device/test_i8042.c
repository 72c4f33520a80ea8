/* The keyboard controller as SeaBIOS and Linux talk to it, and the resets that it and port 0x92 offer. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>
#include "board.h"
#include "dev/chip/i8042.h"

#define DATA    0x60
#define COMMAND 0x64
#define IRQ     1

static void open_keyboard(struct board *b)
{
	board_open(b);
	assert_int_equal(i8042_new(b->m, IRQ, NULL), 0);
}

static void command(struct board *b, uint8_t v)
{
	fake_out8(b->m, COMMAND, v);
}

static void data(struct board *b, uint8_t v)
{
	fake_out8(b->m, DATA, v);
}

/* Waits for nothing: what is to come is there. */
static void answers(struct board *b, uint8_t v)
{
	assert_int_equal(fake_in8(b->m, COMMAND) & 1, 1);
	assert_int_equal(fake_in8(b->m, DATA), v);
}

static void silent(struct board *b)
{
	assert_int_equal(fake_in8(b->m, COMMAND) & 1, 0);
}

static void controller_tests(void **state)
{
	struct board b;

	open_keyboard(&b);
	silent(&b);
	command(&b, 0xaa);
	answers(&b, 0x55);
	assert_int_equal(fake_in8(b.m, COMMAND) & 0x04, 0x04);
	command(&b, 0xab);
	answers(&b, 0x00);
	command(&b, 0x60);
	data(&b, 0x45);
	command(&b, 0x20);
	answers(&b, 0x65); /* the auxiliary port cannot be switched on */
	command(&b, 0xa9);
	assert_int_not_equal(fake_in8(b.m, DATA), 0);
	command(&b, 0xd3); /* and does not echo */
	data(&b, 0x5a);
	assert_int_equal(fake_in8(b.m, COMMAND) & 0x21, 0x01);
	answers(&b, 0x5a);
	command(&b, 0xd2); /* as if it came from the keyboard */
	data(&b, 0x1c);
	assert_true(board_irq(&b, IRQ));
	answers(&b, 0x1c);
	assert_false(board_irq(&b, IRQ));
	command(&b, 0xd0);
	assert_int_equal(fake_in8(b.m, DATA) & 0x03, 0x03); /* A20 on, not in reset */
	silent(&b);
	board_close(&b);
}

static void keyboard_commands(void **state)
{
	struct board b;

	open_keyboard(&b);
	command(&b, 0x60);
	data(&b, 0x21); /* interrupt on, no translation */
	data(&b, 0xff);
	assert_true(board_irq(&b, IRQ));
	answers(&b, 0xfa);
	assert_true(board_irq(&b, IRQ));
	answers(&b, 0xaa);
	assert_false(board_irq(&b, IRQ));
	data(&b, 0xf2);
	answers(&b, 0xfa);
	answers(&b, 0xab);
	answers(&b, 0x83);
	data(&b, 0xed); /* LEDs */
	answers(&b, 0xfa);
	data(&b, 0x02);
	answers(&b, 0xfa);
	data(&b, 0xf0); /* scan code set: which? */
	answers(&b, 0xfa);
	data(&b, 0x00);
	answers(&b, 0xfa);
	answers(&b, 0x02);
	data(&b, 0xf0);
	answers(&b, 0xfa);
	data(&b, 0x09);
	answers(&b, 0xfe);
	data(&b, 0xf0); /* another set, until the defaults come back */
	answers(&b, 0xfa);
	data(&b, 0x01);
	answers(&b, 0xfa);
	data(&b, 0xf0);
	answers(&b, 0xfa);
	data(&b, 0x00);
	answers(&b, 0xfa);
	answers(&b, 0x01);
	data(&b, 0xfe); /* once more */
	answers(&b, 0x01);
	data(&b, 0xf5);
	answers(&b, 0xfa);
	data(&b, 0xf0);
	answers(&b, 0xfa);
	data(&b, 0x00);
	answers(&b, 0xfa);
	answers(&b, 0x02);
	data(&b, 0xee);
	answers(&b, 0xee);
	data(&b, 0xf4);
	answers(&b, 0xfa);
	data(&b, 0x01); /* no command */
	answers(&b, 0xfe);
	silent(&b);
	board_close(&b);
}

static void keyboard_waits_while_its_clock_is_off(void **state)
{
	struct board b;

	open_keyboard(&b);
	data(&b, 0xee);
	command(&b, 0xad);
	answers(&b, 0xee); /* it was in the buffer */
	data(&b, 0xf2);    /* talking to it switches the clock on again */
	command(&b, 0xad);
	answers(&b, 0xfa);
	silent(&b);
	assert_false(board_irq(&b, IRQ));
	command(&b, 0xae);
	answers(&b, 0xab);
	answers(&b, 0x41);
	silent(&b);
	/* A guest that never reads cannot make the queue grow. */
	for (unsigned i = 0; i < 1000; i++)
		data(&b, 0xf2);
	for (unsigned i = 0; i < 17; i++)
		fake_in8(b.m, DATA);
	silent(&b);
	board_close(&b);
}

static void resets_by(uint16_t port, uint8_t first, int second)
{
	struct board b;

	open_keyboard(&b);
	fake_out8(b.m, port, first);
	if (second >= 0) {
		assert_int_equal(b.m->ended, MACHINE_RUNS);
		fake_out8(b.m, DATA, second);
	}
	assert_int_equal(b.m->ended, MACHINE_RESET);
	board_close(&b);
}

static void resets(void **state)
{
	struct board b;

	resets_by(COMMAND, 0xfe, -1);
	resets_by(COMMAND, 0xd1, 0xde);
	resets_by(0x92, 0x01, -1);
	open_keyboard(&b);
	command(&b, 0xd1);
	data(&b, 0xdf);
	command(&b, 0xff); /* pulses nothing */
	fake_out8(b.m, 0x92, 0x02);
	assert_int_equal(fake_in8(b.m, 0x92) & 0x02, 0x02);
	assert_int_equal(b.m->ended, MACHINE_RUNS);
	board_close(&b);
}

static void state_moves(void **state)
{
	struct board b, c;

	open_keyboard(&b);
	open_keyboard(&c);
	command(&b, 0x60);
	data(&b, 0x61);
	data(&b, 0xf2);
	command(&b, 0x60);
	board_move(&b, &c, "i8042");
	data(&c, 0x20); /* the parameter that was waited for */
	answers(&c, 0xfa);
	answers(&c, 0xab);
	answers(&c, 0x41);
	command(&c, 0x20);
	answers(&c, 0x20);
	board_close(&b);
	board_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(controller_tests),
		cmocka_unit_test(keyboard_commands),
		cmocka_unit_test(keyboard_waits_while_its_clock_is_off),
		cmocka_unit_test(resets),
		cmocka_unit_test(state_moves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
