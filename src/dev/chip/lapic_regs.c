/*
 * The local APIC's registers, as the page of an xAPIC and as the MSRs of an x2APIC (SDM 3A 11.4.1,
 * 11.12.1).  Both lead to read_register() and write_register(), which know what differs: an x2APIC has no
 * DFR and no upper half of ICR but SELF IPI, its LDR is read-only, and reserved bits fault.
 */
#include <errno.h>
#include <stdatomic.h>
#include "dev/chip/lapic_impl.h"

#define MSR_APIC_BASE    0x1b
#define MSR_TSC_DEADLINE 0x6e0
#define BASE_FLAGS       (APIC_BASE_BSP | APIC_BASE_X2APIC | APIC_BASE_ENABLE)
#define PHYS_BITS        52
#define VERSION          (0x14 | (LVTS - 1) << 16)

#define ICR_RESERVED  0xfff33000u /* also the delivery status, which an x2APIC doesn't have */
#define DIVIDE_BITS   0xbu
#define VECTOR_BITS   0xffu
#define LVT_MODE_BITS 0x700u
#define LVT_PIN_BITS  0xa000u  /* polarity, trigger */
#define LVT_TIMER_SET 0x60000u /* one-shot, periodic, TSC deadline */
#define LVT_READ_ONLY 0x5000u  /* delivery status, remote IRR: written values are ignored */

uint32_t lapic_lvt_writable(enum apic_lvt which)
{
	switch (which) {
	case LVT_TIMER:
		return VECTOR_BITS | APIC_MASKED | LVT_TIMER_SET;
	case LVT_LINT0:
	case LVT_LINT1:
		return VECTOR_BITS | APIC_MASKED | LVT_MODE_BITS | LVT_PIN_BITS;
	case LVT_ERROR:
		return VECTOR_BITS | APIC_MASKED;
	default:
		return VECTOR_BITS | APIC_MASKED | LVT_MODE_BITS;
	}
}

/* Registers that only one of the two has. */
static bool exists(const struct lapic *a, uint32_t reg)
{
	if (reg == APIC_SELF_IPI)
		return lapic_is_x2apic(a);
	if (reg == APIC_DFR || reg == APIC_ICR_HIGH || reg == APIC_APR)
		return !lapic_is_x2apic(a);
	return true;
}

static int read_register(struct lapic *a, uint32_t reg, uint64_t *out)
{
	bool x2 = lapic_is_x2apic(a);
	unsigned word = reg >> 4 & 7;

	if (!exists(a, reg))
		return -EINVAL;
	switch (reg) {
	case APIC_ID:
		*out = x2 ? a->id : a->id << 24;
		return 0;
	case APIC_VERSION:
		*out = VERSION;
		return 0;
	case APIC_TPR:
		*out = a->tpr;
		return 0;
	case APIC_APR: /* arbitration is no matter of priorities here */
		*out = 0;
		return 0;
	case APIC_PPR:
		*out = a->ppr;
		return 0;
	case APIC_LDR:
		*out = x2 ? lapic_x2apic_ldr(a->id) : a->ldr;
		return 0;
	case APIC_DFR:
		*out = a->dfr;
		return 0;
	case APIC_SVR:
		*out = a->svr;
		return 0;
	case APIC_ISR ... APIC_ISR + 0x70:
		*out = a->isr[word];
		return 0;
	case APIC_TMR ... APIC_TMR + 0x70:
		*out = a->tmr[word];
		return 0;
	case APIC_IRR ... APIC_IRR + 0x70:
		*out = a->irr[word];
		return 0;
	case APIC_ESR:
		*out = a->esr;
		return 0;
	case APIC_ICR:
		*out = x2 ? a->icr : (uint32_t)a->icr;
		return 0;
	case APIC_ICR_HIGH:
		*out = a->icr >> 32;
		return 0;
	case APIC_LVT ... APIC_LVT + (LVTS - 1) * 0x10:
		*out = a->lvt[(reg - APIC_LVT) >> 4];
		return 0;
	case APIC_TIMER_INIT:
		*out = a->timer_initial;
		return 0;
	case APIC_TIMER_NOW:
		*out = lapic_timer_now(a);
		return 0;
	case APIC_TIMER_DIV:
		*out = a->timer_divide;
		return 0;
	default:
		return -EINVAL;
	}
}

static void svr_write(struct lapic *a, uint32_t v)
{
	a->svr = v;
	/* Disabled by software: the LVT masks itself, and stays so. */
	for (unsigned i = 0; i < LVTS && !(v & APIC_SVR_ENABLE); i++)
		a->lvt[i] |= APIC_MASKED;
}

static void lvt_write(struct lapic *a, enum apic_lvt which, uint32_t v)
{
	if (!(a->svr & APIC_SVR_ENABLE))
		v |= APIC_MASKED;
	if (which == LVT_TIMER)
		lapic_timer_lvt(a, v);
	else
		a->lvt[which] = v;
	lapic_priority_changed(a); /* LINT0 may have opened for the PIC */
}

/* Bits that can be written, 0: read-only or no register. */
static uint64_t writable(const struct lapic *a, uint32_t reg)
{
	bool x2 = lapic_is_x2apic(a);

	if (!exists(a, reg))
		return 0;
	switch (reg) {
	case APIC_TPR:
	case APIC_SELF_IPI:
		return VECTOR_BITS;
	case APIC_LDR:
		return x2 ? 0 : APIC_LDR_BITS;
	case APIC_DFR:
	case APIC_ICR_HIGH:
	case APIC_TIMER_INIT:
		return UINT32_MAX;
	case APIC_SVR:
		return APIC_SVR_BITS;
	case APIC_ICR:
		return x2 ? ~(uint64_t)ICR_RESERVED : (uint32_t)~ICR_RESERVED;
	case APIC_LVT ... APIC_LVT + (LVTS - 1) * 0x10:
		return lapic_lvt_writable((reg - APIC_LVT) >> 4);
	case APIC_TIMER_DIV:
		return DIVIDE_BITS;
	default:
		return 0;
	}
}

static void icr_write(struct lapic *a, uint64_t v)
{
	if (!lapic_is_x2apic(a))
		v |= a->icr & ~(uint64_t)UINT32_MAX;
	a->icr = v;
	lapic_send_icr(a, v);
}

/* v has no bits but writable ones. */
static void write_register(struct lapic *a, uint32_t reg, uint64_t v)
{
	switch (reg) {
	case APIC_TPR:
		a->tpr = v;
		lapic_priority_changed(a);
		break;
	case APIC_EOI:
		a->intc.ops->eoi(&a->intc);
		break;
	case APIC_LDR:
		a->ldr = v;
		break;
	case APIC_DFR:
		a->dfr = v | APIC_DFR_ONES;
		break;
	case APIC_SVR:
		svr_write(a, v);
		break;
	case APIC_ESR:
		a->esr = atomic_exchange(&a->errors, 0);
		break;
	case APIC_ICR:
		icr_write(a, v);
		break;
	case APIC_ICR_HIGH:
		a->icr = (uint32_t)a->icr | v << 32;
		break;
	case APIC_LVT ... APIC_LVT + (LVTS - 1) * 0x10:
		lvt_write(a, (reg - APIC_LVT) >> 4, v);
		break;
	case APIC_TIMER_INIT:
		lapic_timer_start(a, v);
		break;
	case APIC_TIMER_DIV:
		lapic_timer_divide(a, v);
		break;
	case APIC_SELF_IPI:
		lapic_send_icr(a, v | APIC_TO_SELF);
		break;
	}
}

uint32_t lapic_mmio_read(struct intc *ic, uint32_t offset)
{
	struct lapic *a = container_of(ic, struct lapic, intc);
	uint64_t v = 0;

	if (offset & 0xf || read_register(a, offset, &v) < 0)
		lapic_error(a, LAPIC_NO_REGISTER);
	return v;
}

void lapic_mmio_write(struct intc *ic, uint32_t offset, uint32_t value)
{
	struct lapic *a = container_of(ic, struct lapic, intc);
	uint64_t bits = offset & 0xf ? 0 : writable(a, offset), ignored;

	if (bits || offset == APIC_EOI || offset == APIC_ESR)
		write_register(a, offset, value & bits);
	else if (offset & 0xf || read_register(a, offset, &ignored) < 0)
		lapic_error(a, LAPIC_NO_REGISTER); /* one that is read-only is no error */
}

static int base_write(struct lapic *a, uint64_t v)
{
	bool enable = v & APIC_BASE_ENABLE, x2 = v & APIC_BASE_X2APIC;

	if (v & 0xfff & ~BASE_FLAGS || v >> PHYS_BITS)
		return -EINVAL;
	/* SDM 3A 11.12.5: x2APIC is entered from xAPIC, and left by disabling. */
	if (x2 && (!enable || !lapic_enabled(a)))
		return -EINVAL;
	if (lapic_is_x2apic(a) && enable && !x2)
		return -EINVAL;
	if (lapic_enabled(a) && !enable)
		lapic_reset(a);
	if (x2 && !lapic_is_x2apic(a))
		a->icr = (uint32_t)a->icr;
	lapic_base_set(a, v);
	lapic_priority_changed(a);
	return 0;
}

int lapic_msr_read(struct intc *ic, uint32_t msr, uint64_t *value)
{
	struct lapic *a = container_of(ic, struct lapic, intc);

	switch (msr) {
	case MSR_APIC_BASE:
		*value = a->base;
		return 0;
	case MSR_TSC_DEADLINE:
		*value = lapic_tsc_deadline(a);
		return 0;
	case X2APIC_MSR_FIRST ... X2APIC_MSR_LAST:
		if (!lapic_is_x2apic(a))
			return -EINVAL;
		return read_register(a, (msr - X2APIC_MSR_FIRST) << 4, value);
	default:
		return -EINVAL;
	}
}

static int x2apic_write(struct lapic *a, uint32_t reg, uint64_t value)
{
	bool lvt = reg >= APIC_LVT && reg <= APIC_LVT + (LVTS - 1) * 0x10;
	uint64_t bits = writable(a, reg), ignored = lvt ? LVT_READ_ONLY : 0;

	/* EOI and ESR take nothing but 0. */
	if ((!bits && reg != APIC_EOI && reg != APIC_ESR) || value & ~(bits | ignored))
		return -EINVAL;
	write_register(a, reg, value & bits);
	return 0;
}

int lapic_msr_write(struct intc *ic, uint32_t msr, uint64_t value)
{
	struct lapic *a = container_of(ic, struct lapic, intc);

	switch (msr) {
	case MSR_APIC_BASE:
		return base_write(a, value);
	case MSR_TSC_DEADLINE:
		if (a->lvt[LVT_TIMER] & APIC_LVT_DEADLINE)
			lapic_tsc_deadline_set(a, value);
		return 0;
	case X2APIC_MSR_FIRST ... X2APIC_MSR_LAST:
		if (!lapic_is_x2apic(a))
			return -EINVAL;
		return x2apic_write(a, (msr - X2APIC_MSR_FIRST) << 4, value);
	default:
		return -EINVAL;
	}
}
