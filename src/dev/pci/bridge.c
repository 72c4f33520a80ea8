/*
 * The Q35 host bridge and the ICH9 LPC bridge, as far as firmware and kernels look at them (Intel 3
 * Series Express Chipset datasheet, 5.1; ICH9 datasheet, 13.1).  Below 1 MiB there is plain RAM, so
 * the PAM and SMRAM registers keep what is written and change nothing.
 */
#include <string.h>
#include "base/log.h"
#include "dev/pci/pci_impl.h"

enum mch_register {
	MCH_PCIEXBAR = 0x60, /* 8 bytes: address (39-28 here), bits 2-1 size, bit 0 enable */
	MCH_PAM = 0x90,      /* 7 bytes */
	MCH_SMRAM = 0x9d,
	MCH_ESMRAMC = 0x9e,
};

enum lpc_register {
	LPC_PMBASE = 0x40,
	LPC_ACPI_CNTL = 0x44,
	LPC_PIRQ_A = 0x60, /* A-D */
	LPC_PIRQ_E = 0x68, /* E-H */
	LPC_RCBA = 0xf0,
};
#define ACPI_ENABLE 0x80
#define PIRQ_OFF    0x80

static void ecam_update(struct pci_host *h)
{
	const uint8_t *reg = h->mch.config + MCH_PCIEXBAR;
	uint64_t v = pci_get(reg, 4) | (uint64_t)pci_get(reg + 4, 4) << 32;
	uint64_t base = align_down(v, PCI_ECAM_SIZE);
	bool on = v & 1 && base;

	if (h->ecam.on != on || h->ecam.base != base)
		bus_move(&h->machine->mmio, &h->ecam, base, on);
}

static void mch_write(struct pci_device *d, unsigned offset, unsigned size)
{
	if (pci_touches(offset, size, MCH_PCIEXBAR, 8))
		ecam_update(d->host);
}

static const struct pci_ops mch_ops = {.config_write = mch_write};

static void pm_update(struct pci_host *h)
{
	const uint8_t *c = h->lpc.config;

	if (h->cfg.pm_moved)
		h->cfg.pm_moved(h->cfg.arg, pci_get(c + LPC_PMBASE, 2) & 0xff80,
		                c[LPC_ACPI_CNTL] & ACPI_ENABLE);
}

static void route_update(struct pci_host *h)
{
	lock_take(&h->lock);
	memcpy(h->route, h->lpc.config + LPC_PIRQ_A, PCI_LINES);
	pci_host_route(h);
	lock_drop(&h->lock);
}

static void lpc_write(struct pci_device *d, unsigned offset, unsigned size)
{
	if (pci_touches(offset, size, LPC_PMBASE, 5))
		pm_update(d->host);
	if (pci_touches(offset, size, LPC_PIRQ_A, PCI_LINES))
		route_update(d->host);
}

static const struct pci_ops lpc_ops = {.config_write = lpc_write};

static void mch_reset(struct device *dev)
{
	struct pci_host *h = container_of(dev, struct pci_host, mch.dev);

	pci_reset(&h->mch);
	h->address = 0;
	h->reset_control = 0;
	ecam_update(h);
}

static void mch_state(struct device *dev, struct state *s)
{
	struct pci_host *h = container_of(dev, struct pci_host, mch.dev);

	pci_state(&h->mch, s);
	state_u32(s, "address", &h->address);
	state_u8(s, "reset_control", &h->reset_control);
	if (state_loading(s) && !state_failed(s))
		ecam_update(h);
}

/* The bridge was added first, so it is freed last. */
static void mch_free(struct device *dev)
{
	struct pci_host *h = container_of(dev, struct pci_host, mch.dev);

	bus_del(&h->machine->pio, &h->ports);
	bus_del(&h->machine->mmio, &h->ecam);
	lock_fini(&h->lock);
	free(h);
}

static const struct device_type mch_type = {
	.name = "q35-mch", .reset = mch_reset, .state = mch_state, .free = mch_free};

static void lpc_reset(struct device *dev)
{
	struct pci_host *h = container_of(dev, struct pci_host, lpc.dev);

	pci_reset(&h->lpc);
	route_update(h);
	pm_update(h);
}

static void lpc_state(struct device *dev, struct state *s)
{
	struct pci_host *h = container_of(dev, struct pci_host, lpc.dev);

	pci_state(&h->lpc, s);
	if (state_loading(s) && !state_failed(s)) {
		route_update(h);
		pm_update(h);
	}
}

static void lpc_free(struct device *dev)
{
	pci_remove(container_of(dev, struct pci_device, dev));
}

static const struct device_type lpc_type = {
	.name = "ich9-lpc", .reset = lpc_reset, .state = lpc_state, .free = lpc_free};

static void storage(struct pci_device *d, unsigned offset, unsigned len)
{
	memset(d->writable + offset, 0xff, len);
}

void pci_bridges_init(struct pci_host *h)
{
	struct pci_device *mch = &h->mch, *lpc = &h->lpc;

	pci_init(mch, &mch_ops, 0x8086, 0x29c0, 0x060000, 2);
	pci_put(mch->initial + MCH_PCIEXBAR, 4, (uint32_t)h->cfg.ecam | 1);
	pci_put(mch->initial + MCH_PCIEXBAR + 4, 4, h->cfg.ecam >> 32);
	pci_put(mch->writable + MCH_PCIEXBAR, 4, 0xf0000001);
	mch->writable[MCH_PCIEXBAR + 4] = 0x0f;
	storage(mch, MCH_PAM, 7);
	storage(mch, MCH_SMRAM, 2);
	mch->initial[MCH_SMRAM] = 0x02;

	pci_init(lpc, &lpc_ops, 0x8086, 0x2918, 0x060100, 2);
	pci_put(lpc->initial + LPC_PMBASE, 4, h->cfg.pm_base | 1);
	pci_put(lpc->writable + LPC_PMBASE, 2, 0xff80);
	lpc->initial[LPC_ACPI_CNTL] = ACPI_ENABLE;
	storage(lpc, LPC_ACPI_CNTL, 1);
	memset(lpc->initial + LPC_PIRQ_A, PIRQ_OFF, 4);
	memset(lpc->initial + LPC_PIRQ_E, PIRQ_OFF, 4);
	storage(lpc, LPC_PIRQ_A, 4);
	storage(lpc, LPC_PIRQ_E, 4);
	storage(lpc, LPC_RCBA, 4);
	memset(h->route, PIRQ_OFF, sizeof(h->route));
}

int pci_bridges_add(struct pci_host *h, struct err *e)
{
	int r = pci_add(h, &h->mch, &mch_type, "mch", 0, e);

	return r < 0 ? r : pci_add(h, &h->lpc, &lpc_type, "lpc", 31, e);
}
