#include "image/multiboot.h"

#include <errno.h>
#include <string.h>

#include "image/elf.h"

#define MAGIC  0x1badb002u
#define SEARCH 8192 /* the header lies wholly in the first so many bytes */

struct header {
	uint32_t magic, flags, checksum;
	/* With MULTIBOOT_ADDRESSES; physical */
	uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};

static bool find(const struct file *f, struct header *h, uint64_t *at)
{
	size_t end = MIN(f->size, (size_t)SEARCH);

	for (size_t i = 0; i + 12 <= end; i += 4) {
		memcpy(h, f->data + i, 12);
		if (h->magic != MAGIC || h->magic + h->flags + h->checksum != 0)
			continue;
		if (h->flags & MULTIBOOT_ADDRESSES) {
			if (i + sizeof(*h) > end)
				continue;
			memcpy(h, f->data + i, sizeof(*h));
		}
		*at = i;
		return true;
	}
	return false;
}

static int damaged(const char *path, struct err *e)
{
	return err_set(
		e, EINVAL,
		"kernel '%s' is truncated or damaged: its Multiboot addresses do not fit the "
		"file: build or copy it again",
		path);
}

/* One segment as the header's address fields say ("a.out kludge"). */
static int by_addresses(const char *path, const struct file *f, const struct header *h, uint64_t at,
                        struct kernel *k, struct err *e)
{
	struct kernel_segment s = {.paddr = h->load_addr};
	uint64_t skipped;

	if (h->header_addr < h->load_addr || h->header_addr - h->load_addr > at)
		return damaged(path, e);
	skipped = h->header_addr - h->load_addr;
	s.offset = at - skipped;
	s.filesz = f->size - s.offset;
	if (h->load_end_addr) {
		if (h->load_end_addr < h->load_addr || h->load_end_addr - h->load_addr > s.filesz)
			return damaged(path, e);
		s.filesz = h->load_end_addr - h->load_addr;
	}
	s.memsz = s.filesz;
	if (h->bss_end_addr) {
		if (h->bss_end_addr < s.paddr + s.filesz)
			return damaged(path, e);
		s.memsz = h->bss_end_addr - s.paddr;
	}
	if (s.paddr + s.memsz > 4 * GIB)
		return damaged(path, e);
	k->segment[0] = s;
	k->segments = 1;
	k->entry = h->entry_addr;
	return 1;
}

int multiboot_parse(const char *path, const struct file *f, struct kernel *out, struct err *e)
{
	struct header h;
	struct elf elf;
	uint64_t at;
	int r;

	if (!find(f, &h, &at))
		return 0;
	if (h.flags & 0xfff8)
		return err_set(e, ENOTSUP,
		               "kernel '%s' demands Multiboot features 0x%x that do not exist here",
		               path, h.flags & 0xfff8);
	out->kind = KERNEL_MULTIBOOT;
	out->multiboot_flags = h.flags;
	if (h.flags & MULTIBOOT_ADDRESSES)
		return by_addresses(path, f, &h, at, out, e);
	if (!elf_is(f->data, f->size))
		return err_set(
			e, EINVAL,
			"kernel '%s' has a Multiboot header without addresses, and is no ELF "
			"file: set flag 16 or link it as ELF",
			path);
	r = elf_open(path, f->data, f->size, &elf, e);
	if (r < 0)
		return r;
	r = elf_load_segments(path, &elf, out->segment, KERNEL_SEGMENTS_MAX, e);
	if (r < 0)
		return r;
	out->segments = r;
	out->entry = elf_physical(&elf, elf.entry);
	if (out->entry == UINT64_MAX)
		out->entry = elf.entry;
	return 1;
}
