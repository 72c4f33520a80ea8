/*
 * The DSDT: what is on this computer that cannot be found by probing.
 *
 *	\_SB.PCI0	host bridge: windows and interrupt routing
 *	\_SB.MB0	the ECAM window, so that nobody else takes it
 *	\_SB.COM1, RTC0, KBD0
 *	\_SB.C000...	processors
 *	\_S5		power-off
 */
#include "dev/firmware/acpi.h"

#include <stdio.h>

#include "dev/firmware/aml.h"

static void host_windows(const struct acpi_platform *p, struct blob *r)
{
	uint64_t ecam_end = p->ecam_base + p->ecam_size;

	res_bus_window(r, 0, p->buses - 1);
	res_io(r, 0xcf8, 8);
	res_io_window(r, 0, 0xcf7);
	res_io_window(r, 0xd00, 0xffff);
	if (p->hole_base < p->ecam_base)
		res_memory_window(r, p->hole_base, p->ecam_base - 1);
	if (ecam_end < p->hole_end)
		res_memory_window(r, ecam_end, p->hole_end - 1);
	if (p->high_base != p->high_end)
		res_memory_window(r, p->high_base, p->high_end - 1);
}

static void routing(struct aml *a, const struct acpi_platform *p)
{
	aml_name_package(a, "_PRT", 32 * 4);
	for (unsigned dev = 0; dev < 32; dev++) {
		for (unsigned pin = 0; pin < 4; pin++) {
			aml_package(a, 4);
			aml_int(a, dev << 16 | 0xffff);
			aml_int(a, pin);
			aml_int(a, 0); /* no link device: a GSI follows */
			aml_int(a, p->intx_gsi(dev, pin));
			aml_end(a);
		}
	}
	aml_end(a);
}

static void host_bridge(struct aml *a, const struct acpi_platform *p)
{
	struct blob r = {};

	aml_device(a, "PCI0");
	aml_name_eisa(a, "_HID", "PNP0A08");
	aml_name_eisa(a, "_CID", "PNP0A03");
	aml_name_int(a, "_SEG", 0);
	aml_name_int(a, "_BBN", 0);
	aml_name_int(a, "_UID", 0);
	aml_name_int(a, "_CCA", 1);
	host_windows(p, &r);
	aml_name_resources(a, "_CRS", &r);
	routing(a, p);
	aml_end(a);
	blob_free(&r);
}

static void reserved_memory(struct aml *a, const struct acpi_platform *p)
{
	struct blob r = {};

	res_memory(&r, p->ecam_base, p->ecam_size);
	aml_device(a, "MB0");
	aml_name_eisa(a, "_HID", "PNP0C02");
	aml_name_int(a, "_UID", 0);
	aml_name_resources(a, "_CRS", &r);
	aml_end(a);
	blob_free(&r);
}

static void isa_device(struct aml *a, const char *name, const char *id, uint16_t port, uint8_t len,
                       uint16_t port2, unsigned irq)
{
	struct blob r = {};

	res_io(&r, port, len);
	if (port2)
		res_io(&r, port2, len);
	res_irq(&r, irq);
	aml_device(a, name);
	aml_name_eisa(a, "_HID", id);
	aml_name_int(a, "_UID", 0);
	aml_name_resources(a, "_CRS", &r);
	aml_end(a);
	blob_free(&r);
}

static void processors(struct aml *a, const struct acpi_platform *p)
{
	for (unsigned i = 0; i < p->cpus; i++) {
		char name[8];

		snprintf(name, sizeof(name), "C%03X", i & 0xfff);
		aml_device(a, name);
		aml_name_str(a, "_HID", "ACPI0007");
		aml_name_int(a, "_UID", i);
		aml_end(a);
	}
}

void acpi_dsdt(const struct acpi_platform *p, struct blob *out)
{
	struct aml a = {.out = out};

	aml_scope(&a, "\\_SB");
	host_bridge(&a, p);
	reserved_memory(&a, p);
	if (p->com1)
		isa_device(&a, "COM1", "PNP0501", 0x3f8, 8, 0, 4);
	if (p->rtc)
		isa_device(&a, "RTC0", "PNP0B00", 0x70, 2, 0, 8);
	if (p->i8042)
		isa_device(&a, "KBD0", "PNP0303", 0x60, 1, 0x64, 1);
	processors(&a, p);
	aml_end(&a);

	aml_name_package(&a, "\\_S5", 4);
	aml_int(&a, p->s5_type);
	aml_int(&a, p->s5_type);
	aml_int(&a, 0);
	aml_int(&a, 0);
	aml_end(&a);
}
