#include "vm/plan.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "dev/firmware/boot.h"
#include "dev/pci/pci.h"
#include "vm/layout.h"

static void add_range(struct vm_plan *p, const char *name, uint64_t base, uint64_t size)
{
	struct plan_range *r;

	if (size == 0)
		return;
	assert(p->ranges < PLAN_RANGES_MAX);
	r = &p->range[p->ranges++];
	*r = (struct plan_range){.base = base, .size = size};
	snprintf(r->name, sizeof(r->name), "%s", name);
}

#define ECAM_SIZE ((uint64_t)LAYOUT_ECAM_BUSES << 20)

static void plan_pci_windows(struct vm_plan *p)
{
	uint64_t end = p->ecam + ECAM_SIZE;

	if (p->ecam > LAYOUT_PCI_HOLE)
		add_range(p, "PCI 32-bit", LAYOUT_PCI_HOLE, p->ecam - LAYOUT_PCI_HOLE);
	add_range(p, "PCI ECAM", p->ecam, ECAM_SIZE);
	add_range(p, "PCI 32-bit", end, LAYOUT_PCI_HOLE_END - end);
}

static void plan_memory(struct vm_plan *p, bool firmware)
{
	p->ecam = firmware ? LAYOUT_ECAM_FIRMWARE : LAYOUT_ECAM;
	p->low_ram = MIN(p->memory, MIN(LAYOUT_LOW_MAX, p->ecam));
	p->high_ram = p->memory - p->low_ram;
	p->pci_high = align_up(LAYOUT_HIGH + p->high_ram, LAYOUT_PCI_HIGH_SIZE);
	p->pci_high_end = p->pci_high + LAYOUT_PCI_HIGH_SIZE;

	add_range(p, "RAM", 0, p->low_ram);
	plan_pci_windows(p);
	add_range(p, "IOAPIC", LAYOUT_IOAPIC, PAGE_SIZE);
	add_range(p, "local APIC", LAYOUT_LAPIC, PAGE_SIZE);
	add_range(p, "firmware", LAYOUT_HIGH - p->bios_size, p->bios_size);
	add_range(p, "RAM", LAYOUT_HIGH, p->high_ram);
	add_range(p, "PCI 64-bit", p->pci_high, LAYOUT_PCI_HIGH_SIZE);

	e820_make(&p->e820, p->low_ram, p->high_ram);
	e820_add(&p->e820, p->ecam, ECAM_SIZE, E820_RESERVED);
	e820_add(&p->e820, LAYOUT_IOAPIC, PAGE_SIZE, E820_RESERVED);
	e820_add(&p->e820, LAYOUT_LAPIC, PAGE_SIZE, E820_RESERVED);
	e820_add(&p->e820, LAYOUT_HIGH - p->bios_size, p->bios_size, E820_RESERVED);
}

static struct plan_device *add(struct vm_plan *p, enum plan_kind kind, const char *name,
                               enum plan_space space, uint64_t base, uint64_t len, int gsi)
{
	struct plan_device *d;

	assert(p->devices < PLAN_DEVICES_MAX);
	d = &p->device[p->devices++];
	*d = (struct plan_device){
		.kind = kind, .space = space, .base = base, .len = len, .gsi = gsi};
	snprintf(d->name, sizeof(d->name), "%s", name);
	return d;
}

static void plan_chips(struct vm_plan *p, const struct vm_spec *spec)
{
	struct plan_device *d;

	add(p, PLAN_LAPIC, "lapic", PLAN_MMIO, LAYOUT_LAPIC, PAGE_SIZE, -1);
	add(p, PLAN_IOAPIC, "ioapic", PLAN_MMIO, LAYOUT_IOAPIC, PAGE_SIZE, -1);
	add(p, PLAN_PIC, "pic", PLAN_PORT, 0x20, 2, -1);
	add(p, PLAN_PIT, "pit", PLAN_PORT, 0x40, 4, 0);
	add(p, PLAN_RTC, "rtc", PLAN_PORT, 0x70, 2, 8);
	add(p, PLAN_ACPI_PM, "acpi-pm", PLAN_PORT, LAYOUT_PM_PORT, 0x40, LAYOUT_SCI);
	add(p, PLAN_I8042, "i8042", PLAN_PORT, 0x60, 5, 1);
	d = add(p, PLAN_UART, "com1", PLAN_PORT, 0x3f8, 8, 4);
	snprintf(d->detail, sizeof(d->detail), "%s", spec->console);
	if (spec->bios)
		add(p, PLAN_FW_CFG, "fw-cfg", PLAN_PORT, 0x510, 12, -1);
	if (spec->debugcon) {
		d = add(p, PLAN_DEBUGCON, "debugcon", PLAN_PORT, 0x402, 1, -1);
		snprintf(d->detail, sizeof(d->detail), "%s", spec->debugcon);
	}
	if (spec->debug_exit)
		add(p, PLAN_DEBUG_EXIT, "isa-debug-exit", PLAN_PORT, 0xf4, 4, -1);
	add(p, PLAN_PCI_HOST, "pci", PLAN_PCI, 0, 0, -1);
}

static struct plan_device *add_pci(struct vm_plan *p, enum plan_kind kind, const char *name)
{
	unsigned slot = 0;

	for (unsigned i = 0; i < p->devices; i++) {
		if (p->device[i].space == PLAN_PCI)
			slot++;
	}
	return add(p, kind, name, PLAN_PCI, slot, 0, pci_intx_gsi(slot, 0));
}

static void plan_virtio(struct vm_plan *p, const struct vm_spec *spec)
{
	add_pci(p, PLAN_VIRTIO_RNG, "virtio-rng0");
	for (unsigned i = 0; i < spec->disks; i++) {
		const struct vm_disk *disk = &spec->disk[i];
		struct plan_device *d;
		char name[24];

		snprintf(name, sizeof(name), "virtio-blk%u", i);
		d = add_pci(p, PLAN_VIRTIO_BLK, name);
		d->index = i;
		snprintf(d->detail, sizeof(d->detail), "%.80s (%.16s%s)", disk->path, disk->format,
		         disk->readonly ? ", read-only" : "");
	}
	if (strcmp(spec->net, "none") != 0) {
		struct plan_device *d = add_pci(p, PLAN_VIRTIO_NET, "virtio-net0");

		snprintf(d->detail, sizeof(d->detail), "%s", spec->net);
	}
	if (spec->virtio_console) {
		struct plan_device *d = add_pci(p, PLAN_VIRTIO_CONSOLE, "virtio-console0");

		snprintf(d->detail, sizeof(d->detail), "%s", spec->virtio_console);
	}
}

static const char *default_append(const struct vm_spec *spec, const struct kernel *k)
{
	if (spec->append)
		return spec->append;
	/* A Linux without this prints nothing that anybody sees. */
	return k && k->kind != KERNEL_MULTIBOOT ? "console=ttyS0" : "";
}

void vm_plan_make(const struct vm_spec *spec, const struct kernel *kernel, uint64_t bios_size,
                  const char *engine, const char *reason, struct vm_plan *out)
{
	*out = (struct vm_plan){.cpus = spec->cpus, .memory = spec->memory, .bios_size = bios_size};
	plan_memory(out, spec->bios != NULL);
	plan_chips(out, spec);
	plan_virtio(out, spec);
	out->append = default_append(spec, kernel);
	if (kernel)
		boot_describe(kernel, !spec->no_unpack, out->boot, sizeof(out->boot));
	else
		snprintf(out->boot, sizeof(out->boot), "firmware from the reset vector");
	snprintf(out->engine, sizeof(out->engine), "%s", engine);
	snprintf(out->reason, sizeof(out->reason), "%s", reason);
}

const struct plan_device *vm_plan_find(const struct vm_plan *p, enum plan_kind kind)
{
	for (unsigned i = 0; i < p->devices; i++) {
		if (p->device[i].kind == kind)
			return &p->device[i];
	}
	return NULL;
}
