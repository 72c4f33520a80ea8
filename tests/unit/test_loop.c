/* The event loop: timers, descriptors, calls from other threads; locks with an order. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "base/lock.h"
#include "base/loop.h"

#define MS 1000000ull

static struct loop *open_loop(void)
{
	struct loop *l = NULL;

	assert_int_equal(loop_new("test", &l, NULL), 0);
	return l;
}

/* Timers that write down in which order they were called. */
struct log {
	unsigned n;
	int entry[64];
};

struct test_timer {
	struct loop_timer timer;
	struct log *log;
	int id;
};

static void note(struct loop_timer *t)
{
	struct test_timer *tt = container_of(t, struct test_timer, timer);

	assert_int_equal(t->slot, 0); /* not armed while it is called */
	tt->log->entry[tt->log->n++] = tt->id;
}

static void steps_until(struct loop *l, const unsigned *n, unsigned want)
{
	uint64_t end = loop_now() + 5000 * MS;

	while (*n < want && loop_now() < end)
		loop_step(l, 100);
	assert_int_equal(*n, want);
}

static void timers_ring_in_order(void **state)
{
	enum { N = 50 };
	struct loop *l = open_loop();
	struct test_timer t[N] = {0};
	struct log log = {0};
	uint64_t now = loop_now();

	for (unsigned i = 0; i < N; i++) {
		t[i] = (struct test_timer){.timer.fn = note, .log = &log, .id = i * 7 % N};
		timer_arm(l, &t[i].timer, now + t[i].id * MS / 10);
	}
	timer_cancel(l, &t[3].timer);
	timer_cancel(l, &t[3].timer); /* one that isn't armed */
	assert_int_equal(t[3].timer.slot, 0);
	timer_arm(l, &t[0].timer, now + 100 * MS); /* moved to the end */
	steps_until(l, &log.n, N - 1);
	assert_true(loop_now() >= now + 100 * MS);
	for (unsigned i = 1; i < log.n - 1; i++)
		assert_true(log.entry[i] > log.entry[i - 1]);
	assert_int_equal(log.entry[log.n - 1], 0);
	assert_false(loop_step(l, 0));
	loop_free(l);
}

struct again {
	struct loop_timer timer;
	struct loop *loop;
	unsigned n;
};

static void arm_again(struct loop_timer *t)
{
	struct again *a = container_of(t, struct again, timer);

	a->n++;
	timer_arm(a->loop, t, 0);
}

/* A timer that is always due leaves the others their turn. */
static void a_due_timer_does_not_starve(void **state)
{
	struct loop *l = open_loop();
	struct again a = {.timer.fn = arm_again, .loop = l};

	timer_arm(l, &a.timer, 0);
	for (unsigned i = 1; i <= 3; i++) {
		loop_step(l, 1000);
		assert_int_equal(a.n, i);
	}
	timer_cancel(l, &a.timer);
	loop_free(l);
}

struct pipe_watch {
	struct watch watch, *other;
	unsigned n;
	char byte;
};

static void on_pipe(struct watch *w, uint32_t events)
{
	struct pipe_watch *p = container_of(w, struct pipe_watch, watch);

	assert_true(events & EPOLLIN);
	assert_int_equal(read(w->fd, &p->byte, 1), 1);
	p->n++;
	if (p->other)
		watch_del(p->other);
}

static void watches(void **state)
{
	struct loop *l = open_loop();
	int a[2], b[2];
	struct pipe_watch x = {0}, y = {0};

	assert_int_equal(pipe(a), 0);
	assert_int_equal(pipe(b), 0);
	x.watch = (struct watch){.fd = a[0], .events = EPOLLIN, .fn = on_pipe};
	y.watch = (struct watch){.fd = b[0], .events = EPOLLIN, .fn = on_pipe};
	assert_int_equal(watch_add(l, &x.watch, NULL), 0);
	assert_int_equal(watch_add(l, &y.watch, NULL), 0);
	assert_false(loop_step(l, 0));
	assert_int_equal(write(a[1], "q", 1), 1);
	assert_true(loop_step(l, 1000));
	assert_int_equal(x.byte, 'q');
	assert_int_equal(watch_change(&x.watch, 0), 0);
	assert_int_equal(write(a[1], "r", 1), 1);
	assert_false(loop_step(l, 0));
	assert_int_equal(watch_change(&x.watch, EPOLLIN), 0);

	/* Both are ready; whichever is first takes the other one away, which then is not called. */
	x.other = &y.watch;
	y.other = &x.watch;
	assert_int_equal(write(b[1], "s", 1), 1);
	x.n = 0;
	assert_true(loop_step(l, 1000));
	assert_int_equal(x.n + y.n, 1);
	watch_del(&x.watch);
	watch_del(&y.watch);
	assert_false(loop_step(l, 0));

	struct err e = {0};
	struct watch bad = {.fd = 9999, .events = EPOLLIN, .fn = on_pipe};

	assert_true(watch_add(l, &bad, &e) < 0);
	assert_non_null(strstr(e.text, "9999"));
	loop_free(l);
	close(a[0]);
	close(a[1]);
	close(b[0]);
	close(b[1]);
}

/* A loop on a thread of its own, and callers beside it. */
struct shared {
	struct loop *loop;
	pthread_t runner;
	_Atomic bool runs;
	unsigned calls; /* on the loop's thread only */
	bool elsewhere; /* a call came on another thread */
};

static void *runner(void *arg)
{
	loop_run(((struct shared *)arg)->loop);
	return NULL;
}

static void count(void *arg)
{
	struct shared *s = arg;

	s->calls++;
	s->elsewhere |= !pthread_equal(pthread_self(), s->runner);
}

static void started(void *arg)
{
	((struct shared *)arg)->runs = true;
}

static void start_runner(struct shared *s)
{
	assert_int_equal(pthread_create(&s->runner, NULL, runner, s), 0);
	loop_call(s->loop, started, s);
	while (!s->runs)
		usleep(100);
}

static void *caller(void *arg)
{
	struct shared *s = arg;

	for (unsigned i = 0; i < 200; i++) {
		loop_call(s->loop, count, s);
		loop_call_wait(s->loop, count, s);
	}
	return NULL;
}

static void run_here_too(void *arg)
{
	struct shared *s = arg;

	loop_call_wait(s->loop, count, s); /* on the loop's thread: at once */
}

static void calls_come_on_the_loops_thread(void **state)
{
	struct shared s = {.loop = open_loop()};
	pthread_t t[3];

	start_runner(&s);
	for (unsigned i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, caller, &s), 0);
	for (unsigned i = 0; i < ARRAY_LEN(t); i++)
		pthread_join(t[i], NULL);
	loop_call_wait(s.loop, run_here_too, &s);
	loop_stop(s.loop);
	pthread_join(s.runner, NULL);
	assert_int_equal(s.calls, 3 * 400 + 1);
	assert_false(s.elsewhere);
	s.calls = 0;
	loop_call_wait(s.loop, count, &s); /* nobody runs it: called directly */
	assert_int_equal(s.calls, 1);
	loop_free(s.loop);
}

static void ring_other(struct loop_timer *t)
{
	struct again *a = container_of(t, struct again, timer);

	a->n++;
	loop_stop(a->loop);
}

/* Arming on another thread wakes a loop that sleeps. */
static void timers_from_another_thread(void **state)
{
	struct shared s = {.loop = open_loop()};
	struct again a = {.timer.fn = ring_other, .loop = s.loop};

	start_runner(&s);
	timer_arm(s.loop, &a.timer, loop_now() + 2 * MS);
	pthread_join(s.runner, NULL);
	assert_int_equal(a.n, 1);
	loop_free(s.loop);
}

static void locks_wait_until(void **state)
{
	pthread_cond_t cond;
	struct lock l;
	uint64_t end;

	lock_init(&l, LOCK_VCPU);
	cond_init(&cond);
	lock_take(&l);
	end = loop_now() + 5 * MS;
	while (lock_wait(&l, &cond, end))
		;
	assert_true(loop_now() >= end);
	lock_drop(&l);
	pthread_cond_destroy(&cond);
	lock_fini(&l);
}

/* Takes two locks in a process of its own; returns whether that was fatal. */
static bool fatal(enum lock_order first, enum lock_order second)
{
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		struct rlimit none = {0, 0};
		struct lock a, b;

		setrlimit(RLIMIT_CORE, &none);
		signal(SIGABRT, SIG_DFL);
		close(STDERR_FILENO);
		lock_init(&a, first);
		lock_init(&b, second);
		lock_take(&a);
		lock_take(&b);
		lock_drop(&a); /* in any order */
		lock_drop(&b);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return !WIFEXITED(status);
}

static void locks_have_an_order(void **state)
{
	assert_false(fatal(LOCK_MACHINE, LOCK_IRQ));
#ifndef NDEBUG
	assert_true(fatal(LOCK_IRQ, LOCK_MACHINE));
	assert_true(fatal(LOCK_APIC, LOCK_APIC));
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timers_ring_in_order),
		cmocka_unit_test(a_due_timer_does_not_starve),
		cmocka_unit_test(watches),
		cmocka_unit_test(calls_come_on_the_loops_thread),
		cmocka_unit_test(timers_from_another_thread),
		cmocka_unit_test(locks_wait_until),
		cmocka_unit_test(locks_have_an_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
