/* Back ends: errors of disks in words, terminals restored, and a guest's ping by user networking. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <cmocka.h>
#include "backend/blk.h"
#include "backend/chr.h"
#include "backend/net.h"

static struct loop *loop;

static int setup(void **state)
{
	return loop_new("test", &loop, NULL);
}

static int teardown(void **state)
{
	loop_free(loop);
	return 0;
}

static void disk_refused(const char *path, const char *format, bool readonly, const char *word)
{
	struct blk_spec spec = {path, format, readonly};
	struct blk *blk = NULL;
	struct err e = {0};

	assert_true(blk_open(loop, &spec, &blk, &e) < 0);
	assert_null(blk);
	assert_non_null(strstr(e.text, path));
	assert_non_null(strstr(e.text, word));
}

static void disks_that_cannot_be_opened(void **state)
{
	char path[] = "/tmp/casulo-odd-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "odd", 3), 3);
	disk_refused(path, "raw", false, "sectors");
	disk_refused(path, "vhd", false, "format");
	disk_refused("/nonexistent/disk", "raw", false, "existing");
	disk_refused("/tmp", "raw", true, "neither");
	disk_refused("/tmp", "raw", false, "directory");
	close(fd);
	unlink(path);
}

static int results[64];
static unsigned completed;

static void count(struct blk_request *r, int result)
{
	results[completed++] = result;
}

static void drain_completes_all(void **state)
{
	static struct blk_request r[64];
	static uint8_t buf[64][512];
	static struct iovec iov[64];
	char path[] = "/tmp/casulo-drain-XXXXXX";
	struct blk_spec spec = {path, "raw", false};
	struct blk *blk;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 64 * 512), 0);
	assert_int_equal(blk_open(loop, &spec, &blk, NULL), 0);
	completed = 0;
	for (unsigned i = 0; i < 64; i++) {
		memset(buf[i], i, 512);
		iov[i] = (struct iovec){buf[i], 512};
		r[i] = (struct blk_request){.op = BLK_WRITE,
		                            .offset = i * 512,
		                            .len = 512,
		                            .iov = &iov[i],
		                            .iovcnt = 1,
		                            .done = count};
		blk->ops->submit(blk, &r[i]);
	}
	blk->ops->drain(blk);
	assert_int_equal(completed, 64);
	for (unsigned i = 0; i < 64; i++) {
		uint8_t byte;

		assert_int_equal(results[i], 0);
		assert_int_equal(pread(fd, &byte, 1, i * 512 + 511), 1);
		assert_int_equal(byte, i);
	}
	blk_free(blk);
	close(fd);
	unlink(path);
}

static void file_console(void **state)
{
	char path[] = "/tmp/casulo-console-XXXXXX", spec[64], text[32] = {0};
	struct chr *chr;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	snprintf(spec, sizeof(spec), "file=%s", path);
	assert_int_equal(chr_open(loop, &(struct chr_spec){.spec = spec}, &chr, NULL), 0);
	chr_write(chr, "line\n", 5);
	chr_free(chr);
	assert_int_equal(pread(fd, text, sizeof(text), 0), 5);
	assert_string_equal(text, "line\n");
	close(fd);
	unlink(path);
}

static void unknown_console(void **state)
{
	struct err e = {0};
	struct chr *chr;

	assert_int_equal(chr_open(loop, &(struct chr_spec){.spec = "stdoi"}, &chr, &e), -EINVAL);
	assert_non_null(strstr(e.text, "stdoi"));
}

static char typed[16], commands[16];

static void on_input(void *owner, const uint8_t *data, size_t len)
{
	strncat(typed, (const char *)data, MIN(len, sizeof(typed) - 1 - strlen(typed)));
}

static void on_command(void *arg, char key)
{
	strncat(commands, &key, 1);
}

/* The terminal's user: raw mode, an escape command, then the end in the given way. */
static void terminal_child(int slave, int sig)
{
	struct chr_spec spec = {.spec = "stdio", .escape = 0x1d, .command = on_command};
	struct loop *l;
	struct chr *chr;

	dup2(slave, STDIN_FILENO);
	dup2(slave, STDOUT_FILENO);
	if (loop_new("child", &l, NULL) < 0 || chr_open(l, &spec, &chr, NULL) < 0)
		_exit(2);
	chr->receive = on_input;
	chr_accept(chr, 16);
	chr_write(chr, "R", 1);
	for (unsigned i = 0; i < 200 && !strchr(commands, 'q'); i++)
		loop_step(l, 50);
	if (strcmp(typed, "ab\x1d") != 0 || strcmp(commands, "q") != 0)
		_exit(3);
	if (sig)
		raise(sig);
	exit(0); /* without chr_free: atexit restores */
}

static void terminal_is_restored(void **state)
{
	static const int ways[] = {0, SIGTERM, SIGSEGV};

	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		int master = posix_openpt(O_RDWR | O_NOCTTY), slave, status;
		struct termios before, during, after;
		char path[64], c = 0;
		pid_t pid;

		assert_int_equal(grantpt(master) | unlockpt(master), 0);
		assert_int_equal(ptsname_r(master, path, sizeof(path)), 0);
		slave = open(path, O_RDWR | O_NOCTTY);
		assert_true(slave >= 0);
		tcgetattr(slave, &before);
		pid = fork();
		if (pid == 0) {
			signal(SIGSEGV, SIG_DFL);
			signal(SIGTERM, SIG_DFL);
			terminal_child(slave, ways[i]);
		}
		assert_int_equal(read(master, &c, 1), 1);
		assert_int_equal(c, 'R');
		tcgetattr(slave, &during);
		assert_false(during.c_lflag & (ICANON | ECHO));
		assert_int_equal(write(master, "ab\x1d\x1d\x1dq", 6), 6);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(ways[i] ? WIFSIGNALED(status) && WTERMSIG(status) == ways[i]
		                    : WIFEXITED(status) && WEXITSTATUS(status) == 0);
		tcgetattr(slave, &after);
		assert_int_equal(after.c_lflag, before.c_lflag);
		assert_int_equal(after.c_iflag, before.c_iflag);
		assert_int_equal(after.c_oflag, before.c_oflag);
		close(slave);
		close(master);
	}
}

static uint8_t got[NET_FRAME_MAX];
static size_t got_len;
static bool has_room;

static bool frame_in(void *owner, const void *frame, size_t len)
{
	if (!has_room)
		return false;
	memcpy(got, frame, len);
	got_len = len;
	return true;
}

static void exchange(struct net *net, const uint8_t *frame, size_t len)
{
	struct iovec iov = {(void *)frame, len};

	got_len = 0;
	net->ops->send(net, &iov, 1);
	for (unsigned i = 0; i < 50 && !got_len; i++)
		loop_step(loop, 20);
}

static uint16_t checksum(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i += 2)
		sum += p[i] << 8 | p[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static const uint8_t arp[42] = {
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 1, 2,  3, 8, 6, 0, 1, 8, 0,  6, 4, 0,
	1,    0x52, 0x54, 0,    1,    2,    3,    10,   0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2,
};

static void gateway_answers_ping(void **state)
{
	uint8_t ping[14 + 20 + 8 + 8] = {0};
	struct net *net;
	uint16_t sum;

	assert_int_equal(net_open(loop, "user", &net, NULL), 0);
	net->receive = frame_in;
	has_room = true;
	exchange(net, arp, sizeof(arp));
	assert_true(got_len >= sizeof(arp));
	assert_int_equal(got[21], 2); /* a reply */
	memcpy(ping, got + 6, 6);
	memcpy(ping + 6, arp + 6, 6);
	memcpy(ping + 12, "\x08\x00\x45\x00\x00\x24\x00\x01\x00\x00\x40\x01\x00\x00", 14);
	memcpy(ping + 26, "\x0a\x00\x02\x0f\x0a\x00\x02\x02\x08\x00\x00\x00\x12\x34\x00\x01", 16);
	memcpy(ping + 42, "casulo!!", 8);
	sum = checksum(ping + 14, 20);
	ping[24] = sum >> 8;
	ping[25] = sum;
	sum = checksum(ping + 34, 16);
	ping[36] = sum >> 8;
	ping[37] = sum;
	exchange(net, ping, sizeof(ping));
	assert_true(got_len >= sizeof(ping));
	assert_int_equal(got[34], 0); /* echo reply */
	assert_memory_equal(got + 38, ping + 38, 12);

	/* Without room in the guest an answer waits. */
	has_room = false;
	exchange(net, ping, sizeof(ping));
	assert_int_equal(got_len, 0);
	has_room = true;
	net->ops->ready(net);
	assert_true(got_len >= sizeof(ping));
	net_free(net);
}

static void unknown_network(void **state)
{
	struct err e = {0};
	struct net *net;

	assert_int_equal(net_open(loop, "wifi", &net, &e), -EINVAL);
	assert_non_null(strstr(e.text, "wifi"));
	assert_true(net_open(loop, "tap=a-name-that-is-too-long", &net, &e) < 0);
	assert_int_equal(net_open(loop, "none", &net, &e), 0);
	assert_null(net);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(disks_that_cannot_be_opened, setup, teardown),
		cmocka_unit_test_setup_teardown(drain_completes_all, setup, teardown),
		cmocka_unit_test_setup_teardown(file_console, setup, teardown),
		cmocka_unit_test_setup_teardown(unknown_console, setup, teardown),
		cmocka_unit_test_setup_teardown(terminal_is_restored, setup, teardown),
		cmocka_unit_test_setup_teardown(gateway_answers_ping, setup, teardown),
		cmocka_unit_test_setup_teardown(unknown_network, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
