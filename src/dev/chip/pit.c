/*
 * The 8254 and its surroundings on a PC.
 *
 * Gates of channels 0 and 1 are high for ever, channel 2's is bit 0 of port 0x61.  Channel 0's output is
 * an interrupt line, on which only rising edges matter: a timer makes them, low and high at once.
 *
 * Registers are under the machine's lock.
 */
#include "dev/chip/pit.h"

#include "dev/chip/pit_counter.h"

#define PORT          0x40
#define PORT_CONTROL  3
#define PORT_SYSTEM   0x61
#define CHANNELS      3
#define REFRESH_NS    15085 /* between toggles of the refresh bit */
#define PERIOD_MIN_NS 50000 /* a guest's nonsense must not keep the host busy */

#define CONTROL_READ_BACK 3
#define BACK_NO_COUNT     0x20
#define BACK_NO_STATUS    0x10

#define SYSTEM_GATE    0x01
#define SYSTEM_SPEAKER 0x02
#define SYSTEM_REFRESH 0x10
#define SYSTEM_OUT     0x20

struct pit {
	struct device dev;
	struct bus_range ports, system;
	struct counter channel[CHANNELS];
	bool speaker;
	struct clock_timer timer;
	uint64_t rise; /* channel 0's next rising edge */
};

static uint64_t now(struct pit *p)
{
	return clock_now(&p->dev.machine->clock);
}

static void arm(struct pit *p)
{
	uint64_t time = now(p);

	p->rise = counter_rise(&p->channel[0], time);
	if (p->rise != UINT64_MAX)
		p->rise = MAX(p->rise, time + PERIOD_MIN_NS);
	clock_timer_set(&p->timer, p->rise);
}

/* After something changed: line and timer follow. */
static void follow(struct pit *p)
{
	irq_set(p->dev.machine, 0, counter_output(&p->channel[0], now(p)));
	arm(p);
}

static void on_timer(struct clock_timer *t)
{
	struct pit *p = container_of(t, struct pit, timer);
	struct machine *m = p->dev.machine;

	lock_take(&m->lock);
	/* The counter may have been set anew meanwhile. */
	if (p->rise <= now(p)) {
		irq_set(m, 0, false);
		irq_set(m, 0, true);
		follow(p);
	}
	lock_drop(&m->lock);
}

static void read_back(struct pit *p, uint8_t v)
{
	uint64_t time = now(p);

	for (unsigned i = 0; i < CHANNELS; i++) {
		if (!(v & 2 << i))
			continue;
		if (!(v & BACK_NO_COUNT))
			counter_latch_count(&p->channel[i], time);
		if (!(v & BACK_NO_STATUS))
			counter_latch_status(&p->channel[i], time);
	}
}

static void control_write(struct pit *p, uint8_t v)
{
	unsigned n = v >> 6;

	if (n == CONTROL_READ_BACK) {
		read_back(p, v);
		return;
	}
	if ((v >> 4 & 3) == BYTES_LATCH) {
		counter_latch_count(&p->channel[n], now(p));
		return;
	}
	counter_control(&p->channel[n], v);
	if (n == 0)
		follow(p);
}

static void port_write(void *dev, uint64_t offset, unsigned size, uint64_t v)
{
	struct pit *p = dev;

	if (offset == PORT_CONTROL) {
		control_write(p, v);
		return;
	}
	counter_write(&p->channel[offset], v, now(p));
	if (offset == 0)
		follow(p);
}

static uint64_t port_read(void *dev, uint64_t offset, unsigned size)
{
	struct pit *p = dev;

	return offset == PORT_CONTROL ? UINT64_MAX : counter_read(&p->channel[offset], now(p));
}

static const struct bus_ops port_ops = {port_read, port_write, 1};

static uint64_t system_read(void *dev, uint64_t offset, unsigned size)
{
	struct pit *p = dev;
	struct counter *c = &p->channel[2];
	uint64_t time = now(p);

	return (c->gate ? SYSTEM_GATE : 0) | (p->speaker ? SYSTEM_SPEAKER : 0) |
	       (time / REFRESH_NS & 1 ? SYSTEM_REFRESH : 0) |
	       (counter_output(c, time) ? SYSTEM_OUT : 0);
}

static void system_write(void *dev, uint64_t offset, unsigned size, uint64_t v)
{
	struct pit *p = dev;

	p->speaker = v & SYSTEM_SPEAKER;
	counter_gate(&p->channel[2], v & SYSTEM_GATE, now(p));
}

static const struct bus_ops system_ops = {system_read, system_write, 1};

static void reset(struct device *d)
{
	struct pit *p = container_of(d, struct pit, dev);

	for (unsigned i = 0; i < CHANNELS; i++)
		counter_reset(&p->channel[i], i < 2);
	p->speaker = false;
	follow(p);
}

static void state(struct device *d, struct state *s)
{
	struct pit *p = container_of(d, struct pit, dev);

	counter_state(s, "channel0", &p->channel[0], now(p));
	counter_state(s, "channel1", &p->channel[1], now(p));
	counter_state(s, "channel2", &p->channel[2], now(p));
	state_bool(s, "speaker", &p->speaker);
	if (state_loading(s))
		arm(p);
}

static void pit_free(struct device *d)
{
	struct pit *p = container_of(d, struct pit, dev);

	clock_timer_set(&p->timer, UINT64_MAX);
	bus_del(&d->machine->pio, &p->ports);
	bus_del(&d->machine->pio, &p->system);
	free(p);
}

static const struct device_type type = {
	.name = "pit8254", .reset = reset, .state = state, .free = pit_free};

int pit_new(struct machine *m, struct err *e)
{
	struct pit *p = xalloc(sizeof(*p));
	int r;

	machine_add_device(m, &p->dev, &type, "pit");
	clock_timer_init(&m->clock, &p->timer, on_timer);
	p->ports = (struct bus_range){
		.base = PORT, .len = 4, .ops = &port_ops, .dev = p, .name = "pit"};
	p->system = (struct bus_range){
		.base = PORT_SYSTEM, .len = 1, .ops = &system_ops, .dev = p, .name = "system-port"};
	r = bus_add(&m->pio, &p->ports, e);
	if (r == 0)
		r = bus_add(&m->pio, &p->system, e);
	if (r < 0)
		return r;
	reset(&p->dev);
	return 0;
}
