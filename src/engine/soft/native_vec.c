/*
 * The guest's vector and x87 registers while translated code runs.
 *
 * They are loaded into the host's when a block that needs them finds them not live, and stored on the way
 * out to C, which is the only other user of the host's.  The upper halves of vectors go in and
 * out by themselves: code that is SSE only leaves them alone.  The guest's MXCSR and x87 control word are the
 * host's meanwhile, so that an exception that the guest has not masked is a SIGFPE, at the same
 * instruction.  Of x87, the last instruction's pointers stay in c->xsave.
 */
#include "engine/soft/flat.h"
#include "engine/soft/fpu.h"
#include "engine/soft/native.h"
#include "host/host.h"

/* clang-format off */
#define EACH(op) op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) \
	op(8) op(9) op(10) op(11) op(12) op(13) op(14) op(15)
#define LOAD_LOW(n)     "movaps 16*" #n "+%c[low](%%r14), %%xmm" #n "\n\t"
#define LOAD_LOW_VEX(n) "vmovaps 16*" #n "+%c[low](%%r14), %%xmm" #n "\n\t"
#define LOAD_HIGH(n)    "vinsertf128 $1, 16*" #n "+%c[high](%%r14), %%ymm" #n ", %%ymm" #n "\n\t"
#define OR_HIGH(n)      "vpor 16*" #n "+%c[high](%%r14), %%xmm0, %%xmm0\n\t"
#define STORE_LOW(n)    "movaps %%xmm" #n ", 16*" #n "+%c[low](%%rdi)\n\t"
#define STORE_HIGH(n)   "vextractf128 $1, %%ymm" #n ", 16*" #n "+%c[high](%%rdi)\n\t"

#define AREA(name, field) \
	[name] "i"(offsetof(struct soft_cpu, xsave) + offsetof(struct fpu_area, field))
#define NATIVE(name, field) \
	[name] "i"(offsetof(struct soft_cpu, native) + offsetof(struct soft_native, field))
#define OPERANDS \
	AREA(low, xmm), AREA(high, high), AREA(mxcsr, mxcsr), NATIVE(self, self), \
	NATIVE(sse, vec_live[NATIVE_SSE]), NATIVE(avx, vec_live[NATIVE_AVX]), \
	NATIVE(x87, vec_live[NATIVE_X87]), NATIVE(host_mxcsr, host_mxcsr), \
	[area] "i"(offsetof(struct soft_cpu, xsave)), AREA(fop, fop), AREA(fip, fip), \
	AREA(fdp, fdp), AREA(bv, xstate_bv), [rdx] "i"(offsetof(struct soft_cpu, gpr[CPU_RDX])), \
	[gs] "i"(FLAT_STATE)

/* Loads go on at r15, touch no flags, and of the general registers rcx and r14. */
__attribute__((naked)) static void load_sse(void)
{
	asm volatile(
		"mov %%gs:%c[gs]+%c[self], %%r14\n\t"
		"mov %c[sse](%%r14), %%rcx\n\t"
		"jrcxz 1f\n\t"
		"jmp *%%r15\n"
		"1:\n\t"
		EACH(LOAD_LOW)
		"ldmxcsr %c[mxcsr](%%r14)\n\t"
		"movq $1, %c[sse](%%r14)\n\t"
		"jmp *%%r15\n\t"
		:
		: OPERANDS);
}

/*
 * Upper halves that are zero, as they are nearly always in SSE code, must be so in a way that the host
 * knows of: else each SSE instruction waits for what was in its destination.  So they are looked at.
 */
__attribute__((naked)) static void load_avx(void)
{
	asm volatile(
		"mov %%gs:%c[gs]+%c[self], %%r14\n\t"
		"mov %c[avx](%%r14), %%rcx\n\t"
		"jrcxz 0f\n\t"
		"jmp *%%r15\n"
		"0:\n\t"
		"mov %c[sse](%%r14), %%rcx\n\t"
		"jrcxz 1f\n\t"
		"vmovaps %%xmm0, %c[low](%%r14)\n\t"
		"jmp 2f\n"
		"1:\n\t"
		EACH(LOAD_LOW_VEX)
		"vldmxcsr %c[mxcsr](%%r14)\n\t"
		"movq $1, %c[sse](%%r14)\n"
		"2:\n\t"
		"vpxor %%xmm0, %%xmm0, %%xmm0\n\t"
		EACH(OR_HIGH)
		"movq $1, %c[avx](%%r14)\n\t"
		"vmovq %%xmm0, %%rcx\n\t"
		"jrcxz 3f\n\t"
		"jmp 5f\n"
		"3:\n\t"
		"vpextrq $1, %%xmm0, %%rcx\n\t"
		"jrcxz 4f\n\t"
		"jmp 5f\n"
		"4:\n\t"
		"vmovaps %c[low](%%r14), %%xmm0\n\t"
		"jmp *%%r15\n"
		"5:\n\t"
		"vmovaps %c[low](%%r14), %%xmm0\n\t"
		EACH(LOAD_HIGH)
		"jmp *%%r15\n\t"
		:
		: OPERANDS);
}

__attribute__((naked)) static void load_x87(void)
{
	asm volatile(
		"mov %%gs:%c[gs]+%c[self], %%r14\n\t"
		"mov %c[x87](%%r14), %%rcx\n\t"
		"jrcxz 1f\n\t"
		"jmp *%%r15\n"
		"1:\n\t"
		"mov %%rax, %%rcx\n\t"
		"mov %%rdx, %c[rdx](%%r14)\n\t"
		"mov %[components], %%eax\n\t"
		"mov $0, %%edx\n\t"
		"xrstor64 %c[area](%%r14)\n\t"
		"mov %%rcx, %%rax\n\t"
		"mov %c[rdx](%%r14), %%rdx\n\t"
		"movq $1, %c[x87](%%r14)\n\t"
		"jmp *%%r15\n\t"
		:
		: OPERANDS, [components] "i"(XCR0_X87));
}

__attribute__((naked)) void native_vec_store(void)
{
	asm volatile(
		"cmpq $0, %c[sse](%%rdi)\n\t"
		"je 1f\n\t"
		"stmxcsr %c[mxcsr](%%rdi)\n\t"
		EACH(STORE_LOW)
		"ldmxcsr %c[host_mxcsr](%%rdi)\n\t"
		"movq $0, %c[sse](%%rdi)\n\t"
		"cmpq $0, %c[avx](%%rdi)\n\t"
		"je 1f\n\t"
		EACH(STORE_HIGH)
		"vzeroupper\n\t"
		"movq $0, %c[avx](%%rdi)\n"
		"1:\n\t"
		"cmpq $0, %c[x87](%%rdi)\n\t"
		"je 2f\n\t"
		"mov %c[fop](%%rdi), %%cx\n\t"
		"mov %c[fip](%%rdi), %%r8\n\t"
		"mov %c[fdp](%%rdi), %%r9\n\t"
		"mov %[components], %%eax\n\t"
		"xor %%edx, %%edx\n\t"
		"xsave64 %c[area](%%rdi)\n\t"
		"mov %%cx, %c[fop](%%rdi)\n\t"
		"mov %%r8, %c[fip](%%rdi)\n\t"
		"mov %%r9, %c[fdp](%%rdi)\n\t"
		"movq %[all], %c[bv](%%rdi)\n\t"
		"fninit\n\t"
		"movq $0, %c[x87](%%rdi)\n"
		"2:\n\t"
		"ret\n\t"
		:
		: OPERANDS, [components] "i"(XCR0_X87), [all] "i"(XCR0_ALL));
}
/* clang-format on */

void native_vec_open(struct soft_cpu *c)
{
	struct soft_native *n = &c->native;

	memset(n->vec_live, 0, sizeof(n->vec_live));
	n->vec_load[NATIVE_SSE] = load_sse;
	n->vec_load[NATIVE_AVX] = load_avx;
	n->vec_load[NATIVE_X87] = load_x87;
	n->host_mxcsr = MXCSR_INIT;
}

void native_vec_permit(struct soft_cpu *c)
{
	bool any = !(c->cr0 & (CR0_EM | CR0_TS));
	bool sse = any && (c->cr4 & CR4_OSFXSR);
	const struct host_cpu *h = host_cpu();

	c->native.vec_off[NATIVE_SSE] = !sse;
	c->native.vec_off[NATIVE_AVX] = !sse || !fpu_avx_on(c) || !h->avx;
	c->native.vec_off[NATIVE_X87] = !any || !(h->xcr0 & XCR0_X87);
}
