/*
 * The software engine with two processors that work on the same memory: atomic instructions, the order of
 * stores, code that one rewrites while the other runs it.  By the interpreter, and translated.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "engine/soft/engine.h"
#include "machine/machine.h"

#define CPUS      2
#define RAM       0x100000u
#define TABLES    0x1000u
#define CODE      0x10000u
#define DATA      0x20000u
#define EDGE      0x21ffeu
#define REWRITTEN 0x30000u
#define STACK     0x50000u

extern const uint8_t smp_code[], smp_code_end[], smp_count[], smp_order[], smp_message[],
	smp_modify[], smp_function[];

struct fixture {
	struct loop *loop;
	struct machine *m;
	unsigned rounds;
};

static uint64_t get(struct fixture *f, gpa_t at)
{
	uint64_t v = 0;

	assert_int_equal(mem_read(&f->m->mem, at, &v, 8), 0);
	return v;
}

static void put(struct fixture *f, gpa_t at, uint64_t v)
{
	assert_int_equal(mem_write(&f->m->mem, at, &v, 8), 0);
}

static void make_tables(struct fixture *f)
{
	put(f, TABLES, (TABLES + 0x1000) | 3);
	put(f, TABLES + 0x1000, (TABLES + 0x2000) | 3);
	put(f, TABLES + 0x2000, (TABLES + 0x3000) | 3);
	for (unsigned i = 0; i < RAM / 0x1000; i++)
		put(f, TABLES + 0x3000 + 8 * i, i * 0x1000ull | 3);
}

static void open_machine(struct fixture *f, unsigned translate_after)
{
	struct cpuid_wish w = {0};
	struct err e = {0};

	assert_int_equal(loop_new("smp", &f->loop, &e), 0);
	assert_int_equal(machine_new(CPUS, f->loop, true, &f->m, &e), 0);
	assert_int_equal(mem_add(&f->m->mem, "ram", MEM_RAM, 0, RAM, &e), 0);
	engine_soft.abilities(&w);
	w.cpus = CPUS;
	w.tsc_khz = f->m->tsc_khz = 1000000;
	cpuid_model_make(&f->m->cpuid, &w);
	engine_soft_translate_after(translate_after);
	engine_soft_validate(ENGINE_SOFT_VALIDATE_ABORT);
	assert_int_equal(machine_open_engine(f->m, &engine_soft, &e), 0);
	make_tables(f);
	assert_int_equal(mem_write(&f->m->mem, CODE, smp_code, (size_t)(smp_code_end - smp_code)),
	                 0);
	assert_int_equal(mem_write(&f->m->mem, REWRITTEN, smp_function, 6), 0);
}

static int setup_interpreter(void **state)
{
	static struct fixture f;

	f = (struct fixture){.rounds = 20000};
	open_machine(&f, 0);
	*state = &f;
	return 0;
}

static int setup_translator(void **state)
{
	static struct fixture f;

	f = (struct fixture){.rounds = 50000};
	open_machine(&f, ENGINE_SOFT_TRANSLATE);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	machine_free(f->m);
	loop_free(f->loop);
	return 0;
}

static void set_state(struct fixture *f, unsigned cpu, const uint8_t *piece)
{
	static struct cpu_state s;

	cpu_state_reset(&s, true);
	s.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
	s.cr3 = TABLES;
	s.cr4 = CR4_PAE;
	s.efer = EFER_LME | EFER_LMA;
	for (unsigned i = 0; i < CPU_SEGS; i++)
		s.seg[i] = (struct cpu_seg){0, UINT32_MAX, 0x10, 0xc093};
	s.seg[CPU_CS] = (struct cpu_seg){0, UINT32_MAX, 8, 0xa09b};
	s.rip = CODE + (uint64_t)(piece - smp_code);
	s.gpr[CPU_RSP] = STACK - cpu * 0x1000;
	s.gpr[CPU_RDI] = cpu;
	s.gpr[CPU_RSI] = f->rounds;
	assert_int_equal(engine_soft.vcpu_set(&f->m->vcpu[cpu], &s, NULL), 0);
}

static void *body(void *arg)
{
	static _Atomic int how[CPUS];
	struct vcpu *v = arg;

	do
		how[v->id] = engine_soft.vcpu_run(v);
	while (how[v->id] == ENGINE_EXIT_KICK);
	return (void *)&how[v->id];
}

static void run(struct fixture *f, const uint8_t *piece)
{
	pthread_t thread[CPUS];

	for (unsigned i = 0; i < CPUS; i++)
		set_state(f, i, piece);
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, body, &f->m->vcpu[i]), 0);
	for (unsigned i = 0; i < CPUS; i++) {
		_Atomic int *how;

		pthread_join(thread[i], (void **)&how);
		assert_int_equal(*how, ENGINE_EXIT_HALT);
	}
}

static void atomic_instructions_lose_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t n = CPUS * f->rounds;

	run(f, smp_count);
	assert_int_equal(get(f, DATA), n);
	assert_int_equal(get(f, DATA + 64), n);
	assert_int_equal(get(f, DATA + 128), n);
	assert_int_equal(get(f, DATA + 256), n);
	assert_int_equal((uint32_t)get(f, EDGE), n);
	assert_int_equal(get(f, REWRITTEN + 0x800), n);
	assert_int_equal(get(f, DATA + 320), 1);
	assert_int_equal(get(f, DATA + 384), n & 0xff);
}

static void fences_order_stores_before_loads(void **state)
{
	struct fixture *f = *state;

	f->rounds /= 4;
	run(f, smp_order);
	assert_int_equal(get(f, DATA + 448), f->rounds);
	assert_int_equal(get(f, DATA + 384), 0);
}

static void stores_are_seen_in_order(void **state)
{
	struct fixture *f = *state;

	f->rounds *= 10;
	run(f, smp_message);
	assert_int_equal(get(f, DATA + 64), f->rounds);
	assert_int_equal(get(f, DATA + 384), 0);
}

static void rewritten_code_is_seen(void **state)
{
	struct fixture *f = *state;

	f->rounds /= 10;
	run(f, smp_modify);
	assert_int_equal(get(f, DATA + 128), f->rounds);
	assert_int_equal(get(f, DATA + 384), 0);
}

#define BOTH(test)                                                            \
	{#test " (interpreted)", test, setup_interpreter, teardown, NULL},    \
	{                                                                     \
#test " (translated)", test, setup_translator, teardown, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(atomic_instructions_lose_nothing),
		BOTH(fences_order_stores_before_loads),
		BOTH(stores_are_seen_in_order),
		BOTH(rewritten_code_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
