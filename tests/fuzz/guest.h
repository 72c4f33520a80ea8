/*
 * Guests of random bytes for the software engine, in every mode of the processor.
 *
 *	byte 0	mode	byte 1	control bits	then 8 registers of 2 bytes, then code
 *
 * Handlers of exceptions are places in the code, too, so that a guest goes on for long.
 */
#ifndef TESTS_FUZZ_GUEST_H
#define TESTS_FUZZ_GUEST_H

#include "input.h"
#include "machine/machine.h"

#define GUEST_RAM (256 * KIB)

struct guest {
	struct loop *loop;
	struct machine *m;
};

/* translate_after: as engine_soft_translate_after(). */
void guest_open(struct guest *g, unsigned translate_after);
void guest_close(struct guest *g);
/* From a fresh state; KICK: time was up. */
enum engine_exit guest_run(struct guest *g, const uint8_t *data, size_t size,
                           struct cpu_state *out);
const uint8_t *guest_ram(const struct guest *g);

#endif
