/* Who decodes an integer instruction, and what can be spared in a whole block. */
#include "engine/soft/int.h"

bool decode_integer(struct soft_cpu *c, const struct decoded *d, struct op *op)
{
	return decode_move(c, d, op) || decode_alu(c, d, op) || decode_flow(c, d, op) ||
	       decode_stack(c, d, op) || decode_shift(c, d, op) || decode_bit(c, d, op) ||
	       decode_string(c, d, op) || decode_atomic(c, d, op) || decode_mul(c, d, op) ||
	       decode_bcd(c, d, op) || decode_bmi(c, d, op);
}

/*
 * Backwards: flags that are overwritten before anything can see them need not be computed.  Whatever
 * may raise or leave the block sees them, since they are part of the frame or the next block's.
 */
void int_optimize(struct block *b)
{
	bool seen = true;

	for (unsigned i = b->n; i-- > 0;) {
		struct op *op = &b->op[i];

		if (op->flags & OP_KILLS) {
			if (!seen && op->ptr != NULL)
				op->fn = (op_fn *)op->ptr;
			seen = false;
		} else if (!(op->flags & OP_PURE)) {
			seen = true;
		}
	}
}
