/*
 * The engine-neutral processor state, from and to KVM's.
 *
 * Order of setting: control registers and EFER before XCR0 and MSRs that depend on them, the TSC before
 * the events, the activity last.
 */
#include <errno.h>
#include <string.h>

#include "engine/kvm/kvm.h"

#define XSAVE_SOFTWARE  464 /* bytes for software to use: the kernel does */
#define XSAVE_XSTATE_BV 512
#define XSAVE_AVX_END   832 /* x87, SSE, header, AVX: what our model shows at most */

/* One ioctl of a list that stops at the first failure. */
static int step(const struct kvm_cpu *c, unsigned long request, void *arg, const char *what,
                struct err *e)
{
	int rc = kvm_ioctl(c->fd, request, arg);

	if (rc < 0)
		return err_set(e, -rc, "KVM refuses the %s of vCPU %u: %s", what, c->vcpu->id,
		               strerror(-rc));
	return 0;
}

static void get_gprs(struct cpu_state *out, const struct kvm_regs *r)
{
	const uint64_t gpr[CPU_GPRS] = {r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp,
	                                r->rsi, r->rdi, r->r8,  r->r9,  r->r10, r->r11,
	                                r->r12, r->r13, r->r14, r->r15};

	memcpy(out->gpr, gpr, sizeof(gpr));
	out->rip = r->rip;
	out->rflags = r->rflags;
}

static void put_gprs(struct kvm_regs *r, const struct cpu_state *in)
{
	const uint64_t *g = in->gpr;

	*r = (struct kvm_regs){
		.rax = g[CPU_RAX],
		.rcx = g[CPU_RCX],
		.rdx = g[CPU_RDX],
		.rbx = g[CPU_RBX],
		.rsp = g[CPU_RSP],
		.rbp = g[CPU_RBP],
		.rsi = g[CPU_RSI],
		.rdi = g[CPU_RDI],
		.r8 = g[8],
		.r9 = g[9],
		.r10 = g[10],
		.r11 = g[11],
		.r12 = g[12],
		.r13 = g[13],
		.r14 = g[14],
		.r15 = g[15],
		.rip = in->rip,
		.rflags = in->rflags,
	};
}

static struct cpu_seg get_seg(const struct kvm_segment *k)
{
	bool present = k->present && !k->unusable;

	return (struct cpu_seg){
		.base = k->base,
		.limit = k->limit,
		.sel = k->selector,
		.attr = k->type | (k->s ? SEG_S : 0) | (k->dpl & 3) << SEG_DPL_SHIFT |
	                (present ? SEG_P : 0) | (k->avl ? SEG_AVL : 0) | (k->l ? SEG_L : 0) |
	                (k->db ? SEG_DB : 0) | (k->g ? SEG_G : 0),
	};
}

static struct kvm_segment put_seg(const struct cpu_seg *s)
{
	return (struct kvm_segment){
		.base = s->base,
		.limit = s->limit,
		.selector = s->sel,
		.type = s->attr & SEG_TYPE,
		.s = !!(s->attr & SEG_S),
		.dpl = SEG_DPL(s->attr),
		.present = !!(s->attr & SEG_P),
		.unusable = !(s->attr & SEG_P),
		.avl = !!(s->attr & SEG_AVL),
		.l = !!(s->attr & SEG_L),
		.db = !!(s->attr & SEG_DB),
		.g = !!(s->attr & SEG_G),
	};
}

static void get_sregs(struct cpu_state *out, const struct kvm_sregs *s)
{
	out->seg[CPU_ES] = get_seg(&s->es);
	out->seg[CPU_CS] = get_seg(&s->cs);
	out->seg[CPU_SS] = get_seg(&s->ss);
	out->seg[CPU_DS] = get_seg(&s->ds);
	out->seg[CPU_FS] = get_seg(&s->fs);
	out->seg[CPU_GS] = get_seg(&s->gs);
	out->ldt = get_seg(&s->ldt);
	out->tr = get_seg(&s->tr);
	out->gdt = (struct cpu_table){s->gdt.base, s->gdt.limit};
	out->idt = (struct cpu_table){s->idt.base, s->idt.limit};
	out->cr0 = s->cr0;
	out->cr2 = s->cr2;
	out->cr3 = s->cr3;
	out->cr4 = s->cr4;
	out->cr8 = s->cr8;
	out->efer = s->efer;
	out->apic_base = s->apic_base;
}

static void put_sregs(struct kvm_sregs *s, const struct cpu_state *in)
{
	*s = (struct kvm_sregs){
		.es = put_seg(&in->seg[CPU_ES]),
		.cs = put_seg(&in->seg[CPU_CS]),
		.ss = put_seg(&in->seg[CPU_SS]),
		.ds = put_seg(&in->seg[CPU_DS]),
		.fs = put_seg(&in->seg[CPU_FS]),
		.gs = put_seg(&in->seg[CPU_GS]),
		.ldt = put_seg(&in->ldt),
		.tr = put_seg(&in->tr),
		.gdt = {.base = in->gdt.base, .limit = in->gdt.limit},
		.idt = {.base = in->idt.base, .limit = in->idt.limit},
		.cr0 = in->cr0,
		.cr2 = in->cr2,
		.cr3 = in->cr3,
		.cr4 = in->cr4,
		.cr8 = in->cr8,
		.efer = in->efer,
		.apic_base = in->apic_base,
	};
}

/* The kernel adds notes of its own, and what the host has (PKRU) and the guest is not shown. */
static void trim_xsave(struct kvm_cpu *c, struct cpu_state *out)
{
	const struct cpuid_leaf *l = cpuid_model_find(&c->vm->machine->cpuid, 0xd, 0);
	uint64_t shown = out->xcr0 | 3 | (l ? l->eax | (uint64_t)l->edx << 32 : 0), present;

	memset(out->xsave + XSAVE_SOFTWARE, 0, XSAVE_XSTATE_BV - XSAVE_SOFTWARE);
	memcpy(&present, out->xsave + XSAVE_XSTATE_BV, sizeof(present));
	present &= shown;
	memcpy(out->xsave + XSAVE_XSTATE_BV, &present, sizeof(present));
	if (!(present & ~7ull))
		memset(out->xsave + XSAVE_AVX_END, 0, sizeof(out->xsave) - XSAVE_AVX_END);
}

static int get_xsave(struct kvm_cpu *c, struct cpu_state *out, struct err *e)
{
	struct kvm_xcrs xcrs = {};
	int rc = step(c, KVM_GET_XSAVE, out->xsave, "extended state", e);

	out->xcr0 = 1;
	if (rc < 0)
		return rc;
	/* Fails on processors without XSAVE. */
	if (kvm_ioctl(c->fd, KVM_GET_XCRS, &xcrs) == 0 && xcrs.nr_xcrs > 0)
		out->xcr0 = xcrs.xcrs[0].value;
	trim_xsave(c, out);
	return 0;
}

static int set_xsave(struct kvm_cpu *c, const struct cpu_state *in, struct err *e)
{
	struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs[0] = {.xcr = 0, .value = in->xcr0}};
	int rc = step(c, KVM_SET_XSAVE, (void *)in->xsave, "extended state", e);

	if (rc < 0 || !kvm_extension(c->vm->dev, KVM_CAP_XCRS))
		return rc;
	return step(c, KVM_SET_XCRS, &xcrs, "XCR0", e);
}

static void get_debug(struct cpu_state *out, const struct kvm_debugregs *d)
{
	memcpy(out->dr, d->db, sizeof(d->db));
	out->dr[6] = d->dr6;
	out->dr[7] = d->dr7;
}

static void put_debug(struct kvm_debugregs *d, const struct cpu_state *in)
{
	*d = (struct kvm_debugregs){.dr6 = in->dr[6], .dr7 = in->dr[7]};
	memcpy(d->db, in->dr, sizeof(d->db));
}

/* AMD's has one bit for both kinds: with IF set it's taken for STI's. */
static uint8_t get_shadow(const struct kvm_vcpu_events *ev, uint64_t rflags)
{
	if (!ev->interrupt.shadow)
		return 0;
	return ev->interrupt.shadow & KVM_X86_SHADOW_INT_STI && rflags & FLAG_IF
	               ? CPU_SHADOW_STI
	               : CPU_SHADOW_MOV_SS;
}

/* A processor refuses the shadow of STI without IF (SDM 3C 26.3.1.5). */
static uint8_t put_shadow(const struct cpu_state *in)
{
	if (!in->interrupt_shadow)
		return 0;
	return in->interrupt_shadow == CPU_SHADOW_STI && in->rflags & FLAG_IF
	               ? KVM_X86_SHADOW_INT_STI
	               : KVM_X86_SHADOW_INT_MOV_SS;
}

static void get_events(struct cpu_state *out, const struct kvm_vcpu_events *ev)
{
	out->exception_pending = ev->exception.injected || ev->exception.pending;
	out->exception_vector = out->exception_pending ? ev->exception.nr : 0;
	out->exception_has_error = out->exception_pending && ev->exception.has_error_code;
	out->exception_error = out->exception_has_error ? ev->exception.error_code : 0;
	out->interrupt_injected = ev->interrupt.injected;
	out->interrupt_vector = ev->interrupt.injected ? ev->interrupt.nr : 0;
	out->interrupt_soft = ev->interrupt.injected && ev->interrupt.soft;
	out->interrupt_shadow = get_shadow(ev, out->rflags);
	out->nmi_injected = ev->nmi.injected;
	out->nmi_pending = ev->nmi.pending;
	out->nmi_masked = ev->nmi.masked;
	out->sipi_vector = (uint8_t)ev->sipi_vector;
}

static void put_events(struct kvm_vcpu_events *ev, const struct cpu_state *in)
{
	*ev = (struct kvm_vcpu_events){
		.exception.injected = in->exception_pending,
		.exception.nr = in->exception_vector,
		.exception.has_error_code = in->exception_has_error,
		.exception.error_code = in->exception_error,
		.interrupt.injected = in->interrupt_injected,
		.interrupt.nr = in->interrupt_vector,
		.interrupt.soft = in->interrupt_soft,
		.interrupt.shadow = put_shadow(in),
		.nmi.injected = in->nmi_injected,
		.nmi.pending = in->nmi_pending,
		.nmi.masked = in->nmi_masked,
		.sipi_vector = in->sipi_vector,
		.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR |
	                 KVM_VCPUEVENT_VALID_SHADOW,
	};
}

static const uint32_t mp_states[] = {
	[CPU_MP_RUNNING] = KVM_MP_STATE_RUNNABLE,
	[CPU_MP_HALTED] = KVM_MP_STATE_HALTED,
	[CPU_MP_WAIT_INIT] = KVM_MP_STATE_UNINITIALIZED,
	[CPU_MP_WAIT_SIPI] = KVM_MP_STATE_INIT_RECEIVED,
};

static uint8_t get_mp(const struct kvm_mp_state *mp)
{
	for (uint8_t i = 0; i < ARRAY_LEN(mp_states); i++)
		if (mp_states[i] == mp->mp_state)
			return i;
	return CPU_MP_RUNNING;
}

/* First: reading the activity makes KVM act on an INIT or SIPI that has come. */
static int get_activity(struct kvm_cpu *c, struct cpu_state *out, struct err *e)
{
	struct kvm_mp_state mp;
	int rc = step(c, KVM_GET_MP_STATE, &mp, "activity", e);

	if (rc == 0)
		out->mp = get_mp(&mp);
	return rc;
}

int kvm_state_get(struct vcpu *v, struct cpu_state *out, struct err *e)
{
	struct kvm_cpu *c = v->engine_data;
	AUTO_FREE struct cpu_state *got = aligned_alloc(64, align_up(sizeof(*got), 64));
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_debugregs debug;
	struct kvm_vcpu_events events;
	int rc;

	if (!got)
		return err_set(e, ENOMEM, "no memory for a processor's state");
	memset(got, 0, sizeof(*got));
	if ((rc = get_activity(c, got, e)) < 0 ||
	    (rc = step(c, KVM_GET_REGS, &regs, "registers", e)) < 0 ||
	    (rc = step(c, KVM_GET_SREGS, &sregs, "system registers", e)) < 0 ||
	    (rc = step(c, KVM_GET_DEBUGREGS, &debug, "debug registers", e)) < 0 ||
	    (rc = step(c, KVM_GET_VCPU_EVENTS, &events, "events", e)) < 0 ||
	    (rc = get_xsave(c, got, e)) < 0 || (rc = kvm_msr_get(c, got, e)) < 0)
		return rc;
	get_gprs(got, &regs);
	get_sregs(got, &sregs);
	get_debug(got, &debug);
	get_events(got, &events);
	*out = *got;
	return 0;
}

int kvm_state_set(struct vcpu *v, const struct cpu_state *in, struct err *e)
{
	struct kvm_cpu *c = v->engine_data;
	struct kvm_mp_state mp = {.mp_state = mp_states[in->mp % ARRAY_LEN(mp_states)]};
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_debugregs debug;
	struct kvm_vcpu_events events;
	int rc;

	put_gprs(&regs, in);
	put_sregs(&sregs, in);
	put_debug(&debug, in);
	put_events(&events, in);
	if ((rc = step(c, KVM_SET_SREGS, &sregs, "system registers", e)) < 0 ||
	    (rc = step(c, KVM_SET_REGS, &regs, "registers", e)) < 0 ||
	    (rc = set_xsave(c, in, e)) < 0 || (rc = kvm_msr_set(c, in, e)) < 0 ||
	    (rc = step(c, KVM_SET_DEBUGREGS, &debug, "debug registers", e)) < 0 ||
	    (rc = step(c, KVM_SET_VCPU_EVENTS, &events, "events", e)) < 0 ||
	    (rc = step(c, KVM_SET_MP_STATE, &mp, "activity", e)) < 0)
		return rc;
	/* Both were of the old state. */
	c->run->ready_for_interrupt_injection = 0;
	c->extint = v->id == 0;
	return 0;
}
