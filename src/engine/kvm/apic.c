/*
 * The kernel's local APICs through the state visitor.  KVM has their registers as the page of an xAPIC,
 * the upper half of ICR at its place there in both modes; ID and version are the kernel's business.
 */
#include <errno.h>
#include <string.h>

#include "engine/kvm/kvm.h"
#include "machine/apic.h"

enum direction { FROM_PAGE, TO_PAGE };

static void word(struct kvm_lapic_state *page, unsigned offset, uint32_t *v, enum direction d)
{
	if (d == FROM_PAGE)
		memcpy(v, page->regs + offset, sizeof(*v));
	else
		memcpy(page->regs + offset, v, sizeof(*v));
}

static void convert(struct kvm_lapic_state *page, struct lapic_regs *r, enum direction d)
{
	uint32_t icr = r->icr, icr_high = r->icr >> 32;

	word(page, APIC_TPR, &r->tpr, d);
	word(page, APIC_LDR, &r->ldr, d);
	word(page, APIC_DFR, &r->dfr, d);
	word(page, APIC_SVR, &r->svr, d);
	word(page, APIC_ESR, &r->esr, d);
	for (unsigned i = 0; i < 8; i++) {
		word(page, APIC_ISR + 16 * i, &r->isr[i], d);
		word(page, APIC_TMR + 16 * i, &r->tmr[i], d);
		word(page, APIC_IRR + 16 * i, &r->irr[i], d);
	}
	word(page, APIC_ICR, &icr, d);
	word(page, APIC_ICR_HIGH, &icr_high, d);
	r->icr = icr | (uint64_t)icr_high << 32;
	for (unsigned i = 0; i < LVTS; i++)
		word(page, APIC_LVT + 16 * i, &r->lvt[i], d);
	word(page, APIC_TIMER_INIT, &r->timer_initial, d);
	word(page, APIC_TIMER_NOW, &r->timer_now, d);
	word(page, APIC_TIMER_DIV, &r->timer_divide, d);
}

/*
 * A count of 0 may be of a timer whose end KVM has noted, but not put into IRR yet, where we could see
 * it.  It must not get lost: it's the next tick's then.  One that has ended long ago comes twice, which
 * does less harm.
 */
static void keep_timer(struct lapic_regs *r)
{
	if (r->timer_initial && r->timer_now == 0 && !(r->lvt[LVT_TIMER] & APIC_MASKED))
		r->timer_now = 1;
}

void kvm_apic_state(struct vcpu *v, struct state *s)
{
	struct kvm_cpu *c = v->engine_data;
	struct kvm_lapic_state page = {};
	struct lapic_regs regs = {};
	int rc = kvm_ioctl(c->fd, KVM_GET_LAPIC, &page);

	if (rc < 0)
		state_fail(s, "KVM does not give the local APIC of vCPU %u: %s", v->id,
		           strerror(-rc));
	convert(&page, &regs, FROM_PAGE);
	keep_timer(&regs);
	lapic_regs_state(s, &regs);
	if (!state_loading(s) || state_failed(s))
		return;
	convert(&page, &regs, TO_PAGE);
	rc = kvm_ioctl(c->fd, KVM_SET_LAPIC, &page);
	if (rc == 0)
		rc = kvm_set_deadline(c); /* counts in its mode only, which has just come */
	if (rc < 0)
		state_fail(s, "KVM refuses the local APIC of vCPU %u: %s", v->id, strerror(-rc));
}
