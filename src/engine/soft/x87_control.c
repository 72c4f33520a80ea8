/*
 * x87 control: the control, status and tag words, the environment (SDM 1 8.1.10), saving and restoring
 * all of x87, WAIT.  The code and data segments of the last instruction are not kept, as in newer
 * processors: zeros.
 */
#include "engine/soft/vec.h"

#include "engine/soft/reg.h"
#include "engine/soft/run.h"

#define FCW_BITS  0x1f7fu
#define FCW_MASKS 0x003fu

static void check(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	if (c->cr0 & (CR0_EM | CR0_TS))
		soft_fault(c, EXC_NM);
}

/* Of the waiting instructions. */
static void check_wait(struct soft_cpu *c, const struct op *op)
{
	check(c, op);
	if (fpu_area(c)->fsw & FSW_ES)
		fpu_pending(c);
}

static void op_fwait(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	if ((c->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
		soft_fault(c, EXC_NM);
	if (fpu_area(c)->fsw & FSW_ES)
		fpu_pending(c);
	return op_next(c, op);
}

/* 8087 and 80287 control that means nothing since. */
static void op_nothing(struct soft_cpu *c, const struct op *op)
{
	check(c, op);
	return op_next(c, op);
}

/* FNINIT: the registers stay, empty; their places count from the new top. */
static void init(struct soft_cpu *c)
{
	fpu_enter_mmx(c);
	fpu_x87_init(fpu_area(c));
}

static void op_fninit(struct soft_cpu *c, const struct op *op)
{
	check(c, op);
	init(c);
	return op_next(c, op);
}

static void op_fnclex(struct soft_cpu *c, const struct op *op)
{
	check(c, op);
	fpu_area(c)->fsw &= 0x7f00;
	return op_next(c, op);
}

static void set_fcw(struct fpu_area *f, uint16_t v)
{
	f->fcw = (uint16_t)((v & FCW_BITS) | FCW_FIXED);
	f->fsw = fpu_summary(f->fsw, f->fcw);
}

static void op_fldcw(struct soft_cpu *c, const struct op *op)
{
	check_wait(c, op);
	set_fcw(fpu_area(c), soft_ld16(c, op_ea(c, op, 2, false)));
	return op_next(c, op);
}

static void op_fnstcw(struct soft_cpu *c, const struct op *op)
{
	check(c, op);
	soft_st16(c, op_ea(c, op, 2, true), fpu_area(c)->fcw);
	return op_next(c, op);
}

static void op_fnstsw(struct soft_cpu *c, const struct op *op)
{
	check(c, op);
	if (op->flags & OP_MEM)
		soft_st16(c, op_ea(c, op, 2, true), fpu_area(c)->fsw);
	else
		reg_set(c, CPU_RAX, 2, false, fpu_area(c)->fsw);
	return op_next(c, op);
}

/* The tag word of the environment has two bits a register: valid, zero, special, empty. */
static uint16_t full_tags(const struct fpu_area *f)
{
	unsigned top = f->fsw >> 11 & 7, tags = 0;

	for (unsigned i = 0; i < 8; i++) {
		const struct fpu_st *st = &f->st[(i - top) & 7];
		unsigned exponent = st->exponent & 0x7fff, tag = 2;

		if (!(f->ftw & 1u << i))
			tag = 3;
		else if (exponent == 0 && st->mantissa == 0)
			tag = 1;
		else if (exponent != 0 && exponent != 0x7fff && st->mantissa >> 63)
			tag = 0;
		tags |= tag << 2 * i;
	}
	return (uint16_t)tags;
}

static uint8_t abridged(uint16_t tags)
{
	unsigned ftw = 0;

	for (unsigned i = 0; i < 8; i++)
		if ((tags >> 2 * i & 3) != 3)
			ftw |= 1u << i;
	return (uint8_t)ftw;
}

/*
 * The environment is seven words of 2 or 4 bytes: FCW, FSW, FTW, FIP, FCS, FDP, FDS.  In real mode FIP
 * and FDP are linear addresses, whose upper bits lie in the places of FCS and FDS; FOP follows FCS.
 */
#define ENV_WORDS    7
#define ENV_SIZE(op) ((op)->n ? 28u : 14u)

static bool real_mode(const struct soft_cpu *c)
{
	return !(c->cr0 & CR0_PE) || (c->eflags & FLAG_VM);
}

static unsigned env_make(struct soft_cpu *c, const struct op *op, uint8_t *out)
{
	const struct fpu_area *f = fpu_area(c);
	uint32_t fip = (uint32_t)f->fip, fdp = (uint32_t)f->fdp;
	uint32_t w[ENV_WORDS] = {f->fcw | 0xffff0000,
	                         f->fsw | 0xffff0000,
	                         full_tags(f) | 0xffff0000,
	                         fip,
	                         (uint32_t)f->fop << 16,
	                         fdp,
	                         0xffff0000};

	if (real_mode(c)) {
		w[3] = (fip & 0xffff) | 0xffff0000;
		w[4] = fip >> 16 << 12 | f->fop;
		w[5] = (fdp & 0xffff) | 0xffff0000;
		w[6] = fdp >> 16 << 12;
	}
	for (unsigned i = 0; i < ENV_WORDS; i++)
		memcpy(out + i * (op->n ? 4 : 2), &w[i], op->n ? 4 : 2);
	return ENV_SIZE(op);
}

static unsigned env_take(struct soft_cpu *c, const struct op *op, const uint8_t *in)
{
	struct fpu_area *f = fpu_area(c);
	uint32_t w[ENV_WORDS] = {0};

	for (unsigned i = 0; i < ENV_WORDS; i++)
		memcpy(&w[i], in + i * (op->n ? 4 : 2), op->n ? 4 : 2);
	f->fsw = (uint16_t)w[1];
	f->ftw = abridged((uint16_t)w[2]);
	f->fip = w[3];
	f->fop = w[4] >> 16 & 0x7ff;
	f->fdp = w[5];
	if (real_mode(c)) {
		f->fip = (w[3] & 0xffff) | (w[4] & 0xffff000) << 4;
		f->fop = w[4] & 0x7ff;
		f->fdp = (w[5] & 0xffff) | (w[6] & 0xffff000) << 4;
	}
	set_fcw(f, (uint16_t)w[0]);
	return ENV_SIZE(op);
}

static NOINLINE void do_fnstenv(struct soft_cpu *c, const struct op *op)
{
	struct fpu_area *f = fpu_area(c);
	uint8_t env[28];
	gva_t va;

	check(c, op);
	va = op_ea(c, op, ENV_SIZE(op), true);
	env_make(c, op, env);
	fpu_store(c, va, env, ENV_SIZE(op));
	set_fcw(f, f->fcw | FCW_MASKS);
}
OP_OF(fnstenv)

/* Of another top the registers keep their places, so that they have other numbers. */
static void move_top(struct fpu_area *f, unsigned old)
{
	unsigned by = ((f->fsw >> 11) - old) & 7;
	struct fpu_st st[8];

	memcpy(st, f->st, sizeof(st));
	for (unsigned i = 0; i < 8; i++)
		f->st[i] = st[(i + by) & 7];
}

static NOINLINE void do_fldenv(struct soft_cpu *c, const struct op *op)
{
	struct fpu_area *f = fpu_area(c);
	unsigned top = f->fsw >> 11 & 7;
	uint8_t env[28];

	check_wait(c, op);
	fpu_load(c, op_ea(c, op, ENV_SIZE(op), false), env, ENV_SIZE(op));
	env_take(c, op, env);
	move_top(f, top);
}
OP_OF(fldenv)

static NOINLINE void do_fnsave(struct soft_cpu *c, const struct op *op)
{
	const struct fpu_area *f = fpu_area(c);
	uint8_t image[28 + 80];
	unsigned n;
	gva_t va;

	check(c, op);
	va = op_ea(c, op, ENV_SIZE(op) + 80, true);
	n = env_make(c, op, image);
	for (unsigned i = 0; i < 8; i++)
		memcpy(image + n + 10 * i, &f->st[i], 10);
	fpu_store(c, va, image, n + 80);
	init(c);
}
OP_OF(fnsave)

static NOINLINE void do_frstor(struct soft_cpu *c, const struct op *op)
{
	struct fpu_area *f = fpu_area(c);
	uint8_t image[28 + 80];
	unsigned n;

	check_wait(c, op);
	fpu_load(c, op_ea(c, op, ENV_SIZE(op) + 80, false), image, ENV_SIZE(op) + 80);
	n = env_take(c, op, image);
	for (unsigned i = 0; i < 8; i++)
		memcpy(&f->st[i], image + n + 10 * i, 10);
}
OP_OF(frstor)

static bool plain(struct op *op, op_fn *fn)
{
	op->fn = fn;
	return true;
}

/* n: the 32-bit form */
static bool environment(const struct decoded *d, struct op *op, op_fn *fn)
{
	op->n = d->insn.operand_width != 16;
	return plain(op, fn);
}

bool decode_x87_control(struct soft_cpu *c, const struct decoded *d, struct op *op)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_FWAIT:
		return plain(op, op_fwait);
	case ZYDIS_MNEMONIC_FENI8087_NOP:
	case ZYDIS_MNEMONIC_FDISI8087_NOP:
	case ZYDIS_MNEMONIC_FSETPM287_NOP:
		return plain(op, op_nothing);
	case ZYDIS_MNEMONIC_FNINIT:
		return plain(op, op_fninit);
	case ZYDIS_MNEMONIC_FNCLEX:
		return plain(op, op_fnclex);
	case ZYDIS_MNEMONIC_FLDCW:
		return plain(op, op_fldcw);
	case ZYDIS_MNEMONIC_FNSTCW:
		return plain(op, op_fnstcw);
	case ZYDIS_MNEMONIC_FNSTSW:
		return plain(op, op_fnstsw);
	case ZYDIS_MNEMONIC_FLDENV:
		return environment(d, op, op_fldenv);
	case ZYDIS_MNEMONIC_FNSTENV:
		return environment(d, op, op_fnstenv);
	case ZYDIS_MNEMONIC_FNSAVE:
		return environment(d, op, op_fnsave);
	case ZYDIS_MNEMONIC_FRSTOR:
		return environment(d, op, op_frstor);
	default:
		return false;
	}
}
