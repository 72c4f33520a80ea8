/*
 * The local APIC's timer (SDM 3A 11.5.4): counts down from an initial count, once or again and again, or
 * waits for a value of the TSC.
 *
 * IA32_TSC_DEADLINE reads as 0 outside of its mode; what was written to it is kept all the same, since a
 * loaded state may set it before the mode.  A change of the mode by the guest clears it.
 */
#include "dev/chip/lapic_impl.h"

#define TICK_NS       (1000000u / CPUID_APIC_BUS_KHZ)
#define PERIOD_MIN_NS 50000 /* a guest's nonsense must not keep the host busy */
#define NEVER         UINT64_MAX

static uint64_t now(struct lapic *a)
{
	return clock_now(&a->all->dev.machine->clock);
}

static bool is_deadline(const struct lapic *a)
{
	return a->lvt[LVT_TIMER] & APIC_LVT_DEADLINE;
}

static bool is_periodic(const struct lapic *a)
{
	return (a->lvt[LVT_TIMER] & (APIC_LVT_PERIODIC | APIC_LVT_DEADLINE)) == APIC_LVT_PERIODIC;
}

/* Nanoseconds of one count: divide is 1 << (bits 3, 1, 0 + 1), and 7 means 1. */
static uint64_t count_ns(const struct lapic *a)
{
	uint32_t d = a->timer_divide;

	return (uint64_t)TICK_NS << (((d >> 1 & 4) + (d & 3) + 1) & 7);
}

static uint64_t period(const struct lapic *a)
{
	return a->timer_initial * count_ns(a);
}

static void arm(struct lapic *a)
{
	uint64_t at = a->expires;

	if (at != NEVER && is_periodic(a))
		at = MAX(at, now(a) + PERIOD_MIN_NS);
	clock_timer_set(&a->timer, at);
}

static void fire(struct lapic *a)
{
	uint64_t time = now(a);

	/* Periods that went by meanwhile make no interrupts of their own. */
	if (is_periodic(a) && a->timer_initial)
		a->expires += ((time - a->expires) / period(a) + 1) * period(a);
	else
		a->expires = NEVER;
	a->tsc_deadline = 0;
	arm(a);
	lapic_local(a, LVT_TIMER);
}

static void on_timer(struct clock_timer *t)
{
	struct lapic *a = container_of(t, struct lapic, timer);

	lock_take(&a->lock);
	/* It may have been set anew meanwhile. */
	if (a->expires <= now(a))
		fire(a);
	lock_drop(&a->lock);
}

/* What is left, lock held; 0 when it is over, or doesn't run. */
static uint32_t count_left(struct lapic *a)
{
	uint64_t time = now(a), left = 0;

	if (a->expires == NEVER || is_deadline(a))
		return 0;
	if (a->expires > time)
		left = a->expires - time;
	else if (is_periodic(a) && a->timer_initial)
		left = period(a) - (time - a->expires) % period(a);
	return (left + count_ns(a) - 1) / count_ns(a);
}

static void start(struct lapic *a, uint64_t count)
{
	a->expires = count ? now(a) + count * count_ns(a) : NEVER;
	arm(a);
}

/* Lock held. */
static void wait_for_tsc(struct lapic *a)
{
	struct machine *m = a->all->dev.machine;
	uint64_t khz = m->tsc_khz ? m->tsc_khz : 1000000;
	uint64_t time = now(a), tsc;
	unsigned __int128 ns;

	tsc = a->intc.tsc ? a->intc.tsc(a->intc.vcpu) : (unsigned __int128)time * khz / 1000000;
	if (a->tsc_deadline == 0) {
		a->expires = NEVER;
	} else if (a->tsc_deadline <= tsc) {
		fire(a);
		return;
	} else {
		ns = ((unsigned __int128)(a->tsc_deadline - tsc) * 1000000 + khz - 1) / khz;
		a->expires = MIN(ns + time, (unsigned __int128)(NEVER - 1));
	}
	arm(a);
}

uint32_t lapic_timer_now(struct lapic *a)
{
	uint32_t count;

	lock_take(&a->lock);
	count = count_left(a);
	lock_drop(&a->lock);
	return count;
}

void lapic_timer_start(struct lapic *a, uint32_t initial)
{
	lock_take(&a->lock);
	if (!is_deadline(a)) {
		a->timer_initial = initial;
		start(a, initial);
	}
	lock_drop(&a->lock);
}

void lapic_timer_divide(struct lapic *a, uint32_t divide)
{
	uint32_t left;

	lock_take(&a->lock);
	left = count_left(a);
	a->timer_divide = divide;
	if (!is_deadline(a))
		start(a, left);
	lock_drop(&a->lock);
}

void lapic_timer_lvt(struct lapic *a, uint32_t lvt)
{
	lock_take(&a->lock);
	if ((lvt ^ a->lvt[LVT_TIMER]) & APIC_LVT_DEADLINE) {
		a->expires = NEVER;
		a->tsc_deadline = 0;
		a->timer_initial = 0;
	}
	a->lvt[LVT_TIMER] = lvt;
	arm(a);
	lock_drop(&a->lock);
}

uint64_t lapic_tsc_deadline(struct lapic *a)
{
	uint64_t deadline;

	lock_take(&a->lock);
	deadline = is_deadline(a) ? a->tsc_deadline : 0;
	lock_drop(&a->lock);
	return deadline;
}

void lapic_tsc_deadline_set(struct lapic *a, uint64_t deadline)
{
	lock_take(&a->lock);
	a->tsc_deadline = deadline;
	if (is_deadline(a))
		wait_for_tsc(a);
	lock_drop(&a->lock);
}

void lapic_timer_save(struct lapic *a, struct lapic_regs *r)
{
	lock_take(&a->lock);
	/* An end that the main thread hasn't seen yet must not get lost. */
	r->timer_now = a->expires <= now(a) ? 1 : count_left(a);
	r->timer_initial = a->timer_initial;
	r->timer_divide = a->timer_divide;
	lock_drop(&a->lock);
}

void lapic_timer_load(struct lapic *a, const struct lapic_regs *r)
{
	lock_take(&a->lock);
	a->timer_initial = r->timer_initial;
	a->timer_divide = r->timer_divide;
	if (is_deadline(a))
		wait_for_tsc(a);
	else
		start(a, r->timer_now);
	lock_drop(&a->lock);
}

void lapic_timer_reset(struct lapic *a)
{
	lock_take(&a->lock);
	a->timer_initial = a->timer_divide = 0;
	a->tsc_deadline = 0;
	a->expires = NEVER;
	arm(a);
	lock_drop(&a->lock);
}

void lapic_timer_init(struct lapic *a)
{
	lock_init(&a->lock, LOCK_APIC);
	clock_timer_init(&a->all->dev.machine->clock, &a->timer, on_timer);
	a->expires = NEVER;
}
