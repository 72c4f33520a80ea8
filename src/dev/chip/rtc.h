/*
 * Real-time clock and CMOS memory: an MC146818A (Motorola datasheet) with 128 bytes, of which firmware
 * on a PC expects some to tell the size of memory.
 */
#ifndef DEV_CHIP_RTC_H
#define DEV_CHIP_RTC_H

#include "machine/machine.h"

struct rtc_config {
	int64_t now;                /* seconds since 1970 UTC, at the machine's present time */
	uint64_t low_ram, high_ram; /* bytes below and above 4 GiB */
	unsigned cpus;
};

/* Ports 0x70 and 0x71. */
int rtc_new(struct machine *m, unsigned gsi, const struct rtc_config *cfg,
            struct err *e) MUST_CHECK;

#endif
