/*
 * The KVM engine: what saving, migrating and pausing see of it.  Skipped where /dev/kvm doesn't open.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "bare_guest.h"
#include "engine/kvm/engine.h"
#include "engine/kvm/kvm.h"

static void start(struct bare *b, const uint8_t *piece)
{
	bare_make(b, &engine_kvm, 1);
	bare_start_at(b, piece);
}

static bool is_dirty(struct machine *m, gpa_t gpa)
{
	uint64_t word;

	return mem_dirty_fetch(&m->mem, mem_page(&m->mem, gpa), 1, &word) > 0;
}

static void fetch_all(struct machine *m, uint64_t *out)
{
	mem_dirty_fetch(&m->mem, 0, m->mem.pages, out);
}

/* rsi pages from BARE_DATA on; their bits, and no others from there on, must be found. */
static void check_dirty(struct bare *b, unsigned pages)
{
	struct err e = {0};
	uint64_t bits[BARE_RAM / PAGE_SIZE / 64 + 1];
	uint64_t first = BARE_DATA / PAGE_SIZE, all = BARE_RAM / PAGE_SIZE;

	machine_pause(b->m);
	assert_int_equal(engine_kvm.dirty_sync(b->m, &e), 0);
	fetch_all(b->m, bits);
	for (uint64_t i = first; i < all; i++)
		assert_int_equal(bits[i / 64] >> i % 64 & 1, i < first + pages);
}

static void start_dirty(struct bare *b, unsigned pages)
{
	struct cpu_state c;
	struct err e = {0};

	bare_make(b, &engine_kvm, 1);
	bare_state(guest_dirty, &c);
	c.gpr[CPU_RDI] = BARE_DATA;
	c.gpr[CPU_RSI] = pages;
	assert_int_equal(vcpu_state_set(&b->m->vcpu[0], &c, &e), 0);
	assert_int_equal(engine_kvm.dirty_start(b->m, &e), 0);
	assert_int_equal(machine_start(b->m, &e), 0);
}

static void log_dirty_pages(void)
{
	struct err e = {0};
	struct bare b;
	unsigned done;

	start_dirty(&b, 100);
	assert_true(bare_wait(&b, &b.writes, 1));
	check_dirty(&b, 100);
	/* Clean until it writes again; what devices write is in the same log. */
	assert_int_equal(engine_kvm.dirty_sync(b.m, &e), 0);
	assert_false(is_dirty(b.m, BARE_DATA));
	bare_write(&b, BARE_DATA + 0x1000 * 200, 1);
	assert_true(is_dirty(b.m, BARE_DATA + 0x1000 * 200));
	done = b.writes;
	machine_resume(b.m);
	assert_true(bare_wait(&b, &b.writes, done + 2));
	check_dirty(&b, 100);
	engine_kvm.dirty_stop(b.m);
	done = b.writes;
	machine_resume(b.m);
	assert_true(bare_wait(&b, &b.writes, done + 2));
	/* A second log knows nothing of the first. */
	machine_pause(b.m);
	assert_int_equal(engine_kvm.dirty_start(b.m, &e), 0);
	assert_int_equal(engine_kvm.dirty_sync(b.m, &e), 0);
	assert_false(is_dirty(b.m, BARE_DATA));
	bare_drop(&b);
}

static void the_dirty_log_has_the_pages_written(void **state)
{
	kvm_dirty_kind = KVM_DIRTY_LOG;
	log_dirty_pages();
	kvm_dirty_kind = KVM_DIRTY_AUTO;
}

static bool has_ring(void)
{
	struct bare b;
	bool ring;

	bare_make(&b, &engine_kvm, 1);
	ring = ((struct kvm_vm *)b.m->engine_data)->ring;
	bare_drop(&b);
	return ring;
}

static void the_dirty_ring_has_the_pages_written(void **state)
{
	kvm_dirty_kind = KVM_DIRTY_RING;
	if (has_ring())
		log_dirty_pages();
	else
		print_message("this kernel has no dirty ring\n");
	kvm_dirty_kind = KVM_DIRTY_AUTO;
}

/* More pages than a ring has entries. */
static void many_dirty_pages_are_all_found(void **state)
{
	const bool ring = has_ring();
	struct bare b;
	struct kvm_cpu *c;

	start_dirty(&b, 5000);
	c = b.m->vcpu[0].engine_data;
	assert_true(bare_wait(&b, &b.writes, 1));
	check_dirty(&b, 5000);
	if (ring)
		assert_true(c->rings_full > 0);
	bare_drop(&b);
}

static uint64_t processor_number(uint64_t *seed)
{
	return *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
}

static void fill_state(struct bare *b, struct cpu_state *c)
{
	uint64_t seed = 1;

	bare_state(guest_spin, c);
	for (unsigned i = 0; i < CPU_GPRS; i++)
		c->gpr[i] = processor_number(&seed);
	c->rflags = FLAG_FIXED | FLAG_CF | FLAG_OF | FLAG_IF | FLAG_ID;
	c->cr2 = 0x123456789000;
	c->cr8 = 5;
	c->dr[0] = 0x1000;
	c->dr[3] = 0x3000;
	c->dr[7] = 0x400 | 1 << 1;
	c->star = 0x0023001000000000;
	c->lstar = 0xffffffff81000000;
	c->cstar = 0xffffffff82000000;
	c->fmask = 0x47700;
	c->kernel_gs_base = 0xffff888000001000;
	c->sysenter_cs = 0x10;
	c->sysenter_eip = 0x83000000; /* AMD keeps 32 bits */
	c->seg[CPU_FS].base = 0x7f0012345000;
	c->seg[CPU_GS].base = 0xffff888000002000;
	c->seg[CPU_ES] = (struct cpu_seg){0};
	c->ldt = (struct cpu_seg){.attr = 2};
	c->pat = 0x0407010600070106;
	c->mtrr_def = 0xc06;
	c->mtrr_fixed[2] = 0x0606060606060606;
	c->mtrr_base[1] = 0xc0000000;
	c->mtrr_mask[1] = 0xffc0000800;
	/* x87 control word, MXCSR and an XMM register, all in the state's legacy part */
	c->xsave[0] = 0x7f;
	c->xsave[1] = 0x02;
	c->xsave[24] = 0x80;
	c->xsave[25] = 0x3f;
	memcpy(c->xsave + 160 + 16, "sixteen letters", 16);
	c->xsave[512] = 3;
	c->interrupt_shadow = CPU_SHADOW_STI;
	c->nmi_masked = 1;
	c->mp = CPU_MP_HALTED;
}

static void a_processors_state_comes_back(void **state)
{
	struct cpu_state in, out;
	struct err e = {0};
	struct bare b;

	bare_make(&b, &engine_kvm, 2);
	fill_state(&b, &in);
	assert_int_equal(vcpu_state_set(&b.m->vcpu[0], &in, &e), 0);
	memset(&out, 0x5a, sizeof(out));
	assert_int_equal(vcpu_state_get(&b.m->vcpu[0], &out, &e), 0);
	assert_memory_equal(out.gpr, in.gpr, sizeof(in.gpr));
	assert_int_equal(out.rip, in.rip);
	assert_int_equal(out.rflags, in.rflags);
	assert_memory_equal(out.dr, in.dr, sizeof(in.dr));
	assert_memory_equal(out.xsave, in.xsave, sizeof(in.xsave));
	assert_int_equal(out.mp, CPU_MP_HALTED);
	/* The time goes on; all else is compared by the visitor. */
	out.tsc = in.tsc;
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
	/* A processor that nobody has started yet */
	assert_int_equal(vcpu_state_get(&b.m->vcpu[1], &out, &e), 0);
	assert_int_equal(out.mp, CPU_MP_WAIT_SIPI);
	bare_drop(&b);
}

static void an_event_in_delivery_is_part_of_the_state(void **state)
{
	struct cpu_state in, out;
	struct err e = {0};
	struct bare b;

	bare_make(&b, &engine_kvm, 1);
	bare_gate(&b, 0x42, guest_count_pic);
	bare_state(guest_spin, &in);
	in.rflags |= FLAG_IF;
	in.interrupt_injected = 1;
	in.interrupt_vector = 0x42;
	assert_int_equal(vcpu_state_set(&b.m->vcpu[0], &in, &e), 0);
	assert_int_equal(vcpu_state_get(&b.m->vcpu[0], &out, &e), 0);
	assert_int_equal(out.interrupt_injected, 1);
	assert_int_equal(out.interrupt_vector, 0x42);
	assert_int_equal(machine_start(b.m, &e), 0);
	assert_true(bare_wait_memory(&b, BARE_DATA + 8, 0));
	bare_drop(&b);
}

static uint64_t kvm_clock_now(struct machine *m)
{
	struct kvm_clock_data data = {};

	assert_int_equal(ioctl(((struct kvm_vm *)m->engine_data)->fd, KVM_GET_CLOCK, &data), 0);
	return data.clock;
}

static void a_pause_stops_the_guest_and_its_time(void **state)
{
	struct bare b;
	uint64_t count, guest, own;

	start(&b, guest_spin);
	assert_true(bare_wait_memory(&b, BARE_DATA, 0));
	machine_pause(b.m);
	count = bare_read(&b, BARE_DATA);
	own = clock_now(&b.m->clock);
	bare_sleep(300);
	assert_int_equal(bare_read(&b, BARE_DATA), count);
	assert_int_equal(clock_now(&b.m->clock), own);
	machine_resume(b.m);
	assert_true(bare_wait_memory(&b, BARE_DATA, count));
	/* Not ahead by the pause; behind a little, if the host was busy when it was set. */
	own = clock_now(&b.m->clock);
	guest = kvm_clock_now(b.m);
	assert_true(guest + 200000000 > own);
	assert_true(guest < clock_now(&b.m->clock) + 1000000);
	bare_drop(&b);
}

static void kicks_are_never_lost(void **state)
{
	struct bare b;
	uint64_t count;

	/* The second processor is never started: its thread waits in the kernel. */
	bare_make(&b, &engine_kvm, 2);
	bare_start_at(&b, guest_spin);
	for (unsigned i = 0; i < 300; i++) {
		machine_pause(b.m); /* hangs when a kick is lost */
		machine_resume(b.m);
	}
	count = bare_read(&b, BARE_DATA);
	assert_true(bare_wait_memory(&b, BARE_DATA, count));
	bare_drop(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_dirty_log_has_the_pages_written),
		cmocka_unit_test(the_dirty_ring_has_the_pages_written),
		cmocka_unit_test(many_dirty_pages_are_all_found),
		cmocka_unit_test(a_processors_state_comes_back),
		cmocka_unit_test(an_event_in_delivery_is_part_of_the_state),
		cmocka_unit_test(a_pause_stops_the_guest_and_its_time),
		cmocka_unit_test(kicks_are_never_lost),
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
