/*
 * Segments: descriptors in GDT and LDT, loading of segment registers with the processor's checks (SDM
 * 3A 3.4 and 5), stacks of inner rings from the TSS.
 *
 * The seg_check_ functions raise what the processor raises and return a segment that is ready to be
 * loaded.  They change nothing but the descriptor's accessed bit, so a caller does all its checks
 * first, then assigns c->seg[...] and calls soft_mode_update().
 *
 * CPL is c->cpl, and always SS's DPL too: a null SS of 64-bit code keeps it in attr, with P = 0.
 */
#ifndef ENGINE_SOFT_SEG_H
#define ENGINE_SOFT_SEG_H

#include "engine/soft/soft.h"

/* A descriptor as it lies in its table. */
struct seg_desc {
	uint32_t lo, hi;
	uint16_t sel;
	uint16_t attr; /* as in struct cpu_seg */
	gva_t at;
};

/* Types of system descriptors (SDM 3A 3.5) */
enum seg_system {
	SEG_TSS16 = 1,
	SEG_LDT = 2,
	SEG_TSS16_BUSY = 3,
	SEG_CALL16 = 4,
	SEG_TASK_GATE = 5,
	SEG_INT16 = 6,
	SEG_TRAP16 = 7,
	SEG_TSS = 9, /* 32-bit, in long mode 64-bit; the same for the gates */
	SEG_TSS_BUSY = 11,
	SEG_CALL = 12,
	SEG_INT = 14,
	SEG_TRAP = 15,
};

static inline bool seg_is_null(uint16_t sel)
{
	return (sel & ~3u) == 0;
}

static inline bool seg_is_code(uint16_t attr)
{
	return (attr & (SEG_S | 8)) == (SEG_S | 8);
}

static inline bool seg_is_conforming(uint16_t attr)
{
	return (attr & (SEG_S | 0xc)) == (SEG_S | 0xc);
}

static inline bool seg_is_writable(uint16_t attr)
{
	return (attr & (SEG_S | 0xa)) == (SEG_S | 2);
}

static inline bool seg_is_readable(uint16_t attr)
{
	return (attr & SEG_S) && (!(attr & 8) || (attr & 2));
}

/* Real and virtual 8086 mode: selectors are paragraphs. */
static inline bool seg_is_real(const struct soft_cpu *c)
{
	return !(c->cr0 & CR0_PE) || (c->eflags & FLAG_VM);
}

static inline bool seg_is_long(const struct soft_cpu *c)
{
	return c->efer & EFER_LMA;
}

static inline bool seg_canonical(uint64_t a)
{
	return (int64_t)(a << 16) >> 16 == (int64_t)a;
}

/* A linear address the processor computes for itself: 32 bits outside of long mode. */
static inline gva_t seg_linear(const struct soft_cpu *c, uint64_t a)
{
	return seg_is_long(c) ? a : (uint32_t)a;
}

/* Are [offset, offset + len) within the segment's limit? */
static inline bool seg_within(const struct cpu_seg *s, uint64_t offset, unsigned len)
{
	uint64_t last = offset + len - 1;

	/* Expand-down data segments: valid above the limit. */
	if ((s->attr & (SEG_S | 0xc)) == (SEG_S | 0x4))
		return offset > s->limit && last <= (s->attr & SEG_DB ? 0xffffffffu : 0xffffu);
	return last <= s->limit;
}

/* Raises a fault whose error code names a selector. */
_Noreturn static inline void seg_fault(struct soft_cpu *c, enum cpu_exception vector, uint16_t sel)
{
	soft_fault_error(c, vector, sel & ~3u);
}

/* Reads a descriptor; false: outside of its table.  The null selector is the caller's business. */
bool seg_find(struct soft_cpu *c, uint16_t sel, struct seg_desc *d);
/* The segment that a descriptor describes. */
struct cpu_seg seg_unpack(const struct seg_desc *d);
/* The same for TSS and LDT, which have 16 bytes in long mode: raises #GP. */
struct cpu_seg seg_unpack_system(struct soft_cpu *c, const struct seg_desc *d);
/* Sets and clears type bits of a descriptor in memory: accessed (1), busy (2). */
void seg_mark(struct soft_cpu *c, struct seg_desc *d, unsigned set, unsigned clear);
/* An unusable segment for a null selector; dpl: CPL, for SS. */
struct cpu_seg seg_null(uint16_t sel, unsigned dpl);
/* A segment as real and virtual 8086 mode load it. */
struct cpu_seg seg_real(const struct soft_cpu *c, unsigned seg, uint16_t sel);

/* DS ES FS GS in protected mode; faults but #NP have the vector (#GP; #TS in a task switch). */
struct cpu_seg seg_check_data(struct soft_cpu *c, uint16_t sel, enum cpu_exception vector);
/* SS for CPL cpl, never null; faults but #SS have the vector. */
struct cpu_seg seg_check_stack(struct soft_cpu *c, uint16_t sel, unsigned cpl,
                               enum cpu_exception vector);
/* Any register but CS, in any mode, as MOV does. */
struct cpu_seg seg_check(struct soft_cpu *c, unsigned seg, uint16_t sel);

/* LLDT and LTR after their privilege checks: check and load. */
void seg_load_ldt(struct soft_cpu *c, uint16_t sel);
void seg_load_tr(struct soft_cpu *c, uint16_t sel);

/* SS and stack pointer for an inner ring from a 16- or 32-bit TSS, checked: #TS. */
void seg_inner_stack(struct soft_cpu *c, unsigned cpl, struct cpu_seg *ss, uint64_t *sp);
/* A stack pointer at offset (RSP0.., IST1..) of the 64-bit TSS: #TS. */
uint64_t seg_tss_rsp(struct soft_cpu *c, unsigned offset);

#endif
