/* Entries of the flat table: which there are, how they come and go.  See flat.h. */
#include "engine/soft/flat_impl.h"
#include "engine/soft/lockstep.h"

#include <string.h>

#include "engine/soft/code.h"
#include "engine/soft/mmu.h"

#define AROUND       8  /* pages that are looked at on either side of one that is filled, */
#define AROUND_LARGE 64 /* and that are filled within a large page */

void flat_drop_fills(struct fills *l)
{
	if (l->n == 0)
		return;
	for (unsigned i = 0; i < l->n; i++)
		*l->fill[i].entry = FLAT_MISS;
	memset(l->chain, 0, sizeof(l->chain));
	l->n = 0;
}

static uint32_t *chain_of(struct fills *l, uint32_t page)
{
	return &l->chain[page % FILL_CHAINS];
}

static void remember(struct fills *l, uint64_t *entry, uint32_t page, bool write)
{
	uint32_t *chain = chain_of(l, page);

	l->fill[l->n++] = (struct fill){entry, page, write ? *chain : 0};
	if (write)
		*chain = l->n;
}

static void drop_page_writes(struct fills *l, uint32_t page)
{
	uint32_t *at = chain_of(l, page);

	while (*at != 0) {
		struct fill *fill = &l->fill[*at - 1];

		if (fill->page != page) {
			at = &fill->next;
			continue;
		}
		*fill->entry = FLAT_MISS;
		*at = fill->next;
	}
}

static void drop_writes(struct fills *l)
{
	for (unsigned i = 0; i < FILL_CHAINS; i++) {
		for (uint32_t k = l->chain[i]; k != 0; k = l->fill[k - 1].next)
			*l->fill[k - 1].entry = FLAT_MISS;
		l->chain[i] = 0;
	}
}

void flat_drop_page(struct soft_cpu *c, uint32_t page)
{
	struct flat *f = c->native.flat;

	for (unsigned i = 0; f != NULL && i < 2 * f->spaces; i++) {
		drop_page_writes(&window_of(f, i)->local, page);
		drop_page_writes(&window_of(f, i)->global, page);
	}
}

void flat_drop_writes(struct soft_cpu *c)
{
	struct flat *f = c->native.flat;

	for (unsigned i = 0; f != NULL && i < 2 * f->spaces; i++) {
		drop_writes(&window_of(f, i)->local);
		drop_writes(&window_of(f, i)->global);
	}
}

/* Which view a page may have now. */
static uint64_t addend_for(struct soft_cpu *c, const struct mem_range *r, const struct mmu_page *p,
                           gva_t va, uint32_t page, bool *write)
{
	const struct mem *m = &c->machine->mem;
	uint64_t in_range = (p->gpa & PAGE_MASK) - r->gpa;

	*write = p->write && p->dirty && r->kind == MEM_RAM && m->dirty == NULL &&
	         code_tag(c->vm, page);
	return (uint64_t)((*write ? r->host : c->vm->view[r - m->range]) + in_range) -
	       (va & PAGE_MASK);
}

/* Enters one page whose walk succeeded.  False: not memory, or not better than before. */
static bool enter(struct soft_cpu *c, struct window *w, gva_t va, const struct mmu_page *p,
                  bool need_write)
{
	const struct mem_range *r = mem_find(&c->machine->mem, p->gpa);
	uint64_t *entry = entry_at(w, va), addend;
	struct fills *l = p->global ? &w->global : &w->local;
	uint32_t page;
	bool write;

	if (r == NULL || !p->read)
		return false;
	page = (uint32_t)(r->page0 + ((p->gpa - r->gpa) >> PAGE_SHIFT));
	addend = addend_for(c, r, p, va, page, &write);
	if (unlikely(c->run->lockstep != NULL))
		lockstep_page(c->run->lockstep, r->host + (p->gpa - r->gpa));
	if (*entry == addend)
		return false;
	if (l->n == FILLS)
		flat_drop_fills(l);
	remember(l, entry, page, write);
	*entry = addend;
	tlb_note_size(c, va, p->shift);
	c->native.code->fills++;
	return write || !need_write;
}

/* Neighbours that the guest has used already need no fault of their own. */
static void fill_around(struct soft_cpu *c, struct window *w, gva_t va, const struct mmu_page *hit)
{
	bool large = hit->shift > PAGE_SHIFT;
	gva_t reach = (large ? AROUND_LARGE : AROUND) * PAGE_SIZE, page = va & PAGE_MASK;
	gva_t first = MAX(va & ~(2 * MIB - 1), page - reach);
	gva_t last = MIN(va | (2 * MIB - 1), page + PAGE_SIZE - 1 + reach);
	bool user = w == &c->native.flat->here->window[1];

	for (gva_t at = first; at < last; at += PAGE_SIZE) {
		struct mmu_page p = *hit;

		if (at == page || *entry_at(w, at) != FLAT_MISS)
			continue;
		/* A large page is at least 2 MiB: one entry of the guest's tables says all. */
		p.gpa = (hit->gpa & PAGE_MASK) + (at - page);
		if (large || mmu_peek(c, at, user, &p))
			enter(c, w, at, &p, false);
	}
}

void flat_refill(struct soft_cpu *c, gva_t va)
{
	struct window *w = c->native.flat->now;
	uint64_t *entry = entry_at(w, va);
	struct mmu_page p;

	if ((part_is_open(w, entry) || flat_part_open(c, w, entry)) &&
	    mmu_peek(c, va, w == &c->native.flat->here->window[1], &p))
		enter(c, w, va, &p, false);
}

static bool canonical(gva_t va)
{
	return (int64_t)(va << 16) >> 16 == (int64_t)va;
}

enum flat_result flat_fill(struct soft_cpu *c, gva_t va, bool write)
{
	struct window *w = c->native.flat->now;
	uint64_t *entry = entry_at(w, va);
	bool missing;
	struct mmu_page p;

	if (!canonical(va) || (c->dr[7] & 0xff))
		return FLAT_GUEST;
	if (!part_is_open(w, entry) && !flat_part_open(c, w, entry))
		return FLAT_SLOW;
	missing = *entry == FLAT_MISS;
	if (mmu_walk(c, va, write ? MMU_WRITE : MMU_READ, w == &c->native.flat->here->window[1],
	             true, &p) != 0)
		return FLAT_GUEST;
	if (!enter(c, w, va, &p, write))
		return FLAT_SLOW;
	if (missing && c->run->lockstep == NULL)
		fill_around(c, w, va, &p);
	return FLAT_FILLED;
}
