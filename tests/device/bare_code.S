/*
 * Pieces of guest code, 64-bit, for bare_guest.  Handlers count at BARE_DATA (0x200000); the test's device
 * is at port 0x300 and address 0xd0000000; 0xfee000b0 is the local APIC's EOI register.
 */
	.section .rodata
	.globl guest_code, guest_memory, guest_accesses, guest_idle, guest_count, guest_count_other
	.globl guest_count_pic, guest_window, guest_notify, guest_dirty, guest_spin, guest_fault
	.globl guest_nowhere, guest_xgetbv, guest_clockwork, guest_code_end

guest_code:

guest_memory:
	mov $0x200000, %ebx
	mov $0x1122334455667788, %rax
	mov %rax, (%rbx)
	mov $0xfff00000, %ecx
	mov (%rcx), %rdx	/* ROM */
	mov %rax, (%rcx)	/* goes nowhere */
	mov (%rcx), %rsi
	mov %rdx, 8(%rbx)
	mov %rsi, 16(%rbx)
	mov $1, %al
	out %al, $0xf4

guest_accesses:
	mov $0x302, %edx
	mov $0x87654321, %eax
	out %al, %dx
	out %ax, %dx
	out %eax, %dx
	xor %eax, %eax
	in %dx, %ax
	mov $0x200000, %ebx
	mov %rax, (%rbx)
	mov $0x200100, %esi
	mov $5, %ecx
	rep outsb
	mov $0xd0000010, %ecx
	mov $0x1020304050607080, %rax
	mov %al, (%rcx)
	mov %rax, (%rcx)
	mov 8(%rcx), %rax
	mov %rax, 8(%rbx)
	movzbl 2(%rcx), %eax
	mov %rax, 16(%rbx)
	out %al, $0xf4

guest_idle:
	mov $0xfee000f0, %ebx
	movl $0x1ff, (%rbx)	/* the local APIC on */
	mov $0x300, %edx
	out %al, %dx	/* ready */
1:	sti
	hlt
	jmp 1b

guest_clockwork:	/* the local APIC's timer every millisecond, and a register that counts */
	mov $0xfee000f0, %ebx
	movl $0x1ff, (%rbx)
	movl $0xb, 0x2f0(%rbx)		/* divider 1 */
	movl $0x20051, 0x230(%rbx)	/* periodic, vector 0x51 */
	movl $1000000, 0x290(%rbx)
	mov $0x200010, %ebx
	mov $0x300, %edx
	xor %r15d, %r15d
	out %al, %dx
1:	inc %r15
	mov %r15, (%rbx)
	sti
	hlt
	jmp 1b

guest_count:	/* interrupts through the local APIC */
	push %rbx
	mov $0x200000, %ebx
	lock incq (%rbx)
	mov $0xfee000b0, %ebx
	movl $0, (%rbx)
	pop %rbx
	iretq

guest_count_other:
	push %rbx
	mov $0x200008, %ebx
	lock incq (%rbx)
	mov $0xfee000b0, %ebx
	movl $0, (%rbx)
	pop %rbx
	iretq

guest_count_pic:	/* interrupts of the PIC */
	push %rbx
	mov $0x200008, %ebx
	lock incq (%rbx)
	pop %rbx
	iretq

guest_window:	/* interrupts are off at first: what came before STI and until some time after */
	mov $0x300, %edx
	out %al, %dx
	mov $0x200008, %ebx
	mov $500, %ecx
1:	dec %ecx
	jnz 1b
	mov (%rbx), %rax
	mov %rax, 16(%rbx)
	sti
	mov $500, %ecx
1:	mov (%rbx), %rax
	dec %ecx
	jnz 1b
	out %al, $0xf4

guest_notify:
	mov $0x304, %edx
	mov $0xd0000020, %ebx
	mov $0x5, %eax
	out %ax, %dx
	mov %ax, (%rbx)
	out %ax, %dx
	out %al, $0xf4

guest_dirty:	/* rsi pages from rdi on, then a word to the device; again and again */
	mov %rdi, %rbx
	mov %rsi, %rcx
1:	incb (%rbx)
	add $0x1000, %rbx
	dec %rcx
	jnz 1b
	mov $0x300, %edx
	out %al, %dx
	jmp guest_dirty

guest_spin:
	mov $0x200000, %ebx
1:	incq (%rbx)
	jmp 1b

guest_fault:
	ud2

guest_nowhere:
	mov $0xc0000000, %ebx
	jmp *%rbx

guest_xgetbv:	/* KVM's emulator does not know it */
	mov %cr4, %rax
	or $0x40000, %eax	/* OSXSAVE */
	mov %rax, %cr4
	xor %ecx, %ecx
	xgetbv
	out %al, $0xf4

guest_code_end:

	.section .note.GNU-stack, "", @progbits
