#include "gen.h"

#include <string.h>
#include "machine/cpu.h"

#define TRIES 40

/* AddressSanitizer's shadow memory is where otherwise nothing is. */
#ifdef __SANITIZE_ADDRESS__
#define ASAN 1
#else
#define ASAN 0
#endif

static uint32_t segment_base(const struct cpu_case *c, ZydisRegister seg)
{
	uint16_t sel;

	switch (seg) {
	case ZYDIS_REGISTER_CS:
		return case_code_base(c);
	case ZYDIS_REGISTER_SS:
		sel = c->ss;
		break;
	case ZYDIS_REGISTER_ES:
		sel = c->es;
		break;
	case ZYDIS_REGISTER_GS:
		return (uint32_t)c->in.gs_base;
	default:
		sel = c->ds;
		break;
	}
	return c->mode >= CASE_SEG32 ? box_segment[sel >> 3].base : 0;
}

/* Where an access of len bytes shall go: a linear address. */
static uint64_t pick_address(struct rng *r, const struct cpu_case *c, unsigned len)
{
	const uint64_t end = BOX_DATA + BOX_DATA_PAGES * BOX_PAGE;
	unsigned into = len ? rng_below(r, len + 1) : 0;
	uint64_t a;

	switch (rng_below(r, 32)) {
	case 0:
	case 1:
	case 2:
		return BOX_DATA + BOX_PAGE - into; /* over a page's end */
	case 3:
		return BOX_DATA + BOX_DATA_RW * BOX_PAGE - into; /* into the read-only page */
	case 4:
		return BOX_DATA + BOX_DATA_RW * BOX_PAGE + rng_below(r, 2048);
	case 5:
		return end - into; /* into nothing */
	case 6:
		return BOX_DATA - into;
	case 7:
		if (c->mode == CASE_64) /* not canonical, or at the end of what is */
			return 0x0000800000000000ull - into +
			       (rng_one_in(r, 2) ? rng64(r) << 48 : 0);
		FALLTHROUGH;
	default:
		a = BOX_DATA + 512 + rng_below(r, 2 * BOX_PAGE);
		return rng_one_in(r, 3) ? a : a & ~63ull;
	}
}

static void set_gpr(struct cpu_case *c, int reg, unsigned width, uint64_t v)
{
	uint64_t *g = &c->in.gpr[reg];

	if (width == 64)
		*g = v;
	else if (width == 32)
		*g = (c->mode == CASE_64 ? *g & ~0xffffffffull : 0) | (uint32_t)v;
	else
		*g = (*g & ~0xffffull) | (uint16_t)v;
}

static uint64_t get_gpr(const struct cpu_case *c, int reg, unsigned width)
{
	uint64_t v = c->in.gpr[reg];

	return width == 64 ? v : width == 32 ? (uint32_t)v : (uint16_t)v;
}

static void set_disp(uint8_t *bytes, const struct insn *n, uint64_t v)
{
	memcpy(bytes + n->i.raw.disp.offset, &v, n->i.raw.disp.size / 8);
}

/* Small elements in an index of VSIB; as 64-bit ones they are small too. */
static void set_vector_index(struct rng *r, struct cpu_case *c, ZydisRegister reg)
{
	unsigned id = (unsigned)ZydisRegisterGetId(reg);

	for (unsigned i = 0; i < 4; i++) {
		int64_t v = (int64_t)rng_below(r, 129) - 64;

		memcpy(c->in.xsave + (i < 2 ? CASE_XMM : CASE_YMMH) + 16 * id + i % 2 * 8, &v, 8);
	}
}

static bool is_stack_operand(const ZydisDecodedOperand *o)
{
	/* LEAVE pops by RBP. */
	return o->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN &&
	       (insn_gpr(o->mem.base) == CPU_RSP || insn_gpr(o->mem.base) == CPU_RBP);
}

/* Pushes and pops don't care about the address size. */
static unsigned operand_width(const struct cpu_case *c, const struct insn *n,
                              const ZydisDecodedOperand *o)
{
	if (!is_stack_operand(o))
		return n->i.address_width;
	if (c->mode < CASE_SEG32)
		return c->mode == CASE_64 ? 64 : 32;
	return box_segment[c->ss >> 3].attr & SEG_DB ? 32 : 16;
}

/* Number of the base register, or -1; Zydis 4.0 takes what has none for R13D in one encoding. */
static int base_gpr(const struct insn *n, const ZydisDecodedOperandMem *m)
{
	return m->base == ZYDIS_REGISTER_R13D && n->i.raw.modrm.mod == 0 ? -1 : insn_gpr(m->base);
}

/*
 * Makes the operand's address the linear address `to` by its base register, or by the displacement
 * where there's none.  False where that can't be.
 */
static bool aim(struct rng *r, struct cpu_case *c, uint8_t *bytes, const struct insn *n,
                const ZydisDecodedOperand *o, uint64_t to)
{
	const ZydisDecodedOperandMem *m = &o->mem;
	unsigned width = operand_width(c, n, o);
	uint64_t want = to - segment_base(c, m->segment), index = 0;
	int base = base_gpr(n, m), x = insn_gpr(m->index);

	if (m->base == ZYDIS_REGISTER_RIP || m->base == ZYDIS_REGISTER_EIP) {
		set_disp(bytes, n, want - (c->in.rip + n->i.length));
		return true;
	}
	if (m->index != ZYDIS_REGISTER_NONE && x < 0) {
		set_vector_index(r, c, m->index);
	} else if (x >= 0) {
		if (x == base)
			return false;
		if (base < 0 && width == 64)
			c->in.gpr[x] = (uint64_t)(int64_t)(int32_t)rng_below(r, 0x1000);
		index = m->index == ZYDIS_REGISTER_AL ? (uint8_t)c->in.gpr[x]
		                                      : get_gpr(c, x, width) * m->scale;
	}
	if (base >= 0)
		set_gpr(c, base, width, want - index - (uint64_t)m->disp.value);
	else if (n->i.raw.disp.size >= 16)
		set_disp(bytes, n, want - index);
	else
		return false;
	return true;
}

uint64_t gen_address(const struct cpu_case *c, const struct insn *n, const ZydisDecodedOperand *o)
{
	const ZydisDecodedOperandMem *m = &o->mem;
	unsigned width = operand_width(c, n, o);
	int base = base_gpr(n, m), x = insn_gpr(m->index);
	uint64_t a = (uint64_t)(base < 0 ? n->i.raw.disp.value : m->disp.value);

	if (m->base == ZYDIS_REGISTER_RIP || m->base == ZYDIS_REGISTER_EIP)
		a += c->in.rip + n->i.length;
	else if (base >= 0)
		a += get_gpr(c, base, width);
	if (m->index == ZYDIS_REGISTER_AL)
		a += (uint8_t)c->in.gpr[x];
	else if (x >= 0)
		a += get_gpr(c, x, width) * m->scale;
	if (width < 64)
		a &= (1ull << width) - 1;
	a += segment_base(c, m->segment);
	return c->mode == CASE_64 ? a : (uint32_t)a;
}

/* Nothing of this process may lie there but the box. */
static bool is_harmless(const struct cpu_case *c, uint64_t a)
{
	const uint64_t data_end = BOX_DATA + BOX_DATA_PAGES * BOX_PAGE;
	uint64_t top = a >> 47;

	if (c->mode >= CASE_SEG32)
		return true; /* the segments' limits see to it */
	return (top != 0 && top != 0x1ffff) || a < BOX_GUARD ||
	       (a >= BOX_DATA - BOX_GUARD / 2 && a < data_end + BOX_GUARD / 2) ||
	       (a >= BOX_CODE - BOX_GUARD / 2 && a < BOX_CODE + BOX_GUARD / 2) ||
	       (c->mode == CASE_64 && a >= 0x00007ffffffff000ull && a < 0x0000800000000000ull);
}

bool gen_aim(struct rng *r, struct cpu_case *c, uint8_t *bytes, struct insn *n)
{
	for (unsigned i = 0; i < n->i.operand_count; i++) {
		const ZydisDecodedOperand *o = &n->op[i];
		uint64_t to;

		if (o->type != ZYDIS_OPERAND_TYPE_MEMORY || o->mem.type == ZYDIS_MEMOP_TYPE_AGEN)
			continue;
		to = pick_address(r, c, o->size / 8);
		if (is_stack_operand(o) && rng_below(r, 8) != 0)
			to = (BOX_DATA + 512 + rng_below(r, BOX_PAGE)) & ~7ull;
		if (!aim(r, c, bytes, n, o, to))
			return false;
	}
	/* Displacements may have changed, and later operands may have moved earlier ones. */
	if (!insn_decode(c->mode, bytes, ZYDIS_MAX_INSTRUCTION_LENGTH, n))
		return false;
	for (unsigned i = 0; i < n->i.operand_count; i++) {
		const ZydisDecodedOperand *o = &n->op[i];

		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY && o->mem.type != ZYDIS_MEMOP_TYPE_AGEN &&
		    !is_harmless(c, gen_address(c, n, o)))
			return false;
	}
	return true;
}

static void put_modrm(struct rng *r, const struct form *f, enum case_mode mode, uint8_t *b,
                      size_t *n)
{
	unsigned mod = f->memory ? rng_below(r, 3) : 3, rm = rng_below(r, 8);
	bool wide = mode != CASE_SEG16; /* a 67 prefix is only tried without SIB in mind */

	if (f->rm >= 0 && !f->memory)
		rm = (unsigned)f->rm;
	b[(*n)++] = (uint8_t)(mod << 6 | f->reg << 3 | rm);
	if (wide && f->memory && rm == 4)
		b[(*n)++] = (uint8_t)rng64(r);
}

static uint8_t pick_rex(struct rng *r, const struct form *f)
{
	uint8_t rex = f->w ? 0x48 : 0;

	if (rng_one_in(r, 2))
		rex |= (uint8_t)(0x40 | rng_below(r, 8));
	return rex;
}

static void put_vex(struct rng *r, const struct form *f, enum case_mode mode, unsigned vvvv,
                    uint8_t *b, size_t *n)
{
	static const uint8_t pp[256] = {[0x66] = 1, [0xf3] = 2, [0xf2] = 3};
	uint8_t rxb = mode == CASE_64 ? (uint8_t)(rng_below(r, 8) << 5) : 0xe0;
	uint8_t last = (uint8_t)(vvvv << 3 | f->l << 2 | pp[f->prefix]);

	if (f->map == 1 && !f->w && (rxb & 0x60) == 0x60 && rng_one_in(r, 2)) {
		b[(*n)++] = 0xc5;
		b[(*n)++] = (uint8_t)((rxb & 0x80) | last);
		return;
	}
	b[(*n)++] = 0xc4;
	b[(*n)++] = (uint8_t)(rxb | f->map);
	b[(*n)++] = (uint8_t)(f->w << 7 | last);
}

static void put_prefixes(struct rng *r, const struct form *f, enum case_mode mode,
                         enum insn_class class, uint8_t *b, size_t *n)
{
	static const uint8_t seg[] = {0x26, 0x2e, 0x36, 0x3e, 0x65};

	if (f->memory && (class == CLASS_ATOMIC ? !rng_one_in(r, 4) : rng_one_in(r, 64)))
		b[(*n)++] = 0xf0;
	if (rng_one_in(r, mode >= CASE_SEG32 ? 3 : 10))
		b[(*n)++] = seg[rng_below(r, mode == CASE_64 ? 5 : 4)];
	if (rng_one_in(r, 12) && class != CLASS_FLOW)
		b[(*n)++] = 0x67;
	if (!f->vex && f->prefix)
		b[(*n)++] = f->prefix;
}

static size_t try_encode(struct rng *r, const struct form *f, enum case_mode mode,
                         enum insn_class class, unsigned vvvv, uint8_t *b)
{
	size_t n = 0;
	uint8_t rex;

	put_prefixes(r, f, mode, class, b, &n);
	if (f->vex) {
		put_vex(r, f, mode, vvvv, b, &n);
	} else {
		rex = mode == CASE_64 ? pick_rex(r, f) : 0;
		if (rex)
			b[n++] = rex;
		if (f->map >= 1)
			b[n++] = 0x0f;
		if (f->map >= 2)
			b[n++] = f->map == 2 ? 0x38 : 0x3a;
	}
	b[n++] = f->opcode;
	if (f->modrm)
		put_modrm(r, f, mode, b, &n);
	return n;
}

bool gen_encode(struct rng *r, const struct form *f, enum case_mode mode, enum insn_class class,
                uint8_t *bytes, struct insn *out)
{
	for (unsigned i = 0; i < TRIES; i++) {
		uint8_t b[ZYDIS_MAX_INSTRUCTION_LENGTH + 16];
		/* vvvv that names no register must be 1111 */
		unsigned vvvv = rng_one_in(r, 2)  ? 0xf
		                : mode == CASE_64 ? rng_below(r, 16)
		                                  : 8 + rng_below(r, 8);
		uint64_t imm = rng_number(r);
		size_t n;

		rng_fill(r, b, sizeof(b));
		n = try_encode(r, f, mode, class, vvvv, b);
		if (!insn_decode(mode, b, ZYDIS_MAX_INSTRUCTION_LENGTH, out) ||
		    out->i.mnemonic != f->mnemonic || out->i.length < n)
			continue;
		if (out->i.raw.imm[0].size)
			memcpy(b + out->i.raw.imm[0].offset, &imm, out->i.raw.imm[0].size / 8);
		if (out->i.raw.disp.size == 32 && !rng_one_in(r, 4)) {
			int32_t disp = (int32_t)rng_below(r, 0x1000) - 0x800;

			memcpy(b + out->i.raw.disp.offset, &disp, 4);
		}
		if (!insn_decode(mode, b, ZYDIS_MAX_INSTRUCTION_LENGTH, out) ||
		    out->i.mnemonic != f->mnemonic)
			continue;
		memcpy(bytes, b, out->i.length);
		return true;
	}
	return false;
}

uint64_t gen_nowhere(struct rng *r)
{
	uint64_t a;

	do
		a = rng_number(r);
	while (ASAN && ((a >= 0x7fff7000 && a < 0x10007fff8000) || (uint32_t)a >= 0x7fff7000));
	return a;
}

uint64_t gen_landing(struct rng *r, const struct cpu_case *c, unsigned len)
{
	uint64_t base = c->mode >= CASE_SEG32 ? 0 : BOX_CODE, to;

	do
		to = base + rng_below(r, BOX_CODE_PAGES * BOX_PAGE);
	while (to >= c->in.rip && to < c->in.rip + len);
	return to;
}

void gen_put_image(struct image *image, uint64_t linear, const void *data, unsigned len)
{
	uint64_t at = linear - BOX_DATA;

	if (at < sizeof(image->data) && len <= sizeof(image->data) - at)
		memcpy(image->data + at, data, len);
}
