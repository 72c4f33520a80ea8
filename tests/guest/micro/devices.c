/* Ports and memory-mapped registers of a PC that need no interrupt. */
#include "micro.h"

#define ECAM   0xe0000000ul
#define IOAPIC 0xfec00000ul
#define EMPTY  0xfed00000ul /* where others have a HPET */

static volatile uint32_t *mmio(uint64_t address)
{
	return (volatile uint32_t *)address;
}

void on_event(struct event *e)
{
	print_number("unexpected event", e->vector);
	print_number("at", e->rip);
	end(1);
}

void second(void)
{
}

static void pci(void)
{
	uint32_t bridge;

	outl(0xcf8, 0x80000000);
	bridge = inl(0xcfc);
	check("a bridge at the top of the bus", bridge != 0xffffffff, true);
	check("its IDs, by ECAM", *mmio(ECAM), bridge);
	outl(0xcf8, 0x80000008);
	check("its class", inb(0xcff), 6);
	check("no 31st device", *mmio(ECAM + (30ul << 15)), 0xffffffff);
}

static void ioapic(void)
{
	*mmio(IOAPIC) = 1;
	check("IOAPIC's pins", *mmio(IOAPIC + 0x10) >> 16 & 0xff, 23);
	*mmio(IOAPIC) = 0x10 + 2 * 5;
	*mmio(IOAPIC + 0x10) = 0x1a045; /* masked, level, low */
	check("IOAPIC's entry", *mmio(IOAPIC + 0x10), 0x1a045);
}

static void serial(void)
{
	outb(0x3ff, 0x5a);
	check("serial port's scratch register", inb(0x3ff), 0x5a);
	check("serial port ready", inb(0x3fd) & 0x60, 0x60);
}

static void strings(void)
{
	uint8_t bytes[4] = {0};
	uint8_t *at = bytes;
	uint64_t n = sizeof(bytes);

	outb(0x3ff, 0xc3);
	__asm__ volatile("rep insb" : "+D"(at), "+c"(n) : "d"(0x3ff) : "memory");
	check("REP INSB", bytes[0] & bytes[1] & bytes[2] & bytes[3], 0xc3);
}

int main(void)
{
	pci();
	ioapic();
	serial();
	strings();
	outb(0x70, 0x0d);
	check("clock has power", inb(0x71), 0x80);
	check("port of nobody", inb(0x510f), 0xff);
	check("address of nobody", *mmio(EMPTY), 0xffffffff);
	return failures();
}
