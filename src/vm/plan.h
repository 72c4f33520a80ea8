/*
 * What a virtual machine will be made of: compiled from a spec, printed by --dry-run, carried out by
 * build.c.  Making one touches nothing on the host.
 */
#ifndef VM_PLAN_H
#define VM_PLAN_H

#include "base/json.h"
#include "dev/firmware/e820.h"
#include "image/kernel.h"
#include "vm/spec.h"

enum plan_kind {
	PLAN_LAPIC,
	PLAN_IOAPIC,
	PLAN_PIC,
	PLAN_PIT,
	PLAN_RTC,
	PLAN_ACPI_PM,
	PLAN_I8042,
	PLAN_UART,
	PLAN_FW_CFG,
	PLAN_DEBUGCON,
	PLAN_DEBUG_EXIT,
	PLAN_PCI_HOST,
	PLAN_VIRTIO_RNG,
	PLAN_VIRTIO_BLK,
	PLAN_VIRTIO_NET,
	PLAN_VIRTIO_CONSOLE,
};

enum plan_space { PLAN_PORT, PLAN_MMIO, PLAN_PCI };

struct plan_device {
	enum plan_kind kind;
	char name[24];
	enum plan_space space;
	uint64_t base, len; /* PCI: base is the device number on bus 0 */
	int gsi;            /* -1: none, or messages only */
	unsigned index;     /* disk number */
	char detail[128];   /* for people: the back end */
};

struct plan_range {
	char name[24];
	uint64_t base, size;
};

#define PLAN_DEVICES_MAX 48
#define PLAN_RANGES_MAX  16

struct vm_plan {
	unsigned cpus;
	uint64_t memory, low_ram, high_ram, bios_size;
	uint64_t ecam; /* PCI's memory-mapped configuration */
	uint64_t pci_high, pci_high_end;
	struct plan_range range[PLAN_RANGES_MAX]; /* the address map, by address */
	unsigned ranges;
	struct e820 e820;
	struct plan_device device[PLAN_DEVICES_MAX];
	unsigned devices;
	const char *append; /* the kernel's command line */
	char boot[96];
	char engine[16];
	char reason[256];
};

/* kernel: NULL with --bios, then bios_size counts. engine and reason: chosen before. */
void vm_plan_make(const struct vm_spec *spec, const struct kernel *kernel, uint64_t bios_size,
                  const char *engine, const char *reason, struct vm_plan *out);
const struct plan_device *vm_plan_find(const struct vm_plan *p, enum plan_kind kind);

/* A table for people (malloc'ed), and JSON. */
char *vm_plan_text(const struct vm_plan *p);
struct json *vm_plan_json(const struct vm_plan *p);

#endif
