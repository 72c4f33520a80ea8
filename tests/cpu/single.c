/* Cases of one instruction: values that make it interesting, and what the box must hold for it. */
#include <string.h>
#include "gen.h"
#include "machine/cpu.h"

static uint16_t pick(struct rng *r, const uint8_t *names, unsigned n)
{
	return SEL_LDT(names[rng_below(r, n)]);
}

static void pick_segments(struct rng *r, struct cpu_case *c)
{
	static const uint8_t data[] = {BOX_STACK32, BOX_LIMITED,   BOX_STACK16,
	                               BOX_DOWN16,  BOX_READ_ONLY, BOX_DOWN32};
	static const uint8_t stack[] = {BOX_STACK32, BOX_STACK16, BOX_STACK32, BOX_STACK16,
	                                BOX_DOWN16,  BOX_DOWN32,  BOX_LIMITED};

	switch (c->mode) {
	case CASE_64:
		c->cs = SEL_CODE64;
		c->ss = SEL_DATA;
		c->ds = c->es = 0;
		return;
	case CASE_32:
		c->cs = SEL_CODE32;
		c->ss = c->ds = c->es = SEL_DATA;
		return;
	default:
		c->cs = SEL_LDT(c->mode == CASE_SEG32 ? BOX_CODE32 : BOX_CODE16);
		c->ss = pick(r, stack, ARRAY_LEN(stack));
		c->ds = pick(r, data, ARRAY_LEN(data));
		c->es = pick(r, data, ARRAY_LEN(data));
	}
}

/* Mostly in the middle, sometimes so that the code goes over the end of a page or its segment. */
static uint64_t pick_rip(struct rng *r, const struct cpu_case *c)
{
	uint64_t base = c->mode >= CASE_SEG32 ? 0 : BOX_CODE;

	if (rng_one_in(r, 6))
		return base + BOX_PAGE - rng_below(r, 16);
	if (c->mode >= CASE_SEG32)
		return rng_one_in(r, 8) ? BOX_CODE_LIMIT + 1 - rng_below(r, 16)
		                        : 64 + rng_below(r, BOX_CODE_LIMIT - 128);
	return base + 64 + rng_below(r, 2 * BOX_PAGE - 192);
}

static bool is_bit_test(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_BT || m == ZYDIS_MNEMONIC_BTS || m == ZYDIS_MNEMONIC_BTR ||
	       m == ZYDIS_MNEMONIC_BTC;
}

/* The bit number counts from the memory operand: not so far that it leaves the box. */
static bool limit_bit_number(struct rng *r, struct cpu_case *c, const struct insn *n)
{
	int reg;

	if (!is_bit_test(n->i.mnemonic) || n->op[0].type != ZYDIS_OPERAND_TYPE_MEMORY ||
	    n->op[1].type != ZYDIS_OPERAND_TYPE_REGISTER)
		return true;
	reg = insn_gpr(n->op[1].reg.value);
	c->in.gpr[reg] = (uint64_t)((int64_t)rng_below(r, 0x8001) - 0x4000);
	if (c->mode != CASE_64)
		c->in.gpr[reg] = (uint32_t)c->in.gpr[reg];
	return reg != insn_gpr(n->op[0].mem.base) && reg != insn_gpr(n->op[0].mem.index);
}

/* A dividend that mostly gives a quotient that fits. */
static void prepare_division(struct rng *r, struct cpu_case *c, const struct insn *n)
{
	uint64_t *g = c->in.gpr;

	if (rng_one_in(r, 4))
		return;
	if (n->i.operand_width == 8)
		g[CPU_RAX] = (g[CPU_RAX] & ~0xff00ull) | rng_below(r, 4) << 8;
	else if (n->i.mnemonic == ZYDIS_MNEMONIC_DIV)
		g[CPU_RDX] = rng_below(r, 3);
	else
		g[CPU_RDX] = g[CPU_RAX] >> (n->i.operand_width - 1) & 1 ? ~0ull : 0;
	if (c->mode != CASE_64)
		g[CPU_RDX] = (uint32_t)g[CPU_RDX];
}

static void prepare_string(struct rng *r, struct cpu_case *c, const struct insn *n)
{
	if (n->i.attributes &
	    (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE))
		c->in.gpr[CPU_RCX] = rng_below(r, rng_one_in(r, 8) ? 0x1000 : 40);
	if (rng_one_in(r, 3))
		c->in.rflags |= FLAG_DF;
}

/* Saves of components that only the host has would differ. */
static void prepare_xsave(struct rng *r, struct cpu_case *c)
{
	c->in.gpr[CPU_RAX] = (c->in.gpr[CPU_RAX] & ~0xffffffffull) | rng_below(r, 8);
	c->in.gpr[CPU_RDX] &= ~0xffffffffull;
}

static bool saves_too_much(const struct cpu_case *c, const struct insn *n)
{
	return insn_class(&n->i) == CLASS_XSAVE &&
	       ((uint32_t)c->in.gpr[CPU_RAX] > 7 || (uint32_t)c->in.gpr[CPU_RDX] != 0);
}

/* Outer frames' pointers are read by RBP. */
static uint64_t pick_frame(struct rng *r, const struct cpu_case *c)
{
	unsigned offset = 512 + rng_below(r, BOX_PAGE);

	if (c->mode >= CASE_SEG32)
		return rng_one_in(r, 4) ? rng_below(r, 0x10000) : offset;
	if (!rng_one_in(r, 4))
		return BOX_DATA + offset;
	return c->mode == CASE_64 ? gen_nowhere(r) : (uint32_t)gen_nowhere(r);
}

/* What the engine doesn't know of unmasked exceptions: exact tiny halves, which step raised one. */
static bool masks_exceptions(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_VCVTPS2PH || m == ZYDIS_MNEMONIC_DPPS ||
	       m == ZYDIS_MNEMONIC_DPPD || m == ZYDIS_MNEMONIC_VDPPS || m == ZYDIS_MNEMONIC_VDPPD;
}

static bool prepare(struct rng *r, struct cpu_case *c, uint8_t *bytes, const struct insn *n)
{
	switch (n->i.mnemonic) {
	case ZYDIS_MNEMONIC_DIV:
	case ZYDIS_MNEMONIC_IDIV:
		prepare_division(r, c, n);
		break;
	case ZYDIS_MNEMONIC_PUSHA:
	case ZYDIS_MNEMONIC_PUSHAD:
	case ZYDIS_MNEMONIC_POPA:
	case ZYDIS_MNEMONIC_POPAD:
	case ZYDIS_MNEMONIC_MASKMOVQ:
		c->partial = true;
		break;
	case ZYDIS_MNEMONIC_CALL: /* a far one may have pushed before it looks at the target */
		c->partial = n->i.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
		break;
	case ZYDIS_MNEMONIC_ENTER:
		/* Processors don't let REX.W overrule 66 here. */
		if (n->i.raw.rex.W && (n->i.attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE))
			return false;
		bytes[n->i.raw.imm[0].offset + 1] &= 7;
		c->in.gpr[CPU_RBP] = pick_frame(r, c);
		if (!rng_one_in(r, 8))
			bytes[n->i.raw.imm[1].offset] &= 3;
		break;
	case ZYDIS_MNEMONIC_RET:
		/* Far ones carry into the upper half of a 16-bit stack's pointer, some say. */
		if (n->i.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR && n->i.raw.imm[0].size)
			bytes[n->i.raw.imm[0].offset + 1] = 0;
		break;
	case ZYDIS_MNEMONIC_INT:
		if (bytes[n->i.raw.imm[0].offset] == 0x80)
			return false;
		break;
	case ZYDIS_MNEMONIC_LOOP:
	case ZYDIS_MNEMONIC_LOOPE:
	case ZYDIS_MNEMONIC_LOOPNE:
	case ZYDIS_MNEMONIC_JCXZ:
	case ZYDIS_MNEMONIC_JECXZ:
	case ZYDIS_MNEMONIC_JRCXZ:
		if (!rng_one_in(r, 4))
			c->in.gpr[CPU_RCX] = rng_below(r, 3);
		break;
	default:
		break;
	}
	if (masks_exceptions(n->i.mnemonic)) {
		c->in.xsave[CASE_MXCSR] |= 0x80;
		c->in.xsave[CASE_MXCSR + 1] |= 0x1f;
	}
	switch (insn_class(&n->i)) {
	case CLASS_STRING:
		prepare_string(r, c, n);
		break;
	case CLASS_XSAVE:
		prepare_xsave(r, c);
		break;
	default:
		break;
	}
	return limit_bit_number(r, c, n);
}

static bool is_vector_mask(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_VMASKMOVPS || m == ZYDIS_MNEMONIC_VMASKMOVPD ||
	       m == ZYDIS_MNEMONIC_VPMASKMOVD || m == ZYDIS_MNEMONIC_VPMASKMOVQ;
}

/* Whether elements that are masked out may fault is each processor's own. */
static bool mask_is_safe(const struct cpu_case *c, const struct insn *n)
{
	uint64_t a;

	switch (n->i.mnemonic) {
	case ZYDIS_MNEMONIC_MASKMOVQ:
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU:
		for (unsigned i = 0; i < n->i.operand_count; i++) {
			if (n->op[i].type != ZYDIS_OPERAND_TYPE_MEMORY)
				continue;
			a = gen_address(c, n, &n->op[i]);
			return a >= BOX_DATA && a < BOX_DATA + BOX_DATA_RW * BOX_PAGE - 16;
		}
		return true;
	default:
		/* Elements may wrap around at 64 KiB, or be masked out where a segment ends. */
		return !is_vector_mask(n->i.mnemonic) ||
		       (n->i.address_width != 16 && c->mode < CASE_SEG32);
	}
}

/* Branch targets: INT3s of the box, or wherever a random number leads. */
static bool land(struct rng *r, struct cpu_case *c, uint8_t *bytes, const struct insn *n,
                 struct image *image)
{
	unsigned len = n->i.length;

	for (unsigned i = 0; i < n->i.operand_count; i++) {
		const ZydisDecodedOperand *o = &n->op[i];
		uint64_t to = rng_one_in(r, 12) ? gen_nowhere(r) : gen_landing(r, c, len);

		if (o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && o->imm.is_relative) {
			int64_t rel = (int64_t)(gen_landing(r, c, len) - (c->in.rip + len));

			if (o->size == 8 || n->i.raw.imm[0].size == 8)
				rel = (int8_t)rel;
			/* A jump back to itself would not end. */
			if (rel < 0 && rel >= -(int64_t)len)
				return false;
			memcpy(bytes + n->i.raw.imm[0].offset, &rel, n->i.raw.imm[0].size / 8);
		} else if (o->type == ZYDIS_OPERAND_TYPE_MEMORY) {
			gen_put_image(image, gen_address(c, n, o), &to, o->size / 8);
		} else if (o->type == ZYDIS_OPERAND_TYPE_REGISTER &&
		           o->visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT &&
		           insn_gpr(o->reg.value) >= 0) {
			c->in.gpr[insn_gpr(o->reg.value)] = c->mode == CASE_64 ? to : (uint32_t)to;
		}
	}
	return true;
}

/* An XSAVE area of random contents for the restoring instructions. */
static void put_xsave_area(struct rng *r, const struct insn *n, struct cpu_case *c,
                           struct image *image)
{
	static struct cpu_case other;
	uint64_t header[2] = {rng_below(r, 8), 0};

	other.mode = c->mode;
	gen_regs(r, &other);
	if (rng_one_in(r, 3)) {
		/* The compacted format, with or without AVX */
		header[1] = 1ull << 63 | 3 | (rng_below(r, 2) << 2);
		header[0] &= header[1];
	}
	/* Bits that mean nothing to any processor yet */
	if (rng_one_in(r, 16))
		header[rng_below(r, 2)] ^= 1ull << (20 + rng_below(r, 40));
	memcpy(other.in.xsave + CASE_BV, header, sizeof(header));
	gen_put_image(image, gen_address(c, n, &n->op[0]), other.in.xsave, CASE_XSAVE);
}

/* MXCSR.MM, which only AMD's processors have, and the guest's doesn't. */
static void clear_mm(const struct cpu_case *c, const struct insn *n, struct image *image)
{
	uint64_t at = gen_address(c, n, &n->op[0]) - BOX_DATA + 2;

	if (at < sizeof(image->data))
		image->data[at] &= (uint8_t)~2;
}

static void add_hole(struct cpu_case *c, uint64_t linear, unsigned len)
{
	uint64_t at = linear - BOX_DATA;

	if (at < BOX_DATA_PAGES * BOX_PAGE && c->holes < CASE_HOLES)
		c->hole[c->holes++] = (struct case_hole){(unsigned)at, len};
}

/* The last x87 instruction's address and operand's address are not kept alike by all processors. */
static void dig_holes(struct cpu_case *c, const struct insn *n)
{
	uint64_t a;

	if (n->op[0].type != ZYDIS_OPERAND_TYPE_MEMORY)
		return;
	a = gen_address(c, n, &n->op[0]);
	switch (n->i.mnemonic) {
	case ZYDIS_MNEMONIC_FXSAVE:
	case ZYDIS_MNEMONIC_FXSAVE64:
	case ZYDIS_MNEMONIC_XSAVE:
	case ZYDIS_MNEMONIC_XSAVE64:
	case ZYDIS_MNEMONIC_XSAVEC:
	case ZYDIS_MNEMONIC_XSAVEC64:
	case ZYDIS_MNEMONIC_XSAVEOPT:
	case ZYDIS_MNEMONIC_XSAVEOPT64:
		add_hole(c, a + 6, 18);
		add_hole(c, a + 28, 4); /* MXCSR_MASK */
		break;
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FNSAVE:
		if (n->i.operand_width == 16)
			add_hole(c, a + 6, 8);
		else
			add_hole(c, a + 12, 16);
		break;
	default:
		break;
	}
}

/* Accesses of several parts, or alignment and limits: which fault comes first is the processor's own. */
static bool is_any_fault(const struct insn *n, const struct gen_wish *w)
{
	enum insn_class class = w->class;

	if (w->mode >= CASE_SEG32 && class >= CLASS_SSE)
		return true;
	if (n->i.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR || class == CLASS_SEGMENT)
		return true;
	for (unsigned i = 0; i < n->i.operand_count; i++)
		if (n->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY && n->op[i].size == 80)
			return true;
	switch (n->i.mnemonic) {
	case ZYDIS_MNEMONIC_CALL:
	case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_FRSTOR:
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FLDENV:
		return true;
	case ZYDIS_MNEMONIC_CMPSB:
	case ZYDIS_MNEMONIC_CMPSW:
	case ZYDIS_MNEMONIC_CMPSD:
	case ZYDIS_MNEMONIC_CMPSQ:
		return class == CLASS_STRING;
	default:
		return class == CLASS_XSAVE || is_vector_mask(n->i.mnemonic);
	}
}

bool gen_single(struct rng *r, const struct gen_wish *w, struct cpu_case *c, struct image *image)
{
	const struct form *f = catalogue_pick(w->forms, r);
	struct insn n;

	memset(c, 0, sizeof(*c));
	c->mode = w->mode;
	pick_segments(r, c);
	gen_regs(r, c);
	c->in.rip = pick_rip(r, c);
	/* Processors disagree about 66 before branches in 64-bit code, and before MOVSXD. */
	if (f->prefix == 0x66 && w->mode == CASE_64 &&
	    (w->class == CLASS_FLOW || f->mnemonic == ZYDIS_MNEMONIC_MOVSXD))
		return false;
	/* AMD's have no far pointers with 64-bit offsets. */
	if (f->w && w->class == CLASS_SEGMENT && f->memory)
		return false;
	if (!gen_encode(r, f, w->mode, w->class, c->code, &n) || !prepare(r, c, c->code, &n) ||
	    !insn_decode(w->mode, c->code, ZYDIS_MAX_INSTRUCTION_LENGTH, &n) ||
	    !gen_aim(r, c, c->code, &n) || saves_too_much(c, &n) || !mask_is_safe(c, &n))
		return false;
	c->len = n.i.length;
	if (w->class == CLASS_FLOW && !land(r, c, c->code, &n, image))
		return false;
	if (w->class == CLASS_SEGMENT)
		gen_segment(r, c, &n, image);
	if (n.i.mnemonic == ZYDIS_MNEMONIC_XRSTOR || n.i.mnemonic == ZYDIS_MNEMONIC_XRSTOR64 ||
	    n.i.mnemonic == ZYDIS_MNEMONIC_FXRSTOR || n.i.mnemonic == ZYDIS_MNEMONIC_FXRSTOR64)
		put_xsave_area(r, &n, c, image);
	if (n.i.meta.isa_set == ZYDIS_ISA_SET_SSEMXCSR || n.i.mnemonic == ZYDIS_MNEMONIC_VLDMXCSR)
		clear_mm(c, &n, image);
	dig_holes(c, &n);
	c->undefined = insn_undefined(&n);
	/* Moves by a mask check alignment in ways of their own, or not at all. */
	if (is_vector_mask(n.i.mnemonic) || n.i.mnemonic == ZYDIS_MNEMONIC_MASKMOVQ ||
	    n.i.mnemonic == ZYDIS_MNEMONIC_MASKMOVDQU || n.i.mnemonic == ZYDIS_MNEMONIC_VMASKMOVDQU)
		c->in.rflags &= ~(uint64_t)FLAG_AC;
	c->any_fault = is_any_fault(&n, w);
	return true;
}
