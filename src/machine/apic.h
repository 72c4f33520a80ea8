/*
 * A local APIC's registers in the one engine-neutral form, and their layout: what our own local APIC and
 * the engines that have theirs agree on (SDM 3A, chapter 11).
 *
 * Not here: IA32_APIC_BASE and IA32_TSC_DEADLINE are in struct cpu_state; the APIC ID is the vCPU's
 * number; the logical ID of an x2APIC follows from that.
 */
#ifndef MACHINE_APIC_H
#define MACHINE_APIC_H

#include "base/state.h"

/* Offsets in the MMIO page; >> 4 is the number of the x2APIC's MSR behind 0x800. */
#define APIC_ID         0x020
#define APIC_VERSION    0x030
#define APIC_TPR        0x080
#define APIC_APR        0x090
#define APIC_PPR        0x0a0
#define APIC_EOI        0x0b0
#define APIC_LDR        0x0d0
#define APIC_DFR        0x0e0
#define APIC_SVR        0x0f0
#define APIC_ISR        0x100 /* 8 registers of 32 vectors */
#define APIC_TMR        0x180
#define APIC_IRR        0x200
#define APIC_ESR        0x280
#define APIC_ICR        0x300
#define APIC_ICR_HIGH   0x310
#define APIC_LVT        0x320 /* enum apic_lvt */
#define APIC_TIMER_INIT 0x380
#define APIC_TIMER_NOW  0x390
#define APIC_TIMER_DIV  0x3e0
#define APIC_SELF_IPI   0x3f0 /* x2APIC only */

#define X2APIC_MSR_FIRST 0x800
#define X2APIC_MSR_LAST  0x8ff

enum apic_lvt {
	LVT_TIMER,
	LVT_THERMAL,
	LVT_PERF,
	LVT_LINT0,
	LVT_LINT1,
	LVT_ERROR,
	LVTS,
};

/* ICR, LVT entries, messages' data: vector in bits 7-0, delivery mode in 10-8 */
#define APIC_MODE(v)      ((v) >> 8 & 7)
#define APIC_LOGICAL      (1u << 11) /* ICR: logical destination */
#define APIC_PENDING      (1u << 12)
#define APIC_ASSERT       (1u << 14)
#define APIC_LEVEL        (1u << 15) /* level-triggered */
#define APIC_MASKED       (1u << 16) /* LVT */
#define APIC_SHORTHAND(v) ((v) >> 18 & 3)

enum apic_mode {
	APIC_FIXED = 0,
	APIC_LOWEST = 1,
	APIC_SMI = 2,
	APIC_NMI = 4,
	APIC_INIT = 5,
	APIC_SIPI = 6,
	APIC_EXTINT = 7,
};

#define APIC_LVT_PERIODIC (1u << 17) /* timer */
#define APIC_LVT_DEADLINE (1u << 18)
#define APIC_TO_SELF      (1u << 18) /* ICR */
#define APIC_SVR_ENABLE   0x100u

/* Bits that are there */
#define APIC_SVR_BITS 0x3ffu
#define APIC_LDR_BITS 0xff000000u
#define APIC_DFR_ONES 0x0fffffffu

struct lapic_regs {
	uint32_t tpr, ldr, dfr, svr, esr;
	uint32_t isr[8], tmr[8], irr[8];
	uint64_t icr; /* destination: bits 63-56 of an xAPIC, 63-32 of an x2APIC */
	uint32_t lvt[LVTS];
	/* Ticks of 1 / CPUID_APIC_BUS_KHZ times the divider; now: what is left of them */
	uint32_t timer_initial, timer_now, timer_divide;
};

/* A section "apic". */
void lapic_regs_state(struct state *s, struct lapic_regs *r);

#endif
