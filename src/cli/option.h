/* Long options from a table: "--name value" and "--name=value". */
#ifndef CLI_OPTION_H
#define CLI_OPTION_H

#include "base/err.h"

struct option_def {
	const char *name; /* without the dashes */
	const char *arg;  /* what the value is, for help; NULL: a flag */
	const char *help;
	int (*set)(void *ctx, const char *value, struct err *e); /* value NULL for a flag */
};

/* Ends at a name of NULL.  An unknown option's error names the nearest spelling. */
int options_parse(const struct option_def *table, void *ctx, int argc, char **argv,
                  struct err *e) MUST_CHECK;
void options_help(const struct option_def *table);

/* The word nearest to what was typed, or NULL when none is near. */
const char *spelling_nearest(const char *typed, const char *const *words, size_t n);

#endif
