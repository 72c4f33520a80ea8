/* Debug registers (SDM 3B 17.2). */
#include "engine/soft/decode.h"
#include "engine/soft/sys.h"

#define DR6_FIXED 0xffff0ff0ull
#define DR6_VALID 0xe00full
#define DR6_BD    (1ull << 13)
#define DR7_FIXED 0x400ull
#define DR7_VALID 0xffff23ffull
#define DR7_GD    (1ull << 13)

/* DR4 and DR5 are DR6 and DR7, unless debug extensions are on. */
static unsigned number(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	if (op->reg > 7 || ((op->reg == 4 || op->reg == 5) && (c->cr4 & CR4_DE)))
		soft_fault(c, EXC_UD);
	sys_ring0(c, op);
	if (c->dr[7] & DR7_GD)
		soft_raise(c, &(struct soft_exception){.vector = EXC_DB, .dr6 = DR6_BD});
	return op->reg == 4 || op->reg == 5 ? op->reg + 2 : op->reg;
}

/* Pages with data breakpoints get no tags in the TLB: those that were given before must go. */
static void set(struct soft_cpu *c, unsigned n, uint64_t v)
{
	bool armed = c->dr[7] & 0xff;

	if (c->dr[n] == v)
		return;
	c->dr[n] = v;
	if (n != 6 && (armed || (c->dr[7] & 0xff)))
		soft_tlb_flush(c, false);
	soft_mode_update(c);
}

static void op_mov_to_dr(struct soft_cpu *c, const struct op *op)
{
	unsigned n = number(c, op);
	uint64_t v = op->size == 8 ? c->gpr[op->rm] : (uint32_t)c->gpr[op->rm];

	if (n >= 6 && v >> 32)
		sys_refuse(c);
	if (n == 6)
		v = (v & DR6_VALID) | DR6_FIXED;
	else if (n == 7)
		v = (v & DR7_VALID) | DR7_FIXED;
	set(c, n, v);
	return sys_leave(c, op);
}

static void op_mov_from_dr(struct soft_cpu *c, const struct op *op)
{
	reg_set(c, op->rm, op->size, false, c->dr[number(c, op)]);
	return op_next(c, op);
}

static bool is_debug(const ZydisDecodedOperand *o)
{
	return o->type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       ZydisRegisterGetClass(o->reg.value) == ZYDIS_REGCLASS_DEBUG;
}

bool decode_sys_debug(const struct decoded *d, struct op *op)
{
	bool to = is_debug(&d->operand[0]);

	if (d->insn.mnemonic != ZYDIS_MNEMONIC_MOV || (!to && !is_debug(&d->operand[1])))
		return false;
	op->size = (d->mode & MODE_BITS) == MODE_64 ? 8 : 4;
	op->fn = to ? op_mov_to_dr : op_mov_from_dr;
	return true;
}
