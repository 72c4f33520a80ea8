/*
 * A level-triggered interrupt: the virtio entropy device's INTA# through the IOAPIC.  It comes again after
 * its end was told while the line is still up, and not when the line was taken down before.
 */
#include "rng.h"

#define VECTOR 0x36
#define IOAPIC 0xfec00000ul
#define LEVEL  0x8000u
#define LOW    0x2000u

static volatile unsigned interrupts, served;
static unsigned ignored;

void on_event(struct event *e)
{
	if (e->vector != VECTOR) {
		print_number("unexpected event", e->vector);
		print_number("at", e->rip);
		end(1);
	}
	interrupts++;
	/* Every second time the device is asked what it wants. */
	if (interrupts % 2 == 0) {
		if (rng_isr() & 1)
			served++;
		else
			ignored++;
	}
	*apic(APIC_EOI) = 0;
}

void second(void)
{
}

static void ioapic_write(uint32_t reg, uint32_t value)
{
	*(volatile uint32_t *)IOAPIC = reg;
	*(volatile uint32_t *)(IOAPIC + 0x10) = value;
}

int main(void)
{
	unsigned pin;

	apic_on();
	pin = 16 + rng_start(0) % 4;
	ioapic_write(0x10 + 2 * pin + 1, 0);
	ioapic_write(0x10 + 2 * pin, LEVEL | LOW | VECTOR);
	for (unsigned i = 1; i <= 3; i++) {
		rng_ask();
		halt_until(&served, i);
	}
	check("interrupts, each twice", interrupts, 6);
	check("none without a cause", ignored, 0);
	rng_check(3);
	return failures();
}
