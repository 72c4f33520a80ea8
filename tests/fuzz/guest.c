#include "guest.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "engine/soft/engine.h"
#include "engine/soft/soft.h"

#define RAM     (256 * KIB)
#define TABLES  0x1000 /* page tables: identity, 2 MiB pages, then 4 KiB ones */
#define GDT_AT  0x8000
#define IDT_AT  0x8800
#define TSS_AT  0x9000
#define CODE    0x10000
#define STACK   0x20000
#define TIME_NS 400000

enum mode { REAL, VIRTUAL_8086, PROTECTED_16, PROTECTED_32, LONG_RING0, LONG_RING3, COMPAT, MODES };

static struct machine *running;
static struct cpu_state state;
static timer_t timer;

static void on_time(int sig)
{
	engine_soft.vcpu_kick(&running->vcpu[0]);
}

/* Few instructions make their point soon, and most guests never end. */
static timer_t timer_make(void)
{
	/* On a stack of its own: in translated code the stack pointer is the guest's. */
	struct sigaction sa = {.sa_handler = on_time, .sa_flags = SA_RESTART | SA_ONSTACK};
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
	sigset_t alarm;
	timer_t t;

	/* libFuzzer's own alarm has no such stack, and another thread for it. */
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &alarm, NULL);
	if (sigaction(SIGRTMIN, &sa, NULL) < 0 || timer_create(CLOCK_MONOTONIC, &ev, &t) < 0)
		abort();
	return t;
}

void guest_open(struct guest *g, unsigned translate_after)
{
	struct cpuid_wish w = {0};
	struct machine *m;

	if (loop_new("fuzz", &g->loop, NULL) < 0 ||
	    machine_new(1, g->loop, true, &g->m, NULL) < 0 ||
	    mem_add(&g->m->mem, "ram", MEM_RAM, 0, RAM, NULL) < 0)
		abort();
	m = g->m;
	m->tsc_khz = 1000000;
	engine_soft.abilities(&w);
	w.cpus = 1;
	w.tsc_khz = m->tsc_khz;
	cpuid_model_make(&m->cpuid, &w);
	engine_soft_translate_after(translate_after);
	engine_soft_validate(ENGINE_SOFT_VALIDATE_ABORT);
	if (machine_open_engine(m, &engine_soft, NULL) < 0)
		abort();
	if (timer == NULL)
		timer = timer_make();
}

void guest_close(struct guest *g)
{
	machine_free(g->m);
	loop_free(g->loop);
}

static uint8_t *base; /* of the guest's memory, while it is filled */

static uint8_t *ram(gpa_t at)
{
	return base + at;
}

static void put64(gpa_t at, uint64_t v)
{
	memcpy(ram(at), &v, 8);
}

/* Identity: the first 2 MiB in 4 KiB pages, the rest in one of 1 GiB. */
static void make_tables(void)
{
	put64(TABLES, (TABLES + 0x1000) | 7);
	put64(TABLES + 0x1000, (TABLES + 0x2000) | 7);
	put64(TABLES + 0x1008, 1ull << 30 | 0x87);
	put64(TABLES + 0x2000, (TABLES + 0x3000) | 7);
	put64(TABLES + 0x2008, 2ull << 20 | 0x87);
	for (unsigned i = 0; i < 64; i++)
		put64(TABLES + 0x3000 + 8 * i, i * 0x1000ull | 7);
}

static uint64_t descriptor(uint16_t attr)
{
	return 0xffff | (uint64_t)attr << 40 | 0xfull << 48;
}

static void make_descriptors(bool wide)
{
	static const uint16_t attr[] = {
		0,      0xa09b, 0xc093, 0xc09b, 0x009b,
		0x0093,                                 /* ring 0: 64, data, 32, 16, data 16 */
		0xa0fb, 0xc0f3, 0xc0fb, 0x00fb, 0x00f3, /* ring 3 */
	};

	for (unsigned i = 0; i < ARRAY_LEN(attr); i++)
		put64(GDT_AT + 8 * i, descriptor(attr[i]));
	put64(GDT_AT + 8 * 12, descriptor(0x008b) | (uint64_t)TSS_AT << 16);
	put64(TSS_AT + 4, STACK);
	/* Every handler is the code itself, at different places: random bytes handle exceptions, too. */
	for (unsigned i = 0; i < 32; i++) {
		uint64_t to = CODE + i * 16;

		if (wide)
			put64(IDT_AT + 16 * i,
			      (to & 0xffff) | 8 << 16 | 0x8eull << 40 | (to >> 16) << 48);
		else
			put64(IDT_AT + 8 * i,
			      (to & 0xffff) | 0x18 << 16 | 0x8eull << 40 | (to >> 16) << 48);
	}
}

static void segment(enum cpu_seg_name seg, uint16_t sel, uint32_t base, uint16_t attr)
{
	state.seg[seg] = (struct cpu_seg){base, attr & SEG_G ? UINT32_MAX : 0xffff, sel, attr};
}

static void data_segments(uint16_t sel, uint32_t base, uint16_t attr)
{
	static const enum cpu_seg_name data[] = {CPU_ES, CPU_SS, CPU_DS, CPU_FS, CPU_GS};

	for (unsigned i = 0; i < ARRAY_LEN(data); i++)
		segment(data[i], sel, base, attr);
}

static void set_mode(enum mode mode)
{
	bool wide = mode >= LONG_RING0, user = mode == LONG_RING3 || mode == COMPAT;

	make_descriptors(wide);
	state.gdt = (struct cpu_table){GDT_AT, 0x7f};
	state.idt = (struct cpu_table){mode == REAL ? 0 : IDT_AT, wide ? 0x1ff : 0xff};
	state.tr = (struct cpu_seg){TSS_AT, 0x67, 0x60, SEG_P | 0xb};
	state.rip = CODE;
	if (mode != REAL)
		state.cr0 |= CR0_PE;
	if (wide) {
		state.cr0 |= CR0_PG;
		state.cr3 = TABLES;
		state.cr4 |= CR4_PAE;
		state.efer |= EFER_LME | EFER_LMA;
	}
	switch (mode) {
	case REAL:
	case VIRTUAL_8086:
		segment(CPU_CS, CODE >> 4, CODE, mode == REAL ? 0x9b : 0xfb);
		data_segments(CODE >> 4, CODE, mode == REAL ? 0x93 : 0xf3);
		state.rip = 0;
		if (mode == VIRTUAL_8086)
			state.rflags |= FLAG_VM | FLAG_IOPL;
		break;
	case PROTECTED_16:
		segment(CPU_CS, 0x20, CODE, 0x9b);
		data_segments(0x28, CODE, 0x93);
		state.rip = 0;
		break;
	case PROTECTED_32:
		segment(CPU_CS, 0x18, 0, 0xc09b);
		data_segments(0x10, 0, 0xc093);
		break;
	default:
		segment(CPU_CS,
		        mode == COMPAT ? 0x43
		        : user         ? 0x33
		                       : 8,
		        0, (uint16_t)((mode == COMPAT ? 0xc09b : 0xa09b) | (user ? 0x60 : 0)));
		data_segments(user ? 0x3b : 0x10, 0, (uint16_t)(0xc093 | (user ? 0x60 : 0)));
	}
}

static void make_state(struct input *in)
{
	enum mode mode = input_take(in, 1) % MODES;
	uint8_t flags = (uint8_t)input_take(in, 1);

	cpu_state_reset(&state, true);
	state.cr0 = CR0_ET | CR0_NE | (flags & 1 ? CR0_WP : 0) | (flags & 2 ? CR0_AM : 0) |
	            (flags & 4 ? CR0_TS : 0);
	state.cr4 = flags & 8 ? 0 : CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE;
	state.xcr0 = flags & 16 ? 1 : 7;
	state.efer = flags & 32 ? EFER_SCE | EFER_NXE : 0;
	state.rflags = FLAG_FIXED | (flags & 64 ? FLAG_TF : 0) | (flags & 128 ? FLAG_IF : 0);
	set_mode(mode);
	for (unsigned i = 0; i < 8; i++)
		state.gpr[i] = CODE + input_take(in, 2);
	state.gpr[CPU_RSP] = mode <= PROTECTED_16 ? 0x8000 : STACK;
}

const uint8_t *guest_ram(const struct guest *g)
{
	return mem_ptr(&g->m->mem, 0, RAM, false);
}

static void check(const struct guest *g)
{
	const struct soft_cpu *c = g->m->vcpu[0].engine_data;

	if (c->gpr[SOFT_ZERO] != 0 || c->seg_base[SOFT_SEG_NONE] != 0 || c->cpl > 3)
		abort();
}

enum engine_exit guest_run(struct guest *g, const uint8_t *data, size_t size, struct cpu_state *out)
{
	struct vcpu *v = &g->m->vcpu[0];
	struct input in = {data, size};
	enum engine_exit how;

	base = mem_ptr(&g->m->mem, 0, RAM, true);
	memset(base, 0, RAM);
	make_tables();
	make_state(&in);
	memcpy(ram(CODE), in.p, MIN(in.left, (size_t)(STACK - CODE)));
	mem_written(&g->m->mem, 0, RAM);
	atomic_store(&v->requests, 0);
	atomic_store(&v->mp, CPU_MP_RUNNING);
	if (engine_soft.vcpu_set(v, &state, NULL) < 0)
		abort();
	running = g->m;
	timer_settime(timer, 0, &(struct itimerspec){.it_value.tv_nsec = TIME_NS}, NULL);
	how = engine_soft.vcpu_run(v);
	timer_settime(timer, 0, &(struct itimerspec){}, NULL);
	if (how == ENGINE_EXIT_FAIL || how == ENGINE_EXIT_DEBUG)
		abort();
	check(g);
	if (engine_soft.vcpu_get(v, out, NULL) < 0)
		abort();
	return how;
}
