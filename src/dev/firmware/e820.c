#include "dev/firmware/e820.h"

#include <assert.h>
#include <string.h>

void e820_add(struct e820 *map, uint64_t base, uint64_t size, enum e820_type type)
{
	unsigned at = map->n;

	assert(map->n < E820_MAX);
	if (size == 0)
		return;
	while (at > 0 && map->entry[at - 1].base > base)
		at--;
	memmove(&map->entry[at + 1], &map->entry[at], (map->n - at) * sizeof(map->entry[0]));
	map->entry[at] = (struct e820_entry){base, size, type};
	map->n++;
}

void e820_make(struct e820 *map, uint64_t low_ram, uint64_t high_ram)
{
	*map = (struct e820){};
	e820_add(map, 0, E820_LOW_END, E820_RAM);
	e820_add(map, E820_LOW_END, 0xa0000 - E820_LOW_END, E820_RESERVED);
	e820_add(map, 0xe0000, 0x20000, E820_RESERVED);
	e820_add(map, MIB, low_ram - MIB, E820_RAM);
	e820_add(map, 4 * GIB, high_ram, E820_RAM);
}
