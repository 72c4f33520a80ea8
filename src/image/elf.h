/*
 * The parts of an ELF executable that a boot loader needs (System V ABI, chapters 4 and 5): program
 * headers by physical address, and notes.  32 and 64 bits, little-endian, x86.
 */
#ifndef IMAGE_ELF_H
#define IMAGE_ELF_H

#include "image/kernel.h"

struct elf {
	const uint8_t *data;
	size_t size;
	bool is64;
	uint16_t type, machine;
	uint64_t entry; /* virtual as the file says it */
	uint64_t phoff;
	unsigned phnum, phentsize;
};

struct elf_segment {
	uint32_t type, flags;
	uint64_t offset, vaddr, paddr, filesz, memsz;
};

bool elf_is(const uint8_t *data, size_t size);
/* Header and program headers lie in the data.  path names it in errors. */
int elf_open(const char *path, const uint8_t *data, size_t size, struct elf *out,
             struct err *e) MUST_CHECK;
struct elf_segment elf_segment(const struct elf *f, unsigned i);
/* Checked PT_LOADs; returns their number. */
int elf_load_segments(const char *path, const struct elf *f, struct kernel_segment *out,
                      unsigned max, struct err *e) MUST_CHECK;
/* The physical address that the virtual one has by the program headers, or UINT64_MAX. */
uint64_t elf_physical(const struct elf *f, uint64_t vaddr);
/* A note's first 4 or 8 bytes; false: there is none. */
bool elf_note(const struct elf *f, const char *name, uint32_t type, uint64_t *value);

#endif
