/* Between the files of PCI. */
#ifndef DEV_PCI_PCI_IMPL_H
#define DEV_PCI_PCI_IMPL_H

#include "dev/pci/pci.h"

/*
 * lock (LOCK_DEVICE) covers lines, isa and route, every device's intx and msix.
 */
struct pci_host {
	struct machine *machine;
	struct pci_host_config cfg;
	struct pci_device *slot[PCI_SLOTS];
	struct pci_device mch, lpc;
	struct bus_range ports, ecam;
	uint32_t address;      /* port 0xcf8 */
	uint8_t reset_control; /* port 0xcf9 */

	struct lock lock;
	uint32_t lines[PCI_LINES]; /* which slots assert the wire */
	uint8_t route[PCI_LINES];  /* PIRQA..D to ISA interrupt; 0x80: none */
	uint32_t isa;              /* ISA interrupts that PIRQs assert */
};

static inline uint32_t pci_get(const uint8_t *p, unsigned size)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < size; i++)
		v |= (uint32_t)p[i] << 8 * i;
	return v;
}

static inline void pci_put(uint8_t *p, unsigned size, uint32_t v)
{
	for (unsigned i = 0; i < size; i++)
		p[i] = v >> 8 * i;
}

static inline bool pci_touches(unsigned offset, unsigned size, unsigned reg, unsigned len)
{
	return offset < reg + len && reg < offset + size;
}

/* Puts all BARs where command and address registers say. */
void pci_host_map(struct pci_host *h);
/* Host's lock held: a device's intx or command changed; the routes changed. */
void pci_host_wire(struct pci_host *h, struct pci_device *d);
void pci_host_route(struct pci_host *h);

/* MSI-X: the message control register was written; reset; after a load. */
void pci_msix_control(struct pci_device *d);
void pci_msix_reset(struct pci_device *d);
void pci_msix_state(struct pci_device *d, struct state *s);

/* The host bridge's and LPC bridge's own registers (bridge.c). */
void pci_bridges_init(struct pci_host *h);
int pci_bridges_add(struct pci_host *h, struct err *e) MUST_CHECK;

#endif
