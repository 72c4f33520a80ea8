/* The places are those of the PC/AT, and from 0x5b on those that firmware for PC emulators reads. */
#include "dev/chip/rtc_cmos.h"

enum {
	EQUIPMENT = 0x14,
	BASE_KIB = 0x15,     /* 2 bytes */
	EXTENDED_KIB = 0x17, /* 2 bytes, again at 0x30: between 1 MiB and 64 MiB */
	EXTENDED_KIB_2 = 0x30,
	CHECKSUM_FIRST = 0x10,
	CHECKSUM = 0x2e,   /* 2 bytes, the high one first */
	ABOVE_16M = 0x34,  /* 2 bytes, in 64 KiB, below 4 GiB */
	ABOVE_4G = 0x5b,   /* 3 bytes, in 64 KiB */
	OTHER_CPUS = 0x5f, /* processors but the first */
};
#define EQUIPMENT_FPU 0x02
#define UNIT          (64 * KIB)

static void put(uint8_t *at, uint64_t value, unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		at[i] = value >> 8 * i;
}

void rtc_cmos_fill(uint8_t cmos[RTC_CMOS_SIZE], const struct rtc_config *cfg)
{
	uint64_t extended = MIN((cfg->low_ram - MIB) / KIB, 0xffffull);
	uint64_t above_16m = cfg->low_ram > 16 * MIB ? (cfg->low_ram - 16 * MIB) / UNIT : 0;
	unsigned sum = 0;

	cmos[EQUIPMENT] = EQUIPMENT_FPU;
	put(cmos + BASE_KIB, 640, 2);
	put(cmos + EXTENDED_KIB, extended, 2);
	put(cmos + EXTENDED_KIB_2, extended, 2);
	put(cmos + ABOVE_16M, MIN(above_16m, 0xffffull), 2);
	put(cmos + ABOVE_4G, cfg->high_ram / UNIT, 3);
	cmos[OTHER_CPUS] = cfg->cpus - 1;
	for (unsigned i = CHECKSUM_FIRST; i < CHECKSUM; i++)
		sum += cmos[i];
	cmos[CHECKSUM] = sum >> 8;
	cmos[CHECKSUM + 1] = sum;
}
