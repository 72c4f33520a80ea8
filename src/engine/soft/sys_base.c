/* Bases of FS and GS in 64-bit code: RDFSBASE and its kin, SWAPGS. */
#include "engine/soft/decode.h"
#include "engine/soft/sys.h"

void sys_base_set(struct soft_cpu *c, unsigned seg, uint64_t base)
{
	c->seg[seg].base = base;
	c->seg_base[seg] = base;
}

static void check_fsgsbase(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	if (!(c->cr4 & CR4_FSGSBASE))
		soft_fault(c, EXC_UD);
}

/* n: the segment register */
static void op_rdbase(struct soft_cpu *c, const struct op *op)
{
	check_fsgsbase(c, op);
	reg_set(c, op->rm, op->size, false, c->seg[op->n].base);
	return op_next(c, op);
}

static void op_wrbase(struct soft_cpu *c, const struct op *op)
{
	uint64_t base = reg_get(c, op->rm, op->size, false);

	check_fsgsbase(c, op);
	if (!seg_canonical(base))
		sys_refuse(c);
	sys_base_set(c, op->n, base);
	return op_next(c, op);
}

static void op_swapgs(struct soft_cpu *c, const struct op *op)
{
	uint64_t base = c->seg[CPU_GS].base;

	sys_ring0(c, op);
	sys_base_set(c, CPU_GS, c->kernel_gs_base);
	c->kernel_gs_base = base;
	return op_next(c, op);
}

static bool base(struct op *op, op_fn *fn, unsigned seg)
{
	op->fn = fn;
	op->n = (uint8_t)seg;
	return true;
}

bool decode_sys_base(const struct decoded *d, struct op *op)
{
	if ((d->mode & MODE_BITS) != MODE_64)
		return false;
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_RDFSBASE:
		return base(op, op_rdbase, CPU_FS);
	case ZYDIS_MNEMONIC_RDGSBASE:
		return base(op, op_rdbase, CPU_GS);
	case ZYDIS_MNEMONIC_WRFSBASE:
		return base(op, op_wrbase, CPU_FS);
	case ZYDIS_MNEMONIC_WRGSBASE:
		return base(op, op_wrbase, CPU_GS);
	case ZYDIS_MNEMONIC_SWAPGS:
		return base(op, op_swapgs, CPU_GS);
	default:
		return false;
	}
}
