#include "image/elf.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

bool elf_is(const uint8_t *data, size_t size)
{
	return size >= SELFMAG && memcmp(data, ELFMAG, SELFMAG) == 0;
}

static int truncated(const char *path, struct err *e)
{
	return err_set(e, EINVAL,
	               "kernel '%s' is truncated: its headers point behind its end: copy it again",
	               path);
}

/* [offset, offset + len) in a file of size bytes, without overflow. */
static bool inside(uint64_t offset, uint64_t len, uint64_t size)
{
	return offset <= size && len <= size - offset;
}

static void read_header(struct elf *f)
{
	if (f->is64) {
		Elf64_Ehdr h;

		memcpy(&h, f->data, sizeof(h));
		f->type = h.e_type;
		f->machine = h.e_machine;
		f->entry = h.e_entry;
		f->phoff = h.e_phoff;
		f->phnum = h.e_phnum;
		f->phentsize = h.e_phentsize;
	} else {
		Elf32_Ehdr h;

		memcpy(&h, f->data, sizeof(h));
		f->type = h.e_type;
		f->machine = h.e_machine;
		f->entry = h.e_entry;
		f->phoff = h.e_phoff;
		f->phnum = h.e_phnum;
		f->phentsize = h.e_phentsize;
	}
}

int elf_open(const char *path, const uint8_t *data, size_t size, struct elf *out, struct err *e)
{
	struct elf f = {.data = data, .size = size};

	if (size < EI_NIDENT)
		return truncated(path, e);
	f.is64 = data[EI_CLASS] == ELFCLASS64;
	if ((!f.is64 && data[EI_CLASS] != ELFCLASS32) || data[EI_DATA] != ELFDATA2LSB)
		return err_set(e, EINVAL,
		               "kernel '%s' is an ELF file for another kind of computer: "
		               "give --kernel one for x86",
		               path);
	if (size < (f.is64 ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr)))
		return truncated(path, e);
	read_header(&f);
	if (f.machine != EM_X86_64 && f.machine != EM_386)
		return err_set(e, EINVAL,
		               "kernel '%s' is an ELF file for machine %u, not x86: "
		               "give --kernel one for x86",
		               path, f.machine);
	if (f.phnum && f.phentsize < (f.is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)))
		return err_set(e, EINVAL, "kernel '%s' has a damaged ELF header: copy it again",
		               path);
	if (!inside(f.phoff, (uint64_t)f.phnum * f.phentsize, size))
		return truncated(path, e);
	*out = f;
	return 0;
}

struct elf_segment elf_segment(const struct elf *f, unsigned i)
{
	const uint8_t *p = f->data + f->phoff + (uint64_t)i * f->phentsize;

	if (f->is64) {
		Elf64_Phdr h;

		memcpy(&h, p, sizeof(h));
		return (struct elf_segment){h.p_type,  h.p_flags,  h.p_offset, h.p_vaddr,
		                            h.p_paddr, h.p_filesz, h.p_memsz};
	}
	Elf32_Phdr h;

	memcpy(&h, p, sizeof(h));
	return (struct elf_segment){h.p_type,  h.p_flags,  h.p_offset, h.p_vaddr,
	                            h.p_paddr, h.p_filesz, h.p_memsz};
}

static int check_load(const char *path, const struct elf *f, const struct elf_segment *s,
                      struct err *e)
{
	if (s->filesz > s->memsz)
		return err_set(e, EINVAL, "kernel '%s' has a damaged program header: copy it again",
		               path);
	if (!inside(s->offset, s->filesz, f->size))
		return truncated(path, e);
	if (!inside(s->paddr, s->memsz, 4 * GIB))
		return err_set(e, EINVAL,
		               "kernel '%s' wants to be loaded at 0x%llx, above 4 GiB: "
		               "give --kernel one that is linked lower",
		               path, (unsigned long long)s->paddr);
	return 0;
}

int elf_load_segments(const char *path, const struct elf *f, struct kernel_segment *out,
                      unsigned max, struct err *e)
{
	unsigned n = 0;

	for (unsigned i = 0; i < f->phnum; i++) {
		struct elf_segment s = elf_segment(f, i);
		int r;

		if (s.type != PT_LOAD || s.memsz == 0)
			continue;
		r = check_load(path, f, &s, e);
		if (r < 0)
			return r;
		if (n == max)
			return err_set(e, EINVAL, "kernel '%s' has more than %u segments", path,
			               max);
		for (unsigned k = 0; k < n; k++) {
			if (s.paddr < out[k].paddr + out[k].memsz &&
			    out[k].paddr < s.paddr + s.memsz)
				return err_set(e, EINVAL,
				               "kernel '%s' has overlapping segments at 0x%llx: "
				               "copy it again",
				               path, (unsigned long long)s.paddr);
		}
		out[n++] = (struct kernel_segment){s.offset, s.filesz, s.paddr, s.memsz};
	}
	if (n == 0)
		return err_set(e, EINVAL,
		               "kernel '%s' is an ELF file without anything to load: "
		               "give --kernel an executable kernel",
		               path);
	return n;
}

uint64_t elf_physical(const struct elf *f, uint64_t vaddr)
{
	for (unsigned i = 0; i < f->phnum; i++) {
		struct elf_segment s = elf_segment(f, i);

		if (s.type == PT_LOAD && vaddr - s.vaddr < s.memsz)
			return s.paddr + (vaddr - s.vaddr);
	}
	return UINT64_MAX;
}

/* Walks one note segment; entries are padded to 4 bytes. */
static bool note_in(const struct elf *f, const struct elf_segment *s, const char *name,
                    uint32_t type, uint64_t *value)
{
	size_t name_len = strlen(name) + 1;
	uint64_t at = s->offset, end = s->offset + s->filesz;

	while (end - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr h;
		uint64_t desc;

		memcpy(&h, f->data + at, sizeof(h));
		at += sizeof(h);
		if (align_up(h.n_namesz, 4) > end - at)
			return false;
		desc = at + align_up(h.n_namesz, 4);
		if (h.n_descsz > end - desc)
			return false;
		if (h.n_type == type && h.n_namesz == name_len && h.n_descsz >= 4 &&
		    memcmp(f->data + at, name, name_len) == 0) {
			*value = 0;
			memcpy(value, f->data + desc, MIN(h.n_descsz, 8u));
			return true;
		}
		at = desc + align_up(h.n_descsz, 4);
		if (at > end)
			return false;
	}
	return false;
}

bool elf_note(const struct elf *f, const char *name, uint32_t type, uint64_t *value)
{
	for (unsigned i = 0; i < f->phnum; i++) {
		struct elf_segment s = elf_segment(f, i);

		if (s.type == PT_NOTE && inside(s.offset, s.filesz, f->size) &&
		    note_in(f, &s, name, type, value))
			return true;
	}
	return false;
}
