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

/*
 * Are translated blocks validated (validate.h)?  For vCPUs opened from then on, in the whole process.  Off
 * unless the build says otherwise.
 */
enum engine_soft_validate {
	ENGINE_SOFT_VALIDATE_OFF,
	ENGINE_SOFT_VALIDATE_REFUSE, /* a block that fails is reported, and stays interpreted */
	ENGINE_SOFT_VALIDATE_ABORT,  /* the process ends: for tests */
};
void engine_soft_validate(enum engine_soft_validate how);

/*
 * Each translated block is compared with the interpreter (lockstep.h).  For vCPUs opened from then on, of
 * machines with one; slow.
 */
void engine_soft_lockstep(bool on);

#endif
