/*
 * The common beginning of the micro-guests: a PVH entry, 64-bit mode with 4 GiB mapped one to one for
 * both privilege levels, descriptor tables, and the way of all events to on_event().
 *
 * Tables are filled by the assembler: there are hosts whose KVM takes a microsecond for each instruction
 * at privilege 0.
 */
	.set KERNEL_CS, 0x10
	.set KERNEL_SS, 0x18
	.set USER_SS, 0x2b
	.set USER_CS, 0x33
	.set TSS_SEL, 0x40
	.set STACK, 0x4000
	.set CPUS, 2

	.code32
	.section .text.start, "ax"
	.globl pvh_entry, _start
pvh_entry:
_start:
	mov $gdtr, %eax
	lgdt (%eax)
	mov $stacks + STACK, %esp
	call long_mode
	ljmp $KERNEL_CS, $start64

/* Paging on, by the address that we return to; also for the processors started later. */
long_mode:
	mov %cr4, %eax
	or $0x620, %eax			/* PAE, OSFXSR, OSXMMEXCPT */
	mov %eax, %cr4
	mov $pml4, %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx
	rdmsr
	or $0x900, %eax			/* LME, NXE */
	wrmsr
	mov $0x80010033, %eax		/* PG, WP, NE, ET, MP, PE */
	mov %eax, %cr0
	ret

	.code64
start64:
	mov $stacks + STACK, %esp
	call load_tables
	call gates_init
	mov $TSS_SEL, %eax
	ltr %ax
	call main
	movzbl %al, %edi
	call end

load_tables:
	mov $KERNEL_SS, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	lidt idtr
	ret

/*
 * A processor that was started by a SIPI: from here, copied to 0x8000, in real mode.  It becomes the
 * processor number 1.
 */
	.globl trampoline, trampoline_end
	.code16
trampoline:
	cli
	xor %ax, %ax
	mov %ax, %ds
	lgdtl 0x8000 + trampoline_gdtr - trampoline
	mov %cr0, %eax
	or $1, %eax
	mov %eax, %cr0
	ljmpl $0x38, $0x8000 + 1f - trampoline
	.code32
1:	mov $KERNEL_SS, %eax
	mov %eax, %ds
	mov %eax, %ss
	mov $stacks + STACK * 2, %esp
	mov $long_mode, %eax
	call *%eax
	ljmp $KERNEL_CS, $second64
trampoline_gdtr:
	.word gdt_end - gdt - 1
	.long gdt
trampoline_end:
	.code64
second64:
	call load_tables
	mov $TSS_SEL + 0x10, %eax
	ltr %ax
	call second
1:	cli
	hlt
	jmp 1b

/* end(code): tells the test device, and does not come back. */
	.globl end
end:
	lea 0x10(%rdi), %eax		/* exit code 33 when all is well */
	out %al, $0xf4
1:	cli
	hlt
	jmp 1b

/* user(function, stack): runs it at privilege 3 until an INT3 there; see event(). */
	.globl user, user_done, user_stack
user:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, user_stack
	push $USER_SS
	push %rsi
	push $0x202			/* interrupts on */
	push $USER_CS
	push %rdi
	iretq
user_done:
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

/* Events: 16 bytes for each vector's entry. */
	.balign 16
	.globl entries
entries:
	.set vector, 0
	.rept 64
	.balign 16
	.if vector != 8 && (vector < 10 || vector > 14) && vector != 17
	push $0
	.endif
	pushq $vector
	jmp common
	.set vector, vector + 1
	.endr
common:
	push %rax
	push %rcx
	push %rdx
	push %rsi
	push %rdi
	push %r8
	push %r9
	push %r10
	push %r11
	mov %rsp, %rdi
	cld
	call event
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rdi
	pop %rsi
	pop %rdx
	pop %rcx
	pop %rax
	add $16, %rsp
	iretq

	.data
	.balign 16
gdt:	.quad 0, 0
	.quad 0x00af9b000000ffff	/* 0x10 kernel code */
	.quad 0x00cf93000000ffff	/* 0x18 kernel data */
	.quad 0x00cffb000000ffff	/* 0x23 32-bit user code */
	.quad 0x00cff3000000ffff	/* 0x2b user data */
	.quad 0x00affb000000ffff	/* 0x33 user code */
	.quad 0x00cf9b000000ffff	/* 0x38 32-bit code, on the way up */
	.set number, 0
	.rept CPUS			/* 0x40, 0x50: task states at 0x70000 */
	.word 0x67
	.word 0x80 * number
	.byte 7
	.byte 0x89
	.word 0
	.quad 0
	.set number, number + 1
	.endr
gdt_end:
gdtr:	.word gdt_end - gdt - 1
	.long gdt
	.long 0
idtr:	.word 0xfff
	.quad idt

	.balign 4096
pml4:	.quad pdpt + 7
	.fill 511, 8, 0
pdpt:	.quad pd + 7, pd + 0x1007, pd + 0x2007, pd + 0x3007
	.fill 508, 8, 0
	.globl pd
pd:	.set page, 0
	.rept 2048
	.quad page * 0x200000 + 0x87
	.set page, page + 1
	.endr

	.bss
	.balign 16
stacks:	.space STACK * CPUS
user_stack:
	.space 8

	.section .note, "a", @note
	.align 4
	.long 4, 4, 18			/* lengths of name and value; XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long pvh_entry

	.section .note.GNU-stack, "", @progbits
