/*
 * What two processors do at the same time (test_smp.c), 64-bit, privilege 0, linear addresses are physical
 * ones.  rdi: number of the processor, rsi: rounds.  Each piece ends with HLT.
 */
#define DATA 0x20000	/* counters, a line each */
#define EDGE 0x21ffe	/* a dword over a page's end */
#define CODE 0x30000	/* a function that is rewritten, and a counter in the same page */

	.section .rodata
	.globl smp_code, smp_code_end, smp_count, smp_order, smp_message, smp_modify, smp_function
smp_code:

smp_count:
	mov $DATA, %ebx
	mov $EDGE, %ebp
	mov $CODE + 0x800, %r8d
1:	lock incq (%rbx)
	mov $1, %eax
	lock xadd %rax, 64(%rbx)
2:	mov 128(%rbx), %rax	/* compare and exchange */
	lea 1(%rax), %rcx
	lock cmpxchg %rcx, 128(%rbx)
	jne 2b
3:	mov $1, %eax		/* a lock around what is not atomic */
	xchg %eax, 192(%rbx)
	test %eax, %eax
	je 4f
	pause
	jmp 3b
4:	incq 256(%rbx)
	movl $0, 192(%rbx)
	lock incl (%rbp)	/* two pages */
	lock incl 61(%rbx)	/* two lines, with a byte of the second counter */
	lock decl 61(%rbx)
	lock incq (%r8)		/* in a page with code */
	lock btsq $0, 320(%rbx)
	lock incb 384(%rbx)
	lock negq 448(%rbx)
	dec %rsi
	jne 1b
	hlt

/* Store, fence, load: not both may read the old value.  [rbx]: a round for both, then x, y, results. */
smp_order:
	mov $DATA, %ebx
	mov %rdi, %rcx
	shl $6, %rcx		/* mine: 64 or 128 */
	lea 64(%rbx,%rcx), %r9
	xor $64, %rcx
	lea 64(%rbx,%rcx), %r10
	mov $1, %edx		/* the round */
1:	lock incq (%rbx)	/* wait for the other */
2:	mov (%rbx), %rax
	lea (%rdx,%rdx), %rcx
	cmp %rcx, %rax
	jae 3f
	pause
	jmp 2b
3:	mov %rdx, (%r9)
	mfence
	mov (%r10), %rax
	cmp %rdx, %rax
	setb %al		/* the other's store isn't seen */
	movzbl %al, %eax
	lock xadd %rax, 256(%rbx)
	lock incq 320(%rbx)	/* both are done */
4:	mov 320(%rbx), %rax
	cmp %rcx, %rax
	jae 5f
	pause
	jmp 4b
5:	test %rdi, %rdi
	jne 7f
	xor %eax, %eax		/* processor 0 counts rounds in which both saw nothing */
	xchg %rax, 256(%rbx)
	cmp $2, %rax
	jne 6f
	incq 384(%rbx)
6:	mov %rdx, 448(%rbx)
7:	mov 448(%rbx), %rax
	cmp %rdx, %rax
	jae 8f
	pause
	jmp 7b
8:	inc %rdx
	cmp %rsi, %rdx
	jbe 1b
	hlt

/* Stores are seen in their order, without fences: 0 writes data, then flag; 1 reads flag, then data. */
smp_message:
	mov $DATA, %ebx
	xor %edx, %edx
	test %rdi, %rdi
	jne 2f
1:	inc %rdx
	mov %rdx, 64(%rbx)
	mov %rdx, 128(%rbx)
	cmp %rsi, %rdx
	jb 1b
	hlt
2:	mov 128(%rbx), %rax
	mov 64(%rbx), %rcx
	cmp %rax, %rcx
	jae 3f
	incq 384(%rbx)		/* data older than its flag */
3:	cmp %rsi, %rax
	jb 2b
	hlt

/*
 * 0 rewrites the function and says so; 1 serializes, calls it, and answers with what it returned.
 */
smp_modify:
	mov $DATA, %ebx
	mov $CODE, %ebp
	xor %r12d, %r12d
	test %rdi, %rdi
	jne 3f
1:	inc %r12
	mov %r12d, 1(%rbp)	/* of MOV EAX, imm32 */
	mov %r12, 64(%rbx)
2:	pause
	cmp %r12, 128(%rbx)
	jne 2b
	cmp %rsi, %r12
	jb 1b
	hlt
3:	inc %r12
4:	pause
	cmp %r12, 64(%rbx)
	jb 4b
	push %rbx
	xor %eax, %eax
	cpuid
	pop %rbx
	call *%rbp
	cmp %eax, %r12d
	je 5f
	incq 384(%rbx)		/* an old version */
5:	mov %r12, 128(%rbx)
	cmp %rsi, %r12
	jb 3b
	hlt

smp_function:	/* copied to CODE */
	mov $0, %eax
	ret
smp_code_end:

	.section .note.GNU-stack, "", @progbits
