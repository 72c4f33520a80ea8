/* The setup header of a Linux bzImage (Linux Documentation/arch/x86/boot.rst, "The real-mode kernel
 * header"). */
#ifndef IMAGE_BZIMAGE_H
#define IMAGE_BZIMAGE_H

#include "image/kernel.h"

/* Offsets in the file; the zero page has the header at the same place. */
#define SETUP_SECTS            0x1f1
#define SETUP_SYSSIZE          0x1f4
#define SETUP_BOOT_FLAG        0x1fe
#define SETUP_JUMP             0x200
#define SETUP_HEADER           0x202
#define SETUP_VERSION          0x206
#define SETUP_KERNEL_VERSION   0x20e
#define SETUP_LOADER_TYPE      0x210
#define SETUP_LOADFLAGS        0x211
#define SETUP_CODE32_START     0x214
#define SETUP_RAMDISK_IMAGE    0x218
#define SETUP_RAMDISK_SIZE     0x21c
#define SETUP_HEAP_END         0x224
#define SETUP_CMD_LINE_PTR     0x228
#define SETUP_INITRD_ADDR_MAX  0x22c
#define SETUP_KERNEL_ALIGNMENT 0x230
#define SETUP_RELOCATABLE      0x234
#define SETUP_XLOADFLAGS       0x236
#define SETUP_CMDLINE_SIZE     0x238
#define SETUP_PAYLOAD_OFFSET   0x248
#define SETUP_PAYLOAD_LENGTH   0x24c
#define SETUP_DATA             0x250
#define SETUP_PREF_ADDRESS     0x258
#define SETUP_INIT_SIZE        0x260

bool bzimage_is(const struct file *f);
int bzimage_parse(const char *path, const struct file *f, struct kernel_linux *out,
                  struct err *e) MUST_CHECK;

#endif
