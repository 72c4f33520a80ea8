/*
 * The two cascaded 8259A interrupt controllers of a PC and their edge/level control registers (ports
 * 0x20, 0xa0, 0x4d0).  They register themselves as m->irq.pic.  The machine frees them.
 */
#ifndef DEV_CHIP_PIC_H
#define DEV_CHIP_PIC_H

#include "machine/machine.h"

int pic_new(struct machine *m, struct err *e) MUST_CHECK;

#endif
