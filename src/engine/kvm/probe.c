/*
 * Whether /dev/kvm is fit for unmodified guests.
 *
 * That the device is there says little: on some hosts (which are guests themselves) it interprets a guest's
 * kernel at a thousandth of the processor's speed and gets system calls wrong, since it is made for
 * guests that cooperate.  So a tiny guest is run:
 *
 *   1. a loop at privilege 0, against the same loop run by ourselves.  Times are processor time of this
 *      thread, the least of a few runs, so that a busy host changes nothing;
 *   2. SYSCALL at privilege 3, which must arrive at privilege 0;
 *   3. code under 32-bit paging.
 *
 * A timer ends whatever takes too long.  The verdict is kept for the life of the process.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "engine/kvm/tiny.h"

#define ROUNDS      5000
#define RUNS        4
#define ENOUGH_NS   100000000ull /* no further run after so long */
#define LIMIT_NS    250000000ll  /* whatever still runs then is ended */
#define AGAIN_NS    10000000ll   /* a signal that came before KVM_RUN is followed by others */
#define SLOW_FACTOR 100
#define SLOW_NS     1000000ull /* an exit's cost is not a loop's; below this nothing is slow */

static uint64_t thread_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t native_ns(void)
{
	uint64_t best = UINT64_MAX;

	for (unsigned i = 0; i < RUNS; i++) {
		uint64_t start = thread_ns();
		unsigned rounds = ROUNDS;

		__asm__ volatile("1: dec %0; jnz 1b" : "+r"(rounds) : : "cc");
		best = MIN(best, thread_ns() - start);
	}
	return best;
}

static bool too_slow(uint64_t guest, uint64_t native)
{
	return guest > SLOW_NS && guest / SLOW_FACTOR > native;
}

static int run_loop(struct tiny *t, unsigned rounds, uint64_t *ns)
{
	int rc = tiny_set(t, tiny_loop, true, rounds);
	uint64_t start = thread_ns();

	if (rc == 0)
		rc = tiny_run(t, TINY_PORT_LOOP, NULL);
	*ns = thread_ns() - start;
	return rc;
}

/* The loop's time in the guest; stops at the first run that isn't slow. */
static int guest_ns(struct tiny *t, uint64_t native, uint64_t *out)
{
	uint64_t best = UINT64_MAX, end = loop_now() + ENOUGH_NS, ns;
	int rc = run_loop(t, 1, &ns); /* the first entry has costs of its own */

	for (unsigned i = 0; rc == 0 && i < RUNS && too_slow(best, native); i++) {
		if (i > 0 && loop_now() > end)
			break;
		rc = run_loop(t, ROUNDS, &ns);
		best = MIN(best, ns);
	}
	*out = best;
	return rc;
}

static int start_timer(timer_t *timer)
{
	struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = kvm_kick_signal()};
	const struct itimerspec limit = {.it_value.tv_nsec = LIMIT_NS,
	                                 .it_interval.tv_nsec = AGAIN_NS};

	ev._sigev_un._tid = gettid();
	if (ev.sigev_signo < 0 || timer_create(CLOCK_MONOTONIC, &ev, timer) != 0)
		return -EAGAIN;
	return timer_settime(*timer, 0, &limit, NULL) == 0 ? 0 : -errno;
}

static void PRINTF(3, 4) verdict(struct engine_report *out, bool usable, const char *fmt, ...)
{
	va_list ap;

	out->usable = usable;
	va_start(ap, fmt);
	vsnprintf(out->reason, sizeof(out->reason), fmt, ap);
	va_end(ap);
}

#define SPECIAL "it is made for special guests"

static bool fails(struct engine_report *out, int rc, const char *what)
{
	if (rc == -EINTR)
		verdict(out, false, "%s does not end on this host's KVM: " SPECIAL, what);
	else if (rc < 0)
		verdict(out, false, "%s fails on this host's KVM: " SPECIAL, what);
	return rc < 0;
}

static void examine(struct tiny *t, struct engine_report *out)
{
	uint64_t native = native_ns(), guest;
	uint32_t cs = 0;
	int rc = guest_ns(t, native, &guest);

	if (fails(out, rc, "a loop in kernel mode"))
		return;
	if (too_slow(guest, native)) {
		verdict(out, false,
		        "kernel code runs %" PRIu64 "x too slowly (loop of %" PRIu64 " us takes "
		        "%.0f ms): " SPECIAL,
		        guest / MAX(native, 1u), native / 1000, (double)guest / 1e6);
		return;
	}
	rc = tiny_set(t, tiny_to_user, true, 0);
	if (rc == 0)
		rc = tiny_run(t, TINY_PORT_SYSCALL, &cs);
	if (rc == 0 && cs & 3)
		rc = -EPROTO;
	if (fails(out, rc, "a system call"))
		return;
	rc = tiny_set(t, tiny_protected, false, 0);
	if (rc == 0)
		rc = tiny_run(t, TINY_PORT_PROTECTED, NULL);
	if (!fails(out, rc, "32-bit paging"))
		verdict(out, true,
		        "hardware virtualization: loop in kernel mode %.0f us, %.0f us "
		        "natively",
		        (double)guest / 1e3, (double)native / 1e3);
}

static void probe(struct engine_report *out)
{
	struct tiny t;
	struct err e = {0};
	timer_t timer;

	*out = (struct engine_report){};
	if (tiny_open(&t, &e) < 0) {
		verdict(out, false, "%.180s", e.text);
		return;
	}
	out->openable = true;
	if (start_timer(&timer) == 0) {
		examine(&t, out);
		timer_delete(timer);
	} else {
		verdict(out, false, "no timer for the probe");
	}
	tiny_close(&t);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct engine_report report;

static void probe_once(void)
{
	probe(&report);
}

void kvm_probe(struct engine_report *out)
{
	pthread_once(&once, probe_once);
	*out = report;
}
