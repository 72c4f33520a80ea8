/* The serial port as drivers use it: polled, with interrupts, with FIFOs, in loopback. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>
#include "board.h"
#include "dev/chip/uart16550.h"

#define PORT 0x3f8
#define IRQ  4
#define MS   1000000ull

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR };

struct fixture {
	struct board b;
	struct chr *chr;
};

static void open_uart(struct fixture *f)
{
	board_open(&f->b);
	f->chr = chr_buffer_new();
	assert_int_equal(uart16550_new(f->b.m, "com1", PORT, IRQ, f->chr, NULL), 0);
}

static void out(struct fixture *f, unsigned reg, uint8_t v)
{
	fake_out8(f->b.m, PORT + reg, v);
}

static uint8_t in(struct fixture *f, unsigned reg)
{
	return fake_in8(f->b.m, PORT + reg);
}

static bool irq(struct fixture *f)
{
	return board_irq(&f->b, IRQ);
}

static void polled_output_and_input(void **state)
{
	struct fixture f;
	char buf[8] = "";

	open_uart(&f);
	assert_int_equal(in(&f, LSR), 0x60);
	out(&f, DATA, 'h');
	out(&f, DATA, 'i');
	assert_int_equal(chr_buffer_output(f.chr, buf, sizeof(buf)), 2);
	assert_memory_equal(buf, "hi", 2);

	/* Without FIFOs there is room for one character; the rest waits outside. */
	assert_int_equal(chr_buffer_input(f.chr, "abc", 3), 1);
	assert_int_equal(chr_buffer_input(f.chr, "bc", 2), 0);
	assert_int_equal(in(&f, LSR), 0x61);
	assert_int_equal(in(&f, DATA), 'a');
	assert_int_equal(in(&f, LSR), 0x60);
	assert_int_equal(chr_buffer_input(f.chr, "bc", 2), 1);
	assert_int_equal(in(&f, DATA), 'b');
	assert_false(irq(&f));
	board_close(&f.b);
}

static void registers_keep_their_bits(void **state)
{
	struct fixture f;

	open_uart(&f);
	out(&f, SCR, 0x5a);
	assert_int_equal(in(&f, SCR), 0x5a);
	out(&f, LCR, 0x83);
	out(&f, DATA, 0x0c);
	out(&f, IER, 0x01);
	assert_int_equal(in(&f, DATA), 0x0c);
	assert_int_equal(in(&f, IER), 0x01);
	out(&f, LCR, 0x03);
	assert_int_equal(in(&f, LCR), 0x03);
	assert_int_equal(in(&f, IER), 0);
	out(&f, IER, 0xff);
	assert_int_equal(in(&f, IER), 0x0f);
	out(&f, MCR, 0xff);
	assert_int_equal(in(&f, MCR), 0x1f);
	/* How Linux finds out that it is a 16550A: both FIFO bits in IIR. */
	assert_int_equal(in(&f, IIR) >> 6, 0);
	out(&f, IIR, 1);
	assert_int_equal(in(&f, IIR) >> 6, 3);
	board_close(&f.b);
}

static void transmitter_interrupt(void **state)
{
	struct fixture f;

	open_uart(&f);
	assert_int_equal(in(&f, IIR), 0x01);
	out(&f, IER, 2);
	assert_true(irq(&f)); /* it is empty already */
	assert_int_equal(in(&f, IIR), 0x02);
	assert_false(irq(&f)); /* reading IIR acknowledges */
	assert_int_equal(in(&f, IIR), 0x01);
	out(&f, DATA, 'x');
	assert_true(irq(&f));
	assert_int_equal(in(&f, IIR), 0x02);
	/* Asking anew tells anew (what Linux tests for). */
	out(&f, IER, 0);
	out(&f, IER, 2);
	assert_int_equal(in(&f, IIR), 0x02);
	out(&f, DATA, 'y');
	out(&f, IER, 0);
	assert_false(irq(&f));
	board_close(&f.b);
}

static void received_data_interrupts(void **state)
{
	struct fixture f;

	open_uart(&f);
	out(&f, IIR, 0x81); /* FIFOs on, trigger at 8 */
	out(&f, IER, 1);
	assert_int_equal(chr_buffer_input(f.chr, "0123456", 7), 7);
	assert_false(irq(&f));
	assert_int_equal(chr_buffer_input(f.chr, "789abcdefghi", 12), 9); /* 16 */
	assert_true(irq(&f));
	assert_int_equal(in(&f, IIR), 0xc4);
	for (unsigned i = 0; i < 9; i++)
		assert_int_equal(in(&f, DATA), "012345678"[i]);
	/* Below the trigger level: quiet, until the rest has waited for four characters' time. */
	assert_int_equal(in(&f, IIR), 0xc1);
	assert_false(irq(&f));
	clock_step(&f.b.m->clock, MS);
	assert_true(irq(&f));
	assert_int_equal(in(&f, IIR), 0xcc);
	assert_int_equal(in(&f, DATA), '9');
	assert_false(irq(&f));
	clock_step(&f.b.m->clock, MS);
	assert_true(irq(&f));
	out(&f, IIR, 0x83); /* clear */
	assert_int_equal(in(&f, LSR), 0x60);
	clock_step(&f.b.m->clock, MS);
	assert_false(irq(&f));
	board_close(&f.b);
}

static void loopback(void **state)
{
	struct fixture f;
	char buf[4];

	open_uart(&f);
	assert_int_equal(in(&f, MSR), 0xb0);
	out(&f, MCR, 0x10);
	assert_int_equal(in(&f, MSR), 0x0b); /* CTS, DSR, DCD fell */
	assert_int_equal(in(&f, MSR), 0x00);
	out(&f, MCR, 0x1a); /* RTS, OUT2: how Linux tests a port */
	assert_int_equal(in(&f, MSR) & 0xf0, 0x90);
	out(&f, MCR, 0x14); /* OUT1: RI counts when it ends */
	assert_int_equal(in(&f, MSR), 0x49);
	out(&f, IER, 8);
	out(&f, MCR, 0x10);
	assert_true(irq(&f));
	assert_int_equal(in(&f, IIR), 0x00); /* modem status */
	assert_int_equal(in(&f, MSR), 0x04);
	assert_int_equal(in(&f, IIR), 0x01);
	assert_false(irq(&f));

	out(&f, DATA, 'l');
	assert_int_equal(chr_buffer_output(f.chr, buf, sizeof(buf)), 0);
	assert_int_equal(chr_buffer_input(f.chr, "z", 1), 0);
	assert_int_equal(in(&f, LSR), 0x61);
	/* The first is lost when nobody takes it. */
	out(&f, DATA, 'm');
	assert_int_equal(in(&f, LSR), 0x63);
	assert_int_equal(in(&f, LSR), 0x61);
	assert_int_equal(in(&f, DATA), 'm');
	out(&f, IER, 4);
	out(&f, LCR, 0x43); /* break */
	assert_int_equal(in(&f, IIR), 0x06);
	assert_int_equal(in(&f, LSR), 0x71);
	assert_false(irq(&f));
	out(&f, MCR, 0);
	assert_int_equal(in(&f, DATA), 0);
	assert_int_equal(chr_buffer_input(f.chr, "z", 1), 1);
	board_close(&f.b);
}

static void a_taken_port_is_refused(void **state)
{
	struct chr *other = chr_buffer_new();
	struct err e = {0};
	struct fixture f;

	open_uart(&f);
	assert_int_equal(uart16550_new(f.b.m, "com2", PORT + 7, 3, other, &e), -EEXIST);
	assert_non_null(strstr(e.text, "uart16550"));
	chr_free(other);
	assert_null(machine_find_device(f.b.m, "com2"));
	board_close(&f.b);
}

static void state_moves(void **state)
{
	struct fixture f, g;

	open_uart(&f);
	open_uart(&g);
	clock_step(&f.b.m->clock, 5 * MS);
	out(&f, LCR, 0x83);
	out(&f, DATA, 12);
	out(&f, LCR, 0x03);
	out(&f, IIR, 0x81);
	out(&f, IER, 0x03);
	chr_buffer_input(f.chr, "xyz", 3);
	assert_int_equal(in(&f, DATA), 'x');
	board_move(&f.b, &g.b, "com1");
	assert_int_equal(chr_buffer_input(g.chr, "0123456789abcdefg", 17), 14);
	assert_int_equal(in(&g, DATA), 'y');
	assert_int_equal(in(&g, DATA), 'z');
	assert_int_equal(in(&g, DATA), '0');

	/* The time that data waits for goes on, too. */
	machine_reset_devices(g.b.m);
	board_move(&f.b, &g.b, "com1");
	clock_step(&g.b.m->clock, 5 * MS);
	assert_int_equal(in(&g, IIR), 0xcc);
	board_close(&f.b);
	board_close(&g.b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(polled_output_and_input),
		cmocka_unit_test(registers_keep_their_bits),
		cmocka_unit_test(transmitter_interrupt),
		cmocka_unit_test(received_data_interrupts),
		cmocka_unit_test(loopback),
		cmocka_unit_test(a_taken_port_is_refused),
		cmocka_unit_test(state_moves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
