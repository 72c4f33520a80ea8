/* What the far transfers share: stacks that aren't current, flags; and who decodes them. */
#include "engine/soft/far.h"

struct far_stack far_stack_current(const struct soft_cpu *c, unsigned size)
{
	return (struct far_stack){
		.ss = c->seg[CPU_SS],
		.sp = c->gpr[CPU_RSP],
		.size = size,
		.wide = (c->mode & MODE_BITS) == MODE_64,
		.user = c->cpl == 3,
	};
}

static uint64_t stack_bits(const struct far_stack *s)
{
	return s->wide ? ~0ull : s->ss.attr & SEG_DB ? 0xffffffffull : 0xffffull;
}

static gva_t linear(struct soft_cpu *c, const struct far_stack *s, uint64_t sp)
{
	sp &= stack_bits(s);
	if (s->wide) {
		if (!seg_canonical(sp) || !seg_canonical(sp + s->size - 1))
			soft_fault_error(c, EXC_SS, s->error);
		return sp;
	}
	if (!(s->ss.attr & SEG_P) || !seg_within(&s->ss, sp, s->size))
		soft_fault_error(c, EXC_SS, s->error);
	return (uint32_t)(s->ss.base + sp);
}

void far_push(struct soft_cpu *c, struct far_stack *s, uint64_t v)
{
	gva_t va = linear(c, s, s->sp - s->size);

	if (s->user == (c->cpl == 3))
		mem_put(c, va, s->size, v);
	else if (s->size == 8)
		soft_st64_sys(c, va, v);
	else
		mmu_store(c, va, s->size, v, s->user);
	s->sp -= s->size;
}

uint64_t far_pop(struct soft_cpu *c, struct far_stack *s)
{
	uint64_t v = mem_get(c, linear(c, s, s->sp), s->size);

	s->sp += s->size;
	return v;
}

void far_stack_load(struct soft_cpu *c, const struct far_stack *s)
{
	uint64_t bits = stack_bits(s);

	c->seg[CPU_SS] = s->ss;
	/* A 32-bit stack pointer clears the upper half, a 16-bit one keeps the rest. */
	if (bits == 0xffff)
		c->gpr[CPU_RSP] = (c->gpr[CPU_RSP] & ~bits) | (s->sp & bits);
	else
		c->gpr[CPU_RSP] = s->sp & bits;
}

void far_check_rip(struct soft_cpu *c, const struct cpu_seg *cs, uint64_t rip)
{
	bool wide = seg_is_long(c) && (cs->attr & SEG_L);

	if (wide ? !seg_canonical(rip) : rip > cs->limit)
		soft_fault_error(c, EXC_GP, 0);
}

void far_flags_set(struct soft_cpu *c, uint32_t value, uint32_t mask)
{
	uint32_t flags = (flags_get(c) & ~mask) | (value & mask);

	/* Only instruction breakpoints ask for RF; each instruction clears it. */
	if (!(c->dr[7] & 0xff))
		flags &= ~FLAG_RF;
	flags_set(c, flags);
}

bool decode_far(struct soft_cpu *c, const struct decoded *d, struct op *op)
{
	return decode_far_return(c, d, op) || decode_far_call(c, d, op) ||
	       decode_far_jump(c, d, op) || decode_far_segment(c, d, op);
}
