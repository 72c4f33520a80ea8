/*
 * The software engine's inside: one vCPU's processor state, decoded operations, and the rules that
 * its parts share.
 *
 * How it runs.  decode.c turns guest bytes into a block: an array of struct op, each with the
 * function that executes it.  run.c looks a block up and calls its first op; every op function ends
 * in one of three ways:
 *
 *   return op_next(c, op);	  go on with the next op of the block (a tail call)
 *   return op_jump(c, op, rip);  leave the block for a near address: looks the next block up, and
 *				  goes on there, or returns to run.c when a request waits (run.h)
 *   c->rip = ...; return;	  leave the block; run.c looks around (mode changes, system instructions)
 *
 * or does not return at all: soft_raise() throws a guest exception from any depth (longjmp to run.c).
 *
 * The rules:
 * - c->rip is valid between blocks only.  Inside, op_rip(c, op) is the instruction's own address and
 *   op_end(c, op) that of the next one.
 * - Restartable: an op changes no guest-visible register before its last possible exception.
 *   A function that may raise (memory, segments, checks) first stores c->op = op, which is how
 *   the faulting instruction is found.  Don't hold a lock when calling such a function.
 * - Arithmetic flags live apart from the others, as LAHF/SETO leave them (c->aflags, see flags.h).
 * - 32-bit results zero the upper half, 8- and 16-bit ones keep the rest (reg.h).
 * - An op's call of the next one must be a tail call, or the stack grows as long as the guest runs: no
 *   variable of such a function may have its address taken.  OP_OF() makes an op of a function that has
 *   some (tests/unit/tail-calls.sh finds those that were forgotten).
 * - Instructions that may change mode, segments, paging or privilege end their block.
 *
 * Threads: a soft_cpu belongs to its vCPU's thread.  Others reach it by vcpu_request() only.
 */
#ifndef ENGINE_SOFT_SOFT_H
#define ENGINE_SOFT_SOFT_H

#include <setjmp.h>
#include <stdatomic.h>
#include "base/lang.h"
#include "machine/cpu.h"
#include "machine/machine.h"

struct soft_cpu;
struct op;
struct block;
struct soft_vm;

typedef void op_fn(struct soft_cpu *c, const struct op *op);

/*
 * A decoded instruction.  Operands in the one form that suits nearly all instructions: `reg`
 * (ModRM.reg, or the opcode's register), and `rm`: a register, or memory when OP_MEM is set.
 */
struct op {
	op_fn *fn;
	uint8_t reg;   /* number of the register operand */
	uint8_t rm;    /* number of the rm operand, when it's a register */
	uint8_t base;  /* memory operand: gpr number, SOFT_ZERO for none */
	uint8_t index; /* the same */
	uint8_t scale; /* shift: 0..3 */
	uint8_t seg; /* index into c->seg_base: CPU_ES..CPU_GS, or SOFT_SEG_NONE (64-bit, no base) */
	uint8_t size;   /* operand size in bytes: 1, 2, 4, 8 (16, 32: vectors) */
	uint8_t asize;  /* address size: 2, 4, 8 */
	uint8_t len;    /* bytes of the instruction */
	uint8_t n;      /* small number of the op's own: condition code, shift count, subopcode */
	uint16_t ip;    /* of the instruction, counted from the block's start */
	uint16_t flags; /* OP_* */
	uint16_t
		opcode; /* low byte of the opcode, and 0x100 for the 0f map..., for messages and generic ops */
	int32_t disp; /* with base SOFT_RIP: from the block's start */
	uint8_t nth;  /* how many instructions of the block are done behind this one */
	uint64_t imm; /* immediate, sign-extended; near jumps: target, from the block's start */
	void *ptr;    /* of the op's own: stub of a vector instruction, link to a block */
};

_Static_assert(sizeof(struct op) == 0x30,
               "tests/unit/tail-calls.sh knows where the next op's fn is");

enum {
	OP_MEM = 1 << 0,      /* rm is memory */
	OP_LOCK = 1 << 1,     /* LOCK prefix (checked by the decoder to be legal) */
	OP_REP = 1 << 2,      /* F3 */
	OP_REPNE = 1 << 3,    /* F2 */
	OP_HIGH_REG = 1 << 4, /* reg is AH, CH, DH, BH (reg already is 0..3) */
	OP_HIGH_RM = 1 << 5,  /* rm is AH... */
	OP_SEG = 1 << 6,      /* a segment override prefix was there */
	OP_LAST = 1 << 7,     /* the last op of its block */
	OP_LINKED = 1 << 11,  /* conditional jump that stays in its page */
	OP_KILLS = 1 << 9,    /* writes all arithmetic flags, reads none; ptr: variant without */
	OP_PURE = 1 << 10,    /* reads and writes no flags, cannot raise or leave */
	OP_STACK = 1 << 8,    /* memory operand in the stack segment: #SS, not #GP */
};

#define SOFT_ZERO     16 /* gpr[16] is always 0 */
#define SOFT_RIP      17 /* gpr[17] is block_rip: base of RIP-relative operands */
#define SOFT_SEG_NONE 6  /* seg_base[6] is always 0 */

/* What decoding depends on; part of a block's key. */
enum {
	MODE_16 = 0,
	MODE_32 = 1,
	MODE_64 = 2,
	MODE_BITS = 3,         /* mask: default operand and address size */
	MODE_STACK32 = 1 << 2, /* SS.B */
	MODE_FLAT = 1 << 3, /* ES, CS, SS, DS: base 0, limit 4 GiB, writable: no segment checks */
	MODE_STEP = 1 << 4, /* one instruction a block (TF, interrupt shadow, breakpoints) */
};

struct soft_exception {
	uint8_t vector;
	bool has_error;
	uint32_t error;
	uint64_t cr2; /* #PF */
	uint64_t dr6; /* #DB: bits to set */
	bool trap;    /* reported after the instruction: rip is already the next one's */
};

#define TLB_BITS 10
#define TLB_SIZE (1u << TLB_BITS)

/*
 * A TLB entry: tags are page addresses for which the access may go straight to memory, or
 * TLB_MISS.  host = addend + address.  A write tag is given only when the dirty bit is set in
 * the guest's page table, the page holds no code, and the dirty log doesn't want to hear of it.
 */
struct tlb_entry {
	uint64_t read, write, exec;
	uintptr_t addend;
};
#define TLB_MISS 1ull /* no page address */

/* What fast paths don't need of an entry. */
struct tlb_page {
	gpa_t gpa;
	uint32_t page; /* mem_page(), UINT32_MAX for none */
	uint32_t flags;
};

#define TLB_FILLS 256

struct tlb {
	struct tlb_entry e[TLB_SIZE];
	struct tlb_page p[TLB_SIZE];
	/* Slots that were filled since they were cleared; more than TLB_FILLS: any. */
	unsigned n;
	uint16_t filled[TLB_FILLS];
};

/* What translated code reaches by GS, besides registers (native.h, flat.h). */
struct soft_native {
	struct soft_cpu *self;
	uint64_t host_rsp; /* the host's stack while translated code runs, else 0 */
	uint64_t target;   /* where native_enter() goes */
	uint64_t page_rip; /* guest address of the page that the current block lies in */
	uint64_t site;     /* NATIVE_SITE_*, when it exits */
	/* Operands of PEXT */
	uint64_t page_mask, chunk_mask[5], page_low, cross_mask, hash_mask;
	void (*exit)(void), (*exit_hash)(void), (*fallback)(void);
	const void *callee; /* code of an indirect call's target, during the push */
	/* Vector registers, by enum native_vec */
	uint64_t vec_live[3];      /* 1: they are in the host's registers */
	uint64_t vec_off[3];       /* 0: instructions are allowed */
	void (*vec_load[3])(void); /* goes on at r15 */
	uint32_t host_mxcsr;
	gva_t faulted; /* address of user code's last #PF, 0: none */
	uint64_t gs;   /* what GS points to, as far as we know */
	int state_fd;
	struct flat *flat;
	struct native *code; /* NULL: there is no translation */
};

struct soft_cpu {
	/* What every op touches, first. */
	union {
		uint64_t gpr[18];
		struct {
			uint64_t gpr_and_zero[17];
			uint64_t block_rip; /* rip at the start of the current block */
		};
	};
	uint64_t seg_base[8];
	uint16_t aflags; /* flags.h */
	uint32_t eflags; /* all flags but the arithmetic ones, with bit 1 set: DF IF TF IOPL... */
	uint32_t mode;   /* MODE_* */
	uint8_t cpl;
	uint64_t rip;        /* between blocks */
	const struct op *op; /* the one executing, see the rules above */
	struct tlb *tlb; /* the one for the current privilege: &tlbs[cpl == 3] or &tlb_aligned */
	_Atomic uint32_t *requests; /* &vcpu->requests */

	struct vcpu *vcpu;
	struct soft_vm *vm;
	struct machine *machine;

	struct cpu_seg seg[CPU_SEGS], ldt, tr;
	struct cpu_table gdt, idt;
	uint64_t cr0, cr2, cr3, cr4, xcr0;
	uint64_t dr[8];
	uint64_t efer, star, lstar, cstar, fmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t pat, tsc_aux, tsc_adjust, misc_enable;
	int64_t tsc_offset; /* guest TSC = host TSC + offset */
	uint64_t tsc_held;  /* how much of the times' held it has taken back (times.h) */
	uint64_t mtrr_def, mtrr_fixed[11], mtrr_base[8], mtrr_mask[8];
	uint64_t pv_wall_clock, pv_system_time, pv_async_pf, pv_steal_time, pv_eoi, pv_poll_control;
	uint8_t shadow; /* interrupts held off for one instruction: STI (1), MOV SS (2: also #DB) */
	bool nmi_masked;
	bool halted;           /* an op executed HLT: run.c returns ENGINE_EXIT_HALT */
	bool shutdown;         /* triple fault */
	bool pv_eoi_set;       /* the guest's "no EOI needed" flag is set by us */
	uint64_t pv_times;     /* generation of the times that the guest's clock page shows; */
	int64_t pv_tsc_offset; /* and the tsc_offset */
	uint64_t pv_ran_since, pv_cpu_since; /* ns: steal time is known up to here */
	_Atomic bool pv_kick;                /* another vCPU wants this one out of HLT */

	struct soft_exception exc;
	jmp_buf *catch; /* run.c's; soft_raise() lands there */

	/* x87, SSE, AVX...: the standard XSAVE format, always up to date between ops. */
	uint8_t xsave[CPU_XSAVE_SIZE] __attribute__((aligned(64)));

	struct soft_native native;

	struct tlb tlbs[2]; /* supervisor, user */
	/* Always empty, in force while alignment is checked: every access takes the slow path. */
	struct tlb tlb_aligned;

	/* mmu.c, block.c and run.c keep what is theirs here */
	struct soft_run *run;
	struct vec_cache *vec; /* vec_code.c's */
	uint64_t instructions; /* executed, counted by block */
};

/* Throws an exception at the current instruction (c->op): run.c delivers it. */
_Noreturn void soft_raise(struct soft_cpu *c, const struct soft_exception *x);
_Noreturn static inline void soft_fault(struct soft_cpu *c, enum cpu_exception vector)
{
	soft_raise(c, &(struct soft_exception){.vector = vector});
}
_Noreturn static inline void soft_fault_error(struct soft_cpu *c, enum cpu_exception vector,
                                              uint32_t error)
{
	soft_raise(c,
	           &(struct soft_exception){.vector = vector, .has_error = true, .error = error});
}

static inline uint64_t op_rip(const struct soft_cpu *c, const struct op *op)
{
	return c->block_rip + op->ip;
}

/* The next instruction's address, wrapped as the code size wants. */
static inline uint64_t op_end(const struct soft_cpu *c, const struct op *op)
{
	uint64_t rip = c->block_rip + op->ip + op->len;

	if ((c->mode & MODE_BITS) == MODE_64)
		return rip;
	return (c->mode & MODE_BITS) == MODE_32 ? (uint32_t)rip : (uint16_t)rip;
}

/* The last op of a block is always followed by one that leaves for op_end(). */
static inline void op_next(struct soft_cpu *c, const struct op *op)
{
	return op[1].fn(c, op + 1);
}

/* The op of do_name(), which needs variables in memory, or returns early. */
#define OP_OF(name)                                                    \
	static void op_##name(struct soft_cpu *c, const struct op *op) \
	{                                                              \
		do_##name(c, op);                                      \
		return op_next(c, op);                                 \
	}

/*
 * After any change of CS, SS, other segments' base or limit, CR0, CR4, EFER, RFLAGS.VM or TF, debug
 * registers: recomputes mode, seg_base, cpl's TLB.  seg.c.
 */
void soft_mode_update(struct soft_cpu *c);

/* mmu.c.  Flushes are this vCPU's only; keep_global: entries of global pages may stay. */
void soft_tlb_flush(struct soft_cpu *c, bool keep_global);
void soft_tlb_flush_page(struct soft_cpu *c, gva_t va);
/* PCIDs: another address space is current, as it was left (keep) or empty; one loses its entries. */
void soft_tlb_switch(struct soft_cpu *c, uint16_t pcid, bool keep);
void soft_tlb_flush_pcid(struct soft_cpu *c, uint16_t pcid);
/* Addresses of code mean something else from now on: entries of the jump cache are stale. */
void soft_jumps_drop(struct soft_cpu *c);

/* except.c: delivers an exception, interrupt or NMI through the IDT.  May raise (run.c makes the double
 * fault), or set c->shutdown.  c->rip is the address to return to. */
enum soft_event {
	SOFT_EXCEPTION,
	SOFT_INTERRUPT,
	SOFT_NMI,
	SOFT_INT_N,
	SOFT_INT3,
	SOFT_INTO,
	SOFT_INT1
};
void soft_deliver(struct soft_cpu *c, enum soft_event kind, const struct soft_exception *x);
/* An exception x came up while delivering or executing: contributory rules (SDM 3A table 6-5), then
 * soft_deliver(); in the end c->shutdown.  Sets catch of its own. */
void soft_exception(struct soft_cpu *c, const struct soft_exception *x);

/* pv.c */
void pv_kick(struct soft_cpu *c,
             uint32_t apic_id);     /* wakes a vCPU from HLT, the next one if it runs */
bool pv_kicked(struct soft_cpu *c); /* takes such a kick: HLT ends */
int pv_msr_read(struct soft_cpu *c, uint32_t msr, uint64_t *value); /* -ENOENT: not one of pv's */
int pv_msr_write(struct soft_cpu *c, uint32_t msr, uint64_t value); /* -EINVAL: #GP */
void pv_resumed(struct soft_cpu *c);  /* before running after a wait: clock, steal time */
void pv_leaves(struct soft_cpu *c);   /* before waiting or parking */
void pv_accepted(struct soft_cpu *c); /* an interrupt was accepted: offer PV EOI */
void pv_eoi_poll(struct soft_cpu *c); /* before looking for interrupts: did the guest take it? */

/* fpu.c */
void fpu_reset(struct soft_cpu *c); /* power-on state of x87, SSE, AVX */

/*
 * Decoders by area, each in its own file.  d holds Zydis' result; they fill op->fn and what is
 * special, after decode.c has filled the operands.  Return false when the instruction is not theirs.
 */
struct decoded;
bool decode_integer(struct soft_cpu *c, const struct decoded *d, struct op *op); /* int.c ... */
bool decode_system(struct soft_cpu *c, const struct decoded *d, struct op *op);  /* sys.c */
bool decode_vector(struct soft_cpu *c, const struct decoded *d, struct op *op);  /* vec.c */

/*
 * Feature words that each area can execute, or'ed in, for the CPU model: x87, SSE, AVX, AES, xcr0...
 * (host's abilities considered); system instructions, MSRs and pv_features.  engine.c adds its own:
 * paging, integer instructions.
 */
struct cpuid_wish;
void vector_abilities(struct cpuid_wish *w); /* vec.c */
void system_abilities(struct cpuid_wish *w); /* sys.c */

#endif
