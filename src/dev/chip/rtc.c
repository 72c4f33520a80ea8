/*
 * The time is a sum: `base` seconds at the machine's time `base_ns`, plus what has passed.  The time
 * registers are computed from it, and set it when they are written.  While an update is forbidden (SET, or
 * the divider held in reset) the registers stand still, and the time starts anew from them afterwards.
 *
 * Flags are computed when somebody looks: how many periods and seconds have passed since the last look.
 * A timer runs only while the guest wants an interrupt that is not pending yet.
 */
#include "dev/chip/rtc.h"

#include <stdlib.h>
#include <time.h>
#include "dev/chip/rtc_cmos.h"

enum { INDEX, DATA, PORTS };
#define PORT_INDEX 0x70

enum { /* registers */
       SECONDS,
       SECONDS_ALARM,
       MINUTES,
       MINUTES_ALARM,
       HOURS,
       HOURS_ALARM,
       WEEKDAY,
       DAY,
       MONTH,
       YEAR,
       REG_A,
       REG_B,
       REG_C,
       REG_D,
       CENTURY = 0x32,
};
enum { A_UPDATING = 0x80, A_RATE = 0x0f, A_RUNNING = 0x20, A_HELD = 0x60 };
enum {
	B_24H = 0x02,
	B_BINARY = 0x04,
	B_UPDATE = 0x10,
	B_ALARM = 0x20,
	B_PERIODIC = 0x40,
	B_SET = 0x80
};
enum {
	C_INTERRUPT = 0x80,
	C_FLAGS = 0x70
}; /* the flags have the places of their enable bits in B */
#define D_VALID   0x80
#define HOURS_PM  0x80
#define ALARM_ANY 0xc0 /* in an alarm register: every value */
#define OSC_HZ    32768ull
#define NS        1000000000ull
#define UPDATE_NS 244000ull /* "update in progress" is seen so long before an update */
#define DAY_S     86400
#define FAR_S     (1ll << 40) /* farther than any year that fits the registers */

struct rtc {
	struct device device;
	struct bus_range ports;
	unsigned gsi;
	struct clock_timer timer;

	uint8_t index;
	uint8_t reg[RTC_CMOS_SIZE];
	int64_t base, base_ns;
	int64_t seconds_seen; /* the last second whose update is in the flags */
	uint64_t ticks_seen;  /* the last periodic tick that is */
};

static int64_t now_ns(struct rtc *r)
{
	return clock_now(&r->device.machine->clock);
}

static bool stands_still(const struct rtc *r)
{
	return r->reg[REG_B] & B_SET || (r->reg[REG_A] & A_HELD) == A_HELD;
}

static int64_t now_s(struct rtc *r)
{
	return r->base + (now_ns(r) - r->base_ns) / (int64_t)NS;
}

/* A periodic tick is 2^(rate - 1) of the oscillator's; 0: there are none. */
static unsigned rate(const struct rtc *r)
{
	unsigned v = r->reg[REG_A] & A_RATE;

	return v == 1 || v == 2 ? v + 7 : v;
}

/* Periodic ticks since the machine's time 0. */
static uint64_t ticks(struct rtc *r)
{
	uint64_t osc = (unsigned __int128)now_ns(r) * OSC_HZ / NS;

	return rate(r) ? osc >> (rate(r) - 1) : 0;
}

/* The first nanosecond of a tick. */
static uint64_t tick_ns(struct rtc *r, uint64_t tick)
{
	return (((unsigned __int128)tick << (rate(r) - 1)) * NS + OSC_HZ - 1) / OSC_HZ;
}

static uint8_t encode(const struct rtc *r, unsigned v)
{
	return r->reg[REG_B] & B_BINARY ? v : v / 10 % 10 << 4 | v % 10;
}

static unsigned decode(const struct rtc *r, uint8_t v)
{
	return r->reg[REG_B] & B_BINARY ? v : (v >> 4) * 10 + (v & 15);
}

static uint8_t encode_hour(const struct rtc *r, unsigned hour)
{
	if (r->reg[REG_B] & B_24H)
		return encode(r, hour);
	return encode(r, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOURS_PM : 0);
}

static unsigned decode_hour(const struct rtc *r, uint8_t v)
{
	if (r->reg[REG_B] & B_24H)
		return decode(r, v);
	return decode(r, v & ~HOURS_PM) % 12 + (v & HOURS_PM ? 12 : 0);
}

/* Time -> registers. */
static void registers_fill(struct rtc *r)
{
	time_t t = now_s(r);
	struct tm tm = {0};

	if (stands_still(r) || !gmtime_r(&t, &tm))
		return;
	r->reg[SECONDS] = encode(r, tm.tm_sec);
	r->reg[MINUTES] = encode(r, tm.tm_min);
	r->reg[HOURS] = encode_hour(r, tm.tm_hour);
	r->reg[WEEKDAY] = encode(r, tm.tm_wday + 1);
	r->reg[DAY] = encode(r, tm.tm_mday);
	r->reg[MONTH] = encode(r, tm.tm_mon + 1);
	r->reg[YEAR] = encode(r, (tm.tm_year + 1900) % 100);
	r->reg[CENTURY] = encode(r, (tm.tm_year + 1900) / 100);
}

/* Registers -> time, of which `ns` have passed already. */
static void registers_take(struct rtc *r, uint64_t ns)
{
	struct tm tm = {
		.tm_sec = decode(r, r->reg[SECONDS]),
		.tm_min = decode(r, r->reg[MINUTES]),
		.tm_hour = decode_hour(r, r->reg[HOURS]),
		.tm_mday = decode(r, r->reg[DAY]),
		.tm_mon = (int)decode(r, r->reg[MONTH]) - 1,
		.tm_year = (int)(decode(r, r->reg[CENTURY]) * 100 + decode(r, r->reg[YEAR])) - 1900,
	};

	r->base = timegm(&tm);
	r->base_ns = now_ns(r) - ns;
	r->seconds_seen = r->base;
}

static bool alarm_field(uint8_t alarm, uint8_t value)
{
	return alarm >= ALARM_ANY || alarm == value;
}

static bool alarm_at(const struct rtc *r, int64_t second)
{
	unsigned of_day = ((second % DAY_S) + DAY_S) % DAY_S;

	return alarm_field(r->reg[SECONDS_ALARM], encode(r, of_day % 60)) &&
	       alarm_field(r->reg[MINUTES_ALARM], encode(r, of_day / 60 % 60)) &&
	       alarm_field(r->reg[HOURS_ALARM], encode_hour(r, of_day / 3600));
}

/* Brings the flags up to date. */
static void catch_up(struct rtc *r)
{
	uint64_t tick = ticks(r);
	int64_t second = now_s(r);

	if (tick != r->ticks_seen)
		r->reg[REG_C] |= B_PERIODIC;
	r->ticks_seen = tick;
	if (stands_still(r))
		return;
	if (second > r->seconds_seen)
		r->reg[REG_C] |= B_UPDATE;
	/* After a day all alarms that there are have gone off. */
	r->seconds_seen = MAX(r->seconds_seen, second - DAY_S);
	while (r->seconds_seen < second) {
		if (!(r->reg[REG_C] & B_ALARM) && alarm_at(r, r->seconds_seen + 1))
			r->reg[REG_C] |= B_ALARM;
		r->seconds_seen++;
	}
}

static void update(struct rtc *r)
{
	uint8_t wanted = r->reg[REG_B] & C_FLAGS, missing;
	uint64_t deadline = UINT64_MAX;

	catch_up(r);
	irq_set(r->device.machine, r->gsi, r->reg[REG_C] & wanted);
	missing = wanted & ~r->reg[REG_C];
	if (missing & B_PERIODIC && rate(r))
		deadline = tick_ns(r, r->ticks_seen + 1);
	if (missing & (B_UPDATE | B_ALARM) && !stands_still(r)) {
		int64_t next = r->base_ns + (r->seconds_seen + 1 - r->base) * (int64_t)NS;

		deadline = MIN(deadline, (uint64_t)next);
	}
	clock_timer_set(&r->timer, deadline);
}

static void on_timer(struct clock_timer *t)
{
	struct rtc *r = container_of(t, struct rtc, timer);

	lock_take(&r->device.machine->lock);
	update(r);
	lock_drop(&r->device.machine->lock);
}

static uint8_t reg_a(struct rtc *r)
{
	uint64_t in_second = (now_ns(r) - r->base_ns) % NS;
	bool updating = !stands_still(r) && in_second >= NS - UPDATE_NS;

	return r->reg[REG_A] | (updating ? A_UPDATING : 0);
}

/* Reading C acknowledges everything. */
static uint8_t reg_c(struct rtc *r)
{
	uint8_t v;

	catch_up(r);
	v = r->reg[REG_C] & C_FLAGS;
	if (v & r->reg[REG_B])
		v |= C_INTERRUPT;
	r->reg[REG_C] = 0;
	update(r);
	return v;
}

static uint64_t rtc_read(void *dev, uint64_t offset, unsigned size)
{
	struct rtc *r = dev;

	if (offset == INDEX)
		return 0xff; /* can only be written */
	switch (r->index) {
	case REG_A:
		return reg_a(r);
	case REG_C:
		return reg_c(r);
	case REG_D:
		return D_VALID;
	}
	registers_fill(r);
	return r->reg[r->index];
}

static void control_write(struct rtc *r, uint8_t v)
{
	bool stood = stands_still(r), held = (r->reg[REG_A] & A_HELD) == A_HELD;

	catch_up(r);
	registers_fill(r);
	if (r->index == REG_A)
		r->reg[REG_A] = v & ~A_UPDATING;
	else
		r->reg[REG_B] = v & B_SET ? v & ~B_UPDATE : v;
	r->ticks_seen = ticks(r);
	/* The first update comes half a second after the divider starts. */
	if (stood && !stands_still(r))
		registers_take(r, held ? NS / 2 : 0);
	update(r);
}

static void data_write(struct rtc *r, uint8_t v)
{
	bool is_time = r->index == CENTURY ||
	               (r->index <= YEAR && (r->index > HOURS_ALARM || r->index % 2 == 0));

	switch (r->index) {
	case REG_A:
	case REG_B:
		control_write(r, v);
		return;
	case REG_C:
	case REG_D:
		return;
	}
	catch_up(r);
	registers_fill(r);
	r->reg[r->index] = v;
	if (is_time && !stands_still(r))
		registers_take(r, (now_ns(r) - r->base_ns) % NS);
	update(r);
}

static void rtc_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct rtc *r = dev;

	if (offset == INDEX)
		r->index = value & 0x7f; /* bit 7 masks NMIs, of which there are none */
	else
		data_write(r, value);
}

static const struct bus_ops rtc_ops = {rtc_read, rtc_write, 1};

/* A battery keeps time and memory; a reset forbids interrupts. */
static void reset(struct device *d)
{
	struct rtc *r = container_of(d, struct rtc, device);

	r->reg[REG_B] &= ~(B_PERIODIC | B_ALARM | B_UPDATE);
	r->reg[REG_C] = 0;
	r->index = 0;
	update(r);
}

static void state(struct device *d, struct state *s)
{
	struct rtc *r = container_of(d, struct rtc, device);
	uint64_t base, base_ns, seen;

	/* Flags are brought up to date when someone looks. */
	if (!state_loading(s))
		update(r);
	base = r->base;
	base_ns = r->base_ns;
	seen = r->seconds_seen;
	state_u8(s, "index", &r->index);
	state_bytes(s, "registers", r->reg, sizeof(r->reg));
	state_u64(s, "base", &base);
	state_u64(s, "base_ns", &base_ns);
	state_u64(s, "seconds_seen", &seen);
	state_u64(s, "ticks_seen", &r->ticks_seen);
	if (!state_loading(s) || state_failed(s))
		return;
	if (r->index >= RTC_CMOS_SIZE || llabs((int64_t)base) > FAR_S ||
	    llabs((int64_t)seen) > FAR_S || (int64_t)base_ns < -(int64_t)NS ||
	    (int64_t)base_ns > now_ns(r)) {
		r->index = 0;
		state_fail(s, "rtc: register index or time out of range");
		return;
	}
	r->base = base;
	r->base_ns = base_ns;
	r->seconds_seen = seen;
	update(r);
}

static void rtc_free(struct device *d)
{
	struct rtc *r = container_of(d, struct rtc, device);

	clock_timer_set(&r->timer, UINT64_MAX);
	bus_del(&d->machine->pio, &r->ports);
	free(r);
}

static const struct device_type type = {
	.name = "rtc", .reset = reset, .state = state, .free = rtc_free};

int rtc_new(struct machine *m, unsigned gsi, const struct rtc_config *cfg, struct err *e)
{
	struct rtc *r = xalloc(sizeof(*r));
	int rc;

	r->ports = (struct bus_range){
		.base = PORT_INDEX, .len = PORTS, .ops = &rtc_ops, .dev = r, .name = "rtc"};
	rc = bus_add(&m->pio, &r->ports, e);
	if (rc < 0) {
		free(r);
		return rc;
	}
	r->gsi = gsi;
	clock_timer_init(&m->clock, &r->timer, on_timer);
	machine_add_device(m, &r->device, &type, "rtc");
	rtc_cmos_fill(r->reg, cfg);
	r->reg[REG_A] = A_RUNNING | 6; /* 1024 Hz */
	r->reg[REG_B] = B_24H;
	r->base = r->seconds_seen = cfg->now;
	r->base_ns = now_ns(r);
	reset(&r->device);
	return 0;
}
