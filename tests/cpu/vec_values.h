/* Random processor states for vector and x87 instructions. */
#ifndef TESTS_CPU_VEC_VALUES_H
#define TESTS_CPU_VEC_VALUES_H

#include "vec_run.h"

extern uint64_t vec_seed; /* set it before the first number is drawn */

uint64_t vec_random(void);
unsigned vec_below(unsigned n);
void vec_random_state(struct vec_state *s);

#endif
