/*
 * Test device: what is written to its port ends the machine with MACHINE_DEBUG_EXIT and that value.
 * Test kernels and unikernels know it from other PC emulators as isa-debug-exit.
 */
#ifndef DEV_CHIP_DEBUG_EXIT_H
#define DEV_CHIP_DEBUG_EXIT_H

#include "machine/machine.h"

/* Four ports from `port`. */
int debug_exit_new(struct machine *m, uint16_t port, struct err *e) MUST_CHECK;

#endif
