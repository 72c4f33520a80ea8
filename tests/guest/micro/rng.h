/* The virtio entropy device: a device that interrupts when it is asked to. */
#ifndef TESTS_GUEST_MICRO_RNG_H
#define TESTS_GUEST_MICRO_RNG_H

#include "micro.h"

#define RNG_LENGTH 64

/* Finds and starts it, with a message of that vector, or INTA# for 0.  Returns its slot on the bus. */
unsigned rng_start(unsigned vector);
void rng_ask(void);    /* for a buffer full: one interrupt */
uint8_t rng_isr(void); /* reads the interrupt status: INTA# falls */
void rng_check(unsigned asked);

#endif
