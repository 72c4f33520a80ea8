/*
 * Interrupt wires: who hears of a line or a message.
 *
 * Lock order: irq lock (40) before a local APIC's (50).  irq_msi() therefore takes no lock of ours: the
 * IOAPIC calls it with the irq lock held.  A local APIC drops its own lock before irq_eoi() and
 * irq_pic_*().
 */
#include "machine/irq.h"

#include "base/log.h"
#include "machine/machine.h"

#define PIC_PINS       16
#define PIT_IOAPIC_PIN 2

void irq_init(struct irq *irq)
{
	*irq = (struct irq){0};
	lock_init(&irq->lock, LOCK_IRQ);
}

void irq_fini(struct irq *irq)
{
	lock_fini(&irq->lock);
}

void irq_set(struct machine *m, unsigned gsi, bool level)
{
	struct irq *irq = &m->irq;
	uint32_t bit;

	if (gsi >= IRQ_GSIS) {
		log_guest("interrupt line %u does not exist", gsi);
		return;
	}
	bit = 1u << gsi;
	lock_take(&irq->lock);
	if (level != !!(irq->levels & bit)) {
		irq->levels ^= bit;
		if (irq->pic && gsi < PIC_PINS)
			irq->pic->set(irq->pic_dev, gsi, level);
		if (irq->ioapic)
			irq->ioapic->set(irq->ioapic_dev, gsi == 0 ? PIT_IOAPIC_PIN : gsi, level);
	}
	lock_drop(&irq->lock);
}

void irq_msi(struct machine *m, uint64_t address, uint32_t data)
{
	if (m->engine && m->engine->msi)
		m->engine->msi(m, address, data);
	else if (m->irq.apics)
		m->irq.apics->msi(m->irq.apics_dev, address, data);
	else
		log_guest("message %#x to %#llx finds no interrupt controller", data,
		          (unsigned long long)address);
}

void irq_route(struct machine *m, unsigned pin, uint64_t address, uint32_t data, bool on)
{
	if (m->engine && m->engine->ioapic_route)
		m->engine->ioapic_route(m, pin, address, data, on);
}

void irq_eoi(struct machine *m, uint8_t vector)
{
	struct irq *irq = &m->irq;

	lock_take(&irq->lock);
	if (irq->ioapic && irq->ioapic->eoi)
		irq->ioapic->eoi(irq->ioapic_dev, vector);
	lock_drop(&irq->lock);
}

void irq_extint(struct machine *m, bool level)
{
	/* An engine with APICs of its own asks irq_pic_pending() before it runs the boot CPU. */
	if (m->irq.apics)
		m->irq.apics->extint(m->irq.apics_dev, level);
	else if (level && m->engine)
		vcpu_request(&m->vcpu[0], VCPU_REQ_INTERRUPT);
}

bool irq_pic_pending(struct machine *m)
{
	struct irq *irq = &m->irq;
	bool pending;

	lock_take(&irq->lock);
	pending = irq->pic && irq->pic->pending(irq->pic_dev);
	lock_drop(&irq->lock);
	return pending;
}

uint8_t irq_pic_accept(struct machine *m)
{
	struct irq *irq = &m->irq;
	uint8_t vector = 0xff; /* what an empty bus answers */

	lock_take(&irq->lock);
	if (irq->pic)
		vector = irq->pic->accept(irq->pic_dev);
	lock_drop(&irq->lock);
	return vector;
}
