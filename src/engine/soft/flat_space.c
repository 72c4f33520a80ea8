/* Address spaces of the flat table: flushes, switches, and translated code by address.  See flat.h. */
#include "engine/soft/flat_impl.h"

#include <string.h>

#include "engine/soft/mmu.h"

static unsigned bloom_bit(gva_t va)
{
	return (unsigned)((va >> PAGE_SHIFT) * 0x9e3779b97f4a7c15ull >> 52);
}

/* Zero never matches, as no other address than 0 belongs into slot 0. */
void flat_slot_clear(struct jumps *j, uint64_t slot)
{
	j->hash->minus_rip[slot] = slot == 0 ? 1 : 0;
}

static void hash_clear(struct jumps *j)
{
	if (j->n > JUMPS_LISTED) {
		memset(j->hash->minus_rip, 0, sizeof(j->hash->minus_rip));
		flat_slot_clear(j, 0);
	} else {
		for (unsigned i = 0; i < j->n; i++)
			flat_slot_clear(j, j->slot[i]);
	}
	if (j->n > 0)
		memset(j->executed, 0, sizeof(j->executed));
	j->n = 0;
	j->local = false;
}

/* Forgets the code of one page. */
static void hash_drop_page(struct jumps *j, gva_t va)
{
	unsigned bit = bloom_bit(va);
	uint64_t first = (va & PAGE_MASK & FLAT_HASH_MASK) >> 1;

	if (!(j->executed[bit / 64] >> bit % 64 & 1))
		return;
	for (uint64_t i = first; i < first + PAGE_SIZE / 2; i++) {
		if (((-j->hash->minus_rip[i] ^ va) & PAGE_MASK) == 0)
			flat_slot_clear(j, i);
	}
}

void flat_hash_clear(struct soft_cpu *c)
{
	struct flat *f = c->native.flat;

	for (unsigned i = 0; f != NULL && i < 2 * f->spaces; i++)
		hash_clear(window_of(f, i)->jumps);
}

void flat_new_generation(struct soft_cpu *c)
{
	struct flat *f = c->native.flat;

	c->run->generation = ++c->run->generations;
	if (f != NULL)
		f->here->generation = c->run->generation;
}

static void flush_space(struct soft_cpu *c, struct space *s, bool keep_global)
{
	for (unsigned i = 0; i < 2; i++) {
		flat_drop_fills(&s->window[i].local);
		if (!keep_global)
			flat_drop_fills(&s->window[i].global);
		if (!keep_global || i == 1 || s->window[i].jumps->local)
			hash_clear(s->window[i].jumps);
	}
	s->generation = ++c->run->generations;
}

void flat_flush(struct soft_cpu *c, bool keep_global)
{
	struct flat *f = c->native.flat;

	for (unsigned i = 0; f != NULL && i < f->spaces; i++)
		flush_space(c, &f->space[i], keep_global);
	c->run->generation = f != NULL ? f->here->generation : ++c->run->generations;
}

static struct space *space_find(struct flat *f, uint16_t pcid)
{
	for (unsigned i = 0; i < f->spaces; i++) {
		if (f->space[i].pcid == pcid)
			return &f->space[i];
	}
	return NULL;
}

void flat_flush_pcid(struct soft_cpu *c, uint16_t pcid)
{
	struct flat *f = c->native.flat;
	struct space *s = f != NULL ? space_find(f, pcid) : NULL;

	if (s != NULL)
		flush_space(c, s, true);
	c->run->generation = f != NULL ? f->here->generation : ++c->run->generations;
}

void flat_switch(struct soft_cpu *c, uint16_t pcid, bool keep)
{
	struct flat *f = c->native.flat;
	struct space *s = f != NULL ? space_find(f, pcid) : NULL;

	if (f == NULL) {
		c->run->generation = ++c->run->generations;
		return;
	}
	if (s == NULL) {
		s = &f->space[0];
		for (unsigned i = 1; i < f->spaces; i++) {
			if (f->space[i].used < s->used)
				s = &f->space[i];
		}
		s->pcid = pcid;
		keep = false;
	}
	if (!keep)
		flush_space(c, s, true);
	/* The supervisor's jumps go along, but for what only the last address space has. */
	if (f->supervisor.local && s != f->here)
		hash_clear(&f->supervisor);
	s->used = ++f->clock;
	f->here = s;
	c->run->generation = s->generation;
}

void flat_flush_page(struct soft_cpu *c, gva_t va)
{
	struct flat *f = c->native.flat;

	if (f == NULL) {
		c->run->generation = ++c->run->generations;
		return;
	}
	for (unsigned i = 0; i < 2 * f->spaces; i++) {
		struct window *w = window_of(f, i);
		uint64_t *entry = entry_at(w, va);

		if (part_is_open(w, entry))
			*entry = FLAT_MISS;
		hash_drop_page(w->jumps, va);
		f->space[i / 2].generation = ++c->run->generations;
	}
	c->run->generation = f->here->generation;
}

void flat_hash_add(struct soft_cpu *c, uint64_t rip, const void *code)
{
	struct jumps *j = c->native.flat->now->jumps;
	struct mmu_page p;
	uint64_t slot = (rip & FLAT_HASH_MASK) >> 1;
	unsigned bit = bloom_bit(rip);

	if (slot == 0)
		return;
	j->hash->code[slot] = code;
	j->hash->minus_rip[slot] = -rip;
	j->executed[bit / 64] |= 1ull << bit % 64;
	if (j->n < JUMPS_LISTED)
		j->slot[j->n] = (uint16_t)slot;
	j->n += j->n <= JUMPS_LISTED;
	if (!j->local && !(mmu_peek(c, rip, false, &p) && p.global))
		j->local = true;
}
