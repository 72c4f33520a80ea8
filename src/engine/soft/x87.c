/*
 * x87 arithmetic by the host's x87: the guest's state goes in by FXRSTOR, the instruction executes with
 * the guest's own control word, the state comes out by FXSAVE.
 *
 * That is exact with unmasked exceptions, too: such a one only sets ES, and waits for the next waiting
 * instruction, which the stub has none of.  A pending exception never goes in: it is #MF before.
 */
#include "engine/soft/vec.h"

#include "engine/soft/run.h"

#define FSW_PE 0x20u

enum kind { KIND_REG, KIND_LOAD, KIND_STORE };

static void check(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	if (c->cr0 & (CR0_EM | CR0_TS))
		soft_fault(c, EXC_NM);
	if (unlikely(fpu_area(c)->fsw & FSW_ES))
		fpu_pending(c);
}

/* With the last instruction's pointers as an Intel processor keeps them: FOP is in op->imm. */
static void run(struct soft_cpu *c, const struct op *op, void *mem)
{
	struct fpu_area *f = fpu_area(c);
	uint64_t fdp = op->flags & OP_MEM ? op_offset(c, op) : f->fdp;
	/* Reported by IRQ 13 and ignored since: the host must not see it. */
	uint16_t ignored = f->fsw & ~f->fcw & FSW_FLAGS;

	f->fsw &= (uint16_t) ~(ignored | FSW_ES | FSW_B);
	((vec_stub *)op->ptr)(c, vec_stop, mem);
	if (unlikely(ignored))
		f->fsw = fpu_summary(f->fsw | ignored, f->fcw);
	f->fop = (uint16_t)op->imm;
	f->fip = op_rip(c, op);
	f->fdp = fdp;
	f->mxcsr_mask = MXCSR_MASK;
}

static void op_x87(struct soft_cpu *c, const struct op *op)
{
	check(c, op);
	run(c, op, NULL);
	return op_next(c, op);
}

static void op_x87_load(struct soft_cpu *c, const struct op *op)
{
	check(c, op);
	run(c, op, vec_read(c, op_ea(c, op, op->size, false), op->size));
	return op_next(c, op);
}

/* Nothing is stored when an unmasked exception but precision came up. */
static void op_x87_store(struct soft_cpu *c, const struct op *op)
{
	const struct fpu_area *f = fpu_area(c);
	void *to;
	gva_t va;

	check(c, op);
	va = op_ea(c, op, op->size, true);
	to = vec_write(c, va, op->size);
	if (to != c->vec->bounce) {
		run(c, op, to); /* the host leaves out the store by itself */
		return op_next(c, op);
	}
	mmu_check(c, va, op->size, true, c->cpl == 3);
	run(c, op, to);
	if (!(f->fsw & ~f->fcw & FSW_FLAGS & ~FSW_PE))
		mmu_store_bytes(c, va, to, op->size, c->cpl == 3);
	return op_next(c, op);
}

static void emit_area(struct emit *e, unsigned reg)
{
	EMIT(e, 0x48, 0x0f, 0xae, (uint8_t)(0x87 | reg << 3)); /* fxsave64 (0), fxrstor64 (1) */
	emit_u32(e, offsetof(struct soft_cpu, xsave));
}

static vec_stub *stub(struct soft_cpu *c, const struct decoded *d, bool memory, bool flags)
{
	const ZydisDecodedInstruction *z = &d->insn;
	struct emit e = {0};

	emit_area(&e, 1);
	if (memory)
		EMIT(&e, 0x48, 0x89, 0xd1); /* mov rcx, rdx */
	if (flags)
		emit_flags_load(&e);
	EMIT(&e, z->opcode,
	     (uint8_t)(memory ? z->raw.modrm.reg << 3 | 1
	                      : 0xc0 | z->raw.modrm.reg << 3 | z->raw.modrm.rm));
	if (flags)
		emit_flags_store(&e);
	emit_area(&e, 0);
	EMIT(&e, 0xdb, 0xe3); /* fninit */
	emit_mxcsr_host(&e);
	emit_next(&e);
	return vec_keep(c, &e);
}

bool decode_x87(struct soft_cpu *c, const struct decoded *d, struct op *op)
{
	static op_fn *const handler[] = {op_x87, op_x87_load, op_x87_store};
	const ZydisDecodedInstruction *z = &d->insn;
	enum kind kind = KIND_REG;
	bool flags = false;

	if (z->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT || z->opcode < 0xd8 || z->opcode > 0xdf)
		return false;
	for (unsigned i = 0; i < z->operand_count; i++) {
		const ZydisDecodedOperand *o = &d->operand[i];

		flags |= vec_is(o, ZYDIS_REGCLASS_FLAGS);
		if (o->type != ZYDIS_OPERAND_TYPE_MEMORY)
			continue;
		kind = o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE ? KIND_STORE : KIND_LOAD;
		op->size = (uint8_t)(o->size / 8);
	}
	op->imm = (z->opcode & 7u) << 8 | d->bytes[z->raw.modrm.offset];
	op->ptr = (void *)stub(c, d, kind != KIND_REG, flags);
	op->fn = handler[kind];
	return true;
}
