/* The software engine: an x86-64 processor in an ordinary process. */
#ifndef ENGINE_SOFT_ENGINE_H
#define ENGINE_SOFT_ENGINE_H

#include "machine/engine.h"

extern const struct engine engine_soft;

#endif
