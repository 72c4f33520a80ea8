/* What all micro-guests share: printing, checking, the tables of events. */
#include "micro.h"

#define SERIAL     0x3f8
#define TRAMPOLINE 0x8000
#define TSS(cpu)   (0x70000 + 0x80 * (cpu))
#define TSS_RSP0   4
#define TSS_IO     102 /* where the port bitmap is: nowhere */

struct gate {
	uint16_t low, selector, type, middle;
	uint32_t high, zero;
};

struct gate idt[256] __attribute__((aligned(4096)));
static uint8_t event_stack[2][8192] __attribute__((aligned(16)));
static unsigned failed;

extern const uint8_t entries[], user_done[], trampoline[], trampoline_end[];
extern uint64_t user_stack;

static void set_stack(unsigned cpu)
{
	*(volatile uint32_t *)(uintptr_t)(TSS(cpu) + TSS_RSP0) =
		(uint32_t)(uintptr_t)event_stack[cpu + 1];
	*(volatile uint16_t *)(uintptr_t)(TSS(cpu) + TSS_IO) = 0x68;
}

void gates_init(void)
{
	uint64_t at = (uintptr_t)entries;

	for (unsigned i = 0; i < 64; i++, at += 16)
		idt[i] = (struct gate){.low = (uint16_t)at,
		                       .selector = KERNEL_CS,
		                       /* INT3 also from user mode */
		                       .type = i == 3 ? 0xee00 : 0x8e00,
		                       .middle = (uint16_t)(at >> 16)};
	set_stack(0);
	set_stack(1);
}

void event(struct event *e);
void event(struct event *e)
{
	if (e->vector != 3 || !(e->cs & 3)) {
		on_event(e);
		return;
	}
	/* The end of user(): back to where it saved its registers. */
	e->rip = (uintptr_t)user_done;
	e->cs = KERNEL_CS;
	e->ss = KERNEL_SS;
	e->rsp = user_stack;
	e->rflags = 2;
}

void print(const char *text)
{
	size_t n = 0;

	while (text[n])
		n++;
	__asm__ volatile("rep outsb" : "+S"(text), "+c"(n) : "d"(SERIAL) : "memory");
}

static void print_hex(uint64_t value)
{
	char text[17];
	unsigned at = 16;

	text[16] = 0;
	do {
		text[--at] = "0123456789abcdef"[value & 15];
		value >>= 4;
	} while (value);
	print(text + at);
}

void print_number(const char *name, uint64_t value)
{
	print(name);
	print(" ");
	print_hex(value);
	print("\n");
}

bool check(const char *name, uint64_t got, uint64_t wanted)
{
	if (got == wanted) {
		print("ok ");
		print(name);
		print("\n");
		return true;
	}
	failed++;
	print("FAIL ");
	print(name);
	print_number(": got", got);
	print_number("  wanted", wanted);
	return false;
}

int failures(void)
{
	return failed ? 1 : 0;
}

void start_second(void)
{
	uint8_t *to = (uint8_t *)TRAMPOLINE;
	size_t n = (size_t)(trampoline_end - trampoline);
	const uint8_t *from = trampoline;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	apic_on();
	*apic(APIC_ICR2) = 1u << 24;
	*apic(APIC_ICR) = 0x4500; /* INIT */
	*apic(APIC_ICR) = 0x4600 | TRAMPOLINE >> 12;
}
