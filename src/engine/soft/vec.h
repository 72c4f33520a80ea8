/*
 * Vector and x87 instructions by the host's own: a stub loads the registers that an instruction names
 * from c->xsave into the host's registers of the same numbers, executes it, and stores what it wrote.
 *
 * In a stub (System V calling convention, all that it touches is the caller's to save):
 *
 *	rdi  struct soft_cpu
 *	rsi  the op; at the end the stub goes on with the next one, as op_next() does
 *	rdx  the memory operand, in host memory (moved to rcx first)
 *	rax  the general register operand
 *
 * Stubs are kept by their own bytes, one arena a vCPU, mapped twice: written here, executed there.
 * Ops point to them, so the arena is emptied only together with the block cache.
 */
#ifndef ENGINE_SOFT_VEC_H
#define ENGINE_SOFT_VEC_H

#include "engine/soft/fpu.h"

typedef void vec_stub(struct soft_cpu *c, const struct op *op, void *mem);

#define STUB_MAX 320 /* bytes of the longest stub */

struct emit {
	unsigned n;
	uint8_t code[STUB_MAX];
};

struct vec_cache {
	/* For operands that cross a page or are no memory. */
	uint8_t bounce[128] __attribute__((aligned(64)));
	uint8_t *write, *exec; /* the arena */
	uint32_t used;
	uint32_t bucket[4096];
};

/* vec_code.c */
int vec_open(struct soft_cpu *c); /* -errno */
void vec_close(struct soft_cpu *c);
void vec_drop(struct soft_cpu *c);       /* all stubs: together with the block cache */
bool vec_full(const struct soft_cpu *c); /* no room for one more block's stubs */
vec_stub *vec_keep(struct soft_cpu *c, const struct emit *e);

void emit_bytes(struct emit *e, const void *bytes, unsigned len);
#define EMIT(e, ...) \
	emit_bytes(e, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
void emit_u32(struct emit *e, uint32_t v);
/* General register r (0: rax, 1: rcx, 2: rdx) from and to the guest's gpr. */
void emit_gpr_load(struct emit *e, unsigned r, unsigned gpr);
void emit_gpr_store(struct emit *e, unsigned r, unsigned gpr);
void emit_flags_load(struct emit *e); /* c->aflags to the host's flags; uses rax */
void emit_flags_store(struct emit *e);
void emit_mxcsr_host(struct emit *e); /* MXCSR as the C code wants it; uses rax */
void emit_next(struct emit *e);

/* vec_stub.c: the stub of an instruction with operands in vector and general registers, memory. */
vec_stub *vec_stub_make(struct soft_cpu *c, const struct decoded *d);
/* Does it obey MXCSR's control bits and raise its exceptions? */
bool vec_uses_mxcsr(const ZydisDecodedInstruction *z);

/* vec.c: may the guest's instruction run: has the host what its instruction set needs? */
bool vec_host_has(const ZydisDecodedInstruction *z);

/* Pass as the op of a stub that is to return: what follows it returns. */
extern const struct op vec_stop[2];

/* Where a memory operand of len bytes can be read: guest memory itself, or a copy. */
static inline void *vec_read(struct soft_cpu *c, gva_t va, unsigned len)
{
	const struct tlb_entry *e = tlb_entry(c, va);

	if (likely(((va + len - 1) & PAGE_MASK) == e->read))
		return (void *)(e->addend + va);
	mmu_load_bytes(c, va, c->vec->bounce, len, c->cpl == 3);
	return c->vec->bounce;
}

/* The same for a store; when it's the bounce buffer mmu_store_bytes() has to follow. */
static inline void *vec_write(struct soft_cpu *c, gva_t va, unsigned len)
{
	const struct tlb_entry *e = tlb_entry(c, va);

	if (likely(((va + len - 1) & PAGE_MASK) == e->write))
		return (void *)(e->addend + va);
	return c->vec->bounce;
}

/* By file, all called by decode_vector(). */
bool decode_vec_move(struct soft_cpu *c, const struct decoded *d, struct op *op);
bool decode_vec_mask(struct soft_cpu *c, const struct decoded *d, struct op *op);
bool decode_vec_gather(struct soft_cpu *c, const struct decoded *d, struct op *op);
bool decode_vec_stub(struct soft_cpu *c, const struct decoded *d, struct op *op);
bool decode_x87_control(struct soft_cpu *c, const struct decoded *d, struct op *op);
bool decode_x87(struct soft_cpu *c, const struct decoded *d, struct op *op);

_Noreturn static inline void vec_misaligned(struct soft_cpu *c)
{
	soft_fault_error(c, EXC_GP, 0);
}

static inline unsigned vec_number(const ZydisDecodedOperand *o)
{
	int id = ZydisRegisterGetId(o->reg.value);

	return id < 0 ? 0 : (unsigned)id & 15;
}

static inline bool vec_is(const ZydisDecodedOperand *o, ZydisRegisterClass class)
{
	return o->type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       ZydisRegisterGetClass(o->reg.value) == class;
}

static inline bool vec_is_vex(const struct decoded *d)
{
	return d->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
}

#endif
