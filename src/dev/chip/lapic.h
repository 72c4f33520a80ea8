/*
 * The local APICs, one per vCPU (SDM 3A, chapter 11): xAPIC and x2APIC, timer on the machine's clock.
 * For engines without local APICs of their own (engine->own_apic false).
 *
 * Threads: messages from any thread, with the irq lock or without.  Everything behind intc_ops on the
 * vCPU's thread, or anywhere while that vCPU is parked; no lock above LOCK_MACHINE held there.
 */
#ifndef DEV_CHIP_LAPIC_H
#define DEV_CHIP_LAPIC_H

#include "machine/machine.h"

struct lapics;

/*
 * Makes them and wires them up: m->irq.apics and vcpu->intc of every vCPU.  Before the engine opens.
 * The machine frees them.  out may be NULL.
 */
int lapics_new(struct machine *m, struct lapics **out, struct err *e) MUST_CHECK;

#endif
