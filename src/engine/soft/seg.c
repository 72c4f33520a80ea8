/* Descriptors, segment registers, and what the mode of execution follows from. */
#include "engine/soft/seg.h"

#include "engine/soft/mem.h"
#include "engine/soft/run.h"

/* attr of a data segment of real and virtual 8086 mode: present, writable, accessed */
#define REAL_DATA (SEG_P | SEG_S | 3)
#define REAL_CODE (SEG_P | SEG_S | 0xb)

static bool is_flat(const struct cpu_seg *s, uint16_t mask, uint16_t want)
{
	return s->base == 0 && s->limit == UINT32_MAX && (s->attr & mask) == want;
}

/* No access through the four classic registers can fail: readable code, writable data up to 4 GiB. */
static bool all_flat(const struct soft_cpu *c)
{
	const uint16_t code = SEG_P | SEG_S | 8 | 2, data = SEG_P | SEG_S | 8 | 4 | 2;
	const uint16_t want = SEG_P | SEG_S | 2;

	return is_flat(&c->seg[CPU_CS], code, code) && is_flat(&c->seg[CPU_SS], data, want) &&
	       is_flat(&c->seg[CPU_DS], data, want) && is_flat(&c->seg[CPU_ES], data, want);
}

static uint32_t segmented_mode(const struct soft_cpu *c)
{
	return (c->seg[CPU_CS].attr & SEG_DB ? MODE_32 : MODE_16) |
	       (c->seg[CPU_SS].attr & SEG_DB ? MODE_STACK32 : 0) | (all_flat(c) ? MODE_FLAT : 0);
}

void soft_mode_update(struct soft_cpu *c)
{
	bool wide = seg_is_long(c) && (c->seg[CPU_CS].attr & SEG_L);
	uint64_t code = c->seg_base[CPU_CS];

	for (unsigned i = 0; i < CPU_SEGS; i++)
		c->seg_base[i] = wide && i < CPU_FS ? 0 : c->seg[i].base;
	/* The jump cache goes by rip alone. */
	if (c->seg_base[CPU_CS] != code)
		soft_jumps_drop(c);
	c->mode = wide ? MODE_64 : segmented_mode(c);
	if ((c->eflags & FLAG_TF) || (c->dr[7] & 0xff))
		c->mode |= MODE_STEP;
	c->tlb = &c->tlbs[c->cpl == 3];
	if (unlikely((c->eflags & FLAG_AC) && c->cpl == 3 && (c->cr0 & CR0_AM))) {
		c->tlb = &c->tlb_aligned;
		c->mode |= MODE_STEP;
	}
}

bool seg_find(struct soft_cpu *c, uint16_t sel, struct seg_desc *d)
{
	uint64_t base = c->gdt.base, raw;
	uint32_t limit = c->gdt.limit;

	if (sel & 4) {
		if (!(c->ldt.attr & SEG_P))
			return false;
		base = c->ldt.base;
		limit = c->ldt.limit;
	}
	if ((sel | 7u) > limit)
		return false;
	d->at = seg_linear(c, base + (sel & ~7u));
	raw = soft_ld64_sys(c, d->at);
	d->lo = (uint32_t)raw;
	d->hi = (uint32_t)(raw >> 32);
	d->sel = sel;
	d->attr = (uint16_t)(d->hi >> 8 & 0xf0ff);
	return true;
}

struct cpu_seg seg_unpack(const struct seg_desc *d)
{
	uint32_t limit = (d->lo & 0xffff) | (d->hi & 0xf0000);

	return (struct cpu_seg){
		.base = d->lo >> 16 | (d->hi & 0xff) << 16 | (d->hi & 0xff000000),
		.limit = d->attr & SEG_G ? limit << 12 | 0xfff : limit,
		.sel = d->sel,
		.attr = d->attr,
	};
}

struct cpu_seg seg_unpack_system(struct soft_cpu *c, const struct seg_desc *d)
{
	struct cpu_seg s = seg_unpack(d);
	uint64_t upper;

	if (!seg_is_long(c))
		return s;
	if ((d->sel & ~7u) + 15 > c->gdt.limit)
		seg_fault(c, EXC_GP, d->sel);
	upper = soft_ld64_sys(c, d->at + 8);
	s.base |= upper << 32;
	if ((upper >> 40 & 0x1f) != 0 || !seg_canonical(s.base))
		seg_fault(c, EXC_GP, d->sel);
	return s;
}

void seg_mark(struct soft_cpu *c, struct seg_desc *d, unsigned set, unsigned clear)
{
	uint32_t hi = (d->hi | set << 8) & ~(clear << 8);

	if (hi == d->hi)
		return;
	d->hi = hi;
	d->attr = (uint16_t)(hi >> 8 & 0xf0ff);
	soft_st8_sys(c, d->at + 5, (uint8_t)d->attr);
}

struct cpu_seg seg_null(uint16_t sel, unsigned dpl)
{
	return (struct cpu_seg){.sel = sel, .attr = (uint16_t)(dpl << SEG_DPL_SHIFT)};
}

struct cpu_seg seg_real(const struct soft_cpu *c, unsigned seg, uint16_t sel)
{
	const uint16_t keep = SEG_DB | SEG_G | SEG_AVL;
	struct cpu_seg s = c->seg[seg];

	s.sel = sel;
	s.base = (uint32_t)sel << 4;
	if (c->eflags & FLAG_VM) {
		s.limit = 0xffff;
		s.attr = REAL_DATA | 3 << SEG_DPL_SHIFT;
		return s;
	}
	/* Limits of protected mode stay in force ("unreal mode"); those of null segments are none. */
	if (!(s.attr & SEG_P))
		s.limit = 0xffff;
	s.attr = (uint16_t)((s.attr & keep) | (seg == CPU_CS ? REAL_CODE : REAL_DATA));
	return s;
}

struct cpu_seg seg_check_data(struct soft_cpu *c, uint16_t sel, enum cpu_exception vector)
{
	struct seg_desc d;
	unsigned dpl;

	if (seg_is_null(sel))
		return seg_null(sel, 0);
	if (!seg_find(c, sel, &d) || !seg_is_readable(d.attr))
		seg_fault(c, vector, sel);
	dpl = SEG_DPL(d.attr);
	if (!seg_is_conforming(d.attr) && ((sel & 3u) > dpl || c->cpl > dpl))
		seg_fault(c, vector, sel);
	if (!(d.attr & SEG_P))
		seg_fault(c, EXC_NP, sel);
	seg_mark(c, &d, 1, 0);
	return seg_unpack(&d);
}

struct cpu_seg seg_check_stack(struct soft_cpu *c, uint16_t sel, unsigned cpl,
                               enum cpu_exception vector)
{
	struct seg_desc d;

	if (seg_is_null(sel))
		seg_fault(c, vector, 0);
	if (!seg_find(c, sel, &d) || (sel & 3u) != cpl || !seg_is_writable(d.attr) ||
	    SEG_DPL(d.attr) != cpl)
		seg_fault(c, vector, sel);
	if (!(d.attr & SEG_P))
		seg_fault(c, EXC_SS, sel);
	seg_mark(c, &d, 1, 0);
	return seg_unpack(&d);
}

struct cpu_seg seg_check(struct soft_cpu *c, unsigned seg, uint16_t sel)
{
	if (seg_is_real(c))
		return seg_real(c, seg, sel);
	if (seg != CPU_SS)
		return seg_check_data(c, sel, EXC_GP);
	/* 64-bit code of the inner rings needs no SS. */
	if (seg_is_null(sel) && (c->mode & MODE_BITS) == MODE_64 && c->cpl < 3 &&
	    (sel & 3u) == c->cpl)
		return seg_null(sel, c->cpl);
	return seg_check_stack(c, sel, c->cpl, EXC_GP);
}

void seg_load_ldt(struct soft_cpu *c, uint16_t sel)
{
	struct seg_desc d;

	if (seg_is_null(sel)) {
		c->ldt = seg_null(sel, 0);
		return;
	}
	if ((sel & 4) || !seg_find(c, sel, &d) || (d.attr & (SEG_S | SEG_TYPE)) != SEG_LDT)
		seg_fault(c, EXC_GP, sel);
	if (!(d.attr & SEG_P))
		seg_fault(c, EXC_NP, sel);
	c->ldt = seg_unpack_system(c, &d);
}

void seg_load_tr(struct soft_cpu *c, uint16_t sel)
{
	struct seg_desc d;
	struct cpu_seg tr;
	unsigned type;

	if (seg_is_null(sel))
		seg_fault(c, EXC_GP, 0);
	if ((sel & 4) || !seg_find(c, sel, &d))
		seg_fault(c, EXC_GP, sel);
	type = d.attr & (SEG_S | SEG_TYPE);
	if (type != SEG_TSS && (type != SEG_TSS16 || seg_is_long(c)))
		seg_fault(c, EXC_GP, sel);
	if (!(d.attr & SEG_P))
		seg_fault(c, EXC_NP, sel);
	tr = seg_unpack_system(c, &d);
	seg_mark(c, &d, 2, 0);
	tr.attr = d.attr;
	c->tr = tr;
}

void seg_inner_stack(struct soft_cpu *c, unsigned cpl, struct cpu_seg *ss, uint64_t *sp)
{
	bool wide = (c->tr.attr & SEG_TYPE) >= SEG_TSS;
	unsigned at = wide ? 4 + 8 * cpl : 2 + 4 * cpl;
	uint16_t sel;
	gva_t va;

	if (!(c->tr.attr & SEG_P) || at + (wide ? 5u : 3u) > c->tr.limit)
		seg_fault(c, EXC_TS, c->tr.sel);
	va = seg_linear(c, c->tr.base + at);
	*sp = wide ? soft_ld32_sys(c, va) : soft_ld16_sys(c, va);
	sel = soft_ld16_sys(c, seg_linear(c, va + (wide ? 4 : 2)));
	*ss = seg_check_stack(c, sel, cpl, EXC_TS);
}

uint64_t seg_tss_rsp(struct soft_cpu *c, unsigned offset)
{
	if (!(c->tr.attr & SEG_P) || offset + 7 > c->tr.limit)
		seg_fault(c, EXC_TS, c->tr.sel);
	return soft_ld64_sys(c, c->tr.base + offset);
}
