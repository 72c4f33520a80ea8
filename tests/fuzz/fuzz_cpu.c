/*
 * The interpreter with a guest of random bytes.  Whatever they do, the engine comes back when it is told
 * to, and its own invariants hold.
 */
#include "guest.h"

static struct guest guest;

static void close_guest(void)
{
	guest_close(&guest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct cpu_state out;

	if (guest.m == NULL) {
		guest_open(&guest, 0);
		atexit(close_guest);
	}
	guest_run(&guest, data, size, &out);
	return 0;
}
