/*
 * Far control transfers and what goes with them: segment register instructions, calls through gates,
 * returns from interrupts, fast system calls, task switches.
 *
 * Those that change CS, CPL, mode or flags that the dispatch loop looks at end their block and leave by
 * far_leave(); those that only look at descriptors go on with op_next().
 */
#ifndef ENGINE_SOFT_FAR_H
#define ENGINE_SOFT_FAR_H

#include "engine/soft/int.h"
#include "engine/soft/seg.h"

/*
 * JMP, CALL, RET far, IRET, INT n, INT3, INTO, INT1, SYSCALL, SYSRET, SYSENTER, SYSEXIT, PUSHF, POPF;
 * MOV, PUSH, POP of segment registers, LDS.., LAR, LSL, VERR, VERW, ARPL.
 */
bool decode_far(struct soft_cpu *c, const struct decoded *d, struct op *op);

/* By file; all are called by decode_far(). */
bool decode_far_jump(struct soft_cpu *c, const struct decoded *d, struct op *op);
bool decode_far_return(struct soft_cpu *c, const struct decoded *d, struct op *op);
bool decode_far_call(struct soft_cpu *c, const struct decoded *d, struct op *op);
bool decode_far_segment(struct soft_cpu *c, const struct decoded *d, struct op *op);

/* Leaves the block after an instruction that changed more than rip. */
static inline void far_leave(struct soft_cpu *c, const struct op *op, uint64_t rip)
{
	c->instructions += op->nth;
	c->rip = rip;
}

/*
 * A stack that is being written or read while it isn't (or not yet) SS:RSP: of an inner ring, or
 * before RSP may change.  Faults are #SS(error).
 */
struct far_stack {
	struct cpu_seg ss;
	uint64_t sp;
	unsigned size; /* of a push or pop: 2, 4, 8 */
	bool wide;     /* 64-bit: no segment */
	bool user;     /* access as CPL 3 */
	uint16_t error;
};

/* The current one. */
struct far_stack far_stack_current(const struct soft_cpu *c, unsigned size);
void far_push(struct soft_cpu *c, struct far_stack *s, uint64_t v);
uint64_t far_pop(struct soft_cpu *c, struct far_stack *s);
/* Makes it SS:RSP, in the mode that CS has now; soft_mode_update() is the caller's. */
void far_stack_load(struct soft_cpu *c, const struct far_stack *s);

/* Is rip a place in cs?  Else #GP(0). */
void far_check_rip(struct soft_cpu *c, const struct cpu_seg *cs, uint64_t rip);
/* Flags in mask from value; RF only lives on where someone could see it. */
void far_flags_set(struct soft_cpu *c, uint32_t value, uint32_t mask);

enum far_task { TASK_JMP, TASK_CALL, TASK_IRET, TASK_EVENT };

/*
 * Switches to the task of TSS selector sel (SDM 3A 7.3); c->rip is where the old one goes on.  x: the
 * event's error code for the new task's stack, or NULL.  Faults of the new task's segments are raised
 * in the new task.
 */
void far_task_switch(struct soft_cpu *c, uint16_t sel, enum far_task how,
                     const struct soft_exception *x);

#endif
