/* Small kernel images of every kind, made from nothing, for tests. */
#ifndef TESTS_IMAGE_MAKE_H
#define TESTS_IMAGE_MAKE_H

#include "image/kernel.h"

/* All malloc'ed, sized as a file would be. */
struct file make_bzimage(const uint8_t *payload, size_t len);
/* One segment of `code` at paddr = 1 MiB, vaddr = paddr + 0xffffffff80000000; note: PVH entry or 0. */
struct file make_elf64(uint32_t note_entry);
struct file make_elf32_multiboot(void);
struct file make_multiboot_flat(void);

#define MAKE_LOAD 0x100000u
#define MAKE_CODE "\xfa\xf4\xeb\xfd" /* cli; hlt; jmp to hlt */

#endif
