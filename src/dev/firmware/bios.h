/*
 * Firmware images (SeaBIOS and the like): the image ends at 4 GiB, where the processor starts after
 * reset; its last 128 KiB are also below 1 MiB, where chipsets shadow it.
 */
#ifndef DEV_FIRMWARE_BIOS_H
#define DEV_FIRMWARE_BIOS_H

#include "image/file.h"
#include "machine/cpu.h"
#include "machine/mem.h"

#define BIOS_SIZE_MAX (16 * MIB)

/* Whole pages, and a jump at the reset vector. */
int bios_check(const char *path, const struct file *f, struct err *e) MUST_CHECK;
/* Adds the ROM, fills it and its shadow, puts the processor at the reset vector. */
int bios_load(struct mem *mem, const struct file *f, struct cpu_state *cpu,
              struct err *e) MUST_CHECK;

#endif
