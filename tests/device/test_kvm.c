/*
 * The KVM engine: what guests, devices and the machine see of it.  Skipped where /dev/kvm doesn't open.
 * The guest's code keeps to what any KVM can run, also those that emulate privilege 0.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <cmocka.h>

#include "bare_guest.h"
#include "engine/kvm/engine.h"
#include "engine/kvm/kvm.h"

static void start(struct bare *b, const uint8_t *piece)
{
	bare_make(b, &engine_kvm, 1);
	bare_start_at(b, piece);
}

static void a_guest_has_memory_and_cannot_write_rom(void **state)
{
	struct bare b;

	bare_make(&b, &engine_kvm, 1);
	bare_write(&b, BARE_ROM, 0xabcdef);
	bare_start_at(&b, guest_memory);
	bare_run(&b);
	assert_int_equal(b.m->ended, MACHINE_DEBUG_EXIT);
	assert_int_equal(bare_read(&b, BARE_DATA), 0x1122334455667788);
	assert_int_equal(bare_read(&b, BARE_DATA + 8), 0xabcdef);
	assert_int_equal(bare_read(&b, BARE_DATA + 16), 0xabcdef);
	bare_drop(&b);
}

/* What the accesses piece writes, in its order. */
struct seen {
	uint64_t offset, value;
	unsigned size;
};
static struct seen seen[16];

static void note(struct bare *b)
{
	if (b->writes <= ARRAY_LEN(seen))
		seen[b->writes - 1] = (struct seen){b->offset, b->value, b->size};
}

static void devices_see_accesses_of_all_sizes(void **state)
{
	static const struct seen expected[] = {
		{2, 0x21, 1},       {2, 0x4321, 2},
		{2, 0x87654321, 4}, {2, 'k', 1},
		{2, 'v', 1},        {2, 'm', 1},
		{2, '!', 1},        {2, '\n', 1},
		{0x10, 0x80, 1},    {0x10, 0x1020304050607080, 8},
	};
	struct bare b;

	bare_make(&b, &engine_kvm, 1);
	b.written = note;
	b.answer = 0x3000;
	memcpy(mem_ptr(&b.m->mem, BARE_DATA + 0x100, 5, true), "kvm!\n", 5);
	bare_start_at(&b, guest_accesses);
	bare_run(&b);
	assert_int_equal(b.m->ended, MACHINE_DEBUG_EXIT);
	assert_int_equal(b.writes, ARRAY_LEN(expected));
	for (unsigned i = 0; i < ARRAY_LEN(expected); i++) {
		assert_int_equal(seen[i].offset, expected[i].offset);
		assert_int_equal(seen[i].value, expected[i].value);
		assert_int_equal(seen[i].size, expected[i].size);
	}
	assert_int_equal(bare_read(&b, BARE_DATA), 0x3002);
	assert_int_equal(bare_read(&b, BARE_DATA + 8), 0x3018);
	assert_int_equal(bare_read(&b, BARE_DATA + 16), 0x12);
	bare_drop(&b);
}

static void messages_wake_a_halted_guest(void **state)
{
	struct bare b;

	bare_make(&b, &engine_kvm, 1);
	bare_gate(&b, 0x51, guest_count);
	bare_start_at(&b, guest_idle);
	assert_true(bare_wait(&b, &b.writes, 1));
	for (unsigned i = 0; i < 5; i++) {
		irq_msi(b.m, 0xfee00000, 0x51);
		assert_true(bare_wait_memory(&b, BARE_DATA, i));
	}
	bare_drop(&b);
}

static void an_nmi_arrives_with_interrupts_off(void **state)
{
	struct bare b;

	bare_make(&b, &engine_kvm, 1);
	bare_gate(&b, EXC_NMI, guest_count_pic);
	bare_start_at(&b, guest_spin);
	assert_true(bare_wait_memory(&b, BARE_DATA, 0));
	vcpu_request(&b.m->vcpu[0], VCPU_REQ_NMI);
	assert_true(bare_wait_memory(&b, BARE_DATA + 8, 0));
	bare_drop(&b);
}

static void signal_fd(int fd)
{
	uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static void a_descriptor_raises_a_message(void **state)
{
	AUTO_FD int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct bare b;
	uint64_t before;

	bare_make(&b, &engine_kvm, 1);
	bare_gate(&b, 0x52, guest_count);
	bare_gate(&b, 0x53, guest_count_other);
	bare_start_at(&b, guest_idle);
	assert_true(bare_wait(&b, &b.writes, 1));
	assert_int_equal(engine_kvm.msi_fd(b.m, 0xfee00000, 0x52, fd, true), 0);
	signal_fd(fd);
	assert_true(bare_wait_memory(&b, BARE_DATA, 0));
	/* another message for the same descriptor */
	assert_int_equal(engine_kvm.msi_fd(b.m, 0xfee00000, 0x53, fd, true), 0);
	signal_fd(fd);
	assert_true(bare_wait_memory(&b, BARE_DATA + 8, 0));
	assert_int_equal(engine_kvm.msi_fd(b.m, 0xfee00000, 0x53, fd, false), 0);
	before = bare_read(&b, BARE_DATA) + bare_read(&b, BARE_DATA + 8);
	signal_fd(fd);
	irq_msi(b.m, 0xfee00000, 0x52);
	assert_true(bare_wait_memory(&b, BARE_DATA, 1));
	assert_int_equal(bare_read(&b, BARE_DATA) + bare_read(&b, BARE_DATA + 8), before + 1);
	bare_drop(&b);
}

static uint64_t take(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static void stores_signal_descriptors(void **state)
{
	AUTO_FD int port = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	AUTO_FD int mmio = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct bare b;

	bare_make(&b, &engine_kvm, 1);
	assert_int_equal(engine_kvm.notify_fd(b.m, true, 0x304, 2, port, true), 0);
	assert_int_equal(engine_kvm.notify_fd(b.m, false, 0xd0000020, 2, mmio, true), 0);
	bare_start_at(&b, guest_notify);
	bare_run(&b);
	assert_int_equal(take(port), 2);
	assert_int_equal(take(mmio), 1);
	assert_int_equal(b.writes, 0); /* the device saw none of them */
	assert_int_equal(engine_kvm.notify_fd(b.m, true, 0x304, 2, port, false), 0);
	assert_int_equal(engine_kvm.notify_fd(b.m, false, 0xd0000020, 2, mmio, false), 0);
	bare_drop(&b);
}

/* A PIC with one input: INTR follows it, and every INTA takes one of the waiting. */
static struct {
	_Atomic unsigned waiting, accepted;
} pic;

static bool pic_pending(void *dev)
{
	return pic.waiting > 0;
}

static uint8_t pic_accept(void *dev)
{
	pic.waiting--;
	pic.accepted++;
	return 0x30;
}

static void ignore_pin(void *dev, unsigned pin, bool level)
{
}

static const struct irq_pins pic_pins = {
	.set = ignore_pin, .pending = pic_pending, .accept = pic_accept};

static void raise_pic(struct machine *m, unsigned n)
{
	lock_take(&m->irq.lock);
	pic.waiting += n;
	irq_extint(m, true);
	lock_drop(&m->irq.lock);
}

static void make_with_pic(struct bare *b)
{
	bare_make(b, &engine_kvm, 1);
	b->m->irq.pic = &pic_pins;
	pic.waiting = pic.accepted = 0;
	bare_gate(b, 0x30, guest_count_pic);
}

static void the_pic_wakes_a_halted_guest(void **state)
{
	struct bare b;

	make_with_pic(&b);
	bare_start_at(&b, guest_idle);
	assert_true(bare_wait(&b, &b.writes, 1));
	for (unsigned i = 0; i < 5; i++) {
		raise_pic(b.m, 1);
		assert_true(bare_wait_memory(&b, BARE_DATA + 8, i));
	}
	raise_pic(b.m, 3);
	assert_true(bare_wait_memory(&b, BARE_DATA + 8, 7));
	assert_int_equal(pic.accepted, 8);
	bare_drop(&b);
}

static void raise_at_first_write(struct bare *b)
{
	raise_pic(b->m, 1);
}

static void the_pic_waits_for_the_interrupt_flag(void **state)
{
	struct bare b;

	make_with_pic(&b);
	b.written = raise_at_first_write;
	bare_start_at(&b, guest_window);
	bare_run(&b);
	assert_int_equal(b.m->end_code, 1);                 /* taken after STI */
	assert_int_equal(bare_read(&b, BARE_DATA + 24), 0); /* not before */
	bare_drop(&b);
}

static _Atomic unsigned eois;

static void note_eoi(void *dev, uint8_t vector)
{
	if (vector == 0x54)
		eois++;
}

static const struct irq_pins ioapic_pins = {.set = ignore_pin, .eoi = note_eoi};

static void the_ioapic_hears_the_end_of_level_interrupts(void **state)
{
	struct engine_report report;
	struct bare b;

	engine_kvm.probe(&report);
	if (!report.usable) {
		print_message("needs hardware virtualization\n");
		skip();
	}
	bare_make(&b, &engine_kvm, 1);
	b.m->irq.ioapic = &ioapic_pins;
	bare_gate(&b, 0x54, guest_count);
	bare_gate(&b, 0x55, guest_count);
	bare_start_at(&b, guest_idle);
	assert_true(bare_wait(&b, &b.writes, 1));
	eois = 0;
	irq_route(b.m, 5, 0xfee00000, 0x8054, true);
	irq_route(b.m, 6, 0xfee00000, 0x55, true);
	irq_msi(b.m, 0xfee00000, 0x8054);
	assert_true(bare_wait(&b, &eois, 1));
	irq_msi(b.m, 0xfee00000, 0x55); /* edge: nothing to tell */
	assert_true(bare_wait_memory(&b, BARE_DATA, 1));
	irq_route(b.m, 5, 0xfee00000, 0x8054, false); /* masked: still heard */
	irq_msi(b.m, 0xfee00000, 0x8054);
	assert_true(bare_wait(&b, &eois, 2));
	assert_int_equal(eois, 2);
	bare_drop(&b);
}

static void a_triple_fault_is_a_crash(void **state)
{
	struct bare b;

	start(&b, guest_fault);
	bare_run(&b);
	assert_int_equal(b.m->ended, MACHINE_CRASH);
	assert_non_null(strstr(b.m->end_text, "triple fault"));
	bare_drop(&b);
}

static void code_outside_memory_is_a_crash(void **state)
{
	struct bare b;

	start(&b, guest_nowhere);
	bare_run(&b);
	assert_int_equal(b.m->ended, MACHINE_CRASH);
	assert_non_null(strstr(b.m->end_text, "KVM"));
	assert_non_null(strstr(b.m->end_text, "c0000000")); /* rip */
	bare_drop(&b);
}

static void an_instruction_that_kvm_does_not_know_is_named(void **state)
{
	struct engine_report report;
	struct bare b;

	engine_kvm.probe(&report);
	if (report.usable) {
		print_message("hardware knows all of them\n");
		skip();
	}
	start(&b, guest_xgetbv);
	bare_run(&b);
	assert_int_equal(b.m->ended, MACHINE_CRASH);
	assert_non_null(strstr(b.m->end_text, "0f 01 d0"));
	bare_drop(&b);
}

static void the_probe_agrees_with_the_engine(void **state)
{
	struct engine_report first = {}, second = {};

	engine_kvm.probe(&first);
	engine_kvm.probe(&second);
	assert_true(first.openable);
	assert_true(strlen(first.reason) > 10);
	assert_string_equal(first.reason, second.reason);
	print_message("usable: %d, %s\n", first.usable, first.reason);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_guest_has_memory_and_cannot_write_rom),
		cmocka_unit_test(devices_see_accesses_of_all_sizes),
		cmocka_unit_test(messages_wake_a_halted_guest),
		cmocka_unit_test(an_nmi_arrives_with_interrupts_off),
		cmocka_unit_test(a_descriptor_raises_a_message),
		cmocka_unit_test(stores_signal_descriptors),
		cmocka_unit_test(the_pic_wakes_a_halted_guest),
		cmocka_unit_test(the_pic_waits_for_the_interrupt_flag),
		cmocka_unit_test(the_ioapic_hears_the_end_of_level_interrupts),
		cmocka_unit_test(a_triple_fault_is_a_crash),
		cmocka_unit_test(code_outside_memory_is_a_crash),
		cmocka_unit_test(an_instruction_that_kvm_does_not_know_is_named),
		cmocka_unit_test(the_probe_agrees_with_the_engine),
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
