/* Read-modify-write in general; XCHG with memory, XADD, CMPXCHG, CMPXCHG8B, CMPXCHG16B. */
#include "engine/soft/code.h"
#include "engine/soft/int.h"

/* Guests may misalign what they lock. */
typedef uint16_t any_u16 __attribute__((aligned(1)));
typedef uint32_t any_u32 __attribute__((aligned(1)));
typedef uint64_t any_u64 __attribute__((aligned(1)));

static uint64_t host_get(void *p, unsigned size)
{
	switch (size) {
	case 1:
		return __atomic_load_n((uint8_t *)p, __ATOMIC_RELAXED);
	case 2:
		return *(any_u16 *)p;
	case 4:
		return *(any_u32 *)p;
	default:
		return *(any_u64 *)p;
	}
}

/* One LOCK CMPXCHG on the host; misaligned is fine there too. */
static bool host_cas(void *p, unsigned size, uint64_t *old, uint64_t new)
{
	bool ok;

	switch (size) {
	case 1:
		asm volatile("lock cmpxchgb %b3, %1"
		             : "=@ccz"(ok), "+m"(*(uint8_t *)p), "+a"(*old)
		             : "q"((uint8_t) new)
		             : "memory");
		break;
	case 2:
		asm volatile("lock cmpxchgw %w3, %1"
		             : "=@ccz"(ok), "+m"(*(uint16_t *)p), "+a"(*old)
		             : "r"((uint16_t) new)
		             : "memory");
		break;
	case 4:
		asm volatile("lock cmpxchgl %k3, %1"
		             : "=@ccz"(ok), "+m"(*(uint32_t *)p), "+a"(*old)
		             : "r"((uint32_t) new)
		             : "memory");
		break;
	default:
		asm volatile("lock cmpxchgq %3, %1"
		             : "=@ccz"(ok), "+m"(*(uint64_t *)p), "+a"(*old)
		             : "r"(new)
		             : "memory");
		break;
	}
	return ok;
}

static void host_put(void *p, unsigned size, uint64_t v)
{
	switch (size) {
	case 1:
		*(uint8_t *)p = (uint8_t)v;
		break;
	case 2:
		*(any_u16 *)p = (uint16_t)v;
		break;
	case 4:
		*(any_u32 *)p = (uint32_t)v;
		break;
	default:
		*(any_u64 *)p = v;
		break;
	}
}

void int_modify_at(struct soft_cpu *c, const struct op *op, gva_t va, mmu_modify_fn *fn)
{
	void *p = rmw_ptr(c, va, op->size);
	uint16_t flags = c->aflags;
	uint64_t old, new;

	if (p == NULL) {
		mmu_modify(c, op, va, op->size, c->cpl == 3, fn);
		return;
	}
	old = host_get(p, op->size);
	if (!(op->flags & OP_LOCK)) {
		host_put(p, op->size, fn(c, op, old));
		return;
	}
	do {
		c->aflags = flags;
		new = fn(c, op, old);
	} while (!host_cas(p, op->size, &old, new));
}

void int_modify(struct soft_cpu *c, const struct op *op, mmu_modify_fn *fn)
{
	bool high = op->flags & OP_HIGH_RM;

	c->op = op;
	if (op->flags & OP_MEM)
		int_modify_at(c, op, op_ea(c, op, op->size, true), fn);
	else
		reg_set(c, op->rm, op->size, high, fn(c, op, reg_get(c, op->rm, op->size, high)));
}

static uint64_t xchg_fn(struct soft_cpu *c, const struct op *op, uint64_t old)
{
	c->run->scratch = old;
	return int_reg(c, op);
}

/* With memory, XCHG is locked without a prefix (the decoder sets OP_LOCK). */
static void op_xchg_mem(struct soft_cpu *c, const struct op *op)
{
	int_modify(c, op, xchg_fn);
	int_reg_set(c, op, c->run->scratch);
	return op_next(c, op);
}

#define ADD_FLAGS(bits, sfx, con)                                                               \
	static uint##bits##_t add##bits(struct soft_cpu *c, uint##bits##_t a, uint##bits##_t b) \
	{                                                                                       \
		uint16_t f;                                                                     \
                                                                                                \
		asm("add" sfx " %2, %0" FLAGS_OUT : "+" con(a), "=&a"(f) : con(b) : "cc");      \
		c->aflags = f;                                                                  \
		return a;                                                                       \
	}                                                                                       \
	static void cmp##bits(struct soft_cpu *c, uint##bits##_t a, uint##bits##_t b)           \
	{                                                                                       \
		uint16_t f;                                                                     \
                                                                                                \
		asm("cmp" sfx " %2, %1" FLAGS_OUT : "=&a"(f) : con(a), con(b) : "cc");          \
		c->aflags = f;                                                                  \
	}

ADD_FLAGS(8, "b", "q")
ADD_FLAGS(16, "w", "r")
ADD_FLAGS(32, "l", "r")
ADD_FLAGS(64, "q", "r")

static uint64_t xadd_fn(struct soft_cpu *c, const struct op *op, uint64_t old)
{
	uint64_t b = int_reg(c, op);

	c->run->scratch = old;
	switch (op->size) {
	case 1:
		return add8(c, (uint8_t)old, (uint8_t)b);
	case 2:
		return add16(c, (uint16_t)old, (uint16_t)b);
	case 4:
		return add32(c, (uint32_t)old, (uint32_t)b);
	default:
		return add64(c, old, b);
	}
}

static void op_xadd(struct soft_cpu *c, const struct op *op)
{
	if (op->flags & OP_MEM) {
		int_modify(c, op, xadd_fn);
		int_reg_set(c, op, c->run->scratch);
	} else {
		bool high = op->flags & OP_HIGH_RM;
		uint64_t sum = xadd_fn(c, op, reg_get(c, op->rm, op->size, high));

		int_reg_set(c, op, c->run->scratch);
		reg_set(c, op->rm, op->size, high, sum);
	}
	return op_next(c, op);
}

static uint64_t cmpxchg_fn(struct soft_cpu *c, const struct op *op, uint64_t old)
{
	uint64_t a = reg_get(c, CPU_RAX, op->size, false);

	c->run->scratch = old;
	switch (op->size) {
	case 1:
		cmp8(c, (uint8_t)a, (uint8_t)old);
		break;
	case 2:
		cmp16(c, (uint16_t)a, (uint16_t)old);
		break;
	case 4:
		cmp32(c, (uint32_t)a, (uint32_t)old);
		break;
	default:
		cmp64(c, a, old);
		break;
	}
	return c->aflags & AF_ZF ? int_reg(c, op) : old;
}

static void op_cmpxchg(struct soft_cpu *c, const struct op *op)
{
	int_modify(c, op, cmpxchg_fn);
	if (!(c->aflags & AF_ZF))
		reg_set(c, CPU_RAX, op->size, false, c->run->scratch);
	return op_next(c, op);
}

/*
 * A 32-bit register that differs: whether its upper half is cleared is for the host to say, since
 * processors disagree with their manuals.
 */
static void op_cmpxchg_reg32(struct soft_cpu *c, const struct op *op)
{
	uint64_t rm = c->gpr[op->rm], acc = c->gpr[CPU_RAX];

	cmp32(c, (uint32_t)acc, (uint32_t)rm);
	asm("cmpxchgl %k2, %k0" : "+r"(rm), "+a"(acc) : "r"(c->gpr[op->reg]) : "cc");
	c->gpr[CPU_RAX] = acc;
	c->gpr[op->rm] = rm; /* EAX itself is always equal */
	return op_next(c, op);
}

static uint64_t cmpxchg8b_fn(struct soft_cpu *c, const struct op *op, uint64_t old)
{
	uint64_t want = c->gpr[CPU_RDX] << 32 | (uint32_t)c->gpr[CPU_RAX];

	c->run->scratch = old;
	if (old != want) {
		c->aflags &= (uint16_t)~AF_ZF;
		return old;
	}
	c->aflags |= AF_ZF;
	return c->gpr[CPU_RCX] << 32 | (uint32_t)c->gpr[CPU_RBX];
}

static void op_cmpxchg8b(struct soft_cpu *c, const struct op *op)
{
	int_modify(c, op, cmpxchg8b_fn);
	if (!(c->aflags & AF_ZF)) {
		c->gpr[CPU_RAX] = (uint32_t)c->run->scratch;
		c->gpr[CPU_RDX] = c->run->scratch >> 32;
	}
	return op_next(c, op);
}

/* Aligned, so in one page; where RAM isn't directly writable (code, ROM), in two halves. */
static NOINLINE void do_cmpxchg16b(struct soft_cpu *c, const struct op *op)
{
	uint64_t lo = c->gpr[CPU_RAX], hi = c->gpr[CPU_RDX], copy[2], *p;
	gva_t va;
	bool ok;

	c->op = op;
	va = op_ea(c, op, 16, true);
	if (va & 15)
		soft_fault_error(c, EXC_GP, 0);
	p = rmw_ptr(c, va, 16);
	if (p == NULL) {
		mmu_load_bytes(c, va, copy, 16, c->cpl == 3);
		p = copy;
	}
	asm volatile("lock cmpxchg16b %1"
	             : "=@ccz"(ok), "+m"(*(unsigned __int128 *)p), "+a"(lo), "+d"(hi)
	             : "b"(c->gpr[CPU_RBX]), "c"(c->gpr[CPU_RCX])
	             : "memory");
	if (p == copy)
		mmu_store_bytes(c, va, copy, 16, c->cpl == 3);
	c->gpr[CPU_RAX] = lo;
	c->gpr[CPU_RDX] = hi;
	c->aflags = (uint16_t)((c->aflags & ~AF_ZF) | (ok ? AF_ZF : 0));
}
OP_OF(cmpxchg16b)

bool decode_atomic(struct soft_cpu *c, const struct decoded *d, struct op *op)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_XCHG:
		op->flags |= OP_LOCK;
		op->fn = op_xchg_mem;
		return true;
	case ZYDIS_MNEMONIC_XADD:
		op->fn = op_xadd;
		return true;
	case ZYDIS_MNEMONIC_CMPXCHG:
		op->fn = op->size == 4 && !(op->flags & OP_MEM) ? op_cmpxchg_reg32 : op_cmpxchg;
		return true;
	case ZYDIS_MNEMONIC_CMPXCHG8B:
		op->size = 8;
		op->fn = op_cmpxchg8b;
		return true;
	case ZYDIS_MNEMONIC_CMPXCHG16B:
		op->fn = op_cmpxchg16b;
		return true;
	default:
		return false;
	}
}
