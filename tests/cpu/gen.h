/*
 * Random cases.  A case of one instruction takes a form of the catalogue, gives it random registers,
 * addressing and values, and then sets address registers so that memory operands lie in the box:
 * mostly inside, often over a page's end, sometimes where the access must fault.
 */
#ifndef TESTS_CPU_GEN_H
#define TESTS_CPU_GEN_H

#include "insn.h"

/* values.c: registers, flags, x87 and vector state; data. */
void gen_regs(struct rng *r, struct cpu_case *c);
void gen_image(struct rng *r, struct image *image);

struct gen_wish {
	enum insn_class class;
	enum case_mode mode;
	const struct catalogue *forms;
};

/* One instruction; changes what it points to in image.  False: no luck, try again. */
bool gen_single(struct rng *r, const struct gen_wish *w, struct cpu_case *c, struct image *image);

/* Its parts.  Bytes of a form with everything free chosen, decoded: */
bool gen_encode(struct rng *r, const struct form *f, enum case_mode mode, enum insn_class class,
                uint8_t *bytes, struct insn *out);
/* Sets address registers and displacements so that all memory operands lie in the box, or where they
 * fault.  False where that can't be. */
bool gen_aim(struct rng *r, struct cpu_case *c, uint8_t *bytes, struct insn *n);
/* Linear address of a memory operand. */
uint64_t gen_address(const struct cpu_case *c, const struct insn *n, const ZydisDecodedOperand *o);
/* Writes where the linear address is in the box's data; elsewhere nothing. */
void gen_put_image(struct image *image, uint64_t linear, const void *data, unsigned len);
/* segment.c: what CLASS_SEGMENT's operands hold. */
void gen_segment(struct rng *r, struct cpu_case *c, const struct insn *n, struct image *image);
/* A number as an address where this process has nothing. */
uint64_t gen_nowhere(struct rng *r);
/* An offset in CS where the box's code is INT3, outside of [c->in.rip, c->in.rip + len). */
uint64_t gen_landing(struct rng *r, const struct cpu_case *c, unsigned len);

#endif
