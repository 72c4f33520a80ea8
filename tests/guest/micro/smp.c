/* Two processors: start-up, one counter for both, interrupts between them. */
#include "micro.h"

#define PING   0x33
#define PONG   0x34
#define ADDS   500
#define ROUNDS 20

static volatile unsigned started, added[2], pings, pongs;
static uint64_t counter;

static void send(unsigned to, uint8_t vector)
{
	*apic(APIC_ICR2) = to << 24;
	*apic(APIC_ICR) = 0x4000 | vector;
}

void on_event(struct event *e)
{
	if (e->vector == PING) {
		pings++;
		*apic(APIC_EOI) = 0;
		send(0, PONG);
	} else if (e->vector == PONG) {
		pongs++;
		*apic(APIC_EOI) = 0;
	} else {
		print_number("unexpected event", e->vector);
		print_number("at", e->rip);
		end(1);
	}
}

static void add(unsigned cpu)
{
	for (unsigned i = 0; i < ADDS; i++)
		__asm__ volatile("lock incq %0" : "+m"(counter) : : "cc");
	added[cpu] = 1;
}

void second(void)
{
	apic_on();
	started = 1;
	add(1);
	halt_until(&pings, ROUNDS);
}

static void wait_for(volatile unsigned *what)
{
	while (!*what)
		__asm__ volatile("pause");
}

int main(void)
{
	start_second();
	wait_for(&started);
	check("start-up", started, 1);
	add(0);
	wait_for(&added[1]);
	check("one counter", counter, 2 * ADDS);
	for (unsigned i = 1; i <= ROUNDS; i++) {
		send(1, PING);
		halt_until(&pongs, i);
	}
	check("interrupts there", pings, ROUNDS);
	check("and back", pongs, ROUNDS);
	return failures();
}
