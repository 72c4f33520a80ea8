/* A message-signalled interrupt: the virtio entropy device fills buffers and tells it by MSI-X. */
#include "rng.h"

#define VECTOR 0x35

static volatile unsigned interrupts;

void on_event(struct event *e)
{
	if (e->vector != VECTOR) {
		print_number("unexpected event", e->vector);
		print_number("at", e->rip);
		end(1);
	}
	interrupts++;
	*apic(APIC_EOI) = 0;
}

void second(void)
{
}

int main(void)
{
	apic_on();
	rng_start(VECTOR);
	for (unsigned i = 1; i <= 3; i++) {
		rng_ask();
		halt_until(&interrupts, i);
	}
	check("interrupts", interrupts, 3);
	rng_check(3);
	return failures();
}
