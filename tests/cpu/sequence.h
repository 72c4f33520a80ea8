/*
 * Cases of many instructions: straight pieces, loops, calls, jumps forwards, mixed from all classes that
 * can't leave the box.  They exercise what single ones don't: blocks, links between them, flags that
 * live from one instruction to another.
 */
#ifndef TESTS_CPU_SEQUENCE_H
#define TESTS_CPU_SEQUENCE_H

#include "gen.h"

struct sequences {
	enum case_mode mode;
	struct catalogue forms[CLASSES]; /* empty: not used */
};

void sequences_make(struct sequences *s, enum case_mode mode);
void sequences_free(struct sequences *s);
/* Always succeeds. */
void gen_sequence(struct rng *r, const struct sequences *s, struct cpu_case *c);

#endif
