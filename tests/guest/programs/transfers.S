/* Far jumps, calls and returns, IRET, system calls, single step.  See faults.h. */
#include "cases.inc"

cases transfers

case far_32_64, 32
	ljmp $CS64, $AT(far_32_64, 1f)
	.code64
1:	mov %cs, %ecx
	movabs $0x123456789, %rdx
	jmp *%r15

case far_call, 32
	lcall $LDT_CODE, $AT(far_call, 1f)
	movw %cs, %cx
	ljmp $CS32, $resume32
1:	movw %cs, %dx
	popl %eax
	popl %ebx
	pushl %ebx
	pushl %eax
	lretl

case far_call_imm, 32
	movl %esp, %ebp
	pushl $1
	pushl $2
	lcall $LDT_CODE, $AT(far_call_imm, 1f)
	subl %esp, %ebp
	movl %ebp, %edx
	ljmp $CS32, $resume32
1:	lret $8

case far_call_16, 32, ldt16=1
	lcall $LDT_CODE16, $OFFSET(far_call_16, 1f)
	movw %cs, %cx
	ljmp $CS32, $resume32
	.code16
1:	movw %cs, %dx
	movw $OFFSET(far_call_16, 1f), %ax
	jmp *%ax
	nop
1:	lretl
	.code32

case far_call_w, 32, ldt16=1
	lcallw $LDT_CODE16, $OFFSET(far_call_w, 1f)
	movw %cs, %cx
	ljmp $CS32, $resume32
	.code16
1:	movw %cs, %dx
	popw %ax
	popw %bx
	ljmpl $CS32, $resume32
	.code32

case far_absent, 32
	ljmp $LDT_NO_CODE, $LOW_CODE

case far_data, 32
	ljmp $LDT_DATA, $LOW_CODE

case far_null, 32
	ljmp $0, $LOW_CODE

case far_kernel, 32
	ljmp $0x10, $LOW_CODE

case far_limit, 32, ldt16=1
	ljmp $LDT_CODE16, $0x2000

case far_run_off, 32, ldt16=1
	ljmp $LDT_CODE16, $0xffe

case far_mem64, 64
	mov $LOW_DATA, %esi
	movl $AT(far_mem64, 1f), (%rsi)
	movl $CS64, 4(%rsi)
	ljmp *(%rsi)
	nop
	nop
1:	mov %cs, %ecx
	jmp *%r15

case far_mem_call64, 64
	mov %rsp, %rbp
	mov $LOW_DATA, %esi
	movl $AT(far_mem_call64, 1f), (%rsi)
	movl $CS64, 4(%rsi)
	lcall *(%rsi)
	mov %cs, %ecx
	jmp *%r15
1:	mov (%rsp), %rbx
	sub %rsp, %rbp
	mov %rbp, %rdx
	lretl

case far_mem_bad, 64
	mov $LOW_DATA + 0x1ffc, %esi
	ljmp *(%rsi)

case lret_64, 64
	push $CS64
	push $AT(lret_64, 1f)
	nop
	nop
	lretq
1:	mov %cs, %ecx
	jmp *%r15

case lret_64_32, 64
	movl $CS32, -4(%rsp)
	movl $AT(lret_64_32, 1f), -8(%rsp)
	sub $8, %rsp
	lretl
	.code32
1:	movw %cs, %cx
	ljmp $CS32, $resume32

case lret_bad, 64
	push $LDT_ABSENT
	push $0x11
	lretq

case lret_rpl0, 64
	push $0x30
	push $0x11
	lretq

case lret_absent, 64
	push $LDT_NO_CODE
	push $0x11
	lretq

case iretq_bad_cs, 64
	push $SS
	push %rsp
	pushf
	push $0x1003
	push $0
	iretq

case iretq_bad_ss, 64
	push $LDT_ABSENT
	push %rsp
	pushf
	push $CS64
	push $0
	iretq

case iretq_ro_ss, 64
	push $LDT_RO
	push %rsp
	pushf
	push $CS64
	push $0
	iretq

case iretq_null_ss, 64
	push $0
	push %rsp
	pushf
	push $CS64
	push $0
	iretq

case iretq_nt, 64
	pushf
	orl $0x4000, (%rsp)
	popf
	iretq

case iretq_non_canon, 64
	mov $1, %esi
	shl $60, %rsi
	push $SS
	push %rsp
	pushf
	push $CS64
	push %rsi
	iretq

case iretq_flags, 64
	mov %rsp, %rdi
	mov $SS, %eax
	push %rax
	push %rdi
	push $0x3cd7
	push $CS64
	push $AT(iretq_flags, 1f)
	iretq
1:	pushf
	pop %rdx
	cld
	jmp *%r15

case iretq_32, 64
	mov %rsp, %rdi
	push $SS
	push %rdi
	push $0x2
	push $CS32
	push $AT(iretq_32, 1f)
	iretq
	.code32
1:	movw %cs, %cx
	pushfl
	popl %edx
	ljmp $CS32, $resume32

case iretq_16_stack, 64, ldt16=1
	push $LDT_STACK16
	push $0x7ff0
	push $0x2
	push $CS32
	push $AT(iretq_16_stack, 1f)
	iretq
	.code32
1:	movl %esp, %ecx
	pushl %ebx
	popl %edx
	ud2

case iret_32, 32
	pushl $0x3cd7
	pushl %cs
	pushl $AT(iret_32, 1f)
	iret
	nop
	nop
	nop
1:	pushfl
	popl %edx
	cld
	ljmp $CS32, $resume32

case iret_16, 32, ldt16=1
	pushw $0xcd7
	pushw $LDT_CODE16
	pushw $OFFSET(iret_16, 1f)
	iretw
	nop
	.code16
1:	movw %cs, %cx
	pushfl
	popl %edx
	cld
	ljmpl $CS32, $resume32
	.code32

case popf_64, 64
	push $0x7ecd7
	popf
	pushf
	pop %rdx
	push $2
	popf
	pushf
	pop %rbx
	jmp *%r15

case popf_16, 64
	push $0x24cd7
	popfw
	pushf
	pop %rdx
	push $2
	popf
	jmp *%r15

case popf_tf, 64
	push $0x102
	popf
	nop
	nop

case syscall_regs, 64
	mov $39, %eax
	syscall
	xor %eax, %eax
	mov %r11, %rdx
	sub $7, %rcx
	jmp *%r15

case int80_32, 32
	movl $199, %eax
	int $0x80
	ljmp $CS32, $resume32

case sysenter_64, 64
	sysenter

case callgate_none, 32
	lcall $0xff, $0

case step, 64, steps=6
	pushf
	orl $0x100, (%rsp)
	popf
	nop
	nop
	nop
	nop
	nop
	nop
	nop
	jmp *%r15

case step_syscall, 64, steps=5
	mov $39, %eax
	pushf
	orl $0x100, (%rsp)
	popf
	nop
	syscall
	mov $0, %eax
	nop
	nop
	nop
	jmp *%r15

case step_int80, 64, steps=5
	mov $20, %eax
	pushf
	orl $0x100, (%rsp)
	popf
	nop
	int $0x80
	mov $0, %eax
	nop
	nop
	nop
	jmp *%r15

case step_ss, 64, steps=4
	mov %ss, %ecx
	pushf
	orl $0x100, (%rsp)
	popf
	mov %ecx, %ss
	nop
	nop
	nop
	nop
	nop
	jmp *%r15

case step_far, 32, steps=4
	pushfl
	orl $0x100, (%esp)
	popfl
	ljmp $LDT_CODE, $AT(step_far, 1f)
	nop
	nop
1:	nop
	nop
	nop
	nop
	nop
	nop
	nop
	ljmp $CS32, $resume32

case step_rep, 64, steps=8
	mov $LOW_DATA, %edi
	mov $4, %ecx
	xor %eax, %eax
	pushf
	orl $0x100, (%rsp)
	popf
	rep stosb
	nop
	nop
	nop
	nop
	jmp *%r15

cases_end
