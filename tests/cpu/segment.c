/*
 * Values for instructions that load segment registers or look at descriptors: selectors of Linux' GDT
 * that programs may use and of our LDT, good ones and bad ones, where the operand or the stack has them.
 */
#include <string.h>
#include "gen.h"
#include "machine/cpu.h"

static uint16_t pick_selector(struct rng *r)
{
	static const uint16_t linux_gdt[] = {0, 3, SEL_CODE32, SEL_DATA, SEL_CODE64};

	switch (rng_below(r, 8)) {
	case 0:
	case 1:
		return linux_gdt[rng_below(r, ARRAY_LEN(linux_gdt))];
	case 2: /* any privilege */
		return (uint16_t)((linux_gdt[rng_below(r, ARRAY_LEN(linux_gdt))] & ~3u) |
		                  rng_below(r, 4));
	case 3: /* behind both tables' ends */
		return (uint16_t)(0x1000 + rng_below(r, 0xf000));
	case 4:
		return (uint16_t)(rng_below(r, BOX_SEGMENTS + 2) << 3 | 4 | rng_below(r, 4));
	default:
		return SEL_LDT(rng_below(r, BOX_SEGMENTS));
	}
}

/*
 * From segmented to 64-bit code only by returns: a call leaves open which stack pointer, offset or linear
 * address, it pushes by.
 */
static uint16_t pick_code(struct rng *r, const struct cpu_case *c, const struct insn *n)
{
	static const uint16_t code[] = {SEL_CODE32, SEL_CODE64, SEL_LDT(BOX_CODE16),
	                                SEL_LDT(BOX_CODE32)};
	uint16_t sel;

	do
		sel = rng_one_in(r, 4) ? pick_selector(r) : code[rng_below(r, ARRAY_LEN(code))];
	while (c->mode >= CASE_SEG32 && n->i.mnemonic == ZYDIS_MNEMONIC_CALL &&
	       (sel & ~3u) == (SEL_CODE64 & ~3u));
	return sel;
}

static uint16_t pick_stack(struct rng *r)
{
	static const uint16_t stack[] = {SEL_DATA, SEL_LDT(BOX_STACK16), SEL_LDT(BOX_STACK32)};

	return rng_one_in(r, 4) ? pick_selector(r) : stack[rng_below(r, ARRAY_LEN(stack))];
}

/* An INT3 of the box in the segment, sometimes a number. */
static uint64_t pick_target(struct rng *r, const struct cpu_case *c, uint16_t cs)
{
	uint64_t linear = gen_landing(r, c, c->len) + case_code_base(c);

	if (rng_one_in(r, 16))
		return gen_nowhere(r);
	return cs & 4 ? linear - BOX_CODE : linear;
}

/* offset, selector: as the bytes of a far pointer whose offset has `size` bytes. */
static unsigned far_pointer(uint8_t *p, uint64_t offset, unsigned size, uint16_t sel)
{
	memcpy(p, &offset, size);
	memcpy(p + size, &sel, 2);
	return size + 2;
}

/* What RET far and IRET pop: slots of `size` bytes. */
static unsigned stack_frame(struct rng *r, const struct cpu_case *c, const struct insn *n,
                            uint8_t *p)
{
	unsigned size = n->i.operand_width / 8;
	uint16_t cs = pick_code(r, c, n);
	uint32_t flags = (uint32_t)rng64(r) & (FLAGS_ARITH | FLAG_DF | FLAG_AC | FLAG_ID | FLAG_IF);
	uint64_t slot[5] = {pick_target(r, c, cs), cs, flags | FLAG_FIXED, c->in.gpr[CPU_RSP],
	                    pick_stack(r)};

	for (unsigned i = 0; i < ARRAY_LEN(slot); i++)
		memcpy(p + i * size, &slot[i], size);
	return size * (unsigned)ARRAY_LEN(slot);
}

static bool is_load_of_pointer(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_LDS || m == ZYDIS_MNEMONIC_LES || m == ZYDIS_MNEMONIC_LGS ||
	       m == ZYDIS_MNEMONIC_LSS;
}

static bool is_return(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_RET || m == ZYDIS_MNEMONIC_IRET || m == ZYDIS_MNEMONIC_IRETD ||
	       m == ZYDIS_MNEMONIC_IRETQ;
}

static void fill_memory(struct rng *r, const struct cpu_case *c, const struct insn *n,
                        const ZydisDecodedOperand *o, struct image *image)
{
	uint8_t bytes[64] = {0};
	unsigned len = n->i.operand_width / 8;
	uint16_t cs = pick_code(r, c, n);

	if (is_return(n->i.mnemonic))
		len = stack_frame(r, c, n, bytes);
	else if (is_load_of_pointer(n->i.mnemonic))
		len = far_pointer(bytes, rng64(r), len, pick_selector(r));
	else if (n->i.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		len = far_pointer(bytes, pick_target(r, c, cs), len, cs);
	else
		len = far_pointer(bytes, pick_selector(r), 2, 0);
	gen_put_image(image, gen_address(c, n, o), bytes, len);
}

void gen_segment(struct rng *r, struct cpu_case *c, const struct insn *n, struct image *image)
{
	for (unsigned i = 0; i < n->i.operand_count; i++) {
		const ZydisDecodedOperand *o = &n->op[i];

		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY)
			fill_memory(r, c, n, o, image);
		else if (o->type == ZYDIS_OPERAND_TYPE_REGISTER &&
		         o->visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT &&
		         insn_gpr(o->reg.value) >= 0)
			c->in.gpr[insn_gpr(o->reg.value)] =
				(c->in.gpr[insn_gpr(o->reg.value)] & ~0xffffull) | pick_selector(r);
	}
	/* JMP and CALL with the pointer in the instruction */
	if (n->op[0].type == ZYDIS_OPERAND_TYPE_POINTER) {
		uint16_t cs = pick_code(r, c, n);

		far_pointer(c->code + n->i.raw.imm[0].offset, pick_target(r, c, cs),
		            n->i.raw.imm[0].size / 8, cs);
	}
}
