/*
 * One test case of the cpu tier: a processor state and a few bytes of code, run by several executors
 * that must agree on all of what comes out.
 *
 * Code and data lie in a "box" that has the same linear addresses in this process (native execution,
 * ring 3) and in the guest (ring 3, paging on):
 *
 *	BOX_CODE  2 pages  read, execute; the second may be written; all bytes but the case's are INT3
 *	BOX_DATA  4 pages  three may be read and written, the last one only read
 *
 * with nothing mapped for 64 KiB around each.  A case ends by an exception, normally the INT3 behind
 * its code.
 */
#ifndef TESTS_CPU_CASE_H
#define TESTS_CPU_CASE_H

#include "base/lang.h"

#define BOX_PAGE          4096u
#define BOX_CODE          0x10000000u
#define BOX_CODE_PAGES    2
#define BOX_CODE_WRITABLE BOX_PAGE /* offset of the page that may be written */
#define BOX_CODE_LIMIT    0x1bffu  /* of the LDT's code segments: within the second page */
#define BOX_DATA          0x20000000u
#define BOX_DATA_PAGES    4
#define BOX_DATA_RW       3 /* so many of them may be written */
#define BOX_GUARD         0x10000u

/* Selectors: those of Linux, and of an LDT of our own (box_segment). */
#define SEL_CODE64 0x33
#define SEL_CODE32 0x23
#define SEL_DATA   0x2b
#define SEL_LDT(n) ((n) << 3 | 7)

enum box_segment_name {
	BOX_CODE16,    /* 16-bit code, base BOX_CODE, limit BOX_CODE_LIMIT */
	BOX_CODE32,    /* the same, 32-bit */
	BOX_STACK16,   /* data, base BOX_DATA, SS.B = 0 */
	BOX_STACK32,   /* the same, SS.B = 1 */
	BOX_LIMITED,   /* data, base in the middle of a page, limit 0x17ff */
	BOX_READ_ONLY, /* base BOX_DATA */
	BOX_DOWN16,    /* expands down: valid from 0x1000 to 0xffff */
	BOX_DOWN32,    /* the same to 0xffffffff */
	BOX_SEGMENTS,
};

struct box_segment {
	uint32_t base, limit; /* limit in bytes, below 1 MiB */
	uint16_t attr;        /* machine/cpu.h */
};
extern const struct box_segment box_segment[BOX_SEGMENTS];

/* The beginning of the standard XSAVE area: x87 and SSE, header, AVX. */
#define CASE_XSAVE 832u
#define CASE_FCW   0
#define CASE_FSW   2
#define CASE_FTW   4
#define CASE_MXCSR 24
#define CASE_ST    32
#define CASE_XMM   160
#define CASE_BV    512 /* XSTATE_BV */
#define CASE_YMMH  576

struct cpu_regs {
	uint64_t gpr[16]; /* enum cpu_gpr's order */
	uint64_t rip, rflags;
	uint64_t gs_base; /* 64-bit code only */
	uint8_t xsave[CASE_XSAVE] __attribute__((aligned(64)));
};

enum case_mode {
	CASE_64,
	CASE_32,    /* flat */
	CASE_SEG32, /* 32-bit code in segments of the LDT */
	CASE_SEG16, /* 16-bit code */
};

#define CASE_CODE  512 /* most bytes of code */
#define CASE_HOLES 4

struct cpu_case {
	enum case_mode mode;
	uint16_t cs, ss, ds, es;
	struct cpu_regs in; /* rip is an offset in CS */
	uint8_t code[CASE_CODE];
	unsigned len;
	/* Bytes of the box's data that may differ: what the architecture leaves open. */
	struct case_hole {
		unsigned at, len;
	} hole[CASE_HOLES];
	unsigned holes;
	uint32_t undefined; /* flags that may differ */
	/* Two operands may fault; which of them is reported is not defined. */
	bool any_fault;
	/* How far it got before a fault isn't defined: registers and data are not compared then. */
	bool partial;
};

/* Data of the box before a case. */
struct image {
	uint8_t data[BOX_DATA_PAGES * BOX_PAGE];
};

/* Linear address of the code. */
static inline uint32_t case_code_base(const struct cpu_case *c)
{
	return c->mode >= CASE_SEG32 ? BOX_CODE : 0;
}

struct outcome {
	struct cpu_regs out;
	uint16_t cs, ss, ds, es, gs;
	unsigned vector; /* of the exception at the end */
	uint32_t error;
	uint64_t cr2; /* #PF only */
	bool timeout; /* did not end */
};

/* The box's pages as this process reaches them. */
struct box {
	uint8_t *code; /* BOX_CODE_PAGES, contiguous */
	uint8_t *data[BOX_DATA_PAGES];
};

struct executor {
	const char *name;
	/* 0, or -errno with a message. */
	int (*open)(struct box *box);
	void (*close)(void);
	/* After box->code was changed. */
	void (*code_changed)(unsigned offset, unsigned len);
	void (*run)(const struct cpu_case *c, struct outcome *o);
	/* From a signal handler with its ucontext_t: the case that runs shall end now. */
	void (*stop)(void *context);
};

extern const struct executor executor_native;
/* The software engine without and with its translator, which has 64-bit code only. */
extern const struct executor executor_interpreter, executor_translator;

/* Does the kernel give programs an LDT? */
bool native_has_ldt(void);
/* What the software engine's processor shows as its features. */
struct cpuid_model;
const struct cpuid_model *soft_model(void);
/* Blocks that were translated. */
uint64_t soft_translated(void);

#endif
