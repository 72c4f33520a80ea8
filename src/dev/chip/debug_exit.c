#include "dev/chip/debug_exit.h"

struct debug_exit {
	struct device device;
	struct bus_range ports;
};

static uint64_t debug_exit_read(void *dev, uint64_t offset, unsigned size)
{
	return 0;
}

static void debug_exit_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct debug_exit *d = dev;

	machine_end(d->device.machine, MACHINE_DEBUG_EXIT, value, "isa-debug-exit: 0x%x",
	            (unsigned)value);
}

static const struct bus_ops debug_exit_ops = {debug_exit_read, debug_exit_write, 4};

static void debug_exit_free(struct device *device)
{
	struct debug_exit *d = container_of(device, struct debug_exit, device);

	bus_del(&device->machine->pio, &d->ports);
	free(d);
}

static const struct device_type type = {.name = "isa-debug-exit", .free = debug_exit_free};

int debug_exit_new(struct machine *m, uint16_t port, struct err *e)
{
	struct debug_exit *d = xalloc(sizeof(*d));
	int r;

	d->ports = (struct bus_range){
		.base = port, .len = 4, .ops = &debug_exit_ops, .dev = d, .name = "isa-debug-exit"};
	r = bus_add(&m->pio, &d->ports, e);
	if (r < 0) {
		free(d);
		return r;
	}
	machine_add_device(m, &d->device, &type, "isa-debug-exit");
	return 0;
}
