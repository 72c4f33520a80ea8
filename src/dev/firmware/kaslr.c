#include "dev/firmware/kaslr.h"

#include <elf.h>
#include <string.h>

#include "dev/firmware/blob.h"

#define KERNEL_MAP   0xffffffff80000000ull /* virtual address of physical 0 */
#define KERNEL_MAX   GIB                   /* of virtual addresses */
#define KERNEL_ALIGN (2 * MIB)

/* One list: places at data[first .. last), 4 bytes each. */
struct list {
	size_t first, last;
	uint8_t width; /* of the fields */
	bool subtract;
};

/* Where the ELF file ends in the payload: its section headers are last. */
static size_t elf_end(const struct kaslr *k)
{
	Elf64_Ehdr h;

	if (k->size < sizeof(h))
		return 0;
	memcpy(&h, k->data, sizeof(h));
	if (h.e_shoff == 0 || h.e_shoff > k->size)
		return 0;
	return h.e_shoff + (size_t)h.e_shnum * h.e_shentsize;
}

static bool is_zero(const struct kaslr *k, size_t at)
{
	return load_le(k->data + at, 4) == 0;
}

/* Splits what is behind the ELF file; returns the number of lists, 0: that's not what is there. */
static unsigned find_lists(const struct kaslr *k, struct list list[3])
{
	size_t at = elf_end(k);
	unsigned n = 0;

	if (at == 0 || at >= k->size || (k->size - at) % 4 || !is_zero(k, at))
		return 0;
	for (; at < k->size; at += 4) {
		if (!is_zero(k, at)) {
			list[n - 1].last = at + 4;
			continue;
		}
		if (n == 3)
			return 0;
		list[n++] = (struct list){.first = at + 4, .last = at + 4};
	}
	if (n < 2)
		return 0;
	list[0].width = 8;
	list[1].subtract = n == 3;
	list[1].width = list[n - 1].width = 4;
	return n;
}

/* Physical address of a place, or UINT64_MAX when it is in no segment. */
static uint64_t place(const struct kaslr *k, const struct list *l, size_t at)
{
	uint64_t gpa = (int64_t)(int32_t)load_le(k->data + at, 4) - KERNEL_MAP;

	for (unsigned i = 0; i < k->segments; i++) {
		const struct kernel_segment *s = &k->segment[i];

		if (gpa >= s->paddr && gpa - s->paddr < s->memsz &&
		    s->memsz - (gpa - s->paddr) >= l->width)
			return gpa;
	}
	return UINT64_MAX;
}

static bool check(struct mem *mem, const struct kaslr *k, const struct list *l)
{
	for (size_t at = l->first; at < l->last; at += 4) {
		uint64_t gpa = place(k, l, at);

		if (gpa == UINT64_MAX || !mem_ptr(mem, gpa, l->width, true))
			return false;
	}
	return true;
}

static void patch(struct mem *mem, const struct kaslr *k, const struct list *l, uint64_t delta)
{
	for (size_t at = l->first; at < l->last; at += 4) {
		uint64_t gpa = place(k, l, at);
		uint8_t *p = mem_ptr(mem, gpa, l->width, true);

		store_le(p, load_le(p, l->width) + (l->subtract ? -delta : delta), l->width);
		mem_written(mem, gpa, l->width);
	}
}

uint64_t kaslr_apply(struct mem *mem, const struct kaslr *k)
{
	struct list list[3] = {};
	unsigned n = find_lists(k, list);
	uint64_t slots, delta;

	if (n == 0 || k->end >= KERNEL_MAX)
		return 0;
	for (unsigned i = 0; i < n; i++) {
		if (!check(mem, k, &list[i]))
			return 0;
	}
	slots = (KERNEL_MAX - k->end) / KERNEL_ALIGN;
	delta = slots ? k->random % (slots + 1) * KERNEL_ALIGN : 0;
	for (unsigned i = 0; i < n; i++)
		patch(mem, k, &list[i], delta);
	return delta;
}
