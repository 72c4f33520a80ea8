/* Between the files of the flat table: flat.c, flat_space.c, flat_fill.c. */
#ifndef ENGINE_SOFT_FLAT_IMPL_H
#define ENGINE_SOFT_FLAT_IMPL_H

#include "engine/soft/flat.h"
#include "engine/soft/native.h"

#define PART         16384ull /* bytes of a table that are opened at once: 8 MiB of guest addresses */
#define PARTS_MAX    4096u    /* of one vCPU that are open at once */
#define FILLS        (1u << 18) /* entries that are remembered until all are dropped: 1 GiB */
#define SPACES_MAX   8u         /* Linux uses six PCIDs */
#define JUMPS_LISTED 1024

/* An entry that is not FLAT_MISS, unless it was dropped meanwhile. */
struct fill {
	uint64_t *entry;
	uint32_t page; /* mem_page() */
	uint32_t next; /* in the page's chain of those that allow writing: number + 1, 0 for none */
};

#define FILL_CHAINS 512

struct fills {
	unsigned n;
	uint32_t chain[FILL_CHAINS];
	struct fill fill[FILLS]; /* most of it is never touched */
};

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
	unsigned parts;  /* that are open */
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
	unsigned parts; /* open, in all windows */
};

#define FILE_BYTES   (FLAT_STATE_BYTES + sizeof(struct flat_hash))
#define WINDOW_BYTES (FILE_BYTES + FLAT_TABLE)
#define OPENED_BYTES (FLAT_TABLE / PART / 8)

/* All windows of all spaces, by number. */
static inline struct window *window_of(struct flat *f, unsigned i)
{
	return &f->space[i / 2].window[i % 2];
}

static inline uint64_t *entry_at(struct window *w, gva_t va)
{
	return &w->table[(va & FLAT_PAGE_MASK) >> PAGE_SHIFT];
}

static inline bool part_is_open(const struct window *w, const void *at)
{
	uint64_t part = (uint64_t)((const uint8_t *)at - (const uint8_t *)w->table) / PART;

	return w->opened[part / 8] >> part % 8 & 1;
}

/* Opens the part with `at`, all of it FLAT_MISS.  False: the host refuses. */
bool flat_part_open(struct soft_cpu *c, struct window *w, const void *at);

/* Slot 0 never matches; the others' zero belongs there. */
void flat_slot_clear(struct jumps *j, uint64_t slot);

/* All entries of the list are FLAT_MISS, and forgotten. */
void flat_drop_fills(struct fills *l);

#endif
