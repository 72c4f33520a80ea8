/*
 * Local APICs on the move between ours and KVM's.  Skipped where /dev/kvm doesn't open.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "bare_guest.h"
#include "engine/kvm/engine.h"
#include "engine/kvm/kvm.h"
#include "lapic_board.h"

#define TIMER 0x320

static struct state *save_ours(struct apics *a, unsigned cpu)
{
	struct state *s = state_new_save();
	struct intc *ic = a->m->vcpu[cpu].intc;

	ic->ops->state(ic, s);
	assert_int_equal(state_finish(s, NULL), 0);
	return s;
}

static struct state *save_kvms(struct bare *b, unsigned cpu)
{
	struct state *s = state_new_save();

	engine_kvm.apic_state(&b->m->vcpu[cpu], s);
	assert_int_equal(state_finish(s, NULL), 0);
	return s;
}

static struct state *load_of(struct state *saved)
{
	size_t len;
	const void *data = state_data(saved, &len);

	return state_new_load(data, len);
}

static void finish(struct state *s)
{
	struct err e = {0};

	if (state_finish(s, &e) < 0)
		fail_msg("%s", e.text);
	state_free(s);
}

static void load_kvms(struct bare *b, unsigned cpu, struct state *saved)
{
	struct state *s = load_of(saved);

	engine_kvm.apic_state(&b->m->vcpu[cpu], s);
	finish(s);
}

static void load_ours(struct apics *a, unsigned cpu, struct state *saved)
{
	struct state *s = load_of(saved);
	struct intc *ic = a->m->vcpu[cpu].intc;

	ic->ops->state(ic, s);
	finish(s);
}

static void compare_ours(struct apics *a, unsigned cpu, struct state *saved)
{
	size_t len;
	const void *data = state_data(saved, &len);
	struct state *s = state_new_compare(data, len);
	struct intc *ic = a->m->vcpu[cpu].intc;

	ic->ops->state(ic, s);
	finish(s);
}

/* Through KVM's into fresh ones of ours, where nothing may differ. */
static void comes_back(struct apics *from, struct bare *kvm, unsigned cpu)
{
	struct state *ours = save_ours(from, cpu), *kvms;
	struct cpu_state c;
	struct apics to;
	struct err e = {0};

	assert_int_equal(vcpu_state_get(&from->m->vcpu[cpu], &c, &e), 0);
	apics_open(&to, from->m->cpus);
	assert_int_equal(vcpu_state_set(&to.m->vcpu[cpu], &c, &e), 0);
	assert_int_equal(vcpu_state_get(&kvm->m->vcpu[cpu], &c, &e), 0);
	c.apic_base = from->m->vcpu[cpu].intc->mmio_base == UINT64_MAX
	                      ? c.apic_base | APIC_BASE_X2APIC
	                      : c.apic_base;
	assert_int_equal(vcpu_state_set(&kvm->m->vcpu[cpu], &c, &e), 0);
	load_kvms(kvm, cpu, ours);
	kvms = save_kvms(kvm, cpu);
	load_ours(&to, cpu, kvms);
	compare_ours(&to, cpu, ours);
	state_free(ours);
	state_free(kvms);
	apics_close(&to);
}

static void registers_survive_the_way(void **state)
{
	struct apics a;
	struct bare b;

	apics_open(&a, 2);
	bare_make(&b, &engine_kvm, 2);
	apic_put(&a, 0, APIC_TPR, 0x35);
	apic_put(&a, 0, APIC_LDR, 0x05000000);
	apic_put(&a, 0, APIC_ICR_HIGH, 0x01000000);
	apic_put(&a, 0, APIC_ICR, 0x4051);
	apic_put(&a, 0, APIC_LVT + 16 * LVT_LINT1, 0x400);
	apic_put(&a, 0, APIC_LVT + 16 * LVT_ERROR, 0xfe);
	irq_msi(a.m, 0xfee00000, 0x71);
	assert_int_equal(fake_accept(&a.m->vcpu[0]), 0x71);
	irq_msi(a.m, 0xfee00000, 0x42);
	comes_back(&a, &b, 0);
	x2apic(&a, 1);
	msr_put(&a, 1, APIC_ICR, 0x00000001ull << 32 | 0x4052);
	msr_put(&a, 1, TIMER, APIC_LVT_DEADLINE | 0xec);
	comes_back(&a, &b, 1);
	apics_close(&a);
	bare_drop(&b);
}

static void a_timer_goes_on(void **state)
{
	struct apics a;
	struct bare b;
	struct state *s;

	apics_open(&a, 1);
	bare_make(&b, &engine_kvm, 1);
	apic_put(&a, 0, TIMER, APIC_MASKED | 0xec);
	apic_put(&a, 0, APIC_TIMER_DIV, 0x3);
	apic_put(&a, 0, APIC_TIMER_INIT, 4000000000u);
	clock_step(&a.m->clock, 16ull * 1000000000);
	s = save_ours(&a, 0);
	load_kvms(&b, 0, s);
	state_free(s);
	apic_put(&a, 0, APIC_TIMER_INIT, 0);
	s = save_kvms(&b, 0);
	load_ours(&a, 0, s);
	state_free(s);
	/* It ran in between, for less than 8 seconds. */
	assert_in_range(apic_get(&a, 0, APIC_TIMER_NOW), 2500000000u, 3000000000u);
	assert_int_equal(apic_get(&a, 0, APIC_TIMER_INIT), 4000000000u);
	apics_close(&a);
	bare_drop(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(registers_survive_the_way),
		cmocka_unit_test(a_timer_goes_on),
	};
	struct err e = {0};
	int fd = kvm_dev_open(&e);

	if (fd < 0) {
		printf("skipped: %s\n", e.text);
		return 77; /* meson: skipped */
	}
	close(fd);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
