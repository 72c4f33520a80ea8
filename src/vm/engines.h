/* The engines, and which one `auto` takes. */
#ifndef VM_ENGINES_H
#define VM_ENGINES_H

#include "machine/engine.h"

struct engine_choice {
	const struct engine *engine;
	char reason[256]; /* one line: why this one */
};

/* In order of preference; NULL behind the last. */
extern const struct engine *const engines[];

/* name: "auto" or an engine's; an engine that was named is taken when it can be opened at all. */
int engine_choose(const char *name, struct engine_choice *out, struct err *e) MUST_CHECK;

#endif
