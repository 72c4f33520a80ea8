/* What firmware finds in CMOS memory: sizes of memory, equipment, number of processors. */
#ifndef DEV_CHIP_RTC_CMOS_H
#define DEV_CHIP_RTC_CMOS_H

#include "dev/chip/rtc.h"

#define RTC_CMOS_SIZE 128

/* Fills all bytes but the clock's. */
void rtc_cmos_fill(uint8_t cmos[RTC_CMOS_SIZE], const struct rtc_config *cfg);

#endif
