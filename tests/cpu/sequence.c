/*
 * Registers with a purpose, which no instruction of a sequence writes:
 *
 *			64-bit	others
 *	data pointer	R15	RBX	into the box's writable pages, with small displacements
 *	loop counter	R14	RBP	written by the loop's own instructions only
 *	strings		RSI, RDI	moved by string instructions without REP
 *	stack		RSP		moved by pushes and pops
 *
 * Flags that one instruction leaves undefined are not read by another; the generator follows them
 * along all paths.
 */
#include "sequence.h"

#include <string.h>
#include "machine/cpu.h"

#define PIECES_MAX 64
#define CODE_ROOM  (CASE_CODE - 48) /* what one more piece may take at most is less than the rest */
#define TRIES      200

/* Some classes more often than others. */
static const uint8_t mix[] = {
	CLASS_ALU, CLASS_ALU,    CLASS_ALU,    CLASS_ALU,    CLASS_ALU,   CLASS_MOV,    CLASS_MOV,
	CLASS_MOV, CLASS_MOV,    CLASS_SHIFT,  CLASS_SHIFT,  CLASS_MUL,   CLASS_BIT,    CLASS_BIT,
	CLASS_BCD, CLASS_STRING, CLASS_ATOMIC, CLASS_ATOMIC, CLASS_SSE,   CLASS_SSE_FP, CLASS_AVX,
	CLASS_X87, CLASS_AVX_FP, CLASS_MMX,    CLASS_STACK,  CLASS_STACK,
};

void sequences_make(struct sequences *s, enum case_mode mode)
{
	memset(s, 0, sizeof(*s));
	s->mode = mode;
	for (unsigned i = 0; i < ARRAY_LEN(mix); i++)
		if (s->forms[mix[i]].n == 0)
			catalogue_make(&s->forms[mix[i]], mix[i], mode);
}

void sequences_free(struct sequences *s)
{
	for (unsigned i = 0; i < CLASSES; i++)
		catalogue_free(&s->forms[i]);
}

enum piece_kind { PIECE_PLAIN, PIECE_JUMP, PIECE_LOOP, PIECE_AGAIN, PIECE_CALL, PIECE_RET };

/* An instruction: where it is, and for jumps where they go. */
struct piece {
	enum piece_kind kind;
	unsigned at, len;
	unsigned loop;     /* number of the loop whose body it's in, 0: none */
	uint32_t entering; /* undefined flags that jumps bring here */
	bool rel8;
};

struct builder {
	struct rng *r;
	const struct sequences *s;
	struct cpu_case *c;
	struct piece piece[PIECES_MAX + 1];
	unsigned n;
	unsigned loop, loops; /* the one under way, how many there were */
	unsigned head;        /* its first piece */
	uint32_t undefined;   /* flags now */
	unsigned function;    /* the piece after which a function's body began, 0: none */
	int64_t edge;         /* of a page, counted from the data pointer; 0: keep away from them */
	bool rewrites;        /* its own code */
	unsigned victims, stores;
	unsigned victim[PIECES_MAX], store[PIECES_MAX]; /* pieces */
};

static int data_pointer(enum case_mode mode)
{
	return mode == CASE_64 ? 15 : CPU_RBX;
}

static int loop_counter(enum case_mode mode)
{
	return mode == CASE_64 ? 14 : CPU_RBP;
}

static struct piece *append(struct builder *b, enum piece_kind kind, const uint8_t *bytes,
                            unsigned len)
{
	struct piece *p = &b->piece[b->n++];

	*p = (struct piece){kind, b->c->len, len, b->loop, b->undefined, false};
	memcpy(b->c->code + b->c->len, bytes, len);
	b->c->len += len;
	return p;
}

static bool is_reserved(const struct builder *b, int gpr)
{
	return gpr == data_pointer(b->s->mode) || gpr == loop_counter(b->s->mode) ||
	       gpr == CPU_RSI || gpr == CPU_RDI || gpr == CPU_RSP;
}

/* What can't be confined, or says where it was executed. */
static bool is_banned(const struct builder *b, const struct insn *n)
{
	switch (n->i.mnemonic) {
	case ZYDIS_MNEMONIC_POPF:
	case ZYDIS_MNEMONIC_POPFD:
	case ZYDIS_MNEMONIC_POPFQ:
	case ZYDIS_MNEMONIC_ENTER:
	case ZYDIS_MNEMONIC_LEAVE:
	case ZYDIS_MNEMONIC_XLAT:
	case ZYDIS_MNEMONIC_WRGSBASE:
	case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FRSTOR:
	case ZYDIS_MNEMONIC_FLDENV:
	case ZYDIS_MNEMONIC_LDMXCSR:
	case ZYDIS_MNEMONIC_VLDMXCSR:
	case ZYDIS_MNEMONIC_VCVTPS2PH:
	case ZYDIS_MNEMONIC_DPPS:
	case ZYDIS_MNEMONIC_DPPD:
	case ZYDIS_MNEMONIC_VDPPS:
	case ZYDIS_MNEMONIC_VDPPD:
	case ZYDIS_MNEMONIC_MOVSXD:
	case ZYDIS_MNEMONIC_ARPL:
	case ZYDIS_MNEMONIC_MASKMOVQ:
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVPS:
	case ZYDIS_MNEMONIC_VMASKMOVPD:
	case ZYDIS_MNEMONIC_VPMASKMOVD:
	case ZYDIS_MNEMONIC_VPMASKMOVQ:
	case ZYDIS_MNEMONIC_STD:
		return true;
	case ZYDIS_MNEMONIC_DIV:
	case ZYDIS_MNEMONIC_IDIV:
	case ZYDIS_MNEMONIC_AAM:
		return !rng_one_in(b->r, 16);
	case ZYDIS_MNEMONIC_BT:
	case ZYDIS_MNEMONIC_BTS:
	case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTC:
		return n->op[0].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		       n->op[1].type == ZYDIS_OPERAND_TYPE_REGISTER;
	default:
		return (n->i.attributes &
		        (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE |
		         ZYDIS_ATTRIB_HAS_SEGMENT_GS | ZYDIS_ATTRIB_HAS_SEGMENT_CS)) != 0;
	}
}

static bool confine_register(const struct builder *b, const ZydisDecodedOperand *o)
{
	int gpr = insn_gpr(o->reg.value);

	if (!(o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) || gpr < 0)
		return true;
	if (o->visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN)
		return !is_reserved(b, gpr);
	/* Strings and pushes move their own pointers. */
	return gpr != data_pointer(b->s->mode) && gpr != loop_counter(b->s->mode);
}

/* Explicit operands: the data pointer with a small displacement; aligned where that may matter. */
static bool confine_memory(struct builder *b, const struct insn *n, const ZydisDecodedOperand *o,
                           uint8_t *bytes)
{
	uint64_t disp = rng_below(b->r, 0x800);
	unsigned size = n->i.raw.disp.size;

	if (o->mem.type == ZYDIS_MEMOP_TYPE_AGEN)
		return true;
	if (o->mem.index != ZYDIS_REGISTER_NONE ||
	    (n->i.address_width == 16 && b->s->mode == CASE_32))
		return false;
	if (o->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN)
		return n->i.address_width == 64 || b->s->mode != CASE_64;
	if (insn_gpr(o->mem.base) != data_pointer(b->s->mode))
		return false;
	if (size == 8)
		disp = (uint64_t)((int64_t)rng_below(b->r, 256) - 128);
	else if (b->edge && rng_one_in(b->r, 2))
		disp = (uint64_t)(b->edge - rng_below(b->r, o->size / 8 + 1));
	if (o->size >= 64 && !b->edge)
		disp &= ~15ull;
	b->c->any_fault |= o->size == 80;
	memcpy(bytes + n->i.raw.disp.offset, &disp, size / 8);
	return true;
}

static bool confine(struct builder *b, const struct insn *n, uint8_t *bytes)
{
	uint32_t tested = n->i.cpu_flags ? n->i.cpu_flags->tested : 0;

	if (is_banned(b, n) || (tested & b->undefined))
		return false;
	for (unsigned i = 0; i < n->i.operand_count; i++) {
		const ZydisDecodedOperand *o = &n->op[i];

		if (o->type == ZYDIS_OPERAND_TYPE_REGISTER && !confine_register(b, o))
			return false;
		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY && !confine_memory(b, n, o, bytes))
			return false;
	}
	return true;
}

static void follow_flags(struct builder *b, const struct insn *n)
{
	uint32_t undefined = insn_undefined(n);

	if (!n->i.cpu_flags)
		return;
	/* A count of zero leaves all flags as they were. */
	if (insn_class(&n->i) != CLASS_SHIFT)
		b->undefined &=
			~(n->i.cpu_flags->modified | n->i.cpu_flags->set_0 | n->i.cpu_flags->set_1);
	b->undefined |= undefined;
	b->c->undefined |= undefined;
}

static void add_plain(struct builder *b)
{
	for (unsigned i = 0; i < TRIES; i++) {
		enum insn_class class = mix[rng_below(b->r, ARRAY_LEN(mix))];
		const struct catalogue *forms = &b->s->forms[class];
		uint8_t bytes[ZYDIS_MAX_INSTRUCTION_LENGTH];
		const struct form *f;
		struct insn n;

		if (forms->n == 0 || (class == CLASS_STACK && b->function))
			continue;
		f = catalogue_pick(forms, b->r);
		if (!gen_encode(b->r, f, b->s->mode, class, bytes, &n) || !confine(b, &n, bytes))
			continue;
		append(b, PIECE_PLAIN, bytes, n.i.length);
		follow_flags(b, &n);
		return;
	}
}

static unsigned rel_size(const struct builder *b)
{
	return b->s->mode == CASE_SEG16 ? 2 : 4;
}

/* JMP or Jcc; the target is filled in when all pieces are there. */
static void add_jump(struct builder *b)
{
	static const uint32_t reads[8] = {
		FLAG_OF, FLAG_CF, FLAG_ZF,           FLAG_ZF | FLAG_CF,
		FLAG_SF, FLAG_PF, FLAG_SF | FLAG_OF, FLAG_SF | FLAG_OF | FLAG_ZF};
	unsigned cc = rng_below(b->r, 16);
	uint8_t bytes[6] = {0x0f, (uint8_t)(0x80 | cc)};
	struct piece *p;

	if ((reads[cc / 2] & b->undefined) || rng_one_in(b->r, 8)) {
		bytes[0] = 0xe9;
		append(b, PIECE_JUMP, bytes, 1 + rel_size(b));
	} else if (rng_one_in(b->r, 2)) {
		bytes[0] = (uint8_t)(0x70 | cc);
		p = append(b, PIECE_JUMP, bytes, 2);
		p->rel8 = true;
	} else {
		append(b, PIECE_JUMP, bytes, 2 + rel_size(b));
	}
}

/* counter = n; then the body; then: if (--counter) goto body. */
static void begin_loop(struct builder *b)
{
	static const uint8_t start64[] = {0x41, 0xbe}, start[] = {0xbd};
	bool wide = b->s->mode == CASE_64;
	unsigned n = wide ? 2 : 1;
	uint8_t bytes[8] = {0};

	memcpy(bytes, wide ? start64 : start, n);
	bytes[n] = (uint8_t)(1 + rng_below(b->r, rng_one_in(b->r, 4) ? 40 : 4));
	append(b, PIECE_LOOP, bytes, n + rel_size(b));
	b->loop = ++b->loops;
	b->head = b->n;
	b->undefined = FLAGS_ARITH;
}

static void end_loop(struct builder *b)
{
	static const uint8_t dec64[] = {0x41, 0xff, 0xce}, dec[] = {0xff, 0xcd};
	uint8_t jnz[6] = {0x0f, 0x85};
	int32_t rel;

	if (b->s->mode == CASE_64)
		append(b, PIECE_PLAIN, dec64, sizeof(dec64));
	else
		append(b, PIECE_PLAIN, dec, sizeof(dec));
	b->undefined &= FLAG_CF;
	rel = (int32_t)b->piece[b->head].at - (int32_t)(b->c->len + 2 + rel_size(b));
	memcpy(jnz + 2, &rel, rel_size(b));
	append(b, PIECE_AGAIN, jnz, 2 + rel_size(b));
	b->loop = 0;
}

/* call body; jmp behind; body: ...; ret */
static void begin_function(struct builder *b)
{
	uint8_t call[5] = {0xe8}, jmp[5] = {0xe9};

	call[1] = (uint8_t)(1 + rel_size(b));
	append(b, PIECE_CALL, call, 1 + rel_size(b));
	append(b, PIECE_CALL, jmp, 1 + rel_size(b));
	b->function = b->n;
	b->undefined = FLAGS_ARITH;
}

static void end_function(struct builder *b)
{
	static const uint8_t ret[] = {0xc3};
	struct piece *jmp = &b->piece[b->function - 1];
	int32_t rel;

	append(b, PIECE_RET, ret, sizeof(ret));
	rel = (int32_t)(b->c->len - (jmp->at + jmp->len));
	memcpy(b->c->code + jmp->at + 1, &rel, rel_size(b));
	b->function = 0;
}

/* ADD r32, imm32, whose immediate will be rewritten: any bytes will do. */
static void add_victim(struct builder *b)
{
	static const uint8_t regs[] = {CPU_RAX, CPU_RCX, CPU_RDX};
	uint8_t bytes[6] = {0x81, (uint8_t)(0xc0 | regs[rng_below(b->r, ARRAY_LEN(regs))])};
	uint32_t imm = (uint32_t)rng64(b->r);

	memcpy(bytes + 2, &imm, 4);
	b->victim[b->victims++] = b->n;
	append(b, PIECE_PLAIN, bytes, sizeof(bytes));
	b->undefined = 0;
}

/* A store into code: MOV or ADD of a byte, MOV of four, NOT; the address is filled in at the end. */
static void add_store(struct builder *b)
{
	static const struct {
		uint8_t opcode, modrm, imm;
	} form[] = {{0xc6, 0x05, 1}, {0x80, 0x05, 1}, {0xc7, 0x05, 4}, {0xf6, 0x15, 0}};
	unsigned f = rng_below(b->r, ARRAY_LEN(form));
	uint8_t bytes[10] = {form[f].opcode, form[f].modrm};

	rng_fill(b->r, bytes + 6, 4);
	b->store[b->stores++] = b->n;
	append(b, PIECE_PLAIN, bytes, 6u + form[f].imm);
	if (form[f].opcode == 0x80)
		b->undefined = 0;
}

static void aim_stores(struct builder *b)
{
	if (b->stores && !b->victims)
		add_victim(b);
	for (unsigned i = 0; i < b->stores; i++) {
		const struct piece *p = &b->piece[b->store[i]];
		const struct piece *v = &b->piece[b->victim[rng_below(b->r, b->victims)]];
		unsigned wide = b->c->code[p->at] == 0xc7;
		uint32_t to = (uint32_t)b->c->in.rip + v->at + 2 + (wide ? 0 : rng_below(b->r, 4));

		if (b->c->mode == CASE_64)
			to -= (uint32_t)b->c->in.rip + p->at + p->len;
		memcpy(b->c->code + p->at + 2, &to, 4);
	}
}

/* May a jump at i go to j: not into a loop past its start, not out of or into a function. */
static bool may_jump(const struct builder *b, unsigned i, unsigned j)
{
	const struct piece *to = &b->piece[j];

	if (to->kind == PIECE_AGAIN) /* it would not end */
		return false;
	if (j < b->n && to->loop != 0 && to->loop != b->piece[i].loop)
		return false;
	for (unsigned k = i; k < j; k++)
		if (b->piece[k].kind == PIECE_CALL || b->piece[k].kind == PIECE_RET)
			return false;
	return true;
}

/*
 * Forwards only.  Undefined flags may not come along to readers: what lies between must not have made
 * any but those that are undefined at the target anyway.
 */
static void aim_jump(struct builder *b, unsigned i)
{
	struct piece *p = &b->piece[i];
	unsigned size = p->rel8 ? 1 : rel_size(b);
	unsigned j = i + 1 + rng_below(b->r, MIN(b->n - i, 12u));
	int32_t rel;

	while (j > i + 1 && (!may_jump(b, i, j) || (p->entering & ~b->piece[j].entering) ||
	                     (p->rel8 && b->piece[j].at - (p->at + p->len) > 127)))
		j--;
	rel = (int32_t)(b->piece[j].at - (p->at + p->len));
	memcpy(b->c->code + p->at + p->len - size, &rel, size);
}

static void add_piece(struct builder *b)
{
	unsigned in_loop = b->loop ? b->n - b->head : 0;

	if (b->loop && in_loop > 2 && rng_one_in(b->r, 5))
		end_loop(b);
	else if (b->function && b->n - b->function > 1 && !b->loop && rng_one_in(b->r, 4))
		end_function(b);
	else if (!b->loop && rng_one_in(b->r, 12))
		begin_loop(b);
	else if (!b->function && !b->loop && rng_one_in(b->r, 20))
		begin_function(b);
	else if (b->rewrites && rng_one_in(b->r, 4))
		rng_one_in(b->r, 2) ? add_victim(b) : add_store(b);
	else if (rng_one_in(b->r, 7))
		add_jump(b);
	else
		add_plain(b);
}

static void set_state(struct builder *b)
{
	struct cpu_case *c = b->c;
	/* Between two pages, before the read-only one, behind it. */
	static const uint32_t edges[] = {0x1000, 0x1000, 0x1000, 0x3000, 0x4000};
	uint32_t base = c->mode >= CASE_SEG32 ? 0 : BOX_DATA;
	uint64_t *g = c->in.gpr;

	c->cs = c->mode == CASE_64   ? SEL_CODE64
	        : c->mode == CASE_32 ? SEL_CODE32
	                             : SEL_LDT(c->mode == CASE_SEG32 ? BOX_CODE32 : BOX_CODE16);
	c->ss = c->mode == CASE_SEG16   ? SEL_LDT(BOX_STACK16)
	        : c->mode == CASE_SEG32 ? SEL_LDT(BOX_STACK32)
	                                : SEL_DATA;
	c->ds = c->es = c->mode == CASE_64 ? 0 : c->ss;
	gen_regs(b->r, c);
	b->rewrites = c->mode < CASE_SEG32 && rng_one_in(b->r, 4);
	c->in.rip = (c->mode >= CASE_SEG32 ? 0 : BOX_CODE) + 64 +
	            rng_below(b->r, BOX_CODE_PAGES * BOX_PAGE - CASE_CODE - 128);
	if (c->mode >= CASE_SEG32)
		c->in.rip = rng_one_in(b->r, 8)
		                    ? BOX_CODE_LIMIT - rng_below(b->r, CASE_CODE / 2)
		                    : 64 + rng_below(b->r, BOX_CODE_LIMIT - CASE_CODE - 64);
	if (b->rewrites)
		c->in.rip = BOX_CODE + BOX_CODE_WRITABLE + 64 +
		            rng_below(b->r, BOX_PAGE - CASE_CODE - 128);
	g[data_pointer(c->mode)] = base + 0x400 + 64 * rng_below(b->r, 32);
	if (rng_one_in(b->r, 3)) {
		b->edge = 1 + rng_below(b->r, 63);
		c->any_fault = c->mode >= CASE_SEG32; /* alignment, or the segment's limit? */
		g[data_pointer(c->mode)] =
			base + edges[rng_below(b->r, ARRAY_LEN(edges))] - (uint64_t)b->edge;
	}
	g[CPU_RSP] = base + 0x2800 + 8 * rng_below(b->r, 32);
	g[CPU_RSI] = base + 0x1400 + rng_below(b->r, 64);
	g[CPU_RDI] = base + 0x1c00 + rng_below(b->r, 64);
	if (rng_one_in(b->r, 4))
		c->in.rflags |= FLAG_DF;
}

void gen_sequence(struct rng *r, const struct sequences *s, struct cpu_case *c)
{
	static struct builder b;
	unsigned want = 4 + rng_below(r, 36);

	memset(c, 0, sizeof(*c));
	memset(&b, 0, sizeof(b));
	b.r = r;
	b.s = s;
	b.c = c;
	c->mode = s->mode;
	set_state(&b);
	while (b.n < want && b.n < PIECES_MAX - 8 && c->len < CODE_ROOM)
		add_piece(&b);
	if (b.loop)
		end_loop(&b);
	if (b.function)
		end_function(&b);
	aim_stores(&b);
	b.piece[b.n] = (struct piece){.at = c->len, .entering = FLAGS_ARITH};
	for (unsigned i = 0; i < b.n; i++)
		if (b.piece[i].kind == PIECE_JUMP)
			aim_jump(&b, i);
}
