/*
 * Registers of the descriptor tables and the task: LGDT, SIDT, LLDT, STR and their kin (SDM 3A
 * 2.4).
 */
#include <string.h>

#include "engine/soft/decode.h"
#include "engine/soft/sys.h"

static void check_umip(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	if ((c->cr4 & CR4_UMIP) && c->cpl != 0)
		sys_refuse(c);
}

static void check_protected(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	if (seg_is_real(c))
		soft_fault(c, EXC_UD);
}

/* n: 1 for the IDTR.  Memory: a 16-bit limit, then the base of 4 (64-bit code: 8) bytes. */
static void op_load_table(struct soft_cpu *c, const struct op *op)
{
	bool wide = (c->mode & MODE_BITS) == MODE_64;
	struct cpu_table t;
	gva_t at;

	sys_ring0(c, op);
	at = op_ea(c, op, wide ? 10 : 6, false);
	t.limit = soft_ld16(c, at);
	t.base = wide ? soft_ld64(c, at + 2) : soft_ld32(c, at + 2);
	if (op->size == 2 && !wide)
		t.base &= 0xffffff;
	if (!seg_canonical(t.base))
		sys_refuse(c);
	*(op->n ? &c->idt : &c->gdt) = t;
	return op_next(c, op);
}

static NOINLINE void do_store_table(struct soft_cpu *c, const struct op *op)
{
	bool wide = (c->mode & MODE_BITS) == MODE_64;
	unsigned len = wide ? 10 : 6;
	struct cpu_table t = op->n ? c->idt : c->gdt;
	uint8_t bytes[10];

	check_umip(c, op);
	memcpy(bytes, &t.limit, 2);
	memcpy(bytes + 2, &t.base, 8);
	mmu_store_bytes(c, op_ea(c, op, len, true), bytes, len, c->cpl == 3);
}
OP_OF(store_table)

static uint16_t selector(struct soft_cpu *c, const struct op *op)
{
	if (op->flags & OP_MEM)
		return soft_ld16(c, op_ea(c, op, 2, false));
	return (uint16_t)c->gpr[op->rm];
}

/* n: 1 for the task register */
static void op_load_system(struct soft_cpu *c, const struct op *op)
{
	uint16_t sel;

	check_protected(c, op);
	sys_ring0(c, op);
	sel = selector(c, op);
	if (op->n)
		seg_load_tr(c, sel);
	else
		seg_load_ldt(c, sel);
	return op_next(c, op);
}

static void op_store_system(struct soft_cpu *c, const struct op *op)
{
	uint16_t sel = op->n ? c->tr.sel : c->ldt.sel;

	check_protected(c, op);
	check_umip(c, op);
	if (op->flags & OP_MEM)
		soft_st16(c, op_ea(c, op, 2, true), sel);
	else
		reg_set(c, op->rm, op->size, false, sel);
	return op_next(c, op);
}

static bool table(struct op *op, op_fn *fn, unsigned n)
{
	op->fn = fn;
	op->n = (uint8_t)n;
	return true;
}

bool decode_sys_table(const struct decoded *d, struct op *op)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_LGDT:
		return table(op, op_load_table, 0);
	case ZYDIS_MNEMONIC_LIDT:
		return table(op, op_load_table, 1);
	case ZYDIS_MNEMONIC_SGDT:
		return table(op, op_store_table, 0);
	case ZYDIS_MNEMONIC_SIDT:
		return table(op, op_store_table, 1);
	case ZYDIS_MNEMONIC_LLDT:
		return table(op, op_load_system, 0);
	case ZYDIS_MNEMONIC_LTR:
		return table(op, op_load_system, 1);
	case ZYDIS_MNEMONIC_SLDT:
		return table(op, op_store_system, 0);
	case ZYDIS_MNEMONIC_STR:
		return table(op, op_store_system, 1);
	default:
		return false;
	}
}
