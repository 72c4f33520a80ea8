/*
 * A Multiboot 1 kernel: prints its command line, the boot loader's name and the first module's
 * contents to the serial port, then ends the machine by isa-debug-exit: 0x10 where all is as the
 * specification says, otherwise 0x11.
 */
	.code32
	.text
	.globl _start

	.align 4
header:
	.long 0x1badb002
	.long 3				/* modules on pages, memory information */
	.long -(0x1badb002 + 3)

_start:
	mov $stack_top, %esp
	cld
	cmp $0x2badb002, %eax
	jne bad
	mov %ebx, %ebp
	mov (%ebp), %eax		/* memory, command line, modules, map, loader's name */
	and $0x24d, %eax
	cmp $0x24d, %eax
	jne bad
	cmpl $639, 4(%ebp)
	jne bad

	mov $text_cmdline, %esi
	call print
	mov 16(%ebp), %esi
	call print
	mov $text_loader, %esi
	call print
	mov 64(%ebp), %esi
	call print

	cmpl $1, 20(%ebp)
	jne bad
	mov 24(%ebp), %edi		/* first module: start, end, string */
	testl $0xfff, (%edi)
	jnz bad
	mov $text_module, %esi
	call print
	mov 8(%edi), %esi
	call print
	mov $text_is, %esi
	call print
	mov (%edi), %esi
	mov 4(%edi), %ecx
	sub %esi, %ecx
	mov $0x3f8, %dx
	rep outsb
	mov $0x10, %eax
	jmp end

bad:
	mov $0x11, %eax
end:
	mov $0xf4, %dx
	out %eax, %dx
1:	hlt
	jmp 1b

/* The text at ESI. */
print:
	mov $0x3f8, %dx
1:	lodsb
	test %al, %al
	jz 2f
	out %al, %dx
	jmp 1b
2:	ret

	.section .rodata
text_cmdline:	.asciz "command line: "
text_loader:	.asciz "\nloader: "
text_module:	.asciz "\nmodule: "
text_is:	.asciz "\ncontents: "

	.bss
	.align 16
	.space 4096
stack_top:
