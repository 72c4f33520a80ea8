/*
 * One vector or x87 instruction executed twice from the same state: by this processor, and by the
 * software engine.  The memory operand is at [rbx] or [rdi], which hold each executor's own address of
 * the same buffer.
 */
#ifndef TESTS_CPU_VEC_RUN_H
#define TESTS_CPU_VEC_RUN_H

#include "engine/soft/fpu.h"

#define VEC_MEM 512 /* bytes of the buffer; rbx points to its middle */

struct vec_state {
	struct fpu_area fpu;
	uint64_t gpr[16]; /* rsp is left alone */
	uint64_t flags;   /* arithmetic ones */
	uint8_t mem[VEC_MEM] __attribute__((aligned(64)));
	unsigned shift; /* rbx is so many bytes before the buffer's middle */
	int vector;     /* exception; -1: none */
};

void vec_run_open(void);
void vec_run_close(void);
void vec_run_signals(void); /* in each test: its framework sets handlers of its own */
void vec_run_native(const uint8_t *insn, unsigned len, struct vec_state *s);

/* 64-bit code, or 32-bit; crossing: the buffer's middle is the end of a page. */
void vec_run_soft(const uint8_t *insn, unsigned len, bool in32, bool crossing, struct vec_state *s);
struct soft_cpu *vec_run_cpu(void);

#endif
