/* The flat table: see flat.h. */
#include "engine/soft/flat.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/soft/code.h"
#include "engine/soft/mmu.h"
#include "engine/soft/native.h"

#define PART         16384ull /* bytes of a table that are opened at once: 8 MiB of guest addresses */
#define FILLS        16384    /* entries that are remembered until everything is dropped */
#define SPACES_MAX   8u       /* Linux uses six PCIDs */
#define HOST_SPACE   (100ull << 40) /* bytes of host addresses that all vCPUs' windows may take */
#define JUMPS_LISTED 1024
#define AROUND       8  /* pages that are looked at on either side of one that is filled, */
#define AROUND_LARGE 64 /* and that are filled within a large page */

/* An entry that is not FLAT_MISS, unless it was dropped meanwhile. */
struct fill {
	uint64_t *entry;
	uint32_t page; /* mem_page() */
	uint16_t next; /* with the page's chain, if it allows writing: number + 1, 0 for none */
	bool write;
};

#define FILL_CHAINS 512

struct fills {
	unsigned n;
	uint16_t chain[FILL_CHAINS];
	struct fill fill[FILLS];
};

_Static_assert(FILLS < UINT16_MAX, "a chain's numbers are of 16 bits");

/* Translated code by guest address; the supervisor windows of all spaces share one. */
struct jumps {
	struct flat_hash *hash;
	uint64_t executed[64]; /* bloom: pages whose code is in it */
	unsigned n;
	uint16_t slot[JUMPS_LISTED]; /* used since it was cleared; n greater than that: any */
	bool local;                  /* has some that isn't global */
};

struct window {
	uint8_t *base; /* of the reservation */
	struct jumps *jumps;
	uint64_t *table;
	uint8_t *opened; /* one bit a part */
	struct fills local, global;
};

/* An address space of the guest: entries of one PCID, global ones included. */
struct space {
	struct window window[2]; /* supervisor, user */
	struct jumps user;
	uint16_t pcid;
	uint64_t used;       /* when it was last */
	uint64_t generation; /* of the jump cache's entries */
};

struct flat {
	struct space *space; /* [spaces] */
	unsigned spaces;
	struct space *here;
	struct window *now;      /* GS points there */
	struct jumps supervisor; /* its hash lies behind the vCPU's state */
	uint64_t clock;
};

#define FILE_BYTES   (FLAT_STATE_BYTES + sizeof(struct flat_hash))
#define WINDOW_BYTES (FILE_BYTES + FLAT_TABLE)
#define OPENED_BYTES (FLAT_TABLE / PART / 8)

struct soft_cpu *flat_cpu_new(void)
{
	int fd = memfd_create("casulo-vcpu", MFD_CLOEXEC);
	struct soft_cpu *c;

	if (fd < 0)
		return NULL;
	if (ftruncate(fd, (off_t)FILE_BYTES) < 0) {
		close(fd);
		return NULL;
	}
	c = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (c == MAP_FAILED) {
		close(fd);
		return NULL;
	}
	c->native.state_fd = fd;
	return c;
}

void flat_cpu_free(struct soft_cpu *c)
{
	int fd = c->native.state_fd;

	munmap(c, FILE_BYTES);
	close(fd);
}

int flat_views_open(struct soft_vm *vm, struct err *e)
{
	const struct mem *m = &vm->machine->mem;

	flat_views_close(vm);
	for (unsigned i = 0; i < m->n; i++) {
		const struct mem_range *r = &m->range[i];
		void *p = mmap(NULL, r->size, PROT_READ, MAP_SHARED | MAP_NORESERVE, r->fd,
		               (off_t)r->offset);

		if (p == MAP_FAILED)
			return err_set(e, errno, "cannot map '%s' a second time: %s", r->name,
			               strerror(errno));
		vm->view[i] = p;
		vm->view_size[i] = r->size;
	}
	return 0;
}

void flat_views_close(struct soft_vm *vm)
{
	for (unsigned i = 0; i < MEM_RANGES_MAX; i++) {
		if (vm->view[i] != NULL)
			munmap(vm->view[i], vm->view_size[i]);
		vm->view[i] = NULL;
	}
}

static unsigned bloom_bit(gva_t va)
{
	return (unsigned)((va >> PAGE_SHIFT) * 0x9e3779b97f4a7c15ull >> 52);
}

/* Zero never matches, as no other address than 0 belongs into slot 0. */
static void slot_clear(struct jumps *j, uint64_t slot)
{
	j->hash->minus_rip[slot] = slot == 0 ? 1 : 0;
}

static void hash_clear(struct jumps *j)
{
	if (j->n > JUMPS_LISTED) {
		memset(j->hash->minus_rip, 0, sizeof(j->hash->minus_rip));
		slot_clear(j, 0);
	} else {
		for (unsigned i = 0; i < j->n; i++)
			slot_clear(j, j->slot[i]);
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
			slot_clear(j, i);
	}
}

/* user: the jumps of its own; NULL: a supervisor window */
static bool window_open(struct soft_cpu *c, struct window *w, struct jumps *user)
{
	void *p = mmap(NULL, WINDOW_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
	               -1, 0);

	if (p == MAP_FAILED)
		return false;
	w->base = p;
	w->table = (void *)(w->base + FILE_BYTES);
	if (mmap(w->base, user ? FLAT_STATE_BYTES : FILE_BYTES, PROT_READ | PROT_WRITE,
	         MAP_SHARED | MAP_FIXED, c->native.state_fd, 0) == MAP_FAILED)
		return false;
	w->jumps = user ? user : &c->native.flat->supervisor;
	if (user)
		user->hash = (void *)(w->base + FLAT_STATE_BYTES);
	if (user && mprotect(user->hash, sizeof(*user->hash), PROT_READ | PROT_WRITE) < 0)
		return false;
	w->opened = mmap(NULL, OPENED_BYTES, PROT_READ | PROT_WRITE,
	                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (w->opened == MAP_FAILED) {
		w->opened = NULL;
		return false;
	}
	w->jumps->hash->code[0] = c->native.exit;
	slot_clear(w->jumps, 0);
	return true;
}

static void space_close(struct space *s)
{
	for (unsigned i = 0; i < 2; i++) {
		if (s->window[i].opened != NULL)
			munmap(s->window[i].opened, OPENED_BYTES);
		if (s->window[i].base != NULL)
			munmap(s->window[i].base, WINDOW_BYTES);
	}
}

/* A vCPU gets its share of the address space that the process has. */
static unsigned how_many(const struct soft_cpu *c)
{
	unsigned share = (unsigned)(HOST_SPACE / (2 * WINDOW_BYTES) / c->machine->cpus);

	return MIN(MAX(share, 1u), SPACES_MAX);
}

int flat_open(struct soft_cpu *c)
{
	struct flat *f = xalloc(sizeof(*f));
	unsigned most = how_many(c);

	c->native.flat = f;
	f->supervisor.hash = (void *)((uint8_t *)c + FLAT_STATE_BYTES);
	f->space = xalloc(most * sizeof(*f->space));
	while (f->spaces < most) {
		struct space *s = &f->space[f->spaces++];

		s->pcid = (uint16_t)(f->spaces - 1);
		s->generation = f->spaces;
		if (!window_open(c, &s->window[0], NULL) ||
		    !window_open(c, &s->window[1], &s->user))
			break;
	}
	/* A limit of the host: with those that could be had, but for one that is half open. */
	if (f->space[f->spaces - 1].window[1].opened == NULL)
		space_close(&f->space[--f->spaces]);
	if (f->spaces == 0) {
		flat_close(c);
		return -ENOMEM;
	}
	f->here = &f->space[0];
	c->run->generations = f->spaces;
	return 0;
}

void flat_close(struct soft_cpu *c)
{
	struct flat *f = c->native.flat;

	if (f == NULL)
		return;
	for (unsigned i = 0; i < f->spaces; i++)
		space_close(&f->space[i]);
	free(f->space);
	free(f);
	c->native.flat = NULL;
}

void flat_select(struct soft_cpu *c)
{
	struct flat *f = c->native.flat;
	struct window *w = &f->here->window[c->cpl == 3];

	f->now = w;
	if (c->native.gs == (uint64_t)w->table)
		return;
	c->native.gs = (uint64_t)w->table;
	asm volatile("wrgsbase %0" : : "r"(w->table));
}

/* All windows of all spaces, by number. */
static struct window *window_of(struct flat *f, unsigned i)
{
	return &f->space[i / 2].window[i % 2];
}

static uint64_t *entry_at(struct window *w, gva_t va)
{
	return &w->table[(va & FLAT_PAGE_MASK) >> PAGE_SHIFT];
}

static bool part_is_open(const struct window *w, const void *at)
{
	uint64_t part = (uint64_t)((const uint8_t *)at - (const uint8_t *)w->table) / PART;

	return w->opened[part / 8] >> part % 8 & 1;
}

static bool part_open(struct window *w, const void *at)
{
	uint64_t part = (uint64_t)((const uint8_t *)at - (const uint8_t *)w->table) / PART;
	uint64_t *entry = (uint64_t *)((uint8_t *)w->table + part * PART);

	if (mprotect(entry, PART, PROT_READ | PROT_WRITE) < 0)
		return false;
	for (unsigned i = 0; i < PART / sizeof(*entry); i++)
		entry[i] = FLAT_MISS;
	w->opened[part / 8] |= (uint8_t)(1u << part % 8);
	return true;
}

bool flat_open_part(struct soft_cpu *c, const void *at)
{
	struct flat *f = c->native.flat;

	for (unsigned i = 0; i < 2 * f->spaces; i++) {
		struct window *w = window_of(f, i);

		if ((const uint8_t *)at >= (const uint8_t *)w->table &&
		    (const uint8_t *)at < (const uint8_t *)w->table + FLAT_TABLE)
			return !part_is_open(w, at) && part_open(w, at);
	}
	return false;
}

static void drop_fills(struct fills *l)
{
	if (l->n == 0)
		return;
	for (unsigned i = 0; i < l->n; i++)
		*l->fill[i].entry = FLAT_MISS;
	memset(l->chain, 0, sizeof(l->chain));
	l->n = 0;
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
		drop_fills(&s->window[i].local);
		if (!keep_global)
			drop_fills(&s->window[i].global);
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

static uint16_t *chain_of(struct fills *l, uint32_t page)
{
	return &l->chain[page % FILL_CHAINS];
}

static void remember(struct fills *l, uint64_t *entry, uint32_t page, bool write)
{
	uint16_t *chain = chain_of(l, page);

	l->fill[l->n++] = (struct fill){entry, page, write ? *chain : 0, write};
	if (write)
		*chain = (uint16_t)l->n;
}

static void drop_page_writes(struct fills *l, uint32_t page)
{
	uint16_t *at = chain_of(l, page);

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
	for (unsigned i = 0; i < l->n; i++) {
		if (l->fill[i].write)
			*l->fill[i].entry = FLAT_MISS;
	}
	memset(l->chain, 0, sizeof(l->chain));
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
	if (*entry == addend)
		return false;
	if (l->n == FILLS)
		drop_fills(l);
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

	if ((part_is_open(w, entry) || part_open(w, entry)) &&
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
	if (!part_is_open(w, entry) && !part_open(w, entry))
		return FLAT_SLOW;
	missing = *entry == FLAT_MISS;
	if (mmu_walk(c, va, write ? MMU_WRITE : MMU_READ, w == &c->native.flat->here->window[1],
	             true, &p) != 0)
		return FLAT_GUEST;
	if (!enter(c, w, va, &p, write))
		return FLAT_SLOW;
	if (missing)
		fill_around(c, w, va, &p);
	return FLAT_FILLED;
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
