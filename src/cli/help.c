#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "cli/boot.h"
#include "cli/command.h"
#include "cli/option.h"

static void help_all(void)
{
	printf("casulo runs a guest operating system in the isolation you choose.\n\n"
	       "usage: casulo COMMAND [OPTION]...\n\n");
	for (const struct command *c = commands; c->name; c++)
		printf("  %-10s %s\n", c->name, c->help);
	printf("\nexamples:\n"
	       "  casulo boot --kernel vmlinuz --initrd initrd.img --append 'console=ttyS0'\n"
	       "  casulo boot --kernel vmlinuz --disk disk.img --cpus 2 --memory 1G --dry-run\n"
	       "  casulo doctor\n");
}

static void help_boot(void)
{
	printf("usage: casulo boot --kernel FILE | --bios FILE [OPTION]...\n\n");
	options_help(boot_options);
	printf("\nexamples:\n"
	       "  casulo boot --kernel vmlinuz --initrd initrd.img\n"
	       "  casulo boot --kernel vmlinuz --disk root.img,readonly --append "
	       "'console=ttyS0 root=/dev/vda'\n"
	       "  casulo boot --kernel xen --module 'vmlinuz console=hvc0' --module initrd.img\n"
	       "  casulo boot --bios bios.bin --disk disk.img\n"
	       "\nexit code: 0 the guest powered off, 1 error, 2 wrong usage, 3 the guest asked for "
	       "a reset,\n4 the guest crashed, 5 stopped from outside; with isa-debug-exit, value v "
	       "gives (v << 1 | 1) & 255\n");
}

int command_help(int argc, char **argv)
{
	if (argc < 2) {
		help_all();
		return EXIT_OK;
	}
	if (strcmp(argv[1], "boot") == 0) {
		help_boot();
		return EXIT_OK;
	}
	for (const struct command *c = commands; c->name; c++) {
		if (strcmp(argv[1], c->name) == 0) {
			printf("usage: casulo %s\n\n%s\n", c->name, c->help);
			return EXIT_OK;
		}
	}
	log_error("no help on '%s': see 'casulo help'", argv[1]);
	return EXIT_USAGE;
}

int command_version(int argc, char **argv)
{
	printf("casulo %s\n", CASULO_VERSION);
	return EXIT_OK;
}
