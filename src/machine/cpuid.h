/*
 * The CPU model: what CPUID shows.  A table of leaves, computed once from the engine's abilities and
 * the machine's topology, then looked up; it never executes CPUID at run time (4 us on a host that
 * is itself a guest).
 */
#ifndef MACHINE_CPUID_H
#define MACHINE_CPUID_H

#include "base/err.h"

struct cpuid_leaf {
	uint32_t leaf, subleaf;
	bool by_subleaf; /* subleaf counts */
	uint32_t eax, ebx, ecx, edx;
};

#define CPUID_LEAVES_MAX 96

struct cpuid_model {
	char name[32];
	unsigned n;
	struct cpuid_leaf leaf[CPUID_LEAVES_MAX];
};

/* What a model is made from. */
struct cpuid_wish {
	/* Feature words that the engine can execute, from leaf 1 (ecx, edx), 7.0 (ebx, ecx, edx),
	 * 0x80000001 (ecx, edx), 0xd.1 (eax). */
	uint32_t f1_ecx, f1_edx, f7_ebx, f7_ecx, f7_edx, fe1_ecx, fe1_edx, fd1_eax;
	/* Which attacks on the processor do nothing here, and what helps against others: 0x80000008
	 * ebx, 0x80000021 (eax, ecx); the TSC never changes its pace: 0x80000007 edx. */
	uint32_t fe7_edx, fe8_ebx, fe21_eax, fe21_ecx;
	uint64_t xcr0;        /* state components, as XCR0 bits */
	uint32_t pv_features; /* leaf 0x40000001 eax; 0: no hypervisor leaves at all */
	unsigned cpus;
	uint64_t tsc_khz;
	unsigned phys_bits;
};

/* Frequency of the local APIC's timer before its divider: one tick a nanosecond, as KVM has it. */
#define CPUID_APIC_BUS_KHZ 1000000u

/* The software engine's model: "casulo-v3" = x86-64-v3 and what else works; a subset of wish. */
void cpuid_model_make(struct cpuid_model *m, const struct cpuid_wish *w);
struct cpuid_leaf *cpuid_model_find(struct cpuid_model *m, uint32_t leaf, uint32_t subleaf);

/*
 * What the instruction returns on vCPU number id (APIC id = id), with the bits that follow state:
 * OSXSAVE (cr4), leaf 0xd sizes (xcr0).  Leaves out of range answer zeros, as AMD does.
 */
void cpuid_lookup(const struct cpuid_model *m, unsigned id, uint64_t cr4, uint64_t xcr0,
                  uint32_t leaf, uint32_t subleaf, uint32_t out[4]);

/* KVM's paravirtual features, leaf 0x40000001 eax */
#define PV_CLOCKSOURCE  (1u << 0)
#define PV_NOP_IO_DELAY (1u << 1)
#define PV_CLOCKSOURCE2 (1u << 3)
#define PV_STEAL_TIME   (1u << 5)
#define PV_EOI          (1u << 6)
#define PV_UNHALT       (1u << 7)
#define PV_CLOCK_STABLE (1u << 24)

#endif
