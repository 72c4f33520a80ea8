/* The catalogue: asks Zydis about all opcodes. */
#include "insn.h"

#include <stdlib.h>
#include <string.h>
#include "machine/cpu.h"

#define MODRM_REG(reg) ((reg) << 3)

bool insn_decode(enum case_mode mode, const uint8_t *bytes, size_t len, struct insn *out)
{
	static const struct {
		ZydisMachineMode machine;
		ZydisStackWidth stack;
	} modes[] = {
		[CASE_64] = {ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
		[CASE_32] = {ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32},
		[CASE_SEG32] = {ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32},
		[CASE_SEG16] = {ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16},
	};
	static ZydisDecoder decoder[ARRAY_LEN(modes)];
	static bool ready[ARRAY_LEN(modes)];

	if (!ready[mode]) {
		ZydisDecoderInit(&decoder[mode], modes[mode].machine, modes[mode].stack);
		ZydisDecoderEnableMode(&decoder[mode], ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
		ZydisDecoderEnableMode(&decoder[mode], ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
		ready[mode] = true;
	}
	return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder[mode], bytes, len, &out->i, out->op));
}

static size_t form_bytes(const struct form *f, enum case_mode mode, uint8_t *b)
{
	static const uint8_t pp[] = {0, 0x66, 0xf3, 0xf2};
	size_t n = 0;

	if (f->vex) {
		unsigned p = 0;

		while (pp[p] != f->prefix)
			p++;
		b[n++] = 0xc4;
		b[n++] = (uint8_t)(0xe0 | f->map);
		b[n++] = (uint8_t)(f->w << 7 | 0xf << 3 | f->l << 2 | p);
	} else {
		if (f->prefix)
			b[n++] = f->prefix;
		if (f->w && mode == CASE_64)
			b[n++] = 0x48;
		if (f->map >= 1)
			b[n++] = 0x0f;
		if (f->map >= 2)
			b[n++] = f->map == 2 ? 0x38 : 0x3a;
	}
	b[n++] = f->opcode;
	return n;
}

/* VEX.vvvv and registers are all ones in the probe; a vvvv that must be unused stays so. */
static bool probe(const struct form *f, enum case_mode mode, struct insn *out)
{
	uint8_t b[24] = {0};
	size_t n = form_bytes(f, mode, b);
	uint8_t modrm = (uint8_t)(MODRM_REG(f->reg) | (f->memory ? 0x03 : 0xc0));

	if (!f->memory)
		modrm |= f->rm > 0 ? (uint8_t)f->rm : 0;
	b[n] = modrm;
	if (insn_decode(mode, b, sizeof(b), out))
		return true;
	if (!f->vex)
		return false;
	b[2] &= (uint8_t) ~(0xf << 3); /* gathers want registers that differ */
	return insn_decode(mode, b, sizeof(b), out);
}

static void add(struct catalogue *c, const struct form *f)
{
	if ((c->n & (c->n - 1)) == 0)
		c->form = xrealloc(c->form, (c->n ? c->n * 2 : 1) * sizeof(*f));
	c->form[c->n++] = *f;
}

static bool prefix_matters(const struct insn *n, bool vex, uint8_t prefix)
{
	const ZydisInstructionAttributes rep =
		ZYDIS_ATTRIB_ACCEPTS_REP | ZYDIS_ATTRIB_ACCEPTS_REPE | ZYDIS_ATTRIB_ACCEPTS_REPNE;

	if (vex || prefix == 0 || prefix == 0x66)
		return true;
	return n->i.raw.prefix_count > 0 &&
	       ((n->i.attributes & rep) ||
	        n->i.raw.prefixes[0].type == ZYDIS_PREFIX_TYPE_MANDATORY);
}

static void try_opcode(struct catalogue *c, enum insn_class class, enum case_mode mode,
                       struct form f)
{
	struct insn n;

	for (unsigned memory = 0; memory < 2; memory++) {
		for (unsigned reg = 0; reg < 8; reg++) {
			/* Only these opcodes have instructions that ModRM.rm chooses. */
			bool by_rm = !f.vex && !memory &&
			             ((f.map == 0 && f.opcode >= 0xd8 && f.opcode <= 0xdf) ||
			              (f.map == 1 && f.opcode == 0x01));

			for (int rm = 0; rm < (by_rm ? 8 : 1); rm++) {
				f.memory = memory;
				f.reg = (uint8_t)reg;
				f.rm = by_rm ? (int8_t)rm : -1;
				if (!probe(&f, mode, &n))
					continue;
				f.modrm = !!(n.i.attributes & ZYDIS_ATTRIB_HAS_MODRM);
				if (!f.modrm && (memory || reg || rm > 0))
					continue;
				if (!prefix_matters(&n, f.vex, f.prefix) ||
				    !insn_wanted(&n, class, &f))
					continue;
				f.mnemonic = (uint16_t)n.i.mnemonic;
				add(c, &f);
			}
		}
	}
}

static int by_mnemonic(const void *a, const void *b)
{
	return ((const struct form *)a)->mnemonic - ((const struct form *)b)->mnemonic;
}

static void make_groups(struct catalogue *c)
{
	if (c->n > 0)
		qsort(c->form, c->n, sizeof(*c->form), by_mnemonic);
	c->group = xalloc((c->n + 1) * sizeof(*c->group));
	for (unsigned i = 0; i < c->n; i++)
		if (i == 0 || c->form[i].mnemonic != c->form[i - 1].mnemonic)
			c->group[c->groups++] = i;
	c->group[c->groups] = c->n;
}

static bool is_prefix(enum case_mode mode, unsigned b)
{
	return b == 0x26 || b == 0x2e || b == 0x36 || b == 0x3e || (b >= 0x64 && b <= 0x67) ||
	       b == 0xf0 || b == 0xf2 || b == 0xf3 || b == 0x0f ||
	       (mode == CASE_64 && (b & 0xf0) == 0x40);
}

void catalogue_make(struct catalogue *c, enum insn_class class, enum case_mode mode)
{
	static const uint8_t prefixes[] = {0, 0x66, 0xf3, 0xf2};
	struct form f = {0};

	*c = (struct catalogue){0};
	if (class == CLASS_NONE)
		return;
	for (unsigned k = 0; k < 256 * 4 * 4 * 2; k++) {
		f = (struct form){.opcode = (uint8_t)k,
		                  .prefix = prefixes[k >> 8 & 3],
		                  .map = (uint8_t)(k >> 10 & 3),
		                  .w = k >> 12 & 1};
		if ((f.map == 0 && is_prefix(mode, f.opcode)) || (f.w && mode != CASE_64) ||
		    (f.map == 1 && (f.opcode == 0x38 || f.opcode == 0x3a)))
			continue;
		try_opcode(c, class, mode, f);
	}
	for (unsigned k = 0; k < 256 * 3 * 4 * 4; k++) {
		f = (struct form){.vex = true,
		                  .opcode = (uint8_t)k,
		                  .prefix = prefixes[k >> 8 & 3],
		                  .map = (uint8_t)((k >> 12) + 1),
		                  .w = k >> 10 & 1,
		                  .l = k >> 11 & 1};
		try_opcode(c, class, mode, f);
	}
	make_groups(c);
}

void catalogue_free(struct catalogue *c)
{
	free(c->form);
	free(c->group);
}

const struct form *catalogue_pick(const struct catalogue *c, struct rng *r)
{
	unsigned g = rng_below(r, c->groups);

	return &c->form[c->group[g] + rng_below(r, c->group[g + 1] - c->group[g])];
}

uint32_t insn_undefined(const struct insn *n)
{
	const ZydisDecodedInstruction *i = &n->i;
	uint32_t mask = i->cpu_flags ? i->cpu_flags->undefined : 0;

	/* Zydis can't know of counts: OF is defined for a count of 1, CF for less than the size. */
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_SHL:
	case ZYDIS_MNEMONIC_SHR:
	case ZYDIS_MNEMONIC_SAR:
	case ZYDIS_MNEMONIC_SHLD:
	case ZYDIS_MNEMONIC_SHRD:
		if (i->operand_width < 32)
			mask |= FLAG_CF;
		mask |= FLAG_AF;
		FALLTHROUGH;
	case ZYDIS_MNEMONIC_ROL:
	case ZYDIS_MNEMONIC_ROR:
	case ZYDIS_MNEMONIC_RCL:
	case ZYDIS_MNEMONIC_RCR:
		if (!(i->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && (i->opcode & 0xfe) == 0xd0))
			mask |= FLAG_OF;
		break;
	default:
		break;
	}
	return mask & FLAGS_ARITH;
}

int insn_gpr(ZydisRegister reg)
{
	ZydisRegister wide = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);

	return wide >= ZYDIS_REGISTER_RAX && wide <= ZYDIS_REGISTER_R15
	               ? (int)(wide - ZYDIS_REGISTER_RAX)
	               : -1;
}
