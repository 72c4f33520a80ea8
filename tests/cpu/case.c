/* What all executors share: the LDT, and outcomes in a comparable form. */
#include "case.h"

#include <string.h>
#include "machine/cpu.h"

#define CODE (SEG_S | SEG_P | 3 << SEG_DPL_SHIFT | 0xb)
#define DATA (SEG_S | SEG_P | 3 << SEG_DPL_SHIFT | 0x3)

const struct box_segment box_segment[BOX_SEGMENTS] = {
	[BOX_CODE16] = {BOX_CODE, BOX_CODE_PAGES *BOX_PAGE - 1, CODE},
	[BOX_CODE32] = {BOX_CODE, BOX_CODE_PAGES *BOX_PAGE - 1, CODE | SEG_DB},
	[BOX_STACK16] = {BOX_DATA, BOX_DATA_PAGES *BOX_PAGE - 1, DATA},
	[BOX_STACK32] = {BOX_DATA, BOX_DATA_PAGES *BOX_PAGE - 1, DATA | SEG_DB},
	[BOX_LIMITED] = {BOX_DATA + 0x7f8, 0x17ff, DATA | SEG_DB},
	[BOX_READ_ONLY] = {BOX_DATA, BOX_DATA_PAGES *BOX_PAGE - 1, (DATA | SEG_DB) & ~2},
	[BOX_DOWN16] = {BOX_DATA - 0x1000, 0xfff, DATA | 4},
	[BOX_DOWN32] = {BOX_DATA - 0x1000, 0xfff, DATA | 4 | SEG_DB},
};
