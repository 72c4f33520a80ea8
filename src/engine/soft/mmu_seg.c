/* Linear addresses where segments count: 16- and 32-bit code (SDM 3A 5.3, 5.4). */
#include "engine/soft/mem.h"
#include "engine/soft/seg.h"

_Noreturn static void refuse(struct soft_cpu *c, unsigned seg)
{
	soft_fault_error(c, seg == CPU_SS ? EXC_SS : EXC_GP, 0);
}

gva_t mmu_linear_checked(struct soft_cpu *c, unsigned seg, uint64_t offset, unsigned len,
                         bool write)
{
	const struct cpu_seg *s = &c->seg[seg];
	bool code, rw;

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
