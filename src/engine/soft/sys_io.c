/* Port I/O: IN, OUT, INS, OUTS with and without REP; permission by IOPL and the TSS's bitmap. */
#include "engine/soft/decode.h"
#include "engine/soft/sys.h"

#define IO_BATCH    256 /* iterations between looks at requests */
#define TSS_IO_BASE 102 /* offset of the bitmap's offset */

/* SDM 1 18.5 */
static void check_port(struct soft_cpu *c, uint16_t port, unsigned size)
{
	unsigned iopl = (c->eflags & FLAG_IOPL) >> FLAG_IOPL_SHIFT;
	uint32_t at;

	if (!(c->cr0 & CR0_PE) || (!(c->eflags & FLAG_VM) && c->cpl <= iopl))
		return;
	if ((c->tr.attr & (SEG_P | 0xd)) != (SEG_P | SEG_TSS) || c->tr.limit < TSS_IO_BASE + 1)
		sys_refuse(c);
	at = soft_ld16_sys(c, seg_linear(c, c->tr.base + TSS_IO_BASE)) + port / 8u;
	/* Always two bytes: an access may go over a byte's end. */
	if (at + 1 > c->tr.limit ||
	    (soft_ld16_sys(c, seg_linear(c, c->tr.base + at)) >> (port & 7) & ((1u << size) - 1)))
		sys_refuse(c);
}

/* n: the port is an immediate, else DX */
static uint16_t port_of(const struct soft_cpu *c, const struct op *op)
{
	return op->n ? (uint8_t)op->imm : (uint16_t)c->gpr[CPU_RDX];
}

static void op_in(struct soft_cpu *c, const struct op *op)
{
	uint16_t port = port_of(c, op);

	c->op = op;
	check_port(c, port, op->size);
	reg_set(c, CPU_RAX, op->size, false, machine_pio_read(c->machine, port, op->size));
	return op_next(c, op);
}

static void op_out(struct soft_cpu *c, const struct op *op)
{
	uint16_t port = port_of(c, op);

	c->op = op;
	check_port(c, port, op->size);
	machine_pio_write(c->machine, port, op->size,
	                  (uint32_t)reg_get(c, CPU_RAX, op->size, false));
	return op_next(c, op);
}

static uint64_t address_mask(const struct op *op)
{
	return op->asize == 8 ? ~0ull : op->asize == 4 ? 0xffffffffull : 0xffffull;
}

static void move(struct soft_cpu *c, const struct op *op, unsigned r)
{
	uint64_t by = c->eflags & FLAG_DF ? -(uint64_t)op->size : op->size;

	reg_set(c, r, op->asize, false, c->gpr[r] + by);
}

/* Memory comes first: a fault must not lose what the device gave. */
static void in_one(struct soft_cpu *c, const struct op *op)
{
	gva_t at = mmu_linear(c, CPU_ES, c->gpr[CPU_RDI] & address_mask(op), op->size, true);

	mmu_check(c, at, op->size, true, c->cpl == 3);
	mem_put(c, at, op->size, machine_pio_read(c->machine, (uint16_t)c->gpr[CPU_RDX], op->size));
	move(c, op, CPU_RDI);
}

static void out_one(struct soft_cpu *c, const struct op *op)
{
	gva_t at = mmu_linear(c, op->seg, c->gpr[CPU_RSI] & address_mask(op), op->size, false);

	machine_pio_write(c->machine, (uint16_t)c->gpr[CPU_RDX], op->size,
	                  (uint32_t)mem_get(c, at, op->size));
	move(c, op, CPU_RSI);
}

/* n: OUTS */
static void one(struct soft_cpu *c, const struct op *op)
{
	if (op->n)
		out_one(c, op);
	else
		in_one(c, op);
}

static void op_io_string(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	check_port(c, (uint16_t)c->gpr[CPU_RDX], op->size);
	one(c, op);
	return op_next(c, op);
}

static void op_io_rep(struct soft_cpu *c, const struct op *op)
{
	uint64_t mask = address_mask(op), count;

	c->op = op;
	check_port(c, (uint16_t)c->gpr[CPU_RDX], op->size);
	for (unsigned i = 0; (count = c->gpr[CPU_RCX] & mask) != 0; i++) {
		/*
		 * Some progress is made before requests are looked at, or the trap flag's
		 * debugger.
		 */
		if (i > 0 && (i >= IO_BATCH || (c->eflags & FLAG_TF) ||
		              atomic_load_explicit(c->requests, memory_order_relaxed) != 0)) {
			c->instructions += op->nth - 1;
			return op_leave(c, op_rip(c, op));
		}
		one(c, op);
		reg_set(c, CPU_RCX, op->asize, false, count - 1);
	}
	return op_next(c, op);
}

static bool decode_io_string(const struct decoded *d, struct op *op, unsigned size, bool out)
{
	bool wide = (d->mode & MODE_BITS) == MODE_64;
	ZydisInstructionAttributes a = d->insn.attributes;

	op->size = (uint8_t)size;
	op->n = out;
	op->seg = wide ? SOFT_SEG_NONE : CPU_DS;
	if (a & ZYDIS_ATTRIB_HAS_SEGMENT_FS)
		op->seg = CPU_FS;
	else if (a & ZYDIS_ATTRIB_HAS_SEGMENT_GS)
		op->seg = CPU_GS;
	else if (!wide && (a & ZYDIS_ATTRIB_HAS_SEGMENT))
		op->seg = a & ZYDIS_ATTRIB_HAS_SEGMENT_CS   ? CPU_CS
		          : a & ZYDIS_ATTRIB_HAS_SEGMENT_SS ? CPU_SS
		          : a & ZYDIS_ATTRIB_HAS_SEGMENT_ES ? CPU_ES
		                                            : CPU_DS;
	op->fn = op_io_string;
	for (unsigned i = 0; i < d->insn.raw.prefix_count; i++)
		if ((d->insn.raw.prefixes[i].value | 1) == 0xf3)
			op->fn = op_io_rep;
	return true;
}

static bool decode_io(struct op *op, op_fn *fn)
{
	op->n = op->opcode < 0xe8;
	if (!(op->opcode & 1))
		op->size = 1;
	else if (op->size == 8)
		op->size = 4;
	op->fn = fn;
	return true;
}

bool decode_sys_io(const struct decoded *d, struct op *op)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_IN:
		return decode_io(op, op_in);
	case ZYDIS_MNEMONIC_OUT:
		return decode_io(op, op_out);
	case ZYDIS_MNEMONIC_INSB:
		return decode_io_string(d, op, 1, false);
	case ZYDIS_MNEMONIC_INSW:
		return decode_io_string(d, op, 2, false);
	case ZYDIS_MNEMONIC_INSD:
		return decode_io_string(d, op, 4, false);
	case ZYDIS_MNEMONIC_OUTSB:
		return decode_io_string(d, op, 1, true);
	case ZYDIS_MNEMONIC_OUTSW:
		return decode_io_string(d, op, 2, true);
	case ZYDIS_MNEMONIC_OUTSD:
		return decode_io_string(d, op, 4, true);
	default:
		return false;
	}
}
