/* The local APIC's timer in its modes, and the state of local APICs on the move. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "lapic_board.h"

#define TIMER        0x320
#define DIVIDE_1     0xb
#define DIVIDE_16    0x3
#define DIVIDE_128   0xa
#define TSC_DEADLINE 0x6e0

static unsigned interrupts(struct apics *b, unsigned cpu)
{
	unsigned n = 0;
	int vector;

	for (; (vector = fake_accept(&b->m->vcpu[cpu])) >= 0; n++) {
		assert_int_equal(vector, 0xec);
		fake_eoi(&b->m->vcpu[cpu]);
	}
	return n;
}

/* After exactly so many nanoseconds, and not one earlier. */
static void one_after(struct apics *b, uint64_t ns)
{
	clock_step(&b->m->clock, ns - 1);
	assert_int_equal(interrupts(b, 0), 0);
	clock_step(&b->m->clock, 1);
	assert_int_equal(interrupts(b, 0), 1);
}

static void none_in(struct apics *b, uint64_t ns)
{
	clock_step(&b->m->clock, ns);
	assert_int_equal(interrupts(b, 0), 0);
}

static void one_shot(void **state)
{
	struct apics b;

	apics_open(&b, 1);
	apic_put(&b, 0, TIMER, 0xec);
	apic_put(&b, 0, APIC_TIMER_DIV, DIVIDE_1);
	apic_put(&b, 0, APIC_TIMER_INIT, 1000000);
	b.m->vcpu[0].requests = 0;
	one_after(&b, 1000000);
	assert_true(b.m->vcpu[0].requests & VCPU_REQ_INTERRUPT);
	assert_int_equal(apic_get(&b, 0, APIC_TIMER_NOW), 0);
	assert_int_equal(apic_get(&b, 0, APIC_TIMER_INIT), 1000000);
	none_in(&b, 10000000);
	/* Stopped, and set anew. */
	apic_put(&b, 0, APIC_TIMER_INIT, 5000);
	apic_put(&b, 0, APIC_TIMER_INIT, 0);
	none_in(&b, 10000);
	apic_put(&b, 0, APIC_TIMER_INIT, 5000);
	clock_step(&b.m->clock, 4000);
	apic_put(&b, 0, APIC_TIMER_INIT, 5000);
	one_after(&b, 5000);
	/* Masked, it counts. */
	apic_put(&b, 0, TIMER, APIC_MASKED | 0xec);
	apic_put(&b, 0, APIC_TIMER_INIT, 5000);
	clock_step(&b.m->clock, 1000);
	assert_int_equal(apic_get(&b, 0, APIC_TIMER_NOW), 4000);
	none_in(&b, 5000);
	apic_put(&b, 0, TIMER, 0xec);
	none_in(&b, 5000);
	apics_close(&b);
}

static void dividers(void **state)
{
	static const struct {
		uint8_t bits, by;
	} list[] = {{0, 2}, {1, 4}, {2, 8}, {3, 16}, {8, 32}, {9, 64}, {10, 128}, {11, 1}};
	struct apics b;

	apics_open(&b, 1);
	apic_put(&b, 0, TIMER, 0xec);
	for (unsigned i = 0; i < ARRAY_LEN(list); i++) {
		apic_put(&b, 0, APIC_TIMER_DIV, list[i].bits | 0xfffffff4);
		assert_int_equal(apic_get(&b, 0, APIC_TIMER_DIV), list[i].bits);
		apic_put(&b, 0, APIC_TIMER_INIT, 1000);
		one_after(&b, 1000 * list[i].by);
	}
	/* Changed on the way: what is left takes another time. */
	apic_put(&b, 0, APIC_TIMER_DIV, DIVIDE_16);
	apic_put(&b, 0, APIC_TIMER_INIT, 1000);
	clock_step(&b.m->clock, 16 * 400);
	assert_int_equal(apic_get(&b, 0, APIC_TIMER_NOW), 600);
	apic_put(&b, 0, APIC_TIMER_DIV, DIVIDE_128);
	one_after(&b, 128 * 600);
	/* The longest there is */
	apic_put(&b, 0, APIC_TIMER_INIT, UINT32_MAX);
	one_after(&b, 128ull * UINT32_MAX);
	apics_close(&b);
}

static void periodic(void **state)
{
	struct apics b;

	apics_open(&b, 1);
	apic_put(&b, 0, TIMER, APIC_LVT_PERIODIC | 0xec);
	apic_put(&b, 0, APIC_TIMER_DIV, DIVIDE_1);
	apic_put(&b, 0, APIC_TIMER_INIT, 250000);
	for (unsigned i = 0; i < 10; i++)
		one_after(&b, 250000);
	clock_step(&b.m->clock, 100000);
	assert_int_equal(apic_get(&b, 0, APIC_TIMER_NOW), 150000);
	/* What was not taken is one interrupt. */
	clock_step(&b.m->clock, 1000000);
	assert_int_equal(interrupts(&b, 0), 1);
	one_after(&b, 150000);
	/* The last period of one that becomes a one-shot */
	apic_put(&b, 0, TIMER, 0xec);
	one_after(&b, 250000);
	none_in(&b, 1000000);
	apics_close(&b);
}

/* A period of 2 ns is refused in effect: the host would do nothing else. */
static void short_periods(void **state)
{
	struct apics b;
	unsigned n = 0;

	apics_open(&b, 1);
	apic_put(&b, 0, TIMER, APIC_LVT_PERIODIC | 0xec);
	apic_put(&b, 0, APIC_TIMER_INIT, 1);
	for (unsigned i = 0; i < 1000; i++) {
		clock_step(&b.m->clock, 1000);
		n += interrupts(&b, 0);
	}
	assert_in_range(n, 5, 25);
	apics_close(&b);
}

static uint64_t tsc;

static uint64_t guest_tsc(struct vcpu *v)
{
	return tsc;
}

static void tsc_deadline(void **state)
{
	struct apics b;
	uint64_t v;

	apics_open(&b, 1);
	b.m->tsc_khz = 2000000; /* two ticks a nanosecond */
	b.m->vcpu[0].intc->tsc = guest_tsc;
	tsc = 1000000;
	assert_int_equal(msr_write(&b, 0, TSC_DEADLINE, 5000000), 0); /* not in its mode: ignored */
	assert_int_equal(msr_read(&b, 0, TSC_DEADLINE, &v), 0);
	assert_int_equal(v, 0);
	apic_put(&b, 0, TIMER, APIC_LVT_DEADLINE | 0xec);
	none_in(&b, 5000000);
	assert_int_equal(msr_write(&b, 0, TSC_DEADLINE, 1200001), 0);
	assert_int_equal(msr_read(&b, 0, TSC_DEADLINE, &v), 0);
	assert_int_equal(v, 1200001);
	one_after(&b, 100001); /* never before it */
	assert_int_equal(msr_read(&b, 0, TSC_DEADLINE, &v), 0);
	assert_int_equal(v, 0);
	/* Past already; disarmed; the other modes' counter has no meaning. */
	assert_int_equal(msr_write(&b, 0, TSC_DEADLINE, 1000000), 0);
	assert_int_equal(interrupts(&b, 0), 1);
	assert_int_equal(msr_write(&b, 0, TSC_DEADLINE, 1000100), 0);
	assert_int_equal(msr_write(&b, 0, TSC_DEADLINE, 0), 0);
	apic_put(&b, 0, APIC_TIMER_INIT, 100);
	assert_int_equal(apic_get(&b, 0, APIC_TIMER_NOW), 0);
	none_in(&b, 1000000);
	/* Far away is no overflow. */
	assert_int_equal(msr_write(&b, 0, TSC_DEADLINE, UINT64_MAX), 0);
	none_in(&b, 1000000);
	/* A change of the mode disarms. */
	assert_int_equal(msr_write(&b, 0, TSC_DEADLINE, 1200000), 0);
	apic_put(&b, 0, TIMER, 0xec);
	none_in(&b, 1000000);
	apic_put(&b, 0, TIMER, APIC_LVT_DEADLINE | 0xec);
	none_in(&b, 1000000);
	apics_close(&b);
}

static void the_tsc_is_the_machines_time_by_default(void **state)
{
	struct apics b;

	apics_open(&b, 1);
	b.m->tsc_khz = 3000000;
	clock_step(&b.m->clock, 1000);
	apic_put(&b, 0, TIMER, APIC_LVT_DEADLINE | 0xec);
	assert_int_equal(msr_write(&b, 0, TSC_DEADLINE, 3 * 6000), 0);
	one_after(&b, 5000);
	apics_close(&b);
}

static int load(struct machine *m, const void *data, size_t len)
{
	struct state *s = state_new_load(data, len);
	int r;

	machine_state(m, s);
	r = state_finish(s, NULL);
	state_free(s);
	return r;
}

static int compare(struct machine *m, const void *data, size_t len)
{
	struct state *s = state_new_compare(data, len);
	int r;

	machine_state(m, s);
	r = state_finish(s, NULL);
	state_free(s);
	return r;
}

static struct state *save(struct machine *m)
{
	struct state *s = state_new_save();

	machine_state(m, s);
	assert_int_equal(state_finish(s, NULL), 0);
	return s;
}

static void print(struct machine *m)
{
	struct state *s = state_new_json();
	const struct json *apic;
	uint64_t v;

	machine_state(m, s);
	assert_int_equal(state_finish(s, NULL), 0);
	apic = json_get(json_get(json_get(state_json(s), "machine"), "vcpu1"), "apic");
	assert_int_equal(json_to_u64(json_get(apic, "tpr"), &v), 0);
	assert_int_equal(v, 0x20);
	state_free(s);
}

/* vCPU 0: one-shot, an interrupt in service; 1: x2APIC, deadline; 2: periodic, an interrupt waits. */
static void busy(struct apics *b)
{
	apic_put(b, 0, TIMER, 0xec);
	apic_put(b, 0, APIC_TIMER_DIV, DIVIDE_16);
	apic_put(b, 0, APIC_TIMER_INIT, 1000);
	apic_put(b, 0, APIC_LDR, 0x05000000);
	irq_msi(b->m, 0xfee00000, APIC_LEVEL | APIC_ASSERT | 0x71);
	assert_int_equal(fake_accept(&b->m->vcpu[0]), 0x71);
	x2apic(b, 1);
	msr_put(b, 1, APIC_TPR, 0x20);
	msr_put(b, 1, TIMER, APIC_LVT_DEADLINE | 0xec);
	assert_int_equal(msr_write(b, 1, TSC_DEADLINE, 400000), 0);
	msr_put(b, 1, APIC_ICR, 1ull << 32 | 0x0400);
	apic_put(b, 2, TIMER, APIC_LVT_PERIODIC | 0xec);
	apic_put(b, 2, APIC_TIMER_INIT, 100000);
	irq_msi(b->m, 0xfee02000, 0x55);
	clock_step(&b->m->clock, 160 * 16);
}

static void state_moves(void **state)
{
	struct apics b, c;
	struct state *s;
	const void *data;
	size_t len;
	uint64_t v;

	apics_open(&b, 3);
	apics_open(&c, 3);
	busy(&b);
	s = save(b.m);
	data = state_data(s, &len);
	assert_int_equal(compare(b.m, data, len), 0);
	assert_int_equal(compare(c.m, data, len), -EILSEQ);
	assert_int_equal(load(c.m, data, len), 0);
	assert_int_equal(compare(c.m, data, len), 0);
	assert_int_equal(load(c.m, data, len), 0); /* also over what is not fresh */
	assert_int_equal(compare(c.m, data, len), 0);
	print(c.m);

	assert_int_equal(msr_get(&c, 1, APIC_ID), 1);
	assert_int_equal(msr_get(&c, 1, APIC_ICR), 1ull << 32 | 0x0400);
	assert_int_equal(msr_read(&c, 1, TSC_DEADLINE, &v), 0);
	assert_int_equal(v, 400000);
	assert_int_equal(apic_get(&c, 0, APIC_TIMER_NOW), 840);
	assert_int_equal(apic_get(&c, 0, APIC_PPR), 0x70);
	assert_int_equal(apic_get(&c, 0, APIC_TMR + 0x30), 1u << 17);
	assert_int_equal(apic_get(&c, 0, APIC_LDR), 0x05000000);
	assert_true(c.m->vcpu[2].requests & VCPU_REQ_INTERRUPT);
	assert_int_equal(fake_accept(&c.m->vcpu[2]), 0x55);
	fake_eoi(&c.m->vcpu[2]);
	one_after(&c, 840 * 16);
	clock_step(&c.m->clock, 400000);
	assert_int_equal(interrupts(&c, 1), 1);
	assert_int_equal(interrupts(&c, 2), 1);
	state_free(s);
	apics_close(&b);
	apics_close(&c);
}

/* The machine was paused between the timer's end and its interrupt. */
static void an_end_that_nobody_saw_yet_moves(void **state)
{
	struct apics b, c;
	struct state *s;
	const void *data;
	size_t len;

	apics_open(&b, 1);
	apics_open(&c, 1);
	apic_put(&b, 0, TIMER, 0xec);
	apic_put(&b, 0, APIC_TIMER_DIV, DIVIDE_1);
	apic_put(&b, 0, APIC_TIMER_INIT, 1000);
	clock_set(&b.m->clock, 5000); /* calls no timers */
	s = save(b.m);
	data = state_data(s, &len);
	assert_int_equal(load(c.m, data, len), 0);
	one_after(&c, 1);
	state_free(s);
	apics_close(&b);
	apics_close(&c);
}

static void foreign_state_is_refused(void **state)
{
	struct apics b, c;
	struct state *s;
	const void *data;
	size_t len;

	apics_open(&b, 3);
	apics_open(&c, 3);
	busy(&b);
	s = save(b.m);
	data = state_data(s, &len);
	for (size_t cut = len - 600; cut < len; cut++)
		assert_int_equal(load(c.m, data, cut), -EBADMSG);
	state_free(s);
	apics_close(&c);
	apics_open(&c, 2);
	s = save(b.m);
	data = state_data(s, &len);
	assert_int_equal(load(c.m, data, len), -EBADMSG);
	state_free(s);
	apics_close(&b);
	apics_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_shot),
		cmocka_unit_test(dividers),
		cmocka_unit_test(periodic),
		cmocka_unit_test(short_periods),
		cmocka_unit_test(tsc_deadline),
		cmocka_unit_test(the_tsc_is_the_machines_time_by_default),
		cmocka_unit_test(state_moves),
		cmocka_unit_test(an_end_that_nobody_saw_yet_moves),
		cmocka_unit_test(foreign_state_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
