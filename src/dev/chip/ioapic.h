/*
 * The I/O APIC (Intel 82093AA with the EOI register of version 0x20): 24 pins to messages.  It registers
 * itself as m->irq.ioapic and claims a page at base.  The machine frees it.
 */
#ifndef DEV_CHIP_IOAPIC_H
#define DEV_CHIP_IOAPIC_H

#include "machine/machine.h"

int ioapic_new(struct machine *m, uint64_t base, uint8_t id, struct err *e) MUST_CHECK;

#endif
