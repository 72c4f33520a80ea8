/*
 * The engine-neutral processor state: its values after reset, its list of fields, its printed form.
 */
#include "machine/cpu.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CPU_STATE_VERSION 1
#define CODE_ATTR         (SEG_P | SEG_S | 0xb) /* execute, read, accessed */
#define DATA_ATTR         (SEG_P | SEG_S | 0x3) /* read, write, accessed */
#define LDT_ATTR          (SEG_P | 0x2)
#define TSS_ATTR          (SEG_P | 0xb) /* busy 32-bit TSS, as the reset state has it */

#define PAT_RESET         0x0007040600070406ull
#define MISC_ENABLE_RESET 1ull /* fast strings */
#define MXCSR_RESET       0x1f80u
#define FCW_RESET         0x037fu /* as after FNINIT; table 9-1's 0x40 is of no use to system software */
#define XSAVE_FCW         0
#define XSAVE_MXCSR       24
#define DR6_RESET         0xffff0ff0ull
#define DR7_RESET         0x400ull

static void reset_segments(struct cpu_state *c)
{
	for (unsigned i = 0; i < CPU_SEGS; i++)
		c->seg[i] = (struct cpu_seg){.limit = 0xffff, .attr = DATA_ATTR};
	c->seg[CPU_CS] = (struct cpu_seg){
		.base = 0xffff0000, .limit = 0xffff, .sel = 0xf000, .attr = CODE_ATTR};
	c->ldt = (struct cpu_seg){.limit = 0xffff, .attr = LDT_ATTR};
	c->tr = (struct cpu_seg){.limit = 0xffff, .attr = TSS_ATTR};
	c->gdt = c->idt = (struct cpu_table){.limit = 0xffff};
}

void cpu_state_reset(struct cpu_state *c, bool bsp)
{
	const uint16_t fcw = FCW_RESET;
	const uint32_t mxcsr = MXCSR_RESET;

	memset(c, 0, sizeof(*c));
	c->rip = 0xfff0;
	c->rflags = FLAG_FIXED;
	c->gpr[CPU_RDX] = 0x600; /* family and model, roughly: what firmware ignores */
	reset_segments(c);
	c->cr0 = CR0_ET | CR0_NW | CR0_CD;
	c->xcr0 = 1;
	c->dr[6] = DR6_RESET;
	c->dr[7] = DR7_RESET;
	c->pat = PAT_RESET;
	c->misc_enable = MISC_ENABLE_RESET;
	c->apic_base = APIC_BASE_DEFAULT | APIC_BASE_ENABLE | (bsp ? APIC_BASE_BSP : 0);
	memcpy(c->xsave + XSAVE_FCW, &fcw, sizeof(fcw));
	memcpy(c->xsave + XSAVE_MXCSR, &mxcsr, sizeof(mxcsr));
	c->mp = bsp ? CPU_MP_RUNNING : CPU_MP_WAIT_SIPI;
}

void cpu_state_init(struct cpu_state *c, bool bsp)
{
	const struct cpu_state old = *c;

	cpu_state_reset(c, bsp);
	c->cr0 = CR0_ET | (old.cr0 & (CR0_CD | CR0_NW));
	c->xcr0 = old.xcr0;
	memcpy(c->xsave, old.xsave, sizeof(c->xsave));
	c->star = old.star;
	c->lstar = old.lstar;
	c->cstar = old.cstar;
	c->fmask = old.fmask;
	c->kernel_gs_base = old.kernel_gs_base;
	c->sysenter_cs = old.sysenter_cs;
	c->sysenter_esp = old.sysenter_esp;
	c->sysenter_eip = old.sysenter_eip;
	c->pat = old.pat;
	c->tsc = old.tsc;
	c->tsc_aux = old.tsc_aux;
	c->tsc_adjust = old.tsc_adjust;
	c->misc_enable = old.misc_enable;
	c->spec_ctrl = old.spec_ctrl;
	c->apic_base = old.apic_base;
	c->mtrr_def = old.mtrr_def;
	memcpy(c->mtrr_fixed, old.mtrr_fixed, sizeof(c->mtrr_fixed));
	memcpy(c->mtrr_base, old.mtrr_base, sizeof(c->mtrr_base));
	memcpy(c->mtrr_mask, old.mtrr_mask, sizeof(c->mtrr_mask));
	/* The paravirtual MSRs go: a restarted processor must not have its old memory written to. */
}

void cpu_state_sipi(struct cpu_state *c, uint8_t vector)
{
	c->seg[CPU_CS].sel = (uint16_t)(vector << 8);
	c->seg[CPU_CS].base = (uint64_t)vector << 12;
	c->rip = 0;
	c->sipi_vector = vector;
	c->mp = CPU_MP_RUNNING;
}

static void visit_seg(struct state *s, const char *name, struct cpu_seg *seg)
{
	state_enter(s, name, 1);
	state_u16(s, "sel", &seg->sel);
	state_u64(s, "base", &seg->base);
	state_u32(s, "limit", &seg->limit);
	state_u16(s, "attr", &seg->attr);
	state_leave(s);
}

static void visit_table(struct state *s, const char *name, struct cpu_table *t)
{
	state_enter(s, name, 1);
	state_u64(s, "base", &t->base);
	state_u16(s, "limit", &t->limit);
	state_leave(s);
}

static const char *const gpr_names[CPU_GPRS] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
                                                "rsi", "rdi", "r8",  "r9",  "r10", "r11",
                                                "r12", "r13", "r14", "r15"};
static const char *const seg_names[CPU_SEGS] = {"es", "cs", "ss", "ds", "fs", "gs"};

static void visit_msrs(struct state *s, struct cpu_state *c)
{
	state_u64(s, "efer", &c->efer);
	state_u64(s, "star", &c->star);
	state_u64(s, "lstar", &c->lstar);
	state_u64(s, "cstar", &c->cstar);
	state_u64(s, "fmask", &c->fmask);
	state_u64(s, "kernel_gs_base", &c->kernel_gs_base);
	state_u64(s, "sysenter_cs", &c->sysenter_cs);
	state_u64(s, "sysenter_esp", &c->sysenter_esp);
	state_u64(s, "sysenter_eip", &c->sysenter_eip);
	state_u64(s, "pat", &c->pat);
	state_u64(s, "tsc", &c->tsc);
	state_u64(s, "tsc_aux", &c->tsc_aux);
	state_u64(s, "tsc_deadline", &c->tsc_deadline);
	state_u64(s, "tsc_adjust", &c->tsc_adjust);
	state_u64(s, "misc_enable", &c->misc_enable);
	state_u64(s, "apic_base", &c->apic_base);
	state_u64(s, "spec_ctrl", &c->spec_ctrl);
	state_u64(s, "mtrr_def", &c->mtrr_def);
	state_u64s(s, "mtrr_fixed", c->mtrr_fixed, ARRAY_LEN(c->mtrr_fixed));
	state_u64s(s, "mtrr_base", c->mtrr_base, ARRAY_LEN(c->mtrr_base));
	state_u64s(s, "mtrr_mask", c->mtrr_mask, ARRAY_LEN(c->mtrr_mask));
	state_u64(s, "pv_wall_clock", &c->pv_wall_clock);
	state_u64(s, "pv_system_time", &c->pv_system_time);
	state_u64(s, "pv_async_pf", &c->pv_async_pf);
	state_u64(s, "pv_steal_time", &c->pv_steal_time);
	state_u64(s, "pv_eoi", &c->pv_eoi);
	state_u64(s, "pv_poll_control", &c->pv_poll_control);
}

static void visit_events(struct state *s, struct cpu_state *c)
{
	state_u8(s, "exception_pending", &c->exception_pending);
	state_u8(s, "exception_vector", &c->exception_vector);
	state_u8(s, "exception_has_error", &c->exception_has_error);
	state_u32(s, "exception_error", &c->exception_error);
	state_u8(s, "interrupt_injected", &c->interrupt_injected);
	state_u8(s, "interrupt_vector", &c->interrupt_vector);
	state_u8(s, "interrupt_soft", &c->interrupt_soft);
	state_u8(s, "interrupt_shadow", &c->interrupt_shadow);
	state_u8(s, "nmi_pending", &c->nmi_pending);
	state_u8(s, "nmi_masked", &c->nmi_masked);
	state_u8(s, "nmi_injected", &c->nmi_injected);
	state_u8(s, "sipi_vector", &c->sipi_vector);
	state_u8(s, "mp", &c->mp);
	if (state_loading(s) && c->mp > CPU_MP_WAIT_SIPI)
		state_fail(s, "processor state has no such activity: %u", c->mp);
	if (state_loading(s) && c->exception_vector > 31)
		state_fail(s, "processor state has no such exception: %u", c->exception_vector);
}

void cpu_state_visit(struct state *s, struct cpu_state *c)
{
	state_enter(s, "cpu", CPU_STATE_VERSION);
	for (unsigned i = 0; i < CPU_GPRS; i++)
		state_u64(s, gpr_names[i], &c->gpr[i]);
	state_u64(s, "rip", &c->rip);
	state_u64(s, "rflags", &c->rflags);
	for (unsigned i = 0; i < CPU_SEGS; i++)
		visit_seg(s, seg_names[i], &c->seg[i]);
	visit_seg(s, "ldt", &c->ldt);
	visit_seg(s, "tr", &c->tr);
	visit_table(s, "gdt", &c->gdt);
	visit_table(s, "idt", &c->idt);
	state_u64(s, "cr0", &c->cr0);
	state_u64(s, "cr2", &c->cr2);
	state_u64(s, "cr3", &c->cr3);
	state_u64(s, "cr4", &c->cr4);
	state_u64(s, "cr8", &c->cr8);
	state_u64(s, "xcr0", &c->xcr0);
	state_u64s(s, "dr", c->dr, ARRAY_LEN(c->dr));
	visit_msrs(s, c);
	state_bytes(s, "xsave", c->xsave, sizeof(c->xsave));
	visit_events(s, c);
	state_leave(s);
}

/* A text that grows in a fixed buffer and is cut at its end. */
struct text {
	char *buf;
	size_t len, used;
};

static void PRINTF(2, 3) add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (t->used + 1 >= t->len)
		return;
	va_start(ap, fmt);
	n = vsnprintf(t->buf + t->used, t->len - t->used, fmt, ap);
	va_end(ap);
	if (n > 0)
		t->used = MIN(t->used + (size_t)n, t->len - 1);
}

static void add_seg(struct text *t, const char *name, const struct cpu_seg *seg)
{
	add(t, "%-3s %04x base %016" PRIx64 " limit %08x attr %04x%s\n", name, seg->sel, seg->base,
	    seg->limit, seg->attr, seg->attr & SEG_P ? "" : " unusable");
}

static const char *mode_name(const struct cpu_state *c)
{
	if (!(c->cr0 & CR0_PE))
		return "real mode";
	if (c->rflags & FLAG_VM)
		return "virtual 8086 mode";
	if (c->efer & EFER_LMA && c->seg[CPU_CS].attr & SEG_L)
		return "64-bit mode";
	return c->seg[CPU_CS].attr & SEG_DB ? "32-bit mode" : "16-bit protected mode";
}

void cpu_state_format(const struct cpu_state *c, char *buf, size_t len)
{
	struct text t = {.buf = buf, .len = len};

	if (len)
		buf[0] = '\0';
	add(&t, "%s, CPL %u\n", mode_name(c), SEG_DPL(c->seg[CPU_SS].attr));
	for (unsigned i = 0; i < CPU_GPRS; i++)
		add(&t, "%-3s %016" PRIx64 "%s", gpr_names[i], c->gpr[i], i % 4 == 3 ? "\n" : "  ");
	add(&t, "rip %016" PRIx64 "  rflags %08" PRIx64 "\n", c->rip, c->rflags);
	add(&t, "cr0 %08" PRIx64 "  cr2 %016" PRIx64 "  cr3 %016" PRIx64 "  cr4 %08" PRIx64 "\n",
	    c->cr0, c->cr2, c->cr3, c->cr4);
	add(&t, "efer %04" PRIx64 "  xcr0 %" PRIx64 "\n", c->efer, c->xcr0);
	for (unsigned i = 0; i < CPU_SEGS; i++)
		add_seg(&t, seg_names[i], &c->seg[i]);
	add_seg(&t, "ldt", &c->ldt);
	add_seg(&t, "tr", &c->tr);
	add(&t, "gdt %016" PRIx64 " limit %04x  idt %016" PRIx64 " limit %04x\n", c->gdt.base,
	    c->gdt.limit, c->idt.base, c->idt.limit);
	if (c->exception_pending)
		add(&t, "exception %u pending, error %x\n", c->exception_vector,
		    c->exception_error);
}
