/*
 * The software TLB and everything that it does not answer: fills, page-crossing accesses, MMIO,
 * stores to pages that someone watches (code, dirty log, not yet dirty).
 */
#include <string.h>

#include "engine/soft/code.h"
#include "engine/soft/flat.h"
#include "engine/soft/mem.h"
#include "engine/soft/mmu.h"
#include "engine/soft/lockstep.h"
#include "engine/soft/native.h"

static void entry_clear(struct tlb *t, unsigned i)
{
	t->e[i].read = t->e[i].write = t->e[i].exec = TLB_MISS;
	t->p[i].page = UINT32_MAX;
}

enum {
	TLB_GLOBAL = 1 << 0,
	TLB_WRITABLE =
		1 << 1, /* and dirty: what lacks for a write tag is that the page holds no code */
};

/* The interpreter's TLB has no PCIDs: only global entries outlive a switch. */
static void clear(struct soft_cpu *c, bool keep_global)
{
	for (unsigned t = 0; t < 2; t++) {
		struct tlb *tlb = &c->tlbs[t];
		unsigned kept = 0;

		if (tlb->n > TLB_FILLS) {
			for (unsigned i = 0; i < TLB_SIZE; i++)
				entry_clear(tlb, i);
			tlb->n = 0;
			continue;
		}
		for (unsigned k = 0; k < tlb->n; k++) {
			unsigned i = tlb->filled[k];

			if (keep_global && (tlb->p[i].flags & TLB_GLOBAL))
				tlb->filled[kept++] = (uint16_t)i;
			else
				entry_clear(tlb, i);
		}
		tlb->n = kept;
	}
}

/* The generation has changed: so does the jump cache's key. */
static void new_key(struct soft_run *r)
{
	r->key = r->generation << 16 | (r->key & 0xffff);
}

void soft_jumps_drop(struct soft_cpu *c)
{
	flat_new_generation(c);
	new_key(c->run);
}

void soft_tlb_flush(struct soft_cpu *c, bool keep_global)
{
	clear(c, keep_global);
	flat_flush(c, keep_global);
	if (!keep_global)
		memset(c->run->large, 0, sizeof(c->run->large));
	new_key(c->run);
}

void soft_tlb_switch(struct soft_cpu *c, uint16_t pcid, bool keep)
{
	clear(c, true);
	flat_switch(c, pcid, keep);
	new_key(c->run);
}

void soft_tlb_flush_pcid(struct soft_cpu *c, uint16_t pcid)
{
	clear(c, true);
	flat_flush_pcid(c, pcid);
	new_key(c->run);
}

/* Of the half of the address space that va is in: kernels use large pages, and do not drop them. */
static struct large_pages *large_pages(struct soft_cpu *c, gva_t va)
{
	return &c->run->large[va >> 63];
}

static unsigned hash_2m(gva_t va)
{
	return (unsigned)((va >> 21) * 0x9e3779b97f4a7c15ull >> 52);
}

void tlb_note_size(struct soft_cpu *c, gva_t va, unsigned shift)
{
	struct large_pages *l = large_pages(c, va);
	unsigned bit = hash_2m(va);

	if (shift == 21)
		l->by_2m[bit / 64] |= 1ull << bit % 64;
	else if (shift > 12)
		l->by_1g |= 1ull << (va >> 30 & 63);
}

/* INVLPG drops all of a large page. */
static bool in_large_page(struct soft_cpu *c, gva_t va)
{
	const struct large_pages *l = large_pages(c, va);
	unsigned bit = hash_2m(va);

	return (l->by_2m[bit / 64] >> bit % 64 & 1) || (l->by_1g >> (va >> 30 & 63) & 1);
}

void soft_tlb_flush_page(struct soft_cpu *c, gva_t va)
{
	struct soft_run *r = c->run;

	if (in_large_page(c, va)) {
		soft_tlb_flush(c, false);
		return;
	}
	for (unsigned t = 0; t < 2; t++)
		entry_clear(&c->tlbs[t], va >> PAGE_SHIFT & (TLB_SIZE - 1));
	flat_flush_page(c, va);
	new_key(r);
}

/* Does a data breakpoint (DR7.RWn = 1, 3) lie in the page? */
static bool watched(const struct soft_cpu *c, gva_t va)
{
	for (unsigned i = 0; i < 4; i++)
		if ((c->dr[7] >> (2 * i) & 3) && (c->dr[7] >> (16 + 4 * i) & 1) &&
		    ((c->dr[i] ^ va) & PAGE_MASK) == 0)
			return true;
	return false;
}

static void watch(struct soft_cpu *c, gva_t va, unsigned len, bool write)
{
	for (unsigned i = 0; i < 4; i++) {
		unsigned rw = c->dr[7] >> (16 + 4 * i) & 3;
		unsigned size = (unsigned[]){1, 2, 8, 4}[c->dr[7] >> (18 + 4 * i) & 3];
		uint64_t at = c->dr[i] & ~(uint64_t)(size - 1);

		if ((c->dr[7] >> (2 * i) & 3) && (rw == 3 || (rw == 1 && write)) && at < va + len &&
		    va < at + size)
			c->run->watch_hit |= 1u << i;
	}
}

static void check_canonical(struct soft_cpu *c, gva_t va)
{
	if (unlikely((c->efer & EFER_LMA) && (int64_t)(va << 16) >> 16 != (int64_t)va))
		soft_fault_error(c, c->op->flags & OP_STACK ? EXC_SS : EXC_GP, 0);
}

/* What an operand of len bytes must be aligned to (SDM 3A table 6-7; environments and states of x87). */
static unsigned alignment(uint64_t len)
{
	switch (len) {
	case 10:
		return 8;
	case 14:
	case 94:
		return 2;
	case 28:
	case 108:
		return 4;
	default:
		return len <= 32 && (len & (len - 1)) == 0 ? (unsigned)MIN(len, 16u) : 1;
	}
}

static void check_aligned(struct soft_cpu *c, gva_t va, uint64_t len, bool user)
{
	if (unlikely(c->tlb == &c->tlb_aligned) && user && (va & (alignment(len) - 1)))
		soft_fault_error(c, EXC_AC, 0);
}

static void fill(struct soft_cpu *c, gva_t va, bool user, const struct mmu_page *p,
                 const struct mmu_hit *hit)
{
	unsigned slot = va >> PAGE_SHIFT & (TLB_SIZE - 1);
	struct tlb_entry *e = &c->tlbs[user].e[slot];
	gva_t tag = va & PAGE_MASK;
	bool slow = unlikely(c->dr[7] & 0xff) && watched(c, va);

	c->run->tlb_fills++;
	if (c->tlbs[user].n < TLB_FILLS)
		c->tlbs[user].filled[c->tlbs[user].n] = (uint16_t)slot;
	c->tlbs[user].n += c->tlbs[user].n <= TLB_FILLS;
	e->read = p->read && !slow ? tag : TLB_MISS;
	e->exec = p->exec ? tag : TLB_MISS;
	e->write = TLB_MISS;
	e->addend = (uintptr_t)hit->host - va;
	c->tlbs[user].p[slot] = (struct tlb_page){.gpa = hit->gpa & PAGE_MASK,
	                                          .page = hit->page,
	                                          .flags = p->global ? TLB_GLOBAL : 0};
	tlb_note_size(c, va, p->shift);
	if (!p->write || !p->dirty || slow || hit->rom)
		return;
	c->tlbs[user].p[slot].flags |= TLB_WRITABLE;
	/* While the dirty log runs every store must be seen: its reader clears bits at any time. */
	if (c->machine->mem.dirty == NULL && code_tag(c->vm, hit->page))
		e->write = tag;
}

struct mmu_hit mmu_touch(struct soft_cpu *c, gva_t va, enum mmu_access access, bool user)
{
	const struct mem_range *range;
	struct mmu_hit hit = {.page = UINT32_MAX};
	struct mmu_page p;
	uint32_t bad;

	c->run->slow++;
	check_canonical(c, va);
	bad = mmu_walk(c, va, access, user, true, &p);
	if (bad)
		soft_raise(c, &(struct soft_exception){.vector = EXC_PF,
		                                       .has_error = true,
		                                       .error = bad & ~MMU_FAULT,
		                                       .cr2 = va});
	hit.gpa = p.gpa;
	range = mem_find(&c->machine->mem, p.gpa);
	if (range != NULL) {
		hit.host = range->host + (p.gpa - range->gpa);
		hit.page = (uint32_t)(range->page0 + ((p.gpa - range->gpa) >> PAGE_SHIFT));
		hit.rom = range->kind == MEM_ROM;
		fill(c, va, user, &p, &hit);
		if (unlikely(c->run->lockstep != NULL))
			lockstep_page(c->run->lockstep, hit.host);
	}
	return hit;
}

void mmu_stored(struct soft_cpu *c, const struct mmu_hit *hit, unsigned len)
{
	mem_dirty_set(&c->machine->mem, hit->page);
	if (code_written(c->vm, hit->page, hit->gpa & ~PAGE_MASK, len)) {
		c->run->invalidated++;
		native_page_changed(c, hit->page);
		block_cut(c);
	}
}

static uint64_t mmio_load(struct soft_cpu *c, gpa_t gpa, unsigned size)
{
	struct intc *ic = c->vcpu->intc;

	c->run->mmio++;
	if (ic != NULL && (gpa & PAGE_MASK) == atomic_load(&ic->mmio_base)) {
		uint64_t v = ic->ops->mmio_read(ic, gpa & 0xffc);

		return size == 8 ? v : v >> (gpa & 3) * 8;
	}
	return machine_mmio_read(c->machine, gpa, size);
}

static void mmio_store(struct soft_cpu *c, gpa_t gpa, unsigned size, uint64_t v)
{
	struct intc *ic = c->vcpu->intc;

	c->run->mmio++;
	if (ic == NULL || (gpa & PAGE_MASK) != atomic_load(&ic->mmio_base)) {
		machine_mmio_write(c->machine, gpa, size, v);
		return;
	}
	if (size >= 4)
		ic->ops->mmio_write(ic, gpa & 0xffc, (uint32_t)v);
	/* EOI or TPR may have let an interrupt through. */
	atomic_fetch_or(c->requests, VCPU_REQ_INTERRUPT);
}

/* One access of the host each, at any alignment. */
typedef uint16_t host16 __attribute__((aligned(1)));
typedef uint32_t host32 __attribute__((aligned(1)));
typedef uint64_t host64 __attribute__((aligned(1)));

static uint64_t host_load(const uint8_t *p, unsigned size)
{
	switch (size) {
	case 1:
		return *p;
	case 2:
		return *(const host16 *)p;
	case 4:
		return *(const host32 *)p;
	default:
		return *(const host64 *)p;
	}
}

static void host_store(uint8_t *p, unsigned size, uint64_t v)
{
	switch (size) {
	case 1:
		*p = (uint8_t)v;
		break;
	case 2:
		*(host16 *)p = (uint16_t)v;
		break;
	case 4:
		*(host32 *)p = (uint32_t)v;
		break;
	default:
		*(host64 *)p = v;
		break;
	}
}

/* Devices see an access of any length as its largest aligned pieces. */
static unsigned piece(gpa_t gpa, unsigned len)
{
	unsigned n = 8;

	while (n > len || (gpa & (n - 1)))
		n /= 2;
	return n;
}

static void hit_read(struct soft_cpu *c, const struct mmu_hit *h, void *buf, unsigned len)
{
	if (h->host != NULL) {
		memcpy(buf, h->host, len);
		return;
	}
	for (unsigned i = 0, n; i < len; i += n) {
		uint64_t v;

		n = piece(h->gpa + i, len - i);
		v = mmio_load(c, h->gpa + i, n);
		memcpy((uint8_t *)buf + i, &v, n);
	}
}

static void hit_write(struct soft_cpu *c, const struct mmu_hit *h, const void *buf, unsigned len)
{
	if (h->rom)
		return;
	if (h->host == NULL) {
		for (unsigned i = 0, n; i < len; i += n) {
			uint64_t v = 0;

			n = piece(h->gpa + i, len - i);
			memcpy(&v, (const uint8_t *)buf + i, n);
			mmio_store(c, h->gpa + i, n, v);
		}
		return;
	}
	memcpy(h->host, buf, len);
	mmu_stored(c, h, len);
}

static unsigned in_page(gva_t va, unsigned len)
{
	return MIN(len, (unsigned)(PAGE_SIZE - (va & ~PAGE_MASK)));
}

/* Data in a page that holds code never get a write tag, but their place is known. */
static bool beside_code(struct soft_cpu *c, gva_t va, bool user, struct mmu_hit *out)
{
	unsigned slot = va >> PAGE_SHIFT & (TLB_SIZE - 1);
	const struct tlb_entry *e = &c->tlbs[user].e[slot];
	const struct tlb_page *p = &c->tlbs[user].p[slot];

	if (e->read != (va & PAGE_MASK) || !(p->flags & TLB_WRITABLE) ||
	    atomic_load(&c->vm->page[p->page].map) == 0)
		return false;
	*out = (struct mmu_hit){.host = (uint8_t *)(e->addend + va),
	                        .gpa = p->gpa | (va & ~PAGE_MASK),
	                        .page = p->page};
	return true;
}

/* The first page of an access that may go over its end: a last byte that isn't canonical comes first. */
static struct mmu_hit touch_first(struct soft_cpu *c, gva_t va, unsigned len,
                                  enum mmu_access access, bool user)
{
	struct mmu_hit hit;

	check_canonical(c, va);
	check_canonical(c, va + len - 1);
	check_aligned(c, va, len, user);
	if (access == MMU_WRITE && beside_code(c, va, user, &hit))
		return hit;
	return mmu_touch(c, va, access, user);
}

void mmu_load_bytes(struct soft_cpu *c, gva_t va, void *buf, unsigned len, bool user)
{
	unsigned first = in_page(va, len);
	struct mmu_hit a = touch_first(c, va, len, MMU_READ, user);

	if (first < len) {
		struct mmu_hit b = mmu_touch(c, va + first, MMU_READ, user);

		hit_read(c, &b, (uint8_t *)buf + first, len - first);
	}
	if (unlikely(c->dr[7] & 0xff))
		watch(c, va, len, false);
	hit_read(c, &a, buf, first);
}

void mmu_store_bytes(struct soft_cpu *c, gva_t va, const void *buf, unsigned len, bool user)
{
	unsigned first = in_page(va, len);
	struct mmu_hit a = touch_first(c, va, len, MMU_WRITE, user);

	if (first < len) {
		struct mmu_hit b = mmu_touch(c, va + first, MMU_WRITE, user);

		hit_write(c, &b, (const uint8_t *)buf + first, len - first);
	}
	if (unlikely(c->dr[7] & 0xff))
		watch(c, va, len, true);
	hit_write(c, &a, buf, first);
}

uint64_t mmu_load(struct soft_cpu *c, gva_t va, unsigned size, bool user)
{
	struct mmu_hit h;
	uint64_t v = 0;

	if (in_page(va, size) < size) {
		mmu_load_bytes(c, va, &v, size, user);
		return v;
	}
	check_aligned(c, va, size, user);
	h = mmu_touch(c, va, MMU_READ, user);
	if (unlikely(c->dr[7] & 0xff))
		watch(c, va, size, false);
	return h.host != NULL ? host_load(h.host, size) : mmio_load(c, h.gpa, size);
}

void mmu_store(struct soft_cpu *c, gva_t va, unsigned size, uint64_t value, bool user)
{
	struct mmu_hit h;

	if (in_page(va, size) < size) {
		mmu_store_bytes(c, va, &value, size, user);
		return;
	}
	check_aligned(c, va, size, user);
	if (!beside_code(c, va, user, &h))
		h = mmu_touch(c, va, MMU_WRITE, user);
	if (unlikely(c->dr[7] & 0xff))
		watch(c, va, size, true);
	if (h.host == NULL) {
		mmio_store(c, h.gpa, size, value);
	} else if (!h.rom) {
		host_store(h.host, size, value);
		mmu_stored(c, &h, size);
	}
}

void mmu_check(struct soft_cpu *c, gva_t va, uint64_t len, bool write, bool user)
{
	if (len > 0) {
		check_canonical(c, va);
		check_canonical(c, va + len - 1);
		check_aligned(c, va, len, user);
	}
	while (len > 0) {
		uint64_t n = MIN(len, PAGE_SIZE - (va & ~PAGE_MASK));

		mmu_touch(c, va, write ? MMU_WRITE : MMU_READ, user);
		va += n;
		len -= n;
	}
}

void *mmu_rmw(struct soft_cpu *c, gva_t va, unsigned size, bool user)
{
	unsigned first = in_page(va, size);
	struct mmu_hit h = touch_first(c, va, size, MMU_WRITE, user);

	if (unlikely(c->dr[7] & 0xff))
		watch(c, va, size, true);
	if (first < size) {
		mmu_touch(c, va + first, MMU_WRITE, user);
		return NULL;
	}
	if (h.host == NULL || h.rom || atomic_load(&c->vm->page[h.page].map) != 0)
		return NULL;
	mem_dirty_set(&c->machine->mem, h.page);
	return h.host;
}

void mmu_modify(struct soft_cpu *c, const struct op *op, gva_t va, unsigned size, bool user,
                mmu_modify_fn *fn)
{
	unsigned first = in_page(va, size);
	struct mmu_hit a = touch_first(c, va, size, MMU_WRITE, user), b = {0};
	uint64_t v = 0;

	if (first < size)
		b = mmu_touch(c, va + first, MMU_WRITE, user);
	pthread_mutex_lock(&c->vm->split);
	if (first == size && a.host == NULL) {
		mmio_store(c, a.gpa, size, fn(c, op, mmio_load(c, a.gpa, size)));
	} else {
		hit_read(c, &a, &v, first);
		hit_read(c, &b, (uint8_t *)&v + first, size - first);
		v = fn(c, op, v);
		hit_write(c, &a, &v, first);
		if (first < size)
			hit_write(c, &b, (uint8_t *)&v + first, size - first);
	}
	pthread_mutex_unlock(&c->vm->split);
}
