/* Instructions as text, for reports of defects. */
#ifndef ENGINE_SOFT_LISTING_H
#define ENGINE_SOFT_LISTING_H

#include <stdio.h>
#include "base/lang.h"

/*
 * One line an instruction: address, bytes, text.  bits: 16, 32 or 64; mark: the address of one that gets an
 * arrow.
 */
void listing_print(FILE *f, const uint8_t *code, size_t len, uint64_t address, unsigned bits,
                   uint64_t mark);

#endif
