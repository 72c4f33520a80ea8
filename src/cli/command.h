/* The commands of casulo(1): one file each, listed in command.c. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include "base/err.h"

/* Exit codes (casulo(1)). */
enum exit_code {
	EXIT_OK = 0,      /* done; boot: the guest powered off */
	EXIT_ERROR = 1,   /* the host or a file is not as needed */
	EXIT_USAGE = 2,   /* the command line is wrong */
	EXIT_RESET = 3,   /* boot: the guest asked for a reset */
	EXIT_CRASH = 4,   /* boot: the guest crashed, registers were printed */
	EXIT_STOPPED = 5, /* boot: stopped by the user, a signal or --timeout */
};

struct command {
	const char *name, *help;
	int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns an exit_code */
};

extern const struct command commands[]; /* ends with a name of NULL */

int command_boot(int argc, char **argv);
int command_doctor(int argc, char **argv);
int command_help(int argc, char **argv);
int command_version(int argc, char **argv);

/* The whole program. */
int cli_main(int argc, char **argv);

#endif
