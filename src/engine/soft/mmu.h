/* Page walks: from linear to guest-physical addresses, with the processor's permission checks. */
#ifndef ENGINE_SOFT_MMU_H
#define ENGINE_SOFT_MMU_H

#include "engine/soft/soft.h"

enum mmu_access { MMU_READ, MMU_WRITE, MMU_EXEC };

/* #PF error code (SDM 3A 4.7) */
#define PF_P    1u
#define PF_W    2u
#define PF_U    4u
#define PF_RSVD 8u
#define PF_I    16u

struct mmu_page {
	gpa_t gpa;              /* of the byte */
	bool read, write, exec; /* what the privilege asked for may do */
	bool dirty;             /* the D bit is set: write tags may be given */
	bool global;
	uint8_t shift; /* log2 of its size */
};

/*
 * Walks the tables in force for an access of the kind, user: as CPL 3.  0, or a #PF error code | MMU_FAULT.
 * set: sets A and D bits as the access would.
 */
#define MMU_FAULT (1u << 31)
uint32_t mmu_walk(struct soft_cpu *c, gva_t va, enum mmu_access access, bool user, bool set,
                  struct mmu_page *out);

/* A page that is mapped and was used before (A is set at all levels); changes nothing. */
bool mmu_peek(struct soft_cpu *c, gva_t va, bool user, struct mmu_page *out);

/* Where a page of guest memory is and what it may do now; fills the TLB.  Raises. */
struct mmu_hit {
	uint8_t *host; /* of the byte; NULL: MMIO */
	gpa_t gpa;
	uint32_t page; /* mem_page() */
	bool rom;
};
/* A page of 1 << shift bytes goes into a TLB (here or in flat.c). */
void tlb_note_size(struct soft_cpu *c, gva_t va, unsigned shift);

struct mmu_hit mmu_touch(struct soft_cpu *c, gva_t va, enum mmu_access access, bool user);

/* A store of len bytes within one page has been done: dirty log, code. */
void mmu_stored(struct soft_cpu *c, const struct mmu_hit *hit, unsigned len);

#endif
