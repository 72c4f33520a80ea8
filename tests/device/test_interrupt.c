/*
 * Interrupts of the local APIC in the software engine: where they come in, and the paravirtual end
 * of interrupt.  With that a guest may clear a flag in its memory instead of writing the EOI
 * register, while it is offered.  The offer must not outlive the run it was made in.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "dev/chip/lapic.h"
#include "engine/soft/engine.h"
#include "far_guest.h"

#define VECTOR  0x40
#define AT_FLAG 0x20000

static struct guest g;

/* x2APIC on, APIC enabled, the flag's address, an interrupt to itself. */
GUEST(start, 64,
      "mov $0x1b, %ecx; rdmsr; or $0xc00, %eax; wrmsr; xor %edx, %edx;"
      "mov $0x80f, %ecx; mov $0x1ff, %eax; wrmsr;"
      "mov $0x4b564d04, %ecx; mov $0x20001, %eax; wrmsr;"
      "mov $0x83f, %ecx; mov $0x40, %eax; wrmsr;"
      "sti; nop; nop; ud2");
/* What the handler does with the flag it finds in ebx. */
GUEST(keeps, 64, "mov 0x20000, %ebx; hlt");
GUEST(takes, 64, "mov 0x20000, %ebx; btrl $0, 0x20000; hlt");
/* The part of the in-service register that has the vector. */
GUEST(in_service, 64, "mov $0x812, %ecx; rdmsr; hlt");
GUEST(end, 64,
      "mov $0x80b, %ecx; xor %eax, %eax; xor %edx, %edx; wrmsr; mov $0x812, %ecx; rdmsr; hlt");

static void run_at(uint64_t rip)
{
	g.s.rip = rip;
	assert_int_equal(guest_run(&g), ENGINE_EXIT_HALT);
}

static void interrupt(void)
{
	guest_put(&g, AT_CODE, start);
	guest_gate(&g, VECTOR, KCODE, AT_CODE2, SEG_P | 14, 0);
	run_at(AT_CODE);
	/* It was offered while the handler ran, and is not any more. */
	assert_int_equal(g.s.gpr[CPU_RBX], 1);
	assert_int_equal(guest_get(&g, AT_FLAG, 4), 0);
}

static void an_offer_that_was_taken_is_an_eoi(void **state)
{
	guest_long(&g);
	guest_put(&g, AT_CODE2, takes);
	interrupt();
	guest_put(&g, AT_CODE, in_service);
	run_at(AT_CODE);
	assert_int_equal(g.s.gpr[CPU_RAX], 0);
}

static void after_one_that_was_not_the_guest_writes_it(void **state)
{
	guest_long(&g);
	guest_put(&g, AT_CODE2, keeps);
	interrupt();
	guest_put(&g, AT_CODE, in_service);
	run_at(AT_CODE);
	assert_int_equal(g.s.gpr[CPU_RAX], 1u << VECTOR % 32);
	guest_put(&g, AT_CODE, end);
	run_at(AT_CODE);
	assert_int_equal(g.s.gpr[CPU_RAX], 0);
}

/* The first store is an interrupt to itself, taken behind the jump; the next ones go to memory. */
GUEST(loop_of_jumps, 32,
      "movl $0x1ff, 0xfee000f0; mov $0xfee00300, %esi; mov $0x40040, %eax; "
      "mov $5, %ecx; sti; jmp 1f; ud2;"
      "1: mov %eax, (%esi); jmp 2f; ud2; 2: mov $0x20000, %esi; inc %ebx; dec %ecx; jnz 1b; hlt");
GUEST(counts, 32, "inc %edi; movl $0, 0xfee000b0; iret");

static void a_jump_is_not_linked_to_a_handler(void **state)
{
	guest_protected(&g);
	guest_gate(&g, VECTOR, KCODE, AT_CODE2, SEG_P | 14, 0);
	guest_put(&g, AT_CODE, loop_of_jumps);
	guest_put(&g, AT_CODE2, counts);
	run_at(AT_CODE);
	assert_int_equal(guest_vector(&g), -1);
	assert_int_equal(g.s.gpr[CPU_RBX], 5);
	assert_int_equal(g.s.gpr[CPU_RDI], 1);
	assert_int_equal(g.s.gpr[CPU_RSP], AT_STACK0);
}

static int setup(void **state)
{
	struct cpuid_wish wish;
	struct lapics *lapics;
	struct err e;

	memset(&g, 0, sizeof(g));
	if (loop_new("test", &g.loop, &e) < 0 || machine_new(1, g.loop, true, &g.m, &e) < 0)
		return -1;
	engine_soft.abilities(&wish);
	wish.cpus = 1;
	wish.tsc_khz = g.m->tsc_khz = 1000000;
	cpuid_model_make(&g.m->cpuid, &wish);
	if (mem_add(&g.m->mem, "ram", MEM_RAM, 0, 4 * MIB, &e) < 0 ||
	    lapics_new(g.m, &lapics, &e) < 0 || machine_open_engine(g.m, &engine_soft, &e) < 0)
		return -1;
	g.ram = mem_ptr(&g.m->mem, 0, 4 * MIB, true);
	return 0;
}

static int teardown(void **state)
{
	guest_free(&g);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_jump_is_not_linked_to_a_handler, setup, teardown),
		cmocka_unit_test_setup_teardown(an_offer_that_was_taken_is_an_eoi, setup, teardown),
		cmocka_unit_test_setup_teardown(after_one_that_was_not_the_guest_writes_it, setup,
	                                        teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
