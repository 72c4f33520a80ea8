#include "image/kernel.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "image/bzimage.h"
#include "image/elf.h"
#include "image/multiboot.h"

#define NOTE_PHYS32_ENTRY 18 /* XEN_ELFNOTE_PHYS32_ENTRY */

/* What a file that is no kernel seems to be, and what to do with it. */
struct guess {
	const char *magic;
	size_t offset, len;
	const char *text;
};

static const struct guess guesses[] = {
	{"\x1f\x8b", 0, 2, "gzip data: unpack it with gunzip first"},
	{"\xfd"
         "7zXZ",
         0, 5, "xz data: unpack it with unxz first"},
	{"\x28\xb5\x2f\xfd", 0, 4, "zstd data: unpack it with unzstd first"},
	{"BZh", 0, 3, "bzip2 data: unpack it with bunzip2 first"},
	{"\x02\x21\x4c\x18", 0, 4, "lz4 data: unpack it with unlz4 first"},
	{"\x04\x22\x4d\x18", 0, 4, "lz4 data: unpack it with unlz4 first"},
	{"070701", 0, 6, "a cpio archive: is it the --initrd?"},
	{"!<arch>", 0, 7, "a Debian package or ar archive: take the kernel out of it first"},
	{"QFI\xfb", 0, 4, "a qcow2 disk image: give it to --disk"},
	{"ustar", 257, 5, "a tar archive: take the kernel out of it first"},
	{"#!", 0, 2, "a script: give --kernel a bzImage, an ELF vmlinux or a Multiboot kernel"},
	{"MZ", 0, 2, "a Windows or EFI program without a Linux header: give --kernel a bzImage"},
};

static int not_a_kernel(const char *path, const struct file *f, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(guesses); i++) {
		const struct guess *g = &guesses[i];

		if (f->size >= g->offset + g->len &&
		    memcmp(f->data + g->offset, g->magic, g->len) == 0)
			return err_set(e, ENOEXEC, "not a kernel: '%s' looks like %s", path,
			               g->text);
	}
	if (f->size >= 512 && f->data[510] == 0x55 && f->data[511] == 0xaa)
		return err_set(e, ENOEXEC,
		               "not a kernel: '%s' looks like a disk image: give it to --disk",
		               path);
	return err_set(e, ENOEXEC,
	               "not a kernel: '%s': give --kernel a bzImage, an ELF vmlinux or a "
	               "Multiboot kernel",
	               path);
}

static int parse_elf(const char *path, const struct file *f, struct kernel *k, struct err *e)
{
	struct elf elf;
	int r = elf_open(path, f->data, f->size, &elf, e);

	if (r < 0)
		return r;
	if (elf.type == ET_REL)
		return err_set(e, ENOEXEC,
		               "not a kernel: '%s' looks like an ELF object file: "
		               "give --kernel a linked kernel",
		               path);
	if (elf.type == ET_DYN)
		return err_set(e, ENOEXEC,
		               "not a kernel: '%s' looks like an ELF shared object or program: "
		               "give --kernel a kernel",
		               path);
	if (elf.type != ET_EXEC)
		return err_set(e, ENOEXEC, "not a kernel: '%s' is an ELF file, but no executable",
		               path);
	if (elf_note(&elf, "Xen", NOTE_PHYS32_ENTRY, &k->entry)) {
		k->kind = KERNEL_PVH;
	} else if (elf.is64) {
		k->kind = KERNEL_ELF64;
		k->entry = elf_physical(&elf, elf.entry);
		if (k->entry == UINT64_MAX) /* some link the entry as a physical address */
			k->entry = elf.entry;
	} else {
		return err_set(
			e, ENOEXEC,
			"not a kernel: '%s' is a 32-bit ELF program with neither a Multiboot "
			"header nor a PVH note",
			path);
	}
	r = elf_load_segments(path, &elf, k->segment, KERNEL_SEGMENTS_MAX, e);
	if (r < 0)
		return r;
	k->segments = r;
	return 0;
}

/* The entry lies in a segment; a kernel that a user program was mistaken for often fails here. */
static int check_entry(const struct kernel *k, struct err *e)
{
	for (unsigned i = 0; i < k->segments; i++) {
		const struct kernel_segment *s = &k->segment[i];

		if (k->entry >= s->paddr && k->entry - s->paddr < s->memsz)
			return 0;
	}
	return err_set(e, ENOEXEC,
	               "not a kernel: '%s': its entry 0x%llx is in none of its segments", k->path,
	               (unsigned long long)k->entry);
}

int kernel_parse(const char *path, struct file *file, struct kernel *out, struct err *e)
{
	struct kernel k = {.path = path};
	struct file f = *file;
	int r;

	if (bzimage_is(&f)) {
		k.kind = KERNEL_BZIMAGE;
		r = bzimage_parse(path, &f, &k.linux_hdr, e);
	} else {
		r = multiboot_parse(path, &f, &k, e);
		if (r == 0) /* no Multiboot header */
			r = elf_is(f.data, f.size) ? parse_elf(path, &f, &k, e)
			                           : not_a_kernel(path, &f, e);
		if (r >= 0)
			r = check_entry(&k, e);
	}
	if (r < 0)
		return r;
	k.file = f;
	*file = (struct file){};
	*out = k;
	return 0;
}

int kernel_open(const char *path, struct kernel *out, struct err *e)
{
	struct file f;
	int r = file_read(path, "kernel", "--kernel", KERNEL_FILE_MAX, &f, e);

	if (r < 0)
		return r;
	r = kernel_parse(path, &f, out, e);
	file_free(&f);
	return r;
}

void kernel_free(struct kernel *k)
{
	file_free(&k->file);
}

const char *kernel_kind_name(enum kernel_kind kind)
{
	switch (kind) {
	case KERNEL_BZIMAGE:
		return "Linux bzImage";
	case KERNEL_ELF64:
		return "ELF vmlinux";
	case KERNEL_PVH:
		return "ELF with PVH entry";
	case KERNEL_MULTIBOOT:
		return "Multiboot 1";
	}
	return "?";
}

uint64_t kernel_end(const struct kernel *k)
{
	uint64_t end = 0;

	for (unsigned i = 0; i < k->segments; i++)
		end = MAX(end, k->segment[i].paddr + k->segment[i].memsz);
	return end;
}
