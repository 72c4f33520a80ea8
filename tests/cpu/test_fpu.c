/*
 * What surrounds x87 and vector instructions: the control bits that forbid them, pending exceptions,
 * state from elsewhere, and the arena of stubs.
 */
#include "vec_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "engine/soft/vec.h"
#include "machine/irq.h"
#include "machine/vcpu.h"

#define CR0 (CR0_PE | CR0_MP | CR0_NE)
#define CR4 (CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE)

static void set_control(uint64_t cr0, uint64_t cr4, uint64_t xcr0)
{
	struct soft_cpu *c = vec_run_cpu();

	c->cr0 = cr0;
	c->cr4 = cr4;
	c->xcr0 = xcr0;
}

static struct vec_state fresh(void)
{
	struct vec_state s = {.fpu = {.fcw = FCW_INIT,
	                              .mxcsr = MXCSR_INIT,
	                              .mxcsr_mask = MXCSR_MASK,
	                              .xstate_bv = XCR0_ALL}};

	return s;
}

/* One of each kind; all work with everything enabled. */
enum { X87, FXSAVE, WAIT, MMX, SSE, LDMXCSR, AVX, XSAVE, KINDS };
static const struct {
	uint8_t len, code[8];
} sample[KINDS] = {
	[X87] = {2, {0xd9, 0xe8}},               /* fld1 */
	[FXSAVE] = {3, {0x0f, 0xae, 0x03}},      /* fxsave [rbx] */
	[WAIT] = {1, {0x9b}},                    /* fwait */
	[MMX] = {3, {0x0f, 0xfc, 0xc1}},         /* paddb mm0, mm1 */
	[SSE] = {3, {0x0f, 0x58, 0xc1}},         /* addps xmm0, xmm1 */
	[LDMXCSR] = {3, {0x0f, 0xae, 0x1b}},     /* stmxcsr [rbx] */
	[AVX] = {4, {0xc5, 0xf0, 0x58, 0xc2}},   /* vaddps xmm0, xmm1, xmm2 */
	[XSAVE] = {4, {0x48, 0x0f, 0xae, 0x23}}, /* xsave64 [rbx] */
};

static int vector_of(unsigned kind)
{
	struct vec_state s = fresh();

	/* Nothing is asked for: XSAVE writes its header only. */
	vec_run_soft(sample[kind].code, sample[kind].len, false, true, &s);
	return s.vector;
}

static void control_bits_forbid(void **state)
{
	static const struct {
		uint64_t cr0, cr4, xcr0;
		int vector[KINDS]; /* 0: none */
	} row[] = {
		{CR0, CR4, 7, {0}},
		{CR0 | CR0_TS,
	         CR4,
	         7,
	         {EXC_NM, EXC_NM, EXC_NM, EXC_NM, EXC_NM, EXC_NM, EXC_NM, EXC_NM}},
		/* WAIT looks at TS only with MP. */
		{(CR0 & ~CR0_MP) | CR0_TS,
	         CR4,
	         7,
	         {EXC_NM, EXC_NM, 0, EXC_NM, EXC_NM, EXC_NM, EXC_NM, EXC_NM}},
		{CR0 | CR0_EM, CR4, 7, {EXC_NM, EXC_NM, 0, EXC_UD, EXC_UD, EXC_UD, 0, 0}},
		{CR0, CR4 & ~CR4_OSFXSR, 7, {0, 0, 0, 0, EXC_UD, EXC_UD, 0, 0}},
		{CR0, CR4 & ~CR4_OSXSAVE, 7, {0, 0, 0, 0, 0, 0, EXC_UD, EXC_UD}},
		{CR0, CR4, 3, {0, 0, 0, 0, 0, 0, EXC_UD, 0}},
		/* Real mode has no VEX. */
		{CR0 & ~CR0_PE, CR4, 7, {0, 0, 0, 0, 0, 0, EXC_UD, 0}},
		/* #UD goes before #NM. */
		{CR0 | CR0_TS,
	         CR4 & ~(CR4_OSFXSR | CR4_OSXSAVE),
	         7,
	         {EXC_NM, EXC_NM, EXC_NM, EXC_NM, EXC_UD, EXC_UD, EXC_UD, EXC_UD}},
	};

	for (unsigned i = 0; i < ARRAY_LEN(row); i++) {
		set_control(row[i].cr0, row[i].cr4, row[i].xcr0);
		for (unsigned k = 0; k < KINDS; k++) {
			int want = row[i].vector[k] ? row[i].vector[k] : -1;

			if (vector_of(k) != want)
				fail_msg("row %u, kind %u: vector %d, not %d", i, k, vector_of(k),
				         want);
		}
	}
	set_control(CR0, CR4, 7);
}

/* 1 / 0 with the exception unmasked: nothing happens, then the next waiting instruction is #MF. */
static void x87_exceptions_wait(void **state)
{
	static const uint8_t fdivp[] = {0xde, 0xf9}, fwait[] = {0x9b}, fnstsw[] = {0xdf, 0xe0},
			     paddb[] = {0x0f, 0xfc, 0xc1}, fld1[] = {0xd9, 0xe8},
			     fnclex[] = {0xdb, 0xe2};
	struct vec_state s = fresh();

	s.fpu.fcw &= (uint16_t)~4;
	s.fpu.ftw = 0xff;
	s.fpu.st[1] = (struct fpu_st){.mantissa = 1ull << 63, .exponent = 0x3fff};
	vec_run_soft(fdivp, sizeof(fdivp), false, false, &s);
	assert_int_equal(s.vector, -1);
	assert_int_equal(s.fpu.fsw & (FSW_ES | FSW_B | 4), FSW_ES | FSW_B | 4);
	assert_int_equal(s.fpu.st[1].exponent, 0x3fff); /* neither popped nor changed */
	vec_run_soft(fnstsw, sizeof(fnstsw), false, false, &s);
	assert_int_equal(s.vector, -1);
	assert_int_equal(s.gpr[CPU_RAX] & 0xffff, s.fpu.fsw);
	vec_run_soft(fwait, sizeof(fwait), false, false, &s);
	assert_int_equal(s.vector, EXC_MF);
	vec_run_soft(paddb, sizeof(paddb), false, false, &s);
	assert_int_equal(s.vector, EXC_MF);
	vec_run_soft(fld1, sizeof(fld1), false, false, &s);
	assert_int_equal(s.vector, EXC_MF);
	vec_run_soft(fnclex, sizeof(fnclex), false, false, &s);
	vec_run_soft(fld1, sizeof(fld1), false, false, &s);
	assert_int_equal(s.vector, -1);
	assert_int_equal(s.fpu.fsw & FSW_ES, 0);
}

static unsigned irq13;

static void pin_set(void *dev, unsigned pin, bool level)
{
	irq13 += pin == 13 && level;
}

/* Without CR0.NE it is the PC's interrupt; the host's own x87 never sees the pending exception. */
static void x87_exceptions_by_interrupt(void **state)
{
	static const struct irq_pins pins = {.set = pin_set};
	static const uint8_t fld1[] = {0xd9, 0xe8};
	struct machine *m = vec_run_cpu()->machine;
	struct vec_state s = fresh();

	m->irq.pic = &pins;
	irq13 = 0;
	set_control(CR0 & ~CR0_NE, CR4, 7);
	s.fpu.fcw &= (uint16_t)~4;
	s.fpu.fsw = fpu_summary(4, s.fpu.fcw);
	vec_run_soft(fld1, sizeof(fld1), false, false, &s);
	assert_int_equal(s.vector, -1);
	assert_int_equal(irq13, 1);
	assert_int_equal(s.fpu.fsw & (FSW_ES | 4), FSW_ES | 4);
	assert_int_equal(s.fpu.st[0].exponent, 0x3fff);
	m->irq.pic = NULL;
	set_control(CR0, CR4, 7);
}

static void simd_exceptions_need_the_system(void **state)
{
	static const uint8_t divps[] = {0x0f, 0x5e, 0xc1};
	struct vec_state s = fresh();

	s.fpu.mxcsr = 0x1d80; /* divide by zero is not masked */
	s.fpu.xmm[0].q[0] = s.fpu.xmm[0].q[1] = 0x3f8000003f800000;
	vec_run_soft(divps, sizeof(divps), false, false, &s);
	assert_int_equal(s.vector, EXC_XM);
	assert_int_equal(s.fpu.mxcsr, 0x1d84);
	assert_true(s.fpu.xmm[0].q[0] == 0x3f8000003f800000);
	set_control(CR0, CR4 & ~CR4_OSXMMEXCPT, 7);
	vec_run_soft(divps, sizeof(divps), false, false, &s);
	assert_int_equal(s.vector, EXC_UD);
	set_control(CR0, CR4, 7);
}

/* Components that the header says are in their initial state; words that no processor can have. */
static void state_from_elsewhere(void **state)
{
	static const uint8_t addps[] = {0x0f, 0x58, 0xc1}, fld1[] = {0xd9, 0xe8};
	struct soft_cpu *c = vec_run_cpu();
	struct vec_state s = fresh();

	memset(c->xsave, 0xff, sizeof(c->xsave));
	fpu_area(c)->xstate_bv = XCR0_SSE;
	fpu_loaded(c);
	assert_int_equal(fpu_area(c)->fcw, FCW_INIT);
	assert_int_equal(fpu_area(c)->ftw, 0);
	assert_int_equal(fpu_area(c)->mxcsr & ~MXCSR_MASK, 0);
	assert_true(fpu_area(c)->xmm[3].q[1] == UINT64_MAX);
	assert_true(fpu_area(c)->high[3].q[1] == 0);
	assert_int_equal(fpu_area(c)->xcomp_bv, 0);

	memset(c->xsave, 0xff, sizeof(c->xsave));
	fpu_area(c)->fcw = 0;
	fpu_loaded(c);
	s.fpu = *fpu_area(c);
	vec_run_soft(fld1, sizeof(fld1), false, false, &s);
	assert_int_equal(s.vector, EXC_MF);
	vec_run_soft(addps, sizeof(addps), false, false, &s);
	assert_int_equal(s.vector, -1);
}

static struct {
	unsigned reads, writes;
	uint64_t offset[4], value[4];
	unsigned size[4];
} seen;

static uint64_t device_read(void *dev, uint64_t offset, unsigned size)
{
	seen.size[seen.reads] = size;
	seen.offset[seen.reads++] = offset;
	return 0x1111111111111111 * (offset / 8 + 1);
}

static void device_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	seen.size[seen.writes] = size;
	seen.value[seen.writes] = value;
	seen.offset[seen.writes++] = offset;
}

/* A device sees a vector as accesses of 8 bytes, or of 4 where it is aligned to that only. */
static void vectors_reach_devices(void **state)
{
	static const struct bus_ops ops = {device_read, device_write, 8};
	static const uint8_t load[] = {0x41, 0x0f, 0x10, 0x02}, /* movups xmm0, [r10] */
		store[] = {0x41, 0x0f, 0x11, 0x02};
	struct bus_range range = {.base = 0xd0000000, .len = 64, .ops = &ops, .name = "vector"};
	struct machine *m = vec_run_cpu()->machine;
	struct vec_state s = fresh();
	struct err e;

	assert_int_equal(bus_add(&m->mmio, &range, &e), 0);
	s.gpr[10] = 0xd0000010;
	memset(&seen, 0, sizeof(seen));
	vec_run_soft(load, sizeof(load), false, false, &s);
	assert_int_equal(s.vector, -1);
	assert_int_equal(seen.reads, 2);
	assert_int_equal(seen.size[0], 8);
	assert_int_equal(seen.offset[1], 0x18);
	assert_true(s.fpu.xmm[0].q[0] == 0x3333333333333333);
	assert_true(s.fpu.xmm[0].q[1] == 0x4444444444444444);
	s.gpr[10] = 0xd0000004;
	vec_run_soft(store, sizeof(store), false, false, &s);
	assert_int_equal(seen.writes, 3);
	assert_int_equal(seen.size[0], 4);
	assert_int_equal(seen.size[1], 8);
	assert_int_equal(seen.size[2], 4);
	assert_int_equal(seen.offset[1], 8);
	assert_true(seen.value[1] == 0x4444444433333333);
	bus_del(&m->mmio, &range);
}

/* Addresses wrap around there. */
static void end_of_the_address_space(void **state)
{
	static const uint8_t fxsave[] = {0x49, 0x0f, 0xae, 0x02}; /* [r10] */
	struct vec_state s = fresh();

	s.gpr[10] = UINT64_MAX - 0xff;
	vec_run_soft(fxsave, sizeof(fxsave), false, false, &s);
	assert_int_equal(s.vector, -1);
}

/* More different instructions than the arena holds: it is emptied and filled again. */
static void arena_is_emptied(void **state)
{
	struct soft_cpu *c = vec_run_cpu();
	uint8_t insn[] = {0xc4, 0, 0, 0, 0}; /* VEX, L and W 0 and 1 */
	unsigned emptied = 0;
	uint32_t used = 0;

	for (unsigned i = 0; i < 92 * 4096; i++) {
		unsigned reg = i & 15, v = i >> 4 & 15, rm = i >> 8 & 15, k = i >> 14;
		struct vec_state s = fresh();

		/* 0xd8..0xdf, 0xe8..0xef, 0xf8..0xfe: arithmetic of three registers */
		insn[1] = (uint8_t)((reg & 8 ? 0 : 0x80) | 0x40 | (rm & 8 ? 0 : 0x20) | 1);
		insn[2] = (uint8_t)((~v & 15) << 3 | 1 | (i >> 12 & 1) << 2 | (i >> 13 & 1) << 7);
		insn[3] = (uint8_t)(0xd8 + k % 8 + k / 8 * 16);
		insn[4] = (uint8_t)(0xc0 | (reg & 7) << 3 | (rm & 7));
		s.fpu.xmm[rm].q[0] = 1;
		vec_run_soft(insn, sizeof(insn), false, false, &s);
		assert_int_equal(s.vector, -1);
		emptied += c->vec->used < used;
		used = c->vec->used;
	}
	assert_true(emptied > 0);
}

static int open_all(void **state)
{
	vec_run_open();
	set_control(CR0, CR4, 7);
	return 0;
}

static int close_all(void **state)
{
	vec_run_close();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(control_bits_forbid),
		cmocka_unit_test(x87_exceptions_wait),
		cmocka_unit_test(x87_exceptions_by_interrupt),
		cmocka_unit_test(simd_exceptions_need_the_system),
		cmocka_unit_test(state_from_elsewhere),
		cmocka_unit_test(vectors_reach_devices),
		cmocka_unit_test(end_of_the_address_space),
		cmocka_unit_test(arena_is_emptied),
	};

	return cmocka_run_group_tests(tests, open_all, close_all);
}
