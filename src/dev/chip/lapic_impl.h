/*
 * Inside the local APIC: lapic.c takes interrupts, lapic_regs.c has the registers as the guest sees
 * them, lapic_send.c the messages, lapic_timer.c the timer.
 *
 * Who writes what: the vCPU's thread everything but what others send (irr, tmr, errors, extint) and the
 * timer (under lock, with the main thread).  What others read is atomic.  No lock is on the way of an
 * interrupt from IRR to vector to EOI.
 */
#ifndef DEV_CHIP_LAPIC_IMPL_H
#define DEV_CHIP_LAPIC_IMPL_H

#include "dev/chip/lapic.h"
#include "machine/apic.h"

#define LAPIC_ILLEGAL 16 /* vectors below are the processor's own */

/* ESR */
#define LAPIC_SENT_ILLEGAL     0x20u
#define LAPIC_RECEIVED_ILLEGAL 0x40u
#define LAPIC_NO_REGISTER      0x80u

struct lapic {
	struct intc intc;
	struct lapics *all;
	unsigned id;
	_Atomic uint64_t base; /* IA32_APIC_BASE */
	_Atomic uint32_t irr[8], tmr[8], isr[8];
	_Atomic uint32_t tpr, ldr, dfr, svr, lvt[LVTS];
	_Atomic uint32_t errors; /* since ESR was written last */
	_Atomic bool extint;     /* an ExtINT message waits */
	uint8_t ppr;
	uint32_t esr;
	uint64_t icr;

	struct lock lock; /* LOCK_APIC: the timer */
	struct clock_timer timer;
	uint32_t timer_initial, timer_divide;
	uint64_t expires; /* machine's time; UINT64_MAX: does not run */
	uint64_t tsc_deadline;
};

struct lapics {
	struct device dev;
	unsigned n;
	struct lapic *lapic;   /* [n], by APIC ID */
	_Atomic bool intr;     /* the PIC's line, at vCPU 0's LINT0 */
	_Atomic uint32_t turn; /* lowest priority: whose turn it is among equals */
};

static inline bool lapic_enabled(const struct lapic *a)
{
	return a->base & APIC_BASE_ENABLE;
}

static inline bool lapic_is_x2apic(const struct lapic *a)
{
	return a->base & APIC_BASE_X2APIC;
}

/* Logical ID of an x2APIC (SDM 3A 11.12.10.2): cluster, and a bit in it. */
static inline uint32_t lapic_x2apic_ldr(unsigned id)
{
	return id >> 4 << 16 | 1u << (id & 15);
}

/* lapic.c.  The first three on the vCPU's thread. */
void lapic_reset(struct lapic *a);
void lapic_base_set(struct lapic *a, uint64_t base);
/* TPR or ISR changed: what is due is looked at again. */
void lapic_priority_changed(struct lapic *a);
bool lapic_takes_pic(const struct lapic *a);

/* lapic_regs.c */
uint32_t lapic_mmio_read(struct intc *ic, uint32_t offset);
void lapic_mmio_write(struct intc *ic, uint32_t offset, uint32_t value);
int lapic_msr_read(struct intc *ic, uint32_t msr, uint64_t *value);
int lapic_msr_write(struct intc *ic, uint32_t msr, uint64_t value);
/* What an LVT entry keeps of a value. */
uint32_t lapic_lvt_writable(enum apic_lvt which);

/* lapic_send.c.  receive and local: any thread. */
void lapic_send_icr(struct lapic *a, uint64_t icr);
void lapic_receive(struct lapic *a, enum apic_mode mode, uint8_t vector, bool level);
void lapic_local(struct lapic *a, enum apic_lvt which); /* an event of the LVT */
void lapic_error(struct lapic *a, uint32_t bits);
extern const struct irq_apics lapics_wires;

/* lapic_timer.c.  On the vCPU's thread. */
void lapic_timer_init(struct lapic *a);
void lapic_timer_reset(struct lapic *a);
uint32_t lapic_timer_now(struct lapic *a);
void lapic_timer_start(struct lapic *a, uint32_t initial);
void lapic_timer_divide(struct lapic *a, uint32_t divide);
void lapic_timer_lvt(struct lapic *a, uint32_t lvt);
uint64_t lapic_tsc_deadline(struct lapic *a);
void lapic_tsc_deadline_set(struct lapic *a, uint64_t deadline);
void lapic_timer_save(struct lapic *a, struct lapic_regs *r);
void lapic_timer_load(struct lapic *a, const struct lapic_regs *r);

#endif
