/*
 * Cases of the program faults: pieces of 32- and 64-bit code that run at LOW_CODE with rax 1111, rbx
 * 2222, rcx 3333, rdx 4444 and ZF set.  They end by a signal, by `ljmp $CS32, $resume32` (32-bit code)
 * or by `jmp *%r15` (64-bit code).
 */
#ifndef TESTS_FAULTS_H
#define TESTS_FAULTS_H

#define LOW_CODE  0x10000000 /* a page */
#define LOW_DATA  0x10010000 /* two pages of bytes n * 7, then nothing */
#define LOW_STACK 0x10028000 /* the end of 32 KiB */
#define LOW_RO    0x10030000
#define LOW_NONE  0x10031000 /* no access */

/* Linux' selectors */
#define CS32 0x23
#define CS64 0x33
#define SS   0x2b

/* Selectors of the local descriptor table; those of 16-bit segments may not be had */
#define LDT_DATA    0x07 /* LOW_DATA, 4 KiB */
#define LDT_ABSENT  0x0f
#define LDT_CODE    0x17 /* flat */
#define LDT_CODE16  0x1f /* LOW_CODE, 4 KiB */
#define LDT_RO      0x27
#define LDT_DOWN    0x2f /* LOW_DATA, expand-down from 4 KiB */
#define LDT_EXEC    0x37 /* flat, execute-only */
#define LDT_STACK16 0x3f /* the stack's 32 KiB */
#define LDT_NO_CODE 0x4f /* not present */
#define LDT_DOWN16  0x57
#define LDT_NONE    0x77

#ifndef __ASSEMBLER__
#include <stdint.h>

struct a_case {
	const char *name; /* NULL: the end */
	const uint8_t *code;
	uint32_t bits;
	uint32_t steps; /* single steps, then the handler clears TF; 0: it ends the case */
	uint32_t ldt16; /* needs a 16-bit segment */
	uint32_t zero;
};
extern const struct a_case exceptions[], segments[], transfers[];

#endif
#endif
