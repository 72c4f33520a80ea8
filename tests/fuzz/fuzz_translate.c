/*
 * The same guest of random bytes by the interpreter and by the translator: where both come to an end (HLT,
 * triple fault), registers and memory must be the same.
 *
 * The translator needs a build without sanitizers, which tools/fuzz makes for this target.
 */
#include <stdio.h>
#include <string.h>

#include "guest.h"

static struct guest interpreted, translated;

/* RDTSC, RDTSCP, RDRAND, RDSEED, RDMSR: what they say is not the same twice. */
static bool has_clock(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i + 2 < len; i++) {
		if (p[i] != 0x0f)
			continue;
		if (p[i + 1] == 0x31 || p[i + 1] == 0x32 ||
		    (p[i + 1] == 0x01 && p[i + 2] == 0xf9) ||
		    (p[i + 1] == 0xc7 && p[i + 2] >= 0xf0))
			return true;
	}
	return false;
}

static void differ(const char *what, const struct cpu_state *a, const struct cpu_state *b)
{
	static char text[2][2048];

	cpu_state_format(a, text[0], sizeof(text[0]));
	cpu_state_format(b, text[1], sizeof(text[1]));
	fprintf(stderr, "%s differ\ninterpreted:\n%s\ntranslated:\n%s\n", what, text[0], text[1]);
	abort();
}

static void compare(struct cpu_state *a, struct cpu_state *b)
{
	const uint8_t *p = guest_ram(&interpreted), *q = guest_ram(&translated);

	/* The last x87 instruction's place is not kept exactly; the time goes on. */
	a->tsc = b->tsc = 0;
	if (memcmp(a, b, sizeof(*a)) != 0)
		differ("registers", a, b);
	if (memcmp(p, q, GUEST_RAM) == 0)
		return;
	for (size_t i = 0; i < GUEST_RAM; i++)
		if (p[i] != q[i])
			fprintf(stderr, "%zx: %02x, %02x\n", i, p[i], q[i]);
	differ("memories", a, b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct cpu_state a, b;
	enum engine_exit how;

	if (interpreted.m == NULL) {
		guest_open(&interpreted, 0);
		guest_open(&translated, 1);
	}
	if (size > 64 * KIB || has_clock(data, size))
		return 0;
	how = guest_run(&interpreted, data, size, &a);
	if (how == ENGINE_EXIT_KICK || has_clock(guest_ram(&interpreted), GUEST_RAM))
		return 0;
	if (guest_run(&translated, data, size, &b) == how)
		compare(&a, &b);
	return 0;
}
