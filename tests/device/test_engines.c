/*
 * A guest that was saved under one engine goes on under another: its registers, its pending interrupts,
 * its running timer, its time.  Pairs with kvm are skipped where /dev/kvm doesn't open.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "bare_guest.h"
#include "engine/kvm/engine.h"
#include "engine/soft/engine.h"

#define COUNT BARE_DATA        /* the timer's interrupts */
#define LOOPS (BARE_DATA + 16) /* what the guest has counted in a register */

static bool has_kvm(void)
{
	struct engine_report report = {};

	engine_kvm.probe(&report);
	return report.openable;
}

static void move_state(struct bare *from, struct bare *to)
{
	struct state *save = state_new_save(), *load;
	struct err e = {0};
	const void *data;
	size_t len;

	machine_state(from->m, save);
	if (state_finish(save, &e) < 0)
		fail_msg("save: %s", e.text);
	data = state_data(save, &len);
	memcpy(mem_ptr(&to->m->mem, 0, BARE_RAM, true), mem_ptr(&from->m->mem, 0, BARE_RAM, false),
	       BARE_RAM);
	load = state_new_load(data, len);
	machine_state(to->m, load);
	if (state_finish(load, &e) < 0)
		fail_msg("load: %s", e.text);
	state_free(load);
	state_free(save);
}

static void move(const struct engine *first, const struct engine *second)
{
	struct bare from, to;
	struct err e = {0};
	uint64_t count, loops, time;

	bare_make(&from, first, 1);
	bare_make(&to, second, 1);
	bare_gate(&from, 0x51, guest_count);
	bare_gate(&from, 0x61, guest_count_other);
	bare_start_at(&from, guest_clockwork);
	assert_true(bare_wait_memory(&from, COUNT, 3));
	machine_pause(from.m);
	irq_msi(from.m, 0xfee00000, 0x61); /* waits in the local APIC */
	count = bare_read(&from, COUNT);
	loops = bare_read(&from, LOOPS);
	time = clock_now(&from.m->clock);
	assert_int_equal(bare_read(&from, BARE_DATA + 8), 0);
	move_state(&from, &to);

	assert_int_equal(clock_now(&to.m->clock), time);
	assert_int_equal(machine_start(to.m, &e), 0);
	assert_true(bare_wait_memory(&to, BARE_DATA + 8, 0));
	assert_true(bare_wait_memory(&to, COUNT, count + 3));
	assert_true(bare_wait_memory(&to, LOOPS, loops + 3));
	/* From its register, not from the beginning: a halt ends at each interrupt. */
	machine_pause(to.m);
	assert_true(bare_read(&to, LOOPS) - loops <= bare_read(&to, COUNT) - count + 3);
	/* The first guest is as it was. */
	assert_int_equal(bare_read(&from, COUNT), count);
	bare_drop(&from);
	bare_drop(&to);
}

static void from_soft_to_soft(void **state)
{
	move(&engine_soft, &engine_soft);
}

static void from_kvm_to_kvm(void **state)
{
	if (!has_kvm())
		skip();
	move(&engine_kvm, &engine_kvm);
}

static void from_kvm_to_soft(void **state)
{
	if (!has_kvm())
		skip();
	move(&engine_kvm, &engine_soft);
}

static void from_soft_to_kvm(void **state)
{
	if (!has_kvm())
		skip();
	move(&engine_soft, &engine_kvm);
}

static void there_and_back(void **state)
{
	struct cpu_state in, out;
	struct err e = {0};
	struct bare kvm, soft;

	if (!has_kvm())
		skip();
	bare_make(&kvm, &engine_kvm, 1);
	bare_make(&soft, &engine_soft, 1);
	bare_state(guest_spin, &in);
	for (unsigned i = 0; i < CPU_GPRS; i++)
		in.gpr[i] = 0x0101010101010101 * (i + 1);
	in.rflags |= FLAG_ZF | FLAG_IF;
	in.seg[CPU_GS].base = 0xffff888000000000;
	in.lstar = 0xffffffff81000000;
	in.dr[1] = 0x2000;
	in.cr8 = 3;
	in.interrupt_shadow = CPU_SHADOW_STI;
	assert_int_equal(vcpu_state_set(&soft.m->vcpu[0], &in, &e), 0);
	assert_int_equal(vcpu_state_get(&soft.m->vcpu[0], &in, &e), 0);
	assert_int_equal(vcpu_state_set(&kvm.m->vcpu[0], &in, &e), 0);
	assert_int_equal(vcpu_state_get(&kvm.m->vcpu[0], &out, &e), 0);
	assert_int_equal(vcpu_state_set(&soft.m->vcpu[0], &out, &e), 0);
	assert_int_equal(vcpu_state_get(&soft.m->vcpu[0], &out, &e), 0);
	out.tsc = in.tsc; /* goes on */
	/* Which bits MXCSR has, which nothing reads */
	memcpy(out.xsave + 28, in.xsave + 28, 4);
	{
		struct state *save = state_new_save(), *compare;
		const void *data;
		size_t len;

		cpu_state_visit(save, &in);
		data = state_data(save, &len);
		compare = state_new_compare(data, len);
		cpu_state_visit(compare, &out);
		if (state_finish(compare, &e) < 0)
			fail_msg("%s", e.text);
		state_free(compare);
		state_free(save);
	}
	bare_drop(&kvm);
	bare_drop(&soft);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(from_soft_to_soft), cmocka_unit_test(from_kvm_to_kvm),
		cmocka_unit_test(from_kvm_to_soft),  cmocka_unit_test(from_soft_to_kvm),
		cmocka_unit_test(there_and_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
