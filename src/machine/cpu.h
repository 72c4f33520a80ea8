/*
 * A processor's state in the one engine-neutral form.  Every engine converts from and to it; the
 * visitor saves, loads, prints and compares it.  A guest saved under one engine loads under another.
 */
#ifndef MACHINE_CPU_H
#define MACHINE_CPU_H

#include "base/state.h"

enum cpu_gpr {
	CPU_RAX,
	CPU_RCX,
	CPU_RDX,
	CPU_RBX,
	CPU_RSP,
	CPU_RBP,
	CPU_RSI,
	CPU_RDI,
	CPU_R8, /* ... R15 = 15 */
	CPU_GPRS = 16,
};

enum cpu_seg_name { CPU_ES, CPU_CS, CPU_SS, CPU_DS, CPU_FS, CPU_GS, CPU_SEGS };

/*
 * attr, as the high half of a descriptor (SDM 3A 3.4.5) shifted right by 8, without the limit:
 *
 *	15 14  13  12 | 11..8 | 7 | 6 5 | 4 | 3..0
 *	 G D/B  L  AVL|   -   | P | DPL | S | type
 *
 * An unusable (null) segment has P = 0.  limit is in bytes (granularity applied).
 */
struct cpu_seg {
	uint64_t base;
	uint32_t limit;
	uint16_t sel;
	uint16_t attr;
};

#define SEG_TYPE      0x000f
#define SEG_S         0x0010
#define SEG_DPL_SHIFT 5
#define SEG_DPL(attr) (((attr) >> SEG_DPL_SHIFT) & 3)
#define SEG_P         0x0080
#define SEG_AVL       0x1000
#define SEG_L         0x2000
#define SEG_DB        0x4000
#define SEG_G         0x8000

struct cpu_table { /* GDTR, IDTR */
	uint64_t base;
	uint16_t limit;
};

#define CPU_XSAVE_SIZE 4096

/* Fields of apic_base (IA32_APIC_BASE, SDM 3A 11.4.4) */
#define APIC_BASE_BSP     (1ull << 8)
#define APIC_BASE_X2APIC  (1ull << 10)
#define APIC_BASE_ENABLE  (1ull << 11)
#define APIC_BASE_DEFAULT 0xfee00000ull

/* What the processor does between instructions. */
enum cpu_mp { CPU_MP_RUNNING, CPU_MP_HALTED, CPU_MP_WAIT_INIT, CPU_MP_WAIT_SIPI };

/* What holds interrupts off for one instruction (SDM 3A 6.8.1, 6.8.3). */
enum cpu_shadow { CPU_SHADOW_NONE, CPU_SHADOW_STI, CPU_SHADOW_MOV_SS };

struct cpu_state {
	uint64_t gpr[CPU_GPRS];
	uint64_t rip, rflags;
	struct cpu_seg seg[CPU_SEGS], ldt, tr;
	struct cpu_table gdt, idt;
	uint64_t cr0, cr2, cr3, cr4, cr8, xcr0;
	uint64_t dr[8]; /* 0-3, 6, 7 used */
	/* MSRs */
	uint64_t efer, star, lstar, cstar, fmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t pat, tsc, tsc_aux, tsc_deadline, tsc_adjust, misc_enable, apic_base, spec_ctrl;
	uint64_t mtrr_def, mtrr_fixed[11], mtrr_base[8], mtrr_mask[8];
	/* KVM paravirtual MSRs */
	uint64_t pv_wall_clock, pv_system_time, pv_async_pf, pv_steal_time, pv_eoi, pv_poll_control;
	/* x87, SSE, AVX...: standard-format XSAVE area (SDM 1 13.4), xcr0 says what is in it */
	uint8_t xsave[CPU_XSAVE_SIZE] __attribute__((aligned(64)));
	/* Events in flight */
	uint8_t exception_pending, exception_vector, exception_has_error;
	uint32_t exception_error;
	uint8_t interrupt_injected, interrupt_vector, interrupt_soft;
	uint8_t interrupt_shadow; /* enum cpu_shadow */
	uint8_t nmi_pending, nmi_masked, nmi_injected;
	uint8_t sipi_vector;
	uint8_t mp; /* enum cpu_mp */
};

/* CR0, CR4, EFER, RFLAGS: SDM 3A 2.5, 2.2.1, 2.3 */
#define CR0_PE          (1ull << 0)
#define CR0_MP          (1ull << 1)
#define CR0_EM          (1ull << 2)
#define CR0_TS          (1ull << 3)
#define CR0_ET          (1ull << 4)
#define CR0_NE          (1ull << 5)
#define CR0_WP          (1ull << 16)
#define CR0_AM          (1ull << 18)
#define CR0_NW          (1ull << 29)
#define CR0_CD          (1ull << 30)
#define CR0_PG          (1ull << 31)
#define CR4_VME         (1ull << 0)
#define CR4_PVI         (1ull << 1)
#define CR4_TSD         (1ull << 2)
#define CR4_DE          (1ull << 3)
#define CR4_PSE         (1ull << 4)
#define CR4_PAE         (1ull << 5)
#define CR4_MCE         (1ull << 6)
#define CR4_PGE         (1ull << 7)
#define CR4_PCE         (1ull << 8)
#define CR4_OSFXSR      (1ull << 9)
#define CR4_OSXMMEXCPT  (1ull << 10)
#define CR4_UMIP        (1ull << 11)
#define CR4_LA57        (1ull << 12)
#define CR4_FSGSBASE    (1ull << 16)
#define CR4_PCIDE       (1ull << 17)
#define CR4_OSXSAVE     (1ull << 18)
#define CR4_SMEP        (1ull << 20)
#define CR4_SMAP        (1ull << 21)
#define CR4_PKE         (1ull << 22)
#define EFER_SCE        (1ull << 0)
#define EFER_LME        (1ull << 8)
#define EFER_LMA        (1ull << 10)
#define EFER_NXE        (1ull << 11)
#define EFER_SVME       (1ull << 12)
#define EFER_FFXSR      (1ull << 14)
#define EFER_AUTOIBRS   (1ull << 21) /* AMD's Automatic IBRS: accepted, no effect of its own */
#define FLAG_CF         (1u << 0)
#define FLAG_FIXED      (1u << 1)
#define FLAG_PF         (1u << 2)
#define FLAG_AF         (1u << 4)
#define FLAG_ZF         (1u << 6)
#define FLAG_SF         (1u << 7)
#define FLAG_TF         (1u << 8)
#define FLAG_IF         (1u << 9)
#define FLAG_DF         (1u << 10)
#define FLAG_OF         (1u << 11)
#define FLAG_IOPL_SHIFT 12
#define FLAG_IOPL       (3u << 12)
#define FLAG_NT         (1u << 14)
#define FLAG_RF         (1u << 16)
#define FLAG_VM         (1u << 17)
#define FLAG_AC         (1u << 18)
#define FLAG_VIF        (1u << 19)
#define FLAG_VIP        (1u << 20)
#define FLAG_ID         (1u << 21)
#define FLAGS_ARITH     (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

enum cpu_exception {
	EXC_DE = 0,
	EXC_DB = 1,
	EXC_NMI = 2,
	EXC_BP = 3,
	EXC_OF = 4,
	EXC_BR = 5,
	EXC_UD = 6,
	EXC_NM = 7,
	EXC_DF = 8,
	EXC_TS = 10,
	EXC_NP = 11,
	EXC_SS = 12,
	EXC_GP = 13,
	EXC_PF = 14,
	EXC_MF = 16,
	EXC_AC = 17,
	EXC_MC = 18,
	EXC_XM = 19,
};

/* State after power-on (SDM 3A table 9-1).  bsp: apic_base and mp follow; others wait for a SIPI. */
void cpu_state_reset(struct cpu_state *c, bool bsp);
/* INIT: as after power-on, but for what table 9-1 says stays (FPU, SSE, most MSRs, TSC, CR0.CD and NW). */
void cpu_state_init(struct cpu_state *c, bool bsp);
/* A SIPI's start: real mode at vector * 4096 (SDM 3A 8.4.3). */
void cpu_state_sipi(struct cpu_state *c, uint8_t vector);
void cpu_state_visit(struct state *s, struct cpu_state *c);
/* Registers for people, several lines, into buf (a crash report). */
void cpu_state_format(const struct cpu_state *c, char *buf, size_t len);

#endif
