/* Native execution in a page of code made for it; the engine's on one decoded op. */
#include "vec_run.h"

#include <assert.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/ucontext.h>

#include "base/loop.h"
#include "engine/soft/engine.h"
#include "engine/soft/flags.h"
#include "engine/soft/run.h"
#include "engine/soft/vec.h"
#include "machine/machine.h"

#define STACK_SIZE (256u * 1024)
#define GUEST_PAGE 0x10000ull /* the buffer lies across the end of this page, or begins in it */

static struct {
	uint8_t *code;
	uint8_t *stack;
	struct loop *loop;
	struct machine *m;
	struct soft_cpu *c;
} run;

/* What the native code works on: fixed places, reached by absolute addresses. */
static struct {
	struct fpu_area fpu __attribute__((aligned(64)));
	uint8_t more[4096 - FPU_AREA_SIZE];
	uint64_t gpr[16], flags, rsp;
	uint8_t mem[VEC_MEM] __attribute__((aligned(64)));
} native;

static sigjmp_buf escape;
static volatile int raised;

static void from_context(const ucontext_t *uc)
{
	static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
	                              REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
	                              REG_R12, REG_R13, REG_R14, REG_R15};

	for (unsigned i = 0; i < 16; i++)
		native.gpr[i] = (uint64_t)uc->uc_mcontext.gregs[order[i]];
	native.flags = (uint64_t)uc->uc_mcontext.gregs[REG_EFL];
	memcpy(&native.fpu, uc->uc_mcontext.fpregs, sizeof(native.fpu));
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
	from_context(context);
	raised = (int)((const ucontext_t *)context)->uc_mcontext.gregs[REG_TRAPNO];
	siglongjmp(escape, 1);
}

struct bytes {
	uint8_t *p;
};

static void put(struct bytes *b, const void *data, unsigned len)
{
	memcpy(b->p, data, len);
	b->p += len;
}
#define PUT(b, ...) put(b, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void put_address(struct bytes *b, const void *address)
{
	uint64_t v = (uint64_t)(uintptr_t)address;

	put(b, &v, 8);
}

/* rax <-> a fixed place */
static void put_load(struct bytes *b, const void *from)
{
	PUT(b, 0x48, 0xa1);
	put_address(b, from);
}

static void put_store(struct bytes *b, const void *to)
{
	PUT(b, 0x48, 0xa3);
	put_address(b, to);
}

/* mov r, rax, and back; not for rsp */
static void put_from_rax(struct bytes *b, unsigned r)
{
	PUT(b, (uint8_t)(0x48 | r >> 3), 0x89, (uint8_t)(0xc0 | (r & 7)));
}

static void put_to_rax(struct bytes *b, unsigned r)
{
	PUT(b, (uint8_t)(0x48 | r >> 3 << 2), 0x89, (uint8_t)(0xc0 | (r & 7) << 3));
}

static void make_code(const uint8_t *insn, unsigned len)
{
	struct bytes b = {run.code};

	PUT(&b, 0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57); /* push */
	PUT(&b, 0x48, 0x89, 0xe0);                                           /* mov rax, rsp */
	put_store(&b, &native.rsp);
	PUT(&b, 0x48, 0xbb); /* mov rbx, area */
	put_address(&b, &native.fpu);
	PUT(&b, 0xb8, 7, 0, 0, 0, 0x31, 0xd2, 0x48, 0x0f, 0xae, 0x2b); /* xrstor64 [rbx] */
	put_load(&b, &native.flags);
	PUT(&b, 0x50, 0x9d); /* push rax; popf */
	for (unsigned r = 1; r < 16; r++) {
		if (r == CPU_RSP)
			continue;
		put_load(&b, &native.gpr[r]);
		put_from_rax(&b, r);
	}
	put_load(&b, &native.gpr[0]);
	put(&b, insn, len);
	put_store(&b, &native.gpr[0]);
	for (unsigned r = 1; r < 16; r++) {
		put_to_rax(&b, r);
		put_store(&b, &native.gpr[r]);
	}
	PUT(&b, 0x9c, 0x58); /* pushf; pop rax */
	put_store(&b, &native.flags);
	PUT(&b, 0x48, 0xbb);
	put_address(&b, &native.fpu);
	PUT(&b, 0xb8, 7, 0, 0, 0, 0x31, 0xd2, 0x48, 0x0f, 0xae, 0x23); /* xsave64 [rbx] */
	put_load(&b, &native.rsp);
	PUT(&b, 0x48, 0x89, 0xc4, 0xdb, 0xe3); /* mov rsp, rax; fninit */
	PUT(&b, 0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3);
}

/* Components that the hardware left out are in their initial state. */
static void complete(struct fpu_area *f)
{
	if (!(f->xstate_bv & XCR0_X87)) {
		fpu_x87_init(f);
		memset(f->st, 0, sizeof(f->st));
	}
	if (!(f->xstate_bv & XCR0_SSE))
		memset(f->xmm, 0, sizeof(f->xmm));
	if (!(f->xstate_bv & XCR0_AVX))
		memset(f->high, 0, sizeof(f->high));
}

void vec_run_native(const uint8_t *insn, unsigned len, struct vec_state *s)
{
	make_code(insn, len);
	native.fpu = s->fpu;
	native.fpu.xstate_bv = XCR0_ALL;
	memcpy(native.gpr, s->gpr, sizeof(native.gpr));
	memcpy(native.mem, s->mem, sizeof(native.mem));
	native.gpr[CPU_RBX] = native.gpr[CPU_RDI] =
		(uint64_t)(uintptr_t)native.mem + VEC_MEM / 2 - s->shift;
	native.flags = s->flags | 0x202;
	raised = -1;
	if (sigsetjmp(escape, 1) == 0)
		((void (*)(void))run.code)();
	__asm__ volatile("fninit; ldmxcsr %0" : : "m"((const uint32_t){MXCSR_INIT}));
	complete(&native.fpu);
	s->fpu = native.fpu;
	memcpy(s->gpr, native.gpr, sizeof(native.gpr));
	memcpy(s->mem, native.mem, sizeof(native.mem));
	s->flags = native.flags & FLAGS_ARITH;
	s->vector = raised;
}

static void done(struct soft_cpu *c, const struct op *op)
{
}

void vec_run_soft(const uint8_t *insn, unsigned len, bool in32, bool crossing, struct vec_state *s)
{
	struct soft_cpu *c = run.c;
	uint64_t at = GUEST_PAGE + PAGE_SIZE - (crossing ? VEC_MEM / 2 : VEC_MEM);
	struct op op[2] = {0};
	struct decoded d = {0};
	jmp_buf catch;
	int rc;

	c->mode = in32 ? MODE_32 | MODE_FLAT | MODE_STACK32 : MODE_64;
	rc = decode_op(c, insn, len, 0, c->mode, &d, &op[0]);
	assert(rc == 0);
	op[1].fn = done;
	if (vec_full(c))
		vec_drop(c);
	memcpy(c->xsave, &s->fpu, sizeof(s->fpu));
	memcpy(c->gpr, s->gpr, sizeof(s->gpr));
	c->gpr[CPU_RBX] = c->gpr[CPU_RDI] = at + VEC_MEM / 2 - s->shift;
	flags_set(c, (uint32_t)s->flags);
	rc = mem_write(&run.m->mem, at, s->mem, VEC_MEM);
	assert(rc == 0);
	s->vector = -1;
	c->catch = &catch;
	if (setjmp(catch) == 0)
		op[0].fn(c, &op[0]);
	else
		s->vector = c->exc.vector;
	memcpy(&s->fpu, c->xsave, sizeof(s->fpu));
	memcpy(s->gpr, c->gpr, sizeof(s->gpr));
	s->flags = flags_get(c) & FLAGS_ARITH;
	rc = mem_read(&run.m->mem, at, s->mem, VEC_MEM);
	assert(rc == 0);
	(void)rc;
}

struct soft_cpu *vec_run_cpu(void)
{
	return run.c;
}

void vec_run_signals(void)
{
	struct sigaction sa = {.sa_sigaction = on_signal,
	                       .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
	stack_t alt = {.ss_size = STACK_SIZE, .ss_sp = run.stack};

	sigaltstack(&alt, NULL);
	sigaction(SIGFPE, &sa, NULL);
	sigaction(SIGILL, &sa, NULL);
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
}

void vec_run_open(void)
{
	struct cpuid_wish wish = {.cpus = 1, .phys_bits = 46};
	struct err e;
	int rc;

	run.code = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC,
	                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert(run.code != MAP_FAILED);
	run.stack = xalloc(STACK_SIZE);
	rc = loop_new("test", &run.loop, &e);
	assert(rc == 0);
	rc = machine_new(1, run.loop, true, &run.m, &e);
	assert(rc == 0);
	rc = mem_add(&run.m->mem, "ram", MEM_RAM, 0, MIB, &e);
	assert(rc == 0);
	cpuid_model_make(&run.m->cpuid, &wish);
	rc = machine_open_engine(run.m, &engine_soft, &e);
	assert(rc == 0);
	(void)rc;
	run.c = run.m->vcpu[0].engine_data;
	run.c->cr0 = CR0_PE | CR0_NE;
	run.c->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	run.c->xcr0 = XCR0_ALL;
}

void vec_run_close(void)
{
	machine_free(run.m);
	loop_free(run.loop);
	munmap(run.code, PAGE_SIZE);
	free(run.stack);
}
