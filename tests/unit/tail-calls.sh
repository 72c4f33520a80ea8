#!/bin/sh
# tail-calls.sh LIBRARY: an op of the software engine jumps to the next one.  Where the compiler could
# only call it, the stack would grow as long as the guest runs.  The next op's function is 0x30 bytes
# behind the op's own (struct op, soft.h), that of a block's entry at 0x70, of its first op at 0xa0 (run.h).
# From an entry, the first op's is at 0x30.  77 skips.
objdump=${OBJDUMP:-objdump}
command -v "$objdump" >/dev/null || { echo "no objdump"; exit 77; }
"$objdump" -d --no-show-raw-insn "$1" | awk '
	/^[0-9a-f]+ <.*>:$/ { name = $2 }
	name !~ /^<(op_|do_|native_count|native_never)/ { next }
	/call +\*(0x30|0x70|0xa0)?\(/ { print "calls the next op: " name; bad = 1 }
	/jmp +\*/ { jumps++ }
	END {
		if (jumps < 100) { print "only " jumps + 0 " jumps in ops"; exit 1 }
		exit bad
	}'
