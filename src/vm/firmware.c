#include "vm/firmware.h"

#include "dev/chip/acpi_pm.h"
#include "vm/layout.h"

#define SLEEP_ENABLED 0x80
#define SLEEP_STATES  6

/*
 * RAM only: of the rest firmware knows better than we do what it takes for itself.  Entries of 20 bytes:
 * address, size, type.
 */
static void describe_memory(struct fw_cfg *f, const struct vm_plan *p)
{
	struct blob map = {};

	blob_u64(&map, 0);
	blob_u64(&map, p->low_ram);
	blob_u32(&map, E820_RAM);
	if (p->high_ram) {
		blob_u64(&map, LAYOUT_HIGH);
		blob_u64(&map, p->high_ram);
		blob_u32(&map, E820_RAM);
	}
	fw_cfg_file(f, "etc/e820", map.data, map.len);
	fw_cfg_number(f, FW_CFG_RAM_SIZE, p->low_ram, 8);
	blob_free(&map);
}

static void describe_tables(struct fw_cfg *f, const struct acpi *acpi)
{
	struct blob loader = {};

	acpi_loader(acpi, &loader);
	fw_cfg_file(f, "etc/acpi/tables", acpi->tables.data, acpi->tables.len);
	fw_cfg_file(f, "etc/acpi/rsdp", acpi->rsdp, sizeof(acpi->rsdp));
	fw_cfg_file(f, "etc/table-loader", loader.data, loader.len);
	blob_free(&loader);
}

void firmware_describe(struct fw_cfg *f, const struct vm_plan *p, const struct acpi *acpi)
{
	static const uint8_t sleep[SLEEP_STATES] = {
		[0] = SLEEP_ENABLED, [5] = SLEEP_ENABLED | ACPI_PM_S5};
	const struct plan_device *com1 = vm_plan_find(p, PLAN_UART);

	describe_memory(f, p);
	describe_tables(f, acpi);
	fw_cfg_number(f, FW_CFG_CPUS, p->cpus, 2);
	fw_cfg_number(f, FW_CFG_CPUS_MAX, p->cpus, 2);
	fw_cfg_number(f, FW_CFG_IRQ0_OVERRIDE, 1, 4);
	fw_cfg_number(f, FW_CFG_BOOT_MENU, 1, 2);
	fw_cfg_file(f, "etc/system-states", sleep, sizeof(sleep));
	/* Without a screen, the serial port is firmware's screen and keyboard. */
	if (com1)
		fw_cfg_file(f, "etc/sercon-port", (uint8_t[]){com1->base, com1->base >> 8}, 2);
}
