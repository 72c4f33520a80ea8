/*
 * Moving an unpacked Linux kernel to a random virtual address, as its own decompressor does ("KASLR").
 * The physical address stays.
 *
 * The build appends three lists of 32-bit numbers to the ELF file, each with a zero in front; newer
 * kernels have no middle one:
 *
 *	0 | places of 64-bit addresses | 0 | places to subtract from | 0 | places of 32-bit addresses
 *
 * A place is the low half of the virtual address of a field that holds an address.
 */
#ifndef DEV_FIRMWARE_KASLR_H
#define DEV_FIRMWARE_KASLR_H

#include "image/elf.h"
#include "machine/mem.h"

struct kaslr {
	const uint8_t *data; /* the unpacked payload: ELF file and lists */
	size_t size;
	const struct kernel_segment *segment;
	unsigned segments;
	uint64_t end; /* physical: behind what the kernel needs */
	uint64_t random;
};

/*
 * Patches the kernel that is in memory already.  Returns by how much its virtual addresses moved,
 * 0 when it cannot be moved (no lists, or lists that do not fit it): then nothing was changed.
 */
uint64_t kaslr_apply(struct mem *mem, const struct kaslr *k);

#endif
