/*
 * ACPI tables (ACPI specification 6.4, chapter 5): RSDP, XSDT, FADT, FACS, MADT, MCFG, DSDT.
 *
 * acpi_build() makes them with pointers as offsets into the blob of tables, and remembers where
 * pointers and checksums are.  A loader places them with acpi_place(); guest firmware gets them as
 * they are, with acpi_loader()'s commands telling it to do the same.
 */
#ifndef DEV_FIRMWARE_ACPI_H
#define DEV_FIRMWARE_ACPI_H

#include "dev/firmware/blob.h"

#define ACPI_RSDP_SIZE     36
#define ACPI_POINTERS_MAX  16
#define ACPI_CHECKSUMS_MAX 8

/* What the tables describe. */
struct acpi_platform {
	unsigned cpus; /* APIC id = index */
	uint32_t lapic_base, ioapic_base;
	uint8_t ioapic_id;
	uint64_t hpet_base; /* 0: none */
	/* Power management */
	uint16_t pm_event_port, pm_control_port, pm_timer_port;
	uint16_t gpe_port; /* 0: none */
	uint8_t gpe_len;
	uint8_t sci;     /* GSI, level-triggered, active high */
	uint8_t s5_type; /* SLP_TYP for power-off */
	uint16_t reset_port;
	uint8_t reset_value;
	bool i8042, com1, rtc;
	/* PCI */
	uint64_t ecam_base, ecam_size;
	unsigned buses; /* that there are: systems look for devices on all that they are told of */
	uint64_t hole_base, hole_end; /* 32-bit window; ECAM is cut out of it */
	uint64_t high_base, high_end; /* 64-bit window; equal: none */
	unsigned (*intx_gsi)(unsigned device, unsigned pin); /* pin 0..3 */
};

struct acpi {
	struct blob tables;
	size_t xsdt; /* offset */
	uint8_t rsdp[ACPI_RSDP_SIZE];
	struct acpi_pointer {
		size_t at, size;
	} pointer[ACPI_POINTERS_MAX];
	unsigned pointers;
	struct acpi_checksum {
		size_t at, start, len;
	} checksum[ACPI_CHECKSUMS_MAX];
	unsigned checksums;
};

void acpi_build(const struct acpi_platform *p, struct acpi *out);
/* Makes pointers absolute (tables at base) and fills in checksums, once. */
void acpi_place(struct acpi *a, uint64_t base);
/* The commands of fw_cfg's etc/table-loader, for tables in etc/acpi/tables and etc/acpi/rsdp. */
void acpi_loader(const struct acpi *a, struct blob *out);
void acpi_free(struct acpi *a);

/* acpi_dsdt.c: the definition block's body. */
void acpi_dsdt(const struct acpi_platform *p, struct blob *out);

#endif
