/*
 * A person at a terminal: runs a command on a new pty and follows a script from standard input.
 *
 * usage: expect SECONDS COMMAND [ARGUMENT]... <SCRIPT
 *
 *   wait TEXT   until the command has printed TEXT after what the line before waited for
 *   send TEXT   types it; \r \n \\ and \xHH are escapes
 *   # ...       nothing
 *
 * What the command prints goes to standard output.  Exit code: the command's; 124 out of time, 125 a
 * wait that its end left unfulfilled, 126 the terminal's settings are not what they were before.
 */
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <utmp.h>

static char seen[1 << 20]; /* all output so far, without zeros */
static size_t len, from;   /* its length; where the next wait begins */
static int master;
static pid_t child;
static int status; /* the command's, once it is gone */
static bool gone;
static time_t deadline;

static void end(int code, const char *text, const char *what)
{
	fflush(stdout);
	fprintf(stderr, "expect: %s '%s'%s\n", text, what,
	        gone && WIFSIGNALED(status) ? ": it was killed by a signal" : "");
	if (!gone)
		kill(child, SIGTERM);
	exit(code);
}

/*
 * Some output; false where the command has ended and all was read.  Our own slave keeps the pty open,
 * so that its settings can be looked at in the end: there is no end of file.
 */
static bool read_more(const char *what)
{
	struct pollfd p = {.fd = master, .events = POLLIN};
	char buf[4096];
	ssize_t n;

	if (time(NULL) >= deadline)
		end(124, "out of time at", what);
	if (poll(&p, 1, gone ? 0 : 100) <= 0) {
		if (gone)
			return false;
		gone = waitpid(child, &status, WNOHANG) == child;
		return true;
	}
	n = read(master, buf, sizeof(buf));
	fwrite(buf, 1, n, stdout);
	for (ssize_t i = 0; i < n && len < sizeof(seen) - 1; i++) {
		if (buf[i])
			seen[len++] = buf[i];
	}
	seen[len] = 0;
	return true;
}

static void wait_for(const char *text)
{
	const char *at;

	while (!(at = strstr(seen + from, text))) {
		if (!read_more(text))
			end(125, "the command ended before", text);
	}
	from = at - seen + strlen(text);
}

static size_t unescape(char *s)
{
	char *out = s;

	for (char *p = s; *p; p++) {
		unsigned byte;

		if (*p != '\\') {
			*out++ = *p;
		} else if (p[1] == 'x' && sscanf(p + 2, "%2x", &byte) == 1) {
			*out++ = byte;
			p += 3;
		} else if (p[1]) {
			p++;
			*out++ = *p == 'r' ? '\r' : *p == 'n' ? '\n' : *p;
		}
	}
	return out - s;
}

static void send_text(char *text)
{
	size_t n = unescape(text);

	while (n > 0) {
		ssize_t w = write(master, text, n);

		if (w < 0)
			end(125, "cannot type", text);
		text += w;
		n -= w;
	}
}

static void script(void)
{
	char line[1024];

	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = 0;
		if (strncmp(line, "wait ", 5) == 0)
			wait_for(line + 5);
		else if (strncmp(line, "send ", 5) == 0)
			send_text(line + 5);
		else if (line[0] && line[0] != '#')
			end(125, "not a line of a script:", line);
	}
}

int main(int argc, char **argv)
{
	struct termios before, after;
	int slave;

	if (argc < 3 || openpty(&master, &slave, NULL, NULL, NULL) < 0)
		return 125;
	tcgetattr(slave, &before);
	deadline = time(NULL) + atoi(argv[1]);
	child = fork();
	if (child == 0) {
		close(master);
		login_tty(slave);
		execvp(argv[2], argv + 2);
		_exit(127);
	}
	script();
	while (read_more("the command's end"))
		;
	tcgetattr(slave, &after);
	fflush(stdout);
	if (before.c_lflag != after.c_lflag || before.c_iflag != after.c_iflag ||
	    before.c_oflag != after.c_oflag)
		end(126, "the terminal is left in another mode by", argv[2]);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
