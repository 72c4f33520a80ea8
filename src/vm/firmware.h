/* What the virtual machine tells firmware about itself. */
#ifndef VM_FIRMWARE_H
#define VM_FIRMWARE_H

#include "dev/chip/fw_cfg.h"
#include "dev/firmware/acpi.h"
#include "vm/plan.h"

/* Memory map, ACPI tables and settings as items of fw_cfg.  acpi: built, not placed. */
void firmware_describe(struct fw_cfg *f, const struct vm_plan *p, const struct acpi *acpi);

#endif
