/*
 * Interrupts, exceptions and far transfers of the software engine in long mode.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "far_guest.h"

#define RING3 (3 << SEG_DPL_SHIFT)
#define IF    FLAG_IF

static struct guest g;

/* What a handler finds on its stack. */
struct frame {
	uint64_t error, rip, cs, rflags, rsp, ss;
};

static struct frame frame(bool has_error)
{
	const uint8_t *top = g.ram + g.s.gpr[CPU_RSP];
	struct frame f = {0};

	if (has_error)
		memcpy(&f, top, sizeof(f));
	else
		memcpy(&f.rip, top, sizeof(f) - sizeof(f.error));
	return f;
}

/* Puts code in place, runs it to a HLT, and returns the handler's vector. */
#define RUN(name)                                                  \
	({                                                         \
		guest_put(&g, AT_CODE, name);                      \
		assert_int_equal(guest_run(&g), ENGINE_EXIT_HALT); \
		guest_vector(&g);                                  \
	})

GUEST(ud, 64, "ud2");
GUEST(int80, 64, "int $0x80; ud2");
GUEST(iretq, 64, "iretq");

static void an_exception_comes_to_ring_0(void **state)
{
	struct frame f;

	guest_long(&g);
	guest_ring3(&g);
	g.s.rflags |= IF | FLAG_CF;
	g.s.gpr[CPU_RSP] = AT_STACK3 - 5;
	assert_int_equal(RUN(ud), EXC_UD);
	f = frame(false);
	assert_int_equal(g.s.gpr[CPU_RSP], AT_STACK0 - 40);
	assert_int_equal(f.rip, AT_CODE);
	assert_int_equal(f.cs, UCODE);
	assert_int_equal(f.rflags, FLAG_FIXED | FLAG_CF | IF | FLAG_RF);
	assert_int_equal(f.rsp, AT_STACK3 - 5);
	assert_int_equal(f.ss, UDATA);
	assert_int_equal(g.s.seg[CPU_CS].sel, KCODE);
	assert_int_equal(g.s.seg[CPU_SS].sel, 0);
	assert_int_equal(g.s.seg[CPU_SS].attr & (SEG_P | RING3), 0);

	/* Within ring 0 the frame is aligned; an IST gives another stack. */
	guest_long(&g);
	g.s.gpr[CPU_RSP] = AT_STACK0 - 3;
	assert_int_equal(RUN(ud), EXC_UD);
	assert_int_equal(g.s.gpr[CPU_RSP], AT_STACK0 - 16 - 40);
	assert_int_equal(frame(false).rsp, AT_STACK0 - 3);
	assert_int_equal(frame(false).ss, KDATA);
	assert_int_equal(g.s.seg[CPU_SS].sel, KDATA);
	guest_long(&g);
	guest_gate(&g, EXC_UD, KCODE, AT_HANDLERS + EXC_UD * 16, SEG_P | 14, 1);
	assert_int_equal(RUN(ud), EXC_UD);
	assert_int_equal(g.s.gpr[CPU_RSP], AT_IST - 40);
}

static void interrupts_go_to_64_bit_code_and_back(void **state)
{
	guest_long(&g);
	guest_ring3(&g);
	guest_gate(&g, 0x80, KCODE, AT_CODE2, SEG_P | RING3 | 15, 0);
	guest_put(&g, AT_CODE2, iretq);
	assert_int_equal(RUN(int80), EXC_UD);
	assert_int_equal(frame(false).rip, AT_CODE + 2);
	assert_int_equal(frame(false).rsp, AT_STACK3);
	/* From compatibility mode too. */
	guest_long(&g);
	guest_ring3(&g);
	g.s.seg[CPU_CS].sel = UCODE32;
	g.s.seg[CPU_CS].attr ^= SEG_L | SEG_DB;
	guest_gate(&g, 0x80, KCODE, AT_CODE2, SEG_P | RING3 | 15, 0);
	guest_put(&g, AT_CODE2, iretq);
	assert_int_equal(RUN(int80), EXC_UD);
	assert_int_equal(frame(false).rip, AT_CODE + 2);
	assert_int_equal(frame(false).cs, UCODE32);
	/* 32-bit gates and code are refused. */
	guest_long(&g);
	guest_gate(&g, 0x80, KCODE, AT_CODE2, SEG_P | 5, 0);
	assert_int_equal(RUN(int80), EXC_GP);
	assert_int_equal(frame(true).error, 0x402);
	guest_long(&g);
	guest_gate(&g, 0x80, CODE16, AT_CODE2, SEG_P | 14, 0);
	assert_int_equal(RUN(int80), EXC_GP);
	assert_int_equal(frame(true).error, CODE16);
}

static void iretq_is_checked(void **state)
{
	static const struct {
		uint64_t rip, cs, ss, vector, error;
	} rows[] = {
		{AT_CODE2, KCODE, KDATA, EXC_UD},
		{AT_CODE2, KCODE, 0, EXC_UD},
		{AT_CODE2, UCODE, UDATA, EXC_UD},
		{AT_CODE2, UCODE32, UDATA, EXC_UD},
		{AT_CODE2, UCODE, 0, EXC_GP, 0},
		{AT_CODE2, UCODE, 3, EXC_GP, 0},
		{AT_CODE2, UCODE32, 0, EXC_GP, 0},
		{AT_CODE2, UCODE, KDATA, EXC_GP, KDATA},
		{AT_CODE2, KCODE, UDATA, EXC_GP, UDATA & ~3},
		{AT_CODE2, 0, KDATA, EXC_GP, 0},
		{1ull << 47, KCODE, KDATA, EXC_GP, 0},
		{1ull << 32 | AT_CODE2, UCODE32, UDATA, EXC_GP, 0},
	};

	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t f[5] = {rows[i].rip, rows[i].cs, FLAG_FIXED | FLAG_PF, AT_STACK3,
		                 rows[i].ss};
		int vector;

		guest_long(&g);
		g.s.gpr[CPU_RSP] -= 0x100;
		memcpy(g.ram + g.s.gpr[CPU_RSP], f, sizeof(f));
		guest_put(&g, AT_CODE2, ud);
		vector = RUN(iretq);
		if (vector != (int)rows[i].vector)
			fail_msg("row %u: vector %d", i, vector);
		if (vector == EXC_UD) {
			assert_int_equal(frame(false).rip, AT_CODE2);
			assert_int_equal(frame(false).cs, rows[i].cs);
			assert_int_equal(frame(false).ss, rows[i].ss);
			assert_int_equal(frame(false).rsp, AT_STACK3);
			assert_true(frame(false).rflags & FLAG_PF);
		} else {
			assert_int_equal(frame(true).rip, AT_CODE);
			assert_int_equal(frame(true).error, rows[i].error);
			assert_int_equal(frame(true).rsp, AT_STACK0 - 0x100);
		}
	}
}

/* Page faults and faults on the way */

GUEST(touch, 64, "nop; movl (%rax), %ebx; ud2");
GUEST(touch_write, 64, "nop; movl %ebx, (%rax); ud2");
GUEST(touch_jump, 64, "nop; jmp *%rax");

static void page_faults_say_where_and_why(void **state)
{
	static const struct {
		unsigned ring;
		uint64_t pte;
		char how;
		uint64_t error;
	} rows[] = {
		{0, 0, 'r', 0}, {0, 0, 'w', 2}, {3, 0, 'r', 4}, {3, 0, 'w', 6}, {3, 3, 'r', 5},
		{0, 5, 'w', 3}, {3, 5, 'w', 7}, {3, 0, 'x', 4}, {3, 3, 'x', 5},
	};

	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t pte = rows[i].pte;

		guest_long(&g);
		if (rows[i].ring == 3)
			guest_ring3(&g);
		guest_set(&g, AT_TABLES + 0x3000, 8, pte ? AT_PAGED | pte : 0);
		g.s.gpr[CPU_RAX] = AT_PAGED + 0x123;
		assert_int_equal(rows[i].how == 'r'   ? RUN(touch)
		                 : rows[i].how == 'w' ? RUN(touch_write)
		                                      : RUN(touch_jump),
		                 EXC_PF);
		assert_int_equal(frame(true).error, rows[i].error);
		assert_int_equal(g.s.cr2, AT_PAGED + 0x123);
		assert_int_equal(frame(true).rip,
		                 rows[i].how == 'x' ? AT_PAGED + 0x123 : AT_CODE + 1);
	}
}

/* The inner stack is not there: the fault's own stack is an IST's, or isn't. */
static void a_page_fault_on_the_handlers_stack(void **state)
{
	for (unsigned ists = 0; ists < 3; ists++) {
		enum engine_exit how;

		guest_long(&g);
		guest_ring3(&g);
		guest_set(&g, AT_TSS + 4, 8, AT_PAGED + 0x1000);
		if (ists > 1)
			guest_gate(&g, EXC_PF, KCODE, AT_HANDLERS + EXC_PF * 16, SEG_P | 14, 1);
		if (ists > 0)
			guest_gate(&g, EXC_DF, KCODE, AT_HANDLERS + EXC_DF * 16, SEG_P | 14, 1);
		g.s.gpr[CPU_RBX] = 0x1234;
		guest_put(&g, AT_CODE, ud);
		how = guest_run(&g);
		assert_int_equal(g.s.cr2, AT_PAGED + 0xff8);
		if (ists == 0) {
			assert_int_equal(how, ENGINE_EXIT_SHUTDOWN);
			assert_int_equal(g.s.rip, AT_CODE);
			assert_int_equal(g.s.seg[CPU_CS].sel, UCODE);
			assert_int_equal(g.s.gpr[CPU_RSP], AT_STACK3);
			continue;
		}
		assert_int_equal(how, ENGINE_EXIT_HALT);
		assert_int_equal(guest_vector(&g), ists == 1 ? EXC_DF : EXC_PF);
		assert_int_equal(frame(true).error, ists == 1 ? 0 : 2);
		assert_int_equal(frame(true).rip, AT_CODE);
		assert_int_equal(frame(true).rsp, AT_STACK3);
		assert_int_equal(frame(true).ss, UDATA);
	}
}

static void cr2_is_the_second_page_faults(void **state)
{
	guest_long(&g);
	guest_ring3(&g);
	guest_set(&g, AT_TSS + 4, 8, AT_PAGED + 0x1000);
	guest_gate(&g, EXC_DF, KCODE, AT_HANDLERS + EXC_DF * 16, SEG_P | 14, 1);
	g.s.gpr[CPU_RAX] = AT_PAGED + 0x123;
	assert_int_equal(RUN(touch), EXC_DF);
	assert_int_equal(g.s.cr2, AT_PAGED + 0xff8);
	assert_int_equal(frame(true).rip, AT_CODE + 1);
}

static void a_stack_that_is_no_address(void **state)
{
	guest_long(&g);
	g.s.gpr[CPU_RSP] = 1ull << 47 | 0x100;
	guest_gate(&g, EXC_SS, KCODE, AT_HANDLERS + EXC_SS * 16, SEG_P | 14, 1);
	assert_int_equal(RUN(ud), EXC_SS);
	assert_int_equal(frame(true).error, 1);
	assert_int_equal(frame(true).rsp, 1ull << 47 | 0x100);
}

/* Bytes behind the first one change: what was undefined is not any more. */
GUEST(undefined, 64, ".byte 0x0f, 0x20, 0xc8");
GUEST(privileged, 64, "clts; nop");

static void undefined_code_can_change(void **state)
{
	guest_long(&g);
	guest_ring3(&g);
	assert_int_equal(RUN(undefined), EXC_UD);
	guest_ring3(&g);
	g.s.rip = AT_CODE;
	assert_int_equal(RUN(privileged), EXC_GP);
}

/* System calls */

GUEST(call_kernel, 64, "syscall; ud2");
GUEST(sysretq, 64, "movq %rcx, %rbx; movq %r11, %rdx; orq $1, %r11; sysretq");
GUEST(halt, 64, "hlt");

static void syscall_and_sysret(void **state)
{
	guest_long(&g);
	guest_ring3(&g);
	g.s.star = (uint64_t)(UCODE - 16) << 48 | (uint64_t)KCODE << 32;
	g.s.lstar = AT_CODE2;
	g.s.fmask = IF | FLAG_DF;
	g.s.rflags |= IF | FLAG_DF | FLAG_ZF;
	guest_put(&g, AT_CODE2, halt);
	assert_int_equal(RUN(call_kernel), -1);
	assert_int_equal(g.s.rip, AT_CODE2 + 1);
	assert_int_equal(g.s.gpr[CPU_RCX], AT_CODE + 2);
	assert_int_equal(g.s.gpr[CPU_R8 + 3], FLAG_FIXED | IF | FLAG_DF | FLAG_ZF);
	assert_int_equal(g.s.rflags, FLAG_FIXED | FLAG_ZF);
	assert_int_equal(g.s.gpr[CPU_RSP], AT_STACK3);
	assert_int_equal(g.s.seg[CPU_CS].sel, KCODE);
	assert_int_equal(g.s.seg[CPU_CS].attr, SEG_G | SEG_L | SEG_P | SEG_S | 0xb);
	assert_int_equal(g.s.seg[CPU_SS].sel, KDATA);
	assert_int_equal(g.s.seg[CPU_SS].attr & (SEG_P | RING3), SEG_P);

	guest_ring3(&g);
	g.s.rip = AT_CODE;
	g.s.rflags = FLAG_FIXED | IF | FLAG_DF;
	guest_put(&g, AT_CODE2, sysretq);
	assert_int_equal(RUN(call_kernel), EXC_UD);
	assert_int_equal(frame(false).rip, AT_CODE + 2);
	assert_int_equal(frame(false).cs, UCODE);
	assert_int_equal(frame(false).ss, (UCODE - 8) | 3);
	assert_int_equal(frame(false).rsp, AT_STACK3);
	assert_int_equal(frame(false).rflags & ~FLAG_RF, FLAG_FIXED | IF | FLAG_DF | FLAG_CF);
	assert_int_equal(g.s.gpr[CPU_RBX], AT_CODE + 2);

	/* Compatibility mode has an entry of its own. */
	guest_ring3(&g);
	g.s.seg[CPU_CS].sel = UCODE32;
	g.s.seg[CPU_CS].attr ^= SEG_L | SEG_DB;
	g.s.rip = AT_CODE;
	g.s.cstar = AT_CODE2 + 0x100;
	guest_put(&g, AT_CODE2 + 0x100, halt);
	assert_int_equal(RUN(call_kernel), -1);
	assert_int_equal(g.s.rip, AT_CODE2 + 0x101);

	guest_long(&g);
	g.s.efer &= ~EFER_SCE;
	assert_int_equal(RUN(call_kernel), EXC_UD);
	guest_long(&g);
	guest_ring3(&g);
	guest_put(&g, AT_CODE, sysretq);
	assert_int_equal(guest_run(&g), ENGINE_EXIT_HALT);
	assert_int_equal(guest_vector(&g), EXC_GP);
	assert_int_equal(frame(true).error, 0);
}

/* Segments */

GUEST(load_ss, 64, "movw %ax, %ss; ud2");
GUEST(load_fs, 64, "movw %ax, %fs; ud2");

static void null_segments(void **state)
{
	guest_long(&g);
	assert_int_equal(RUN(load_ss), EXC_UD);
	assert_int_equal(g.s.seg[CPU_SS].sel, 0);
	guest_long(&g);
	guest_ring3(&g);
	g.s.gpr[CPU_RAX] = 3;
	assert_int_equal(RUN(load_ss), EXC_GP);
	guest_long(&g);
	guest_descriptor(&g, READ_ONLY, 0xfedc0000, 0xffff, SEG_P | SEG_S | 1);
	g.s.gpr[CPU_RAX] = READ_ONLY;
	assert_int_equal(RUN(load_fs), EXC_UD);
	assert_int_equal(g.s.seg[CPU_FS].base, 0xfedc0000);
	g.s.rip = AT_CODE;
	g.s.gpr[CPU_RAX] = 0;
	assert_int_equal(RUN(load_fs), EXC_UD);
	assert_int_equal(g.s.seg[CPU_FS].base, 0);
}

GUEST(gate_call, 64, "lcall *0x13000; ud2");
GUEST(gate_body, 64, "movq 16(%rsp), %rax; movq 24(%rsp), %rbx; lretq");

static void a_64_bit_call_gate(void **state)
{
	guest_long(&g);
	guest_ring3(&g);
	guest_call_gate(&g, GATE, AT_CODE2, 12, 3);
	guest_set(&g, 0x13004, 2, GATE);
	guest_put(&g, AT_CODE2, gate_body);
	assert_int_equal(RUN(gate_call), EXC_UD);
	assert_int_equal(frame(false).rip, AT_CODE + gate_call_end - gate_call - 2);
	assert_int_equal(frame(false).cs, UCODE);
	assert_int_equal(frame(false).rsp, AT_STACK3);
	assert_int_equal(g.s.gpr[CPU_RAX], AT_STACK3);
	assert_int_equal(g.s.gpr[CPU_RBX], UDATA);
	/* Its upper half must be one. */
	guest_long(&g);
	guest_call_gate(&g, GATE, AT_CODE2, 12, 0);
	guest_set(&g, AT_GDT + GATE + 13, 1, 1);
	guest_set(&g, 0x13004, 2, GATE);
	assert_int_equal(RUN(gate_call), EXC_GP);
	assert_int_equal(frame(true).error, GATE);
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
		cmocka_unit_test(an_exception_comes_to_ring_0),
		cmocka_unit_test(interrupts_go_to_64_bit_code_and_back),
		cmocka_unit_test(iretq_is_checked),
		cmocka_unit_test(page_faults_say_where_and_why),
		cmocka_unit_test(a_page_fault_on_the_handlers_stack),
		cmocka_unit_test(cr2_is_the_second_page_faults),
		cmocka_unit_test(a_stack_that_is_no_address),
		cmocka_unit_test(undefined_code_can_change),
		cmocka_unit_test(syscall_and_sysret),
		cmocka_unit_test(null_segments),
		cmocka_unit_test(a_64_bit_call_gate),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
