/* A machine of local APICs for tests: stepped clock, the fake engine, every APIC enabled. */
#ifndef TESTS_DEVICE_LAPIC_BOARD_H
#define TESTS_DEVICE_LAPIC_BOARD_H

#include "engine/fake/fake.h"
#include "machine/apic.h"

struct apics {
	struct loop *loop;
	struct machine *m;
};

void apics_open(struct apics *b, unsigned cpus);
void apics_close(struct apics *b);

/* The registers of an xAPIC, by offset. */
uint32_t apic_get(struct apics *b, unsigned cpu, uint32_t offset);
void apic_put(struct apics *b, unsigned cpu, uint32_t offset, uint32_t v);

/* Makes it an x2APIC; its registers by the same offsets, which must be accepted. */
void x2apic(struct apics *b, unsigned cpu);
uint64_t msr_get(struct apics *b, unsigned cpu, uint32_t offset);
void msr_put(struct apics *b, unsigned cpu, uint32_t offset, uint64_t v);

/* Any MSR, with what the APIC says to it. */
int msr_read(struct apics *b, unsigned cpu, uint32_t msr, uint64_t *v);
int msr_write(struct apics *b, unsigned cpu, uint32_t msr, uint64_t v);

#endif
