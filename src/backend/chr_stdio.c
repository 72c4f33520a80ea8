/*
 * The terminal as a console: raw mode, with an escape key for commands to us.  The terminal's own
 * settings come back on every way out: free, exit(), and signals that end the process.
 *
 * Where stdin is not a terminal nothing is changed and no key is special.
 */
#include "backend/chr_impl.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>

static struct termios saved;
static volatile sig_atomic_t raw; /* the terminal is in raw mode, `saved` is what it was */

static void terminal_restore(void)
{
	if (raw) {
		raw = 0;
		tcsetattr(STDIN_FILENO, TCSANOW, &saved);
	}
}

/* The signals that end a process.  Those somebody handles already are left alone. */
static const int ends[] = {SIGHUP,  SIGINT, SIGQUIT, SIGTERM, SIGSEGV,
                           SIGABRT, SIGBUS, SIGFPE,  SIGILL};

static void ended(int sig)
{
	terminal_restore(); /* tcsetattr is safe in a handler */
	raise(sig);         /* the default action now: SA_RESETHAND */
}

static void signals_set(bool on)
{
	struct sigaction mine = {.sa_handler = ended, .sa_flags = SA_RESETHAND}, old;

	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		if (sigaction(ends[i], NULL, &old) < 0)
			continue;
		if (on && old.sa_handler == SIG_DFL)
			sigaction(ends[i], &mine, NULL);
		else if (!on && old.sa_handler == ended)
			signal(ends[i], SIG_DFL);
	}
}

static int terminal_raw(struct err *e)
{
	static bool at_exit;
	struct termios t;

	if (tcgetattr(STDIN_FILENO, &saved) < 0)
		return err_set(e, errno, "cannot read the terminal's settings: %s",
		               strerror(errno));
	if (!at_exit)
		at_exit = atexit(terminal_restore) == 0;
	t = saved;
	cfmakeraw(&t);
	signals_set(true);
	raw = 1;
	if (tcsetattr(STDIN_FILENO, TCSANOW, &t) < 0) {
		raw = 0;
		return err_set(e, errno, "cannot set the terminal to raw mode: %s",
		               strerror(errno));
	}
	return 0;
}

struct stdio {
	uint8_t escape;
	bool escaped; /* the escape key was the last one */
	void (*command)(void *arg, char key);
	void *arg;
};

static void help(uint8_t escape)
{
	char text[256];
	int n;

	/* Control characters are named by the letter that makes them: 0x1d is Ctrl-]. */
	n = snprintf(text, sizeof(text),
	             "\r\ncasulo: after Ctrl-%c: q quits, p presses the power button, h shows "
	             "this help, Ctrl-%c sends Ctrl-%c to the guest\r\n",
	             escape ^ 0x40, escape ^ 0x40, escape ^ 0x40);
	if (write(STDERR_FILENO, text, MIN((size_t)n, sizeof(text) - 1)) < 0)
		return; /* no terminal to tell */
}

static size_t filter(void *arg, uint8_t *data, size_t len)
{
	struct stdio *s = arg;
	size_t out = 0;

	for (size_t i = 0; i < len; i++) {
		if (!s->escaped && data[i] == s->escape) {
			s->escaped = true;
		} else if (!s->escaped || data[i] == s->escape) {
			s->escaped = false;
			data[out++] = data[i];
		} else {
			s->escaped = false;
			if (data[i] == 'h' || data[i] == '?')
				help(s->escape);
			else if (s->command)
				s->command(s->arg, data[i]);
		}
	}
	return out;
}

static void stdio_free(void *arg)
{
	terminal_restore();
	signals_set(false);
	free(arg);
}

int chr_stdio_open(struct loop *loop, const struct chr_spec *spec, const char *arg,
                   struct chr **out, struct err *e)
{
	bool terminal = isatty(STDIN_FILENO);
	struct chr_fd_spec fds = {.name = "stdio", .in = STDIN_FILENO, .out = STDOUT_FILENO};
	struct stdio *s = xalloc(sizeof(*s));
	int r;

	s->escape = spec->escape;
	s->command = spec->command;
	s->arg = spec->arg;
	fds.arg = s;
	fds.free = stdio_free;
	if (terminal && spec->escape)
		fds.filter = filter;
	r = terminal ? terminal_raw(e) : 0;
	if (r == 0)
		r = chr_fd_new(loop, &fds, out, e);
	if (r < 0)
		stdio_free(s);
	return r;
}
