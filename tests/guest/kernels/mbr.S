/*
 * A boot sector: prints the drive it came from to the serial port, has the firmware read the sector behind
 * it, prints that, and ends the machine by isa-debug-exit.
 */
	.code16
	.text
	.globl _start

_start:
	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %ss
	mov $0x7c00, %sp
	cld
	mov %dl, drive
	mov $text, %si
	call print

	mov $0x42, %ah			/* extended read */
	mov drive, %dl
	mov $packet, %si
	int $0x13
	mov $0x11, %eax
	jc end
	mov $0x8000, %si
	call print
	mov $0x10, %eax
end:
	mov $0xf4, %dx
	out %eax, %dx
1:	hlt
	jmp 1b

/* The text at SI. */
print:
	mov $0x3f8, %dx
1:	lodsb
	test %al, %al
	jz 2f
	out %al, %dx
	jmp 1b
2:	ret

text:	.asciz "\r\nboot sector: "
drive:	.byte 0
	.align 4
packet:	.byte 16, 0
	.word 1				/* sectors */
	.word 0x8000, 0
	.quad 1

	.org 510
	.word 0xaa55
	.asciz "read by the firmware\r\n"
	.org 1024
