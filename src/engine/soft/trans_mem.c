/* The translator's registers and memory operands: see translate.c for what an access is. */
#include "engine/soft/trans.h"

/* Registers of the op at work: guest registers that live in memory get one of ours. */
static enum host_reg temp(struct translation *t)
{
	static const enum host_reg ours[] = {HOST_R15, HOST_R14, HOST_RCX};

	return ours[t->temps++];
}

bool trans_gpr(const ZydisDecodedOperand *o, unsigned *n)
{
	ZydisRegisterClass k;

	if (o->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return false;
	k = ZydisRegisterGetClass(o->reg.value);
	if (k < ZYDIS_REGCLASS_GPR8 || k > ZYDIS_REGCLASS_GPR64)
		return false;
	*n = (unsigned)ZydisRegisterGetId(o->reg.value);
	if (k == ZYDIS_REGCLASS_GPR8)
		*n = o->reg.value >= ZYDIS_REGISTER_SPL
		             ? (unsigned)(o->reg.value - ZYDIS_REGISTER_SPL) + 4
		             : (unsigned)(o->reg.value - ZYDIS_REGISTER_AL) & 3;
	return true;
}

/* Does what was in the register matter?  BSF and BSR keep it when they find nothing. */
static bool must_load(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o)
{
	return (o->actions & (ZYDIS_OPERAND_ACTION_MASK_READ | ZYDIS_OPERAND_ACTION_CONDWRITE)) ||
	       o->size < 32 || z->mnemonic == ZYDIS_MNEMONIC_BSF ||
	       z->mnemonic == ZYDIS_MNEMONIC_BSR;
}

/* False: too many for our registers (most: how many are free). */
static bool registers_in(struct translation *t, unsigned most)
{
	const ZydisDecodedInstruction *z = &t->insn[t->i];

	for (unsigned k = 0; k < z->operand_count_visible; k++) {
		const ZydisDecodedOperand *o = &t->operand[t->i][k];
		unsigned n;

		if (!trans_gpr(o, &n) || n < FIRST_IN_MEMORY || t->recode.reg[n] != HOST_NONE)
			continue;
		if (t->temps == most)
			return false;
		t->recode.reg[n] = (uint8_t)temp(t);
		/* Any of the operands may read it. */
		for (unsigned j = 0; j < z->operand_count_visible; j++) {
			unsigned other;

			if (trans_gpr(&t->operand[t->i][j], &other) && other == n &&
			    must_load(z, &t->operand[t->i][j])) {
				asm_load_gs(&t->e, (enum host_reg)t->recode.reg[n], GPR(n));
				break;
			}
		}
	}
	return true;
}

static void registers_out(struct translation *t)
{
	const ZydisDecodedInstruction *z = &t->insn[t->i];

	for (unsigned k = 0; k < z->operand_count_visible; k++) {
		const ZydisDecodedOperand *o = &t->operand[t->i][k];
		unsigned n;

		if (trans_gpr(o, &n) && n >= FIRST_IN_MEMORY &&
		    (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
			asm_store_gs(&t->e, GPR(n), (enum host_reg)t->recode.reg[n]);
	}
}

/* A register of a memory operand, loaded into `ours` when it lives in memory. */
static enum host_reg address_reg(struct translation *t, ZydisRegister r, enum host_reg ours)
{
	unsigned n;

	if (r == ZYDIS_REGISTER_NONE)
		return HOST_NONE;
	n = (unsigned)ZydisRegisterGetId(r);
	if (n < FIRST_IN_MEMORY)
		return host_of(n);
	asm_load_gs(&t->e, ours, GPR(n));
	return ours;
}

/* The offset of a memory operand, without the segment's base, into `to`. */
static void effective(struct translation *t, const ZydisDecodedOperand *o, enum host_reg to,
                      bool wide)
{
	ZydisRegister base = o->mem.base;
	enum host_reg b, x;

	if (base == ZYDIS_REGISTER_RIP || base == ZYDIS_REGISTER_EIP) {
		asm_load_gs(&t->e, HOST_R14, NATIVE(page_rip));
		asm_lea(&t->e, to, HOST_R14, HOST_NONE, 0,
		        (int32_t)(trans_behind(t, t->i) + o->mem.disp.value), wide);
		return;
	}
	b = address_reg(t, base, HOST_R14);
	x = address_reg(t, o->mem.index, HOST_RCX);
	asm_lea(&t->e, to, b, x, o->mem.scale ? (unsigned)__builtin_ctz(o->mem.scale) : 0,
	        (int32_t)o->mem.disp.value, wide);
}

/* The linear address of a memory operand; returns the register it is in. */
static enum host_reg linear(struct translation *t, const ZydisDecodedOperand *o)
{
	bool wide = t->insn[t->i].address_width == 64;
	bool based = o->mem.segment == ZYDIS_REGISTER_FS || o->mem.segment == ZYDIS_REGISTER_GS;

	if (!based && wide && o->mem.disp.value == 0 && o->mem.index == ZYDIS_REGISTER_NONE &&
	    o->mem.base != ZYDIS_REGISTER_NONE && o->mem.base != ZYDIS_REGISTER_RIP &&
	    ZydisRegisterGetId(o->mem.base) < FIRST_IN_MEMORY)
		return host_of((unsigned)ZydisRegisterGetId(o->mem.base));
	effective(t, o, HOST_R14, wide);
	if (based) {
		unsigned seg = o->mem.segment == ZYDIS_REGISTER_FS ? CPU_FS : CPU_GS;

		asm_load_gs(&t->e, HOST_RCX, STATE(seg_base) + 8 * (int32_t)seg);
		asm_lea(&t->e, HOST_R14, HOST_R14, HOST_RCX, 0, 0, true);
	}
	return HOST_R14;
}

/* Bytes from here to the end of the op, at most, but for what depends on the op. */
#define ACCESS_ROOM 68
#define GS_MOVE     9

/* rcx: the addend for an access of size bytes at the address in ea. */
static void addend(struct translation *t, enum host_reg ea, unsigned size)
{
	struct assembly *e = &t->e;

	if (size > 1 && !t->aligned) {
		unsigned log = 32 - (unsigned)__builtin_clz(size - 1); /* 10 is like 16 */

		trans_room(t, ACCESS_ROOM + t->insn[t->i].length + t->temps * GS_MOVE);
		asm_pext_gs(e, HOST_RCX, ea, NATIVE(chunk_mask) + 8 * ((int32_t)log - 1));
		asm_lea(e, HOST_RCX, HOST_RCX, HOST_NONE, 0, 1 - (int32_t)(PAGE_SIZE >> log), true);
		trans_near(t, asm_jrcxz(e), (int64_t)size << 8 | ea);
	}
	asm_pext_gs(e, HOST_RCX, ea, NATIVE(page_mask));
	asm_load_gs_index(e, HOST_RCX, 0, HOST_RCX);
}

/* Out of line: in the page's last piece, but does it reach into the next page? */
void trans_cross(struct translation *t, const struct fix *f)
{
	struct assembly *e = &t->e;
	enum host_reg ea = (enum host_reg)(f->to & 0xff);
	uint8_t *inside;

	asm_to(f->rel, e->at);
	asm_pext_gs(e, HOST_RCX, ea, NATIVE(page_low));
	asm_lea(e, HOST_RCX, HOST_RCX, HOST_NONE, 0, (int32_t)(f->to >> 8) - 1, true);
	asm_pext_gs(e, HOST_RCX, HOST_RCX, NATIVE(cross_mask));
	inside = asm_jrcxz(e);
	trans_fix(t, FIX_FALLBACK, asm_jmp(e), f->op);
	asm_to8(inside, e->at);
	asm_to(asm_jmp(e), f->back);
}

const ZydisDecodedOperand *trans_memory_of(const struct translation *t)
{
	const ZydisDecodedInstruction *z = &t->insn[t->i];

	for (unsigned k = 0; k < z->operand_count_visible; k++) {
		if (t->operand[t->i][k].type == ZYDIS_OPERAND_TYPE_MEMORY)
			return &t->operand[t->i][k];
	}
	return NULL;
}

/* Prepares the op's memory operand for asm_recoded(). */
static enum host_reg access_in(struct translation *t, const ZydisDecodedOperand *o)
{
	enum host_reg ea;

	t->restart = t->e.at;
	ea = linear(t, o);
	addend(t, ea, o->size / 8);
	t->recode.base = (uint8_t)ea;
	t->ea = ea;
	t->recode.index = HOST_RCX;
	return ea;
}

/* Does it use RCX without naming it: a shift by CL, CMPXCHG8B and 16B, PCMPISTRI? */
static bool uses_rcx(const struct translation *t, bool *writes)
{
	const ZydisDecodedInstruction *z = &t->insn[t->i];

	for (unsigned k = 0; k < z->operand_count; k++) {
		const ZydisDecodedOperand *o = &t->operand[t->i][k];
		unsigned n;

		if (trans_gpr(o, &n) && n == CPU_RCX &&
		    o->encoding == ZYDIS_OPERAND_ENCODING_NONE) {
			*writes = o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
			return true;
		}
	}
	return false;
}

/* The instruction itself, with renamed operands. */
bool trans_verbatim(struct translation *t)
{
	const ZydisDecodedOperand *o = trans_memory_of(t);
	ZydisMnemonic m = t->insn[t->i].mnemonic;
	bool traps = t->traps || m == ZYDIS_MNEMONIC_DIV || m == ZYDIS_MNEMONIC_IDIV;
	bool writes_rcx = false, rcx = uses_rcx(t, &writes_rcx);
	enum host_reg ea = HOST_NONE;
	uint8_t *pc;

	if (!registers_in(t, rcx ? (o ? 0 : 2) : o ? 1 : 3))
		return false;
	t->restart = t->e.at;
	if (o)
		ea = access_in(t, o);
	if (o && rcx) {
		asm_mov(&t->e, HOST_R15, HOST_RCX);
		t->recode.index = HOST_R15;
	}
	if (rcx)
		asm_mov(&t->e, HOST_RCX, HOST_R13);
	pc = t->e.at;
	if (!asm_recoded(&t->e, &t->recode))
		return false;
	if (o || traps)
		trans_site(t, pc, ea, o && (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE));
	registers_out(t);
	if (writes_rcx)
		asm_mov(&t->e, HOST_R13, HOST_RCX);
	return true;
}

bool trans_lea(struct translation *t)
{
	const ZydisDecodedInstruction *z = &t->insn[t->i];
	unsigned n;

	if (z->operand_width == 16 || !trans_gpr(&t->operand[t->i][0], &n))
		return false;
	if (n < FIRST_IN_MEMORY) {
		effective(t, &t->operand[t->i][1], host_of(n),
		          z->operand_width == 64 && z->address_width == 64);
		return true;
	}
	effective(t, &t->operand[t->i][1], HOST_R15,
	          z->operand_width == 64 && z->address_width == 64);
	asm_store_gs(&t->e, GPR(n), HOST_R15);
	return true;
}

/* Stack. */

/* The place where a push goes: r14 and rcx; the store follows, then pushed(). */
static void push_in(struct translation *t)
{
	t->restart = t->e.at;
	asm_lea(&t->e, HOST_R14, HOST_RSP, HOST_NONE, 0, -8, true);
	addend(t, HOST_R14, 8);
	trans_site(t, t->e.at, HOST_R14, true);
}

static void pushed(struct translation *t)
{
	asm_lea(&t->e, HOST_RSP, HOST_RSP, HOST_NONE, 0, -8, true);
}

void trans_push_reg(struct translation *t, enum host_reg r)
{
	push_in(t);
	asm_store(&t->e, HOST_R14, HOST_RCX, r);
	pushed(t);
}

/* Loads the top of the stack; trans_popped() follows. */
void trans_pop_in(struct translation *t, enum host_reg to)
{
	t->restart = t->e.at;
	addend(t, HOST_RSP, 8);
	trans_site(t, t->e.at, HOST_RSP, false);
	asm_load(&t->e, to, HOST_RSP, HOST_RCX);
}

void trans_popped(struct translation *t, int32_t size)
{
	asm_lea(&t->e, HOST_RSP, HOST_RSP, HOST_NONE, 0, size, true);
}

/* Loads the 64-bit memory operand into r15. */
void trans_load_operand(struct translation *t, const ZydisDecodedOperand *o)
{
	enum host_reg ea = access_in(t, o);

	trans_site(t, t->e.at, ea, false);
	asm_load(&t->e, HOST_R15, ea, HOST_RCX);
}

bool trans_push(struct translation *t)
{
	const ZydisDecodedOperand *o = &t->operand[t->i][0];
	unsigned n;

	if (t->insn[t->i].operand_width != 64)
		return false;
	if (o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		push_in(t);
		asm_store_s32(&t->e, HOST_R14, HOST_RCX, (int32_t)o->imm.value.s);
		pushed(t);
		return true;
	}
	if (o->type == ZYDIS_OPERAND_TYPE_MEMORY) {
		trans_load_operand(t, o);
		trans_push_reg(t, HOST_R15);
		return true;
	}
	if (!trans_gpr(o, &n))
		return false;
	if (n >= FIRST_IN_MEMORY)
		asm_load_gs(&t->e, HOST_R15, GPR(n));
	trans_push_reg(t, n >= FIRST_IN_MEMORY ? HOST_R15 : host_of(n));
	return true;
}

bool trans_pop(struct translation *t)
{
	unsigned n;

	if (t->insn[t->i].operand_width != 64 || !trans_gpr(&t->operand[t->i][0], &n))
		return false;
	/* POP RSP: what was loaded wins. */
	trans_pop_in(t, n < FIRST_IN_MEMORY && n != CPU_RSP ? host_of(n) : HOST_R15);
	trans_popped(t, 8);
	if (n >= FIRST_IN_MEMORY)
		asm_store_gs(&t->e, GPR(n), HOST_R15);
	else if (n == CPU_RSP)
		asm_mov(&t->e, HOST_RSP, HOST_R15);
	return true;
}

bool trans_leave_frame(struct translation *t)
{
	if (t->insn[t->i].operand_width != 64)
		return false;
	t->restart = t->e.at;
	addend(t, HOST_RBP, 8);
	trans_site(t, t->e.at, HOST_RBP, false);
	asm_load(&t->e, HOST_R15, HOST_RBP, HOST_RCX);
	asm_lea(&t->e, HOST_RSP, HOST_RBP, HOST_NONE, 0, 8, true);
	asm_mov(&t->e, HOST_RBP, HOST_R15);
	return true;
}
