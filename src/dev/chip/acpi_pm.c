/*
 * The status register's bits are set by events and cleared by writing ones.  SCI is a level: some bit is
 * set that the enable register has, too.
 *
 * The timer is the machine's time.  Its status bit is set whenever the topmost bit changes, every ten
 * minutes; that is computed when somebody looks, and timed only while the guest wants the interrupt.
 */
#include "dev/chip/acpi_pm.h"

#include "base/log.h"

enum { /* registers */
       STATUS = ACPI_PM_EVENT,
       ENABLE = ACPI_PM_EVENT + 2,
       CONTROL = ACPI_PM_CONTROL,
       TIMER = ACPI_PM_TIMER,
       SMI_EN = 0x30,
};
enum { /* status and enable */
       EVENT_TIMER = 1 << 0,
       EVENT_GLOBAL = 1 << 5,
       EVENT_POWER_BUTTON = 1 << 8,
       EVENT_RTC = 1 << 10,
       EVENT_WAKE = 1 << 15,
       EVENT_STATUS = EVENT_TIMER | EVENT_GLOBAL | EVENT_POWER_BUTTON | EVENT_RTC | EVENT_WAKE,
       EVENT_ENABLE = EVENT_TIMER | EVENT_GLOBAL | EVENT_POWER_BUTTON | EVENT_RTC,
};
enum { /* control */
       CONTROL_SCI = 1 << 0,
       CONTROL_KEPT = 0x1c02, /* bus master reload, sleep type */
       CONTROL_SLEEP = 1 << 13,
};
/* Firmware takes this as "system management mode is set up already" and leaves it alone. */
#define SMI_EN_VALUE 0x23 /* APMC, end of SMI, global */

#define TIMER_HZ   3579545ull
#define TIMER_HALF (1ull << 31) /* ticks between two changes of the topmost bit */
#define NS         1000000000ull

struct acpi_pm {
	struct device device;
	struct bus_range ports;
	unsigned gsi;
	struct clock_timer timer;
	uint16_t status, enable, control;
	uint64_t halves; /* changes of the timer's topmost bit that are in the status register */
};

static uint64_t ticks(struct acpi_pm *pm)
{
	return (unsigned __int128)clock_now(&pm->device.machine->clock) * TIMER_HZ / NS;
}

/* The first nanosecond at which the timer shows that many ticks. */
static uint64_t ticks_to_ns(uint64_t n)
{
	return ((unsigned __int128)n * NS + TIMER_HZ - 1) / TIMER_HZ;
}

static void update(struct acpi_pm *pm)
{
	uint64_t halves = ticks(pm) / TIMER_HALF;
	bool timed;

	if (halves != pm->halves) {
		pm->halves = halves;
		pm->status |= EVENT_TIMER;
	}
	irq_set(pm->device.machine, pm->gsi, pm->status & pm->enable);
	timed = pm->enable & EVENT_TIMER && !(pm->status & EVENT_TIMER);
	clock_timer_set(&pm->timer, timed ? ticks_to_ns((halves + 1) * TIMER_HALF) : UINT64_MAX);
}

static void on_timer(struct clock_timer *t)
{
	struct acpi_pm *pm = container_of(t, struct acpi_pm, timer);

	lock_take(&pm->device.machine->lock);
	update(pm);
	lock_drop(&pm->device.machine->lock);
}

void acpi_pm_power_button(struct acpi_pm *pm)
{
	lock_take(&pm->device.machine->lock);
	pm->status |= EVENT_POWER_BUTTON;
	update(pm);
	lock_drop(&pm->device.machine->lock);
}

void acpi_pm_moved(void *arg, uint16_t base, bool on)
{
	struct acpi_pm *pm = arg;

	if (pm->ports.base != base || pm->ports.on != on)
		bus_move(&pm->device.machine->pio, &pm->ports, base, on);
}

static uint64_t pm_read(void *dev, uint64_t offset, unsigned size)
{
	struct acpi_pm *pm = dev;
	uint64_t value;

	switch (offset & ~1ull) {
	case STATUS:
		update(pm);
		value = pm->status | (uint32_t)pm->enable << 16;
		break;
	case ENABLE:
		value = pm->enable;
		break;
	case CONTROL:
		value = pm->control | CONTROL_SCI;
		break;
	case TIMER:
		value = (uint32_t)ticks(pm);
		break;
	case TIMER + 2:
		value = (uint32_t)ticks(pm) >> 16;
		break;
	case SMI_EN:
		value = SMI_EN_VALUE;
		break;
	default:
		value = 0;
		break;
	}
	return value >> (offset & 1) * 8;
}

static void sleep_enter(struct acpi_pm *pm)
{
	unsigned type = pm->control >> 10 & 7;

	if (type == ACPI_PM_S5)
		machine_end(pm->device.machine, MACHINE_POWEROFF, 0, "ACPI power-off");
	else
		log_guest("acpi-pm: sleep type %u does not exist", type);
}

/* 16 bits at a register's address; a byte is merged into the rest. */
static void write16(struct acpi_pm *pm, unsigned reg, uint16_t value, uint16_t mask)
{
	switch (reg) {
	case STATUS:
		update(pm);
		pm->status &= ~(value & mask & EVENT_STATUS);
		break;
	case ENABLE:
		pm->enable = ((pm->enable & ~mask) | (value & mask)) & EVENT_ENABLE;
		break;
	case CONTROL:
		pm->control = ((pm->control & ~mask) | (value & mask)) & CONTROL_KEPT;
		if (value & mask & CONTROL_SLEEP)
			sleep_enter(pm);
		break;
	}
	update(pm);
}

static void pm_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	unsigned reg = offset & ~1ull;

	if (size == 1) {
		write16(dev, reg, value << (offset & 1) * 8, 0xff << (offset & 1) * 8);
		return;
	}
	for (unsigned at = 0; at < size; at += 2)
		write16(dev, offset + at, value >> at * 8, 0xffff);
}

static const struct bus_ops pm_ops = {pm_read, pm_write, 4};

static void reset(struct device *d)
{
	struct acpi_pm *pm = container_of(d, struct acpi_pm, device);

	pm->halves = ticks(pm) / TIMER_HALF;
	pm->status = pm->enable = pm->control = 0;
	update(pm);
}

static void state(struct device *d, struct state *s)
{
	struct acpi_pm *pm = container_of(d, struct acpi_pm, device);

	state_u16(s, "status", &pm->status);
	state_u16(s, "enable", &pm->enable);
	state_u16(s, "control", &pm->control);
	state_u64(s, "halves", &pm->halves);
	if (state_loading(s) && !state_failed(s))
		update(pm);
}

static void pm_free(struct device *d)
{
	struct acpi_pm *pm = container_of(d, struct acpi_pm, device);

	clock_timer_set(&pm->timer, UINT64_MAX);
	bus_del(&d->machine->pio, &pm->ports);
	free(pm);
}

static const struct device_type type = {
	.name = "acpi-pm", .reset = reset, .state = state, .free = pm_free};

int acpi_pm_new(struct machine *m, uint16_t port, unsigned gsi, struct acpi_pm **out, struct err *e)
{
	struct acpi_pm *pm = xalloc(sizeof(*pm));
	int r;

	pm->ports = (struct bus_range){
		.base = port, .len = ACPI_PM_LEN, .ops = &pm_ops, .dev = pm, .name = "acpi-pm"};
	r = bus_add(&m->pio, &pm->ports, e);
	if (r < 0) {
		free(pm);
		return r;
	}
	pm->gsi = gsi;
	clock_timer_init(&m->clock, &pm->timer, on_timer);
	machine_add_device(m, &pm->device, &type, "acpi-pm");
	reset(&pm->device);
	*out = pm;
	return 0;
}
