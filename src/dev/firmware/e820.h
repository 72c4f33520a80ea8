/*
 * The memory map that firmware tells an operating system (ACPI specification 15, "e820").  Sorted,
 * without overlaps; what is in no entry is free for devices.
 */
#ifndef DEV_FIRMWARE_E820_H
#define DEV_FIRMWARE_E820_H

#include "base/lang.h"

enum e820_type { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3 };

struct e820_entry {
	uint64_t base, size;
	uint32_t type;
};

#define E820_MAX 16

struct e820 {
	unsigned n;
	struct e820_entry entry[E820_MAX];
};

/* RAM from 0 to low_ram and from 4 GiB; the legacy hole with firmware's area at 0xe0000. */
void e820_make(struct e820 *map, uint64_t low_ram, uint64_t high_ram);
/* Adds an entry in its place by address. */
void e820_add(struct e820 *map, uint64_t base, uint64_t size, enum e820_type type);

/* Where the legacy area starts: the last KiB of conventional memory belongs to firmware (EBDA). */
#define E820_LOW_END 0x9fc00

#endif
