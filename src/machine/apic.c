/* The list of a local APIC's registers. */
#include "machine/apic.h"

void lapic_regs_state(struct state *s, struct lapic_regs *r)
{
	state_enter(s, "apic", 1);
	state_u32(s, "tpr", &r->tpr);
	state_u32(s, "ldr", &r->ldr);
	state_u32(s, "dfr", &r->dfr);
	state_u32(s, "svr", &r->svr);
	state_u32(s, "esr", &r->esr);
	state_u32s(s, "isr", r->isr, ARRAY_LEN(r->isr));
	state_u32s(s, "tmr", r->tmr, ARRAY_LEN(r->tmr));
	state_u32s(s, "irr", r->irr, ARRAY_LEN(r->irr));
	state_u64(s, "icr", &r->icr);
	state_u32s(s, "lvt", r->lvt, ARRAY_LEN(r->lvt));
	state_u32(s, "timer_initial", &r->timer_initial);
	state_u32(s, "timer_now", &r->timer_now);
	state_u32(s, "timer_divide", &r->timer_divide);
	state_leave(s);
}
