/* Outcomes side by side. */
#ifndef TESTS_CPU_COMPARE_H
#define TESTS_CPU_COMPARE_H

#include <stdio.h>
#include "case.h"

/* Brings both into a form in which equal states are equal bytes. */
void outcome_normalize(const struct cpu_case *c, struct outcome *o);
bool outcome_equal(const struct cpu_case *c, const struct outcome *a, const struct outcome *b);
/* One executor's view of a case. */
struct side {
	const struct executor *executor;
	struct outcome outcome;
	struct box box;
	uint8_t code[CASE_CODE]; /* the case's, afterwards */
};
/* What differs, by executors' names; only the first lines of data. */
void outcome_print(FILE *out, const struct cpu_case *c, const struct side *a, const struct side *b);
/* Data of the box but the case's holes. */
bool box_equal(const struct cpu_case *c, const struct outcome *o, const struct box *a,
               const struct box *b);
void case_print(FILE *out, const struct cpu_case *c);

#endif
