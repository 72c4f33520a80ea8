#include "image/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/num.h"

static int open_error(const char *path, const char *what, const char *option, int code,
                      struct err *e)
{
	if (code == EACCES || code == EPERM)
		return err_set(e, code, "cannot read %s '%s': permission denied: make it readable",
		               what, path);
	return err_set(e, code, "cannot open %s '%s': %s: give %s an existing file", what, path,
	               strerror(code), option);
}

/* The size of a file that can be taken whole, or an error. */
static int check_kind(int fd, const char *path, const char *what, const char *option,
                      uint64_t limit, uint64_t *size, struct err *e)
{
	char a[32], b[32];
	struct stat st;

	if (fstat(fd, &st) < 0)
		return open_error(path, what, option, errno, e);
	if (S_ISDIR(st.st_mode))
		return err_set(e, EISDIR, "%s '%s' is a directory: give %s a file", what, path,
		               option);
	if (!S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "%s '%s' is not a regular file: give %s a regular file",
		               what, path, option);
	if (st.st_size == 0)
		return err_set(e, EINVAL, "%s '%s' is empty: give %s a whole file", what, path,
		               option);
	if ((uint64_t)st.st_size > limit)
		return err_set(e, EFBIG, "%s '%s' has %s, more than %s: give %s another file", what,
		               path, num_format_size(st.st_size, a, sizeof(a)),
		               num_format_size(limit, b, sizeof(b)), option);
	*size = st.st_size;
	return 0;
}

int file_read(const char *path, const char *what, const char *option, uint64_t limit,
              struct file *out, struct err *e)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	AUTO_FREE uint8_t *data = NULL;
	uint64_t size = 0, got = 0;
	int r;

	if (fd < 0)
		return open_error(path, what, option, errno, e);
	r = check_kind(fd, path, what, option, limit, &size, e);
	if (r < 0)
		return r;
	data = alloc_checked(size, 1, limit);
	if (!data)
		return err_set(e, ENOMEM, "no memory to read %s '%s'", what, path);
	while (got < size) {
		ssize_t n = read(fd, data + got, size - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(e, errno, "cannot read %s '%s': %s", what, path,
			               strerror(errno));
		if (n == 0)
			return err_set(e, EIO, "%s '%s' shrank while it was read: try again", what,
			               path);
		got += n;
	}
	out->data = take_ptr(data);
	out->size = size;
	return 0;
}

void file_free(struct file *f)
{
	free(f->data);
	f->data = NULL;
	f->size = 0;
}
