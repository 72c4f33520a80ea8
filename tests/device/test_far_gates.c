/*
 * Between rings and modes on the software engine: call gates and returns, virtual 8086 mode, what flags
 * may change where, the descriptor instructions, single step.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "far_guest.h"

#define RING3 (3 << SEG_DPL_SHIFT)
#define IF    FLAG_IF

static struct guest g;

static struct guest_frame frame(bool has_error)
{
	return guest_frame(&g, has_error);
}

/* Puts code in place, runs it to a HLT, and returns the handler's vector. */
#define RUN(name)                                                  \
	({                                                         \
		guest_put(&g, AT_CODE, name);                      \
		assert_int_equal(guest_run(&g), ENGINE_EXIT_HALT); \
		guest_vector(&g);                                  \
	})

/* Call gates and far returns */

GUEST(gate_call, 32, "pushl $0x11; pushl $0x22; lcall $0x50, $0x1234; ud2");
GUEST(gate_body, 32,
      "movl 8(%esp), %eax; movl 12(%esp), %ebx; movl 16(%esp), %esi; movl 20(%esp), %edi;"
      "movw $0x10, %cx; movw %cx, %ds; lret $8");

static void a_call_gate_switches_stacks_and_copies_parameters(void **state)
{
	guest_protected(&g);
	guest_ring3(&g);
	guest_call_gate(&g, GATE, AT_CODE2, 12, 2);
	guest_put(&g, AT_CODE2, gate_body);
	assert_int_equal(RUN(gate_call), EXC_UD);
	assert_int_equal(g.s.gpr[CPU_RAX], 0x22);
	assert_int_equal(g.s.gpr[CPU_RBX], 0x11);
	assert_int_equal(g.s.gpr[CPU_RSI], AT_STACK3 - 8);
	assert_int_equal(g.s.gpr[CPU_RDI], UDATA);
	assert_int_equal(frame(false).eip, AT_CODE + gate_call_end - gate_call - 2);
	assert_int_equal(frame(false).cs, UCODE);
	assert_int_equal(frame(false).esp, AT_STACK3);
	assert_int_equal(frame(false).ss, UDATA);
	/* The inner ring's data segment is gone, the others have stayed. */
	assert_int_equal(g.s.seg[CPU_DS].sel, 0);
	assert_false(g.s.seg[CPU_DS].attr & SEG_P);
	assert_int_equal(g.s.seg[CPU_ES].sel, UDATA);
}

GUEST(gate_call16, 32, "pushw $0x11; pushw $0x22; lcall $0x50, $0; ud2");
GUEST(gate_body16, 32, "movl (%esp), %eax; movl 4(%esp), %ebx; movl 8(%esp), %esi; hlt");

static void a_16_bit_call_gate_works_in_words(void **state)
{
	guest_protected(&g);
	guest_ring3(&g);
	guest_call_gate(&g, GATE, 0x3000, 4, 2);
	guest_put(&g, 0x3000, gate_body16);
	assert_int_equal(RUN(gate_call16), -1);
	assert_int_equal(g.s.gpr[CPU_RSP], AT_STACK0 - 12);
	assert_int_equal(g.s.gpr[CPU_RAX], UCODE << 16 | (gate_call16_end - gate_call16 - 2));
	assert_int_equal(g.s.gpr[CPU_RBX], 0x11 << 16 | 0x22);
	assert_int_equal(g.s.gpr[CPU_RSI], (uint32_t)UDATA << 16 | (AT_STACK3 - 4));
}

GUEST(gate_jump, 32, "ljmp $0x50, $0; ud2");

static void gates_and_far_targets_are_checked(void **state)
{
	/* JMP may not change the privilege; nor may a gate of ring 0 be used from ring 3. */
	guest_protected(&g);
	guest_ring3(&g);
	guest_call_gate(&g, GATE, AT_CODE2, 12, 0);
	assert_int_equal(RUN(gate_jump), EXC_GP);
	assert_int_equal(frame(true).error, KCODE);
	guest_protected(&g);
	guest_ring3(&g);
	guest_descriptor(&g, GATE, 0, 0, SEG_P | 12);
	assert_int_equal(RUN(gate_call), EXC_GP);
	assert_int_equal(frame(true).error, GATE);
	assert_int_equal(frame(true).esp, AT_STACK3 - 8);
	/* An inner stack that isn't there. */
	guest_protected(&g);
	guest_ring3(&g);
	guest_call_gate(&g, GATE, AT_CODE2, 12, 0);
	guest_gate(&g, EXC_TS, CONFORMING, AT_CODE2, SEG_P | 14, 0);
	guest_put(&g, AT_CODE2, gate_body16); /* HLT in ring 3: #GP, with no stack either */
	guest_set(&g, AT_TSS + 8, 2, READ_ONLY);
	guest_put(&g, AT_CODE, gate_call);
	assert_int_equal(guest_run(&g), ENGINE_EXIT_SHUTDOWN);
	assert_int_equal(g.s.seg[CPU_CS].sel, CONFORMING | 3);
	assert_int_equal(guest_get(&g, AT_STACK3 - 8 - 16, 4), READ_ONLY);
}

GUEST(to_conforming, 32, "ljmp $0x40, $0x12000");
GUEST(to_kernel, 32, "ljmp $0x08, $0x12000");
GUEST(ud, 32, "ud2");

static void conforming_code_runs_at_the_callers_privilege(void **state)
{
	guest_protected(&g);
	guest_ring3(&g);
	guest_put(&g, AT_CODE2, ud);
	assert_int_equal(RUN(to_conforming), EXC_UD);
	assert_int_equal(frame(false).cs, CONFORMING | 3);
	assert_int_equal(frame(false).eip, AT_CODE2);
	guest_protected(&g);
	guest_ring3(&g);
	assert_int_equal(RUN(to_kernel), EXC_GP);
	assert_int_equal(frame(true).error, KCODE);
	guest_protected(&g);
	guest_descriptor(&g, KCODE, 0, AT_CODE2 - 1, SEG_DB | SEG_P | SEG_S | 0xb);
	assert_int_equal(RUN(to_kernel), EXC_GP);
	assert_int_equal(frame(true).error, 0);
	guest_protected(&g);
	guest_descriptor(&g, CONFORMING, 0, 0xffffffff, SEG_G | SEG_DB | SEG_S | 0xf);
	assert_int_equal(RUN(to_conforming), EXC_NP);
	assert_int_equal(frame(true).error, CONFORMING);
}

GUEST(ret_far, 32, "lret");

static void returns_only_go_outwards(void **state)
{
	static const struct {
		unsigned ring, cs, vector, error;
	} rows[] = {
		{3, KCODE, EXC_GP, KCODE},     {0, 0, EXC_GP, 0},
		{0, KDATA, EXC_GP, KDATA},     {0, UCODE & ~3, EXC_GP, UCODE & ~3},
		{0, KCODE | 3, EXC_GP, KCODE}, {0, KCODE, EXC_UD, 0},
		{0, UCODE, EXC_UD, 0},
	};

	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		uint32_t sp;

		guest_protected(&g);
		if (rows[i].ring == 3)
			guest_ring3(&g);
		sp = (uint32_t)(g.s.gpr[CPU_RSP] -= 64);
		guest_set(&g, sp, 8, AT_CODE2 | (uint64_t)rows[i].cs << 32);
		guest_set(&g, sp + 8, 8, AT_STACK3 | (uint64_t)UDATA << 32);
		guest_put(&g, AT_CODE2, ud);
		assert_int_equal(RUN(ret_far), rows[i].vector);
		if (rows[i].vector == EXC_GP) {
			assert_int_equal(frame(true).error, rows[i].error);
			assert_int_equal(frame(true).eip, AT_CODE);
		} else {
			assert_int_equal(frame(false).eip, AT_CODE2);
			assert_int_equal(frame(false).cs, rows[i].cs);
			if (rows[i].cs == UCODE)
				assert_int_equal(frame(false).esp, AT_STACK3);
		}
	}
}

/* Virtual 8086 mode */

GUEST(do_iret, 32, "iret");
GUEST(v86_code, 16, "movw %ds, %ax; movw $0x3333, %bx; movw %bx, %es; int $0x21; hlt");

static void enter_v86(unsigned iopl)
{
	const uint32_t f[] = {
		0,      AT_CODE2 >> 4, FLAG_FIXED | FLAG_VM | IF | iopl << FLAG_IOPL_SHIFT,
		0x800,  0xe00,         0x1111,
		0x2222, 0x4444,        0x5555};

	guest_protected(&g);
	g.s.gpr[CPU_RSP] -= sizeof(f);
	memcpy(g.ram + g.s.gpr[CPU_RSP], f, sizeof(f));
	guest_put(&g, AT_CODE2, v86_code);
}

static void virtual_8086_mode_goes_through_ring_0(void **state)
{
	struct guest_frame f;

	enter_v86(3);
	guest_gate(&g, 0x21, KCODE, AT_HANDLERS + 0x210, SEG_P | RING3 | 14, 0);
	assert_int_equal(RUN(do_iret), 0x21);
	assert_int_equal(g.s.gpr[CPU_RSP], AT_STACK0 - 36);
	f = frame(false);
	assert_int_equal(f.eip, v86_code_end - v86_code - 1);
	assert_int_equal(f.cs, AT_CODE2 >> 4);
	assert_int_equal(f.eflags, FLAG_FIXED | FLAG_VM | IF | FLAG_IOPL);
	assert_int_equal(f.esp, 0x800);
	assert_int_equal(f.ss, 0xe00);
	assert_int_equal(f.es, 0x3333);
	assert_int_equal(f.ds, 0x2222);
	assert_int_equal(f.fs, 0x4444);
	assert_int_equal(f.gs, 0x5555);
	assert_int_equal(g.s.gpr[CPU_RAX] & 0xffff, 0x2222);
	assert_false(g.s.rflags & (FLAG_VM | IF));
	for (unsigned i = 0; i < CPU_SEGS; i++)
		if (i != CPU_CS && i != CPU_SS)
			assert_int_equal(g.s.seg[i].sel | (g.s.seg[i].attr & SEG_P), 0);
	/* And back, to HLT: which is not for ring 3. */
	enter_v86(3);
	guest_gate(&g, 0x21, KCODE, 0x3000, SEG_P | RING3 | 14, 0);
	guest_put(&g, 0x3000, do_iret);
	assert_int_equal(RUN(do_iret), EXC_GP);
	assert_int_equal(frame(true).eip, v86_code_end - v86_code - 1);
	assert_int_equal(frame(true).es, 0x3333);
	assert_true(frame(true).eflags & FLAG_VM);
	/* INT n is for IOPL 3. */
	enter_v86(0);
	assert_int_equal(RUN(do_iret), EXC_GP);
	assert_int_equal(frame(true).error, 0);
	assert_int_equal(frame(true).eip, v86_code_end - v86_code - 3);
}

/* Flags */

GUEST(pop_flags, 32, "pushl %eax; popfl; pushfl; popl %ebx; ud2");

static void privileged_flags_stay_what_they_are(void **state)
{
	const uint32_t all = FLAGS_ARITH | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_RF |
	                     FLAG_VM | FLAG_AC | FLAG_VIF | FLAG_VIP | FLAG_ID;
	const uint32_t user = FLAG_FIXED | FLAGS_ARITH | FLAG_DF | FLAG_NT | FLAG_AC | FLAG_ID;

	guest_protected(&g);
	g.s.gpr[CPU_RAX] = all;
	assert_int_equal(RUN(pop_flags), EXC_UD);
	assert_int_equal(g.s.gpr[CPU_RBX], user | FLAG_IF | FLAG_IOPL);
	guest_protected(&g);
	guest_ring3(&g);
	g.s.gpr[CPU_RAX] = all;
	assert_int_equal(RUN(pop_flags), EXC_UD);
	assert_int_equal(g.s.gpr[CPU_RBX], user);
	guest_protected(&g);
	guest_ring3(&g);
	g.s.rflags |= FLAG_IOPL;
	g.s.gpr[CPU_RAX] = all & ~FLAG_IOPL;
	assert_int_equal(RUN(pop_flags), EXC_UD);
	assert_int_equal(g.s.gpr[CPU_RBX], user | FLAG_IF | FLAG_IOPL);
}

GUEST(enter_kernel, 32, "sysenter");
GUEST(leave_kernel, 32, "movl $0x11000, %edx; movl $0x9000, %ecx; sysexit");

static void sysenter_and_sysexit(void **state)
{
	guest_protected(&g);
	guest_ring3(&g);
	g.s.rflags |= IF;
	g.s.sysenter_cs = KCODE;
	g.s.sysenter_eip = AT_CODE2;
	g.s.sysenter_esp = AT_IST;
	guest_put(&g, AT_CODE2, leave_kernel);
	guest_put(&g, 0x11000, ud);
	assert_int_equal(RUN(enter_kernel), EXC_UD);
	assert_int_equal(frame(false).eip, 0x11000);
	assert_int_equal(frame(false).cs, UCODE);
	assert_int_equal(frame(false).esp, 0x9000);
	assert_int_equal(frame(false).ss, UDATA);
	assert_false(frame(false).eflags & IF);
	guest_protected(&g);
	guest_ring3(&g);
	assert_int_equal(RUN(enter_kernel), EXC_GP);
	guest_protected(&g);
	guest_ring3(&g);
	g.s.sysenter_cs = KCODE;
	assert_int_equal(RUN(leave_kernel), EXC_GP);
	assert_int_equal(frame(true).eip, AT_CODE + 10);
}

GUEST(step, 32, "pushl $0x102; popfl; nop; nop; hlt");
GUEST(step_ss, 32, "pushl $0x102; popfl; movw %ss, %ax; movw %ax, %ss; nop; hlt");
GUEST(step_int, 32, "pushl $0x102; popfl; int $0x80; hlt");
GUEST(step_warm, 32,
      "movl $2, %eax; call 1f; movl $0x102, %eax; call 1f; hlt;"
      ".skip 32 - (. - step_warm); 1: pushl %eax; popfl; jmp 2f; 2: nop; ret");

static void single_step_is_after_one_instruction(void **state)
{
	guest_protected(&g);
	assert_int_equal(RUN(step), EXC_DB);
	assert_int_equal(frame(false).eip, AT_CODE + 7);
	assert_true(frame(false).eflags & FLAG_TF);
	assert_false(frame(false).eflags & FLAG_RF);
	assert_false(g.s.rflags & FLAG_TF);
	assert_int_equal(g.s.dr[6] & 0xe00f, 0x4000);

	/* Also where the next block is known from before. */
	guest_protected(&g);
	assert_int_equal(RUN(step_warm), EXC_DB);
	assert_int_equal(frame(false).eip, AT_CODE + 32 + 4);

	/* The handler goes back; the trap behind MOV SS is left out. */
	guest_protected(&g);
	guest_gate(&g, EXC_DB, KCODE, AT_CODE2, SEG_P | 14, 0);
	guest_set(&g, AT_CODE2, 4, 0xcf43); /* inc %ebx; iret */
	assert_int_equal(RUN(step_ss), -1);
	assert_int_equal(g.s.gpr[CPU_RBX], 2);

	guest_protected(&g);
	assert_int_equal(RUN(step_int), 0x80);
	assert_true(frame(false).eflags & FLAG_TF);
	assert_false(g.s.rflags & FLAG_TF);
}

GUEST(broken, 32, "nop; incl %ecx; ud2");
GUEST(resume, 32, "incl %ebx; orl $0x10000, 8(%esp); iret");

static void instruction_breakpoints_come_before(void **state)
{
	guest_protected(&g);
	g.s.dr[0] = AT_CODE + 1;
	g.s.dr[7] = 0x401;
	assert_int_equal(RUN(broken), EXC_DB);
	assert_int_equal(frame(false).eip, AT_CODE + 1);
	assert_false(frame(false).eflags & FLAG_RF);
	assert_int_equal(g.s.dr[6] & 0xe00f, 1);
	assert_int_equal(g.s.gpr[CPU_RCX], 0);
	/* RF lets it pass, once. */
	guest_protected(&g);
	g.s.dr[0] = AT_CODE + 1;
	g.s.dr[7] = 0x401;
	guest_gate(&g, EXC_DB, KCODE, AT_CODE2, SEG_P | 14, 0);
	guest_put(&g, AT_CODE2, resume);
	assert_int_equal(RUN(broken), EXC_UD);
	assert_int_equal(g.s.gpr[CPU_RCX], 1);
	assert_int_equal(g.s.gpr[CPU_RBX], 1);
}

/* What programs may know of descriptors */

GUEST(look, 32,
      "lar %ax, %ecx; setz %bl; lsl %ax, %edx; setz %bh; verr %ax; setz %cl; verw %ax; setz %ch;"
      "ud2");

static void descriptors_are_shown_to_who_may_see_them(void **state)
{
	static const struct {
		unsigned ring, sel, lar, limit;
		bool sees, has_limit, reads, writes;
	} rows[] = {
		{0, KDATA, 0xcf9300, 0xffffffff, true, true, true, true},
		{3, KDATA, 0, 0, false, false, false, false},
		{3, UDATA, 0xcff300, 0xffffffff, true, true, true, true},
		{3, CONFORMING, 0xcf9f00, 0xffffffff, true, true, true, false},
		{0, EXEC_ONLY, 0xcf9900, 0xffffffff, true, true, false, false},
		{0, READ_ONLY, 0xcf9100, 0xffffffff, true, true, true, false},
		{0, TSS, 0x008b00, 0x7ff, true, true, false, false},
		{3, GATE, 0x01ec00, 0, true, false, false, false},
		{0, 0, 0, 0, false, false, false, false},
		{0, GDT_END, 0, 0, false, false, false, false},
	};

	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		guest_protected(&g);
		guest_call_gate(&g, GATE, AT_CODE2, 12, 0);
		if (rows[i].ring == 3)
			guest_ring3(&g);
		g.s.gpr[CPU_RAX] = rows[i].sel;
		assert_int_equal(RUN(look), EXC_UD);
		assert_int_equal(g.s.gpr[CPU_RBX] & 0xff, rows[i].sees);
		assert_int_equal(g.s.gpr[CPU_RBX] >> 8, rows[i].has_limit);
		assert_int_equal(g.s.gpr[CPU_RDX], rows[i].limit);
		assert_int_equal(g.s.gpr[CPU_RCX] & ~0xffffull, rows[i].lar & ~0xffff);
		assert_int_equal(g.s.gpr[CPU_RCX] & 0xff, rows[i].reads);
		assert_int_equal(g.s.gpr[CPU_RCX] >> 8 & 0xff, rows[i].writes);
	}
}

GUEST(adjust, 32, "arpl %bx, %ax; setz %cl; ud2");

static void arpl_raises_the_rpl(void **state)
{
	guest_protected(&g);
	g.s.gpr[CPU_RAX] = KDATA;
	g.s.gpr[CPU_RBX] = UCODE;
	assert_int_equal(RUN(adjust), EXC_UD);
	assert_int_equal(g.s.gpr[CPU_RAX], KDATA | 3);
	assert_int_equal(g.s.gpr[CPU_RCX], 1);
	guest_protected(&g);
	g.s.gpr[CPU_RAX] = UDATA;
	g.s.gpr[CPU_RBX] = KCODE | 1;
	assert_int_equal(RUN(adjust), EXC_UD);
	assert_int_equal(g.s.gpr[CPU_RAX], UDATA);
	assert_int_equal(g.s.gpr[CPU_RCX], 0);
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
		cmocka_unit_test(a_call_gate_switches_stacks_and_copies_parameters),
		cmocka_unit_test(a_16_bit_call_gate_works_in_words),
		cmocka_unit_test(gates_and_far_targets_are_checked),
		cmocka_unit_test(conforming_code_runs_at_the_callers_privilege),
		cmocka_unit_test(returns_only_go_outwards),
		cmocka_unit_test(virtual_8086_mode_goes_through_ring_0),
		cmocka_unit_test(privileged_flags_stay_what_they_are),
		cmocka_unit_test(single_step_is_after_one_instruction),
		cmocka_unit_test(sysenter_and_sysexit),
		cmocka_unit_test(instruction_breakpoints_come_before),
		cmocka_unit_test(descriptors_are_shown_to_who_may_see_them),
		cmocka_unit_test(arpl_raises_the_rpl),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
