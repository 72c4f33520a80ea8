/* Blocks under proof: their instructions and entries, and what was proven (validate.h). */
#include "engine/soft/validate.h"

#include <string.h>
#include <sys/mman.h>

#include "engine/soft/validate_flow.h"

#define MAP_SIZE (NATIVE_CODE / 8)

static void bit_set(uint8_t *map, uint32_t at)
{
	map[at / 8] |= (uint8_t)(1u << at % 8);
}

static bool bit_get(const uint8_t *map, uint32_t at)
{
	return at < NATIVE_CODE && (map[at / 8] >> at % 8 & 1);
}

struct validator *validator_new(void)
{
	struct validator *v = calloc(1, sizeof(*v));
	uint8_t *maps = mmap(NULL, 2 * MAP_SIZE, PROT_READ | PROT_WRITE,
	                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (v == NULL || maps == MAP_FAILED) {
		if (maps != MAP_FAILED)
			munmap(maps, 2 * MAP_SIZE);
		free(v);
		return NULL;
	}
	v->entry = maps;
	v->link = maps + MAP_SIZE;
	return v;
}

void validator_free(struct validator *v)
{
	if (v == NULL)
		return;
	munmap(v->entry, 2 * MAP_SIZE);
	free(v->step);
	free(v->facts);
	free(v);
}

void validator_reset(struct validator *v)
{
	madvise(v->entry, 2 * MAP_SIZE, MADV_DONTNEED);
}

bool validator_link(const struct validator *v, uint32_t site, uint32_t to)
{
	return bit_get(v->link, site) && bit_get(v->entry, to);
}

bool validator_entry(const struct validator *v, uint32_t at)
{
	return bit_get(v->entry, at);
}

/* Instructions of the block. */

static bool grow(struct validator *v)
{
	size_t room = v->room ? 2 * v->room : 1024;
	struct step *step = realloc(v->step, room * sizeof(*step));
	struct facts *facts;

	if (step == NULL)
		return false;
	v->step = step;
	facts = realloc(v->facts, room * sizeof(*facts));
	if (facts == NULL)
		return false;
	v->facts = facts;
	v->room = room;
	return true;
}

static const char *decode_all(struct proof *p, uint32_t *at)
{
	struct validator *v = p->v;
	const char *what;

	v->steps = 0;
	for (*at = p->vb->start; *at < p->vb->end; *at += v->step[v->steps++].len) {
		if (v->steps == v->room && !grow(v))
			return "out of memory";
		what = step_decode(p->n->rw, *at, p->vb->end, &v->step[v->steps]);
		if (what != NULL)
			return what;
		v->facts[v->steps].reached = false;
	}
	return NULL;
}

struct step *proof_step(const struct validator *v, uint64_t at)
{
	size_t lo = 0, hi = v->steps;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (v->step[mid].at < at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < v->steps && v->step[lo].at == at ? &v->step[lo] : NULL;
}

int64_t proof_fallback(const struct proof *p, uint64_t ops)
{
	const struct block *b = p->vb->b;
	uint64_t first = (uint64_t)p->n->ops, end = first + p->n->ops_used;
	const struct op *op = (const struct op *)ops;
	unsigned i = 0;

	if (ops >= (uint64_t)b->op && ops < (uint64_t)&b->op[b->n])
		return (ops - (uint64_t)b->op) % sizeof(*op) ? -1 : 0;
	if (ops < first || ops >= end || end - ops < sizeof(*op) || (ops - first) % 8)
		return -1;
	while (i < b->n && b->op[i].ip != op->ip)
		i++;
	for (; (uint64_t)(op + 1) <= end && i <= b->n; op++, i++) {
		if (op->fn == native_enter)
			return (const uint8_t *)op->ptr - p->n->rx;
		if (op->fn != b->op[i].fn || op->ip != b->op[i].ip)
			return -1;
		if (i == b->n)
			return 0;
	}
	return -1;
}

static const char *enter(struct proof *p, uint64_t at)
{
	static const struct facts nothing;

	proof_reach(p, at, &nothing);
	return p->what;
}

/* Where the block may be come into from outside: knowing nothing. */
static const char *enter_all(struct proof *p)
{
	const struct native_block *nb = p->vb->nb;
	const struct step *near = proof_step(p->v, nb->near);

	if (near == NULL || !near->nop5)
		return "no room for the jump of a stale block";
	enter(p, nb->far);
	enter(p, nb->near);
	enter(p, nb->out);
	for (size_t i = p->vb->first_site; i < p->n->sites; i++) {
		const struct native_site *site = &p->n->site[i];

		if (proof_step(p->v, site->pc) == NULL)
			return "a fault's place in another block";
	}
	for (size_t i = 0; i < p->v->steps; i++) {
		const struct step *s = &p->v->step[i];
		int64_t back = 0;

		if (s->form == STEP_CODE)
			back = s->value;
		else if (s->form == STEP_CONST)
			back = proof_fallback(p, (uint64_t)s->value);
		if (back > 0)
			enter(p, (uint64_t)back);
	}
	return p->what;
}

static void accept(struct proof *p)
{
	const struct native_block *nb = p->vb->nb;

	bit_set(p->v->entry, nb->far);
	bit_set(p->v->entry, nb->near);
	bit_set(p->v->entry, nb->out);
	for (size_t i = 0; i < p->v->steps; i++) {
		const struct step *s = &p->v->step[i];

		if ((s->form == STEP_JUMP || s->form == STEP_BRANCH) && s->len >= 5)
			bit_set(p->v->link, s->at + s->len - 4);
	}
}

bool validator_block(struct validator *v, const struct native *n, const struct validator_block *vb,
                     struct validator_fault *f)
{
	struct proof p = {.v = v, .n = n, .vb = vb};

	f->at = vb->start;
	f->what = decode_all(&p, &f->at);
	if (f->what == NULL)
		f->what = enter_all(&p);
	while (f->what == NULL && p.changed) {
		p.changed = false;
		for (size_t i = 0; i < v->steps && p.what == NULL; i++) {
			f->at = v->step[i].at;
			if (v->facts[i].reached)
				proof_check(&p, &v->step[i], v->facts[i]);
		}
		f->what = p.what;
	}
	if (f->what == NULL)
		accept(&p);
	return f->what == NULL;
}
