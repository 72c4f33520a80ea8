/*
 * What firmware asks the virtual machine: numbered items and named files, read through ports or by
 * memory transfers.  The interface is the one of other PC emulators (fw_cfg), so that SeaBIOS and others
 * run as they are.
 *
 *	0x510	selector (16 bits)	0x511	data, a byte at a time
 *	0x514	address of a transfer's descriptor, 64 bits big-endian; the low half starts it
 */
#ifndef DEV_CHIP_FW_CFG_H
#define DEV_CHIP_FW_CFG_H

#include "machine/machine.h"

/* Keys of items that firmware knows by number. */
enum fw_cfg_key {
	FW_CFG_RAM_SIZE = 0x03, /* 64 bits, bytes */
	FW_CFG_CPUS = 0x05,     /* 16 bits */
	FW_CFG_BOOT_MENU = 0x0e,
	FW_CFG_CPUS_MAX = 0x0f,
	FW_CFG_IRQ0_OVERRIDE = 0x8002, /* the PIT is on the IOAPIC's pin 2 */
};

#define FW_CFG_NAME_MAX 55

struct fw_cfg;

/* Without items but the identification and the directory.  The machine frees it. */
int fw_cfg_new(struct machine *m, uint16_t port, struct fw_cfg **out, struct err *e) MUST_CHECK;

/* Before the machine starts; the bytes are copied.  A key or name is given once. */
void fw_cfg_item(struct fw_cfg *f, uint16_t key, const void *data, size_t len);
void fw_cfg_number(struct fw_cfg *f, uint16_t key, uint64_t value, size_t len);
void fw_cfg_file(struct fw_cfg *f, const char *name, const void *data, size_t len);

#endif
