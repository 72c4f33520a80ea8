/*
 * The fake engine: a processor that performs a list of accesses, for device tests.
 *
 * Two ways to use it.  Without any thread, a test acts as the processor itself: fake_out8(),
 * fake_read32(), fake_accept()...  Or it gives vCPUs scripts and starts the machine; each vCPU thread works
 * its list off and halts at the end:
 *
 *	static const struct fake_op script[] = {
 *		{ FAKE_OUT, 0x3f9, 1, 0x01 },
 *		{ FAKE_WAIT_VECTOR, .value = 0x24 },
 *		{ FAKE_IN, 0x3fa, 1, 0xc1 },
 *	};
 *	fake_script(&m->vcpu[0], script, ARRAY_LEN(script));
 *
 * fake_engine works with local APICs of ours; fake_engine_apic has its own, which are a list of the
 * messages that arrived.
 */
#ifndef ENGINE_FAKE_FAKE_H
#define ENGINE_FAKE_FAKE_H

#include "machine/machine.h"

extern const struct engine fake_engine;
extern const struct engine fake_engine_apic;

enum fake_kind {
	FAKE_OUT,         /* addr, size, value */
	FAKE_IN,          /* ... expects value */
	FAKE_MMIO_WRITE,  /* addr, size, value */
	FAKE_MMIO_READ,   /* ... expects value */
	FAKE_MEM_WRITE,   /* guest memory: addr, size (1 to 8), value; logged as dirty */
	FAKE_MEM_READ,    /* ... expects value */
	FAKE_WAIT_VECTOR, /* halts until an interrupt comes, accepts it, expects vector value, EOI */
	FAKE_HALT,        /* halts until any interrupt comes, which stays pending */
	FAKE_SHUTDOWN,    /* triple fault */
};

/* An expectation that fails ends the machine (MACHINE_CRASH) with a text that names the step. */
struct fake_op {
	enum fake_kind kind;
	uint64_t addr;
	unsigned size;
	uint64_t value;
	uint64_t mask; /* bits that are compared; 0: all */
};

/* ops are borrowed.  Before the machine starts, or while it is paused. */
void fake_script(struct vcpu *v, const struct fake_op *ops, size_t n);
/* Waits at most timeout_ms for the end of the script.  Any thread but the vCPU's. */
bool fake_finished(struct vcpu *v, unsigned timeout_ms);

struct fake_msi {
	uint64_t address;
	uint32_t data;
};

/* fake_engine_apic: takes the oldest message that arrived, false when there is none.  Any thread. */
bool fake_msi_take(struct machine *m, struct fake_msi *out);
/* How many are waiting. */
size_t fake_msi_count(struct machine *m);

/*
 * The processor's side without a thread: by the test's thread, while no vCPU runs.  Guest memory takes
 * precedence in fake_read and fake_write, as on a PC.
 */
void fake_out8(struct machine *m, uint16_t port, uint8_t v);
void fake_out16(struct machine *m, uint16_t port, uint16_t v);
void fake_out32(struct machine *m, uint16_t port, uint32_t v);
uint8_t fake_in8(struct machine *m, uint16_t port);
uint16_t fake_in16(struct machine *m, uint16_t port);
uint32_t fake_in32(struct machine *m, uint16_t port);
void fake_write(struct machine *m, gpa_t gpa, unsigned size, uint64_t v);
uint64_t fake_read(struct machine *m, gpa_t gpa, unsigned size);
/* Accepts an interrupt of the vCPU's local APIC (ours) or of the PIC without one: vector, or -1. */
int fake_accept(struct vcpu *v);
void fake_eoi(struct vcpu *v);

#endif
