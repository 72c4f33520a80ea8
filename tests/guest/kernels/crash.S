/* Triple-faults at once: prints what it is, then takes an exception without any handler. */
	.code32
	.text
	.globl _start

_start:
	mov $0x3f8, %dx
	mov $text, %esi
	mov $5, %ecx
	cld
	rep outsb
	lidt no_idt
	ud2

	.section .rodata
no_idt:	.word 0
	.long 0
text:	.ascii "pvh: "

	.section .note, "a", @note
	.align 4
	.long 4, 4, 18
	.asciz "Xen"
	.long _start
