/*
 * What the integer instructions share: operands by size, flags from the host's own instructions,
 * read-modify-write, and how their decoders are called.
 *
 * 8-bit register operands of these handlers are byte offsets into c->gpr (int_byte_regs()), so that
 * AH..BH need no test; all others are register numbers.
 */
#ifndef ENGINE_SOFT_INT_H
#define ENGINE_SOFT_INT_H

#include "engine/soft/decode.h"
#include "engine/soft/flags.h"
#include "engine/soft/mem.h"
#include "engine/soft/reg.h"
#include "engine/soft/run.h"

#define GET8(c, r)     (((uint8_t *)(c)->gpr)[r])
#define GET16(c, r)    ((uint16_t)(c)->gpr[r])
#define GET32(c, r)    ((uint32_t)(c)->gpr[r])
#define GET64(c, r)    ((c)->gpr[r])
#define PUT8(c, r, v)  (((uint8_t *)(c)->gpr)[r] = (v))
#define PUT16(c, r, v) (*(uint16_t *)&(c)->gpr[r] = (v))
#define PUT32(c, r, v) ((c)->gpr[r] = (uint32_t)(v))
#define PUT64(c, r, v) ((c)->gpr[r] = (v))

/* 32-bit code whose classic segments hide nothing: base 0, limit 4 GiB. */
static inline bool int_flat32(uint32_t mode)
{
	return (mode & MODE_BITS) == MODE_32 && (mode & MODE_FLAT);
}

static inline bool int_flat_stack(uint32_t mode)
{
	return int_flat32(mode) && (mode & MODE_STACK32);
}

/*
 * Handlers with a memory operand come in four forms.  When the TLB knows the page: for 64-bit code
 * s(imple) has base and displacement only, f(ull) index and segment too; p(rotected) is for flat
 * 32-bit code.  They call nothing, so that the compiler saves no registers in them; when they
 * don't know the page they turn to the last, g(eneral), which does anything.
 */
enum int_form { INT_SIMPLE, INT_FULL, INT_PROTECTED, INT_GENERAL, INT_FORMS };

#define EA_s(c, op) ((c)->gpr[(op)->base] + (uint64_t)(int64_t)(op)->disp)
#define EA_f(c, op)                                        \
	((c)->seg_base[(op)->seg] + (c)->gpr[(op)->base] + \
	 ((c)->gpr[(op)->index] << (op)->scale) + (uint64_t)(int64_t)(op)->disp)
#define EA_p(c, op)                                                                 \
	((uint32_t)((c)->gpr[(op)->base] + ((c)->gpr[(op)->index] << (op)->scale) + \
	            (uint64_t)(op)->disp))

static inline enum int_form int_form(const struct decoded *d, const struct op *op)
{
	if (int_flat32(d->mode) && op->asize == 4 && op->seg <= CPU_DS && op->seg != CPU_CS)
		return INT_PROTECTED;
	if ((d->mode & MODE_BITS) != MODE_64 || op->asize != 8)
		return INT_GENERAL;
	return op->index == SOFT_ZERO && op->seg == SOFT_SEG_NONE ? INT_SIMPLE : INT_FULL;
}

/* A condition code against flags in c->aflags' form. */
static inline bool flags_test(uint32_t f, unsigned cc)
{
	bool r;

	switch (cc >> 1) {
	case 0:
		r = f & AF_OF;
		break;
	case 1:
		r = f & AF_CF;
		break;
	case 2:
		r = f & AF_ZF;
		break;
	case 3:
		r = f & (AF_ZF | AF_CF);
		break;
	case 4:
		r = f & AF_SF;
		break;
	case 5:
		r = f & AF_PF;
		break;
	case 6:
		r = (f >> 15 ^ f) & 1;
		break;
	default:
		r = ((f >> 15 ^ f) & 1) | (f & AF_ZF);
		break;
	}
	return r ^ (cc & 1);
}

/* Flags in AX as LAHF and SETO leave them, to the host's flags and back. */
#define FLAGS_IN  "addb $0x7f, %%al\n\tsahf\n\t"
#define FLAGS_OUT "\n\tlahf\n\tseto %%al"

/*
 * An instruction with the guest's arithmetic flags before it; afterwards [f] has them as the host
 * leaves them, those that manuals leave undefined too.  Operands in registers only: the stack
 * pointer moves.
 */
#define WITH_FLAGS(insn)                                         \
	"lea -128(%%rsp), %%rsp\n\tpushq %[f]\n\tpopfq\n\t" insn \
	"\n\tpushfq\n\tpopq %[f]\n\tlea 128(%%rsp), %%rsp"

static inline uint64_t flags_host(const struct soft_cpu *c)
{
	return flags_arith(c->aflags) | FLAG_FIXED;
}

static inline uint64_t mem_get(struct soft_cpu *c, gva_t va, unsigned size)
{
	switch (size) {
	case 1:
		return soft_ld8(c, va);
	case 2:
		return soft_ld16(c, va);
	case 4:
		return soft_ld32(c, va);
	default:
		return soft_ld64(c, va);
	}
}

static inline void mem_put(struct soft_cpu *c, gva_t va, unsigned size, uint64_t v)
{
	switch (size) {
	case 1:
		soft_st8(c, va, (uint8_t)v);
		break;
	case 2:
		soft_st16(c, va, (uint16_t)v);
		break;
	case 4:
		soft_st32(c, va, (uint32_t)v);
		break;
	default:
		soft_st64(c, va, v);
		break;
	}
}

/* The rm operand at any size (contract's register numbers, not byte offsets). */
static inline uint64_t rm_get(struct soft_cpu *c, const struct op *op)
{
	if (op->flags & OP_MEM)
		return mem_get(c, op_ea(c, op, op->size, false), op->size);
	return reg_get(c, op->rm, op->size, op->flags & OP_HIGH_RM);
}

static inline uint64_t int_reg(struct soft_cpu *c, const struct op *op)
{
	return reg_get(c, op->reg, op->size, op->flags & OP_HIGH_REG);
}

static inline void int_reg_set(struct soft_cpu *c, const struct op *op, uint64_t v)
{
	reg_set(c, op->reg, op->size, op->flags & OP_HIGH_REG, v);
}

/* Where to modify memory in place, or NULL: then mmu_modify(). */
static inline void *rmw_ptr(struct soft_cpu *c, gva_t va, unsigned size)
{
	struct tlb_entry *e = tlb_entry(c, va);

	if (likely(((va + size - 1) & PAGE_MASK) == e->write))
		return (void *)(e->addend + va);
	return mmu_rmw(c, va, size, c->cpl == 3);
}

#define INT_GENERAL_FN static void __attribute__((noinline))

/* op_NAME_s, _f, _p, _g: NAME(c, op, value) gets what the operand holds. */
#define INT_LOAD(name, bits)                                                  \
	INT_GENERAL_FN op_##name##_g(struct soft_cpu *c, const struct op *op) \
	{                                                                     \
		c->op = op;                                                   \
		name(c, op, soft_ld##bits(c, op_ea(c, op, bits / 8, false))); \
		return op_next(c, op);                                        \
	}                                                                     \
	INT_LOAD_EA(name, bits, s)                                            \
	INT_LOAD_EA(name, bits, f)                                            \
	INT_LOAD_EA(name, bits, p)
#define INT_LOAD_EA(name, bits, ea)                                           \
	static void op_##name##_##ea(struct soft_cpu *c, const struct op *op) \
	{                                                                     \
		const void *p = soft_read_ptr(c, EA_##ea(c, op), bits / 8);   \
		uint##bits##_t v;                                             \
                                                                              \
		if (unlikely(p == NULL))                                      \
			return op_##name##_g(c, op);                          \
		__builtin_memcpy(&v, p, sizeof(v));                           \
		name(c, op, v);                                               \
		return op_next(c, op);                                        \
	}

/* The operand becomes NAME(c, op). */
#define INT_STORE(name, bits)                                                 \
	INT_GENERAL_FN op_##name##_g(struct soft_cpu *c, const struct op *op) \
	{                                                                     \
		c->op = op;                                                   \
		soft_st##bits(c, op_ea(c, op, bits / 8, true), name(c, op));  \
		return op_next(c, op);                                        \
	}                                                                     \
	INT_STORE_EA(name, bits, s)                                           \
	INT_STORE_EA(name, bits, f)                                           \
	INT_STORE_EA(name, bits, p)
#define INT_STORE_EA(name, bits, ea)                                          \
	static void op_##name##_##ea(struct soft_cpu *c, const struct op *op) \
	{                                                                     \
		void *p = soft_write_ptr(c, EA_##ea(c, op), bits / 8);        \
		uint##bits##_t v;                                             \
                                                                              \
		if (unlikely(p == NULL))                                      \
			return op_##name##_g(c, op);                          \
		v = name(c, op);                                              \
		__builtin_memcpy(p, &v, sizeof(v));                           \
		return op_next(c, op);                                        \
	}

/* The operand becomes NAME(c, op, what it was), a mmu_modify_fn. */
#define INT_MODIFY(name, bits)                                                \
	INT_GENERAL_FN op_##name##_g(struct soft_cpu *c, const struct op *op) \
	{                                                                     \
		gva_t va;                                                     \
		uint##bits##_t v;                                             \
		void *p;                                                      \
                                                                              \
		c->op = op;                                                   \
		va = op_ea(c, op, bits / 8, true);                            \
		p = rmw_ptr(c, va, bits / 8);                                 \
		if (unlikely(p == NULL)) {                                    \
			mmu_modify(c, op, va, bits / 8, c->cpl == 3, name);   \
			return op_next(c, op);                                \
		}                                                             \
		__builtin_memcpy(&v, p, sizeof(v));                           \
		v = (uint##bits##_t)name(c, op, v);                           \
		__builtin_memcpy(p, &v, sizeof(v));                           \
		return op_next(c, op);                                        \
	}                                                                     \
	INT_MODIFY_EA(name, bits, s)                                          \
	INT_MODIFY_EA(name, bits, f)                                          \
	INT_MODIFY_EA(name, bits, p)
#define INT_MODIFY_EA(name, bits, ea)                                         \
	static void op_##name##_##ea(struct soft_cpu *c, const struct op *op) \
	{                                                                     \
		void *p = soft_write_ptr(c, EA_##ea(c, op), bits / 8);        \
		uint##bits##_t v;                                             \
                                                                              \
		if (unlikely(p == NULL))                                      \
			return op_##name##_g(c, op);                          \
		__builtin_memcpy(&v, p, sizeof(v));                           \
		v = (uint##bits##_t)name(c, op, v);                           \
		__builtin_memcpy(p, &v, sizeof(v));                           \
		return op_next(c, op);                                        \
	}

#define INT_FORM_ROW(name)                                                 \
	{                                                                  \
		op_##name##_s, op_##name##_f, op_##name##_p, op_##name##_g \
	}

/*
 * rm = fn(rm): a register or memory, atomically with LOCK.  fn may be called again with c->aflags
 * restored when another vCPU came in between; it must change nothing but the flags.
 */
void int_modify(struct soft_cpu *c, const struct op *op, mmu_modify_fn *fn);
void int_modify_at(struct soft_cpu *c, const struct op *op, gva_t va, mmu_modify_fn *fn);

static inline void int_kills(struct op *op, op_fn *without_flags)
{
	op->flags |= OP_KILLS;
	op->ptr = (void *)without_flags;
}

/* By file; all are called by decode_integer(). */
bool decode_alu(struct soft_cpu *c, const struct decoded *d, struct op *op);
bool decode_move(struct soft_cpu *c, const struct decoded *d, struct op *op);
bool decode_shift(struct soft_cpu *c, const struct decoded *d, struct op *op);
bool decode_mul(struct soft_cpu *c, const struct decoded *d, struct op *op);
bool decode_bit(struct soft_cpu *c, const struct decoded *d, struct op *op);
bool decode_atomic(struct soft_cpu *c, const struct decoded *d, struct op *op);
bool decode_stack(struct soft_cpu *c, const struct decoded *d, struct op *op);
bool decode_string(struct soft_cpu *c, const struct decoded *d, struct op *op);
bool decode_bcd(struct soft_cpu *c, const struct decoded *d, struct op *op);
bool decode_flow(struct soft_cpu *c, const struct decoded *d, struct op *op);
bool decode_bmi(struct soft_cpu *c, const struct decoded *d, struct op *op);

/* After a block is decoded: leaves out flags nobody sees, joins compare and jump. */
void int_optimize(struct block *b);

#endif
