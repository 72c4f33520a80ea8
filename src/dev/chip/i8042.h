/*
 * The keyboard controller (8042, ports 0x60 and 0x64) with a keyboard that answers but has no keys, and no
 * auxiliary port; port 0x92 of the PS/2.  A20 is always on.  Guests reset the machine through both.
 */
#ifndef DEV_CHIP_I8042_H
#define DEV_CHIP_I8042_H

#include "machine/machine.h"

int i8042_new(struct machine *m, unsigned gsi, struct err *e) MUST_CHECK;

#endif
