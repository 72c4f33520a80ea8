/*
 * Segments, far transfers and faults as a Linux program sees them: runs the cases of faults.h and
 * prints one line for each.  faults.expected is what a real processor (Zen 4) prints; where it's none of
 * the case's business, in the case's own terms: addresses as offsets.
 *
 * Each case is copied to the same place, so this also is a test of code that changes.
 */
#include "faults.h"

#include <asm/ldt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define FLAG_TF 0x100
#define SHOWN   0x10dd5u /* the program's flags, and RF */
#define STEPS   16

enum { RAX, RBX, RCX, RDX };

/* How a case ended. */
static struct {
	bool signalled;
	int sig, code;
	uint64_t trap, err, cr2, cs, rip, ss, rsp, flags;
	unsigned steps;
	uint64_t step[STEPS];
} seen;
static unsigned steps_left;
static bool has_ldt16 = true;

/* enter()'s and resume's */
uint64_t result[4], saved_rsp;
extern const char resume_signal[];
void enter(uint64_t code, uint64_t stack, uint32_t bits);

__asm__(".text\n"
        "enter:\n"
        "	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "	mov %rsp, saved_rsp\n"
        "	mov $resume, %r15\n"
        "	mov %rsi, %rsp\n"
        "	mov %rdi, %r14\n"
        "	mov $0x1111, %eax; mov $0x2222, %ebx; mov $0x3333, %ecx\n"
        "	xor %r8d, %r8d; xor %r9d, %r9d; xor %r10d, %r10d; xor %r11d, %r11d\n"
        "	xor %ebp, %ebp; xor %esi, %esi; xor %edi, %edi\n"
        "	cmp $32, %edx\n"
        "	mov $0x4444, %edx\n"
        "	je 1f\n"
        "	cmp %eax, %eax\n"
        "	jmp *%r14\n"
        "1:	mov $0x2b, %r8d; mov %r8d, %ds; mov %r8d, %es\n"
        "	mov %r14d, -8(%rsp); movl $0x23, -4(%rsp)\n"
        "	cmp %eax, %eax\n"
        "	ljmp *-8(%rsp)\n"
        "	.globl resume, resume32\n"
        "	.code32\n"
        "resume32: ljmp $0x33, $resume\n"
        "	.code64\n"
        "resume:\n"
        "	mov %rax, result; mov %rbx, result + 8; mov %rcx, result + 16\n"
        "	mov %rdx, result + 24\n"
        "resume_signal:\n"
        "	mov saved_rsp, %rsp\n"
        "	push $2; popf\n"
        "	xor %eax, %eax; mov %eax, %ds; mov %eax, %es\n"
        "	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "	ret\n");

static bool stepped(greg_t *r)
{
	if (steps_left == 0)
		return false;
	seen.step[seen.steps++] = (uint64_t)r[REG_RIP];
	if (--steps_left == 0)
		r[REG_EFL] &= ~FLAG_TF;
	return true;
}

static void handler(int sig, siginfo_t *info, void *context)
{
	greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
	uint64_t selectors = (uint64_t)r[REG_CSGSFS];

	if (sig == SIGTRAP && stepped(r))
		return;
	seen.signalled = true;
	seen.sig = sig;
	seen.code = info->si_code;
	seen.trap = (uint64_t)r[REG_TRAPNO];
	seen.err = (uint64_t)r[REG_ERR];
	seen.cr2 = seen.trap == 14 ? (uint64_t)r[REG_CR2] : 0;
	seen.rip = (uint64_t)r[REG_RIP];
	seen.rsp = (uint64_t)r[REG_RSP];
	seen.flags = (uint64_t)r[REG_EFL] & SHOWN;
	seen.cs = selectors & 0xffff;
	seen.ss = selectors >> 48;
	result[RAX] = (uint64_t)r[REG_RAX];
	result[RBX] = (uint64_t)r[REG_RBX];
	result[RCX] = (uint64_t)r[REG_RCX];
	result[RDX] = (uint64_t)r[REG_RDX];
	r[REG_RIP] = (greg_t)resume_signal;
	r[REG_EFL] = 0x202;
	r[REG_RSP] = (greg_t)saved_rsp;
	r[REG_CSGSFS] = (greg_t)((uint64_t)SS << 48 | (selectors & 0xffffffff0000) | CS64);
}

/* An address in the case's own terms. */
static void print_place(const char *what, uint64_t a)
{
	if (a >= LOW_CODE && a < LOW_CODE + 0x1000)
		printf("%scode+%#llx", what, (unsigned long long)(a - LOW_CODE));
	else if (a > LOW_STACK - 0x8000 && a <= LOW_STACK)
		printf("%sstack-%#llx", what, (unsigned long long)(LOW_STACK - a));
	else
		printf("%s%#llx", what, (unsigned long long)a);
}

static void print_signal(void)
{
	printf(" signal %d/%d trap %llu", seen.sig, seen.code, (unsigned long long)seen.trap);
	printf(" err %#llx", (unsigned long long)seen.err);
	print_place(" cr2 ", seen.cr2);
	printf(" at %#llx:", (unsigned long long)seen.cs);
	print_place("", seen.rip);
	printf(" sp %#llx:", (unsigned long long)seen.ss);
	print_place("", seen.rsp);
	printf(" flags %#llx", (unsigned long long)seen.flags);
}

static void run(const struct a_case *c)
{
	memcpy((void *)LOW_CODE, c->code, (size_t)(c[1].code - c->code));
	memset(&seen, 0, sizeof(seen));
	memset(result, 0, sizeof(result));
	steps_left = c->steps;
	enter(LOW_CODE, LOW_STACK - 0x100, c->bits);
	steps_left = 0;
	printf("%s:", c->name);
	if (seen.signalled)
		print_signal();
	print_place(" ax ", result[RAX]);
	print_place(" bx ", result[RBX]);
	print_place(" cx ", result[RCX]);
	print_place(" dx ", result[RDX]);
	for (unsigned i = 0; i < seen.steps; i++)
		print_place(" ", seen.step[i]);
	printf("\n");
	fflush(stdout);
}

static void run_all(const struct a_case *c)
{
	for (; c->name != NULL; c++)
		if (!c->ldt16 || has_ldt16)
			run(c);
}

/* flags as in struct user_desc, as far as they matter here */
enum { BITS32 = 1, READ_ONLY = 2, PAGES = 4, ABSENT = 8 };

static bool ldt(unsigned sel, uint32_t base, uint32_t limit, unsigned contents, unsigned flags)
{
	struct user_desc d = {
		.entry_number = sel >> 3,
		.base_addr = base,
		.limit = flags & PAGES ? limit >> 12 : limit,
		.seg_32bit = !!(flags & BITS32),
		.contents = contents,
		.read_exec_only = !!(flags & READ_ONLY),
		.limit_in_pages = !!(flags & PAGES),
		.seg_not_present = !!(flags & ABSENT),
		.useable = 1,
	};

	return syscall(SYS_modify_ldt, 1, &d, sizeof(d)) == 0;
}

static void make_ldt(void)
{
	const unsigned data = MODIFY_LDT_CONTENTS_DATA, down = MODIFY_LDT_CONTENTS_STACK;
	const unsigned code = MODIFY_LDT_CONTENTS_CODE;

	if (!ldt(LDT_DATA, LOW_DATA, 0xfff, data, BITS32)) {
		puts("this kernel has no modify_ldt");
		exit(77);
	}
	ldt(LDT_ABSENT, LOW_DATA, 0xfff, data, BITS32 | ABSENT);
	ldt(LDT_CODE, 0, ~0u, code, BITS32 | PAGES);
	ldt(LDT_RO, LOW_DATA, 0xfff, data, BITS32 | READ_ONLY);
	ldt(LDT_DOWN, LOW_DATA, 0xfff, down, BITS32);
	ldt(LDT_EXEC, 0, ~0u, code, BITS32 | PAGES | READ_ONLY);
	ldt(LDT_NO_CODE, 0, ~0u, code, BITS32 | PAGES | ABSENT);
	has_ldt16 = ldt(LDT_CODE16, LOW_CODE, 0xfff, code, 0) &&
	            ldt(LDT_STACK16, LOW_STACK - 0x8000, 0x7fff, data, 0) &&
	            ldt(LDT_DOWN16, LOW_DATA, 0x1fff, down, 0);
}

static void map(uintptr_t at, size_t size, int prot)
{
	if (mmap((void *)at, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
	    MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
}

int main(void)
{
	static const int sigs[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
	static uint8_t signal_stack[65536];
	stack_t ss = {.ss_sp = signal_stack, .ss_size = sizeof(signal_stack)};
	struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	map(LOW_CODE, 0x1000, PROT_READ | PROT_WRITE | PROT_EXEC);
	map(LOW_DATA, 0x2000, PROT_READ | PROT_WRITE);
	map(LOW_STACK - 0x8000, 0x8000, PROT_READ | PROT_WRITE);
	map(LOW_RO, 0x1000, PROT_READ);
	map(LOW_NONE, 0x1000, PROT_NONE);
	for (unsigned i = 0; i < 0x2000; i++)
		((uint8_t *)LOW_DATA)[i] = (uint8_t)(i * 7);
	make_ldt();
	sigaltstack(&ss, NULL);
	for (unsigned i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
		sigaction(sigs[i], &sa, NULL);
	run_all(exceptions);
	run_all(segments);
	run_all(transfers);
	puts("end");
	return 0;
}
