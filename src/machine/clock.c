/*
 * The machine's time and its timers.  One sorted list serves the real and the stepped clock; the real
 * one keeps a single loop timer armed for the list's head.
 */
#include "machine/clock.h"

#include <stdatomic.h>

#define MASK      (CLOCK_STILL - 1)
#define CLOCK_FAR (1ull << 60) /* ns: 36 years */

static bool stands_still(struct clock *c)
{
	return c->time & CLOCK_STILL;
}

uint64_t clock_now(struct clock *c)
{
	uint64_t t = c->time;

	return t & CLOCK_STILL ? t & MASK : (loop_now() - t) & MASK;
}

/* Lock held: the loop timer follows the head of the list. */
static void follow_head(struct clock *c)
{
	uint64_t now, deadline;

	if (c->stepped)
		return;
	if (!c->timers || stands_still(c)) {
		timer_cancel(c->loop, &c->tick);
		return;
	}
	now = clock_now(c);
	deadline = c->timers->deadline;
	/* A guest may ask for any number: far away is far enough. */
	deadline = deadline > now ? MIN(deadline - now, CLOCK_FAR) : 0;
	timer_arm(c->loop, &c->tick, loop_now() + deadline);
}

/* Takes the first timer off the list when it is due. */
static struct clock_timer *pop_due(struct clock *c, uint64_t now)
{
	struct clock_timer *t;

	lock_take(&c->lock);
	t = c->timers;
	if (t && t->deadline <= now) {
		c->timers = t->next;
		if (c->stepped && t->deadline > clock_now(c))
			c->time = CLOCK_STILL | t->deadline;
		t->deadline = UINT64_MAX;
	} else {
		t = NULL;
		follow_head(c);
	}
	lock_drop(&c->lock);
	return t;
}

static void on_tick(struct loop_timer *tick)
{
	struct clock *c = container_of(tick, struct clock, tick);
	struct clock_timer *t;

	/* Paused since: what is due waits for clock_resume(). */
	while (!stands_still(c) && (t = pop_due(c, clock_now(c))))
		t->fn(t);
}

void clock_init(struct clock *c, struct loop *loop, bool stepped)
{
	*c = (struct clock){.loop = loop, .stepped = stepped, .time = CLOCK_STILL};
	c->tick.fn = on_tick;
	lock_init(&c->lock, LOCK_CLOCK);
}

void clock_fini(struct clock *c)
{
	if (!c->stepped)
		timer_cancel(c->loop, &c->tick);
	lock_fini(&c->lock);
}

static void set_time(struct clock *c, uint64_t now, bool still)
{
	c->time = still ? CLOCK_STILL | (now & MASK) : (loop_now() - now) & MASK;
	follow_head(c);
}

void clock_pause(struct clock *c)
{
	lock_take(&c->lock);
	if (!stands_still(c))
		set_time(c, clock_now(c), true);
	lock_drop(&c->lock);
}

void clock_resume(struct clock *c)
{
	lock_take(&c->lock);
	if (stands_still(c) && !c->stepped)
		set_time(c, clock_now(c), false);
	lock_drop(&c->lock);
}

void clock_set(struct clock *c, uint64_t now)
{
	lock_take(&c->lock);
	set_time(c, now, stands_still(c));
	lock_drop(&c->lock);
}

void clock_step(struct clock *c, uint64_t ns)
{
	uint64_t target = clock_now(c) + ns;
	struct clock_timer *t;

	while ((t = pop_due(c, target)))
		t->fn(t);
	clock_set(c, target);
}

void clock_timer_init(struct clock *c, struct clock_timer *t, void (*fn)(struct clock_timer *t))
{
	*t = (struct clock_timer){.fn = fn, .clock = c, .deadline = UINT64_MAX};
}

void clock_timer_set(struct clock_timer *t, uint64_t deadline)
{
	struct clock *c = t->clock;
	struct clock_timer *head, **at;

	lock_take(&c->lock);
	head = c->timers;
	if (t->deadline != UINT64_MAX) {
		for (at = &c->timers; *at != t; at = &(*at)->next)
			;
		*at = t->next;
	}
	t->deadline = deadline;
	if (deadline != UINT64_MAX) {
		for (at = &c->timers; *at && (*at)->deadline <= deadline; at = &(*at)->next)
			;
		t->next = *at;
		*at = t;
	}
	if (head != c->timers || head == t)
		follow_head(c);
	lock_drop(&c->lock);
}
