/* The time stamp counter: the host's and an offset.  Performance counters: there are none. */
#include <x86intrin.h>

#include "engine/soft/decode.h"
#include "engine/soft/sys.h"

uint64_t sys_tsc(const struct soft_cpu *c)
{
	return __rdtsc() + (uint64_t)c->tsc_offset;
}

void sys_tsc_set(struct soft_cpu *c, uint64_t tsc)
{
	int64_t by = (int64_t)(tsc - sys_tsc(c));

	c->tsc_offset += by;
	c->tsc_adjust += (uint64_t)by;
	pv_resumed(c); /* the clock page names TSC values */
}

static void check_tsd(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	if ((c->cr4 & CR4_TSD) && c->cpl != 0)
		sys_refuse(c);
}

static void op_rdtsc(struct soft_cpu *c, const struct op *op)
{
	check_tsd(c, op);
	sys_put_edx_eax(c, sys_tsc(c));
	return op_next(c, op);
}

static void op_rdtscp(struct soft_cpu *c, const struct op *op)
{
	check_tsd(c, op);
	sys_put_edx_eax(c, sys_tsc(c));
	c->gpr[CPU_RCX] = (uint32_t)c->tsc_aux;
	return op_next(c, op);
}

static void op_rdpid(struct soft_cpu *c, const struct op *op)
{
	c->gpr[op->rm] = (uint32_t)c->tsc_aux;
	return op_next(c, op);
}

static void op_rdpmc(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	sys_refuse(c);
}

bool decode_sys_tsc(const struct decoded *d, struct op *op)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_RDTSC:
		op->fn = op_rdtsc;
		return true;
	case ZYDIS_MNEMONIC_RDTSCP:
		op->fn = op_rdtscp;
		return true;
	case ZYDIS_MNEMONIC_RDPID:
		op->fn = op_rdpid;
		return true;
	case ZYDIS_MNEMONIC_RDPMC:
		op->fn = op_rdpmc;
		return true;
	default:
		return false;
	}
}
