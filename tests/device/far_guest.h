/*
 * A processor and 4 MiB of memory with everything that far transfers need laid out in it: descriptor
 * tables, a TSS, page tables, stacks.  Every vector leads to a HLT of its own, so that rip says what
 * was delivered.  Tests change what they like, put code in place, and look at the frame.
 */
#ifndef TESTS_FAR_GUEST_H
#define TESTS_FAR_GUEST_H

#include "machine/machine.h"

enum {
	AT_GDT = 0x1000,
	AT_IDT = 0x2000,
	AT_HANDLERS = 0x4000, /* 16 bytes a vector */
	AT_TSS = 0x5000,
	AT_TSS2 = 0x5800,
	AT_LDT = 0x5c00,
	AT_TABLES = 0x6000, /* four pages of page tables */
	AT_STACK0 = 0xb000, /* tops of stacks */
	AT_IST = 0xd000,
	AT_STACK3 = 0xf000,
	AT_CODE = 0x10000,
	AT_CODE2 = 0x12000,
	AT_PAGED = 0x200000, /* long mode: mapped by single pages of the last table, not present */
};

/* Selectors; those of ring 3 with their RPL */
enum {
	KCODE = 0x08,
	KDATA = 0x10,
	UCODE = 0x1b,
	UDATA = 0x23,
	TSS = 0x28, /* two entries in long mode */
	CODE16 = 0x38,
	CONFORMING = 0x40,
	ABSENT = 0x48, /* data, not present */
	GATE = 0x50,   /* call gate for ring 3, two entries in long mode */
	TSS2 = 0x60,
	TASK_GATE = 0x68,
	UCODE32 = 0x73, /* long mode: compatibility mode */
	LDT = 0x78,
	EXEC_ONLY = 0x80,
	READ_ONLY = 0x88,
	GDT_END = 0x90,
};

struct guest {
	struct loop *loop;
	struct machine *m;
	struct cpu_state s;
	uint8_t *ram;
	bool wide; /* long mode */
};

/* Code for the guest: GUEST(name, bits, "text") defines name[] and name_end[]. */
#define GUEST(name, bits, text)                                                               \
	extern const uint8_t name[], name##_end[];                                            \
	__asm__(".pushsection .rodata\n.code" #bits "\n.globl " #name "\n" #name ":\n\t" text \
	        "\n.globl " #name "_end\n" #name "_end:\n.code64\n.popsection\n")
#define guest_put(g, at, name) guest_code(g, at, name, (size_t)(name##_end - name))

void guest_new(struct guest *g);
void guest_free(struct guest *g);

/* Back to: real mode at 1000:0000 (AT_CODE); ring 0 of 32-bit protected and of long mode at AT_CODE. */
void guest_real(struct guest *g);
void guest_protected(struct guest *g);
void guest_long(struct guest *g);
/* From there to ring 3. */
void guest_ring3(struct guest *g);

void guest_code(struct guest *g, uint32_t at, const uint8_t *code, size_t len);
void guest_descriptor(struct guest *g, unsigned sel, uint64_t base, uint32_t limit, unsigned attr);
void guest_call_gate(struct guest *g, unsigned sel, uint64_t offset, unsigned type, unsigned n);
/* attr: type, DPL, P as in a segment's; ist in long mode. */
void guest_gate(struct guest *g, unsigned vector, unsigned sel, uint64_t offset, unsigned attr,
                unsigned ist);

uint64_t guest_get(const struct guest *g, uint32_t at, unsigned size);
void guest_set(struct guest *g, uint32_t at, unsigned size, uint64_t v);

/* What a 32-bit handler finds on its stack; error is 0 when there is none. */
struct guest_frame {
	uint32_t error, eip, cs, eflags, esp, ss, es, ds, fs, gs;
};
struct guest_frame guest_frame(const struct guest *g, bool has_error);

/* Runs from g->s until HLT or shutdown; g->s is what came of it. */
enum engine_exit guest_run(struct guest *g);
/* The vector whose HLT it ended in, or -1. */
int guest_vector(const struct guest *g);

#endif
