/*
 * Hardware task switches in 16- and 32-bit protected mode (SDM 3A chapter 7).
 *
 * A TSS from its instruction pointer on, in words of 2 (16-bit TSS) or 4 bytes; a switch away saves
 * what lies before LDT:
 *
 *	IP FLAGS | AX CX DX BX SP BP SI DI | ES CS SS DS (FS GS) | LDT
 *
 * All memory that the switch needs is read, or checked to be writable, before anything is written.
 * The new task's segments are checked when it already runs: their faults are its own.
 */
#include "engine/soft/far.h"

#include <string.h>

#include "engine/soft/run.h"

#define DR6_BT    (1ull << 15)
#define DR7_LOCAL 0x155ull /* L0..L3, LE: off after a switch */
#define TSS_CR3   28
#define TSS_TRAP  100
#define TSS_MAX   104

/* The two kinds of TSS. */
struct layout {
	unsigned word; /* bytes */
	unsigned ip;   /* where the saved part begins */
	unsigned segs; /* segment registers: without FS and GS, or all */
	unsigned size; /* least limit + 1 */
};

static const struct layout layouts[2] = {{2, 14, 4, 44}, {4, 32, 6, TSS_MAX}};

static const struct layout *layout_of(uint16_t attr)
{
	return &layouts[(attr & SEG_TYPE) >= SEG_TSS];
}

/* What a TSS holds. */
struct task {
	uint32_t ip, flags, gpr[8], seg[CPU_SEGS], ldt, cr3;
	bool trap;
};

static uint32_t take(const uint8_t **p, unsigned word)
{
	uint32_t v = 0;

	memcpy(&v, *p, word);
	*p += word;
	return v;
}

static void put(uint8_t **p, unsigned word, uint32_t v)
{
	memcpy(*p, &v, word);
	*p += word;
}

static void read_task(struct soft_cpu *c, gva_t base, const struct layout *l, struct task *t)
{
	uint8_t raw[TSS_MAX];
	const uint8_t *p = raw + l->ip;

	memset(t, 0, sizeof(*t));
	mmu_load_bytes(c, base, raw, l->size, false);
	t->ip = take(&p, l->word);
	t->flags = take(&p, l->word);
	for (unsigned i = 0; i < 8; i++)
		t->gpr[i] = take(&p, l->word);
	for (unsigned i = 0; i < l->segs; i++)
		t->seg[i] = take(&p, l->word);
	t->ldt = take(&p, l->word);
	if (l->word == 4) {
		memcpy(&t->cr3, raw + TSS_CR3, sizeof(t->cr3));
		t->trap = raw[TSS_TRAP] & 1;
	}
}

static void save_task(struct soft_cpu *c, const struct layout *l, uint32_t flags)
{
	uint8_t raw[TSS_MAX], *p = raw;

	put(&p, l->word, (uint32_t)c->rip);
	put(&p, l->word, flags);
	for (unsigned i = 0; i < 8; i++)
		put(&p, l->word, (uint32_t)c->gpr[i]);
	for (unsigned i = 0; i < l->segs; i++)
		put(&p, l->word, c->seg[i].sel);
	mmu_store_bytes(c, seg_linear(c, c->tr.base + l->ip), raw, (unsigned)(p - raw), false);
}

/* The descriptor of the task to switch to. */
static void find_task(struct soft_cpu *c, uint16_t sel, enum far_task how, struct seg_desc *d)
{
	enum cpu_exception vector = how == TASK_IRET ? EXC_TS : EXC_GP;
	unsigned type;

	if (seg_is_null(sel) || (sel & 4) || !seg_find(c, sel, d))
		seg_fault(c, vector, sel);
	type = d->attr & (SEG_S | SEG_TYPE);
	if (how == TASK_IRET ? type != SEG_TSS_BUSY && type != SEG_TSS16_BUSY
	                     : type != SEG_TSS && type != SEG_TSS16)
		seg_fault(c, vector, sel);
	if (!(d->attr & SEG_P))
		seg_fault(c, EXC_NP, sel);
	if (seg_unpack(d).limit < layout_of(d->attr)->size - 1)
		seg_fault(c, EXC_TS, sel);
}

/* All selectors are the new task's; none is usable before it has been checked. */
static void load_registers(struct soft_cpu *c, const struct task *t, uint32_t flags)
{
	unsigned cpl = flags & FLAG_VM ? 3 : t->seg[CPU_CS] & 3;

	c->rip = t->ip;
	for (unsigned i = 0; i < 8; i++)
		c->gpr[i] = t->gpr[i];
	far_flags_set(c, flags, ~0u);
	c->ldt = seg_null((uint16_t)t->ldt, 0);
	for (unsigned i = 0; i < CPU_SEGS; i++)
		c->seg[i] = flags & FLAG_VM ? seg_real(c, i, (uint16_t)t->seg[i])
		                            : seg_null((uint16_t)t->seg[i], cpl);
	c->cpl = (uint8_t)cpl;
	c->dr[7] &= ~DR7_LOCAL;
	c->shadow = 0;
}

static void load_ldt(struct soft_cpu *c, uint16_t sel)
{
	struct seg_desc d;

	if (seg_is_null(sel))
		return;
	if ((sel & 4) || !seg_find(c, sel, &d) || (d.attr & (SEG_S | SEG_TYPE)) != SEG_LDT ||
	    !(d.attr & SEG_P))
		seg_fault(c, EXC_TS, sel);
	c->ldt = seg_unpack(&d);
}

static void load_code(struct soft_cpu *c, uint16_t sel)
{
	unsigned rpl = sel & 3;
	struct seg_desc d;

	if (seg_is_null(sel) || !seg_find(c, sel, &d) || !seg_is_code(d.attr))
		seg_fault(c, EXC_TS, sel);
	if (seg_is_conforming(d.attr) ? SEG_DPL(d.attr) > rpl : SEG_DPL(d.attr) != rpl)
		seg_fault(c, EXC_TS, sel);
	if (!(d.attr & SEG_P))
		seg_fault(c, EXC_NP, sel);
	seg_mark(c, &d, 1, 0);
	c->seg[CPU_CS] = seg_unpack(&d);
}

static void load_segments(struct soft_cpu *c, const struct task *t)
{
	static const uint8_t data[] = {CPU_DS, CPU_ES, CPU_FS, CPU_GS};

	load_ldt(c, (uint16_t)t->ldt);
	if (c->eflags & FLAG_VM)
		return;
	load_code(c, (uint16_t)t->seg[CPU_CS]);
	c->seg[CPU_SS] = seg_check_stack(c, (uint16_t)t->seg[CPU_SS], c->cpl, EXC_TS);
	for (unsigned i = 0; i < ARRAY_LEN(data); i++)
		c->seg[data[i]] = seg_check_data(c, (uint16_t)t->seg[data[i]], EXC_TS);
}

/* Leaves the old task: its registers, the busy bits, the link back. */
static void switch_away(struct soft_cpu *c, struct seg_desc *d, enum far_task how)
{
	struct cpu_seg tr = seg_unpack(d);
	uint32_t flags = flags_get(c);
	bool away = how == TASK_JMP || how == TASK_IRET;
	struct seg_desc old;

	if (!seg_find(c, c->tr.sel, &old))
		seg_fault(c, EXC_TS, c->tr.sel);
	mmu_check(c, old.at, 8, true, false);
	mmu_check(c, d->at, 8, true, false);
	if (!away)
		mmu_check(c, seg_linear(c, tr.base), 2, true, false);
	save_task(c, layout_of(c->tr.attr), how == TASK_IRET ? flags & ~FLAG_NT : flags);
	if (away)
		seg_mark(c, &old, 0, 2);
	else
		soft_st16_sys(c, seg_linear(c, tr.base), c->tr.sel);
	seg_mark(c, d, 2, 0);
	c->tr = seg_unpack(d);
	c->cr0 |= CR0_TS;
}

void far_task_switch(struct soft_cpu *c, uint16_t sel, enum far_task how,
                     const struct soft_exception *x)
{
	const struct layout *l;
	struct seg_desc d;
	struct far_stack s;
	struct task t;

	find_task(c, sel, how, &d);
	l = layout_of(d.attr);
	read_task(c, seg_linear(c, seg_unpack(&d).base), l, &t);
	switch_away(c, &d, how);
	/* From here on it's the new task that runs, and faults. */
	c->op = &c->run->fetch;
	if (l->word == 4 && (c->cr0 & CR0_PG)) {
		c->cr3 = t.cr3;
		soft_tlb_flush(c, true);
	}
	load_registers(c, &t, how == TASK_CALL || how == TASK_EVENT ? t.flags | FLAG_NT : t.flags);
	soft_mode_update(c);
	load_segments(c, &t);
	soft_mode_update(c);
	if (x != NULL) {
		s = far_stack_current(c, l->word);
		far_push(c, &s, x->error);
		far_stack_load(c, &s);
	}
	if (t.trap)
		soft_raise(c,
		           &(struct soft_exception){.vector = EXC_DB, .trap = true, .dr6 = DR6_BT});
}
