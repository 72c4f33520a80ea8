/*
 * One counter of an 8254: 1.193182 MHz, computed from the machine's time (ns, `time`) when somebody looks.
 *
 * A counter that counts does so since `start`; one that stands has done `elapsed` ticks.  From the ticks
 * follow its value and its output, by mode:
 *
 *	0 interrupt on terminal count	low until the count is over, then high
 *	1 one-shot			the same, from a rising gate on
 *	2 rate generator		low for the last tick of every count
 *	3 square wave			high and low for half a count each
 *	4 strobe			low for one tick when the count is over
 *	5 triggered strobe		the same, from a rising gate on
 */
#ifndef DEV_CHIP_PIT_COUNTER_H
#define DEV_CHIP_PIT_COUNTER_H

#include "base/state.h"

enum bytes { BYTES_LATCH, BYTES_LOW, BYTES_HIGH, BYTES_BOTH };

struct counter {
	uint8_t mode, bytes; /* enum bytes */
	bool bcd;
	bool gate;
	bool loaded;      /* a count was written since the control word */
	bool running;     /* counts: since `start` */
	bool triggered;   /* modes 1 and 5: by the gate, since the control word */
	uint32_t count;   /* 1 to 65536, or 10000 */
	uint32_t next;    /* the count for the next period or trigger; 0: the same */
	uint64_t start;   /* machine's time, ns */
	uint64_t elapsed; /* ticks, while it stands */
	/* What the processor has written and latched */
	uint8_t low;
	bool write_high, read_high; /* BYTES_BOTH: the high byte comes next */
	bool count_latched, status_latched;
	uint16_t latch;
	uint8_t status;
};

/* As after power-on, its gate as given. */
void counter_reset(struct counter *c, bool gate);
/* A control word for this counter: not a read-back, not a latch command. */
void counter_control(struct counter *c, uint8_t word);
void counter_write(struct counter *c, uint8_t byte, uint64_t time);
uint8_t counter_read(struct counter *c, uint64_t time);
void counter_latch_count(struct counter *c, uint64_t time);
void counter_latch_status(struct counter *c, uint64_t time);
void counter_gate(struct counter *c, bool level, uint64_t time);
bool counter_output(struct counter *c, uint64_t time);
/* When the output rises next, UINT64_MAX: never. */
uint64_t counter_rise(struct counter *c, uint64_t time);
void counter_state(struct state *s, const char *name, struct counter *c, uint64_t time);

#endif
