/*
 * Serial port: a 16550A with its FIFOs (National Semiconductor PC16550D datasheet).
 *
 * Output takes no time: what is written to the transmitter goes to the back end at once, so that the
 * transmitter is empty whenever a guest looks.  Input is taken from the back end as far as the receive
 * FIFO has room: nothing is lost by a slow guest.
 */
#ifndef DEV_CHIP_UART16550_H
#define DEV_CHIP_UART16550_H

#include "backend/chr.h"
#include "machine/machine.h"

/* Eight ports from `port`.  Takes over chr, which on failure stays the caller's. */
int uart16550_new(struct machine *m, const char *name, uint16_t port, unsigned gsi, struct chr *chr,
                  struct err *e) MUST_CHECK;

#endif
