/*
 * Arithmetic flags as LAHF and SETO leave them, so that the host's own instructions compute them:
 *
 *	bit   15 14 13 12 11 10  9  8 | 7..1 | 0
 *	      SF ZF  0 AF  0 PF  1 CF |  0   | OF
 */
#ifndef ENGINE_SOFT_FLAGS_H
#define ENGINE_SOFT_FLAGS_H

#include "engine/soft/soft.h"

#define AF_CF (1u << 8)
#define AF_PF (1u << 10)
#define AF_AF (1u << 12)
#define AF_ZF (1u << 14)
#define AF_SF (1u << 15)
#define AF_OF 1u

static inline uint32_t flags_arith(uint16_t aflags)
{
	return (aflags >> 8 & (FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF | FLAG_CF)) | (aflags & 1u)
	                                                                                   << 11;
}

static inline uint16_t flags_pack(uint32_t eflags)
{
	return (uint16_t)((eflags & 0xd5) << 8 | 0x200 | (eflags >> 11 & 1));
}

/* The whole RFLAGS. */
static inline uint32_t flags_get(const struct soft_cpu *c)
{
	return c->eflags | flags_arith(c->aflags);
}

/* Sets all flags; the caller has done the privilege checks, and soft_mode_update() if TF or VM change. */
static inline void flags_set(struct soft_cpu *c, uint32_t eflags)
{
	c->aflags = flags_pack(eflags);
	c->eflags = (eflags & ~FLAGS_ARITH & 0x3f7fd5) | FLAG_FIXED;
}

#endif
