/*
 * Segments, interrupts and far transfers of the software engine in real mode, 32-bit protected mode
 * and virtual 8086 mode.  UD2 (vector 6) is where a test's code wants to arrive.
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

/* Real mode */

GUEST(real_int, 16, "int $0x21; hlt");
GUEST(real_iret, 16, "incw %bx; iret");
GUEST(real_div, 16, "nop; xorw %cx, %cx; div %cx");

static void real_mode_interrupts(void **state)
{
	guest_real(&g);
	g.s.rflags = FLAG_FIXED | IF | FLAG_CF;
	assert_int_equal(RUN(real_int), 0x21);
	assert_int_equal(g.s.gpr[CPU_RSP], AT_STACK0 - 6);
	assert_int_equal(guest_get(&g, AT_STACK0 - 6, 2), 2);
	assert_int_equal(guest_get(&g, AT_STACK0 - 4, 2), AT_CODE >> 4);
	assert_int_equal(guest_get(&g, AT_STACK0 - 2, 2), FLAG_FIXED | IF | FLAG_CF);
	assert_int_equal(g.s.rflags, FLAG_FIXED | FLAG_CF);

	guest_real(&g);
	g.s.rflags = FLAG_FIXED | IF;
	g.s.nmi_masked = 1;
	guest_put(&g, AT_HANDLERS + 0x210, real_iret);
	assert_int_equal(RUN(real_int), -1);
	assert_int_equal(g.s.rip, 3);
	assert_int_equal(g.s.seg[CPU_CS].base, AT_CODE);
	assert_int_equal(g.s.gpr[CPU_RBX], 1);
	assert_int_equal(g.s.gpr[CPU_RSP], AT_STACK0);
	assert_true(g.s.rflags & IF);
	assert_false(g.s.nmi_masked);
}

static void real_mode_faults_have_no_error_code(void **state)
{
	guest_real(&g);
	assert_int_equal(RUN(real_div), EXC_DE);
	assert_int_equal(g.s.gpr[CPU_RSP], AT_STACK0 - 6);
	assert_int_equal(guest_get(&g, AT_STACK0 - 6, 2), 3);
	/* A vector outside of the table, with #GP in it, with only #DF in it, with neither. */
	guest_real(&g);
	g.s.idt.limit = 14 * 4 - 1;
	assert_int_equal(RUN(real_int), EXC_GP);
	assert_int_equal(guest_get(&g, AT_STACK0 - 6, 2), 0);
	guest_real(&g);
	g.s.idt.limit = 9 * 4 - 1;
	assert_int_equal(RUN(real_int), EXC_DF);
	guest_real(&g);
	g.s.idt.limit = 8 * 4 - 1;
	guest_put(&g, AT_CODE, real_int);
	assert_int_equal(guest_run(&g), ENGINE_EXIT_SHUTDOWN);
	assert_int_equal(g.s.rip, 0);
}

GUEST(real_far, 16, "movw $0x1200, %ax; movw %ax, %ds; lcall $0x1200, $0; hlt");
GUEST(real_far2, 16,
      "movw %cs, %bx; ldsw (16), %cx; lret $0; .skip 16 - (. - real_far2); .word 0x5678, 0x2222");

static void real_mode_segments_are_paragraphs(void **state)
{
	guest_real(&g);
	guest_put(&g, AT_CODE2, real_far2);
	assert_int_equal(RUN(real_far), -1);
	assert_int_equal(g.s.rip, real_far_end - real_far);
	assert_int_equal(g.s.gpr[CPU_RBX], AT_CODE2 >> 4);
	assert_int_equal(g.s.gpr[CPU_RCX], 0x5678);
	assert_int_equal(g.s.seg[CPU_DS].sel, 0x2222);
	assert_int_equal(g.s.seg[CPU_DS].base, 0x22220);
	assert_int_equal(g.s.gpr[CPU_RSP], AT_STACK0);
}

GUEST(real_load, 16, "movw %ax, %ds; movw 0x8000, %bx; hlt");
GUEST(real_far_load, 16, "movw %ax, %ds; movl (%esi), %ebx; hlt");

/* Limits of protected mode stay; a null segment of protected mode can be loaded again. */
static void real_mode_keeps_limits(void **state)
{
	guest_real(&g);
	g.s.seg[CPU_DS] = (struct cpu_seg){0};
	g.s.gpr[CPU_RAX] = 0x1800;
	guest_set(&g, 0x20000, 2, 0xbabe);
	assert_int_equal(RUN(real_load), -1);
	assert_int_equal(g.s.gpr[CPU_RBX], 0xbabe);
	guest_real(&g);
	g.s.gpr[CPU_RSI] = 0x12345;
	assert_int_equal(RUN(real_far_load), EXC_GP);
	guest_real(&g);
	g.s.gpr[CPU_RSI] = 0x12345;
	g.s.seg[CPU_DS].limit = 0xffffffff;
	g.s.gpr[CPU_RAX] = 0x100;
	guest_set(&g, 0x13345, 4, 0xcafebabe);
	assert_int_equal(RUN(real_far_load), -1);
	assert_int_equal(g.s.gpr[CPU_RBX], 0xcafebabe);
}

/* The same offset in another code segment is other code. */
GUEST(real_same, 16, "jmp 1f; .skip 16 - (. - real_same); 1: ljmp $0x1100, $16");
GUEST(real_same2, 16, ".skip 16; ljmp $0x1200, $16");
GUEST(real_same3, 16, ".skip 16; hlt");

static void code_segments_are_told_apart(void **state)
{
	guest_real(&g);
	guest_put(&g, 0x11000, real_same2);
	guest_put(&g, 0x12000, real_same3);
	assert_int_equal(RUN(real_same), -1);
	assert_int_equal(g.s.seg[CPU_CS].sel, 0x1200);
	assert_int_equal(g.s.rip, 17);
}

/* Protected mode */

GUEST(load_ds, 32, "movw %ax, %ds; ud2");
GUEST(load_ss, 32, "movw %ax, %ss; ud2");

static void segment_loads_are_checked(void **state)
{
	static const struct {
		unsigned ring, seg, sel, vector, error;
	} rows[] = {
		{0, CPU_DS, 0, EXC_UD},
		{0, CPU_DS, 3, EXC_UD},
		{0, CPU_DS, KDATA, EXC_UD},
		{0, CPU_DS, UDATA, EXC_UD},
		{0, CPU_DS, READ_ONLY, EXC_UD},
		{0, CPU_DS, KCODE, EXC_UD},
		{0, CPU_DS, KDATA | 3, EXC_GP, KDATA},
		{0, CPU_DS, EXEC_ONLY, EXC_GP, EXEC_ONLY},
		{0, CPU_DS, ABSENT, EXC_NP, ABSENT},
		{0, CPU_DS, TSS, EXC_GP, TSS},
		{0, CPU_DS, GDT_END, EXC_GP, GDT_END},
		{0, CPU_DS, 0x0c, EXC_GP, 0x0c},
		{3, CPU_DS, UDATA, EXC_UD},
		{3, CPU_DS, CONFORMING | 3, EXC_UD},
		{3, CPU_DS, KDATA, EXC_GP, KDATA},
		{3, CPU_DS, KDATA | 3, EXC_GP, KDATA},
		{0, CPU_SS, KDATA, EXC_UD},
		{0, CPU_SS, 0, EXC_GP, 0},
		{0, CPU_SS, UDATA, EXC_GP, UDATA & ~3},
		{0, CPU_SS, KDATA | 3, EXC_GP, KDATA},
		{0, CPU_SS, READ_ONLY, EXC_GP, READ_ONLY},
		{0, CPU_SS, KCODE, EXC_GP, KCODE},
		{0, CPU_SS, ABSENT, EXC_SS, ABSENT},
		{3, CPU_SS, UDATA, EXC_UD},
		{3, CPU_SS, UDATA & ~3, EXC_GP, UDATA & ~3},
	};

	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		bool ss = rows[i].seg == CPU_SS;
		int vector;

		guest_protected(&g);
		if (rows[i].ring == 3)
			guest_ring3(&g);
		g.s.gpr[CPU_RAX] = rows[i].sel;
		vector = ss ? RUN(load_ss) : RUN(load_ds);
		if (vector != (int)rows[i].vector)
			fail_msg("row %u: vector %d", i, vector);
		if (vector == EXC_UD) {
			assert_int_equal(frame(false).eip, AT_CODE + load_ds_end - load_ds - 2);
			assert_int_equal(ss ? KDATA : rows[i].sel, g.s.seg[rows[i].seg].sel);
		} else {
			assert_int_equal(frame(true).eip, AT_CODE);
			assert_int_equal(frame(true).error, rows[i].error);
		}
	}
}

static void a_loaded_descriptor_is_accessed(void **state)
{
	guest_protected(&g);
	guest_descriptor(&g, KDATA, 0x1000, 0x2345, SEG_P | SEG_S | 2);
	g.s.gpr[CPU_RAX] = KDATA;
	assert_int_equal(RUN(load_ds), EXC_UD);
	assert_int_equal(guest_get(&g, AT_GDT + KDATA + 5, 1), SEG_P | SEG_S | 3);
	assert_int_equal(g.s.seg[CPU_DS].base, 0x1000);
	assert_int_equal(g.s.seg[CPU_DS].limit, 0x2345);
	assert_int_equal(g.s.seg[CPU_DS].attr, SEG_P | SEG_S | 3);
	guest_protected(&g);
	guest_descriptor(&g, KDATA, 0, 0xffffffff, SEG_G | SEG_DB | SEG_P | SEG_S | 2);
	g.s.gpr[CPU_RAX] = KDATA;
	assert_int_equal(RUN(load_ss), EXC_UD);
	assert_int_equal(guest_get(&g, AT_GDT + KDATA + 5, 1), SEG_P | SEG_S | 3);
	/* From the LDT */
	guest_protected(&g);
	g.s.ldt = (struct cpu_seg){AT_LDT, 0xf, LDT, SEG_P | 2};
	guest_set(&g, AT_LDT + 8, 8, 0x00cf92000000ffffull);
	g.s.gpr[CPU_RAX] = 0xc;
	assert_int_equal(RUN(load_ds), EXC_UD);
	assert_int_equal(g.s.seg[CPU_DS].limit, 0xffffffff);
	assert_int_equal(guest_get(&g, AT_LDT + 13, 1), 0x93);
}

GUEST(ud, 32, "ud2");
GUEST(ret, 32, "iret");

static void an_exception_comes_to_ring_0_and_goes_back(void **state)
{
	struct guest_frame f;

	guest_protected(&g);
	guest_ring3(&g);
	g.s.rflags = FLAG_FIXED | IF | FLAG_ZF | FLAG_NT;
	g.s.gpr[CPU_RSP] = AT_STACK3 - 8;
	assert_int_equal(RUN(ud), EXC_UD);
	f = frame(false);
	assert_int_equal(g.s.gpr[CPU_RSP], AT_STACK0 - 20);
	assert_int_equal(f.eip, AT_CODE);
	assert_int_equal(f.cs, UCODE);
	assert_int_equal(f.eflags, FLAG_FIXED | IF | FLAG_ZF | FLAG_NT | FLAG_RF);
	assert_int_equal(f.esp, AT_STACK3 - 8);
	assert_int_equal(f.ss, UDATA);
	assert_int_equal(g.s.seg[CPU_CS].sel, KCODE);
	assert_int_equal(g.s.seg[CPU_SS].sel, KDATA);
	assert_int_equal(g.s.seg[CPU_DS].sel, UDATA);
	assert_int_equal(g.s.rflags, FLAG_FIXED | FLAG_ZF);
}

/* Where the 8 bytes of an idt entry are bad, and what is raised in its place. */
GUEST(int80, 32, "int $0x80; ud2");

static void interrupt_gates_are_checked(void **state)
{
	static const struct {
		unsigned attr, sel, vector, error;
	} rows[] = {
		{SEG_P | RING3 | 14, KCODE, 0x80, 0},
		{SEG_P | RING3 | 15, KCODE, 0x80, 0},
		{SEG_P | 14, KCODE, EXC_GP, 0x402},
		{RING3 | 14, KCODE, EXC_NP, 0x402},
		{SEG_P | RING3 | 12, KCODE, EXC_GP, 0x402},
		{SEG_P | RING3 | SEG_S | 14, KCODE, EXC_GP, 0x402},
		{SEG_P | RING3 | 14, 0, EXC_GP, 0},
		{SEG_P | RING3 | 14, KDATA, EXC_GP, KDATA},
		{SEG_P | RING3 | 14, GDT_END, EXC_GP, GDT_END},
		{SEG_P | RING3 | 14, 0x0c, EXC_GP, 0x0c},
	};

	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		guest_protected(&g);
		guest_ring3(&g);
		g.s.rflags |= IF;
		guest_gate(&g, 0x80, rows[i].sel, AT_HANDLERS + 0x800, rows[i].attr, 0);
		assert_int_equal(RUN(int80), rows[i].vector);
		if (rows[i].vector == 0x80) {
			assert_int_equal(frame(false).eip, AT_CODE + 2);
			assert_false(frame(false).eflags & FLAG_RF);
			assert_int_equal(!!(g.s.rflags & IF), rows[i].attr & 1);
		} else {
			assert_int_equal(frame(true).eip, AT_CODE);
			assert_int_equal(frame(true).error, rows[i].error);
			assert_true(frame(true).eflags & FLAG_RF);
		}
	}
	guest_protected(&g);
	guest_ring3(&g);
	guest_gate(&g, 0x80, KCODE, AT_CODE2, SEG_P | RING3 | 14, 0);
	guest_put(&g, AT_CODE2, ret);
	assert_int_equal(RUN(int80), EXC_UD);
	assert_int_equal(frame(false).eip, AT_CODE + 2);
	assert_int_equal(frame(false).cs, UCODE);
	assert_int_equal(frame(false).esp, AT_STACK3);
	assert_int_equal(frame(false).ss, UDATA);
}

static void a_16_bit_gate_pushes_words(void **state)
{
	guest_protected(&g);
	guest_ring3(&g);
	guest_gate(&g, 0x80, KCODE, 0xdead0000 | (AT_HANDLERS + 0x800), SEG_P | RING3 | 6, 0);
	assert_int_equal(RUN(int80), 0x80);
	assert_int_equal(g.s.gpr[CPU_RSP], AT_STACK0 - 10);
	assert_int_equal(guest_get(&g, AT_STACK0 - 10, 2), (AT_CODE + 2) & 0xffff);
	assert_int_equal(guest_get(&g, AT_STACK0 - 8, 2), UCODE);
	assert_int_equal(guest_get(&g, AT_STACK0 - 4, 2), AT_STACK3);
	assert_int_equal(guest_get(&g, AT_STACK0 - 2, 2), UDATA);
}

static void faults_on_the_way_tell_external_events(void **state)
{
	guest_protected(&g);
	guest_gate(&g, 0x30, KCODE, 0, 14, 0); /* not present */
	g.s.interrupt_injected = 1;
	g.s.interrupt_vector = 0x30;
	assert_int_equal(RUN(ud), EXC_NP);
	assert_int_equal(frame(true).error, 0x30 * 8 + 3);
	assert_int_equal(frame(true).eip, AT_CODE);

	guest_protected(&g);
	guest_gate(&g, EXC_UD, KDATA, 0, SEG_P | 14, 0);
	assert_int_equal(RUN(ud), EXC_GP);
	assert_int_equal(frame(true).error, KDATA | 1);
}

static void faults_double_and_triple(void **state)
{
	guest_protected(&g);
	g.s.gpr[CPU_RAX] = GDT_END;
	guest_gate(&g, EXC_GP, KDATA, 0, SEG_P | 14, 0);
	assert_int_equal(RUN(load_ds), EXC_DF);
	assert_int_equal(frame(true).error, 0);
	assert_int_equal(frame(true).eip, AT_CODE);
	/* A benign exception first is no part of a double fault; then #NP and #GP are. */
	guest_protected(&g);
	guest_gate(&g, EXC_UD, KCODE, 0, 14, 0);
	guest_gate(&g, EXC_NP, KDATA, 0, SEG_P | 14, 0);
	assert_int_equal(RUN(ud), EXC_DF);

	guest_protected(&g);
	g.s.gpr[CPU_RAX] = GDT_END;
	g.s.idt.limit = 13 * 8 - 1;
	guest_gate(&g, EXC_DF, KDATA, 0, SEG_P | 14, 0);
	guest_put(&g, AT_CODE, load_ds);
	assert_int_equal(guest_run(&g), ENGINE_EXIT_SHUTDOWN);
	assert_int_equal(g.s.rip, AT_CODE);
	assert_int_equal(g.s.gpr[CPU_RSP], AT_STACK0);
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
		cmocka_unit_test(real_mode_interrupts),
		cmocka_unit_test(real_mode_faults_have_no_error_code),
		cmocka_unit_test(real_mode_segments_are_paragraphs),
		cmocka_unit_test(real_mode_keeps_limits),
		cmocka_unit_test(code_segments_are_told_apart),
		cmocka_unit_test(segment_loads_are_checked),
		cmocka_unit_test(a_loaded_descriptor_is_accessed),
		cmocka_unit_test(an_exception_comes_to_ring_0_and_goes_back),
		cmocka_unit_test(interrupt_gates_are_checked),
		cmocka_unit_test(a_16_bit_gate_pushes_words),
		cmocka_unit_test(faults_on_the_way_tell_external_events),
		cmocka_unit_test(faults_double_and_triple),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
