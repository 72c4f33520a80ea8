/* The engine-neutral processor state, from and to the software engine's. */
#include <string.h>

#include "engine/soft/code.h"
#include "engine/soft/flags.h"
#include "engine/soft/fpu.h"
#include "engine/soft/run.h"

/* Fields that have the same name and type on both sides; TO and FROM are the structs. */
#define COPY(to, from, field) memcpy(&(to)->field, &(from)->field, sizeof((to)->field))
#define COPY_ALL(to, from)                       \
	do {                                     \
		COPY(to, from, seg);             \
		COPY(to, from, ldt);             \
		COPY(to, from, tr);              \
		COPY(to, from, gdt);             \
		COPY(to, from, idt);             \
		COPY(to, from, cr0);             \
		COPY(to, from, cr2);             \
		COPY(to, from, cr3);             \
		COPY(to, from, cr4);             \
		COPY(to, from, xcr0);            \
		COPY(to, from, dr);              \
		COPY(to, from, efer);            \
		COPY(to, from, star);            \
		COPY(to, from, lstar);           \
		COPY(to, from, cstar);           \
		COPY(to, from, fmask);           \
		COPY(to, from, kernel_gs_base);  \
		COPY(to, from, sysenter_cs);     \
		COPY(to, from, sysenter_esp);    \
		COPY(to, from, sysenter_eip);    \
		COPY(to, from, pat);             \
		COPY(to, from, tsc_aux);         \
		COPY(to, from, tsc_adjust);      \
		COPY(to, from, misc_enable);     \
		COPY(to, from, mtrr_def);        \
		COPY(to, from, mtrr_fixed);      \
		COPY(to, from, mtrr_base);       \
		COPY(to, from, mtrr_mask);       \
		COPY(to, from, pv_wall_clock);   \
		COPY(to, from, pv_system_time);  \
		COPY(to, from, pv_async_pf);     \
		COPY(to, from, pv_steal_time);   \
		COPY(to, from, pv_eoi);          \
		COPY(to, from, pv_poll_control); \
		COPY(to, from, xsave);           \
		COPY(to, from, nmi_masked);      \
	} while (0)

int soft_state_get(struct vcpu *v, struct cpu_state *out, struct err *e)
{
	struct soft_cpu *c = v->engine_data;
	const struct soft_run *r = c->run;

	memset(out, 0, sizeof(*out));
	/* A kick that has arrived is not lost. */
	if (c->halted)
		pv_kicked(c);
	COPY_ALL(out, c);
	memcpy(out->gpr, c->gpr, sizeof(out->gpr));
	out->rip = c->rip;
	out->rflags = flags_get(c);
	out->tsc = times_tsc(c);
	out->interrupt_shadow = c->shadow;
	out->nmi_pending = !!(atomic_load(&v->requests) & VCPU_REQ_NMI);
	out->sipi_vector = atomic_load(&v->sipi_vector);
	out->mp = atomic_load(&v->mp);
	if (out->mp == CPU_MP_RUNNING && c->halted)
		out->mp = CPU_MP_HALTED;
	if (r->inject && r->inject_kind == SOFT_INTERRUPT) {
		out->interrupt_injected = 1;
		out->interrupt_vector = r->inject_exc.vector;
	} else if (r->inject) {
		out->exception_pending = 1;
		out->exception_vector = r->inject_exc.vector;
		out->exception_has_error = r->inject_exc.has_error;
		out->exception_error = r->inject_exc.error;
	}
	return 0;
}

/* Events that another engine had under way are delivered first. */
static void set_events(struct soft_cpu *c, const struct cpu_state *in)
{
	struct soft_run *r = c->run;

	r->inject = false;
	r->inject_exc = (struct soft_exception){0};
	if (in->exception_pending) {
		r->inject = true;
		r->inject_kind = SOFT_EXCEPTION;
		r->inject_exc.vector = in->exception_vector;
		r->inject_exc.has_error = in->exception_has_error;
		r->inject_exc.error = in->exception_error;
		r->inject_exc.cr2 = in->cr2;
	} else if (in->interrupt_injected) {
		r->inject = true;
		r->inject_kind = in->interrupt_soft ? SOFT_INT_N : SOFT_INTERRUPT;
		r->inject_exc.vector = in->interrupt_vector;
	} else if (in->nmi_injected) {
		r->inject = true;
		r->inject_kind = SOFT_NMI;
		r->inject_exc.vector = EXC_NMI;
	}
	if (in->nmi_pending)
		atomic_fetch_or(c->requests, VCPU_REQ_NMI);
}

static uint8_t privilege(const struct soft_cpu *c)
{
	if (!(c->cr0 & CR0_PE))
		return 0;
	return c->eflags & FLAG_VM ? 3 : SEG_DPL(c->seg[CPU_SS].attr);
}

int soft_state_set(struct vcpu *v, const struct cpu_state *in, struct err *e)
{
	struct soft_cpu *c = v->engine_data;

	COPY_ALL(c, in);
	memcpy(c->gpr, in->gpr, sizeof(in->gpr));
	fpu_loaded(c);
	c->gpr[SOFT_ZERO] = 0;
	c->rip = in->rip;
	flags_set(c, (uint32_t)in->rflags);
	times_tsc_set(c, in->tsc);
	c->pv_times = 0;
	c->cpl = privilege(c);
	c->shadow = in->interrupt_shadow;
	c->halted = in->mp == CPU_MP_HALTED;
	c->shutdown = false;
	atomic_store(&c->pv_kick, false);
	c->op = &c->run->fetch;
	set_events(c, in);
	soft_tlb_flush(c, false);
	soft_tlb_switch(c, c->cr4 & CR4_PCIDE ? c->cr3 & 0xfff : 0, true);
	soft_mode_update(c);
	return 0;
}
