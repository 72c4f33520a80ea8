/*
 * A whole file in memory: kernels, initial RAM disks, modules, firmware.  Read, not mapped, so that
 * a file that shrinks meanwhile cannot kill the process.
 */
#ifndef IMAGE_FILE_H
#define IMAGE_FILE_H

#include "base/err.h"

struct file {
	uint8_t *data;
	size_t size;
};

/*
 * what ("kernel") and option ("--kernel") name it in errors: missing, unreadable, a directory,
 * empty, larger than limit.
 */
int file_read(const char *path, const char *what, const char *option, uint64_t limit,
              struct file *out, struct err *e) MUST_CHECK;
void file_free(struct file *f); /* accepts a zeroed one */

#endif
