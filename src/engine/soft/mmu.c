/*
 * Page walks for all paging modes (SDM 3A chapter 4): none, 32-bit with PSE, PAE, 4-level.
 *
 * The walk only reads; A and D bits are set afterwards, when all checks have passed, by compare and
 * exchange against the value that was read, so that an entry changed meanwhile is walked again.
 */
#include "engine/soft/mmu.h"

#include "engine/soft/code.h"
#include "engine/soft/mem.h"
#include "engine/soft/run.h"

#define PTE_P    1ull
#define PTE_W    2ull
#define PTE_U    4ull
#define PTE_A    0x20ull
#define PTE_D    0x40ull
#define PTE_PS   0x80ull
#define PTE_G    0x100ull
#define PTE_NX   (1ull << 63)
#define PTE_ADDR 0xffffffffff000ull

struct walk {
	unsigned n;
	unsigned bytes; /* of an entry: 4, 8 */
	void *at[4];
	gpa_t gpa[4];
	uint64_t entry[4];
	bool write, user, nx;
	unsigned shift; /* of the final page */
};

static bool entry_read(struct soft_cpu *c, struct walk *w, gpa_t gpa)
{
	void *p = mem_ptr(&c->machine->mem, gpa, w->bytes, false);
	uint64_t e = 0;

	if (p == NULL)
		return false;
	if (w->bytes == 8)
		e = __atomic_load_n((uint64_t *)p, __ATOMIC_RELAXED);
	else
		e = __atomic_load_n((uint32_t *)p, __ATOMIC_RELAXED);
	w->at[w->n] = p;
	w->gpa[w->n] = gpa;
	w->entry[w->n++] = e;
	return true;
}

/* 32-bit paging: two levels of 4-byte entries.  Returns error bits, sets *gpa. */
static uint32_t walk_32(struct soft_cpu *c, struct walk *w, gva_t va, gpa_t *gpa)
{
	uint64_t pde, pte;

	w->bytes = 4;
	if (!entry_read(c, w, (c->cr3 & 0xfffff000) | (va >> 22 & 0x3ff) << 2))
		return MMU_FAULT;
	pde = w->entry[0];
	if (!(pde & PTE_P))
		return MMU_FAULT;
	w->write = pde & PTE_W;
	w->user = pde & PTE_U;
	if ((pde & PTE_PS) && (c->cr4 & CR4_PSE)) {
		if (pde & (1u << 21))
			return MMU_FAULT | PF_P | PF_RSVD;
		w->shift = 22;
		*gpa = (pde & 0xffc00000) | (pde >> 13 & 0xff) << 32;
		return 0;
	}
	if (!entry_read(c, w, (pde & 0xfffff000) | (va >> 12 & 0x3ff) << 2))
		return MMU_FAULT;
	pte = w->entry[1];
	if (!(pte & PTE_P))
		return MMU_FAULT;
	w->write &= !!(pte & PTE_W);
	w->user &= !!(pte & PTE_U);
	w->shift = 12;
	*gpa = pte & 0xfffff000;
	return 0;
}

/* PAE and 4-level: 8-byte entries. */
static uint32_t walk_64(struct soft_cpu *c, struct walk *w, gva_t va, gpa_t *gpa)
{
	bool lma = c->efer & EFER_LMA;
	uint64_t reserved = c->run->phys_mask | (c->efer & EFER_NXE ? 0 : PTE_NX);
	gpa_t table = lma ? c->cr3 & PTE_ADDR : c->cr3 & 0xffffffe0;

	w->bytes = 8;
	w->write = w->user = true;
	for (unsigned level = lma ? 4 : 3; level > 0; level--) {
		unsigned shift = 3 + 9 * level;
		unsigned index = va >> shift & (!lma && level == 3 ? 3 : 0x1ff);
		bool pdpte = !lma && level == 3;
		uint64_t e;

		if (!entry_read(c, w, table + index * 8))
			return MMU_FAULT;
		e = w->entry[w->n - 1];
		if (!(e & PTE_P))
			return MMU_FAULT;
		if (e & (pdpte ? reserved | PTE_NX | 0x1e6 : reserved))
			return MMU_FAULT | PF_P | PF_RSVD;
		if (!lma && e & 0x7ff0000000000000ull)
			return MMU_FAULT | PF_P | PF_RSVD;
		if (!pdpte) {
			w->write &= !!(e & PTE_W);
			w->user &= !!(e & PTE_U);
			w->nx |= !!(e & PTE_NX);
		}
		table = e & PTE_ADDR;
		w->shift = shift;
		if (level == 1 || pdpte || !(e & PTE_PS))
			continue;
		/* Bit 12 is PAT, those up to the page's size are reserved. */
		if (level == 4 || (e & ((1ull << shift) - 1) & ~0x1fffull))
			return MMU_FAULT | PF_P | PF_RSVD;
		table &= ~0x1000ull;
		break;
	}
	*gpa = table;
	return 0;
}

static bool entry_or(struct soft_cpu *c, const struct walk *w, unsigned i, uint64_t bits)
{
	uint64_t e = w->entry[i];
	uint32_t e32 = (uint32_t)e;

	if ((e & bits) == bits)
		return true;
	if (w->bytes == 8 ? !__atomic_compare_exchange_n((uint64_t *)w->at[i], &e, e | bits, false,
	                                                 __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)
	                  : !__atomic_compare_exchange_n((uint32_t *)w->at[i], &e32,
	                                                 (uint32_t)(e32 | bits), false,
	                                                 __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		return false;
	/* Page tables may be code, too. */
	code_written(c->vm, (uint32_t)mem_page(&c->machine->mem, w->gpa[i]), w->gpa[i] & ~PAGE_MASK,
	             w->bytes);
	return true;
}

static bool set_bits(struct soft_cpu *c, const struct walk *w, bool write)
{
	/* PAE's PDPTEs have neither A nor D. */
	unsigned first = w->bytes == 8 && !(c->efer & EFER_LMA) ? 1 : 0;

	for (unsigned i = first; i < w->n; i++) {
		bool last = i == w->n - 1;

		if (!entry_or(c, w, i, last && write ? PTE_A | PTE_D : PTE_A))
			return false;
	}
	return true;
}

/* What the tables allow for the privilege, CR0.WP, SMEP and SMAP considered. */
static void permissions(struct soft_cpu *c, const struct walk *w, bool user, struct mmu_page *out)
{
	if (user) {
		out->read = w->user;
		out->write = w->user && w->write;
		out->exec = w->user && !w->nx;
		return;
	}
	out->read = !(w->user && (c->cr4 & CR4_SMAP) && !(c->eflags & FLAG_AC));
	out->write = out->read && (w->write || !(c->cr0 & CR0_WP));
	out->exec = !w->nx && !(w->user && (c->cr4 & CR4_SMEP));
}

static uint32_t walk_once(struct soft_cpu *c, gva_t va, struct walk *w, gpa_t *gpa)
{
	if (c->cr4 & CR4_PAE)
		return walk_64(c, w, va, gpa);
	return walk_32(c, w, va, gpa);
}

uint32_t mmu_walk(struct soft_cpu *c, gva_t va, enum mmu_access access, bool user, bool set,
                  struct mmu_page *out)
{
	uint32_t code = (access == MMU_WRITE ? PF_W : 0) | (user ? PF_U : 0);
	bool nx_on = (c->efer & EFER_NXE) && (c->cr4 & CR4_PAE);
	gpa_t gpa;

	if (!(c->cr0 & CR0_PG)) {
		*out = (struct mmu_page){
			.gpa = va, .read = true, .write = true, .exec = true, .dirty = true};
		return 0;
	}
	if (access == MMU_EXEC && (nx_on || (c->cr4 & CR4_SMEP)))
		code |= PF_I;
	for (;;) {
		struct walk w = {0};
		uint32_t bad = walk_once(c, va, &w, &gpa);
		uint64_t in_page;

		if (bad)
			return bad | code;
		in_page = (1ull << w.shift) - 1;
		permissions(c, &w, user, out);
		if (!(access == MMU_READ    ? out->read
		      : access == MMU_WRITE ? out->write
		                            : out->exec))
			return MMU_FAULT | PF_P | code;
		if (set && !set_bits(c, &w, access == MMU_WRITE))
			continue;
		out->gpa = (gpa & ~in_page) | (va & in_page);
		out->dirty = (w.entry[w.n - 1] & PTE_D) || access == MMU_WRITE;
		out->global = (w.entry[w.n - 1] & PTE_G) && (c->cr4 & CR4_PGE);
		out->shift = (uint8_t)w.shift;
		return 0;
	}
}

bool mmu_peek(struct soft_cpu *c, gva_t va, bool user, struct mmu_page *out)
{
	struct walk w = {0};
	uint64_t in_page, all = PTE_A;
	gpa_t gpa;

	if (!(c->cr0 & CR0_PG) || walk_once(c, va, &w, &gpa))
		return false;
	for (unsigned i = 0; i < w.n; i++)
		all &= w.entry[i];
	if (!all)
		return false;
	in_page = (1ull << w.shift) - 1;
	permissions(c, &w, user, out);
	out->gpa = (gpa & ~in_page) | (va & in_page);
	out->dirty = w.entry[w.n - 1] & PTE_D;
	out->global = (w.entry[w.n - 1] & PTE_G) && (c->cr4 & CR4_PGE);
	out->shift = (uint8_t)w.shift;
	return true;
}

bool mmu_translate(struct soft_cpu *c, gva_t va, gpa_t *out)
{
	struct mmu_page p;

	if (mmu_walk(c, va, MMU_READ, false, false, &p) & MMU_FAULT)
		return false;
	*out = p.gpa;
	return true;
}
