#include "dev/chip/debugcon.h"

#define PRESENT 0xe9

struct debugcon {
	struct device device;
	struct bus_range ports;
	struct chr *chr;
};

static uint64_t debugcon_read(void *dev, uint64_t offset, unsigned size)
{
	return PRESENT;
}

static void debugcon_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct debugcon *d = dev;
	uint8_t byte = value;

	chr_write(d->chr, &byte, 1);
}

static const struct bus_ops debugcon_ops = {debugcon_read, debugcon_write, 1};

static void debugcon_free(struct device *device)
{
	struct debugcon *d = container_of(device, struct debugcon, device);

	bus_del(&device->machine->pio, &d->ports);
	chr_free(d->chr);
	free(d);
}

static const struct device_type type = {.name = "debugcon", .free = debugcon_free};

int debugcon_new(struct machine *m, uint16_t port, struct chr *chr, struct err *e)
{
	struct debugcon *d = xalloc(sizeof(*d));
	int r;

	d->ports = (struct bus_range){
		.base = port, .len = 1, .ops = &debugcon_ops, .dev = d, .name = "debugcon"};
	r = bus_add(&m->pio, &d->ports, e);
	if (r < 0) {
		free(d);
		return r;
	}
	d->chr = chr;
	machine_add_device(m, &d->device, &type, "debugcon");
	return 0;
}
