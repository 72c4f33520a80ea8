/*
 * A kernel with a PVH entry in a 64-bit ELF file: prints its command line to the serial port, adds up
 * the memory map's RAM and powers off through ACPI's PM1 control register when that is at least 16 MiB;
 * otherwise, or when something else is wrong, it crashes by a triple fault.
 */
	.code32
	.text
	.globl pvh_entry, _start

pvh_entry:
	mov $stack_top, %esp
	cld
	cmpl $0x336ec578, (%ebx)
	jne bad
	mov %cr0, %eax
	and $0x80000001, %eax
	cmp $1, %eax
	jne bad

	mov $text, %esi
	call print
	mov 24(%ebx), %esi
	call print
	mov $newline, %esi
	call print

	mov 40(%ebx), %esi		/* memory map */
	mov 48(%ebx), %ecx
	xor %eax, %eax
1:	cmpl $1, 16(%esi)
	jne 2f
	add 8(%esi), %eax
2:	add $24, %esi
	loop 1b
	cmp $0xf00000, %eax
	jb bad

	mov 32(%ebx), %esi		/* RSDP -> XSDT -> FADT -> PM1 control, its port */
	cmpl $0x20445352, (%esi)
	jne bad
	mov 24(%esi), %esi
	mov 36(%esi), %esi
	mov 64(%esi), %edx
	mov $0x2000 | 5 << 10, %ax	/* SLP_EN, SLP_TYP of S5 */
	out %ax, %dx
1:	hlt
	jmp 1b

bad:
_start:
	lidt no_idt
	int3

print:
	mov $0x3f8, %dx
1:	lodsb
	test %al, %al
	jz 2f
	out %al, %dx
	jmp 1b
2:	ret

	.section .rodata
no_idt:		.word 0
		.long 0
text:		.asciz "pvh: "
newline:	.asciz "\n"

	.section .note, "a", @note
	.align 4
	.long 4, 4, 18			/* lengths of name and value; XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long pvh_entry

	.bss
	.align 16
	.space 4096
stack_top:
