/* casulo boot: its options, for the command and for help. */
#ifndef CLI_BOOT_H
#define CLI_BOOT_H

#include "cli/option.h"
#include "vm/spec.h"

struct boot_args {
	struct vm_spec spec;
	bool dry_run, json, stats, help, quiet, interpret, verify, verify_translation;
	uint64_t timeout; /* s; 0: none */
};

extern const struct option_def boot_options[];

#endif
