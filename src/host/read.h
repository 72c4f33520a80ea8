/* Small files below the replaceable root. */
#ifndef HOST_READ_H
#define HOST_READ_H

#include "base/lang.h"

/* All paths are relative to the directory rootfd. */
bool read_exists(int rootfd, const char *path);
/* The first line or all of a small file, cut at len - 1, without the last newline. */
bool read_text(int rootfd, const char *path, char *buf, size_t len);
/* A decimal number; otherwise when it's not there. */
uint64_t read_u64(int rootfd, const char *path, uint64_t otherwise);
/* The word that stands in [brackets]: how the kernel shows a choice. */
void read_choice(int rootfd, const char *path, char *buf, size_t len);
/* "Name:   123 kB" of a meminfo file, in bytes; 0 without. */
uint64_t read_meminfo(int rootfd, const char *path, const char *name);

#endif
