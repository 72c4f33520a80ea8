/*
 * The decoded-block cache of one vCPU: an arena of blocks and a hash table by guest-physical address
 * and mode.  When the arena, or that of the vector stubs, is full everything is dropped.  Only the
 * dispatch loop allocates, when no block executes.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/soft/code.h"
#include "engine/soft/int.h"
#include "engine/soft/mmu.h"
#include "engine/soft/native.h"
#include "engine/soft/vec.h"

#define ARENA_SIZE (128 * MIB)
#define BUCKETS    (1u << 16)

struct block_cache {
	uint8_t *arena;
	size_t used;
	struct block *bucket[BUCKETS];
};

/* A place of the guest's code: what a page holds from some offset on. */
struct fetch {
	const uint8_t *host; /* NULL: not memory */
	gpa_t gpa;
	uint32_t page;
};

static const _Atomic uint32_t never_changes;

int block_cache_open(struct soft_cpu *c)
{
	struct block_cache *bc = calloc(1, sizeof(*bc));

	if (bc == NULL)
		return -ENOMEM;
	bc->arena = mmap(NULL, ARENA_SIZE, PROT_READ | PROT_WRITE,
	                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (bc->arena == MAP_FAILED) {
		free(bc);
		return -ENOMEM;
	}
	c->run->blocks = bc;
	return 0;
}

void block_cache_close(struct soft_cpu *c)
{
	if (c->run->blocks == NULL)
		return;
	munmap(c->run->blocks->arena, ARENA_SIZE);
	free(c->run->blocks);
	c->run->blocks = NULL;
}

void block_cache_drop(struct soft_cpu *c)
{
	struct block_cache *bc = c->run->blocks;

	bc->used = 0;
	vec_drop(c);
	memset(bc->bucket, 0, sizeof(bc->bucket));
	memset(c->run->jump, 0, sizeof(c->run->jump));
	c->run->link = NULL;
	native_reset(c);
}

static void op_behind(struct soft_cpu *c, const struct op *op)
{
	return op_jump(c, op, op_rip(c, op));
}

void block_stop(struct soft_cpu *c, const struct op *op)
{
	c->instructions += op->nth - 1;
	return op_leave(c, op_rip(c, op));
}

void block_cut(struct soft_cpu *c)
{
	struct op *op = (struct op *)c->op;

	/* No block executes: a store while an interrupt is delivered. */
	if (op == NULL || op == &c->run->fetch || (op->flags & OP_LAST))
		return;
	op[1].fn = block_stop;
	/* Linked blocks may be those that changed: they compare versions themselves. */
}

static struct fetch fetch_at(struct soft_cpu *c, gva_t va)
{
	const struct tlb_entry *e = tlb_entry(c, va);
	const struct tlb_page *p = &c->tlb->p[e - c->tlb->e];
	struct mmu_hit hit;

	if (likely(e->exec == (va & PAGE_MASK)))
		return (struct fetch){.host = (const uint8_t *)(e->addend + va),
		                      .gpa = p->gpa | (va & ~PAGE_MASK),
		                      .page = p->page};
	hit = mmu_touch(c, va, MMU_EXEC, c->cpl == 3);
	return (struct fetch){.host = hit.host, .gpa = hit.gpa, .page = hit.page};
}

static struct block **bucket_of(struct soft_cpu *c, gpa_t gpa, uint32_t mode)
{
	uint64_t h = (gpa + mode) * 0x9e3779b97f4a7c15ull;

	return &c->run->blocks->bucket[h >> 48 & (BUCKETS - 1)];
}

static bool same_bytes(const struct block *b, const struct fetch *f)
{
	return memcmp(f->host, b->bytes, b->len) == 0;
}

/* Is a stale block's code the same as ever, or again?  Then it's fresh. */
static bool revive(struct soft_cpu *c, struct block *b, const struct fetch *f)
{
	uint32_t version;

	if (b->cross || !same_bytes(b, f))
		return false;
	version = code_mark(c, b->page, b->gpa & ~PAGE_MASK, b->len);
	if (!same_bytes(b, f))
		return false;
	b->version = version;
	native_revive(c, b);
	return true;
}

static void fetch_copy(const struct fetch *f, uint8_t *buf, size_t len)
{
	if (f->host != NULL)
		memcpy(buf, f->host, len);
	else /* nothing there: the bus reads as ones */
		memset(buf, 0xff, len);
}

/* The first instruction needs bytes of the next page. */
static void decode_cross(struct soft_cpu *c, struct block *b, const struct fetch *f, uint64_t rip,
                         struct decoded *d)
{
	uint8_t bytes[32];
	unsigned first = PAGE_SIZE - (f->gpa & ~PAGE_MASK);
	struct fetch g;

	fetch_copy(f, bytes, first);
	g = fetch_at(c, c->seg_base[CPU_CS] + rip + first);
	b->version2 = 0;
	b->now2 = &never_changes;
	if (g.page != UINT32_MAX) {
		b->version2 = code_mark(c, g.page, 0, 15);
		b->now2 = &c->vm->page[g.page].version;
	}
	b->gpa2 = g.gpa;
	b->cross = true;
	fetch_copy(&g, bytes + first, 16);
	decode_op(c, bytes, first + 16, rip, b->mode, d, &b->op[0]);
}

#define BLOCK_BYTES 512 /* most that a block is made from */

/* Decodes avail bytes until the block ends; the ops lie in the arena already. */
static void decode_block(struct soft_cpu *c, struct block *b, const struct fetch *f, uint64_t rip,
                         const uint8_t *code, size_t avail)
{
	unsigned most = b->mode & MODE_STEP ? 1 : BLOCK_OPS;
	struct decoded d = {.rip = rip};
	size_t at = 0;

	b->n = 0;
	while (b->n < most && at < avail) {
		struct op *op = &b->op[b->n];

		if (decode_op(c, code + at, avail - at, rip + at, b->mode, &d, op) < 0) {
			if (b->n > 0)
				break;
			decode_cross(c, b, f, rip, &d);
		}
		op->nth = (uint8_t)++b->n;
		at += op->len;
		if (d.ends)
			break;
	}
	b->len = (uint16_t)MIN(at, avail);
	int_optimize(b);
	b->op[b->n - 1].flags |= OP_LAST;
	b->op[b->n] = (struct op){.fn = op_behind, .ip = (uint16_t)at, .nth = (uint8_t)b->n};
	c->run->decoded++;
}

/* Decodes a copy, then protects what was used, then sees whether it still is the same. */
static void decode_trusted(struct soft_cpu *c, struct block *b, const struct fetch *f, uint64_t rip)
{
	uint8_t copy[BLOCK_BYTES];
	size_t avail = MIN(PAGE_SIZE - (f->gpa & ~PAGE_MASK), sizeof(copy));

	do {
		fetch_copy(f, copy, avail);
		decode_block(c, b, f, rip, copy, avail);
		if (f->page == UINT32_MAX)
			break;
		b->version = code_mark(c, f->page, f->gpa & ~PAGE_MASK, b->len);
	} while (memcmp(copy, f->host, b->len) != 0);
	b->bytes = (uint8_t *)&b->op[b->n + 1];
	memcpy(b->bytes, copy, b->len);
}

static struct block *block_new(struct soft_cpu *c, const struct fetch *f, uint64_t rip,
                               uint32_t mode)
{
	struct block_cache *bc = c->run->blocks;
	struct block **bucket, *b;
	size_t most = sizeof(*b) + (BLOCK_OPS + 2) * sizeof(struct op) + BLOCK_BYTES + 64;

	if (bc->used + most > ARENA_SIZE || vec_full(c) ||
	    (c->native.code != NULL && native_is_full(c->native.code)))
		block_cache_drop(c);
	b = (struct block *)(bc->arena + bc->used);
	*b = (struct block){.gpa = f->gpa, .mode = mode, .page = f->page, .now = &never_changes};
	if (f->page != UINT32_MAX)
		b->now = &c->vm->page[f->page].version;
	decode_trusted(c, b, f, rip);
	native_block_entry(c, b);
	bc->used = align_up((size_t)(b->bytes + b->len - bc->arena), 64);
	bucket = bucket_of(c, f->gpa, mode);
	b->next = *bucket;
	*bucket = b;
	return b;
}

static bool cross_valid(struct soft_cpu *c, const struct block *b, uint64_t rip)
{
	struct fetch g;

	if (!b->cross)
		return true;
	g = fetch_at(c, ((c->seg_base[CPU_CS] + rip) | ~PAGE_MASK) + 1);
	return g.gpa == b->gpa2 && b->version2 == atomic_load(b->now2);
}

/* Code that is patched to and fro (static keys, inline caches) finds its old translations again. */
#define VERSIONS 32

static struct block *find(struct soft_cpu *c, uint64_t rip, uint32_t mode)
{
	gva_t va = (mode & MODE_BITS) == MODE_64 ? rip : mmu_linear(c, CPU_CS, rip, 1, false);
	struct fetch f = fetch_at(c, va);
	struct block **head = bucket_of(c, f.gpa, mode), **at = head;
	unsigned stale = 0;

	for (struct block *b; (b = *at) != NULL;) {
		if (b->gpa != f.gpa || b->mode != mode) {
			at = &b->next;
			continue;
		}
		if ((block_fresh(b) || revive(c, b, &f)) && cross_valid(c, b, rip)) {
			*at = b->next;
			b->next = *head;
			*head = b;
			return b;
		}
		if (b->cross || ++stale == VERSIONS)
			*at = b->next;
		else
			at = &b->next;
	}
	return block_new(c, &f, rip, mode);
}

/* Blocks don't know where code ends: towards CS's limit it is executed one by one. */
struct block *block_find(struct soft_cpu *c, uint64_t rip, uint32_t mode)
{
	struct block *b = find(c, rip, mode);

	if (likely((mode & MODE_BITS) == MODE_64) || rip + b->len - 1 <= c->seg[CPU_CS].limit)
		return b;
	if (mode & MODE_STEP)
		soft_fault_error(c, EXC_GP, 0);
	return block_find(c, rip, mode | MODE_STEP);
}
