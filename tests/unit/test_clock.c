/* The machine's time: steps exactly, stands still in a pause, calls timers in order and once. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "machine/clock.h"

struct alarm {
	struct clock_timer timer;
	char name;
	uint64_t at, again;
};

static char order[16];
static unsigned rings;

static void ring(struct clock_timer *t)
{
	struct alarm *a = container_of(t, struct alarm, timer);

	a->at = clock_now(t->clock);
	if (rings < sizeof(order) - 1)
		order[rings++] = a->name;
	if (a->again)
		clock_timer_set(t, a->at + a->again);
}

static int setup(void **state)
{
	memset(order, 0, sizeof(order));
	rings = 0;
	return 0;
}

static void steps_call_timers_in_order(void **state)
{
	struct alarm a = {.name = 'a'}, b = {.name = 'b', .again = 40}, c = {.name = 'c'};
	struct clock clock;

	clock_init(&clock, NULL, true);
	clock_timer_init(&clock, &a.timer, ring);
	clock_timer_init(&clock, &b.timer, ring);
	clock_timer_init(&clock, &c.timer, ring);
	clock_timer_set(&a.timer, 100);
	clock_timer_set(&b.timer, 50);
	clock_timer_set(&c.timer, 70);
	clock_timer_set(&c.timer, UINT64_MAX);
	clock_step(&clock, 49);
	assert_int_equal(rings, 0);
	clock_step(&clock, 61);
	assert_string_equal(order, "bba");
	assert_int_equal(clock_now(&clock), 110);
	assert_int_equal(a.at, 100); /* a timer sees its own time */
	assert_int_equal(b.at, 90);
	clock_timer_set(&a.timer, 120);
	clock_timer_set(&a.timer, 3); /* set again, now in the past: due at once */
	clock_step(&clock, 0);
	assert_string_equal(order, "bbaa");
	assert_int_equal(a.at, 110);
	clock_fini(&clock);
}

static void a_pause_holds_time_and_timers(void **state)
{
	struct alarm a = {.name = 'a'};
	struct clock clock;
	struct loop *loop;
	struct err e;
	uint64_t then;

	assert_int_equal(loop_new("test", &loop, &e), 0);
	clock_init(&clock, loop, false);
	clock_timer_init(&clock, &a.timer, ring);
	assert_int_equal(clock_now(&clock), 0);
	clock_timer_set(&a.timer, 2000000);
	loop_step(loop, 5);
	assert_int_equal(rings, 0); /* not started yet */
	clock_resume(&clock);
	clock_pause(&clock);
	then = clock_now(&clock);
	loop_step(loop, 5);
	assert_int_equal(rings, 0);
	assert_true(clock_now(&clock) == then);
	clock_resume(&clock);
	for (int i = 0; i < 100 && rings == 0; i++)
		loop_step(loop, 10);
	assert_int_equal(rings, 1);
	assert_true(a.at >= 2000000);
	/* A time from another host, later than this one has been up */
	clock_set(&clock, 1ull << 55);
	assert_true(clock_now(&clock) >= 1ull << 55);
	clock_timer_set(&a.timer, UINT64_MAX - 1);
	assert_false(loop_step(loop, 0) && rings > 1);
	clock_timer_set(&a.timer, UINT64_MAX);
	clock_fini(&clock);
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(steps_call_timers_in_order, setup),
		cmocka_unit_test_setup(a_pause_holds_time_and_timers, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
