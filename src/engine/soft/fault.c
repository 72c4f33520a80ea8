/*
 * Host faults in translated code: SIGSEGV (no entry in the flat table, no write access, not canonical),
 * SIGBUS (the same by way of RSP or RBP: #SS), SIGFPE (division).  The handler runs on a stack of its
 * own, since the host's stack pointer is the guest's; so must any other on this thread.  It knows the
 * instruction by its address, and has it done again or handed to the interpreter.  Any other fault is a
 * defect of ours and goes its usual way.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "engine/soft/code.h"
#include "engine/soft/asm.h"
#include "engine/soft/flat.h"
#include "engine/soft/native.h"

#define STACK_SIZE (64 * KIB)
#define SLOW_AFTER \
	8 /* times that a site was a device or code, before it is left to the interpreter */

static _Thread_local struct soft_cpu *current;
static struct sigaction old_action[3];
static const int signals[3] = {SIGSEGV, SIGBUS, SIGFPE};

static struct native_site *site_at_or_after(const struct native *n, uint32_t pc)
{
	size_t lo = 0, hi = n->sites;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (n->site[mid].pc < pc)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < n->sites ? &n->site[lo] : NULL;
}

/* The guest address in the host register that the site names. */
static gva_t address(const ucontext_t *u, unsigned reg)
{
	static const int where[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
	                              REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
	                              REG_R12, REG_R13, REG_R14, REG_R15};

	return (gva_t)u->uc_mcontext.gregs[where[reg & 15]];
}

/* It is translated anew, with what was learnt. */
static void learn(struct soft_cpu *c, struct native_site *s, uint64_t *bits)
{
	*bits |= 1ull << s->op;
	if (s->block->native != NULL)
		native_discard(c, s->block);
}

/* Where to go on: offset in the code. */
static uint32_t resolve(struct soft_cpu *c, struct native_site *s, const siginfo_t *info,
                        const ucontext_t *u)
{
	struct native *n = c->native.code;

	n->faults++;
	if (info->si_signo == SIGFPE || s->ea == HOST_NONE || (address(u, s->ea) & s->align))
		return s->stub;
	switch (flat_fill(c, address(u, s->ea), s->write)) {
	case FLAT_FILLED:
		return s->restart;
	case FLAT_SLOW:
		n->slow++;
		if (++s->slow == SLOW_AFTER)
			learn(c, s, &s->block->slow);
		break;
	case FLAT_GUEST:
		break;
	}
	return s->stub;
}

static bool handle(struct soft_cpu *c, int sig, const siginfo_t *info, ucontext_t *u)
{
	struct native *n = c->native.code;
	uint8_t *pc = (uint8_t *)u->uc_mcontext.gregs[REG_RIP];
	enum flat_part part = FLAT_PART_NONE;
	struct native_site *s;

	if (pc < n->rx || pc >= n->rx + NATIVE_CODE)
		return false;
	if (sig == SIGSEGV)
		part = flat_open_part(c, info->si_addr);
	if (part == FLAT_PART_OPENED)
		return true;
	s = site_at_or_after(n, (uint32_t)(pc - n->rx));
	if (s == NULL)
		return false;
	if (part == FLAT_PART_REFUSED && s->restart <= pc - n->rx) {
		u->uc_mcontext.gregs[REG_RIP] = (greg_t)(n->rx + s->stub);
		return true;
	}
	if (s->pc != pc - n->rx)
		return false;
	u->uc_mcontext.gregs[REG_RIP] = (greg_t)(n->rx + resolve(c, s, info, u));
	return true;
}

/* Somebody else's, or a defect: as if we were not here. */
static void pass_on(int sig, siginfo_t *info, void *context)
{
	for (unsigned i = 0; i < ARRAY_LEN(signals); i++) {
		if (signals[i] != sig)
			continue;
		if (old_action[i].sa_flags & SA_SIGINFO)
			old_action[i].sa_sigaction(sig, info, context);
		else
			sigaction(sig, &old_action[i], NULL);
	}
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	if (current == NULL || !handle(current, sig, info, context))
		pass_on(sig, info, context);
}

/* Somebody may have taken the signals since the last time: test frameworks do. */
static void install(void)
{
	static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
	struct sigaction a = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK}, now;

	sigfillset(&a.sa_mask);
	pthread_mutex_lock(&one);
	for (unsigned i = 0; i < ARRAY_LEN(signals); i++) {
		if (sigaction(signals[i], NULL, &now) < 0 || now.sa_sigaction == on_fault)
			continue;
		old_action[i] = now;
		sigaction(signals[i], &a, NULL);
	}
	pthread_mutex_unlock(&one);
}

/* The stack goes with the thread. */
static void free_stack(void *p)
{
	stack_t off = {.ss_flags = SS_DISABLE};

	sigaltstack(&off, NULL);
	munmap(p, STACK_SIZE);
}

static pthread_key_t stack_key;

static void prepare(void)
{
	pthread_key_create(&stack_key, free_stack);
}

bool native_catch_faults(struct soft_cpu *c)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	stack_t s = {.ss_size = STACK_SIZE}, now;

	pthread_once(&once, prepare);
	install();
	current = c;
	if (sigaltstack(NULL, &now) == 0 && !(now.ss_flags & SS_DISABLE))
		return true;
	s.ss_sp =
		mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s.ss_sp == MAP_FAILED || sigaltstack(&s, NULL) < 0)
		return false;
	pthread_setspecific(stack_key, s.ss_sp);
	return true;
}
