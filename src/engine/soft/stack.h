/* Pushing and popping for near instructions: the stack's address size, SS checks in segmented code. */
#ifndef ENGINE_SOFT_STACK_H
#define ENGINE_SOFT_STACK_H

#include "engine/soft/int.h"

static inline uint64_t stack_mask(const struct soft_cpu *c)
{
	if ((c->mode & MODE_BITS) == MODE_64)
		return ~0ull;
	return c->mode & MODE_STACK32 ? 0xffffffffull : 0xffffull;
}

static inline void stack_set(struct soft_cpu *c, uint64_t sp)
{
	uint64_t mask = stack_mask(c);

	/* A 32-bit stack pointer clears the upper half, a 16-bit one keeps the rest. */
	if (mask == 0xffff)
		c->gpr[CPU_RSP] = (c->gpr[CPU_RSP] & ~mask) | (sp & mask);
	else
		c->gpr[CPU_RSP] = sp & mask;
}

static inline bool stack_canonical(uint64_t a)
{
	return (int64_t)(a << 16) >> 16 == (int64_t)a;
}

/* Linear address of [RSP + by]. */
static inline gva_t stack_at(struct soft_cpu *c, int64_t by, unsigned len, bool write)
{
	uint64_t sp = (c->gpr[CPU_RSP] + (uint64_t)by) & stack_mask(c);

	if (likely((c->mode & MODE_BITS) == MODE_64)) {
		/* An op that also has a memory operand could not tell whose fault it is. */
		if (unlikely(!stack_canonical(sp) || !stack_canonical(sp + len - 1)))
			soft_fault_error(c, EXC_SS, 0);
		return sp;
	}
	return mmu_linear(c, CPU_SS, sp, len, write);
}

static inline void stack_push(struct soft_cpu *c, unsigned size, uint64_t v)
{
	mem_put(c, stack_at(c, -(int64_t)size, size, true), size, v);
	stack_set(c, c->gpr[CPU_RSP] - size);
}

/* Reads without moving the pointer: stack_set() follows when nothing can fail any more. */
static inline uint64_t stack_peek(struct soft_cpu *c, int64_t by, unsigned size)
{
	return mem_get(c, stack_at(c, by, size, false), size);
}

#endif
