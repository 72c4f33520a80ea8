/* The kinds of character back ends, and the small ones: none, file, pty, and the tests' buffer. */
#include "backend/chr.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include "backend/chr_impl.h"
#include "base/lock.h"
#include "base/log.h"

static void none_write(struct chr *c, const void *data, size_t len)
{
}

static void none_accept(struct chr *c, size_t room)
{
}

static void none_free(struct chr *c)
{
	free(c);
}

static const struct chr_ops none_ops = {"none", none_write, none_accept, none_free};

static int none_open(struct loop *loop, const struct chr_spec *spec, const char *arg,
                     struct chr **out, struct err *e)
{
	*out = xalloc(sizeof(**out));
	(*out)->ops = &none_ops;
	return 0;
}

static int stderr_open(struct loop *loop, const struct chr_spec *spec, const char *arg,
                       struct chr **out, struct err *e)
{
	return chr_fd_new(loop,
	                  &(struct chr_fd_spec){.name = "stderr", .in = -1, .out = STDERR_FILENO},
	                  out, e);
}

static int file_open(struct loop *loop, const struct chr_spec *spec, const char *arg,
                     struct chr **out, struct err *e)
{
	AUTO_FD int fd = -1;
	int r;

	if (!*arg)
		return err_set(e, EINVAL, "console 'file' needs a path: file=PATH");
	fd = open(arg, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
	if (fd < 0)
		return err_set(e, errno, "cannot write console file '%s': %s", arg,
		               strerror(errno));
	r = chr_fd_new(loop,
	               &(struct chr_fd_spec){.name = "file", .in = -1, .out = fd, .own = true}, out,
	               e);
	if (r == 0)
		take_fd(&fd);
	return r;
}

/* Our end of the pty stays open on the slave's side too: no hang-up while nobody is connected. */
struct pty {
	int slave;
};

static void pty_free(void *arg)
{
	struct pty *p = arg;

	close(p->slave);
	free(p);
}

static int pty_open(struct loop *loop, const struct chr_spec *spec, const char *arg,
                    struct chr **out, struct err *e)
{
	AUTO_FD int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	AUTO_FD int slave = -1;
	char path[64];
	struct termios t;
	struct pty *p;
	int r;

	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0 ||
	    ptsname_r(master, path, sizeof(path)) != 0)
		return err_set(e, errno, "cannot make a pseudo terminal: %s", strerror(errno));
	slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0 || tcgetattr(slave, &t) < 0)
		return err_set(e, errno, "cannot open pseudo terminal '%s': %s", path,
		               strerror(errno));
	cfmakeraw(&t);
	tcsetattr(slave, TCSANOW, &t);
	p = xalloc(sizeof(*p));
	r = chr_fd_new(loop,
	               &(struct chr_fd_spec){.name = "pty",
	                                     .in = master,
	                                     .out = master,
	                                     .own = true,
	                                     .free = pty_free,
	                                     .arg = p},
	               out, e);
	if (r < 0) {
		free(p);
		return r;
	}
	take_fd(&master);
	p->slave = take_fd(&slave);
	fprintf(stderr, "casulo: console is %s\n", path);
	return 0;
}

static const struct chr_kind {
	const char *name;
	int (*open)(struct loop *loop, const struct chr_spec *spec, const char *arg,
	            struct chr **out, struct err *e);
} kinds[] = {
	{"stdio", chr_stdio_open}, {"pty", pty_open},   {"file", file_open},
	{"stderr", stderr_open},   {"none", none_open},
};

int chr_open(struct loop *loop, const struct chr_spec *spec, struct chr **out, struct err *e)
{
	size_t len = strcspn(spec->spec, "=");
	const char *arg = spec->spec + len + (spec->spec[len] == '=');

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (strlen(kinds[i].name) == len && !strncmp(kinds[i].name, spec->spec, len))
			return kinds[i].open(loop, spec, arg, out, e);
	}
	return err_set(e, EINVAL, "unknown console '%s': use stdio, pty, file=PATH or none",
	               spec->spec);
}

#define BUFFER_SIZE 65536

struct chr_buffer {
	struct chr chr;
	struct lock lock; /* the rest */
	size_t room, len;
	uint8_t data[BUFFER_SIZE];
};

static void buffer_write(struct chr *c, const void *data, size_t len)
{
	struct chr_buffer *b = container_of(c, struct chr_buffer, chr);

	lock_take(&b->lock);
	len = MIN(len, BUFFER_SIZE - b->len);
	memcpy(b->data + b->len, data, len);
	b->len += len;
	lock_drop(&b->lock);
}

static void buffer_accept(struct chr *c, size_t room)
{
	struct chr_buffer *b = container_of(c, struct chr_buffer, chr);

	lock_take(&b->lock);
	b->room = room;
	lock_drop(&b->lock);
}

static void buffer_free(struct chr *c)
{
	struct chr_buffer *b = container_of(c, struct chr_buffer, chr);

	lock_fini(&b->lock);
	free(b);
}

static const struct chr_ops buffer_ops = {"buffer", buffer_write, buffer_accept, buffer_free};

struct chr *chr_buffer_new(void)
{
	struct chr_buffer *b = xalloc(sizeof(*b));

	lock_init(&b->lock, LOCK_LOG);
	b->chr.ops = &buffer_ops;
	return &b->chr;
}

size_t chr_buffer_output(struct chr *c, void *buf, size_t len)
{
	struct chr_buffer *b = container_of(c, struct chr_buffer, chr);

	lock_take(&b->lock);
	len = MIN(len, b->len);
	memcpy(buf, b->data, len);
	memmove(b->data, b->data + len, b->len - len);
	b->len -= len;
	lock_drop(&b->lock);
	return len;
}

size_t chr_buffer_input(struct chr *c, const void *data, size_t len)
{
	struct chr_buffer *b = container_of(c, struct chr_buffer, chr);

	lock_take(&b->lock);
	len = MIN(len, b->room);
	b->room -= len;
	lock_drop(&b->lock);
	if (len && c->receive)
		c->receive(c->owner, data, len);
	return len;
}
