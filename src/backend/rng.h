/* Entropy from the host's kernel. */
#ifndef BACKEND_RNG_H
#define BACKEND_RNG_H

#include "base/lang.h"

/* Fills the buffer; returns how much it got (short only when the kernel refuses).  Any thread. */
size_t rng_fill(void *buf, size_t len);

#endif
