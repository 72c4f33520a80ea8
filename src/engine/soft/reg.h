/* General registers of an op by size: 32-bit writes clear the upper half, 8 and 16 keep the rest. */
#ifndef ENGINE_SOFT_REG_H
#define ENGINE_SOFT_REG_H

#include "engine/soft/soft.h"

static inline uint8_t *reg8(struct soft_cpu *c, unsigned r, bool high)
{
	return (uint8_t *)&c->gpr[r] + high;
}

static inline uint64_t reg_get(struct soft_cpu *c, unsigned r, unsigned size, bool high)
{
	switch (size) {
	case 1:
		return *reg8(c, r, high);
	case 2:
		return (uint16_t)c->gpr[r];
	case 4:
		return (uint32_t)c->gpr[r];
	default:
		return c->gpr[r];
	}
}

static inline void reg_set(struct soft_cpu *c, unsigned r, unsigned size, bool high, uint64_t v)
{
	switch (size) {
	case 1:
		*reg8(c, r, high) = (uint8_t)v;
		break;
	case 2:
		c->gpr[r] = (c->gpr[r] & ~0xffffull) | (uint16_t)v;
		break;
	case 4:
		c->gpr[r] = (uint32_t)v;
		break;
	default:
		c->gpr[r] = v;
	}
}

#endif
