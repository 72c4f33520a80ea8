/*
 * The real processor as executor.  Linux' signal frames do the work: a first INT3 enters the handler,
 * which puts the case's registers into the frame, so that returning from it starts the case (in any
 * code segment, 16- and 32-bit ones too); the exception at its end enters the handler again, which takes
 * the registers out and puts our own back.
 *
 * While a case runs and in the handler, FS is still the C library's; a case must not use it.
 */
#include <asm/hwcap2.h>
#include <asm/ldt.h>
#include <errno.h>
#include <immintrin.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include "case.h"
#include "machine/cpu.h"

#define STACK_SIZE    (256 * KIB)
#define FRAME_MAX     (16 * KIB)
#define FRAME_MAGIC   0x46505853u /* struct _fpx_sw_bytes, magic1 */
#define FRAME_SW      464         /* where it lies in the frame's FXSAVE part */
#define SIGNAL_SS_BIT 4           /* uc_flags: the frame's SS is taken as it is */

#define KEPT ((uint64_t)(FLAG_NT | FLAG_ID))

static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};

static struct {
	const struct cpu_case *c;
	struct outcome *o;
	enum { IDLE, ENTER, RUN } phase;
	gregset_t home;
	uint8_t home_fp[FRAME_MAX];
	uint32_t fp_size;
	void *stack;
	struct box box;
	bool ldt;
} n;

/* REG_R8 ... REG_RIP are 0..16 */
static const int greg[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                             REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                             REG_R12, REG_R13, REG_R14, REG_R15};

static uint32_t frame_size(const uint8_t *fp)
{
	uint32_t sw[4];

	memcpy(sw, fp + FRAME_SW, sizeof(sw));             /* magic, extended size, features (64) */
	return sw[0] == FRAME_MAGIC ? sw[1] - 4 : CASE_BV; /* without the end mark */
}

/* Bytes of the XSAVE area that are the case's business. */
static size_t fp_size(void)
{
	return MIN(n.fp_size, CASE_XSAVE);
}

static void start_case(ucontext_t *u)
{
	uint8_t *fp = (uint8_t *)u->uc_mcontext.fpregs;
	greg_t *g = u->uc_mcontext.gregs;
	const struct cpu_case *c = n.c;

	n.fp_size = MIN(frame_size(fp), FRAME_MAX);
	memcpy(n.home, g, sizeof(n.home));
	memcpy(n.home_fp, fp, n.fp_size);
	for (unsigned i = 0; i < 16; i++)
		g[greg[i]] = (greg_t)c->in.gpr[i];
	g[REG_RIP] = (greg_t)c->in.rip;
	g[REG_EFL] = (greg_t)c->in.rflags;
	g[REG_CSGSFS] = c->cs | (greg_t)c->ss << 48;
	u->uc_flags |= SIGNAL_SS_BIT;
	memcpy(fp, c->in.xsave, FRAME_SW);
	memcpy(fp + CASE_BV, c->in.xsave + CASE_BV, fp_size() - CASE_BV);
	n.phase = RUN;
}

static void end_case(ucontext_t *u)
{
	uint8_t *fp = (uint8_t *)u->uc_mcontext.fpregs;
	greg_t *g = u->uc_mcontext.gregs;
	struct outcome *o = n.o;

	for (unsigned i = 0; i < 16; i++)
		o->out.gpr[i] = (uint64_t)g[greg[i]];
	o->out.rip = (uint64_t)g[REG_RIP];
	o->cs = (uint16_t)g[REG_CSGSFS];
	o->ss = (uint16_t)((uint64_t)g[REG_CSGSFS] >> 48);
	/* 64-bit programs don't use these, so nobody has touched them on the way here. */
	asm("mov %%ds, %0\n\tmov %%es, %1\n\tmov %%gs, %2" : "=r"(o->ds), "=r"(o->es), "=r"(o->gs));
	o->out.rflags = (uint64_t)g[REG_EFL];
	o->vector = (unsigned)g[REG_TRAPNO];
	o->error = (uint32_t)g[REG_ERR];
	o->cr2 = o->vector == EXC_PF ? (uint64_t)g[REG_CR2] : 0;
	memset(o->out.xsave, 0, CASE_XSAVE);
	memcpy(o->out.xsave, fp, fp_size());
	memcpy(g, n.home, sizeof(n.home));
	memcpy(fp, n.home_fp, n.fp_size);
	n.phase = IDLE;
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
	/* A case may have set AC, and the kernel leaves it. */
	__builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() & ~(uint64_t)FLAG_AC);
	switch (n.phase) {
	case ENTER:
		start_case(context);
		break;
	case RUN:
		end_case(context);
		break;
	case IDLE:
		/* Our own mistake: let the default action report it. */
		signal(sig, SIG_DFL);
		break;
	}
}

/* From another signal's handler, with the frame that it got. */
static void stop(void *context)
{
	__builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() & ~(uint64_t)FLAG_AC);
	if (n.phase != RUN)
		return;
	end_case(context);
	n.o->timeout = true;
}

static int map_box(void)
{
	const int fixed = MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE;
	const size_t code = BOX_CODE_PAGES * BOX_PAGE, data = BOX_DATA_PAGES * BOX_PAGE;
	int fd = memfd_create("cpu-test", MFD_CLOEXEC);
	uint8_t *alias;

	if (fd < 0 || ftruncate(fd, (off_t)(code + data)) < 0)
		return -errno;
	alias = mmap(NULL, code + data, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (alias == MAP_FAILED ||
	    mmap((void *)(uintptr_t)BOX_CODE, code, PROT_READ | PROT_EXEC, fixed, fd, 0) ==
	            MAP_FAILED ||
	    mmap((void *)(uintptr_t)BOX_DATA, data, PROT_READ | PROT_WRITE, fixed, fd,
	         (off_t)code) == MAP_FAILED ||
	    mprotect((void *)(uintptr_t)(BOX_CODE + BOX_CODE_WRITABLE), BOX_PAGE,
	             PROT_READ | PROT_WRITE | PROT_EXEC) < 0 ||
	    mprotect((void *)(uintptr_t)(BOX_DATA + BOX_DATA_RW * BOX_PAGE),
	             (BOX_DATA_PAGES - BOX_DATA_RW) * BOX_PAGE, PROT_READ) < 0) {
		close(fd);
		return -errno;
	}
	close(fd);
	n.box.code = alias;
	for (unsigned i = 0; i < BOX_DATA_PAGES; i++)
		n.box.data[i] = alias + code + i * BOX_PAGE;
	return 0;
}

static int set_ldt(void)
{
	for (unsigned i = 0; i < BOX_SEGMENTS; i++) {
		const struct box_segment *s = &box_segment[i];
		struct user_desc d = {
			.entry_number = i,
			.base_addr = s->base,
			.limit = s->limit,
			.seg_32bit = !!(s->attr & SEG_DB),
			.contents = s->attr >> 2 & 3,
			.read_exec_only = !(s->attr & 2),
		};

		if (syscall(SYS_modify_ldt, 1, &d, sizeof(d)) != 0)
			return -errno;
	}
	return 0;
}

static int native_open(struct box *box)
{
	struct sigaction sa = {.sa_sigaction = on_signal,
	                       .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
	stack_t st = {.ss_size = STACK_SIZE};
	int rc;

	rc = map_box();
	if (rc < 0)
		return rc;
	if (!(getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE))
		return -EOPNOTSUPP;
	n.ldt = set_ldt() == 0;
	n.stack = xalloc(STACK_SIZE);
	st.ss_sp = n.stack;
	if (sigaltstack(&st, NULL) < 0)
		return -errno;
	for (unsigned i = 0; i < ARRAY_LEN(signals); i++)
		if (sigaction(signals[i], &sa, NULL) < 0)
			return -errno;
	*box = n.box;
	return 0;
}

bool native_has_ldt(void)
{
	return n.ldt;
}

static void native_close(void)
{
	const stack_t off = {.ss_flags = SS_DISABLE};

	for (unsigned i = 0; i < ARRAY_LEN(signals); i++)
		signal(signals[i], SIG_DFL);
	sigaltstack(&off, NULL);
	free(n.stack);
}

static void code_changed(unsigned offset, unsigned len)
{
	/* x86 keeps its instruction cache coherent, and a signal return serialises. */
}

__attribute__((target("fsgsbase"))) static void native_run(const struct cpu_case *c,
                                                           struct outcome *o)
{
	n.c = c;
	n.o = o;
	o->timeout = false;
	n.phase = ENTER;
	/* Flags that a signal's return leaves as they are. */
	__builtin_ia32_writeeflags_u64((__builtin_ia32_readeflags_u64() & ~KEPT) |
	                               (c->in.rflags & KEPT));
	asm volatile("mov %0, %%ds\n\tmov %1, %%es" : : "r"((uint32_t)c->ds), "r"((uint32_t)c->es));
	_writegsbase_u64(c->in.gs_base);
	asm volatile("int3" : : : "memory");
	o->out.gs_base = _readgsbase_u64();
	asm volatile("mov %0, %%ds\n\tmov %0, %%es\n\tmov %0, %%gs" : : "r"(0));
}

const struct executor executor_native = {
	.name = "native",
	.open = native_open,
	.close = native_close,
	.code_changed = code_changed,
	.run = native_run,
	.stop = stop,
};
