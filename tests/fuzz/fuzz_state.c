/*
 * A machine's saved state from somebody who means no good: a good one with bytes changed and the end
 * cut off.  It must be refused, or load into a machine that goes on without a crash.
 *
 * The input is a list of changes (offset, value), so no corpus of whole states is needed.
 */
#include <string.h>

#include "engine/fake/fake.h"
#include "input.h"
#include "rig.h"

static uint8_t *good;
static size_t good_len;

static void save(struct rig *r)
{
	struct state *s = state_new_save();
	const void *p;

	machine_state(r->m, s);
	p = state_data(s, &good_len);
	good = xalloc(good_len);
	memcpy(good, p, good_len);
	state_free(s);
}

static size_t change(struct input *in, uint8_t *copy)
{
	size_t len = good_len;

	memcpy(copy, good, good_len);
	if (input_take(in, 1) < 32)
		len = input_take(in, 4) % (good_len + 1);
	while (!input_ended(in)) {
		size_t at = input_take(in, 2) % good_len;
		unsigned n = 1u << (input_take(in, 1) & 3);

		for (unsigned i = 0; i < n && at + i < good_len; i++)
			copy[at + i] = (uint8_t)input_take(in, 1);
	}
	return len;
}

/* What a guest that goes on would do with every device. */
static void use(struct rig *r)
{
	struct machine *m = r->m;

	for (unsigned port = 0; port < 0x700; port++)
		machine_pio_read(m, (uint16_t)port, 1);
	for (unsigned d = 0; d < RIG_VIRTIO; d++)
		for (unsigned at = 0; at < 0x4000; at += 0x800)
			fake_write(m, r->bar[d] + at, 2,
			           at >> 12 == 3 ? 0 : fake_read(m, r->bar[d] + at, 2));
	for (unsigned i = 0; i < RIG_CPUS; i++) {
		struct intc *ic = m->vcpu[i].intc;

		for (unsigned k = 0; k < 4 && ic->ops->pending(ic); k++) {
			ic->ops->accept(ic);
			ic->ops->eoi(ic);
		}
	}
	for (unsigned i = 0; i < 4; i++)
		clock_step(&m->clock, 1000000);
	rig_settle(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct rig *r = rig_get();
	struct state *s;
	uint8_t *copy;
	size_t len;

	rig_reset(r);
	if (good == NULL)
		save(r);
	copy = xalloc(good_len);
	len = change(&in, copy);
	s = state_new_load(copy, len);
	machine_state(r->m, s);
	if (state_finish(s, NULL) == 0)
		use(r);
	state_free(s);
	free(copy);
	return 0;
}
