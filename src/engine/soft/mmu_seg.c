/* Linear addresses where segments count: 16- and 32-bit code (SDM 3A 5.3, 5.4). */
#include "engine/soft/mem.h"
#include "engine/soft/seg.h"

_Noreturn static void refuse(struct soft_cpu *c, unsigned seg)
{
	soft_fault_error(c, seg == CPU_SS ? EXC_SS : EXC_GP, 0);
}

gva_t mmu_linear(struct soft_cpu *c, unsigned seg, uint64_t offset, unsigned len, bool write)
{
	const struct cpu_seg *s = &c->seg[seg];
	bool code, rw;

	if ((c->mode & MODE_BITS) == MODE_64)
		return c->seg_base[seg] + offset;
	if (likely((c->mode & MODE_FLAT) && seg <= CPU_DS && (seg != CPU_CS || !write) &&
	           offset + len - 1 <= 0xffffffffu))
		return offset;
	if (!(s->attr & SEG_P))
		refuse(c, seg);
	code = s->attr & 8;
	rw = s->attr & 2; /* data: writable, code: readable */
	/* Real mode and virtual 8086: CS may be written. */
	if ((c->cr0 & CR0_PE) && !(c->eflags & FLAG_VM) &&
	    (write ? code || !rw : code && !rw && c->op->fn != NULL))
		refuse(c, seg);
	if (!seg_within(s, offset, len))
		refuse(c, seg);
	return (uint32_t)(s->base + offset);
}

gva_t mmu_ea_segmented(struct soft_cpu *c, const struct op *op, unsigned len, bool write)
{
	c->op = op;
	return mmu_linear(c, op->seg, op_offset(c, op), len, write);
}
