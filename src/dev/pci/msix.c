/*
 * MSI-X (PCI 3.0, 6.8.2): a table of messages and their pending bits in a BAR.
 *
 *	0x000  entry 0: address, address high, data, control (bit 0: masked)
 *	...
 *	0x800  pending bits
 *
 * A message that is masked, or sent while the function is, is pending and goes when it is unmasked.
 */
#include <assert.h>
#include <string.h>
#include "base/log.h"
#include "dev/pci/pci_impl.h"

#define MSIX_CAP       0x11
#define MSIX_BAR_SIZE  0x1000
#define MSIX_PBA       0x800
#define CONTROL_ENABLE 0x8000
#define CONTROL_MASK   0x4000
#define ENTRY_MASKED   1

enum { ENTRY_ADDRESS, ENTRY_HIGH, ENTRY_DATA, ENTRY_CONTROL };

/* Sends what is pending and may go. */
static void pending_send(struct pci_device *d)
{
	struct pci_msix *x = &d->msix;

	for (unsigned i = 0; i < x->n; i++) {
		uint32_t *entry = x->table[i];
		uint64_t address;
		uint32_t data;
		bool send;

		lock_take(&d->host->lock);
		send = x->enabled && !x->masked && !(entry[ENTRY_CONTROL] & ENTRY_MASKED) &&
		       x->pending & 1u << i;
		address = entry[ENTRY_ADDRESS] | (uint64_t)entry[ENTRY_HIGH] << 32;
		data = entry[ENTRY_DATA];
		if (send)
			x->pending &= ~(1u << i);
		lock_drop(&d->host->lock);
		if (send)
			irq_msi(d->dev.machine, address, data);
	}
}

static uint64_t table_read(void *dev, uint64_t offset, unsigned size)
{
	struct pci_device *d = dev;
	uint64_t v = 0;

	lock_take(&d->host->lock);
	if (offset / 16 < d->msix.n)
		v = d->msix.table[offset / 16][offset % 16 / 4];
	else if (offset / 4 == MSIX_PBA / 4)
		v = d->msix.pending;
	lock_drop(&d->host->lock);
	return v >> offset % 4 * 8;
}

static void table_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci_device *d = dev;

	if (size != 4 || offset % 4 || offset / 16 >= d->msix.n) {
		log_guest("%s: MSI-X write of %u bytes at 0x%llx", d->dev.name, size,
		          (unsigned long long)offset);
		return;
	}
	lock_take(&d->host->lock);
	d->msix.table[offset / 16][offset % 16 / 4] = value;
	lock_drop(&d->host->lock);
	pending_send(d);
}

static const struct bus_ops table_ops = {table_read, table_write, 4};

void pci_init_msix(struct pci_device *d, unsigned bar, unsigned vectors)
{
	unsigned at = pci_init_cap(d, MSIX_CAP, 12);

	assert(vectors && vectors <= PCI_MSIX_MAX);
	d->msix.n = vectors;
	d->msix.cap = at;
	pci_put(d->initial + at + 2, 2, vectors - 1);
	pci_put(d->writable + at + 2, 2, CONTROL_ENABLE | CONTROL_MASK);
	pci_put(d->initial + at + 4, 4, bar);
	pci_put(d->initial + at + 8, 4, MSIX_PBA | bar);
	pci_init_bar(d, bar, PCI_BAR_MEM32, MSIX_BAR_SIZE, &table_ops, d);
}

void pci_msix_control(struct pci_device *d)
{
	uint32_t control = pci_get(d->config + d->msix.cap + 2, 2);

	lock_take(&d->host->lock);
	d->msix.enabled = control & CONTROL_ENABLE;
	d->msix.masked = control & CONTROL_MASK;
	lock_drop(&d->host->lock);
	pending_send(d);
}

void pci_msix_reset(struct pci_device *d)
{
	lock_take(&d->host->lock);
	memset(d->msix.table, 0, sizeof(d->msix.table));
	for (unsigned i = 0; i < d->msix.n; i++)
		d->msix.table[i][ENTRY_CONTROL] = ENTRY_MASKED;
	d->msix.pending = 0;
	lock_drop(&d->host->lock);
	pci_msix_control(d);
}

void pci_msix_state(struct pci_device *d, struct state *s)
{
	state_u32s(s, "msix_table", d->msix.table[0], d->msix.n * 4);
	state_u32(s, "msix_pending", &d->msix.pending);
}

bool pci_msix_enabled(struct pci_device *d)
{
	bool enabled;

	lock_take(&d->host->lock);
	enabled = d->msix.enabled;
	lock_drop(&d->host->lock);
	return enabled;
}

void pci_msix_send(struct pci_device *d, unsigned vector)
{
	if (vector >= d->msix.n)
		return;
	lock_take(&d->host->lock);
	d->msix.pending |= 1u << vector;
	lock_drop(&d->host->lock);
	pending_send(d);
}
