/*
 * Interrupt wires.  Devices call irq_set() and irq_msi() and know nothing of controllers or engines;
 * controllers register themselves here.  All functions may be called from any thread, with the
 * machine's lock or without.
 *
 *   device --irq_set(gsi)--> PIC (gsi 0..15) --INTR--> local APIC's LINT0, or the engine
 *                        \-> IOAPIC (gsi 0..23) --irq_msi--> local APICs (ours, or the engine's)
 *   device --irq_msi(address, data)------------------------/
 *
 * PC wiring: ISA IRQ 0 (PIT) is IOAPIC pin 2 (MADT override); other gsis are the pin's number.
 */
#ifndef MACHINE_IRQ_H
#define MACHINE_IRQ_H

#include "base/lock.h"
#include "base/state.h"

struct cpu_state;
struct machine;
struct vcpu;

#define IRQ_GSIS 24

/* A controller with input pins (PIC, IOAPIC).  Called with the irq lock held. */
struct irq_pins {
	void (*set)(void *dev, unsigned pin, bool level);
	/* IOAPIC: a level-triggered vector was acknowledged.  May be NULL. */
	void (*eoi)(void *dev, uint8_t vector);
	/* PIC: is INTR asserted; the INTA cycle, returns the vector.  NULL elsewhere. */
	bool (*pending)(void *dev);
	uint8_t (*accept)(void *dev);
};

/* The local APICs as the target of messages, when they are ours (software engines). */
struct irq_apics {
	/* Address and data as the PCI and SDM (11.11) define for MSI. */
	void (*msi)(void *dev, uint64_t address, uint32_t data);
	/* The PIC's INTR line changed. */
	void (*extint)(void *dev, bool level);
};

struct irq {
	struct lock lock; /* LOCK_IRQ: pins' levels, PIC and IOAPIC registers */
	const struct irq_pins *pic, *ioapic;
	void *pic_dev, *ioapic_dev;
	const struct irq_apics *apics;
	void *apics_dev;
	uint32_t levels; /* of the gsis */
};

void irq_init(struct irq *irq);
void irq_fini(struct irq *irq);

void irq_set(struct machine *m, unsigned gsi, bool level);
static inline void irq_pulse(struct machine *m, unsigned gsi)
{
	irq_set(m, gsi, true);
	irq_set(m, gsi, false);
}
void irq_msi(struct machine *m, uint64_t address, uint32_t data);

/* The IOAPIC tells the message of a pin whenever its entry changes; on: not masked. */
void irq_route(struct machine *m, unsigned pin, uint64_t address, uint32_t data, bool on);

/* Between controllers and engines. */
void irq_eoi(struct machine *m, uint8_t vector); /* local APIC -> IOAPIC */
void irq_extint(struct machine *m, bool level);  /* PIC's INTR, irq lock held */
bool irq_pic_pending(struct machine *m);
uint8_t irq_pic_accept(struct machine *m);

/*
 * One vCPU's local interrupt controller as a software CPU sees it (implemented by dev/chip/lapic.c;
 * embedded there).  NULL in struct vcpu where the engine has its own.  All are called on the vCPU's
 * thread; other threads' deliveries raise VCPU_REQ_INTERRUPT.
 */
struct intc;
struct intc_ops {
	/* Is there an interrupt to take now (priority considered, PIC's ExtINT included)? */
	bool (*pending)(struct intc *ic);
	/* Takes it: returns the vector, or -1 when it went away. */
	int (*accept)(struct intc *ic);
	void (*eoi)(struct intc *ic);
	/* May the guest skip the EOI of the vector just accepted (KVM PV EOI): edge, nothing nested? */
	bool (*eoi_avoidable)(struct intc *ic);
	uint8_t (*tpr_get)(struct intc *ic); /* CR8, 0..15 */
	void (*tpr_set)(struct intc *ic, uint8_t cr8);
	/* IA32_APIC_BASE, IA32_TSC_DEADLINE, x2APIC MSRs 0x800-0x8ff.  -EINVAL: #GP. */
	int (*msr_read)(struct intc *ic, uint32_t msr, uint64_t *value);
	int (*msr_write)(struct intc *ic, uint32_t msr, uint64_t value);
	/* The MMIO page (xAPIC); offset 0..0xfff. */
	uint32_t (*mmio_read)(struct intc *ic, uint32_t offset);
	void (*mmio_write)(struct intc *ic, uint32_t offset, uint32_t value);
	/* INIT arrived: back to reset state (APIC ID and mode stay). */
	void (*init)(struct intc *ic);
	/* Its part of the processor's state: apic_base, cr8, tsc_deadline.  The rules that bind the guest
	 * when it changes modes don't bind set. */
	void (*cpu_get)(struct intc *ic, struct cpu_state *out);
	void (*cpu_set)(struct intc *ic, const struct cpu_state *in);
	/* The registers through the visitor: lapic_regs_state().  On load after cpu_set. */
	void (*state)(struct intc *ic, struct state *s);
};

struct intc {
	const struct intc_ops *ops;
	struct vcpu *vcpu;
	/* The guest's TSC now, for IA32_TSC_DEADLINE; set by the engine.  Called on the vCPU's thread or
	 * while it is parked.  NULL: the machine's time in ticks of tsc_khz. */
	uint64_t (*tsc)(struct vcpu *v);
	/* Page address where the MMIO window is now; UINT64_MAX: disabled or x2APIC. */
	_Atomic uint64_t mmio_base;
};

#endif
