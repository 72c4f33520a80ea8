/* Debug console: a port of firmware's messages.  Reads as 0xe9, by which a guest knows that it is there. */
#ifndef DEV_CHIP_DEBUGCON_H
#define DEV_CHIP_DEBUGCON_H

#include "backend/chr.h"
#include "machine/machine.h"

/* Takes over chr, which on failure stays the caller's. */
int debugcon_new(struct machine *m, uint16_t port, struct chr *chr, struct err *e) MUST_CHECK;

#endif
