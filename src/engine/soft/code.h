/*
 * Which guest pages hold decoded code, so that a store to one is noticed.
 *
 * Each page has a version, and a map with one bit per 64-byte chunk that blocks were decoded from.
 * A page with an empty map may have write tags in TLBs; a store to any other page takes the slow
 * path and ends in code_written(), which bumps the version when it hit a chunk.
 *
 * The protocol, with decoder D and storer S on different vCPUs:
 *
 *	D: v = version; set bits; (1) take write tags away; read the bytes; block.version = v
 *	S: write the bytes; fence; bits hit? -> clear the map, then version++
 *
 * If S clears D's bits, its version++ follows D's reading of v: D's block is stale at once.  If S
 * sees no bits, D reads S's bytes.  A stale block whose bytes are still the same is taken up again.
 *
 * (1) A TLB filler sets `tagged` before it looks at the map and gives a write tag only when that
 * is empty.  D, when the page is tagged, drops its own tags of the page, and then raises the
 * VM's epoch and VCPU_REQ_ENGINE; each vCPU drops all its write tags at its next block end and
 * acknowledges the epoch.  D waits for all vCPUs in guest code, acknowledging for itself meanwhile
 * (it is between blocks, so it stores nothing): two decoders cannot block each other.  A vCPU that
 * enters guest code first says so (inside), then looks at the epoch.  D puts its ticket into `tagged`
 * before the round, and clears it afterwards only if it still finds it there: meanwhile a store may have
 * emptied the map and a filler given a new tag, or another decoder of the page makes its own round.
 */
#ifndef ENGINE_SOFT_CODE_H
#define ENGINE_SOFT_CODE_H

#include <stdatomic.h>
#include "engine/soft/soft.h"
#include "engine/soft/times.h"

struct code_page {
	_Atomic uint64_t map;
	_Atomic uint32_t version;
	_Atomic uint32_t tagged; /* some TLB may have a write tag: 1, or who is taking them away */
};

#define CODE_CHANGES 256

struct soft_vm {
	struct machine *machine;
	uint64_t pages;
	struct code_page *page; /* [pages] */
	_Atomic uint64_t epoch; /* of the last round of taking write tags away */
	pthread_mutex_t split;  /* serialises locked accesses that no host instruction can do */
	struct soft_times times;
	/* The last pages with code that were written, and how many there were ever. */
	_Atomic uint32_t changed[CODE_CHANGES];
	_Atomic uint64_t changes;
	pthread_mutex_t changes_lock;
	uint8_t *view[MEM_RANGES_MAX]; /* of RAM, read-only (flat.h) */
	uint64_t view_size[MEM_RANGES_MAX];
};

/* Marks [offset, offset + len) of a page as code; returns the version before.  Between blocks only. */
uint32_t code_mark(struct soft_cpu *c, uint32_t page, unsigned offset, unsigned len);

/* After a store by any thread; len may go over the page's end (then only this page counts). */
bool code_written(struct soft_vm *vm, uint32_t page, unsigned offset, unsigned len);

/* May a write tag for the page be given? Says that it will be. */
static inline bool code_tag(struct soft_vm *vm, uint32_t page)
{
	struct code_page *p = &vm->page[page];

	if (atomic_load(&p->map) != 0)
		return false;
	atomic_store(&p->tagged, 1);
	return atomic_load(&p->map) == 0;
}

/* Enters and leaves guest code; serves the wish to take write tags away. */
void code_enter(struct soft_cpu *c);
void code_exit(struct soft_cpu *c);
void code_serve(struct soft_cpu *c);
/* Takes all write tags of this vCPU away. */
void code_drop_writes(struct soft_cpu *c);

#endif
