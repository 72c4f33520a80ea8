/*
 * RDMSR and WRMSR.  Where an MSR lives: here (the processor's own), in the local APIC (intc), in
 * pv.c, or nowhere: registers of AMD's that systems read or set without asking CPUID have a fixed
 * value and swallow writes.  All others raise #GP.
 */
#include <errno.h>

#include "base/log.h"
#include "engine/soft/decode.h"
#include "engine/soft/msr.h"
#include "engine/soft/sys.h"

#define MTRR_CAP       0x508ull /* 8 variable ranges, fixed ranges, write-combining */
#define MTRR_DEF_VALID 0xcffull
#define MISC_ENABLE_RW ((1ull << 0) | (1ull << 3) | (1ull << 18) | (1ull << 22) | (1ull << 34))
#define DEBUG_CTL_BITS 0x3ull       /* LBR, BTF: no branches are recorded, so nothing follows */
#define HWCR_TSC_P0    (1ull << 24) /* the TSC counts at the highest frequency */
#define DE_CFG_LFENCE  (1ull << 1)  /* LFENCE serializes */
#define PATCH_LEVEL    0x0a0011d5ull

/* Registers that hold no state. */
static const struct {
	uint32_t first, last;
	uint64_t value;
} constant[] = {
	{MSR_P5_MC_ADDR, MSR_P5_MC_TYPE, 0},
	{MSR_PLATFORM_ID, MSR_PLATFORM_ID, 0},
	{MSR_UPDATE_TRIGGER, MSR_UPDATE_TRIGGER, 0},
	{MSR_UPDATE_SIGNATURE, MSR_UPDATE_SIGNATURE, PATCH_LEVEL},
	{MSR_MCG_STATUS, MSR_MCG_STATUS, 0},
	{MSR_K7_EVENT, MSR_K7_COUNTER_END, 0},
	{MSR_SYSCFG, MSR_SYSCFG, 0},
	{MSR_HWCR, MSR_HWCR, HWCR_TSC_P0},
	{MSR_TOP_MEM, MSR_TOP_MEM, 0},
	{MSR_TOP_MEM2, MSR_TOP_MEM2, 0},
	{MSR_NB_CFG, MSR_NB_CFG, 0},
	{MSR_PATCH_LOADER, MSR_PATCH_LOADER, 0},
	{MSR_INT_PENDING, MSR_INT_PENDING, 0},
	{MSR_LS_CFG, MSR_LS_CFG, 0},
	{MSR_IC_CFG, MSR_IC_CFG, 0},
	{MSR_DC_CFG, MSR_DC_CFG, 0},
	{MSR_DE_CFG, MSR_DE_CFG, DE_CFG_LFENCE},
	{MSR_BU_CFG2, MSR_BU_CFG2, 0},
};

/* 0 and its value, or -ENOENT. */
static int read_constant(uint32_t msr, uint64_t *value)
{
	for (unsigned i = 0; i < ARRAY_LEN(constant); i++) {
		if (msr < constant[i].first || msr > constant[i].last)
			continue;
		*value = constant[i].value;
		return 0;
	}
	return -ENOENT;
}

static bool is_apic(uint32_t msr)
{
	return msr == MSR_APIC_BASE || msr == MSR_TSC_DEADLINE ||
	       (msr >= MSR_X2APIC && msr <= MSR_X2APIC_END);
}

/* Index into mtrr_fixed, or -1. */
static int mtrr_fixed(uint32_t msr)
{
	if (msr == MSR_MTRR_FIX64K)
		return 0;
	if (msr == MSR_MTRR_FIX16K || msr == MSR_MTRR_FIX16K + 1)
		return (int)(1 + msr - MSR_MTRR_FIX16K);
	if (msr >= MSR_MTRR_FIX4K && msr <= MSR_MTRR_FIX4K_END)
		return (int)(3 + msr - MSR_MTRR_FIX4K);
	return -1;
}

/* Where an MTRR is kept, or NULL. */
static uint64_t *mtrr(struct soft_cpu *c, uint32_t msr)
{
	int fixed = mtrr_fixed(msr);

	if (fixed >= 0)
		return &c->mtrr_fixed[fixed];
	if (msr == MSR_MTRR_DEF)
		return &c->mtrr_def;
	if (msr < MSR_MTRR_BASE0 || msr > MSR_MTRR_END)
		return NULL;
	return msr & 1 ? &c->mtrr_mask[(msr - MSR_MTRR_BASE0) / 2]
	               : &c->mtrr_base[(msr - MSR_MTRR_BASE0) / 2];
}

/* Are all bytes of v memory types, those of the mask? */
static bool types_valid(uint64_t v, unsigned mask)
{
	for (unsigned i = 0; i < 8; i++) {
		unsigned type = v >> (8 * i) & 0xff;

		if (type > 7 || !(mask >> type & 1))
			return false;
	}
	return true;
}

#define MTRR_TYPES 0x73u /* UC WC WT WP WB */
#define PAT_TYPES  0xf3u /* and UC- */

/* Memory types have no effect: the host's memory is write-back. */
static int mtrr_write(struct soft_cpu *c, uint32_t msr, uint64_t v)
{
	bool ok;

	if (mtrr_fixed(msr) >= 0)
		ok = types_valid(v, MTRR_TYPES);
	else if (msr == MSR_MTRR_DEF)
		ok = (v & ~MTRR_DEF_VALID) == 0 && types_valid(v & 0xff, MTRR_TYPES);
	else if (msr & 1)
		ok = (v & (c->run->phys_mask | 0x7ff)) == 0 && v >> 52 == 0;
	else
		ok = (v & (c->run->phys_mask | 0xf00)) == 0 && v >> 52 == 0 &&
		     types_valid(v & 0xff, MTRR_TYPES);
	if (!ok)
		return -EINVAL;
	*mtrr(c, msr) = v;
	return 0;
}

static uint64_t efer_valid(const struct soft_cpu *c)
{
	uint32_t edx = sys_cpuid(c, 0x80000001, 0).edx;
	uint64_t v = EFER_LMA;

	v |= edx & 1u << 11 ? EFER_SCE : 0;
	v |= edx & 1u << 20 ? EFER_NXE : 0;
	v |= edx & 1u << 25 ? EFER_FFXSR : 0;
	v |= edx & 1u << 29 ? EFER_LME : 0;
	v |= sys_cpuid(c, 0x80000021, 0).eax & 1u << 8 ? EFER_AUTOIBRS : 0;
	return v;
}

static int efer_write(struct soft_cpu *c, uint64_t v)
{
	uint64_t changed;

	if (v & ~efer_valid(c))
		return -EINVAL;
	v = (v & ~EFER_LMA) | (c->efer & EFER_LMA);
	changed = v ^ c->efer;
	if ((changed & EFER_LME) && (c->cr0 & CR0_PG))
		return -EINVAL;
	c->efer = v;
	if (changed & EFER_NXE)
		soft_tlb_flush(c, false);
	return 0;
}

static int set_if(uint64_t *to, uint64_t v, bool ok)
{
	if (!ok)
		return -EINVAL;
	*to = v;
	return 0;
}

static int base_write(struct soft_cpu *c, unsigned seg, uint64_t v)
{
	if (!seg_canonical(v))
		return -EINVAL;
	c->seg[seg].base = v;
	if ((c->mode & MODE_BITS) == MODE_64)
		sys_base_set(c, seg, v);
	return 0;
}

/* Those of system calls, segments and time. */
static int write_known(struct soft_cpu *c, uint32_t msr, uint64_t v)
{
	switch (msr) {
	case MSR_TSC:
		sys_tsc_set(c, v);
		return 0;
	case MSR_TSC_ADJUST:
		sys_tsc_set(c, sys_tsc(c) + v - c->tsc_adjust);
		return 0;
	case MSR_TSC_AUX:
		return set_if(&c->tsc_aux, v, v >> 32 == 0);
	case MSR_SYSENTER_CS:
		c->sysenter_cs = v & 0xffff;
		return 0;
	case MSR_SYSENTER_ESP:
		return set_if(&c->sysenter_esp, v, seg_canonical(v));
	case MSR_SYSENTER_EIP:
		return set_if(&c->sysenter_eip, v, seg_canonical(v));
	case MSR_MISC_ENABLE:
		return set_if(&c->misc_enable, v, (v & ~MISC_ENABLE_RW) == 0);
	case MSR_DEBUG_CTL:
		return v & ~DEBUG_CTL_BITS ? -EINVAL : 0;
	case MSR_PAT:
		return set_if(&c->pat, v, types_valid(v, PAT_TYPES));
	case MSR_EFER:
		return efer_write(c, v);
	case MSR_STAR:
		c->star = v;
		return 0;
	case MSR_LSTAR:
		return set_if(&c->lstar, v, seg_canonical(v));
	case MSR_CSTAR:
		return set_if(&c->cstar, v, seg_canonical(v));
	case MSR_FMASK:
		c->fmask = (uint32_t)v;
		return 0;
	case MSR_FS_BASE:
		return base_write(c, CPU_FS, v);
	case MSR_GS_BASE:
		return base_write(c, CPU_GS, v);
	case MSR_KERNEL_GS_BASE:
		return set_if(&c->kernel_gs_base, v, seg_canonical(v));
	default:
		return -ENOENT;
	}
}

static int read_known(struct soft_cpu *c, uint32_t msr, uint64_t *v)
{
	const struct {
		uint32_t msr;
		uint64_t value;
	} known[] = {
		{MSR_TSC_ADJUST, c->tsc_adjust},
		{MSR_TSC_AUX, c->tsc_aux},
		{MSR_SYSENTER_CS, c->sysenter_cs},
		{MSR_SYSENTER_ESP, c->sysenter_esp},
		{MSR_SYSENTER_EIP, c->sysenter_eip},
		{MSR_MISC_ENABLE, c->misc_enable},
		{MSR_DEBUG_CTL, 0},
		{MSR_LAST_BRANCH, 0},
		{MSR_LAST_BRANCH + 1, 0},
		{MSR_LAST_BRANCH + 2, 0},
		{MSR_LAST_BRANCH_END, 0},
		{MSR_MTRR_CAP, MTRR_CAP},
		{MSR_MCG_CAP, 0}, /* no banks */
		{MSR_PAT, c->pat},
		{MSR_EFER, c->efer},
		{MSR_STAR, c->star},
		{MSR_LSTAR, c->lstar},
		{MSR_CSTAR, c->cstar},
		{MSR_FMASK, c->fmask},
		{MSR_FS_BASE, c->seg[CPU_FS].base},
		{MSR_GS_BASE, c->seg[CPU_GS].base},
		{MSR_KERNEL_GS_BASE, c->kernel_gs_base},
		{MSR_TSC, sys_tsc(c)},
	};

	for (unsigned i = 0; i < ARRAY_LEN(known); i++) {
		if (known[i].msr != msr)
			continue;
		*v = known[i].value;
		return 0;
	}
	return -ENOENT;
}

/* XSS has no bits, and exists where XSAVES does. */
static bool has_xss(const struct soft_cpu *c)
{
	return sys_cpuid(c, 0xd, 1).eax & 1u << 3;
}

int sys_msr_read(struct soft_cpu *c, uint32_t msr, uint64_t *value)
{
	struct intc *ic = c->vcpu->intc;
	const uint64_t *m = mtrr(c, msr);
	int rc;

	if (is_apic(msr))
		return ic != NULL ? ic->ops->msr_read(ic, msr, value) : -EINVAL;
	if (m != NULL) {
		*value = *m;
		return 0;
	}
	if (msr == MSR_XSS && has_xss(c)) {
		*value = 0;
		return 0;
	}
	rc = read_known(c, msr, value);
	if (rc == -ENOENT)
		rc = pv_msr_read(c, msr, value);
	return rc == -ENOENT ? read_constant(msr, value) : rc;
}

int sys_msr_write(struct soft_cpu *c, uint32_t msr, uint64_t value)
{
	struct intc *ic = c->vcpu->intc;
	uint64_t ignored;
	int rc;

	if (is_apic(msr)) {
		rc = ic != NULL ? ic->ops->msr_write(ic, msr, value) : -EINVAL;
		sys_look(c);
		return rc;
	}
	if (mtrr(c, msr) != NULL)
		return mtrr_write(c, msr, value);
	if (msr == MSR_XSS && has_xss(c))
		return value == 0 ? 0 : -EINVAL;
	rc = write_known(c, msr, value);
	if (rc == -ENOENT)
		rc = pv_msr_write(c, msr, value);
	return rc == -ENOENT ? read_constant(msr, &ignored) : rc;
}

static NOINLINE void do_rdmsr(struct soft_cpu *c, const struct op *op)
{
	uint32_t msr = (uint32_t)c->gpr[CPU_RCX];
	uint64_t v;

	sys_ring0(c, op);
	if (sys_msr_read(c, msr, &v) < 0) {
		log_guest("read of MSR 0x%x at 0x%llx: refused", msr,
		          (unsigned long long)op_rip(c, op));
		sys_refuse(c);
	}
	sys_put_edx_eax(c, v);
}
OP_OF(rdmsr)

static void op_wrmsr(struct soft_cpu *c, const struct op *op)
{
	uint32_t msr = (uint32_t)c->gpr[CPU_RCX];

	sys_ring0(c, op);
	if (sys_msr_write(c, msr, sys_edx_eax(c)) < 0) {
		log_guest("write of 0x%llx to MSR 0x%x at 0x%llx: refused",
		          (unsigned long long)sys_edx_eax(c), msr,
		          (unsigned long long)op_rip(c, op));
		sys_refuse(c);
	}
	return sys_leave(c, op);
}

bool decode_sys_msr(const struct decoded *cd, struct op *op)
{
	struct decoded *d = (struct decoded *)cd; /* d->ends is an output */

	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_RDMSR:
		op->fn = op_rdmsr;
		return true;
	case ZYDIS_MNEMONIC_WRMSR:
		d->ends = true;
		op->fn = op_wrmsr;
		return true;
	default:
		return false;
	}
}
