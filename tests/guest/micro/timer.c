/* Timer interrupts: local APIC's in three modes, PIT by the PIC and by the IOAPIC; also in user mode. */
#include "micro.h"

#define TICK   0x30
#define PIC    0x20
#define PIC2   0x28
#define PIN    0x32
#define ONE_MS 1000000u /* the APIC's timer counts nanoseconds */
#define IOAPIC 0xfec00000ul
#define MASKED 0x10000u
#define PIT_HZ 1193182u

static volatile unsigned ticks, pic_ticks, pin_ticks;
static uint8_t stack[8192] __attribute__((aligned(16)));

void on_event(struct event *e)
{
	switch (e->vector) {
	case TICK:
		ticks++;
		*apic(APIC_EOI) = 0;
		break;
	case PIC:
		pic_ticks++;
		outb(0x20, 0x20);
		break;
	case PIN:
		pin_ticks++;
		*apic(APIC_EOI) = 0;
		break;
	default:
		print_number("unexpected event", e->vector);
		print_number("at", e->rip);
		end(1);
	}
}

void second(void)
{
}

static void spin_in_user_mode(void)
{
	while (ticks < 3)
		__asm__ volatile("pause");
	__asm__ volatile("int3");
}

static uint64_t rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return low | (uint64_t)high << 32;
}

static bool has_deadline(void)
{
	uint32_t a = 1, b, c = 0, d;

	__asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return c & 1u << 24;
}

static void apic_timer(void)
{
	apic_on();
	*apic(APIC_TDCR) = 0xb; /* by 1 */
	*apic(APIC_LVTT) = 0x20000 | TICK;
	*apic(APIC_TMICT) = ONE_MS;
	halt_until(&ticks, 5);
	check("periodic", ticks >= 5, true);
	ticks = 0;
	user(spin_in_user_mode, stack + sizeof(stack));
	check("in user mode", ticks >= 3, true);
	*apic(APIC_LVTT) = MASKED;
	*apic(APIC_TMICT) = 0;
	/* One may be waiting; a kernel that is emulated takes it when it leaves the emulator. */
	__asm__ volatile("sti; nop; outb %%al, $0x80; nop; cli" : : : "memory");
	ticks = 0;
	*apic(APIC_LVTT) = TICK;
	*apic(APIC_TMICT) = ONE_MS;
	halt_until(&ticks, 1);
	check("one shot", *apic(APIC_TMCCT), 0);
	*apic(APIC_LVTT) = 0x40000 | TICK;
	ticks = 0;
	if (has_deadline()) {
		wrmsr(0x6e0, rdtsc() + 1000000);
		halt_until(&ticks, 1);
	} else {
		ticks = 1;
	}
	check("TSC deadline", ticks, 1);
	*apic(APIC_LVTT) = MASKED;
}

static void pit_start(void)
{
	outb(0x43, 0x34); /* counter 0, both bytes, rate generator */
	outb(0x40, (PIT_HZ / 500) & 0xff);
	outb(0x40, (PIT_HZ / 500) >> 8);
}

static void pit_by_pic(void)
{
	outb(0x20, 0x11);
	outb(0x21, PIC);
	outb(0x21, 4);
	outb(0x21, 1);
	outb(0xa0, 0x11);
	outb(0xa1, PIC2);
	outb(0xa1, 2);
	outb(0xa1, 1);
	outb(0xa1, 0xff);
	outb(0x21, 0xfe);
	*apic(APIC_LINT0) = 0x700;
	pit_start();
	halt_until(&pic_ticks, 5);
	check("PIT by the PIC", pic_ticks >= 5, true);
	outb(0x21, 0xff);
	*apic(APIC_LINT0) = MASKED;
}

static void ioapic_write(uint32_t reg, uint32_t value)
{
	*(volatile uint32_t *)IOAPIC = reg;
	*(volatile uint32_t *)(IOAPIC + 0x10) = value;
}

static void pit_by_ioapic(void)
{
	ioapic_write(0x10 + 2 * 2 + 1, 0);
	ioapic_write(0x10 + 2 * 2, PIN);
	pit_start();
	halt_until(&pin_ticks, 5);
	check("PIT by the IOAPIC", pin_ticks >= 5, true);
	ioapic_write(0x10 + 2 * 2, MASKED);
}

int main(void)
{
	apic_timer();
	pit_by_pic();
	pit_by_ioapic();
	return failures();
}
