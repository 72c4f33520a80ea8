/*
 * PCI: one bus of type-0 functions, as a PC with an Intel Q35 chip set shows it.
 *
 *	0:0.0	  Q35 host bridge (8086:29c0): memory-mapped configuration, PAM, SMRAM registers
 *	0:slot.0  devices
 *	0:1f.0	  ICH9 LPC bridge (8086:2918): ACPI base, interrupt routing registers
 *
 * Configuration goes through ports 0xcf8/0xcfc and through a window of 256 MiB (ECAM).  A guest may
 * size, move and switch BARs at any time.
 *
 * Everything is called with the machine's lock held, but pci_intx_set() and pci_msix_send(), which
 * any thread may call.  Those take the host's lock (LOCK_DEVICE), which covers the INTx wires and
 * the MSI-X tables, and below it only the interrupt controllers' locks.
 * Specification: PCI Local Bus 3.0; PCI Express 7.2.2 (ECAM).
 */
#ifndef DEV_PCI_PCI_H
#define DEV_PCI_PCI_H

#include "machine/machine.h"

#define PCI_BARS        6
#define PCI_SLOTS       32
#define PCI_LINES       4 /* INTx wires */
#define PCI_MSIX_MAX    32
#define PCI_CONFIG_SIZE 256
#define PCI_ECAM_SIZE   (256 * MIB)

/* Configuration registers (PCI 3.0, 6.1) */
enum pci_register {
	PCI_VENDOR = 0x00,
	PCI_DEVICE = 0x02,
	PCI_COMMAND = 0x04,
	PCI_STATUS = 0x06,
	PCI_REVISION = 0x08,
	PCI_CLASS = 0x09, /* 3 bytes */
	PCI_HEADER_TYPE = 0x0e,
	PCI_BAR0 = 0x10,
	PCI_SUBSYSTEM_VENDOR = 0x2c,
	PCI_SUBSYSTEM = 0x2e,
	PCI_CAPABILITIES = 0x34,
	PCI_INTERRUPT_LINE = 0x3c,
	PCI_INTERRUPT_PIN = 0x3d,
};

#define PCI_COMMAND_IO          0x0001
#define PCI_COMMAND_MEMORY      0x0002
#define PCI_COMMAND_MASTER      0x0004
#define PCI_COMMAND_INTX_OFF    0x0400
#define PCI_STATUS_INTX         0x08
#define PCI_STATUS_CAPABILITIES 0x10

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64 };

struct pci_device;

struct pci_ops {
	/* Bytes [offset, offset + size) are about to be read, were written.  May be NULL. */
	void (*config_read)(struct pci_device *d, unsigned offset, unsigned size);
	void (*config_write)(struct pci_device *d, unsigned offset, unsigned size);
	/* The BAR's range went somewhere else, on or off (range.on, range.base).  May be NULL. */
	void (*mapped)(struct pci_device *d, unsigned bar);
};

struct pci_bar {
	enum pci_bar_kind kind;
	uint64_t size; /* a power of two */
	struct bus_range range;
	uint64_t told_base; /* what mapped() was told */
	bool told_on;
};

struct pci_msix {
	unsigned n; /* vectors; 0: no MSI-X */
	unsigned cap;
	bool enabled, masked;
	uint32_t table[PCI_MSIX_MAX][4]; /* address, address high, data, control (bit 0: masked) */
	uint32_t pending;
};

struct pci_device {
	struct device dev;
	const struct pci_ops *ops;
	struct pci_host *host;
	unsigned slot;
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t writable[PCI_CONFIG_SIZE]; /* bits that the guest may change */
	uint8_t initial[PCI_CONFIG_SIZE];  /* after reset */
	unsigned cap_end;                  /* first byte behind the last capability */
	struct pci_bar bar[PCI_BARS];
	struct pci_msix msix;
	bool intx; /* asserts INTA# */
};

struct pci_host_config {
	uint64_t ecam;    /* window's address after reset, a multiple of 256 MiB */
	uint16_t pm_base; /* ACPI registers' port after reset */
	/* The guest moved or switched the ACPI registers (LPC PMBASE, ACPI_CNTL).  May be NULL. */
	void (*pm_moved)(void *arg, uint16_t base, bool on);
	void *arg;
};
/* The bridges; they belong to the machine from then on. */
int pci_host_new(struct machine *m, const struct pci_host_config *cfg, struct pci_host **out,
                 struct err *e) MUST_CHECK;
/* Where the ECAM window is, on or not. */
uint64_t pci_host_ecam(const struct pci_host *h);

/*
 * What firmware does where there is none: gives every BAR an address (memory from [mmio, mmio + len),
 * I/O from port 0xc000), switches decoding on, routes INTx.  -ENOSPC.
 */
int pci_assign(struct pci_host *h, uint64_t mmio, uint64_t len, struct err *e) MUST_CHECK;

/* The IOAPIC pin of a slot's interrupt pin (0: INTA#): 16..19. */
unsigned pci_intx_gsi(unsigned slot, unsigned pin);

/* Building a device, before pci_add(). */
void pci_init(struct pci_device *d, const struct pci_ops *ops, uint16_t vendor, uint16_t device,
              uint32_t class, uint8_t revision);
/* ops and dev are the range's; a 64-bit BAR takes the next one too. */
void pci_init_bar(struct pci_device *d, unsigned bar, enum pci_bar_kind kind, uint64_t size,
                  const struct bus_ops *ops, void *dev);
/* A capability of len bytes; returns its offset.  Only id and link are filled. */
unsigned pci_init_cap(struct pci_device *d, uint8_t id, unsigned len);
/* Table and pending bits in a 4 KiB memory BAR of its own. */
void pci_init_msix(struct pci_device *d, unsigned bar, unsigned vectors);
/* Puts it on the bus and into the machine's list.  -EBUSY when the slot is taken; slot 0: any free. */
int pci_add(struct pci_host *h, struct pci_device *d, const struct device_type *type,
            const char *name, unsigned slot, struct err *e) MUST_CHECK;

/* Parts of the device type's functions. */
void pci_reset(struct pci_device *d);
void pci_state(struct pci_device *d, struct state *s);
void pci_remove(struct pci_device *d); /* before it is freed */

uint32_t pci_config_read(struct pci_device *d, unsigned offset, unsigned size);
void pci_config_write(struct pci_device *d, unsigned offset, unsigned size, uint32_t value);

/* Any thread. */
void pci_intx_set(struct pci_device *d, bool level);
bool pci_msix_enabled(struct pci_device *d);
void pci_msix_send(struct pci_device *d, unsigned vector);

#endif
