/* From a plan's device list to devices: one switch, in devices.c. */
#ifndef VM_DEVICES_H
#define VM_DEVICES_H

#include "dev/chip/acpi_pm.h"
#include "dev/chip/fw_cfg.h"
#include "dev/pci/pci.h"
#include "vm/vm.h"

struct vm {
	struct machine *machine;
	struct pci_host *pci;
	struct acpi_pm *pm;
	struct fw_cfg *fw_cfg; /* NULL without firmware */
	struct file initrd;
	struct file module[VM_MODULES_MAX];
};

/* Makes all devices of the plan; on failure machine_free() takes those away that were made. */
int devices_make(struct vm *v, const struct vm_input *in, struct err *e) MUST_CHECK;

#endif
