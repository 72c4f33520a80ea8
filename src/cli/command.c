#include "cli/command.h"

#include <signal.h>
#include <string.h>

#include "base/log.h"
#include "cli/option.h"

const struct command commands[] = {
	{"boot", "start a virtual machine and stay with it", command_boot},
	{"doctor", "tell what works on this computer, and what to do where it doesn't",
         command_doctor},
	{"help", "this text, or 'help boot' for the options of boot", command_help},
	{"version", "print the version", command_version},
	{},
};

static const struct command *find(const char *name)
{
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		name = "help";
	if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
		name = "version";
	for (const struct command *c = commands; c->name; c++) {
		if (strcmp(c->name, name) == 0)
			return c;
	}
	return NULL;
}

static int unknown(const char *name)
{
	const char *names[ARRAY_LEN(commands)], *near;

	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		names[i] = commands[i].name;
	near = spelling_nearest(name, names, ARRAY_LEN(commands) - 1);
	if (near)
		log_error("unknown command '%s': did you mean '%s'?", name, near);
	else
		log_error("unknown command '%s': see 'casulo help'", name);
	return EXIT_USAGE;
}

int cli_main(int argc, char **argv)
{
	const struct command *c;

	/* A reader that went away is an error of write(), not our death. */
	signal(SIGPIPE, SIG_IGN);
	if (argc < 2) {
		command_help(0, NULL);
		return EXIT_USAGE;
	}
	c = find(argv[1]);
	return c ? c->run(argc - 1, argv + 1) : unknown(argv[1]);
}
