/*
 * The CPU model "casulo-v3": what CPUID shows.
 *
 * The vendor is AuthenticAMD, the family that of x86-64-v3 servers (19h).  Reasons: Linux takes AMD's
 * processors to be free of Meltdown, L1TF and MDS, so it needs no page-table isolation and no buffer
 * clearing on every system call (for an unknown Intel model it does both unless the
 * IA32_ARCH_CAPABILITIES MSR says otherwise); with Automatic IBRS shown it builds no retpolines, which
 * would defeat every return predictor of a translator; its boot reads few vendor MSRs, all of them by
 * accesses that may fault (no microcode, feature control or turbo MSRs).  What follows from it: 32-bit
 * programs under a 64-bit kernel make system calls by SYSCALL (CSTAR), not SYSENTER.
 *
 * References: AMD64 APM volume 3 appendix E, SDM 2A CPUID, Linux Documentation/virt/kvm/x86/cpuid.rst.
 */
#include "machine/cpuid.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "machine/cpu.h"

#define BIT(n) (1u << (n))

/* Family 19h, model 1, stepping 1. */
#define SIGNATURE 0x00a00f11u

/*
 * What the model shows when the engine can do it.  Left out on purpose: MONITOR (a vCPU waits by HLT),
 * virtualization, performance counters, LA57 (a fifth table level costs and gives nothing here),
 * AVX-512 (not in x86-64-v3).
 */
#define F1_ECX                                                                                  \
	(BIT(0) | BIT(1) | BIT(9) | BIT(12) | BIT(13) | BIT(17) | BIT(19) | BIT(20) | BIT(21) | \
	 BIT(22) | BIT(23) | BIT(24) | BIT(25) | BIT(26) | BIT(28) | BIT(29) | BIT(30))
#define F1_EDX 0x078bfbffu /* FPU...SSE2: all but PSN, DS, ACPI, SS, HTT, TM, PBE */
#define F7_EBX                                                                              \
	(BIT(0) | BIT(1) | BIT(3) | BIT(5) | BIT(7) | BIT(8) | BIT(9) | BIT(10) | BIT(18) | \
	 BIT(19) | BIT(20) | BIT(23) | BIT(24) | BIT(29))
#define F7_ECX   (BIT(2) | BIT(8) | BIT(9) | BIT(10) | BIT(22))
#define F7_EDX   BIT(4)
#define FE1_ECX  (BIT(0) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8))
#define FE1_EDX  (BIT(11) | BIT(20) | BIT(22) | BIT(25) | BIT(26) | BIT(27) | BIT(29))
#define FE1_SAME 0x0183f3ffu /* bits of leaf 1 edx that AMD repeats in 0x80000001 edx */
#define FD1_EAX  0xfu
#define FE7_EDX  BIT(8) /* invariant TSC */
/*
 * x87 error pointers are always saved and restored (2), so that systems need not clear them by hand; IBPB
 * (12), IBRS (14), STIBP (15), always on (16, 17), preferred (18); SSBD (24); not affected by speculative
 * store bypass (26) and branch type confusion (29)
 */
#define FE8_EBX                                                                                   \
	(BIT(2) | BIT(12) | BIT(14) | BIT(15) | BIT(16) | BIT(17) | BIT(18) | BIT(24) | BIT(26) | \
	 BIT(29))
/*
 * LFENCE serializes (2), a null selector clears the base (6), Automatic IBRS (8), no speculative return
 * stack overflow (29); ecx: no transient scheduler attacks (1, 2)
 */
#define FE21_EAX (BIT(2) | BIT(6) | BIT(8) | BIT(29))
#define FE21_ECX (BIT(1) | BIT(2))
#define XCR0_V3  7ull /* x87, SSE, AVX */

#define F1_ECX_XSAVE      BIT(26)
#define F1_ECX_OSXSAVE    BIT(27)
#define F1_ECX_AVX        BIT(28)
#define F1_ECX_HYPERVISOR BIT(31)
#define F1_EDX_HTT        BIT(28)
#define FD1_COMPACT       (BIT(1) | BIT(3)) /* XSAVEC, XSAVES */

/* State components of the standard format (SDM 1 13.5). */
static const struct {
	uint16_t offset, size;
} component[] = {
	[0] = {0, 160},     /* x87, with the header: 576 together */
	[1] = {160, 416},   /* SSE */
	[2] = {576, 256},   /* AVX */
	[5] = {1088, 64},   /* opmask */
	[6] = {1152, 512},  /* ZMM_Hi256 */
	[7] = {1664, 1024}, /* Hi16_ZMM */
	[9] = {2688, 8},    /* PKRU */
};
#define XSAVE_LEGACY 576u /* with the header */

static uint32_t xsave_size(uint64_t xcr0, bool compact)
{
	uint32_t size = XSAVE_LEGACY;

	for (unsigned i = 2; i < ARRAY_LEN(component); i++)
		if (xcr0 & 1ull << i)
			size = compact ? size + component[i].size
			               : MAX(size, component[i].offset + component[i].size);
	return size;
}

static void add(struct cpuid_model *m, struct cpuid_leaf l)
{
	assert(m->n < CPUID_LEAVES_MAX);
	m->leaf[m->n++] = l;
}

/* Bits that number `cpus` processors take in an APIC id. */
static unsigned id_bits(unsigned cpus)
{
	unsigned bits = 0;

	while (1u << bits < cpus)
		bits++;
	return bits;
}

static void add_basic(struct cpuid_model *m, const struct cpuid_wish *w)
{
	uint32_t ecx = w->f1_ecx & F1_ECX;

	add(m, (struct cpuid_leaf){0, .eax = 0x16, .ebx = 0x68747541, .edx = 0x69746e65,
	                           .ecx = 0x444d4163}); /* AuthenticAMD */
	if (w->pv_features)
		ecx |= F1_ECX_HYPERVISOR;
	/* ebx: CLFLUSH 8 quadwords, logical processors; the APIC id comes at lookup */
	add(m, (struct cpuid_leaf){1, .eax = SIGNATURE, .ebx = 8 << 8 | MIN(w->cpus, 255u) << 16,
	                           .ecx = ecx,
	                           .edx = (w->f1_edx & F1_EDX) | (w->cpus > 1 ? F1_EDX_HTT : 0)});
	add(m, (struct cpuid_leaf){6, .eax = BIT(2)}); /* the APIC timer always runs */
	add(m, (struct cpuid_leaf){7, 0, true, 0, w->f7_ebx & F7_EBX, w->f7_ecx & F7_ECX,
	                           w->f7_edx & F7_EDX});
	add(m, (struct cpuid_leaf){0xb, 0, true, 0, 1, 0x100, 0});
	add(m, (struct cpuid_leaf){0xb, 1, true, id_bits(w->cpus), w->cpus, 0x201, 0});
	add(m, (struct cpuid_leaf){0xb, 2, true, 0, 0, 2, 0});
	/* The TSC from a crystal of the APIC timer's frequency: khz * 1000 = ecx * ebx / eax */
	add(m, (struct cpuid_leaf){0x15, .eax = CPUID_APIC_BUS_KHZ, .ebx = (uint32_t)w->tsc_khz,
	                           .ecx = CPUID_APIC_BUS_KHZ * 1000u});
	add(m, (struct cpuid_leaf){0x16, .eax = (uint32_t)(w->tsc_khz / 1000),
	                           .ebx = (uint32_t)(w->tsc_khz / 1000), .ecx = 100});
}

static void add_xsave(struct cpuid_model *m, const struct cpuid_wish *w)
{
	uint64_t xcr0 = w->xcr0 & XCR0_V3;
	uint32_t eax = w->fd1_eax & FD1_EAX;

	if (!(w->f1_ecx & F1_ECX_XSAVE))
		return;
	if (!(w->f1_ecx & F1_ECX_AVX))
		xcr0 &= ~4ull;
	/* ebx of 0 and 1 comes at lookup */
	add(m, (struct cpuid_leaf){0xd, 0, true, (uint32_t)xcr0, 0, xsave_size(xcr0, false),
	                           (uint32_t)(xcr0 >> 32)});
	add(m, (struct cpuid_leaf){0xd, 1, true, eax, 0, 0, 0});
	for (unsigned i = 2; i < ARRAY_LEN(component); i++)
		if (xcr0 & 1ull << i)
			add(m, (struct cpuid_leaf){0xd, i, true, component[i].size,
			                           component[i].offset, 0, 0});
}

static void add_hypervisor(struct cpuid_model *m, const struct cpuid_wish *w)
{
	if (!w->pv_features)
		return;
	add(m, (struct cpuid_leaf){0x40000000, .eax = 0x40000010, .ebx = 0x4b4d564b,
	                           .ecx = 0x564b4d56, .edx = 0x4d}); /* KVMKVMKVM */
	add(m, (struct cpuid_leaf){0x40000001, .eax = w->pv_features});
	add(m, (struct cpuid_leaf){0x40000010, .eax = (uint32_t)w->tsc_khz,
	                           .ebx = CPUID_APIC_BUS_KHZ});
}

static void add_brand(struct cpuid_model *m)
{
	char brand[48] = "Casulo virtual CPU";
	uint32_t word[12];

	memcpy(word, brand, sizeof(word));
	for (unsigned i = 0; i < 3; i++)
		add(m, (struct cpuid_leaf){0x80000002 + i, 0, false, word[4 * i], word[4 * i + 1],
		                           word[4 * i + 2], word[4 * i + 3]});
}

/* Leaf 0x8000001d: eax type | level << 5 | self-initializing | sharers - 1, 64-byte lines. */
static void add_cache(struct cpuid_model *m, unsigned sub, unsigned type, unsigned level,
                      unsigned ways, unsigned kib, unsigned sharers)
{
	add(m, (struct cpuid_leaf){0x8000001d, sub, true,
	                           type | level << 5 | BIT(8) | (sharers - 1) << 14,
	                           63 | (ways - 1) << 22, kib * 1024 / 64 / ways - 1, 0});
}

static void add_extended(struct cpuid_model *m, const struct cpuid_wish *w)
{
	uint32_t fe1_ecx = (w->fe1_ecx & FE1_ECX) | BIT(22); /* TOPOEXT */
	uint32_t fe1_edx = (w->fe1_edx & FE1_EDX) | (w->f1_edx & F1_EDX & FE1_SAME);

	if (w->cpus > 1)
		fe1_ecx |= BIT(1); /* CMP_LEGACY: cores, not threads */
	add(m, (struct cpuid_leaf){0x80000000, .eax = 0x80000021, .ebx = 0x68747541,
	                           .edx = 0x69746e65, .ecx = 0x444d4163});
	add(m, (struct cpuid_leaf){0x80000001, .eax = SIGNATURE, .ecx = fe1_ecx, .edx = fe1_edx});
	add_brand(m);
	/* L1: 32 KiB, 8 ways, 64-byte lines; TLBs fully associative, 64 entries */
	add(m, (struct cpuid_leaf){0x80000005, .eax = 0xff40ff40, .ebx = 0xff40ff40,
	                           .ecx = 32 << 24 | 8 << 16 | 1 << 8 | 64,
	                           .edx = 32 << 24 | 8 << 16 | 1 << 8 | 64});
	/* L2: 512 KiB, 8 ways; L3: 64 units of 512 KiB, 16 ways */
	add(m, (struct cpuid_leaf){0x80000006, .ecx = 512 << 16 | 6 << 12 | 1 << 8 | 64,
	                           .edx = 64 << 18 | 8 << 12 | 1 << 8 | 64});
	add(m, (struct cpuid_leaf){0x80000007, .edx = w->fe7_edx & FE7_EDX});
	add(m, (struct cpuid_leaf){0x80000008, .eax = w->phys_bits | 48 << 8,
	                           .ebx = w->fe8_ebx & FE8_EBX,
	                           .ecx = (w->cpus - 1) | id_bits(w->cpus) << 12});
	add_cache(m, 0, 1, 1, 8, 32, 1);
	add_cache(m, 1, 2, 1, 8, 32, 1);
	add_cache(m, 2, 3, 2, 8, 512, 1);
	add_cache(m, 3, 3, 3, 16, 32 * 1024, w->cpus);
	add(m, (struct cpuid_leaf){0x8000001d, 4, true});
	add(m, (struct cpuid_leaf){0x8000001e}); /* ids come at lookup */
	add(m, (struct cpuid_leaf){0x80000021, .eax = w->fe21_eax & FE21_EAX,
	                           .ecx = w->fe21_ecx & FE21_ECX});
}

void cpuid_model_make(struct cpuid_model *m, const struct cpuid_wish *w)
{
	memset(m, 0, sizeof(*m));
	snprintf(m->name, sizeof(m->name), "casulo-v3");
	add_basic(m, w);
	add_xsave(m, w);
	add_hypervisor(m, w);
	add_extended(m, w);
}

static const struct cpuid_leaf *find(const struct cpuid_model *m, uint32_t leaf, uint32_t subleaf)
{
	for (unsigned i = 0; i < m->n; i++) {
		const struct cpuid_leaf *l = &m->leaf[i];

		if (l->leaf == leaf && (!l->by_subleaf || l->subleaf == subleaf))
			return l;
	}
	return NULL;
}

struct cpuid_leaf *cpuid_model_find(struct cpuid_model *m, uint32_t leaf, uint32_t subleaf)
{
	return (struct cpuid_leaf *)find(m, leaf, subleaf);
}

void cpuid_lookup(const struct cpuid_model *m, unsigned id, uint64_t cr4, uint64_t xcr0,
                  uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	const struct cpuid_leaf *l = find(m, leaf, subleaf);

	memset(out, 0, 4 * sizeof(out[0]));
	if (l) {
		out[0] = l->eax;
		out[1] = l->ebx;
		out[2] = l->ecx;
		out[3] = l->edx;
	}
	switch (leaf) {
	case 1:
		out[1] |= id << 24;
		if (cr4 & CR4_OSXSAVE)
			out[2] |= F1_ECX_OSXSAVE;
		break;
	case 0xb:
		/* Beyond the last level only the level's number comes back. */
		out[2] |= subleaf & 0xff;
		out[3] = id;
		break;
	case 0xd:
		if (l && subleaf == 0)
			out[1] = xsave_size(xcr0, false);
		else if (l && subleaf == 1 && out[0] & FD1_COMPACT)
			out[1] = xsave_size(xcr0, true);
		break;
	case 0x8000001e:
		out[0] = id;
		out[1] = id & 0xff; /* core id, one thread each */
		break;
	}
}
