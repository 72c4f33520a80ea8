/* The host side of PCI: configuration ports, the ECAM window, INTx wires, and addresses for BARs. */
#include <errno.h>
#include <string.h>
#include "base/log.h"
#include "dev/pci/pci_impl.h"

#define PORTS          0xcf8 /* address at +0 (32 bits), reset control at +1 (8 bits), data at +4 */
#define PORTS_RESET    1
#define PORTS_DATA     4
#define ADDRESS_ENABLE 0x80000000u
#define RESET_CPU      0x04
#define GSI_FIRST      16
#define IO_FIRST       0xc000
#define ROUTE_OFF      0x80

unsigned pci_intx_gsi(unsigned slot, unsigned pin)
{
	return GSI_FIRST + (slot + pin) % PCI_LINES;
}

/* bus, device, function as in configuration addresses: bits 15-8, 7-3, 2-0. */
static struct pci_device *find(struct pci_host *h, unsigned bdf)
{
	return bdf >> 8 == 0 && (bdf & 7) == 0 ? h->slot[bdf >> 3 & 31] : NULL;
}

static uint64_t ecam_read(void *dev, uint64_t offset, unsigned size)
{
	struct pci_device *d = find(dev, offset >> 12);

	return d ? pci_config_read(d, offset & 0xfff, size) : UINT64_MAX;
}

static void ecam_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci_device *d = find(dev, offset >> 12);

	if (d)
		pci_config_write(d, offset & 0xfff, size, value);
}

static const struct bus_ops ecam_ops = {ecam_read, ecam_write, 4};

static struct pci_device *addressed(struct pci_host *h)
{
	return h->address & ADDRESS_ENABLE ? find(h, h->address >> 8 & 0xffff) : NULL;
}

static uint64_t ports_read(void *dev, uint64_t offset, unsigned size)
{
	struct pci_host *h = dev;
	struct pci_device *d = addressed(h);

	if (offset == PORTS_RESET && size == 1)
		return h->reset_control;
	if (offset < PORTS_DATA)
		return offset == 0 && size == 4 ? h->address : UINT64_MAX;
	if (!d || offset + size > PORTS_DATA + 4)
		return UINT64_MAX;
	return pci_config_read(d, (h->address & 0xfc) + offset - PORTS_DATA, size);
}

static void ports_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci_host *h = dev;
	struct pci_device *d = addressed(h);

	if (offset == PORTS_RESET && size == 1) {
		if (value & RESET_CPU && !(h->reset_control & RESET_CPU))
			machine_end(h->machine, MACHINE_RESET, 0, "reset by port 0xcf9");
		h->reset_control = value;
	} else if (offset == 0 && size == 4) {
		h->address = value;
	} else if (d && offset >= PORTS_DATA && offset + size <= PORTS_DATA + 4) {
		pci_config_write(d, (h->address & 0xfc) + offset - PORTS_DATA, size, value);
	}
}

static const struct bus_ops ports_ops = {ports_read, ports_write, 4};

void pci_host_route(struct pci_host *h)
{
	uint32_t isa = 0, changed;

	for (unsigned i = 0; i < PCI_LINES; i++) {
		if (h->lines[i] && !(h->route[i] & ROUTE_OFF))
			isa |= 1u << (h->route[i] & 15);
	}
	changed = isa ^ h->isa;
	h->isa = isa;
	for (unsigned i = 0; i < 16; i++) {
		if (changed & 1u << i)
			irq_set(h->machine, i, isa & 1u << i);
	}
}

void pci_host_wire(struct pci_host *h, struct pci_device *d)
{
	unsigned gsi = pci_intx_gsi(d->slot, 0);
	uint32_t *line = &h->lines[gsi - GSI_FIRST];
	uint32_t before = *line, bit = 1u << d->slot;
	bool off = pci_get(d->config + PCI_COMMAND, 2) & PCI_COMMAND_INTX_OFF;

	*line = d->intx && !off ? before | bit : before & ~bit;
	if (!before == !*line)
		return;
	irq_set(h->machine, gsi, *line != 0);
	pci_host_route(h);
}

uint64_t pci_host_ecam(const struct pci_host *h)
{
	return h->ecam.base;
}

int pci_host_new(struct machine *m, const struct pci_host_config *cfg, struct pci_host **out,
                 struct err *e)
{
	struct pci_host *h = xalloc(sizeof(*h));
	int r;

	h->machine = m;
	h->cfg = *cfg;
	lock_init(&h->lock, LOCK_DEVICE);
	h->ports = (struct bus_range){
		.base = PORTS, .len = 8, .ops = &ports_ops, .dev = h, .name = "pci-config"};
	h->ecam = (struct bus_range){.base = cfg->ecam,
	                             .len = PCI_ECAM_SIZE,
	                             .ops = &ecam_ops,
	                             .dev = h,
	                             .name = "pci-ecam"};
	pci_bridges_init(h);
	r = bus_add(&m->pio, &h->ports, e);
	if (r == 0)
		r = bus_add(&m->mmio, &h->ecam, e);
	if (r < 0) {
		bus_del(&m->pio, &h->ports);
		lock_fini(&h->lock);
		free(h);
		return r;
	}
	r = pci_bridges_add(h, e); /* from here on the machine frees it */
	if (r == 0)
		*out = h;
	return r;
}

static int bar_assign(struct pci_device *d, unsigned bar, uint64_t *io, uint64_t *mmio,
                      uint64_t end, struct err *e)
{
	struct pci_bar *b = &d->bar[bar];
	bool port = b->kind == PCI_BAR_IO;
	uint64_t *next = port ? io : mmio, at;

	if (b->kind == PCI_BAR_NONE)
		return 0;
	at = align_up(*next, b->size);
	if (at + b->size > (port ? 0x10000 : end))
		return err_set(e, ENOSPC, "no address for BAR %u of device '%s'", bar, d->dev.name);
	pci_config_write(d, PCI_BAR0 + 4 * bar, 4, at);
	if (b->kind == PCI_BAR_MEM64)
		pci_config_write(d, PCI_BAR0 + 4 * bar + 4, 4, at >> 32);
	*next = at + b->size;
	return 0;
}

int pci_assign(struct pci_host *h, uint64_t mmio, uint64_t len, struct err *e)
{
	static const uint8_t isa[PCI_LINES] = {10, 11, 10, 11}; /* as PC firmware routes PIRQs */
	uint64_t io = IO_FIRST, next = mmio;

	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		struct pci_device *d = h->slot[slot];

		if (!d || d == &h->mch || d == &h->lpc)
			continue;
		for (unsigned bar = 0; bar < PCI_BARS; bar++) {
			int r = bar_assign(d, bar, &io, &next, mmio + len, e);

			if (r < 0)
				return r;
		}
		pci_config_write(d, PCI_INTERRUPT_LINE, 1, isa[pci_intx_gsi(slot, 0) - GSI_FIRST]);
		pci_config_write(d, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
	}
	for (unsigned i = 0; i < PCI_LINES; i++)
		pci_config_write(&h->lpc, 0x60 + i, 1, isa[i]);
	return 0;
}
