/*
 * The local APIC as the processor's gate: an interrupt waits in IRR, is in service in ISR, and is let
 * through when its class (bits 7-4) is above the processor's priority (SDM 3A 11.8.3).
 *
 *	messages, timer, LVT --> IRR --accept--> ISR --EOI--> (level-triggered: the IOAPIC hears of it)
 *	PIC's INTR --LINT0 of vCPU 0---accept--> the PIC's vector
 *
 * Whoever sets a bit in IRR raises VCPU_REQ_INTERRUPT behind it.  A look at IRR may come too early for a
 * bit, but then another look follows.
 */
#include <stdatomic.h>
#include "dev/chip/lapic_impl.h"

#define CLASS(v)       ((v) >> 4)
#define LINT0_FIRMWARE (APIC_EXTINT << 8)
#define SVR_RESET      0xffu
#define NO_WINDOW      UINT64_MAX

static struct lapic *of(struct intc *ic)
{
	return container_of(ic, struct lapic, intc);
}

/* Highest vector in the set, -1: it is empty. */
static int highest(_Atomic uint32_t set[8])
{
	for (int i = 7; i >= 0; i--) {
		uint32_t bits = atomic_load_explicit(&set[i], memory_order_relaxed);

		if (bits)
			return i * 32 + 31 - __builtin_clz(bits);
	}
	return -1;
}

static void ppr_update(struct lapic *a)
{
	int service = highest(a->isr);
	uint32_t tpr = a->tpr;

	a->ppr = service >= 0 && CLASS(service) > CLASS(tpr) ? service & 0xf0 : tpr;
}

bool lapic_takes_pic(const struct lapic *a)
{
	uint32_t lint0 = a->lvt[LVT_LINT0];

	/* Without an APIC the pin is the processor's INTR. */
	if (!lapic_enabled(a))
		return true;
	return !(lint0 & APIC_MASKED) && APIC_MODE(lint0) == APIC_EXTINT;
}

static bool pic_waits(struct lapic *a)
{
	return a->extint || (a->id == 0 && a->all->intr && lapic_takes_pic(a));
}

static bool apic_waits(struct lapic *a)
{
	int vector = highest(a->irr);

	return vector >= 0 && CLASS(vector) > CLASS(a->ppr) && lapic_enabled(a);
}

static bool pending(struct intc *ic)
{
	struct lapic *a = of(ic);

	return apic_waits(a) || pic_waits(a);
}

/* On its own thread a vCPU needs no kick. */
static void look_again(struct lapic *a)
{
	if (pending(&a->intc))
		atomic_fetch_or(&a->intc.vcpu->requests, VCPU_REQ_INTERRUPT);
}

void lapic_priority_changed(struct lapic *a)
{
	ppr_update(a);
	look_again(a);
}

static int accept(struct intc *ic)
{
	struct lapic *a = of(ic);
	int vector;

	if (pic_waits(a)) {
		a->extint = false;
		return irq_pic_accept(a->all->dev.machine);
	}
	if (!apic_waits(a))
		return -1;
	vector = highest(a->irr);
	atomic_fetch_and(&a->irr[vector >> 5], ~(1u << (vector & 31)));
	a->isr[vector >> 5] |= 1u << (vector & 31);
	a->ppr = vector & 0xf0;
	return vector;
}

static void eoi(struct intc *ic)
{
	struct lapic *a = of(ic);
	int vector = highest(a->isr);
	uint32_t bit = 1u << (vector & 31);

	if (vector < 0)
		return;
	a->isr[vector >> 5] &= ~bit;
	lapic_priority_changed(a);
	if (a->tmr[vector >> 5] & bit)
		irq_eoi(a->all->dev.machine, vector);
}

static bool eoi_avoidable(struct intc *ic)
{
	struct lapic *a = of(ic);
	int vector = highest(a->isr);
	unsigned n = 0;

	for (unsigned i = 0; i < 8; i++)
		n += __builtin_popcount(a->isr[i]);
	/* What waits must get its turn at the EOI, so there has to be one. */
	return n == 1 && !(a->tmr[vector >> 5] & 1u << (vector & 31)) && highest(a->irr) < 0 &&
	       !pic_waits(a);
}

static uint8_t tpr_get(struct intc *ic)
{
	return CLASS(of(ic)->tpr);
}

static void tpr_set(struct intc *ic, uint8_t cr8)
{
	struct lapic *a = of(ic);

	a->tpr = (cr8 & 15) << 4;
	lapic_priority_changed(a);
}

void lapic_base_set(struct lapic *a, uint64_t base)
{
	bool window = base & APIC_BASE_ENABLE && !(base & APIC_BASE_X2APIC);

	a->base = base;
	a->intc.mmio_base = window ? align_down(base, 4096) : NO_WINDOW;
}

void lapic_reset(struct lapic *a)
{
	for (unsigned i = 0; i < 8; i++)
		a->irr[i] = a->isr[i] = a->tmr[i] = 0;
	for (unsigned i = 0; i < LVTS; i++)
		a->lvt[i] = APIC_MASKED;
	/* As firmware leaves it ("virtual wire"): a kernel that is started without one expects it. */
	if (a->id == 0)
		a->lvt[LVT_LINT0] = LINT0_FIRMWARE;
	a->tpr = a->ldr = a->errors = a->esr = 0;
	a->dfr = UINT32_MAX;
	a->svr = SVR_RESET;
	a->icr = 0;
	a->extint = false;
	a->ppr = 0;
	lapic_timer_reset(a);
}

static void init(struct intc *ic)
{
	lapic_reset(of(ic));
}

static void cpu_get(struct intc *ic, struct cpu_state *out)
{
	struct lapic *a = of(ic);

	out->apic_base = a->base;
	out->cr8 = tpr_get(ic);
	out->tsc_deadline = lapic_tsc_deadline(a);
}

static void cpu_set(struct intc *ic, const struct cpu_state *in)
{
	struct lapic *a = of(ic);
	uint64_t base = in->apic_base;

	if (!(base & APIC_BASE_ENABLE))
		base &= ~APIC_BASE_X2APIC;
	lapic_base_set(a, base);
	if (in->cr8 != CLASS(a->tpr))
		tpr_set(ic, in->cr8);
	lapic_tsc_deadline_set(a, in->tsc_deadline);
}

static void regs_get(struct lapic *a, struct lapic_regs *r)
{
	*r = (struct lapic_regs){
		.tpr = a->tpr, .ldr = a->ldr, .dfr = a->dfr, .svr = a->svr, .icr = a->icr};
	for (unsigned i = 0; i < 8; i++) {
		r->isr[i] = a->isr[i];
		r->tmr[i] = a->tmr[i];
		r->irr[i] = a->irr[i];
	}
	for (unsigned i = 0; i < LVTS; i++)
		r->lvt[i] = a->lvt[i];
	r->esr = a->esr;
	if (lapic_is_x2apic(a))
		r->ldr = lapic_x2apic_ldr(a->id);
	lapic_timer_save(a, r);
}

/* Bits that no register has are dropped: they come from a file, or another engine. */
static void regs_set(struct lapic *a, const struct lapic_regs *r)
{
	a->tpr = r->tpr & 0xff;
	a->ldr = r->ldr & APIC_LDR_BITS;
	a->dfr = r->dfr | APIC_DFR_ONES;
	a->svr = r->svr & APIC_SVR_BITS;
	a->icr = r->icr;
	a->esr = r->esr & 0xff;
	for (unsigned i = 0; i < 8; i++) {
		uint32_t legal = i ? UINT32_MAX : UINT32_MAX << LAPIC_ILLEGAL;

		a->isr[i] = r->isr[i] & legal;
		a->tmr[i] = r->tmr[i] & legal;
		a->irr[i] = r->irr[i] & legal;
	}
	for (unsigned i = 0; i < LVTS; i++)
		a->lvt[i] = r->lvt[i] & lapic_lvt_writable(i);
	lapic_timer_load(a, r);
	lapic_priority_changed(a);
}

static void state(struct intc *ic, struct state *s)
{
	struct lapic *a = of(ic);
	struct lapic_regs r;

	regs_get(a, &r);
	lapic_regs_state(s, &r);
	if (state_loading(s) && !state_failed(s))
		regs_set(a, &r);
}

static const struct intc_ops ops = {
	.pending = pending,
	.accept = accept,
	.eoi = eoi,
	.eoi_avoidable = eoi_avoidable,
	.tpr_get = tpr_get,
	.tpr_set = tpr_set,
	.msr_read = lapic_msr_read,
	.msr_write = lapic_msr_write,
	.mmio_read = lapic_mmio_read,
	.mmio_write = lapic_mmio_write,
	.init = init,
	.cpu_get = cpu_get,
	.cpu_set = cpu_set,
	.state = state,
};

/* Registers are reset with the processor, whose state they are saved with. */
static void reset(struct device *d)
{
	struct lapics *all = container_of(d, struct lapics, dev);

	for (unsigned i = 0; i < all->n; i++) {
		struct lapic *a = &all->lapic[i];

		lapic_base_set(a,
		               APIC_BASE_DEFAULT | APIC_BASE_ENABLE | (i == 0 ? APIC_BASE_BSP : 0));
		lapic_reset(a);
	}
}

static void lapics_free(struct device *d)
{
	struct lapics *all = container_of(d, struct lapics, dev);

	d->machine->irq.apics = NULL;
	for (unsigned i = 0; i < all->n; i++) {
		d->machine->vcpu[i].intc = NULL;
		clock_timer_set(&all->lapic[i].timer, UINT64_MAX);
		lock_fini(&all->lapic[i].lock);
	}
	free(all->lapic);
	free(all);
}

static const struct device_type type = {.name = "lapic", .reset = reset, .free = lapics_free};

int lapics_new(struct machine *m, struct lapics **out, struct err *e)
{
	struct lapics *all = xalloc(sizeof(*all));

	all->n = m->cpus;
	all->lapic = xalloc(m->cpus * sizeof(*all->lapic));
	machine_add_device(m, &all->dev, &type, "lapic");
	for (unsigned i = 0; i < all->n; i++) {
		struct lapic *a = &all->lapic[i];

		a->all = all;
		a->id = i;
		a->intc.ops = &ops;
		a->intc.vcpu = &m->vcpu[i];
		lapic_timer_init(a);
		m->vcpu[i].intc = &a->intc;
	}
	reset(&all->dev);
	m->irq.apics = &lapics_wires;
	m->irq.apics_dev = all;
	if (out)
		*out = all;
	return 0;
}
