/* Segment registers, limits, and what instructions tell of descriptors.  See faults.h. */
#include "cases.inc"

cases segments

case ds_bad, 64
	mov $0xfff8, %eax
	mov %eax, %ds

case ds_code0, 64
	mov $0x10, %eax
	mov %eax, %ds

case ds_null3, 64
	mov $3, %eax
	mov %eax, %ds
	mov %ds, %ecx
	xor %eax, %eax
	mov %eax, %ds
	jmp *%r15

case ds_absent, 64
	mov $LDT_ABSENT, %eax
	mov %eax, %ds

case ss_absent, 64
	mov $LDT_ABSENT, %eax
	mov %eax, %ss

case ss_ro, 64
	mov $LDT_RO, %eax
	mov %eax, %ss

case ss_null, 64
	xor %eax, %eax
	mov %eax, %ss

case ss_rpl0, 64
	mov $0x28, %eax
	mov %eax, %ss

case gs_exec_only, 64
	mov $LDT_EXEC, %eax
	mov %eax, %gs

case gs_data, 64
	mov $LDT_DATA, %eax
	mov %eax, %gs
	mov %gs:8, %ebx
	mov %gs:0x1ffc, %edx
	xor %eax, %eax
	mov %eax, %gs
	jmp *%r15

case gs_conforming, 64
	mov $0x47, %eax
	mov %eax, %gs
	mov %gs, %ecx
	xor %eax, %eax
	mov %eax, %gs
	jmp *%r15

case gs_limit_ok, 32
	movw $LDT_DATA, %ax
	movw %ax, %gs
	movl %gs:0xffc, %ebx
	xorl %eax, %eax
	movw %ax, %gs
	ljmp $CS32, $resume32

case gs_limit, 32
	movw $LDT_DATA, %ax
	movw %ax, %gs
	movl %gs:0xffd, %ebx

case gs_down_ok, 32
	movw $LDT_DOWN, %ax
	movw %ax, %gs
	movl %gs:0x1000, %ebx
	xorl %eax, %eax
	movw %ax, %gs
	ljmp $CS32, $resume32

case gs_down, 32
	movw $LDT_DOWN, %ax
	movw %ax, %gs
	movl %gs:0xfff, %ebx

case gs_down16, 32, ldt16=1
	movw $LDT_DOWN16, %ax
	movw %ax, %gs
	movl %gs:0x10000, %ebx

case gs_ro_write, 32
	movw $LDT_RO, %ax
	movw %ax, %gs
	movl %gs:8, %ebx
	movl %ebx, %gs:8

case gs_null_read, 32
	xorl %eax, %eax
	movw %ax, %gs
	movl %gs:8, %ebx

case cs_write, 32
	movl %eax, %cs:LOW_DATA

case cs_read, 32
	movl %cs:LOW_DATA + 4, %edx
	ljmp $CS32, $resume32

case exec_only_read, 32
	ljmp $LDT_EXEC, $AT(exec_only_read, 1f)
1:	movl %cs:LOW_DATA + 4, %edx

case ss_16, 32, ldt16=1
	movl %esp, %esi
	movw %ss, %di
	movw $LDT_STACK16, %ax
	movw %ax, %ss
	movl $0x7ff0, %esp
	pushl %ebx
	popl %edx
	movl %esp, %ecx
	movw %di, %ss
	movl %esi, %esp
	ljmp $CS32, $resume32

case ss_16_wrap, 32, ldt16=1
	movw $LDT_STACK16, %ax
	movw %ax, %ss
	movl $0x7ffe, %esp
	popl %edx

case ss_16_signal, 32, ldt16=1
	movw $LDT_STACK16, %ax
	movw %ax, %ss
	movl $0x12347ff0, %esp
	ud2

case lss, 32, ldt16=1
	movl $LOW_DATA, %esi
	movl $0x7ff0, (%esi)
	movl $LDT_STACK16, 4(%esi)
	movl %esp, %edi
	lss (%esi), %esp
	movl %esp, %ecx
	pushl %edx
	popl %ebx
	movl $SS, 4(%esi)
	movl %edi, (%esi)
	lss (%esi), %esp
	ljmp $CS32, $resume32

case lar, 64
	mov $LDT_DATA, %eax
	lar %ax, %ecx
	lsl %ax, %edx
	setz %bl
	jmp *%r15

case lar_code, 64
	mov $LDT_EXEC, %eax
	lar %ax, %ecx
	lsl %ax, %edx
	setz %bl
	jmp *%r15

case lar_absent, 64
	mov $LDT_ABSENT, %eax
	lar %ax, %ecx
	lsl %ax, %edx
	setz %bl
	jmp *%r15

case lar_bad, 64
	mov $0x7fff, %eax
	lar %ax, %ecx
	setz %bl
	lsl %ax, %edx
	setz %bh
	jmp *%r15

case verr, 64
	mov $LDT_EXEC, %eax
	verr %ax
	setz %bl
	verw %ax
	setz %bh
	mov $LDT_DATA, %eax
	verr %ax
	setz %cl
	verw %ax
	setz %ch
	jmp *%r15

case arpl, 32
	movw $0x10, %ax
	movw $3, %bx
	arpl %bx, %ax
	setz %cl
	arpl %dx, %ax
	setz %ch
	ljmp $CS32, $resume32

case push_seg, 32
	pushl $-1
	popl %eax
	pushl %ss
	popl %edx
	pushw %ss
	popw %bx
	pushl %cs
	popl %ecx
	ljmp $CS32, $resume32

case push_seg64, 64
	push $-1
	pop %rax
	mov $LDT_DATA, %eax
	mov %eax, %gs
	push %gs
	pop %rdx
	xor %eax, %eax
	mov %eax, %gs
	mov %ss, %rcx
	jmp *%r15

case pop_ss, 32
	pushl $LDT_ABSENT
	popl %ss

case pop_ds_bad, 32
	pushl $0xff8
	popl %ds

case les_bad, 32
	movl $LOW_DATA, %esi
	movl $LDT_NONE, 4(%esi)
	les (%esi), %eax

cases_end
