/* The software engine: an x86-64 processor in an ordinary process. */
#ifndef ENGINE_SOFT_ENGINE_H
#define ENGINE_SOFT_ENGINE_H

#include "machine/engine.h"

extern const struct engine engine_soft;

/*
 * Blocks are translated after so many executions; 0: never, everything is interpreted.  For vCPUs opened
 * from then on, in the whole process.  1: also where it isn't worth it (tests).
 */
void engine_soft_translate_after(unsigned executions);
#define ENGINE_SOFT_TRANSLATE 16 /* the default */

#endif
