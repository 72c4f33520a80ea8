/*
 * The proof (validate.h) is one of data flow: for each instruction, what is known of each register
 * whichever way one came there.  At the entries nothing is; where ways meet, what is known by all.
 */
#include "engine/soft/validate_flow.h"

#include "engine/soft/fpu.h"

/* What is known. */

static bool is_host_address(const struct fact *f)
{
	return f->kind == FACT_ADDEND || f->kind == FACT_TARGET || f->kind == FACT_CODE;
}

static bool is_of_register(const struct fact *f)
{
	return f->kind >= FACT_PAGE && f->kind <= FACT_HIT;
}

void proof_reach(struct proof *p, uint64_t at, const struct facts *f)
{
	struct step *s = proof_step(p->v, at);
	struct facts *to;

	if (s == NULL) {
		p->what = "a jump that leaves the block";
		return;
	}
	to = &p->v->facts[s - p->v->step];
	if (!to->reached) {
		*to = *f;
		to->reached = p->changed = true;
		return;
	}
	for (unsigned i = 0; i < ARRAY_LEN(to->reg); i++) {
		struct fact *a = &to->reg[i];
		const struct fact *b = &f->reg[i];

		if (a->kind == FACT_NONE ||
		    (a->kind == b->kind && a->reg == b->reg && a->value == b->value))
			continue;
		*a = (struct fact){0};
		p->changed = true;
	}
	for (unsigned i = 0; i < ARRAY_LEN(to->inside); i++) {
		if (to->inside[i] <= f->inside[i])
			continue;
		to->inside[i] = f->inside[i];
		p->changed = true;
	}
}

/* A register gets a new value. */
static void set(struct proof *p, struct facts *f, unsigned reg, struct fact fact)
{
	if (is_host_address(&fact) && reg != STEP_RCX && reg != STEP_R14 && reg != STEP_R15 &&
	    reg != CALLEE)
		p->what = "a host address in a guest register";
	for (unsigned i = 0; i < ARRAY_LEN(f->reg); i++)
		if (is_of_register(&f->reg[i]) && f->reg[i].reg == reg)
			f->reg[i] = (struct fact){0};
	if (is_of_register(&fact) && fact.reg == reg)
		fact = (struct fact){0};
	f->reg[reg] = fact;
	if (reg < 16)
		f->inside[reg] = 0;
}

static void need_no_host_address(struct proof *p, const struct facts *f, unsigned reg)
{
	if (is_host_address(&f->reg[reg]))
		p->what = "a host address that goes its own way";
}

/* Accesses. */

static const struct native_site *site_of(const struct proof *p, uint32_t pc)
{
	size_t lo = p->vb->first_site, hi = p->n->sites;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (p->n->site[mid].pc < pc)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < p->n->sites && p->n->site[lo].pc == pc ? &p->n->site[lo] : NULL;
}

static const char *check_access(const struct facts *f, const struct step *s,
                                const struct native_site *site)
{
	const struct fact *x = &f->reg[s->index & 15];

	if (s->index == STEP_NO_REG || x->kind != FACT_ADDEND || x->reg != s->base)
		return "an access that was not looked up in the table";
	if (s->size > 1 && s->size > f->inside[s->base] && !s->aligned)
		return "an access that may go over a page's end";
	if (site == NULL)
		return "an access that the fault handler does not know";
	if (site->ea != s->base || (s->stores && !site->write))
		return "an access that the fault handler knows otherwise";
	return NULL;
}

static void do_plain(struct proof *p, struct facts *f, const struct step *s)
{
	const struct native_site *site = site_of(p, s->at);

	if (s->size && p->what == NULL)
		p->what = check_access(f, s, site);
	/* The fault handler changes no register. */
	if (site != NULL) {
		proof_reach(p, site->restart, f);
		proof_reach(p, site->stub, f);
	}
	for (unsigned i = 0; i < 16; i++)
		if (s->reads >> i & 1)
			need_no_host_address(p, f, i);
	for (unsigned i = 0; i < 16; i++)
		if (s->writes >> i & 1)
			set(p, f, i, (struct fact){0});
}

/* Words of the state. */

#define WORD(field) ((int64_t)offsetof(struct soft_cpu, field))
#define IS_IN(v, field)                                                        \
	((v) >= WORD(field) &&                                                 \
	 (v) < WORD(field) + (int64_t)sizeof(((struct soft_cpu *)0)->field) && \
	 ((v)-WORD(field)) % 8 == 0)

static void do_load(struct proof *p, struct facts *f, const struct step *s)
{
	struct fact got = {0};

	if (s->value == WORD(native.exit_hash))
		got.kind = FACT_TARGET;
	else if (!IS_IN(s->value, gpr) && !IS_IN(s->value, seg_base) &&
	         s->value != WORD(native.page_rip) && s->value != WORD(native.target) &&
	         s->value != WORD(native.hash_mask) && !IS_IN(s->value, native.vec_live) &&
	         !IS_IN(s->value, native.vec_off))
		p->what = "a word of the state that may not be read";
	set(p, f, s->to, got);
}

/* Where x87's last instruction was, which its code keeps. */
#define X87(field) (WORD(xsave) + (int64_t)offsetof(struct fpu_area, field))

static void do_store(struct proof *p, struct facts *f, const struct step *s)
{
	if (s->value == WORD(native.callee)) {
		if (f->reg[s->from].kind != FACT_TARGET)
			p->what = "a callee that isn't the hash's";
		f->reg[CALLEE] = f->reg[s->from];
		return;
	}
	if ((s->value < WORD(gpr[13]) || s->value > WORD(gpr[15])) &&
	    s->value != WORD(native.page_rip) && s->value != WORD(native.target) &&
	    s->value != X87(fip) && s->value != X87(fdp))
		p->what = "a word of the state that may not be written";
	need_no_host_address(p, f, s->from);
}

static void do_pext(struct proof *p, struct facts *f, const struct step *s)
{
	const struct fact *from = &f->reg[s->from];
	struct fact got = {.reg = s->from};

	need_no_host_address(p, f, s->from);
	if (s->value == WORD(native.page_mask))
		got.kind = FACT_PAGE;
	else if (s->value == WORD(native.hash_mask))
		got.kind = FACT_SLOT;
	else if (s->value == WORD(native.page_low))
		got.kind = FACT_OFFSET;
	else if (IS_IN(s->value, native.chunk_mask))
		got = (struct fact){FACT_PIECE, s->from,
		                    2ull << (s->value - WORD(native.chunk_mask)) / 8};
	else if (s->value == WORD(native.cross_mask))
		got = from->kind == FACT_LAST ? (struct fact){FACT_CROSS, from->reg, from->value}
		                              : (struct fact){0};
	else
		p->what = "a mask that there isn't";
	set(p, f, s->to, got);
}

/* Values by way of the table and the hash, and what they are made of. */
static void do_value(struct proof *p, struct facts *f, const struct step *s)
{
	const struct fact *from = &f->reg[s->from & 15], *x = &f->reg[s->index & 15];
	struct fact got = {0};

	switch (s->form) {
	case STEP_COPY:
		got = *from;
		break;
	case STEP_CONST:
		got = (struct fact){FACT_CONST, 0, (uint64_t)s->value};
		break;
	case STEP_CODE:
		got = (struct fact){FACT_CODE, 0, (uint64_t)s->value};
		break;
	case STEP_ADD_CONST:
		need_no_host_address(p, f, s->from);
		if (from->kind == FACT_OFFSET && s->value >= 0 && s->value < PAGE_SIZE)
			got = (struct fact){FACT_LAST, from->reg, (uint64_t)s->value + 1};
		if (from->kind == FACT_PIECE && s->value == 1 - (int64_t)(PAGE_SIZE / from->value))
			got = (struct fact){FACT_BEFORE, from->reg, from->value};
		break;
	case STEP_ADD:
		need_no_host_address(p, f, s->from);
		need_no_host_address(p, f, s->index);
		if (from->kind == FACT_MINUS && f->reg[from->reg].kind == FACT_SLOT &&
		    f->reg[from->reg].reg == s->index)
			got = (struct fact){.kind = FACT_MISMATCH, .reg = from->reg};
		break;
	case STEP_TABLE:
		if (x->kind != FACT_PAGE)
			p->what = "an index of the table that is no page number";
		got = (struct fact){.kind = FACT_ADDEND, .reg = x->reg};
		break;
	case STEP_HASH_RIP:
		if (x->kind != FACT_SLOT)
			p->what = "an index of the hash that is no slot";
		got = (struct fact){.kind = FACT_MINUS, .reg = s->index};
		break;
	case STEP_HASH_CODE:
		if (x->kind != FACT_HIT)
			p->what = "code from a slot that may be another's";
		got.kind = FACT_TARGET;
		break;
	default:
		p->what = "an instruction of no known form";
	}
	set(p, f, s->to, got);
}

/* Jumps. */

static void know_inside(struct facts *f, const struct fact *x)
{
	f->inside[x->reg] = MAX(f->inside[x->reg], (uint8_t)MIN(x->value, 255u));
}

/* Falls through unless rcx is 0; something may be known here because it is, or there because it isn't. */
static void do_rcx_zero(struct proof *p, struct facts *f, const struct step *s)
{
	const struct fact *rcx = &f->reg[STEP_RCX];
	struct facts taken = *f;
	struct fact *slot = &taken.reg[rcx->reg & 15];

	if (rcx->kind == FACT_CROSS)
		know_inside(&taken, rcx);
	if (rcx->kind == FACT_BEFORE)
		know_inside(f, rcx);
	if (rcx->kind == FACT_MISMATCH && slot->kind == FACT_SLOT)
		slot->kind = FACT_HIT;
	proof_reach(p, (uint64_t)s->value, &taken);
}

/* NATIVE_SITE_*, or the rel32 of a jump of this block. */
static bool is_exit_site(const struct proof *p, const struct fact *site)
{
	if (site->kind != FACT_CONST)
		return false;
	if (site->value == NATIVE_SITE_NONE || site->value == NATIVE_SITE_HASH)
		return true;
	for (size_t i = 0; i < p->v->steps; i++) {
		const struct step *s = &p->v->step[i];

		if ((s->form == STEP_JUMP || s->form == STEP_BRANCH) && s->len >= 5 &&
		    s->at + s->len - 4 == site->value)
			return true;
	}
	return false;
}

static void do_jump_state(struct proof *p, const struct facts *f, const struct step *s)
{
	const struct fact *r14 = &f->reg[STEP_R14], *r15 = &f->reg[STEP_R15];

	if (s->value == WORD(native.exit)) {
		need_no_host_address(p, f, STEP_R15);
		if (!is_exit_site(p, r14))
			p->what = "an exit that names no jump of the block";
	} else if (s->value == WORD(native.fallback)) {
		if (r14->kind != FACT_CONST || r15->kind != FACT_CONST ||
		    proof_fallback(p, r15->value) < 0)
			p->what = "ops that are not the block's";
	} else if (IS_IN(s->value, native.vec_load)) {
		if (r15->kind != FACT_CODE)
			p->what = "no place to come back to";
	} else if (s->value == WORD(native.callee)) {
		need_no_host_address(p, f, STEP_R15);
		if (f->reg[CALLEE].kind != FACT_TARGET)
			p->what = "a callee of another time";
	} else {
		p->what = "a word of the state that leads nowhere";
	}
}

static void do_jump_hash(struct proof *p, const struct facts *f, const struct step *s)
{
	const struct fact *x = &f->reg[s->index];

	need_no_host_address(p, f, STEP_R15);
	if (x->kind != FACT_HIT || x->reg != STEP_R15)
		p->what = "code from a slot that may be another's";
}

void proof_check(struct proof *p, const struct step *s, struct facts f)
{
	switch (s->form) {
	case STEP_PLAIN:
		do_plain(p, &f, s);
		break;
	case STEP_STATE_LOAD:
		do_load(p, &f, s);
		break;
	case STEP_STATE_STORE:
		do_store(p, &f, s);
		break;
	case STEP_STATE_CONST:
		if (s->value != X87(fop))
			p->what = "a word of the state that may not be written";
		break;
	case STEP_PEXT:
		do_pext(p, &f, s);
		break;
	case STEP_RCX_ZERO:
		do_rcx_zero(p, &f, s);
		break;
	case STEP_BRANCH:
		proof_reach(p, (uint64_t)s->value, &f);
		break;
	case STEP_JUMP:
		proof_reach(p, (uint64_t)s->value, &f);
		return;
	case STEP_JUMP_STATE:
		do_jump_state(p, &f, s);
		return;
	case STEP_JUMP_HASH:
		do_jump_hash(p, &f, s);
		return;
	default:
		do_value(p, &f, s);
	}
	if (p->what == NULL)
		proof_reach(p, s->at + s->len, &f);
}
