/*
 * Messages between local APICs, and from devices to them: who is meant, and what it does there.
 *
 * Destinations (SDM 3A 11.6.2).  Physical: an APIC ID.  Logical: for an xAPIC a bit set (flat), or a
 * cluster and a bit set in it; for an x2APIC a cluster and a bit set, 16 bits each.  All ones is everyone.
 * xAPICs and devices send 8 bits, x2APICs 32.
 */
#include <stdatomic.h>
#include "base/log.h"
#include "dev/chip/lapic_impl.h"

#define MSI_WINDOW      0xfee00000ull
#define MSI_WINDOW_MASK 0xfff00000ull
#define MSI_LOGICAL     (1u << 2)
#define MSI_REDIRECT    (1u << 3) /* to the one of lowest priority */
#define DFR_FLAT        0xf
#define EVERYONE        0xffu

enum shorthand { TO_DESTINATION, TO_SELF, TO_ALL, TO_OTHERS };

struct message {
	enum apic_mode mode;
	uint8_t vector;
	bool level;
	bool lowest;  /* only to one of those meant */
	bool logical; /* destination */
	bool wide;    /* destination has 32 bits */
	uint32_t destination;
};

static void add_waiting(struct lapic *a, uint8_t vector, bool level)
{
	uint32_t bit = 1u << (vector & 31);

	if (level)
		atomic_fetch_or(&a->tmr[vector >> 5], bit);
	else if (a->tmr[vector >> 5] & bit)
		atomic_fetch_and(&a->tmr[vector >> 5], ~bit);
	atomic_fetch_or(&a->irr[vector >> 5], bit);
	vcpu_request(a->intc.vcpu, VCPU_REQ_INTERRUPT);
}

void lapic_receive(struct lapic *a, enum apic_mode mode, uint8_t vector, bool level)
{
	struct vcpu *v = a->intc.vcpu;

	switch (mode) {
	case APIC_FIXED:
	case APIC_LOWEST:
		if (!(a->svr & APIC_SVR_ENABLE))
			break;
		if (vector < LAPIC_ILLEGAL)
			lapic_error(a, LAPIC_RECEIVED_ILLEGAL);
		else
			add_waiting(a, vector, level);
		break;
	case APIC_NMI:
		vcpu_request(v, VCPU_REQ_NMI);
		break;
	case APIC_INIT:
		vcpu_request(v, VCPU_REQ_INIT);
		break;
	case APIC_SIPI:
		v->sipi_vector = vector;
		vcpu_request(v, VCPU_REQ_SIPI);
		break;
	case APIC_EXTINT:
		a->extint = true;
		vcpu_request(v, VCPU_REQ_INTERRUPT);
		break;
	default:
		log_guest("interrupt of delivery mode %u for vCPU %u", mode, a->id);
	}
}

void lapic_local(struct lapic *a, enum apic_lvt which)
{
	uint32_t entry = a->lvt[which];

	if (!(entry & APIC_MASKED) && APIC_MODE(entry) != APIC_EXTINT)
		lapic_receive(a, APIC_MODE(entry), entry, false);
}

void lapic_error(struct lapic *a, uint32_t bits)
{
	uint32_t entry = a->lvt[LVT_ERROR];

	/* An illegal vector of the entry itself would be the next error, and so on. */
	if (!(atomic_fetch_or(&a->errors, bits) & bits) && !(entry & APIC_MASKED) &&
	    (uint8_t)entry >= LAPIC_ILLEGAL)
		add_waiting(a, entry, false);
}

static bool is_meant(const struct lapic *a, const struct message *m)
{
	uint32_t to = m->destination, ldr;

	if (!lapic_enabled(a))
		return false;
	if (to == (m->wide ? UINT32_MAX : EVERYONE))
		return true;
	if (!m->logical)
		return to == a->id;
	if (lapic_is_x2apic(a)) {
		ldr = lapic_x2apic_ldr(a->id);
		return to >> 16 == ldr >> 16 && to & ldr & 0xffff;
	}
	ldr = a->ldr >> 24;
	if (to > EVERYONE)
		return false;
	if (a->dfr >> 28 == DFR_FLAT)
		return to & ldr;
	return to >> 4 == ldr >> 4 && to & ldr & 0xf;
}

/* Of those meant the one of lowest priority; equals take turns. */
static struct lapic *lowest(struct lapics *all, const struct message *m)
{
	unsigned turn = atomic_fetch_add(&all->turn, 1);
	struct lapic *best = NULL;

	for (unsigned i = 0; i < all->n; i++) {
		struct lapic *a = &all->lapic[(turn + i) % all->n];

		if (is_meant(a, m) && a->svr & APIC_SVR_ENABLE &&
		    (!best || a->tpr >> 4 < best->tpr >> 4))
			best = a;
	}
	return best;
}

static void send(struct lapics *all, const struct message *m)
{
	struct lapic *a;

	if (m->lowest) {
		a = lowest(all, m);
		if (a)
			lapic_receive(a, m->mode, m->vector, m->level);
		return;
	}
	for (unsigned i = 0; i < all->n; i++) {
		a = &all->lapic[i];
		if (is_meant(a, m))
			lapic_receive(a, m->mode, m->vector, m->level);
	}
}

static bool is_sendable(struct lapic *a, enum apic_mode mode, uint64_t icr)
{
	bool vectored = mode == APIC_FIXED || mode == APIC_LOWEST;

	if (vectored && (uint8_t)icr < LAPIC_ILLEGAL) {
		lapic_error(a, LAPIC_SENT_ILLEGAL);
		return false;
	}
	/* "Level de-assert" was for APICs before the Pentium 4: nothing. */
	if (mode == APIC_INIT && icr & APIC_LEVEL && !(icr & APIC_ASSERT))
		return false;
	return vectored || mode == APIC_NMI || mode == APIC_INIT || mode == APIC_SIPI;
}

void lapic_send_icr(struct lapic *a, uint64_t icr)
{
	enum apic_mode mode = APIC_MODE(icr);
	struct lapics *all = a->all;
	struct message m = {
		.mode = mode,
		.vector = icr,
		.lowest = mode == APIC_LOWEST,
		.logical = icr & APIC_LOGICAL,
		.wide = lapic_is_x2apic(a),
		.destination = lapic_is_x2apic(a) ? icr >> 32 : icr >> 56,
	};

	if (!is_sendable(a, mode, icr)) {
		log_guest("vCPU %u: nothing to send for ICR %#llx", a->id, (unsigned long long)icr);
		return;
	}
	switch ((enum shorthand)APIC_SHORTHAND(icr)) {
	case TO_DESTINATION:
		send(all, &m);
		break;
	case TO_SELF:
		lapic_receive(a, mode, m.vector, false);
		break;
	case TO_ALL:
	case TO_OTHERS:
		for (unsigned i = 0; i < all->n; i++) {
			struct lapic *to = &all->lapic[i];

			if (lapic_enabled(to) && (to != a || APIC_SHORTHAND(icr) == TO_ALL))
				lapic_receive(to, mode, m.vector, false);
		}
		break;
	}
}

/* Any thread, also with the irq lock held. */
static void msi(void *dev, uint64_t address, uint32_t data)
{
	enum apic_mode mode = APIC_MODE(data);
	struct message m = {
		.mode = mode,
		.vector = data,
		.level = data & APIC_LEVEL,
		.lowest = mode == APIC_LOWEST || (mode == APIC_FIXED && address & MSI_REDIRECT),
		.logical = address & MSI_LOGICAL,
		.destination = address >> 12 & 0xff,
	};

	if ((address & MSI_WINDOW_MASK) != MSI_WINDOW) {
		log_guest("message to %#llx", (unsigned long long)address);
		return;
	}
	if (m.level && !(data & APIC_ASSERT))
		return;
	send(dev, &m);
}

/* Irq lock held. */
static void extint(void *dev, bool level)
{
	struct lapics *all = dev;
	struct lapic *a = &all->lapic[0];

	all->intr = level;
	if (!level)
		return;
	if (lapic_takes_pic(a))
		vcpu_request(a->intc.vcpu, VCPU_REQ_INTERRUPT);
	else
		lapic_local(a, LVT_LINT0);
}

const struct irq_apics lapics_wires = {msi, extint};
