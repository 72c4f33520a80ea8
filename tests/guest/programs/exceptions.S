/* Exceptions, and what only ring 0 may do.  See faults.h. */
#include "cases.inc"

cases exceptions

case ud2, 64
	nop
	ud2

case divide, 64
	xor %ecx, %ecx
	xor %edx, %edx
	div %ecx

case int3, 64
	nop
	int3
	nop

case int1, 64
	nop
	.byte 0xf1
	nop

case int4, 64
	int $4
	nop

case int3_long, 64
	int $3
	nop

case int80, 64
	mov $199, %eax
	int $0x80
	jmp *%r15

case int0, 64
	int $0

case int20, 64
	int $0x20

case int81, 64
	int $0x81

case intff, 64
	int $0xff

case hlt, 64
	nop
	hlt

case cli, 64
	cli

case sti, 64
	sti

case in, 64
	in $0x60, %al

case mov_cr0, 64
	mov %cr0, %rax

case mov_cr1, 64
	.byte 0x0f, 0x20, 0xc8

case mov_dr7, 64
	mov %rax, %dr7

case lgdt, 64
	lgdt (%rsp)

case ltr, 64
	ltr %ax

case lldt, 64
	lldt %ax

case rdmsr, 64
	rdmsr

case invlpg, 64
	invlpg (%rsp)

case clts, 64
	clts

case sysret, 64
	sysretq

case sysexit, 64
	.byte 0x0f, 0x35

case swapgs, 64
	swapgs

case into, 32
	movb $0x7f, %al
	addb $1, %al
	into
	nop

case into_not, 32
	into
	ljmp $CS32, $resume32

case bound, 32
	movl $LOW_DATA, %esi
	movl $-5, (%esi)
	movl $10, 4(%esi)
	bound %eax, (%esi)

case read_none, 64
	mov $LOW_NONE + 8, %esi
	nop
	mov (%rsi), %rax

case read_hole, 64
	mov $LOW_DATA + 0x2000, %esi
	mov -1(%rsi), %eax

case write_hole, 64
	mov $LOW_DATA + 0x1ffd, %esi
	mov %eax, (%rsi)

case write_ro, 64
	mov $LOW_RO + 0x10, %esi
	incl (%rsi)

case write_none, 64
	mov $LOW_NONE + 8, %esi
	mov %rax, (%rsi)

case exec_nx, 64
	mov $LOW_DATA + 0x10, %esi
	jmp *%rsi

case exec_hole, 64
	mov $LOW_DATA + 0x3456, %esi
	jmp *%rsi

case read_kernel, 64
	mov $-4096, %rsi
	mov (%rsi), %rax

case non_canonical, 64
	mov $1, %esi
	shl $60, %rsi
	mov (%rsi), %rax

case non_canon_bp, 64
	mov $1, %ebp
	shl $60, %rbp
	mov (%rbp), %rax

case non_canon_push, 64
	mov $1, %esp
	shl $60, %rsp
	push %rax

case non_canon_jmp, 64
	mov $1, %esi
	shl $60, %rsi
	jmp *%rsi

case non_canon_ret, 64
	mov $1, %esi
	shl $60, %rsi
	push %rsi
	ret

case push_hole, 64
	mov $LOW_DATA + 8, %esp
	push %rax
	push %rbx

case sse_misaligned, 64
	mov $LOW_DATA + 1, %esi
	movaps (%rsi), %xmm0

case lock_reg, 64
	.byte 0xf0, 0x01, 0xc8

case too_long, 64
	.byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90

cases_end
