/*
 * ACPI power management (ACPI specification 6.4, 4.8): events, control, timer, power-off.  The machine
 * is always in ACPI mode; there is no system management mode.
 */
#ifndef DEV_CHIP_ACPI_PM_H
#define DEV_CHIP_ACPI_PM_H

#include "machine/machine.h"

/* Offsets of the register blocks, as in an ICH9 (datasheet 13.8.3). */
#define ACPI_PM_EVENT   0x00 /* PM1 status and enable, 16 bits each */
#define ACPI_PM_CONTROL 0x04 /* PM1 control, 16 bits */
#define ACPI_PM_TIMER   0x08 /* 32 bits, 3.579545 MHz */
#define ACPI_PM_LEN     0x40

#define ACPI_PM_S5 5 /* SLP_TYP of power-off */

struct acpi_pm;

/* At `port` until moved. */
int acpi_pm_new(struct machine *m, uint16_t port, unsigned gsi, struct acpi_pm **out,
                struct err *e) MUST_CHECK;

/* The chip set's registers move and switch the ports; arg is the acpi_pm.  The machine's lock is held. */
void acpi_pm_moved(void *arg, uint16_t base, bool on);

/* Somebody pressed the power button: a guest that listens powers off.  Any thread, no lock held. */
void acpi_pm_power_button(struct acpi_pm *pm);

#endif
