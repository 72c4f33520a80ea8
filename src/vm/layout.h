/*
 * Addresses of our PC.
 *
 *	0		RAM, to 3 GiB at most
 *	0xc0000000	PCI: 32-bit BARs
 *	0xe0000000	PCI: ECAM, room for 256 buses
 *	0xf0000000	PCI: 32-bit BARs
 *	0xfec00000	IOAPIC
 *	0xfee00000	local APICs, messages
 *	4 GiB - size	firmware
 *	4 GiB		the rest of RAM
 *	behind it	PCI: 64-bit BARs
 *
 * With firmware, RAM ends below 0xb0000000, where SeaBIOS puts ECAM on a Q35, and everything between
 * 0xc0000000 and the IOAPIC is for 32-bit BARs.
 */
#ifndef VM_LAYOUT_H
#define VM_LAYOUT_H

#include "base/lang.h"

#define LAYOUT_LOW_MAX       (3 * GIB)
#define LAYOUT_HIGH          (4 * GIB)
#define LAYOUT_PCI_HOLE      0xc0000000ull
#define LAYOUT_PCI_HOLE_END  0xfec00000ull
#define LAYOUT_ECAM          0xe0000000ull
#define LAYOUT_ECAM_FIRMWARE 0xb0000000ull
#define LAYOUT_ECAM_BUSES    256
#define LAYOUT_PCI_BUSES     1 /* that there are */
#define LAYOUT_IOAPIC        0xfec00000ull
#define LAYOUT_LAPIC         0xfee00000ull
#define LAYOUT_PCI_HIGH_SIZE (64 * GIB)
#define LAYOUT_PHYS_BITS     46

#define LAYOUT_IOAPIC_ID 0
#define LAYOUT_PM_PORT   0x600 /* ACPI PM registers */
#define LAYOUT_SCI       9

#endif
