/*
 * A machine with a bare 64-bit guest, for tests of an engine: memory, page tables, descriptors, and
 * pieces of code that talk to a device of the test.
 *
 * Linear addresses are physical ones, for both privilege levels, up to 4 GiB.  Code should be
 * short at privilege 0: there are hosts whose KVM takes a microsecond an instruction there.
 */
#ifndef TESTS_DEVICE_BARE_GUEST_H
#define TESTS_DEVICE_BARE_GUEST_H

#include "machine/machine.h"

#define BARE_RAM   0x1800000u /* bytes from 0 on */
#define BARE_CODE  0x10000u
#define BARE_STACK 0x20000u /* of vCPU 0; the next one's is 4 KiB below */
#define BARE_DATA  0x200000u
#define BARE_ROM   0xfff00000u /* 64 KiB */
#define BARE_MMIO  0xd0000000u /* 4 KiB of the test's device */
#define BARE_PORT  0x300u      /* 16 ports of the test's device */
#define BARE_END   0xf4u       /* OUT ends the machine with MACHINE_DEBUG_EXIT */

struct bare {
	struct loop *loop;
	struct machine *m;
	struct bus_range pio, mmio, end;
	struct loop_timer limit;
	/* What the guest last wrote to the device, and how often. */
	uint64_t value;
	uint64_t offset;
	unsigned size;
	_Atomic unsigned writes, reads;
	/* What it reads there: answer + offset. */
	uint64_t answer;
	/* Called for each write, if set, on the vCPU's thread with the machine's lock held. */
	void (*written)(struct bare *b);
};

/* The pieces of bare_code.S, which are put at BARE_CODE. */
extern const uint8_t guest_code[], guest_memory[], guest_accesses[], guest_idle[], guest_count[],
	guest_count_other[], guest_count_pic[], guest_window[], guest_notify[], guest_dirty[],
	guest_spin[], guest_fault[], guest_nowhere[], guest_xgetbv[], guest_clockwork[],
	guest_code_end[];

void bare_make(struct bare *b, const struct engine *engine, unsigned cpus);
void bare_drop(struct bare *b);

/* vCPU 0's state at a piece of the code: 64-bit, privilege 0, interrupts off. */
void bare_state(const uint8_t *piece, struct cpu_state *out);
void bare_start_at(struct bare *b, const uint8_t *piece);
/* A gate of the interrupt table. */
void bare_gate(struct bare *b, uint8_t vector, const uint8_t *piece);
/* Runs the main loop until the machine ends (or 10 s passed, which fails the test). */
void bare_run(struct bare *b);
/* Run the main loop 10 s at most until a counter is at least value, or a word in memory above one: is it? */
bool bare_wait(struct bare *b, const _Atomic unsigned *counter, unsigned value);
bool bare_wait_memory(struct bare *b, gpa_t gpa, uint64_t above);

void bare_sleep(unsigned ms); /* less than a second */

uint64_t bare_read(struct bare *b, gpa_t gpa);
void bare_write(struct bare *b, gpa_t gpa, uint64_t value);

#endif
