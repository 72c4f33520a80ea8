/*
 * Software interrupts, fast system calls, PUSHF and POPF.
 *
 * SYSCALL and SYSENTER are AMD's, as the CPU model is (AMD64 APM volume 3): SYSCALL also in legacy and
 * compatibility mode, SYSENTER in legacy mode only.
 */
#include "engine/soft/far.h"
#include "engine/soft/stack.h"

/* attr of the flat segments that fast system calls load */
#define FLAT_CODE32 (SEG_G | SEG_DB | SEG_P | SEG_S | 0xb)
#define FLAT_CODE64 (SEG_G | SEG_L | SEG_P | SEG_S | 0xb)
#define FLAT_DATA   (SEG_G | SEG_DB | SEG_P | SEG_S | 3)

static void op_int(struct soft_cpu *c, const struct op *op)
{
	struct soft_exception x = {.vector = (uint8_t)op->imm};

	c->op = op;
	if (op->n == SOFT_INT_N && (c->eflags & FLAG_VM) && (c->eflags & FLAG_IOPL) != FLAG_IOPL)
		soft_fault_error(c, EXC_GP, 0);
	if (op->n == SOFT_INTO && !(c->aflags & AF_OF))
		return far_leave(c, op, op_end(c, op));
	c->rip = op_end(c, op);
	soft_deliver(c, op->n, &x);
	c->instructions += op->nth;
}

/* CS and SS flat, with the privilege of sel's RPL. */
static void load_flat(struct soft_cpu *c, uint16_t cs, uint16_t ss, unsigned code)
{
	unsigned dpl = (cs & 3u) << SEG_DPL_SHIFT;

	c->seg[CPU_CS] =
		(struct cpu_seg){.limit = UINT32_MAX, .sel = cs, .attr = (uint16_t)(code | dpl)};
	c->seg[CPU_SS] = (struct cpu_seg){
		.limit = UINT32_MAX, .sel = ss, .attr = (uint16_t)(FLAT_DATA | dpl)};
	c->cpl = cs & 3;
	soft_mode_update(c);
}

static void op_syscall(struct soft_cpu *c, const struct op *op)
{
	uint16_t cs = c->star >> 32 & 0xfffc;
	uint32_t flags = flags_get(c);
	uint64_t rip = op_end(c, op);

	c->op = op;
	if (!(c->efer & EFER_SCE) || !(c->cr0 & CR0_PE))
		soft_fault(c, EXC_UD);
	c->gpr[CPU_RCX] = rip;
	if (seg_is_long(c)) {
		rip = (c->mode & MODE_BITS) == MODE_64 ? c->lstar : c->cstar;
		c->gpr[CPU_R8 + 3] = flags & ~FLAG_RF;
		flags_set(c, flags & ~((uint32_t)c->fmask | FLAG_RF));
		load_flat(c, cs, (uint16_t)(cs + 8), FLAT_CODE64);
	} else {
		rip = (uint32_t)c->star;
		flags_set(c, flags & ~(FLAG_IF | FLAG_RF | FLAG_VM));
		load_flat(c, cs, (uint16_t)(cs + 8), FLAT_CODE32);
	}
	far_leave(c, op, rip);
}

/* RCX need not be canonical: then the fetch faults, in ring 3. */
static void op_sysret(struct soft_cpu *c, const struct op *op)
{
	uint16_t cs = (uint16_t)(c->star >> 48), ss = (uint16_t)((cs + 8) | 3);
	uint64_t rip = c->gpr[CPU_RCX];
	uint32_t flags = flags_get(c) | FLAG_IF;

	c->op = op;
	if (!(c->efer & EFER_SCE))
		soft_fault(c, EXC_UD);
	if (seg_is_real(c) || c->cpl != 0)
		soft_fault_error(c, EXC_GP, 0);
	if (seg_is_long(c))
		flags = (uint32_t)c->gpr[CPU_R8 + 3];
	flags_set(c, flags & ~(FLAG_RF | FLAG_VM));
	if (op->size == 8) {
		load_flat(c, (uint16_t)((cs + 16) | 3), ss, FLAT_CODE64);
	} else {
		rip = (uint32_t)rip;
		load_flat(c, cs | 3, ss, FLAT_CODE32);
	}
	far_leave(c, op, rip);
}

static void op_sysenter(struct soft_cpu *c, const struct op *op)
{
	uint16_t cs = c->sysenter_cs & 0xfffc;

	c->op = op;
	if (seg_is_long(c))
		soft_fault(c, EXC_UD);
	if (!(c->cr0 & CR0_PE) || cs == 0)
		soft_fault_error(c, EXC_GP, 0);
	c->eflags &= ~(FLAG_VM | FLAG_IF | FLAG_RF);
	c->gpr[CPU_RSP] = (uint32_t)c->sysenter_esp;
	load_flat(c, cs, (uint16_t)(cs + 8), FLAT_CODE32);
	far_leave(c, op, (uint32_t)c->sysenter_eip);
}

static void op_sysexit(struct soft_cpu *c, const struct op *op)
{
	uint16_t cs = c->sysenter_cs & 0xfffc;

	c->op = op;
	if (seg_is_real(c) || c->cpl != 0)
		soft_fault_error(c, EXC_GP, 0);
	if (seg_is_long(c))
		soft_fault(c, EXC_UD);
	if (cs == 0)
		soft_fault_error(c, EXC_GP, 0);
	c->gpr[CPU_RSP] = (uint32_t)c->gpr[CPU_RCX];
	load_flat(c, (uint16_t)((cs + 16) | 3), (uint16_t)((cs + 24) | 3), FLAT_CODE32);
	far_leave(c, op, (uint32_t)c->gpr[CPU_RDX]);
}

/* PUSHF and POPF are privileged in virtual 8086 mode. */
static void check_iopl_v86(struct soft_cpu *c)
{
	if ((c->eflags & FLAG_VM) && (c->eflags & FLAG_IOPL) != FLAG_IOPL)
		soft_fault_error(c, EXC_GP, 0);
}

static void op_pushf(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	check_iopl_v86(c);
	stack_push(c, op->size, flags_get(c) & ~(FLAG_VM | FLAG_RF));
	return op_next(c, op);
}

/* Flags that POPF writes at the current privilege; VM, VIF and VIP never, RF is cleared. */
static uint32_t popf_flags(const struct soft_cpu *c, unsigned size)
{
	unsigned iopl = (c->eflags & FLAG_IOPL) >> FLAG_IOPL_SHIFT;
	uint32_t mask = FLAGS_ARITH | FLAG_TF | FLAG_DF | FLAG_NT;

	if (c->cpl == 0)
		mask |= FLAG_IOPL;
	if (c->cpl <= iopl)
		mask |= FLAG_IF;
	if (size > 2)
		mask |= FLAG_AC | FLAG_ID;
	return mask;
}

static void op_popf(struct soft_cpu *c, const struct op *op)
{
	uint32_t mask = popf_flags(c, op->size), old = c->eflags, v;

	c->op = op;
	check_iopl_v86(c);
	v = (uint32_t)stack_peek(c, 0, op->size);
	stack_set(c, c->gpr[CPU_RSP] + op->size);
	flags_set(c, (flags_get(c) & ~(mask | FLAG_RF)) | (v & mask));
	/* Interrupts that were held off, single step and alignment checks want the dispatch loop. */
	if (((c->eflags & ~old) & FLAG_IF) || ((c->eflags ^ old) & (FLAG_TF | FLAG_AC))) {
		soft_mode_update(c);
		return far_leave(c, op, op_end(c, op));
	}
	return op_next(c, op);
}

static bool interrupt(struct op *op, enum soft_event kind, unsigned vector)
{
	op->n = (uint8_t)kind;
	op->imm = vector;
	op->fn = op_int;
	return true;
}

static bool decode(const struct decoded *d, struct op *op)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_INT:
		return interrupt(op, SOFT_INT_N, op->imm & 0xff);
	case ZYDIS_MNEMONIC_INT3:
		return interrupt(op, SOFT_INT3, EXC_BP);
	case ZYDIS_MNEMONIC_INTO:
		return interrupt(op, SOFT_INTO, EXC_OF);
	case ZYDIS_MNEMONIC_INT1:
		return interrupt(op, SOFT_INT1, EXC_DB);
	case ZYDIS_MNEMONIC_SYSCALL:
		op->fn = op_syscall;
		return true;
	case ZYDIS_MNEMONIC_SYSRET:
		op->fn = op_sysret;
		return true;
	case ZYDIS_MNEMONIC_SYSENTER:
		op->fn = op_sysenter;
		return true;
	case ZYDIS_MNEMONIC_SYSEXIT:
		op->fn = op_sysexit;
		return true;
	case ZYDIS_MNEMONIC_PUSHF:
	case ZYDIS_MNEMONIC_PUSHFD:
	case ZYDIS_MNEMONIC_PUSHFQ:
		op->flags |= OP_STACK;
		op->fn = op_pushf;
		return true;
	case ZYDIS_MNEMONIC_POPF:
	case ZYDIS_MNEMONIC_POPFD:
	case ZYDIS_MNEMONIC_POPFQ:
		op->flags |= OP_STACK;
		op->fn = op_popf;
		return true;
	default:
		return false;
	}
}

bool decode_far_call(struct soft_cpu *c, const struct decoded *cd, struct op *op)
{
	struct decoded *d = (struct decoded *)cd; /* d->ends is an output */

	if (!decode(d, op))
		return false;
	d->ends = op->fn != op_pushf;
	return true;
}
