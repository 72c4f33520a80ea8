/*
 * System instructions: what their files share.
 *
 * An instruction that changes mode, paging, privilege or the interrupt flag ends its block and
 * leaves by sys_leave(), so that the dispatch loop looks around.  The others go on with op_next().
 */
#ifndef ENGINE_SOFT_SYS_H
#define ENGINE_SOFT_SYS_H

#include "engine/soft/far.h"
#include "machine/irq.h"

static inline void sys_leave(struct soft_cpu *c, const struct op *op)
{
	return far_leave(c, op, op_end(c, op));
}

_Noreturn static inline void sys_refuse(struct soft_cpu *c)
{
	soft_fault_error(c, EXC_GP, 0);
}

/* #GP(0) but at CPL 0; stores c->op. */
static inline void sys_ring0(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	if (c->cpl != 0)
		sys_refuse(c);
}

/* The 32-bit halves of a 64-bit value, as RDMSR, RDTSC and XGETBV return it. */
static inline void sys_put_edx_eax(struct soft_cpu *c, uint64_t v)
{
	c->gpr[CPU_RAX] = (uint32_t)v;
	c->gpr[CPU_RDX] = v >> 32;
}

static inline uint64_t sys_edx_eax(const struct soft_cpu *c)
{
	return (uint32_t)c->gpr[CPU_RAX] | c->gpr[CPU_RDX] << 32;
}

/* A feature word of the CPU model: zeros where the leaf is missing. */
static inline struct cpuid_leaf sys_cpuid(const struct soft_cpu *c, uint32_t leaf, uint32_t sub)
{
	const struct cpuid_leaf *l = cpuid_model_find(&c->machine->cpuid, leaf, sub);

	return l != NULL ? *l : (struct cpuid_leaf){0};
}

/* The local APIC may have something to deliver now: have the dispatch loop look. */
static inline void sys_look(struct soft_cpu *c)
{
	atomic_fetch_or(c->requests, VCPU_REQ_INTERRUPT);
}

/* sys_tsc.c: the guest's time stamp counter */
uint64_t sys_tsc(const struct soft_cpu *c);
void sys_tsc_set(struct soft_cpu *c, uint64_t tsc);

/* sys_base.c: bases of FS and GS; canonical */
void sys_base_set(struct soft_cpu *c, unsigned seg, uint64_t base);

/* sys_msr.c.  -EINVAL: #GP. */
int sys_msr_read(struct soft_cpu *c, uint32_t msr, uint64_t *value);
int sys_msr_write(struct soft_cpu *c, uint32_t msr, uint64_t value);

/* By file; all are called by decode_system(). */
bool decode_sys_control(const struct decoded *d, struct op *op);
bool decode_sys_debug(const struct decoded *d, struct op *op);
bool decode_sys_table(const struct decoded *d, struct op *op);
bool decode_sys_msr(const struct decoded *d, struct op *op);
bool decode_sys_tsc(const struct decoded *d, struct op *op);
bool decode_sys_base(const struct decoded *d, struct op *op);
bool decode_sys_io(const struct decoded *d, struct op *op);
bool decode_sys_tlb(const struct decoded *d, struct op *op);

#endif
