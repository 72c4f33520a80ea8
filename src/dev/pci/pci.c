/*
 * A PCI function's configuration space and BARs.
 *
 * config[] holds what the guest reads.  A write changes the bits in writable[] only, so that sizing
 * a BAR (write ones, read back) needs no code of its own: the address bits below the size are not
 * writable.  A BAR with address 0 is unassigned and never decodes.
 */
#include "dev/pci/pci.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include "base/log.h"
#include "dev/pci/pci_impl.h"

#define CAPS_START 0x40
#define BAR_MEM64  0x04
#define BAR_IO     0x01

void pci_init(struct pci_device *d, const struct pci_ops *ops, uint16_t vendor, uint16_t device,
              uint32_t class, uint8_t revision)
{
	d->ops = ops;
	d->cap_end = CAPS_START;
	pci_put(d->initial + PCI_VENDOR, 2, vendor);
	pci_put(d->initial + PCI_DEVICE, 2, device);
	pci_put(d->initial + PCI_CLASS, 3, class);
	d->initial[PCI_REVISION] = revision;
	pci_put(d->writable + PCI_COMMAND, 2,
	        PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_OFF);
	d->writable[PCI_INTERRUPT_LINE] = 0xff;
}

static unsigned bar_register(unsigned bar)
{
	return PCI_BAR0 + 4 * bar;
}

void pci_init_bar(struct pci_device *d, unsigned bar, enum pci_bar_kind kind, uint64_t size,
                  const struct bus_ops *ops, void *dev)
{
	struct pci_bar *b = &d->bar[bar];
	unsigned reg = bar_register(bar);

	assert(size && !(size & (size - 1)) && b->kind == PCI_BAR_NONE);
	b->kind = kind;
	b->size = size;
	b->range = (struct bus_range){.len = size, .ops = ops, .dev = dev};
	pci_put(d->writable + reg, 4, ~(size - 1));
	if (kind == PCI_BAR_IO) {
		d->initial[reg] = BAR_IO;
	} else if (kind == PCI_BAR_MEM64) {
		assert(bar + 1 < PCI_BARS);
		d->initial[reg] = BAR_MEM64;
		pci_put(d->writable + reg + 4, 4, ~(size - 1) >> 32);
	}
}

unsigned pci_init_cap(struct pci_device *d, uint8_t id, unsigned len)
{
	unsigned at = d->cap_end, link = PCI_CAPABILITIES;

	assert(at + len <= PCI_CONFIG_SIZE);
	while (d->initial[link])
		link = d->initial[link] + 1;
	d->initial[link] = at;
	d->initial[at] = id;
	d->initial[PCI_STATUS] |= PCI_STATUS_CAPABILITIES;
	d->cap_end = align_up(at + len, 4);
	return at;
}

static uint64_t bar_address(const struct pci_device *d, unsigned bar)
{
	const struct pci_bar *b = &d->bar[bar];
	uint64_t v = pci_get(d->config + bar_register(bar), 4);

	if (b->kind == PCI_BAR_MEM64)
		v |= (uint64_t)pci_get(d->config + bar_register(bar) + 4, 4) << 32;
	return v & ~(b->size - 1);
}

static bool bar_wanted(const struct pci_device *d, unsigned bar)
{
	const struct pci_bar *b = &d->bar[bar];
	uint64_t end = bar_address(d, bar) + b->size;
	uint64_t limit = b->kind == PCI_BAR_IO ? 0x10000 : b->kind == PCI_BAR_MEM32 ? 4 * GIB : 0;

	if (b->kind == PCI_BAR_NONE || bar_address(d, bar) == 0)
		return false;
	if (end == 0 || (limit && end > limit))
		return false; /* all ones: the guest is sizing */
	return d->config[PCI_COMMAND] &
	       (b->kind == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY);
}

static struct bus *bar_bus(struct pci_device *d, const struct pci_bar *b)
{
	return b->kind == PCI_BAR_IO ? &d->dev.machine->pio : &d->dev.machine->mmio;
}

/* on: puts ranges where they belong; off: takes those away that are to go. */
static void device_map(struct pci_device *d, bool on)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct pci_bar *b = &d->bar[i];
		bool wanted = bar_wanted(d, i);

		if (b->kind == PCI_BAR_NONE)
			continue;
		if (on && wanted && !b->range.on)
			bus_move(bar_bus(d, b), &b->range, bar_address(d, i), true);
		else if (!on && b->range.on && (!wanted || b->range.base != bar_address(d, i)))
			bus_move(bar_bus(d, b), &b->range, b->range.base, false);
	}
}

static void device_tell(struct pci_device *d)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct pci_bar *b = &d->bar[i];

		if (b->told_on == b->range.on && (!b->told_on || b->told_base == b->range.base))
			continue;
		b->told_on = b->range.on;
		b->told_base = b->range.base;
		if (d->ops && d->ops->mapped)
			d->ops->mapped(d, i);
	}
}

void pci_host_map(struct pci_host *h)
{
	/* All go before one comes, so that two devices can change places. */
	for (unsigned i = 0; i < PCI_SLOTS; i++) {
		if (h->slot[i])
			device_map(h->slot[i], false);
	}
	for (unsigned i = 0; i < PCI_SLOTS; i++) {
		if (h->slot[i])
			device_map(h->slot[i], true);
	}
	for (unsigned i = 0; i < PCI_SLOTS; i++) {
		if (h->slot[i])
			device_tell(h->slot[i]);
	}
}

uint32_t pci_config_read(struct pci_device *d, unsigned offset, unsigned size)
{
	if (offset + size > PCI_CONFIG_SIZE)
		return UINT32_MAX >> (32 - 8 * size);
	if (d->ops && d->ops->config_read)
		d->ops->config_read(d, offset, size);
	if (pci_touches(offset, size, PCI_STATUS, 1)) {
		lock_take(&d->host->lock);
		d->config[PCI_STATUS] &= ~PCI_STATUS_INTX;
		d->config[PCI_STATUS] |= d->intx ? PCI_STATUS_INTX : 0;
		lock_drop(&d->host->lock);
	}
	return pci_get(d->config + offset, size);
}

void pci_config_write(struct pci_device *d, unsigned offset, unsigned size, uint32_t value)
{
	if (offset + size > PCI_CONFIG_SIZE)
		return;
	for (unsigned i = 0; i < size; i++) {
		uint8_t w = d->writable[offset + i];

		d->config[offset + i] = (d->config[offset + i] & ~w) | ((value >> 8 * i) & w);
	}
	if (pci_touches(offset, size, PCI_COMMAND, 2)) {
		lock_take(&d->host->lock);
		pci_host_wire(d->host, d);
		lock_drop(&d->host->lock);
	}
	if (pci_touches(offset, size, PCI_COMMAND, 2) ||
	    pci_touches(offset, size, PCI_BAR0, 4 * PCI_BARS))
		pci_host_map(d->host);
	if (d->msix.n && pci_touches(offset, size, d->msix.cap + 2, 2))
		pci_msix_control(d);
	if (d->ops && d->ops->config_write)
		d->ops->config_write(d, offset, size);
}

void pci_intx_set(struct pci_device *d, bool level)
{
	lock_take(&d->host->lock);
	d->intx = level;
	pci_host_wire(d->host, d);
	lock_drop(&d->host->lock);
}

void pci_reset(struct pci_device *d)
{
	memcpy(d->config, d->initial, sizeof(d->config));
	pci_host_map(d->host);
	if (d->msix.n)
		pci_msix_reset(d);
	pci_intx_set(d, false);
}

void pci_state(struct pci_device *d, struct state *s)
{
	uint8_t config[PCI_CONFIG_SIZE];

	memcpy(config, d->config, sizeof(config));
	state_enter(s, "pci", 1);
	state_bytes(s, "config", config, sizeof(config));
	state_bool(s, "intx", &d->intx);
	if (d->msix.n)
		pci_msix_state(d, s);
	state_leave(s);
	if (!state_loading(s) || state_failed(s))
		return;
	/* What a guest cannot change is this machine's, not the stream's. */
	for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++)
		d->config[i] = (d->initial[i] & ~d->writable[i]) | (config[i] & d->writable[i]);
	pci_host_map(d->host);
	if (d->msix.n)
		pci_msix_control(d);
	pci_intx_set(d, d->intx);
}

int pci_add(struct pci_host *h, struct pci_device *d, const struct device_type *type,
            const char *name, unsigned slot, struct err *e)
{
	if (slot == 0 && d != &h->mch) {
		for (slot = 1; slot < PCI_SLOTS && h->slot[slot]; slot++)
			;
	}
	if (slot >= PCI_SLOTS || h->slot[slot])
		return err_set(e, EBUSY, "no free PCI slot for device '%s'", name);
	d->host = h;
	d->slot = slot;
	h->slot[slot] = d;
	memcpy(d->config, d->initial, sizeof(d->config));
	machine_add_device(h->machine, &d->dev, type, name);
	for (unsigned i = 0; i < PCI_BARS; i++)
		d->bar[i].range.name = d->dev.name;
	if (d->msix.n)
		pci_msix_reset(d);
	return 0;
}

void pci_remove(struct pci_device *d)
{
	pci_intx_set(d, false);
	for (unsigned i = 0; i < PCI_BARS; i++) {
		if (d->bar[i].kind != PCI_BAR_NONE)
			bus_del(bar_bus(d, &d->bar[i]), &d->bar[i].range);
	}
	d->host->slot[d->slot] = NULL;
}
