/*
 * Hardware task switches of the software engine: what is saved, which tasks are busy, whose faults are
 * whose.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "far_guest.h"

#define RING3 (3 << SEG_DPL_SHIFT)

/* Offsets in a 32-bit TSS (SDM 3A 7.2.1) */
enum { LINK = 0, EIP = 32, EFLAGS = 36, EAX = 40, ESP = 56, SEGS = 72, LDTR = 96, TRAP = 100 };

static struct guest g;

static uint32_t tss_get(uint32_t tss, unsigned offset)
{
	return (uint32_t)guest_get(&g, tss + offset, 4);
}

static unsigned type(unsigned sel)
{
	return guest_get(&g, AT_GDT + sel + 5, 1) & SEG_TYPE;
}

/* A second task that begins at AT_CODE2 in the ring of cs. */
static void second_task(unsigned cs, unsigned ss)
{
	guest_set(&g, AT_TSS2 + EIP, 4, AT_CODE2);
	guest_set(&g, AT_TSS2 + EFLAGS, 4, FLAG_FIXED | FLAG_CF);
	guest_set(&g, AT_TSS2 + EAX, 4, 0xaaaa);
	guest_set(&g, AT_TSS2 + ESP, 4, AT_IST);
	for (unsigned i = 0; i < CPU_SEGS; i++)
		guest_set(&g, AT_TSS2 + SEGS + 4 * i, 4, i == CPU_CS ? cs : ss);
	/* Its inner stack is the first task's. */
	guest_set(&g, AT_TSS2 + 4, 4, AT_STACK0);
	guest_set(&g, AT_TSS2 + 8, 2, KDATA);
}

static enum engine_exit run(const uint8_t *code, const uint8_t *end)
{
	guest_code(&g, AT_CODE, code, (size_t)(end - code));
	return guest_run(&g);
}
#define RUN(name) run(name, name##_end)

GUEST(jump, 32, "movl $0x1111, %eax; ljmp $0x60, $0x9999; hlt");
GUEST(call, 32, "movl $0x1111, %eax; lcall $0x60, $0; movl %eax, %ebx; hlt");
GUEST(halt, 32, "hlt");
GUEST(ud, 32, "ud2");
GUEST(back, 32, "movl $0x2222, %eax; iret; nop");

static void a_jump_leaves_one_task_for_another(void **state)
{
	guest_protected(&g);
	second_task(KCODE, KDATA);
	guest_put(&g, AT_CODE2, halt);
	assert_int_equal(RUN(jump), ENGINE_EXIT_HALT);
	assert_int_equal(g.s.rip, AT_CODE2 + 1);
	assert_int_equal(g.s.gpr[CPU_RAX], 0xaaaa);
	assert_int_equal(g.s.gpr[CPU_RSP], AT_IST);
	assert_int_equal(g.s.rflags, FLAG_FIXED | FLAG_CF);
	assert_int_equal(g.s.tr.sel, TSS2);
	assert_int_equal(g.s.tr.base, AT_TSS2);
	assert_true(g.s.cr0 & CR0_TS);
	assert_int_equal(type(TSS), 9);
	assert_int_equal(type(TSS2), 11);
	assert_int_equal(tss_get(AT_TSS, EIP), AT_CODE + jump_end - jump - 1);
	assert_int_equal(tss_get(AT_TSS, EAX), 0x1111);
	assert_int_equal(tss_get(AT_TSS, ESP), AT_STACK0);
	assert_int_equal(tss_get(AT_TSS, SEGS + 4 * CPU_CS), KCODE);
	assert_int_equal(tss_get(AT_TSS2, LINK), 0);
}

static void a_call_is_returned_from_by_iret(void **state)
{
	guest_protected(&g);
	second_task(KCODE, KDATA);
	guest_put(&g, AT_CODE2, back);
	assert_int_equal(RUN(call), ENGINE_EXIT_HALT);
	assert_int_equal(g.s.rip, AT_CODE + call_end - call);
	assert_int_equal(g.s.gpr[CPU_RBX], 0x1111);
	assert_int_equal(g.s.gpr[CPU_RSP], AT_STACK0);
	assert_false(g.s.rflags & FLAG_NT);
	assert_int_equal(g.s.tr.sel, TSS);
	assert_int_equal(type(TSS), 11);
	assert_int_equal(type(TSS2), 9);
	assert_int_equal(tss_get(AT_TSS2, LINK), TSS);
	assert_int_equal(tss_get(AT_TSS2, EAX), 0x2222);
	assert_int_equal(tss_get(AT_TSS2, EIP), AT_CODE2 + back_end - back - 1);
	assert_false(tss_get(AT_TSS2, EFLAGS) & FLAG_NT);
}

GUEST(bad_ds, 32, "movw $0x90, %ax; movw %ax, %ds");

static void a_task_gate_takes_an_exception(void **state)
{
	guest_protected(&g);
	guest_ring3(&g);
	second_task(KCODE, KDATA);
	guest_gate(&g, EXC_GP, TSS2, 0, SEG_P | 5, 0);
	guest_put(&g, AT_CODE2, halt);
	assert_int_equal(RUN(bad_ds), ENGINE_EXIT_HALT);
	assert_int_equal(g.s.rip, AT_CODE2 + 1);
	assert_int_equal(g.s.gpr[CPU_RSP], AT_IST - 4);
	assert_int_equal(guest_get(&g, AT_IST - 4, 4), GDT_END);
	assert_true(g.s.rflags & FLAG_NT);
	assert_int_equal(tss_get(AT_TSS2, LINK), TSS);
	assert_int_equal(tss_get(AT_TSS, EIP), AT_CODE + 4);
	assert_int_equal(tss_get(AT_TSS, SEGS + 4 * CPU_CS), UCODE);
	/* The classic use: a double fault on a stack that is gone. */
	guest_protected(&g);
	second_task(KCODE, KDATA);
	guest_gate(&g, EXC_DF, TSS2, 0, SEG_P | 5, 0);
	guest_put(&g, AT_CODE2, halt);
	g.s.seg[CPU_SS].limit = 0xfff;
	assert_int_equal(RUN(bad_ds), ENGINE_EXIT_HALT);
	assert_int_equal(g.s.rip, AT_CODE2 + 1);
	assert_int_equal(guest_get(&g, AT_IST - 4, 4), 0);
	assert_int_equal(tss_get(AT_TSS, EIP), AT_CODE + 4);
}

static void what_is_no_task_is_refused(void **state)
{
	static const struct {
		unsigned base_type, limit, vector, error;
	} rows[] = {
		{SEG_P | 11, 0x67, EXC_GP, TSS2},
		{9, 0x67, EXC_NP, TSS2},
		{SEG_P | 9, 0x66, EXC_TS, TSS2},
		{SEG_P | 2, 0x67, EXC_GP, TSS2},
	};

	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		guest_protected(&g);
		second_task(KCODE, KDATA);
		guest_descriptor(&g, TSS2, AT_TSS2, rows[i].limit, rows[i].base_type);
		assert_int_equal(RUN(jump), ENGINE_EXIT_HALT);
		assert_int_equal(guest_vector(&g), rows[i].vector);
		assert_int_equal(guest_frame(&g, true).error, rows[i].error);
		assert_int_equal(guest_frame(&g, true).eip, AT_CODE + 5);
		assert_int_equal(g.s.tr.sel, TSS);
		assert_int_equal(type(TSS), 11);
	}
}

static void a_bad_segment_is_the_new_tasks_fault(void **state)
{
	guest_protected(&g);
	second_task(KCODE, KDATA);
	guest_set(&g, AT_TSS2 + SEGS + 4 * CPU_FS, 4, EXEC_ONLY);
	assert_int_equal(RUN(jump), ENGINE_EXIT_HALT);
	assert_int_equal(guest_vector(&g), EXC_TS);
	assert_int_equal(guest_frame(&g, true).error, EXEC_ONLY);
	assert_int_equal(guest_frame(&g, true).eip, AT_CODE2);
	assert_int_equal(g.s.tr.sel, TSS2);
	assert_int_equal(g.s.gpr[CPU_RAX], 0xaaaa);
	assert_int_equal(g.s.seg[CPU_FS].attr & SEG_P, 0);
}

static void tasks_of_other_rings_and_modes(void **state)
{
	guest_protected(&g);
	second_task(UCODE, UDATA);
	guest_put(&g, AT_CODE2, ud);
	assert_int_equal(RUN(jump), ENGINE_EXIT_HALT);
	assert_int_equal(guest_vector(&g), EXC_UD);
	assert_int_equal(guest_frame(&g, false).cs, UCODE);
	assert_int_equal(guest_frame(&g, false).esp, AT_IST);

	guest_protected(&g);
	second_task(AT_CODE2 >> 4, 0x1234);
	guest_set(&g, AT_TSS2 + EFLAGS, 4, FLAG_FIXED | FLAG_VM);
	guest_set(&g, AT_TSS2 + EIP, 4, 0);
	guest_put(&g, AT_CODE2, ud);
	assert_int_equal(RUN(jump), ENGINE_EXIT_HALT);
	assert_int_equal(guest_vector(&g), EXC_UD);
	assert_int_equal(guest_frame(&g, false).cs, AT_CODE2 >> 4);
	assert_int_equal(guest_frame(&g, false).eip, 0);
	assert_int_equal(guest_frame(&g, false).gs, 0x1234);
	assert_true(guest_frame(&g, false).eflags & FLAG_VM);
}

/* A 16-bit TSS: words; its T bit doesn't exist, that of a 32-bit one traps in the new task. */
static void old_tasks_and_traced_ones(void **state)
{
	guest_protected(&g);
	guest_descriptor(&g, TSS2, AT_TSS2, 0x2b, SEG_P | 1);
	guest_set(&g, AT_TSS2 + 14, 2, 0x3000);
	guest_set(&g, AT_TSS2 + 16, 2, FLAG_FIXED);
	guest_set(&g, AT_TSS2 + 26, 2, 0x3800);
	guest_set(&g, AT_TSS2 + 34, 8,
	          KDATA | (uint64_t)KCODE << 16 | (uint64_t)KDATA << 32 | (uint64_t)KDATA << 48);
	guest_put(&g, 0x3000, halt);
	assert_int_equal(RUN(jump), ENGINE_EXIT_HALT);
	assert_int_equal(g.s.rip, 0x3001);
	assert_int_equal(g.s.gpr[CPU_RSP] & 0xffff, 0x3800);
	assert_int_equal(type(TSS2), 3);
	assert_int_equal(g.s.seg[CPU_FS].sel, 0);

	guest_protected(&g);
	second_task(KCODE, KDATA);
	guest_set(&g, AT_TSS2 + TRAP, 1, 1);
	assert_int_equal(RUN(jump), ENGINE_EXIT_HALT);
	assert_int_equal(guest_vector(&g), EXC_DB);
	assert_int_equal(guest_frame(&g, false).eip, AT_CODE2);
	assert_true(g.s.dr[6] & 0x8000);
}

static int set_up(void **state)
{
	guest_new(&g);
	return 0;
}

static int tear_down(void **state)
{
	guest_free(&g);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_jump_leaves_one_task_for_another),
		cmocka_unit_test(a_call_is_returned_from_by_iret),
		cmocka_unit_test(a_task_gate_takes_an_exception),
		cmocka_unit_test(what_is_no_task_is_refused),
		cmocka_unit_test(a_bad_segment_is_the_new_tasks_fault),
		cmocka_unit_test(tasks_of_other_rings_and_modes),
		cmocka_unit_test(old_tasks_and_traced_ones),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
