/*
 * Debian's programs at work.  They lie beside this program, with the libraries they need and its input:
 * bin, lib and data; so the same bytes run on a computer and in its guests, whatever is installed there.
 */
#include "bench.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGS_MAX 12
#define CHUNK    65536

static char root[PATH_MAX], linker[PATH_MAX + 32], library[PATH_MAX + 32], program[PATH_MAX + 32];

/* Finds our folder, and makes the one with the input ours. */
static _Bool prepare(void)
{
	ssize_t n = readlink("/proc/self/exe", root, sizeof(root) - 1);
	char data[PATH_MAX + 32];

	if (n < 0)
		bench_fail("/proc/self/exe");
	root[n] = 0;
	*strrchr(root, '/') = 0;
	snprintf(linker, sizeof(linker), "%s/lib/ld-linux-x86-64.so.2", root);
	snprintf(library, sizeof(library), "%s/lib", root);
	snprintf(data, sizeof(data), "%s/data", root);
	if (chdir(data))
		bench_fail(data);
	return 1;
}

/* FNV-1a of all that comes; how it is divided into reads says nothing. */
static uint64_t drain(int fd)
{
	static uint8_t chunk[CHUNK];
	uint64_t digest = 0xcbf29ce484222325;
	ssize_t n;

	while ((n = read(fd, chunk, sizeof(chunk))) > 0)
		for (ssize_t i = 0; i < n; i++)
			digest = (digest ^ chunk[i]) * 0x100000001b3;
	return digest;
}

/* Runs a program through its own dynamic linker; returns the digest of its output. */
static uint64_t run_once(const char *name, const char *const *args)
{
	const char *argv[ARGS_MAX + 4] = {linker, "--library-path", library, program};
	int fds[2], status;
	uint64_t digest;
	pid_t pid;

	snprintf(program, sizeof(program), "%s/bin/%s", root, name);
	memcpy(argv + 4, args, ARGS_MAX * sizeof(*args));
	if (pipe(fds) || (pid = fork()) < 0)
		bench_fail("start of a program");
	if (pid == 0) {
		dup2(fds[1], STDOUT_FILENO);
		close(fds[0]);
		close(fds[1]);
		execv(linker, (char **)argv);
		bench_fail(linker);
	}
	close(fds[1]);
	digest = drain(fds[0]);
	close(fds[0]);
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		fprintf(stderr, "%s failed\n", name);
		exit(1);
	}
	return digest;
}

#define APPLICATION(function, name, ...)                                 \
	static uint64_t function(uint64_t n)                             \
	{                                                                \
		static const char *const args[ARGS_MAX] = {__VA_ARGS__}; \
		uint64_t digest = 0;                                     \
		while (n-- > 0)                                          \
			digest = run_once(name, args);                   \
		return digest;                                           \
	}
APPLICATION(run_gcc, "cc1", "-quiet", "-O2", "-fpreprocessed", "program.i", "-o", "-")
APPLICATION(run_sqlite, "sqlite3", "-batch", ":memory:", ".read work.sql")
APPLICATION(run_lua, "lua5.4", "work.lua")
APPLICATION(run_perl, "perl", "work.pl")
APPLICATION(run_sh, "dash", "work.sh")
APPLICATION(run_xz, "xz", "-c", "-T1", "small.bin")
APPLICATION(run_gzip, "gzip", "-c", "-n", "medium.bin")
APPLICATION(run_sha256sum, "sha256sum", "large.bin")

static const struct bench_case cases[] = {
	{"gcc-O2", run_gcc, prepare, 1}, {"sqlite", run_sqlite, prepare, 1},
	{"lua", run_lua, prepare, 1},    {"perl", run_perl, prepare, 1},
	{"sh", run_sh, prepare, 1},      {"xz", run_xz, prepare, 1},
	{"gzip", run_gzip, prepare, 1},  {"sha256sum", run_sha256sum, prepare, 1},
};
const struct bench_group bench_group = {"applications", cases, sizeof(cases) / sizeof(*cases)};
