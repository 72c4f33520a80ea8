/*
 * Guest physical memory: the only place that turns a guest address into a host pointer.
 *
 * The map is an array of ranges backed by memfds, immutable while vCPUs run.  A device or loader
 * reaches memory through mem_read/mem_write (copies, checked) or mem_ptr (a checked pointer to a
 * contiguous piece, never across two ranges).  Whoever writes through a pointer of mem_ptr says so
 * with mem_written() afterwards, so that the dirty log and translated code stay true.
 *
 * Copy in, then check: a value in guest memory can change between two reads.
 */
#ifndef MACHINE_MEM_H
#define MACHINE_MEM_H

#include "base/err.h"

typedef uint64_t gpa_t; /* guest physical address */
typedef uint64_t gva_t; /* guest virtual (linear) address */

#define PAGE_SHIFT 12
#define PAGE_SIZE  4096ull
#define PAGE_MASK  (~(PAGE_SIZE - 1))

enum mem_kind { MEM_RAM, MEM_ROM };

struct mem_range {
	gpa_t gpa;
	uint64_t size; /* whole pages */
	enum mem_kind kind;
	uint8_t *host;   /* mapped read-write in this process, also for ROM */
	int fd;          /* the memfd */
	uint64_t offset; /* of the range in the memfd */
	uint64_t page0;  /* index of its first page in dirty and in engines' per-page tables */
	char name[16];   /* "ram-low", "ram-high", "bios" */
};

#define MEM_RANGES_MAX 16

struct mem {
	struct mem_range range[MEM_RANGES_MAX]; /* sorted by gpa */
	unsigned n;
	uint64_t pages;          /* of all ranges */
	_Atomic uint64_t *dirty; /* one bit a page, index page0 + n; NULL while no log runs */
	/* The engine's wish to hear of writes by devices (translated code); may be NULL. */
	void (*written)(void *engine, gpa_t gpa, uint64_t len);
	void *engine;
};

void mem_init(struct mem *m);
void mem_fini(struct mem *m);

/* Adds a zeroed range.  -EEXIST on overlap, -ENOMEM with a remedy in the text. */
int mem_add(struct mem *m, const char *name, enum mem_kind kind, gpa_t gpa, uint64_t size,
            struct err *e) MUST_CHECK;

/* The range that holds gpa, or NULL.  Safe from any thread while vCPUs run. */
const struct mem_range *mem_find(const struct mem *m, gpa_t gpa);

/* Host pointer to [gpa, gpa + len), all in one range; NULL otherwise, and for a write to ROM. */
void *mem_ptr(const struct mem *m, gpa_t gpa, uint64_t len, bool write);
void mem_written(struct mem *m, gpa_t gpa, uint64_t len);

/* Copies; -EFAULT when any byte isn't there (nothing is written then). mem_write refuses ROM. */
int mem_read(const struct mem *m, gpa_t gpa, void *buf, uint64_t len) MUST_CHECK;
int mem_write(struct mem *m, gpa_t gpa, const void *buf, uint64_t len) MUST_CHECK;
/* The loaders' write: also into ROM. */
int mem_load(struct mem *m, gpa_t gpa, const void *buf, uint64_t len) MUST_CHECK;

/* Index of a page for per-page tables, or UINT64_MAX. */
uint64_t mem_page(const struct mem *m, gpa_t gpa);

/* Dirty log by us (soft engine, device writes).  Engines with their own log merge it in. */
int mem_dirty_start(struct mem *m, struct err *e) MUST_CHECK;
void mem_dirty_stop(struct mem *m);
static inline void mem_dirty_set(struct mem *m, uint64_t page)
{
	if (unlikely(m->dirty != NULL))
		__atomic_fetch_or((uint64_t *)&m->dirty[page / 64], 1ull << page % 64,
		                  __ATOMIC_RELAXED);
}
/* Copies the bits of [page, page + n) into out and clears them; returns how many were set. */
uint64_t mem_dirty_fetch(struct mem *m, uint64_t page, uint64_t n, uint64_t *out);

#endif
