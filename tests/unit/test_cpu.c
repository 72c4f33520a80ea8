/* The engine-neutral processor state, and the CPU model. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "machine/cpu.h"
#include "machine/cpuid.h"

static struct cpu_state *new_state(void)
{
	struct cpu_state *c = aligned_alloc(64, align_up(sizeof(*c), 64));

	assert_non_null(c);
	memset(c, 0, sizeof(*c));
	return c;
}

static void fill(struct cpu_state *c)
{
	uint8_t *p = (uint8_t *)c;

	for (size_t i = 0; i < sizeof(*c); i++)
		p[i] = (uint8_t)(i * 7 + 1);
	c->mp = CPU_MP_HALTED;
	c->exception_vector = 14;
}

static void state_survives_save_and_load(void **state)
{
	struct cpu_state *a = new_state(), *b = new_state();
	struct state *save = state_new_save(), *other;
	const void *data;
	struct err e;
	size_t len;

	fill(a);
	cpu_state_visit(save, a);
	assert_int_equal(state_finish(save, &e), 0);
	data = state_data(save, &len);

	other = state_new_load(data, len);
	cpu_state_visit(other, b);
	assert_int_equal(state_finish(other, &e), 0);
	state_free(other);
	assert_memory_equal(a->gpr, b->gpr, sizeof(a->gpr));
	assert_memory_equal(a->xsave, b->xsave, sizeof(a->xsave));
	assert_true(a->tr.base == b->tr.base && a->idt.limit == b->idt.limit);
	assert_int_equal(b->mp, CPU_MP_HALTED);

	other = state_new_compare(data, len);
	cpu_state_visit(other, b);
	assert_int_equal(state_finish(other, &e), 0);
	state_free(other);
	b->lstar ^= 1;
	other = state_new_compare(data, len);
	cpu_state_visit(other, b);
	assert_int_equal(state_finish(other, &e), -EILSEQ);
	state_free(other);

	other = state_new_load(data, len / 2);
	cpu_state_visit(other, b);
	assert_int_equal(state_finish(other, &e), -EBADMSG);
	state_free(other);
	state_free(save);
	free(a);
	free(b);
}

static void nonsense_is_refused(void **state)
{
	struct cpu_state *a = new_state(), *b = new_state();
	struct state *save = state_new_save(), *load;
	const void *data;
	struct err e;
	size_t len;

	fill(a);
	a->mp = 77;
	cpu_state_visit(save, a);
	assert_int_equal(state_finish(save, &e), 0);
	data = state_data(save, &len);
	load = state_new_load(data, len);
	cpu_state_visit(load, b);
	assert_true(state_finish(load, &e) < 0);
	state_free(load);
	state_free(save);
	free(a);
	free(b);
}

static void state_prints_as_json(void **state)
{
	struct cpu_state *c = new_state();
	struct state *s = state_new_json();
	struct err e;
	char *text;

	cpu_state_reset(c, true);
	cpu_state_visit(s, c);
	assert_int_equal(state_finish(s, &e), 0);
	text = json_print(state_json(s), true);
	assert_non_null(strstr(text, "\"rip\""));
	assert_non_null(strstr(text, "\"efer\""));
	free(text);
	state_free(s);
	free(c);
}

static void reset_starts_at_the_reset_vector(void **state)
{
	struct cpu_state *c = new_state();

	cpu_state_reset(c, true);
	assert_true(c->seg[CPU_CS].base + c->rip == 0xfffffff0);
	assert_int_equal(c->cr0, 0x60000010);
	assert_int_equal(c->rflags, 2);
	assert_int_equal(c->apic_base, 0xfee00900);
	assert_int_equal(c->mp, CPU_MP_RUNNING);
	cpu_state_reset(c, false);
	assert_int_equal(c->mp, CPU_MP_WAIT_SIPI);
	assert_int_equal(c->apic_base, 0xfee00800);
	free(c);
}

static void init_keeps_what_it_must(void **state)
{
	struct cpu_state *c = new_state();

	cpu_state_reset(c, false);
	c->cr0 = CR0_PE | CR0_PG | CR0_ET;
	c->efer = EFER_LME | EFER_LMA;
	c->cr4 = CR4_PAE;
	c->tsc = 1234;
	c->mtrr_def = 0xc06;
	c->xsave[100] = 5;
	cpu_state_init(c, false);
	assert_int_equal(c->cr0, CR0_ET);
	assert_int_equal(c->efer, 0);
	assert_int_equal(c->cr4, 0);
	assert_int_equal(c->tsc, 1234);
	assert_int_equal(c->mtrr_def, 0xc06);
	assert_int_equal(c->xsave[100], 5);
	assert_int_equal(c->mp, CPU_MP_WAIT_SIPI);
	cpu_state_sipi(c, 0x9a);
	assert_int_equal(c->seg[CPU_CS].sel, 0x9a00);
	assert_int_equal(c->seg[CPU_CS].base + c->rip, 0x9a000);
	assert_int_equal(c->mp, CPU_MP_RUNNING);
	free(c);
}

static void a_report_fits_its_buffer(void **state)
{
	struct cpu_state *c = new_state();
	char text[4096], small[40];

	cpu_state_reset(c, true);
	c->gpr[CPU_RAX] = 0xdeadbeef;
	cpu_state_format(c, text, sizeof(text));
	assert_non_null(strstr(text, "rax 00000000deadbeef"));
	assert_non_null(strstr(text, "real mode"));
	assert_true(strlen(text) < 1800); /* machine_end()'s text has room for it */
	memset(small, 'x', sizeof(small));
	cpu_state_format(c, small, 20);
	assert_int_equal(strlen(small), 19);
	assert_int_equal(small[20], 'x');
	free(c);
}

static const struct cpuid_wish wish = {
	.f1_ecx = ~0u,
	.f1_edx = ~0u,
	.f7_ebx = ~0u,
	.f7_ecx = ~0u,
	.f7_edx = ~0u,
	.fe1_ecx = ~0u,
	.fe1_edx = ~0u,
	.fd1_eax = 1,
	.xcr0 = 0xe7,
	.pv_features = PV_CLOCKSOURCE2,
	.cpus = 3,
	.tsc_khz = 2400123,
	.phys_bits = 40,
};

static void the_model_hides_what_it_does_not_have(void **state)
{
	static struct cpuid_model m;
	uint32_t r[4];

	cpuid_model_make(&m, &wish);
	assert_string_equal(m.name, "casulo-v3");
	cpuid_lookup(&m, 0, 0, 1, 7, 0, r);
	assert_false(r[1] & 1u << 16); /* AVX512F */
	assert_true(r[1] & 1u << 5);   /* AVX2 */
	cpuid_lookup(&m, 0, 0, 1, 1, 0, r);
	assert_false(r[2] & 1u << 3);  /* MONITOR */
	assert_false(r[2] & 1u << 5);  /* VMX */
	assert_false(r[2] & 1u << 27); /* OSXSAVE follows CR4 */
	assert_true(r[2] & 1u << 31);
	cpuid_lookup(&m, 0, CR4_OSXSAVE, 1, 1, 0, r);
	assert_true(r[2] & 1u << 27);
	cpuid_lookup(&m, 0, 0, 1, 0x80000001, 0, r);
	assert_false(r[2] & 1u << 2); /* SVM */
	assert_true(r[3] & 1u << 29); /* long mode */
}

static void the_model_shows_no_more_than_the_engine_can(void **state)
{
	static struct cpuid_model m;
	struct cpuid_wish w = {.f1_edx = 1 << 4, .cpus = 1, .tsc_khz = 1000000, .phys_bits = 36};
	uint32_t r[4];

	cpuid_model_make(&m, &w);
	cpuid_lookup(&m, 0, 0, 0, 1, 0, r);
	assert_int_equal(r[2], 0);
	assert_int_equal(r[3], 1 << 4);
	cpuid_lookup(&m, 0, 0, 0, 7, 0, r);
	assert_int_equal(r[1] | r[2] | r[3], 0);
	cpuid_lookup(&m, 0, 0, 0, 0xd, 0, r);
	assert_int_equal(r[0] | r[1] | r[2] | r[3], 0);
	cpuid_lookup(&m, 0, 0, 0, 0x40000000, 0, r);
	assert_int_equal(r[0] | r[1] | r[2] | r[3], 0);
	/* Nor does it claim to be immune, or to have an invariant TSC. */
	cpuid_lookup(&m, 0, 0, 0, 0x80000007, 0, r);
	assert_int_equal(r[3], 0);
	cpuid_lookup(&m, 0, 0, 0, 0x80000008, 0, r);
	assert_int_equal(r[1], 0);
	cpuid_lookup(&m, 0, 0, 0, 0x80000021, 0, r);
	assert_int_equal(r[0] | r[2], 0);
}

static void leaves_follow_state_and_topology(void **state)
{
	static struct cpuid_model m;
	char text[52] = "";
	uint32_t r[4];

	cpuid_model_make(&m, &wish);
	cpuid_lookup(&m, 2, 0, 1, 0xb, 1, r);
	assert_int_equal(r[0], 2); /* 3 CPUs: two bits of APIC id */
	assert_int_equal(r[1], 3);
	assert_int_equal(r[2], 0x201);
	assert_int_equal(r[3], 2);
	cpuid_lookup(&m, 2, 0, 1, 1, 0, r);
	assert_int_equal(r[1] >> 24, 2);
	cpuid_lookup(&m, 0, 0, 1, 0xd, 0, r);
	assert_int_equal(r[0], 7); /* AVX-512's components are not shown */
	assert_int_equal(r[1], 576);
	assert_int_equal(r[2], 832);
	cpuid_lookup(&m, 0, 0, 7, 0xd, 0, r);
	assert_int_equal(r[1], 832);
	cpuid_lookup(&m, 0, 0, 7, 0xd, 2, r);
	assert_int_equal(r[0], 256);
	assert_int_equal(r[1], 576);
	cpuid_lookup(&m, 0, 0, 1, 0x40000000, 0, r);
	memcpy(text, &r[1], 12);
	assert_memory_equal(text, "KVMKVMKVM\0\0\0", 12);
	cpuid_lookup(&m, 0, 0, 1, 0x15, 0, r);
	assert_true((uint64_t)r[2] * r[1] / r[0] == 2400123000ull);
	for (unsigned i = 0; i < 3; i++) {
		cpuid_lookup(&m, 0, 0, 1, 0x80000002 + i, 0, r);
		memcpy(text + 16 * i, r, 16);
	}
	assert_string_equal(text, "Casulo virtual CPU");
	cpuid_lookup(&m, 0, 0, 1, 0x12345678, 0, r);
	assert_int_equal(r[0] | r[1] | r[2] | r[3], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(state_survives_save_and_load),
		cmocka_unit_test(nonsense_is_refused),
		cmocka_unit_test(state_prints_as_json),
		cmocka_unit_test(reset_starts_at_the_reset_vector),
		cmocka_unit_test(init_keeps_what_it_must),
		cmocka_unit_test(a_report_fits_its_buffer),
		cmocka_unit_test(the_model_hides_what_it_does_not_have),
		cmocka_unit_test(the_model_shows_no_more_than_the_engine_can),
		cmocka_unit_test(leaves_follow_state_and_topology),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
