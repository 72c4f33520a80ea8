/* What an operating system does for programs: calls, processes, memory, signals, pipes, threads, time. */
#include "bench.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE  4096
#define PAGES 64
#define BLOCK 4096

static int fds[2], there[2], back[2];
static uint8_t *page;

static bool prepare_page(void)
{
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		bench_fail("mmap");
	return true;
}

static bool prepare_pipe(void)
{
	if (pipe(fds))
		bench_fail("pipe");
	return true;
}

static void ignore(int sig)
{
	(void)sig;
}

static bool prepare_signal(void)
{
	return signal(SIGUSR1, ignore) != SIG_ERR;
}

/* A process on the same processor, which answers each byte. */
static bool prepare_switch(void)
{
	cpu_set_t set;
	char c;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	if (sched_setaffinity(0, sizeof(set), &set) || pipe(there) || pipe(back))
		bench_fail("preparation of a process that answers");
	if (fork() == 0) {
		close(there[1]);
		close(back[0]);
		while (read(there[0], &c, 1) == 1 && write(back[1], &c, 1) == 1)
			;
		_exit(0);
	}
	close(there[0]);
	close(back[1]);
	return true;
}

static uint64_t run_getpid(uint64_t n)
{
	while (n-- > 0)
		syscall(SYS_getpid);
	return 0;
}

static uint64_t run_clock(uint64_t n)
{
	while (n-- > 0)
		bench_now();
	return 0;
}

static void await(pid_t pid)
{
	if (pid < 0 || waitpid(pid, NULL, 0) != pid)
		bench_fail("process");
}

static uint64_t run_fork(uint64_t n)
{
	while (n-- > 0) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		await(pid);
	}
	return 0;
}

/* This program again, with a first argument that makes it end at once: a static program. */
static uint64_t run_exec(uint64_t n)
{
	while (n-- > 0) {
		pid_t pid = fork();

		if (pid == 0) {
			execl("/proc/self/exe", "system", "0", "none", NULL);
			_exit(1);
		}
		await(pid);
	}
	return 0;
}

static uint64_t run_fault(uint64_t n)
{
	while (n-- > 0) {
		uint8_t *p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
		                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			bench_fail("mmap");
		for (size_t i = 0; i < PAGES * PAGE; i += PAGE)
			p[i] = 1;
		munmap(p, PAGES * PAGE);
	}
	return 0;
}

static uint64_t run_mmap(uint64_t n)
{
	while (n-- > 0) {
		uint8_t *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		                  -1, 0);

		if (p == MAP_FAILED)
			bench_fail("mmap");
		*p = 1;
		munmap(p, PAGE);
	}
	return 0;
}

static uint64_t run_mprotect(uint64_t n)
{
	while (n-- > 0) {
		mprotect(page, PAGE, PROT_READ);
		mprotect(page, PAGE, PROT_READ | PROT_WRITE);
		*page = 1;
	}
	return 0;
}

static uint64_t run_signal(uint64_t n)
{
	while (n-- > 0)
		raise(SIGUSR1);
	return 0;
}

static uint64_t run_pipe(uint64_t n)
{
	char c = 0;

	while (n-- > 0)
		if (write(fds[1], &c, 1) != 1 || read(fds[0], &c, 1) != 1)
			bench_fail("pipe");
	return 0;
}

static uint64_t run_pipe_block(uint64_t n)
{
	static char block[BLOCK];

	while (n-- > 0)
		if (write(fds[1], block, BLOCK) != BLOCK || read(fds[0], block, BLOCK) != BLOCK)
			bench_fail("pipe");
	return 0;
}

static uint64_t run_switch(uint64_t n)
{
	char c = 0;

	while (n-- > 0)
		if (write(there[1], &c, 1) != 1 || read(back[0], &c, 1) != 1)
			bench_fail("process that answers");
	return 0;
}

static void *nothing(void *arg)
{
	return arg;
}

static uint64_t run_thread(uint64_t n)
{
	while (n-- > 0) {
		pthread_t t;

		if (pthread_create(&t, NULL, nothing, NULL))
			bench_fail("thread");
		pthread_join(t, NULL);
	}
	return 0;
}

static uint64_t run_stat(uint64_t n)
{
	struct stat s;

	while (n-- > 0)
		if (stat("/proc/self", &s))
			bench_fail("stat");
	return 0;
}

static uint64_t run_open(uint64_t n)
{
	while (n-- > 0)
		close(open("/dev/null", O_RDONLY));
	return 0;
}

static const struct bench_case cases[] = {
	{"getpid", run_getpid, NULL, 1},
	{"clock_gettime", run_clock, NULL, 1},
	{"stat", run_stat, NULL, 1},
	{"open", run_open, NULL, 1},
	{"fork", run_fork, NULL, 1},
	{"fork-exec", run_exec, NULL, 1},
	{"page-fault", run_fault, NULL, PAGES},
	{"mmap", run_mmap, NULL, 1},
	{"mprotect", run_mprotect, prepare_page, 2},
	{"signal", run_signal, prepare_signal, 1},
	{"pipe-1", run_pipe, prepare_pipe, 1},
	{"pipe-4K", run_pipe_block, prepare_pipe, 1},
	{"thread", run_thread, NULL, 1},
	{"context-switch", run_switch, prepare_switch, 2},
};
const struct bench_group bench_group = {"system", cases, sizeof(cases) / sizeof(*cases)};
