/*
 * From a decoded block to host code (native.h says what holds while it runs).
 *
 * Most instructions go through as they are: same opcode, same registers, the memory operand replaced by
 * (address, addend).  An access is
 *
 *	lea	disp(base,index,scale), %r14	the guest address, unless it's in a register already
 *	pext	chunk_mask, %r14, %rcx		which piece of its size of the page is it? (not for bytes)
 *	lea	-last(%rcx), %rcx
 *	jrcxz					the last; out of line: does it cross into another page?
 *	pext	page_mask, %r14, %rcx		its page's number
 *	mov	%gs:(,%rcx,8), %rcx		the addend, from the flat table
 *	op	(%r14,%rcx)			a native_site: may fault
 *
 * and touches no flags: JRCXZ is the one conditional jump that needs none, which is why the guest's RCX
 * is in R13.  All before `op` can be done again, and what a guest instruction changes it
 * changes after its last fault, so every site can be tried again or left to the interpreter.
 */
#include <string.h>

#include "engine/soft/decode.h"
#include "engine/soft/trans.h"
#include "engine/soft/validate.h"

void trans_fix(struct translation *t, enum fix_kind kind, uint8_t *rel, int64_t to)
{
	if (t->fixes == FIXES_MAX)
		t->e.full = true;
	else
		t->fix[t->fixes++] = (struct fix){kind, rel, to, t->i};
}

void trans_near(struct translation *t, uint8_t *rel, int64_t to)
{
	if (t->nears.n == NEARS_MAX)
		t->e.full = true;
	else
		t->nears.jump[t->nears.n++] = (struct near_jump){rel, to, t->i};
}

void trans_pool(struct translation *t)
{
	for (unsigned i = 0; i < t->nears.n; i++) {
		const struct near_jump *j = &t->nears.jump[i];

		if (t->e.at - (j->rel + 1) > INT8_MAX || t->fixes == FIXES_MAX) {
			t->e.full = true;
			break;
		}
		asm_to8(j->rel, t->e.at);
		t->fix[t->fixes++] =
			(struct fix){FIX_CROSS, asm_jmp(&t->e), j->to, j->op, j->rel + 1};
	}
	t->nears.n = 0;
}

#define POOL_JUMP 5 /* bytes */

void trans_room(struct translation *t, unsigned bytes)
{
	const struct nears *p = &t->nears;
	uint8_t *over;

	/* One more may come, and a jump over the pool. */
	bytes += (p->n + 1) * POOL_JUMP + 2;
	if (p->n == 0 || (p->n < NEARS_MAX && t->e.at + bytes - (p->jump[0].rel + 1) <= INT8_MAX))
		return;
	over = asm_jmp8(&t->e);
	trans_pool(t);
	asm_to8(over, t->e.at);
}

void trans_site(struct translation *t, uint8_t *pc, enum host_reg ea, bool write)
{
	t->n->site[t->n->sites++] = (struct native_site){
		.pc = trans_offset(t, pc),
		.restart = trans_offset(t, t->restart),
		.ea = (uint8_t)ea,
		.op = (uint8_t)t->i,
		.align = t->aligned && ea != HOST_NONE ? (uint8_t)(trans_memory_of(t)->size / 8 - 1)
	                                               : 0,
		.write = write,
		.block = t->b,
	};
}

static bool is_jump(const struct translation *t, unsigned i)
{
	switch (t->insn[i].meta.category) {
	case ZYDIS_CATEGORY_COND_BR:
	case ZYDIS_CATEGORY_UNCOND_BR:
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_RET:
		return true;
	default:
		return false;
	}
}

/* Tries an op; what was emitted of one that can't be translated is taken back. */
static bool try_op(struct translation *t, unsigned i)
{
	uint8_t *at = t->e.at;
	size_t sites = t->n->sites;
	unsigned fixes = t->fixes;
	struct nears nears = t->nears;

	t->i = i;
	t->temps = 0;
	t->aligned = t->traps = false;
	t->ea = HOST_NONE;
	t->recode = (struct recode){.insn = &t->insn[i],
	                            .operand = t->operand[i],
	                            .bytes = t->b->bytes + t->b->op[i].ip};
	for (unsigned n = 0; n < 16; n++)
		t->recode.reg[n] = n < FIRST_IN_MEMORY ? (uint8_t)host_of(n) : HOST_NONE;
	if (is_jump(t, i))
		trans_x87_pointers(t, i);
	t->ours[i] = !(t->b->slow >> i & 1) && trans_op(t);
	if (t->ours[i])
		return true;
	t->e.at = at;
	t->n->sites = sites;
	t->fixes = fixes;
	t->nears = nears;
	return false;
}

/*
 * The interpreter's functions for ops [from, to), then back at the code of op `to`, or out of the
 * block behind its last.
 */
static void fallback(struct translation *t, unsigned from, unsigned to)
{
	struct native *n = t->n;
	struct op *op = (struct op *)((uint8_t *)n->ops + n->ops_used);
	unsigned count = to - from;

	/* In lockstep the dispatch loop does it. */
	if (t->c->run->lockstep != NULL) {
		trans_x87_pointers(t, from);
		trans_address(t, trans_at(t, from));
		trans_leave(t, NATIVE_SITE_NONE);
		return;
	}
	n->ops_used += (count + 1) * sizeof(*op);
	memcpy(op, &t->b->op[from], (count + 1) * sizeof(*op));
	for (unsigned k = 0; k < count; k++) {
		/* Links between interpreted blocks are those blocks' own. */
		if (op[k].flags & OP_LINKED || op[k].opcode == 0xeb || op[k].opcode == 0xe9)
			op[k].ptr = NULL;
		op[k].flags &= (uint16_t)~OP_LAST;
	}
	trans_x87_pointers(t, from);
	asm_mov_u64(&t->e, HOST_R15, (uint64_t)op);
	asm_mov_u32(&t->e, HOST_R14, t->offset);
	asm_jmp_gs(&t->e, NATIVE(fallback));
	if (to == t->b->n)
		return;
	op[count].fn = native_enter;
	op[count].ptr = n->rx + trans_offset(t, trans_vector_back(t, to));
}

/* The way out for what is rare: the interpreter does the rest of the block. */
static void fallback_stub(struct translation *t, unsigned i)
{
	if (t->stub[i] != NULL)
		return;
	t->stub[i] = t->e.at;
	trans_x87_pointers(t, i);
	asm_mov_u64(&t->e, HOST_R15, (uint64_t)&t->b->op[i]);
	asm_mov_u32(&t->e, HOST_R14, t->offset);
	asm_jmp_gs(&t->e, NATIVE(fallback));
}

/* What lies out of line; may make more of it. */
static void finish_fix(struct translation *t, const struct fix *f)
{
	switch (f->kind) {
	case FIX_FALLBACK:
		fallback_stub(t, (unsigned)f->to);
		asm_to(f->rel, t->stub[f->to]);
		break;
	case FIX_CROSS:
		trans_cross(t, f);
		break;
	case FIX_TAKEN:
		asm_to(f->rel, t->e.at);
		trans_go_back(t, f->to);
		break;
	case FIX_FAR:
		asm_to(f->rel, t->e.at);
		trans_address(t, f->to);
		trans_go_hash(t);
		break;
	case FIX_LINK:
		if (f->to == t->offset) {
			asm_to(f->rel, t->near);
			break;
		}
		asm_to(f->rel, t->e.at);
		trans_address(t, f->to);
		trans_leave(t, trans_offset(t, f->rel));
		break;
	}
}

static bool decode(struct translation *t)
{
	static _Thread_local ZydisDecoder z;
	static _Thread_local bool ready;

	if (!ready) {
		ZydisDecoderInit(&z, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
		ZydisDecoderEnableMode(&z, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
		ZydisDecoderEnableMode(&z, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
		ready = true;
	}
	for (unsigned i = 0; i < t->b->n; i++) {
		const struct op *op = &t->b->op[i];

		if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&z, t->b->bytes + op->ip, op->len,
		                                         &t->insn[i], t->operand[i])))
			t->insn[i] = (ZydisDecodedInstruction){0}; /* ZYDIS_MNEMONIC_INVALID */
		decode_correct(&t->insn[i], t->operand[i]);
	}
	return true;
}

/* Does the block's code reach its end? */
static bool falls_through(const struct translation *t)
{
	unsigned last = t->b->n - 1;

	return t->ours[last] &&
	       (!is_jump(t, last) || t->insn[last].meta.category == ZYDIS_CATEGORY_COND_BR);
}

/* Bytes of an op's code, at most, to where it asks for room itself. */
#define OP_ROOM 72

/* The ops in order; runs of those that stay the interpreter's become one fallback each. */
static unsigned translate_ops(struct translation *t)
{
	unsigned n = t->b->n, run[BLOCK_OPS], runs = 0, interpreted = 0;
	uint8_t *jump_at[BLOCK_OPS], *behind;

	for (unsigned i = 0; i < n; i++) {
		trans_room(t, OP_ROOM);
		t->start[i] = t->e.at;
		if (try_op(t, i))
			continue;
		run[runs] = i;
		jump_at[runs] = asm_jmp(&t->e);
		trans_pool(t);
		behind = t->e.at;
		runs++;
		interpreted++;
		while (i + 1 < n && !try_op(t, i + 1)) {
			t->start[++i] = NULL;
			interpreted++;
		}
		if (i + 1 < n) {
			/* It was translated already, behind the jump. */
			t->start[i + 1] = behind;
			i++;
		}
	}
	t->start[n] = t->e.at;
	t->i = n - 1;
	if (falls_through(t)) {
		trans_room(t, OP_ROOM);
		if (!is_jump(t, n - 1))
			trans_x87_pointers(t, n);
		trans_go(t, trans_behind(t, n - 1));
	}
	trans_pool(t);
	for (unsigned k = 0; k < runs; k++) {
		unsigned to = run[k] + 1;

		while (to < n && t->start[to] == NULL)
			to++;
		asm_to(jump_at[k], t->e.at);
		fallback(t, run[k], to);
	}
	return n - interpreted - 4 * runs > n ? 0 : n - interpreted - 4 * runs;
}

static void begin(struct translation *t)
{
	trans_vector_before(t);
	t->far = t->e.at;
	asm_lea(&t->e, HOST_R15, HOST_R15, HOST_NONE, 0, -(int32_t)t->offset, true);
	asm_store_gs(&t->e, NATIVE(page_rip), HOST_R15);
	t->near = t->e.at;
	asm_bytes(&t->e, native_nop, sizeof(native_nop));
	trans_vector_entry(t);
}

static void give_up(struct translation *t, size_t ops_used)
{
	t->n->sites = t->first_site;
	t->n->ops_used = ops_used;
	t->n->refused++;
	t->b->entry = (struct op){.fn = native_never};
}

/* Is the block's code, from start, fit to run? */
static bool valid(struct translation *t, const struct native_block *nb, uint8_t *start)
{
	const struct validator_block vb = {.b = t->b,
	                                   .start = trans_offset(t, start),
	                                   .end = trans_offset(t, t->e.at),
	                                   .nb = nb,
	                                   .first_site = t->first_site};
	struct validator_fault f;

	if (t->n->validator == NULL)
		return true;
	t->n->validated++;
	if (validator_block(t->n->validator, t->n, &vb, &f))
		return true;
	native_invalid(t->n, t->b, f.what, vb.start, vb.end, f.at);
	return false;
}

void native_translate(struct soft_cpu *c, struct block *b)
{
	static _Thread_local struct translation work; /* large */
	struct translation *t = &work;
	struct native *n = c->native.code;
	size_t ops_used = n->ops_used;
	uint8_t *start = n->rw + align_up(n->used, 16), *out;
	struct native_block *nb;
	unsigned gain;

	if (b->parked) {
		native_revive(c, b);
		return;
	}
	memset(t, 0, offsetof(struct translation, fix));
	t->c = c;
	t->n = n;
	t->b = b;
	t->offset = b->gpa & ~PAGE_MASK;
	t->e = (struct assembly){.at = start, .end = n->rw + NATIVE_CODE};
	t->first_site = n->sites;
	decode(t);
	begin(t);
	gain = translate_ops(t);
	for (size_t i = t->first_site; i < n->sites; i++)
		fallback_stub(t, n->site[i].op);
	for (unsigned i = 0; i < t->fixes; i++)
		finish_fix(t, &t->fix[i]);
	trans_vector_load(t);
	out = t->e.at;
	trans_address(t, t->offset);
	trans_leave(t, NATIVE_SITE_NONE);
	/* At once means everything: tests want to see all of the translator. */
	if (t->e.full || (gain == 0 && n->after > 1)) {
		give_up(t, ops_used);
		return;
	}
	for (size_t i = t->first_site; i < n->sites; i++)
		n->site[i].stub = trans_offset(t, t->stub[n->site[i].op]);
	nb = (struct native_block *)((uint8_t *)n->ops + n->ops_used);
	n->ops_used += align_up(sizeof(*nb), 64);
	*nb = (struct native_block){trans_offset(t, t->far),
	                            trans_offset(t, t->near),
	                            trans_offset(t, out),
	                            trans_offset(t, t->e.at),
	                            0,
	                            0};
	for (unsigned i = 0; i < b->n; i++)
		nb->ours |= (uint64_t)t->ours[i] << i;
	if (!valid(t, nb, start)) {
		give_up(t, ops_used);
		return;
	}
	n->bytes += (uint64_t)(t->e.at - start);
	n->used = trans_offset(t, t->e.at);
	native_install(c, b, nb);
}
