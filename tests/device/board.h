/* A machine without anything on it, for tests of one chip: stepped clock, the fake engine. */
#ifndef TESTS_DEVICE_BOARD_H
#define TESTS_DEVICE_BOARD_H

#include "engine/fake/fake.h"

#define BOARD_RAM 0x10000

struct board {
	struct loop *loop;
	struct machine *m;
};

void board_open(struct board *b);
void board_close(struct board *b);

/* The level of an interrupt line. */
bool board_irq(const struct board *b, unsigned gsi);

/*
 * Moves the state of the device `name` from one board to the other, where it differed before and must
 * compare equal afterwards.  Also prints it as JSON, and checks that a cut stream is refused.
 */
void board_move(struct board *from, struct board *to, const char *name);

#endif
