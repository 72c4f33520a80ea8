/*
 * Guest memory for translated code: the flat table.
 *
 * A window is a piece of reserved address space for one privilege, which GS points into:
 *
 *	-STATE-HASH	the vCPU's struct soft_cpu, mapped here too: translated code reaches it by GS
 *	-HASH		struct flat_hash: translated code by guest address, for indirect jumps; the supervisor
 *			windows of all address spaces share one, as kernels have their code in all
 *	GS ->  0	the table: one entry of 8 bytes a guest page, 2^36 of them (bits 12..47)
 *
 * An entry is an addend: host address minus guest address.  FLAT_MISS makes any address that is
 * canonical non-canonical, so that an access through it faults, as a non-canonical one does
 * through any entry.  Zero would be the hole in the wall (host address = guest address), so parts of the
 * table that were never used are inaccessible, and are filled with FLAT_MISS when they are opened.
 *
 * RAM is mapped twice, read-write and read-only.  A page that may not be written without a look
 * (not yet dirty, holds code, dirty log) has the addend of the read-only view: the store faults.
 *
 * Each address space of the guest (PCID) has two windows, and a few of them are kept.
 *
 * Windows belong to one vCPU; everything here runs on its thread, or while it is parked.
 */
#ifndef ENGINE_SOFT_FLAT_H
#define ENGINE_SOFT_FLAT_H

#include "engine/soft/soft.h"

#define FLAT_HASH_BITS 15
#define FLAT_HASH_SIZE (1u << FLAT_HASH_BITS)
/* Guest address bits that index the hash. */
#define FLAT_HASH_MASK (((uint64_t)FLAT_HASH_SIZE - 1) << 1)
#define FLAT_PAGE_MASK 0x0000fffffffff000ull
#define FLAT_MISS      0x4000000000000000ull
#define FLAT_TABLE     (1ull << 39) /* bytes */

/*
 * Slot 0 is never used, and leads out of translated code: with a mask of 0 in place of FLAT_HASH_MASK every
 * jump that looks its target up leaves (native_poke()).
 */
struct flat_hash {
	uint64_t minus_rip[FLAT_HASH_SIZE]; /* minus the guest address */
	const void *code[FLAT_HASH_SIZE];
};

#define FLAT_STATE_BYTES align_up(sizeof(struct soft_cpu), PAGE_SIZE)
/* What to add to an offset in struct soft_cpu to reach it by GS. */
#define FLAT_STATE (-(int32_t)(FLAT_STATE_BYTES + sizeof(struct flat_hash)))
#define FLAT_HASH  (-(int32_t)sizeof(struct flat_hash))

/* A vCPU's zeroed struct soft_cpu, in memory that windows can map; NULL: out of memory. */
struct soft_cpu *flat_cpu_new(void);
void flat_cpu_free(struct soft_cpu *c);

/* The read-only views; again when the memory map changed. */
int flat_views_open(struct soft_vm *vm, struct err *e) MUST_CHECK;
void flat_views_close(struct soft_vm *vm);

/* Reserves the windows.  -ENOMEM: no address space (ulimit -v): there is no translation then. */
int flat_open(struct soft_cpu *c);
void flat_close(struct soft_cpu *c);

/* Points GS to the window of the current privilege. */
void flat_select(struct soft_cpu *c);

/* An access of the current privilege found no entry, or no writable one. */
enum flat_result {
	FLAT_FILLED, /* try again */
	FLAT_GUEST,  /* the guest's tables do not allow it: interpret, it will raise */
	FLAT_SLOW,   /* a device, code beside data...: interpret */
};
enum flat_result flat_fill(struct soft_cpu *c, gva_t va, bool write);
/* The guest has handled a page fault at va and goes on: saves the host fault that would come. */
void flat_refill(struct soft_cpu *c, gva_t va);
/* A host address faulted: opens the part of a table that it is in. */
enum flat_part {
	FLAT_PART_NONE,    /* it's in no table, or that part is open */
	FLAT_PART_OPENED,  /* try again */
	FLAT_PART_REFUSED, /* by the host: no memory, too many mappings */
};
enum flat_part flat_open_part(struct soft_cpu *c, const void *at);

/* In all address spaces. */
void flat_flush(struct soft_cpu *c, bool keep_global);
void flat_flush_page(struct soft_cpu *c, gva_t va);
/* What isn't global of one. */
void flat_flush_pcid(struct soft_cpu *c, uint16_t pcid);
/* Makes an address space current (flat_select() follows); keep: as it was left. */
void flat_switch(struct soft_cpu *c, uint16_t pcid, bool keep);
/* Takes write access away: from one page of memory, from all. */
void flat_drop_page(struct soft_cpu *c, uint32_t page);
void flat_drop_writes(struct soft_cpu *c);

/* The current space's jump cache entries are stale. */
void flat_new_generation(struct soft_cpu *c);

/* Enters translated code for a guest address into the current window's hash. */
void flat_hash_add(struct soft_cpu *c, uint64_t rip, const void *code);
void flat_hash_clear(struct soft_cpu *c);

#endif
