/*
 * The translator's control flow.  Jumps within a page are linked: native_link() puts the target's address
 * into the jump once it has been translated.  All others go through the window's hash.
 */
#include "engine/soft/trans.h"

/* r15: the guest address of an offset from the page's start. */
void trans_address(struct translation *t, int64_t offset)
{
	asm_load_gs(&t->e, HOST_R15, NATIVE(page_rip));
	asm_lea(&t->e, HOST_R15, HOST_R15, HOST_NONE, 0, (int32_t)offset, true);
}

void trans_leave(struct translation *t, uint32_t site)
{
	asm_mov_u32(&t->e, HOST_R14, site);
	asm_jmp_gs(&t->e, NATIVE(exit));
}

/* Looks the guest address in r15 up: returns the jump that is taken when it was found, in slot r14. */
static uint8_t *lookup(struct translation *t)
{
	asm_pext_gs(&t->e, HOST_R14, HOST_R15, NATIVE(hash_mask));
	asm_load_gs_index(&t->e, HOST_RCX, HASH(minus_rip), HOST_R14);
	asm_lea(&t->e, HOST_RCX, HOST_RCX, HOST_R15, 0, 0, true);
	return asm_jrcxz(&t->e);
}

/* An address that is not canonical raises #GP before the op changes anything: the interpreter does. */
static void need_canonical(struct translation *t)
{
	uint8_t *good;

	asm_sign_extend_48(&t->e, HOST_R14, HOST_R15);
	asm_not(&t->e, HOST_R14);
	asm_lea(&t->e, HOST_RCX, HOST_R14, HOST_R15, 0, 1, true);
	good = asm_jrcxz(&t->e);
	trans_fix(t, FIX_FALLBACK, asm_jmp(&t->e), t->i);
	asm_to8(good, t->e.at);
}

/* Bytes that it takes to a pool with an address before it. */
#define HASH_ROOM 64

/* Goes to the guest address in r15 by the hash, or leaves. */
void trans_go_hash(struct translation *t)
{
	uint8_t *hit = lookup(t);

	trans_leave(t, NATIVE_SITE_HASH);
	trans_pool(t);
	asm_to8(hit, t->e.at);
	asm_jmp_gs_index(&t->e, HASH(code), HOST_R14);
}

void trans_go_link(struct translation *t, int64_t to)
{
	trans_fix(t, FIX_LINK, asm_jmp(&t->e), to);
}

/*
 * Links that go backwards look whether a request waits, as native_poke() says; jumps that look their target
 * up need not.  So there is no loop without a look.
 */
void trans_go_back(struct translation *t, int64_t to)
{
	uint8_t *waits;

	asm_load_gs(&t->e, HOST_RCX, NATIVE(hash_mask));
	waits = asm_jrcxz(&t->e);
	trans_go_link(t, to);
	trans_pool(t);
	asm_to8(waits, t->e.at);
	trans_address(t, to);
	trans_leave(t, NATIVE_SITE_NONE);
}

/* To an offset from the page's start, from op i. */
void trans_go(struct translation *t, int64_t to)
{
	if (!trans_in_page(to)) {
		trans_room(t, HASH_ROOM);
		trans_address(t, to);
		trans_go_hash(t);
		return;
	}
	if (to <= trans_at(t, t->i))
		trans_go_back(t, to);
	else
		trans_go_link(t, to);
}

static int64_t branch_target(const struct translation *t)
{
	return trans_behind(t, t->i) + t->operand[t->i][0].imm.value.s;
}

static bool fits(int64_t offset)
{
	return offset == (int32_t)offset;
}

/* r15: where an indirect jump or call goes. */
static bool indirect_target(struct translation *t)
{
	const ZydisDecodedOperand *o = &t->operand[t->i][0];
	unsigned n;

	if (o->type == ZYDIS_OPERAND_TYPE_MEMORY) {
		trans_load_operand(t, o);
		return true;
	}
	if (!trans_gpr(o, &n))
		return false;
	if (n >= FIRST_IN_MEMORY)
		asm_load_gs(&t->e, HOST_R15, GPR(n));
	else
		asm_mov(&t->e, HOST_R15, host_of(n));
	return true;
}

static bool near_branch(const struct translation *t)
{
	return t->insn[t->i].meta.branch_type != ZYDIS_BRANCH_TYPE_FAR;
}

/* Bytes that an indirect jump takes to where a pool is. */
#define JUMP_ROOM 128

bool trans_jump(struct translation *t)
{
	uint8_t *hit;

	if (!near_branch(t))
		return false;
	if (t->operand[t->i][0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		if (!fits(branch_target(t)))
			return false;
		trans_go(t, branch_target(t));
		return true;
	}
	trans_room(t, JUMP_ROOM);
	if (!indirect_target(t))
		return false;
	hit = lookup(t);
	need_canonical(t);
	trans_leave(t, NATIVE_SITE_HASH);
	trans_pool(t);
	asm_to8(hit, t->e.at);
	asm_jmp_gs_index(&t->e, HASH(code), HOST_R14);
	return true;
}

/* The address behind the op is pushed from r15. */
static void push_return(struct translation *t)
{
	asm_load_gs(&t->e, HOST_R15, NATIVE(page_rip));
	asm_lea(&t->e, HOST_R15, HOST_R15, HOST_NONE, 0, (int32_t)trans_behind(t, t->i), true);
	trans_push_reg(t, HOST_R15);
}

bool trans_call(struct translation *t)
{
	uint8_t *hit, *done;

	if (!near_branch(t))
		return false;
	if (t->operand[t->i][0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		if (!fits(branch_target(t)))
			return false;
		push_return(t);
		trans_go(t, branch_target(t));
		return true;
	}
	/* The push needs all our registers: target and code wait in the state. */
	trans_room(t, JUMP_ROOM);
	if (!indirect_target(t))
		return false;
	hit = lookup(t);
	need_canonical(t);
	asm_load_gs(&t->e, HOST_RCX, NATIVE(exit_hash));
	done = asm_jmp(&t->e);
	trans_pool(t);
	asm_to8(hit, t->e.at);
	asm_load_gs_index(&t->e, HOST_RCX, HASH(code), HOST_R14);
	asm_to(done, t->e.at);
	asm_store_gs(&t->e, NATIVE(callee), HOST_RCX);
	asm_store_gs(&t->e, NATIVE(target), HOST_R15);
	push_return(t);
	asm_load_gs(&t->e, HOST_R15, NATIVE(target));
	asm_jmp_gs(&t->e, NATIVE(callee));
	return true;
}

bool trans_ret(struct translation *t)
{
	const ZydisDecodedInstruction *z = &t->insn[t->i];
	int32_t size = 8;
	uint8_t *hit;

	if (!near_branch(t) || z->operand_width != 64)
		return false;
	if (z->operand_count_visible)
		size += (int32_t)(t->operand[t->i][0].imm.value.u & 0xffff);
	trans_room(t, JUMP_ROOM);
	trans_pop_in(t, HOST_R15);
	hit = lookup(t);
	need_canonical(t);
	trans_popped(t, size);
	trans_leave(t, NATIVE_SITE_HASH);
	trans_pool(t);
	asm_to8(hit, t->e.at);
	trans_popped(t, size);
	asm_jmp_gs_index(&t->e, HASH(code), HOST_R14);
	return true;
}

bool trans_jcc(struct translation *t)
{
	int64_t to = branch_target(t);
	enum fix_kind kind = !trans_in_page(to)        ? FIX_FAR
	                     : to <= trans_at(t, t->i) ? FIX_TAKEN
	                                               : FIX_LINK;

	if (!fits(to))
		return false;
	trans_fix(t, kind, asm_jcc(&t->e, t->insn[t->i].opcode & 15), to);
	return true;
}
