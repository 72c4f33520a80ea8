/*
 * The x87, SSE and AVX state of a vCPU, and who may use it.
 *
 * c->xsave is a standard-format XSAVE area (SDM 1 13.4) that holds the registers' values whatever its
 * header's XSTATE_BV says: that is always all components.
 *
 *	  0  FCW FSW FTW(abridged) FOP FIP FDP MXCSR MASK
 *	 32  ST0..ST7 (16 bytes each; the MMX registers are the mantissas)
 *	160  XMM0..XMM15
 *	512  header: XSTATE_BV, XCOMP_BV
 *	576  upper halves of YMM0..YMM15
 */
#ifndef ENGINE_SOFT_FPU_H
#define ENGINE_SOFT_FPU_H

#include <string.h>
#include "engine/soft/decode.h"
#include "engine/soft/mem.h"

struct fpu_st {
	uint64_t mantissa;
	uint16_t exponent; /* and sign */
	uint8_t unused[6];
};

struct vec128 {
	uint64_t q[2];
} __attribute__((aligned(16)));

struct fpu_area {
	uint16_t fcw, fsw;
	uint8_t ftw, unused; /* a bit for each register in use */
	uint16_t fop;
	uint64_t fip, fdp;
	uint32_t mxcsr, mxcsr_mask;
	struct fpu_st st[8];
	struct vec128 xmm[16];
	uint8_t reserved[96];
	uint64_t xstate_bv, xcomp_bv, header[6];
	struct vec128 high[16];
};

#define FPU_AREA_SIZE 832 /* sizeof(struct fpu_area) */

#define FCW_INIT   0x037fu
#define FCW_FIXED  0x0040u /* reads as one */
#define FSW_ES     0x0080u /* an unmasked exception is pending */
#define FSW_B      0x8000u /* the same */
#define FSW_FLAGS  0x003fu
#define MXCSR_INIT 0x1f80u
#define MXCSR_MASK 0xffffu /* bits that exist */

#define XCR0_X87 1u
#define XCR0_SSE 2u
#define XCR0_AVX 4u
#define XCR0_ALL (XCR0_X87 | XCR0_SSE | XCR0_AVX)

static inline struct fpu_area *fpu_area(struct soft_cpu *c)
{
	return (struct fpu_area *)c->xsave;
}

/* Raise what forbids SSE (AVX) instructions now: #UD or #NM. */
_Noreturn void fpu_refuse_sse(struct soft_cpu *c);
_Noreturn void fpu_refuse_avx(struct soft_cpu *c);

/* May an SSE instruction run: CR0.EM, CR0.TS, CR4.OSFXSR (SDM 3A table 13-1)?  Store c->op first. */
static inline void fpu_check_sse(struct soft_cpu *c)
{
	if (unlikely((c->cr0 & (CR0_EM | CR0_TS)) || !(c->cr4 & CR4_OSFXSR)))
		fpu_refuse_sse(c);
}

/* Does VEX mean anything: protected mode, AVX enabled in XCR0? */
static inline bool fpu_avx_on(const struct soft_cpu *c)
{
	return (c->cr0 & CR0_PE) && (c->cr4 & CR4_OSXSAVE) &&
	       (c->xcr0 & (XCR0_SSE | XCR0_AVX)) == (XCR0_SSE | XCR0_AVX) && !(c->eflags & FLAG_VM);
}

static inline void fpu_check_avx(struct soft_cpu *c)
{
	if (unlikely((c->cr0 & CR0_TS) || !fpu_avx_on(c)))
		fpu_refuse_avx(c);
}

/* An unmasked x87 exception waits: #MF (with CR0.NE), or the PC's IRQ 13. */
void fpu_pending(struct soft_cpu *c);

static inline void fpu_check_mmx(struct soft_cpu *c)
{
	if (unlikely(c->cr0 & (CR0_EM | CR0_TS)))
		soft_fault(c, c->cr0 & CR0_EM ? EXC_UD : EXC_NM);
	if (unlikely(fpu_area(c)->fsw & FSW_ES))
		fpu_pending(c);
}

/*
 * Makes the x87 registers MMX registers: the stack's top is 0, all are in use.  The area holds them
 * from the top on, MMX instructions want them by number.
 */
void fpu_enter_mmx(struct soft_cpu *c);

/* The summary bits ES and B as the flags and masks make them. */
static inline uint16_t fpu_summary(uint16_t fsw, uint16_t fcw)
{
	fsw &= (uint16_t) ~(FSW_ES | FSW_B);
	return (uint16_t)(fsw & ~fcw & FSW_FLAGS ? fsw | FSW_ES | FSW_B : fsw);
}

/* The state came from elsewhere (a snapshot, another engine): makes of it what can be executed. */
void fpu_loaded(struct soft_cpu *c);
void fpu_x87_init(struct fpu_area *f); /* as FNINIT */

/*
 * Bytes of guest memory for op's current privilege, any length up to a page, through the TLB where
 * that is enough.  All or nothing.
 */
static inline void fpu_load(struct soft_cpu *c, gva_t va, void *buf, unsigned len)
{
	const struct tlb_entry *e = tlb_entry(c, va);

	if (likely(((va + len - 1) & PAGE_MASK) == e->read))
		memcpy(buf, (const void *)(e->addend + va), len);
	else
		mmu_load_bytes(c, va, buf, len, c->cpl == 3);
}

static inline void fpu_store(struct soft_cpu *c, gva_t va, const void *buf, unsigned len)
{
	const struct tlb_entry *e = tlb_entry(c, va);

	if (likely(((va + len - 1) & PAGE_MASK) == e->write))
		memcpy((void *)(e->addend + va), buf, len);
	else
		mmu_store_bytes(c, va, buf, len, c->cpl == 3);
}

/* FXSAVE, FXRSTOR, the XSAVE family, LDMXCSR, STMXCSR: fpu.c. */
bool decode_fpu(struct soft_cpu *c, const struct decoded *d, struct op *op);

#endif
