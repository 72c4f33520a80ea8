/*
 * MOVS STOS LODS SCAS CMPS, with and without REP.  Every iteration leaves RSI, RDI and RCX as they
 * are to be, so that a fault or an interrupt in the middle restarts exactly there.
 *
 * REP MOVS and REP STOS forwards in 64-bit code go page by page through the host's memory; what is unusual
 * (devices, code, watched pages, elements that cross a page) goes one by one.
 */
#include <string.h>

#include "engine/soft/int.h"
#include "engine/soft/mmu.h"

enum string_op { STR_MOVS, STR_STOS, STR_LODS, STR_SCAS, STR_CMPS };

#define STRING_BATCH 4096 /* iterations between looks at requests */

static uint64_t address_mask(const struct op *op)
{
	return op->asize == 8 ? ~0ull : op->asize == 4 ? 0xffffffffull : 0xffffull;
}

static void address_set(struct soft_cpu *c, const struct op *op, unsigned r, uint64_t v)
{
	reg_set(c, r, op->asize, false, v);
}

static gva_t source(struct soft_cpu *c, const struct op *op)
{
	return mmu_linear(c, op->seg, c->gpr[CPU_RSI] & address_mask(op), op->size, false);
}

static gva_t destination(struct soft_cpu *c, const struct op *op, bool write)
{
	uint64_t a = c->gpr[CPU_RDI] & address_mask(op);

	if ((c->mode & MODE_BITS) == MODE_64)
		return a;
	return mmu_linear(c, CPU_ES, a, op->size, write);
}

static void compare(struct soft_cpu *c, unsigned size, uint64_t a, uint64_t b)
{
	unsigned up = 64 - size * 8;
	uint16_t f, af;

	/* In the upper bits of a wide comparison all flags but PF and AF come out the same. */
	asm("cmpq %2, %1" FLAGS_OUT : "=&a"(f) : "r"(a << up), "r"(b << up) : "cc");
	asm("cmpb %2, %1" FLAGS_OUT : "=&a"(af) : "q"((uint8_t)a), "q"((uint8_t)b) : "cc");
	c->aflags = (uint16_t)((f & ~(AF_AF | AF_PF)) | (af & (AF_AF | AF_PF)));
}

/* One iteration, at the pointers in the registers, which it moves. */
static void iterate(struct soft_cpu *c, const struct op *op)
{
	unsigned size = op->size;
	int64_t step = c->eflags & FLAG_DF ? -(int64_t)size : (int64_t)size;
	bool si = op->n == STR_MOVS || op->n == STR_LODS || op->n == STR_CMPS;
	uint64_t v = 0, with = 0;

	/* Where both operands fault, processors report the second one. */
	if (op->n == STR_CMPS)
		with = mem_get(c, destination(c, op, false), size);
	if (si)
		v = mem_get(c, source(c, op), size);
	switch (op->n) {
	case STR_MOVS:
		mem_put(c, destination(c, op, true), size, v);
		break;
	case STR_STOS:
		mem_put(c, destination(c, op, true), size, c->gpr[CPU_RAX]);
		break;
	case STR_LODS:
		reg_set(c, CPU_RAX, size, false, v);
		break;
	case STR_SCAS:
		compare(c, size, c->gpr[CPU_RAX], mem_get(c, destination(c, op, false), size));
		break;
	default:
		compare(c, size, v, with);
		break;
	}
	if (si)
		address_set(c, op, CPU_RSI, c->gpr[CPU_RSI] + (uint64_t)step);
	if (op->n != STR_LODS)
		address_set(c, op, CPU_RDI, c->gpr[CPU_RDI] + (uint64_t)step);
}

static void op_string(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	iterate(c, op);
	return op_next(c, op);
}

static uint8_t *host_at(struct soft_cpu *c, gva_t va, bool write)
{
	const struct tlb_entry *e = tlb_entry(c, va);

	if ((va & PAGE_MASK) != (write ? e->write : e->read)) {
		mmu_touch(c, va, write ? MMU_WRITE : MMU_READ, c->cpl == 3);
		if ((va & PAGE_MASK) != (write ? e->write : e->read))
			return NULL;
	}
	return (uint8_t *)(e->addend + va);
}

static void fill(uint8_t *p, uint64_t v, unsigned size, uint64_t n)
{
	switch (size) {
	case 1:
		memset(p, (uint8_t)v, n);
		break;
	case 2:
		asm volatile("rep stosw" : "+D"(p), "+c"(n) : "a"(v) : "memory");
		break;
	case 4:
		asm volatile("rep stosl" : "+D"(p), "+c"(n) : "a"(v) : "memory");
		break;
	default:
		asm volatile("rep stosq" : "+D"(p), "+c"(n) : "a"(v) : "memory");
		break;
	}
}

/* Copies exactly as ascending elements would, also when the ranges overlap. */
static void copy(uint8_t *to, const uint8_t *from, unsigned size, uint64_t n)
{
	if (to <= from || to >= from + n * size) {
		memmove(to, from, n * size);
		return;
	}
	for (uint64_t i = 0; i < n * size; i += size)
		memmove(to + i, from + i, size);
}

/* As many iterations as lie in one page on both sides; 0: do one by hand. */
static uint64_t in_bulk(struct soft_cpu *c, const struct op *op, uint64_t count)
{
	gva_t di = c->gpr[CPU_RDI], si = c->gpr[CPU_RSI] + c->seg_base[op->seg];
	uint64_t n = MIN(count, (PAGE_SIZE - (di & ~PAGE_MASK)) / op->size);
	uint8_t *from = NULL, *to;

	/* The source first, as by hand; both may want the same entry of the TLB. */
	if (op->n == STR_MOVS) {
		n = MIN(n, (PAGE_SIZE - (si & ~PAGE_MASK)) / op->size);
		if (n == 0 || (from = host_at(c, si, false)) == NULL)
			return 0;
	}
	if (n == 0 || (to = host_at(c, di, true)) == NULL)
		return 0;
	if (op->n == STR_STOS) {
		fill(to, c->gpr[CPU_RAX], op->size, n);
	} else {
		copy(to, from, op->size, n);
		c->gpr[CPU_RSI] += n * op->size;
	}
	c->gpr[CPU_RDI] += n * op->size;
	c->gpr[CPU_RCX] -= n;
	return n;
}

/* Leaves the block to look around, and comes back to this instruction. */
static void again(struct soft_cpu *c, const struct op *op)
{
	c->instructions += op->nth - 1;
	return op_leave(c, op_rip(c, op));
}

/* Whether it is to come back for more.  Apart, so that op_rep() keeps its tail calls. */
static NOINLINE bool do_rep(struct soft_cpu *c, const struct op *op)
{
	bool compares = op->n == STR_SCAS || op->n == STR_CMPS;
	bool until = op->flags & OP_REPNE; /* ZF that ends it */
	bool bulk = op->n <= STR_STOS && op->asize == 8 && (c->mode & MODE_BITS) == MODE_64 &&
	            !(c->eflags & (FLAG_DF | FLAG_TF)) && c->tlb != &c->tlb_aligned;
	uint64_t count, mask = address_mask(op);

	c->op = op;
	for (unsigned i = 0; (count = c->gpr[CPU_RCX] & mask) != 0; i++) {
		if (i >= STRING_BATCH || (i > 0 && (c->eflags & FLAG_TF)) ||
		    atomic_load_explicit(c->requests, memory_order_relaxed) != 0) {
			/* With a request waiting some progress is made first. */
			if (i > 0)
				return true;
		}
		if (bulk && in_bulk(c, op, count) > 0)
			continue;
		iterate(c, op);
		address_set(c, op, CPU_RCX, count - 1);
		if (compares && !!(c->aflags & AF_ZF) == until)
			break;
	}
	return (c->eflags & FLAG_TF) && (c->gpr[CPU_RCX] & mask) != 0 &&
	       !(compares && !!(c->aflags & AF_ZF) == until);
}

static void op_rep(struct soft_cpu *c, const struct op *op)
{
	if (do_rep(c, op))
		return again(c, op);
	return op_next(c, op);
}

static bool string(const struct decoded *d, struct op *op, enum string_op n)
{
	op->n = (uint8_t)n;
	op->seg = (d->mode & MODE_BITS) == MODE_64 ? SOFT_SEG_NONE : CPU_DS;
	if (d->insn.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_FS)
		op->seg = CPU_FS;
	else if (d->insn.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_GS)
		op->seg = CPU_GS;
	else if ((d->mode & MODE_BITS) != MODE_64)
		op->seg = d->insn.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_CS   ? CPU_CS
		          : d->insn.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_SS ? CPU_SS
		          : d->insn.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_ES ? CPU_ES
		                                                             : CPU_DS;
	op->flags &= (uint16_t) ~(OP_REP | OP_REPNE);
	for (unsigned i = 0; i < d->insn.raw.prefix_count; i++) {
		if (d->insn.raw.prefixes[i].value == 0xf3)
			op->flags = (uint16_t)((op->flags & ~OP_REPNE) | OP_REP);
		else if (d->insn.raw.prefixes[i].value == 0xf2)
			op->flags = (uint16_t)((op->flags & ~OP_REP) | OP_REPNE);
	}
	op->fn = op->flags & (OP_REP | OP_REPNE) ? op_rep : op_string;
	return true;
}

bool decode_string(struct soft_cpu *c, const struct decoded *d, struct op *op)
{
	if (d->insn.meta.category != ZYDIS_CATEGORY_STRINGOP)
		return false;
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_MOVSB:
	case ZYDIS_MNEMONIC_MOVSW:
	case ZYDIS_MNEMONIC_MOVSD:
	case ZYDIS_MNEMONIC_MOVSQ:
		return string(d, op, STR_MOVS);
	case ZYDIS_MNEMONIC_STOSB:
	case ZYDIS_MNEMONIC_STOSW:
	case ZYDIS_MNEMONIC_STOSD:
	case ZYDIS_MNEMONIC_STOSQ:
		return string(d, op, STR_STOS);
	case ZYDIS_MNEMONIC_LODSB:
	case ZYDIS_MNEMONIC_LODSW:
	case ZYDIS_MNEMONIC_LODSD:
	case ZYDIS_MNEMONIC_LODSQ:
		return string(d, op, STR_LODS);
	case ZYDIS_MNEMONIC_SCASB:
	case ZYDIS_MNEMONIC_SCASW:
	case ZYDIS_MNEMONIC_SCASD:
	case ZYDIS_MNEMONIC_SCASQ:
		return string(d, op, STR_SCAS);
	case ZYDIS_MNEMONIC_CMPSB:
	case ZYDIS_MNEMONIC_CMPSW:
	case ZYDIS_MNEMONIC_CMPSD:
	case ZYDIS_MNEMONIC_CMPSQ:
		return string(d, op, STR_CMPS);
	default:
		return false;
	}
}
