/*
 * The 8254 programmable interval timer (ports 0x40-0x43) and port 0x61, which has the gate and the
 * output of its third channel.  Channel 0 drives gsi 0.  The machine frees it.
 */
#ifndef DEV_CHIP_PIT_H
#define DEV_CHIP_PIT_H

#include "machine/machine.h"

int pit_new(struct machine *m, struct err *e) MUST_CHECK;

#endif
