/*
 * Guest memory as instructions see it: linear addresses through the software TLB.
 *
 * soft_ld and soft_st are for the current privilege; the _sys forms are the processor's own accesses
 * to descriptor tables, TSS and stacks of inner rings (always supervisor).  All may raise #PF, #GP
 * (non-canonical), #AC; store c->op first.  Any alignment; page-crossing accesses are exact: nothing
 * is written unless both pages allow it.  MMIO goes to machine_mmio_*.
 */
#ifndef ENGINE_SOFT_MEM_H
#define ENGINE_SOFT_MEM_H

#include "engine/soft/soft.h"

/* Slow paths, mmu.c.  user: check as CPL 3. */
uint64_t mmu_load(struct soft_cpu *c, gva_t va, unsigned size, bool user);
void mmu_store(struct soft_cpu *c, gva_t va, unsigned size, uint64_t value, bool user);
/* Checks without accessing: raises as a load (write: store) of len bytes (any length) would. */
void mmu_check(struct soft_cpu *c, gva_t va, uint64_t len, bool write, bool user);
/* Any length, for FXSAVE and the like: all or nothing. */
void mmu_load_bytes(struct soft_cpu *c, gva_t va, void *buf, unsigned len, bool user);
void mmu_store_bytes(struct soft_cpu *c, gva_t va, const void *buf, unsigned len, bool user);
/*
 * For read-modify-write: a host pointer to size bytes of RAM that are writable now, or NULL (MMIO, ROM,
 * code page, page-crossing): then use mmu_load, compute, mmu_store.  Raises as a store would.
 */
void *mmu_rmw(struct soft_cpu *c, gva_t va, unsigned size, bool user);
/*
 * Where mmu_rmw() says NULL: memory = fn(c, op, memory), under the lock that all such accesses take.
 * fn doesn't raise.
 */
typedef uint64_t mmu_modify_fn(struct soft_cpu *c, const struct op *op, uint64_t old);
void mmu_modify(struct soft_cpu *c, const struct op *op, gva_t va, unsigned size, bool user,
                mmu_modify_fn *fn);
/* Guest's physical address as the tables say; false: not mapped.  Never raises, sets no A or D. */
bool mmu_translate(struct soft_cpu *c, gva_t va, gpa_t *out);

static inline struct tlb_entry *tlb_entry(struct soft_cpu *c, gva_t va)
{
	return &c->tlb->e[va >> PAGE_SHIFT & (TLB_SIZE - 1)];
}

static inline struct tlb_entry *tlb_entry_sys(struct soft_cpu *c, gva_t va)
{
	return &c->tlbs[0].e[va >> PAGE_SHIFT & (TLB_SIZE - 1)];
}

/* Where size bytes lie in host memory when the TLB knows it and one page has them all; else NULL. */
static inline void *soft_read_ptr(struct soft_cpu *c, gva_t va, unsigned size)
{
	const struct tlb_entry *e = tlb_entry(c, va);

	return likely(((va + size - 1) & PAGE_MASK) == e->read) ? (void *)(e->addend + va) : NULL;
}

static inline void *soft_write_ptr(struct soft_cpu *c, gva_t va, unsigned size)
{
	const struct tlb_entry *e = tlb_entry(c, va);

	return likely(((va + size - 1) & PAGE_MASK) == e->write) ? (void *)(e->addend + va) : NULL;
}

/* A TLB hit with all bytes in one page; c->tlb is the one for the current privilege. */
#define SOFT_MEM(bits)                                                                         \
	static inline uint##bits##_t soft_ld##bits(struct soft_cpu *c, gva_t va)               \
	{                                                                                      \
		struct tlb_entry *e = tlb_entry(c, va);                                        \
                                                                                               \
		if (likely(((va + bits / 8 - 1) & PAGE_MASK) == e->read)) {                    \
			uint##bits##_t v;                                                      \
			__builtin_memcpy(&v, (void *)(e->addend + va), sizeof(v));             \
			return v;                                                              \
		}                                                                              \
		return (uint##bits##_t)mmu_load(c, va, bits / 8, c->cpl == 3);                 \
	}                                                                                      \
	static inline void soft_st##bits(struct soft_cpu *c, gva_t va, uint##bits##_t v)       \
	{                                                                                      \
		struct tlb_entry *e = tlb_entry(c, va);                                        \
                                                                                               \
		if (likely(((va + bits / 8 - 1) & PAGE_MASK) == e->write)) {                   \
			__builtin_memcpy((void *)(e->addend + va), &v, sizeof(v));             \
			return;                                                                \
		}                                                                              \
		mmu_store(c, va, bits / 8, v, c->cpl == 3);                                    \
	}                                                                                      \
	static inline uint##bits##_t soft_ld##bits##_sys(struct soft_cpu *c, gva_t va)         \
	{                                                                                      \
		struct tlb_entry *e = tlb_entry_sys(c, va);                                    \
                                                                                               \
		if (likely(((va + bits / 8 - 1) & PAGE_MASK) == e->read)) {                    \
			uint##bits##_t v;                                                      \
			__builtin_memcpy(&v, (void *)(e->addend + va), sizeof(v));             \
			return v;                                                              \
		}                                                                              \
		return (uint##bits##_t)mmu_load(c, va, bits / 8, false);                       \
	}                                                                                      \
	static inline void soft_st##bits##_sys(struct soft_cpu *c, gva_t va, uint##bits##_t v) \
	{                                                                                      \
		struct tlb_entry *e = tlb_entry_sys(c, va);                                    \
                                                                                               \
		if (likely(((va + bits / 8 - 1) & PAGE_MASK) == e->write)) {                   \
			__builtin_memcpy((void *)(e->addend + va), &v, sizeof(v));             \
			return;                                                                \
		}                                                                              \
		mmu_store(c, va, bits / 8, v, false);                                          \
	}

SOFT_MEM(8)
SOFT_MEM(16)
SOFT_MEM(32)
SOFT_MEM(64)
#undef SOFT_MEM

/* mmu_linear() where the segment's limit and type are to be checked. */
gva_t mmu_linear_checked(struct soft_cpu *c, unsigned seg, uint64_t offset, unsigned len,
                         bool write);

/*
 * The linear address of len bytes at an offset in a segment: operands, stack pushes, CS fetches.  64-bit
 * code and flat segments need no checks; otherwise #GP or #SS are raised (write: as for a store).
 */
static inline gva_t mmu_linear(struct soft_cpu *c, unsigned seg, uint64_t offset, unsigned len,
                               bool write)
{
	if ((c->mode & MODE_BITS) == MODE_64)
		return c->seg_base[seg] + offset;
	if (likely((c->mode & MODE_FLAT) && seg <= CPU_DS && (seg != CPU_CS || !write) &&
	           offset + len - 1 <= 0xffffffffu))
		return offset;
	return mmu_linear_checked(c, seg, offset, len, write);
}

/* Offset in the segment, wrapped to the address size (LEA). */
static inline uint64_t op_offset(const struct soft_cpu *c, const struct op *op)
{
	uint64_t a = c->gpr[op->base] + (c->gpr[op->index] << op->scale) + (int64_t)op->disp;

	if (likely(op->asize == 8))
		return a;
	return op->asize == 4 ? (uint32_t)a : (uint16_t)a;
}

/* The linear address of op's memory operand for an access of len bytes. */
static inline gva_t op_ea(struct soft_cpu *c, const struct op *op, unsigned len, bool write)
{
	if (likely((c->mode & MODE_BITS) == MODE_64))
		return op_offset(c, op) + c->seg_base[op->seg];
	c->op = op;
	return mmu_linear(c, op->seg, op_offset(c, op), len, write);
}

#endif
