/* The 8254's counters. */
#include "dev/chip/pit_counter.h"

#define HZ          1193182ull
#define NS          1000000000ull
#define STATUS_OUT  0x80
#define STATUS_NULL 0x40

static uint64_t to_ticks(uint64_t ns)
{
	return (unsigned __int128)ns * HZ / NS;
}

/* Rounded up: at that time the tick has happened. */
static uint64_t to_ns(uint64_t ticks)
{
	return ((unsigned __int128)ticks * NS + HZ - 1) / HZ;
}

static bool is_periodic(const struct counter *c)
{
	return c->mode == 2 || c->mode == 3;
}

static bool is_triggered_by_gate(const struct counter *c)
{
	return c->mode == 1 || c->mode == 5;
}

static uint64_t ticks_since(uint64_t start, uint64_t time)
{
	return time > start ? to_ticks(time - start) : 0;
}

/* Ticks since the count began; a new count of a periodic mode begins where the old one ends. */
static uint64_t ticks(struct counter *c, uint64_t time)
{
	uint64_t t;

	if (!c->running)
		return c->elapsed;
	t = ticks_since(c->start, time);
	if (c->next && is_periodic(c) && t >= c->count) {
		c->start += to_ns(c->count);
		c->count = c->next;
		c->next = 0;
		t = ticks_since(c->start, time);
	}
	return t;
}

bool counter_output(struct counter *c, uint64_t time)
{
	uint64_t t = ticks(c, time);

	switch (c->mode) {
	case 0:
		return c->loaded && t >= c->count;
	case 1:
		return !c->triggered || t >= c->count;
	case 2:
		return !c->gate || !c->loaded || t % c->count != c->count - 1;
	case 3:
		return !c->gate || !c->loaded || t % c->count < (c->count + 1) / 2;
	case 4:
		return !c->loaded || t != c->count;
	default:
		return !c->triggered || t != c->count;
	}
}

static uint16_t value(struct counter *c, uint64_t time)
{
	uint64_t t = ticks(c, time), modulus = c->bcd ? 10000 : 65536, left;

	if (c->mode == 3) {
		/* Counts down by two, twice in a period. */
		uint64_t in = t % c->count, half = (c->count + 1) / 2;

		left = c->count - 2 * (in < half ? in : in - half);
		left &= ~1ull;
	} else if (c->mode == 2) {
		left = c->count - t % c->count;
	} else {
		left = (c->count + modulus - t % modulus) % modulus;
	}
	left %= modulus;
	if (!c->bcd)
		return left;
	return left / 1000 << 12 | left / 100 % 10 << 8 | left / 10 % 10 << 4 | left % 10;
}

uint64_t counter_rise(struct counter *c, uint64_t time)
{
	uint64_t t = ticks(c, time), at;

	if (!c->running)
		return UINT64_MAX;
	if (is_periodic(c))
		return c->start + to_ns(t - t % c->count + c->count);
	at = c->mode == 4 || c->mode == 5 ? c->count + 1 : c->count;
	return t < at ? c->start + to_ns(at) : UINT64_MAX;
}

static void begin(struct counter *c, uint64_t time)
{
	c->start = time;
	c->elapsed = 0;
	c->running = c->gate && (!is_triggered_by_gate(c) || c->triggered);
}

static void set_count(struct counter *c, uint32_t v, uint64_t time)
{
	if (c->bcd)
		v = (v >> 12) * 1000 + (v >> 8 & 15) * 100 + (v >> 4 & 15) * 10 + (v & 15);
	if (v == 0)
		v = c->bcd ? 10000 : 65536;
	if (is_periodic(c) && v == 1)
		v = 2; /* illegal there */
	if (c->running && (is_periodic(c) || is_triggered_by_gate(c))) {
		if (is_periodic(c)) {
			uint64_t t = ticks(c, time);

			c->start += to_ns(t - t % c->count);
		}
		c->next = v;
		return;
	}
	c->count = v;
	c->next = 0;
	c->loaded = true;
	begin(c, time);
}

void counter_gate(struct counter *c, bool level, uint64_t time)
{
	uint64_t t = ticks(c, time);

	if (level == c->gate)
		return;
	c->gate = level;
	if (!c->loaded)
		return;
	if (level && c->next) {
		c->count = c->next;
		c->next = 0;
	}
	if (is_triggered_by_gate(c)) {
		if (level) {
			c->triggered = true;
			begin(c, time);
		}
	} else if (!level) {
		c->elapsed = is_periodic(c) ? 0 : t;
		c->running = false;
	} else {
		c->start = time - MIN(time, to_ns(c->elapsed));
		c->running = true;
	}
}

void counter_latch_count(struct counter *c, uint64_t time)
{
	if (c->count_latched)
		return;
	c->latch = value(c, time);
	c->count_latched = true;
}

void counter_latch_status(struct counter *c, uint64_t time)
{
	if (c->status_latched)
		return;
	c->status = c->bytes << 4 | c->mode << 1 | c->bcd;
	if (counter_output(c, time))
		c->status |= STATUS_OUT;
	if (!c->loaded || c->next)
		c->status |= STATUS_NULL;
	c->status_latched = true;
}

void counter_reset(struct counter *c, bool gate)
{
	*c = (struct counter){.mode = 3, .bytes = BYTES_BOTH, .gate = gate, .count = 65536};
}

void counter_control(struct counter *c, uint8_t word)
{
	unsigned mode = word >> 1 & 7;

	*c = (struct counter){.mode = mode > 5 ? mode & 3 : mode,
	                      .bytes = word >> 4 & 3,
	                      .bcd = word & 1,
	                      .gate = c->gate,
	                      .count = c->count};
}

void counter_write(struct counter *c, uint8_t byte, uint64_t time)
{
	switch (c->bytes) {
	case BYTES_LOW:
		set_count(c, byte, time);
		break;
	case BYTES_HIGH:
		set_count(c, byte << 8, time);
		break;
	default:
		c->write_high = !c->write_high;
		if (!c->write_high) {
			set_count(c, byte << 8 | c->low, time);
			break;
		}
		c->low = byte;
		if (c->mode == 0) { /* the first byte stops it */
			c->elapsed = 0;
			c->running = false;
		}
	}
}

uint8_t counter_read(struct counter *c, uint64_t time)
{
	uint16_t v;

	if (c->status_latched) {
		c->status_latched = false;
		return c->status;
	}
	v = c->count_latched ? c->latch : value(c, time);
	if (c->bytes == BYTES_HIGH || (c->bytes == BYTES_BOTH && c->read_high))
		v >>= 8;
	if (c->bytes == BYTES_BOTH)
		c->read_high = !c->read_high;
	if (c->bytes != BYTES_BOTH || !c->read_high)
		c->count_latched = false;
	return v;
}

void counter_state(struct state *s, const char *name, struct counter *c, uint64_t time)
{
	/* Equal counters have equal fields only when what has happened is noted. */
	if (!state_loading(s))
		ticks(c, time);
	state_enter(s, name, 1);
	state_u8(s, "mode", &c->mode);
	state_u8(s, "bytes", &c->bytes);
	state_bool(s, "bcd", &c->bcd);
	state_bool(s, "gate", &c->gate);
	state_bool(s, "loaded", &c->loaded);
	state_bool(s, "running", &c->running);
	state_bool(s, "triggered", &c->triggered);
	state_u32(s, "count", &c->count);
	state_u32(s, "next", &c->next);
	state_u64(s, "start", &c->start);
	state_u64(s, "elapsed", &c->elapsed);
	state_u8(s, "low", &c->low);
	state_bool(s, "write_high", &c->write_high);
	state_bool(s, "read_high", &c->read_high);
	state_bool(s, "count_latched", &c->count_latched);
	state_bool(s, "status_latched", &c->status_latched);
	state_u16(s, "latch", &c->latch);
	state_u8(s, "status", &c->status);
	if (state_loading(s) && (c->mode > 5 || c->bytes > BYTES_BOTH || c->count < 1 ||
	                         c->count > 65536 || c->next > 65536 || c->elapsed > INT64_MAX)) {
		state_fail(s, "%s: impossible state", name);
		counter_reset(c, c->gate);
	}
	state_leave(s);
}
