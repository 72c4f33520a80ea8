/*
 * The probe's guest: one vCPU in 64 KiB of memory, without any interrupt controller, running pieces of
 * code of a few instructions.  Addresses are guest physical and linear ones, mapped one to one for
 * both privilege levels.
 */
#ifndef ENGINE_KVM_TINY_H
#define ENGINE_KVM_TINY_H

#include "engine/kvm/kvm.h"

#define TINY_MEMORY 0x10000
#define TINY_CODE   0x8000 /* tiny_code is here */
#define TINY_STACK  0xf000

/* Code, and where its pieces begin.  tiny_loop is position-independent: it runs natively, too. */
extern const uint8_t tiny_code[], tiny_code_end[];
extern const uint8_t tiny_loop[];      /* ecx rounds of two instructions at privilege 0, then OUT */
extern const uint8_t tiny_to_user[];   /* to privilege 3, there SYSCALL */
extern const uint8_t tiny_syscall[];   /* SYSCALL arrives here: eax = CS, then OUT */
extern const uint8_t tiny_protected[]; /* in 32-bit code: OUT */
extern const uint8_t tiny_user[];

/* The pieces' OUTs go to these ports. */
#define TINY_PORT_LOOP      0x10
#define TINY_PORT_SYSCALL   0x11
#define TINY_PORT_PROTECTED 0x12

struct tiny {
	int dev, vm, cpu;
	uint8_t *memory;
	struct kvm_run *run;
	size_t run_size;
};

int tiny_open(struct tiny *t, struct err *e) MUST_CHECK;
void tiny_close(struct tiny *t);

/* Puts the vCPU at the beginning of a piece, in 64-bit or paged 32-bit mode.  -errno. */
int tiny_set(struct tiny *t, const uint8_t *piece, bool is_64bit, uint64_t rcx) MUST_CHECK;
/*
 * Runs until the piece's OUT: 0 and its eax (out may be NULL); -EINTR when a signal came first,
 * -EPROTO when the guest did anything else, or KVM's -errno.
 */
int tiny_run(struct tiny *t, uint16_t port, uint32_t *eax) MUST_CHECK;

#endif
