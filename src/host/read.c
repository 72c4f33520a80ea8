/*
 * Reading the small text files of /proc and /sys.
 */
#include "host/read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

bool read_exists(int rootfd, const char *path)
{
	return faccessat(rootfd, path, F_OK, 0) == 0;
}

bool read_text(int rootfd, const char *path, char *buf, size_t len)
{
	AUTO_FD int fd = openat(rootfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t used = 0;
	ssize_t n;

	if (fd < 0)
		return false;
	while (used + 1 < len) {
		n = read(fd, buf + used, len - 1 - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		if (n == 0)
			break;
		used += (size_t)n;
	}
	if (used && buf[used - 1] == '\n')
		used--;
	buf[used] = '\0';
	return true;
}

uint64_t read_u64(int rootfd, const char *path, uint64_t otherwise)
{
	char text[32], *end;
	uint64_t v;

	if (!read_text(rootfd, path, text, sizeof(text)))
		return otherwise;
	errno = 0;
	v = strtoull(text, &end, 10);
	return end != text && *end == '\0' && errno == 0 ? v : otherwise;
}

void read_choice(int rootfd, const char *path, char *buf, size_t len)
{
	char text[128], *from, *to;

	buf[0] = '\0';
	if (!read_text(rootfd, path, text, sizeof(text)))
		return;
	from = strchr(text, '[');
	to = from ? strchr(from, ']') : NULL;
	if (!to || (size_t)(to - from) > len)
		return;
	memcpy(buf, from + 1, (size_t)(to - from) - 1);
	buf[to - from - 1] = '\0';
}

uint64_t read_meminfo(int rootfd, const char *path, const char *name)
{
	char text[4096], *at;

	if (!read_text(rootfd, path, text, sizeof(text)))
		return 0;
	at = strstr(text, name);
	return at ? strtoull(at + strlen(name), NULL, 10) * KIB : 0;
}
