/*
 * The event loop: epoll for descriptors, one timerfd for the heap's first timer (so that arming a timer
 * on another thread does not wake the loop), one eventfd for calls and stops.
 *
 * The lock covers timers, calls and who runs the loop.  It is never held while something is called back.
 */
#include "base/loop.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>

#include "base/lock.h"

#define EVENTS_MAX 32

struct call {
	struct call *next;
	void (*fn)(void *arg);
	void *arg;
	bool *done; /* somebody waits for it, and owns the call; NULL: the loop frees it */
};

struct loop {
	int epoll, timer, wake;
	_Atomic bool stop;
	struct lock lock;    /* LOCK_LANE */
	pthread_cond_t cond; /* done of a call, runs, direct */
	bool runs;
	pthread_t runner;
	unsigned nested; /* loop_step() from within a callback */
	unsigned direct; /* calls made by other threads while the loop does not run */
	struct call *calls, **calls_end;
	struct loop_timer **heap; /* by deadline; heap[0] is the first */
	size_t timers, heap_size;
	uint64_t ringing;    /* the time of the round of timers under way; 0: none is */
	uint64_t programmed; /* what the timerfd is set to; UINT64_MAX: off */
	/* The events at work, so that a watch that is deleted meanwhile is not called. */
	struct epoll_event *events;
	int n_events;
};

uint64_t loop_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* The loop's own descriptors are told apart from watches by these addresses. */
static bool add_own(struct loop *l, int fd, void *tag)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = tag};

	return fd >= 0 && epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &ev) == 0;
}

int loop_new(const char *name, struct loop **out, struct err *e)
{
	struct loop *l = xalloc(sizeof(*l));

	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	l->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	l->calls_end = &l->calls;
	l->programmed = UINT64_MAX;
	lock_init(&l->lock, LOCK_LANE);
	cond_init(&l->cond);
	if (!add_own(l, l->timer, &l->timer) || !add_own(l, l->wake, &l->wake)) {
		int code = errno;

		loop_free(l);
		return err_set(e, code, "cannot make event loop '%s': %s", name, strerror(code));
	}
	*out = l;
	return 0;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void loop_free(struct loop *l)
{
	struct call *c;

	if (!l)
		return;
	while ((c = l->calls)) {
		l->calls = c->next;
		free(c);
	}
	for (size_t i = 0; i < l->timers; i++)
		l->heap[i]->slot = 0;
	free(l->heap);
	close_fd(l->epoll);
	close_fd(l->timer);
	close_fd(l->wake);
	pthread_cond_destroy(&l->cond);
	lock_fini(&l->lock);
	free(l);
}

static void wake(struct loop *l)
{
	/* Fails only when the counter is full: then it is awake. */
	(void)!write(l->wake, &(uint64_t){1}, sizeof(uint64_t));
}

static void drain(int fd)
{
	uint64_t n;

	(void)!read(fd, &n, sizeof(n));
}

/* Timers: a binary heap, each timer knows its slot. */

static void heap_set(struct loop *l, size_t i, struct loop_timer *t)
{
	l->heap[i] = t;
	t->slot = i + 1;
}

static void heap_up(struct loop *l, size_t i, struct loop_timer *t)
{
	while (i > 0 && l->heap[(i - 1) / 2]->deadline > t->deadline) {
		heap_set(l, i, l->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	heap_set(l, i, t);
}

static void heap_down(struct loop *l, size_t i, struct loop_timer *t)
{
	size_t child;

	while ((child = 2 * i + 1) < l->timers) {
		if (child + 1 < l->timers &&
		    l->heap[child + 1]->deadline < l->heap[child]->deadline)
			child++;
		if (l->heap[child]->deadline >= t->deadline)
			break;
		heap_set(l, i, l->heap[child]);
		i = child;
	}
	heap_set(l, i, t);
}

static void heap_remove(struct loop *l, struct loop_timer *t)
{
	size_t i = t->slot - 1;
	struct loop_timer *last = l->heap[--l->timers];

	t->slot = 0;
	if (last == t)
		return;
	if (i > 0 && l->heap[(i - 1) / 2]->deadline > last->deadline)
		heap_up(l, i, last);
	else
		heap_down(l, i, last);
}

static void heap_add(struct loop *l, struct loop_timer *t)
{
	if (l->timers == l->heap_size) {
		l->heap_size = l->heap_size ? 2 * l->heap_size : 16;
		l->heap = xrealloc(l->heap, l->heap_size * sizeof(*l->heap));
	}
	heap_up(l, l->timers++, t);
}

/*
 * The timerfd rings at the first deadline or earlier: it is set when that comes nearer, and left alone
 * when it moves away (a ring for nothing is cheaper than a system call at every change).
 */
static void program(struct loop *l)
{
	uint64_t first = l->timers ? MAX(l->heap[0]->deadline, 1ull) : UINT64_MAX;
	struct itimerspec it = {};

	if (first >= l->programmed)
		return;
	l->programmed = first;
	it.it_value.tv_sec = (time_t)(first / 1000000000);
	it.it_value.tv_nsec = (long)(first % 1000000000);
	timerfd_settime(l->timer, TFD_TIMER_ABSTIME, &it, NULL);
}

void timer_arm(struct loop *l, struct loop_timer *t, uint64_t deadline_ns)
{
	lock_take(&l->lock);
	if (t->slot)
		heap_remove(l, t);
	t->deadline = MIN(deadline_ns, (uint64_t)INT64_MAX);
	if (l->ringing)
		t->deadline = MAX(t->deadline, l->ringing + 1);
	heap_add(l, t);
	program(l);
	lock_drop(&l->lock);
}

void timer_cancel(struct loop *l, struct loop_timer *t)
{
	lock_take(&l->lock);
	if (t->slot)
		heap_remove(l, t);
	lock_drop(&l->lock);
}

/* Those that are due now; one that is armed meanwhile waits for the next round (timer_arm). */
static bool ring(struct loop *l)
{
	uint64_t now = loop_now();
	bool any = false;

	drain(l->timer);
	lock_take(&l->lock);
	l->programmed = UINT64_MAX;
	l->ringing = now;
	while (l->timers && l->heap[0]->deadline <= now) {
		struct loop_timer *t = l->heap[0];

		heap_remove(l, t);
		lock_drop(&l->lock);
		t->fn(t);
		any = true;
		lock_take(&l->lock);
	}
	l->ringing = 0;
	program(l);
	lock_drop(&l->lock);
	return any;
}

/* Calls from other threads. */

static void enqueue(struct loop *l, struct call *c)
{
	*l->calls_end = c;
	l->calls_end = &c->next;
	wake(l);
}

void loop_call(struct loop *l, void (*fn)(void *arg), void *arg)
{
	struct call *c = xalloc(sizeof(*c));

	*c = (struct call){.fn = fn, .arg = arg};
	lock_take(&l->lock);
	enqueue(l, c);
	lock_drop(&l->lock);
}

static bool is_runner(const struct loop *l)
{
	return l->runs && pthread_equal(l->runner, pthread_self());
}

void loop_call_wait(struct loop *l, void (*fn)(void *arg), void *arg)
{
	bool done = false;
	struct call c = {.fn = fn, .arg = arg, .done = &done};

	lock_take(&l->lock);
	if (l->runs && !is_runner(l)) {
		enqueue(l, &c);
		while (!done)
			lock_wait(&l->lock, &l->cond, UINT64_MAX);
		lock_drop(&l->lock);
		return;
	}
	l->direct++;
	lock_drop(&l->lock);
	fn(arg);
	lock_take(&l->lock);
	l->direct--;
	pthread_cond_broadcast(&l->cond);
	lock_drop(&l->lock);
}

static struct call *call_pop(struct loop *l)
{
	struct call *c = l->calls;

	if (c && !(l->calls = c->next))
		l->calls_end = &l->calls;
	return c;
}

/* Lock held; let go around each call. */
static bool serve_calls(struct loop *l)
{
	bool any = false;
	struct call *c;

	while ((c = call_pop(l))) {
		bool *done = c->done;

		lock_drop(&l->lock);
		c->fn(c->arg);
		if (!done)
			free(c);
		lock_take(&l->lock);
		if (done) {
			*done = true;
			pthread_cond_broadcast(&l->cond);
		}
		any = true;
	}
	return any;
}

/* Descriptors. */

int watch_add(struct loop *l, struct watch *w, struct err *e)
{
	struct epoll_event ev = {.events = w->events, .data.ptr = w};

	if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, w->fd, &ev) < 0)
		return err_set(e, errno, "cannot watch descriptor %d: %s", w->fd, strerror(errno));
	w->loop = l;
	return 0;
}

int watch_change(struct watch *w, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = w};

	if (epoll_ctl(w->loop->epoll, EPOLL_CTL_MOD, w->fd, &ev) < 0)
		return -errno;
	w->events = events;
	return 0;
}

void watch_del(struct watch *w)
{
	struct loop *l = w->loop;

	if (!l)
		return;
	epoll_ctl(l->epoll, EPOLL_CTL_DEL, w->fd, NULL);
	for (int i = 0; i < l->n_events; i++) {
		if (l->events[i].data.ptr == w)
			l->events[i].data.ptr = NULL;
	}
	w->loop = NULL;
}

/* Running. */

static void enter(struct loop *l)
{
	lock_take(&l->lock);
	if (is_runner(l)) {
		l->nested++;
	} else {
		while (l->direct || l->runs)
			lock_wait(&l->lock, &l->cond, UINT64_MAX);
		l->runs = true;
		l->runner = pthread_self();
	}
	lock_drop(&l->lock);
}

/* Nobody is left waiting for a call that nobody will make. */
static void leave(struct loop *l)
{
	lock_take(&l->lock);
	if (l->nested) {
		l->nested--;
	} else {
		serve_calls(l);
		l->runs = false;
		pthread_cond_broadcast(&l->cond);
	}
	lock_drop(&l->lock);
}

static bool dispatch(struct loop *l, const struct epoll_event *ev)
{
	bool any = false;

	if (ev->data.ptr == &l->timer) {
		any = ring(l);
	} else if (ev->data.ptr == &l->wake) {
		drain(l->wake);
		lock_take(&l->lock);
		any = serve_calls(l);
		lock_drop(&l->lock);
	} else if (ev->data.ptr) {
		struct watch *w = ev->data.ptr;

		w->fn(w, ev->events);
		any = true;
	}
	return any;
}

static bool round_of_events(struct loop *l, int timeout_ms)
{
	struct epoll_event events[EVENTS_MAX], *outer = l->events;
	int n = epoll_wait(l->epoll, events, EVENTS_MAX, timeout_ms), n_outer = l->n_events;
	bool any = false;

	l->events = events;
	l->n_events = MAX(n, 0);
	for (int i = 0; i < n; i++)
		any |= dispatch(l, &events[i]);
	l->events = outer;
	l->n_events = n_outer;
	return any;
}

bool loop_step(struct loop *l, int timeout_ms)
{
	bool any;

	enter(l);
	any = round_of_events(l, timeout_ms);
	leave(l);
	return any;
}

void loop_run(struct loop *l)
{
	enter(l);
	while (!atomic_load(&l->stop))
		round_of_events(l, -1);
	atomic_store(&l->stop, false);
	leave(l);
}

void loop_stop(struct loop *l)
{
	atomic_store(&l->stop, true);
	wake(l);
}
