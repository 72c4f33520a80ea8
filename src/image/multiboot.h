/* The header of a Multiboot 1 kernel (Multiboot Specification 0.6.96, section 3.1). */
#ifndef IMAGE_MULTIBOOT_H
#define IMAGE_MULTIBOOT_H

#include "image/kernel.h"

#define MULTIBOOT_PAGE_ALIGN  (1u << 0)
#define MULTIBOOT_MEMORY_INFO (1u << 1)
#define MULTIBOOT_VIDEO       (1u << 2)
#define MULTIBOOT_ADDRESSES   (1u << 16)

/* 1: it is one, out has its segments and entry; 0: no header; negative: a header, but unusable. */
int multiboot_parse(const char *path, const struct file *f, struct kernel *out,
                    struct err *e) MUST_CHECK;

#endif
