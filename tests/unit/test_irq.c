/* Interrupt wires: a line reaches the pins a PC wires it to, a message reaches the APICs. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "machine/machine.h"

struct pins {
	unsigned pin, calls;
	bool level;
	uint8_t eoi;
};

static void set(void *dev, unsigned pin, bool level)
{
	struct pins *p = dev;

	p->pin = pin;
	p->level = level;
	p->calls++;
}

static void eoi(void *dev, uint8_t vector)
{
	((struct pins *)dev)->eoi = vector;
}

static bool pending(void *dev)
{
	return ((struct pins *)dev)->level;
}

static uint8_t accept(void *dev)
{
	return (uint8_t)(0x20 + ((struct pins *)dev)->pin);
}

static const struct irq_pins pic_ops = {.set = set, .pending = pending, .accept = accept};
static const struct irq_pins ioapic_ops = {.set = set, .eoi = eoi};

static uint64_t msi_address;
static uint32_t msi_data;

static void msi(void *dev, uint64_t address, uint32_t data)
{
	msi_address = address;
	msi_data = data;
}

static void extint(void *dev, bool level)
{
}

static const struct irq_apics apics = {msi, extint};

static void lines_reach_their_pins(void **state)
{
	struct pins pic = {0}, ioapic = {0};
	struct machine m = {0};

	irq_init(&m.irq);
	irq_set(&m, 4, true); /* nobody there yet */
	irq_set(&m, 4, false);
	m.irq.pic = &pic_ops;
	m.irq.pic_dev = &pic;
	m.irq.ioapic = &ioapic_ops;
	m.irq.ioapic_dev = &ioapic;
	irq_set(&m, 4, true);
	assert_int_equal(pic.pin, 4);
	assert_int_equal(ioapic.pin, 4);
	assert_true(irq_pic_pending(&m));
	assert_int_equal(irq_pic_accept(&m), 0x24);
	irq_set(&m, 4, true); /* no edge */
	assert_int_equal(ioapic.calls, 1);
	irq_set(&m, 4, false);
	irq_pulse(&m, 0); /* the PIT's line */
	assert_int_equal(pic.pin, 0);
	assert_int_equal(ioapic.pin, 2);
	assert_int_equal(ioapic.calls, 4);
	irq_set(&m, 17, true); /* only the IOAPIC has it */
	assert_int_equal(pic.pin, 0);
	assert_int_equal(ioapic.pin, 17);
	irq_set(&m, 24, true); /* nobody has it */
	assert_int_equal(ioapic.pin, 17);
	irq_eoi(&m, 0x55);
	assert_int_equal(ioapic.eoi, 0x55);
	irq_fini(&m.irq);
}

static void messages_reach_the_apics(void **state)
{
	struct machine m = {0};

	irq_init(&m.irq);
	irq_msi(&m, 0xfee00000, 1); /* nobody there: no harm */
	m.irq.apics = &apics;
	irq_msi(&m, 0xfee01000, 0x4041);
	assert_int_equal(msi_address, 0xfee01000);
	assert_int_equal(msi_data, 0x4041);
	irq_fini(&m.irq);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_reach_their_pins),
		cmocka_unit_test(messages_reach_the_apics),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
