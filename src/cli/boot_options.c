#include "cli/boot.h"

#include "base/num.h"

#define TEXT_OPTION(field)                                                  \
	static int set_##field(void *ctx, const char *value, struct err *e) \
	{                                                                   \
		struct boot_args *a = ctx;                                  \
                                                                            \
		a->spec.field = value;                                      \
		return 0;                                                   \
	}

TEXT_OPTION(kernel)
TEXT_OPTION(initrd)
TEXT_OPTION(append)
TEXT_OPTION(bios)
TEXT_OPTION(net)
TEXT_OPTION(engine)
TEXT_OPTION(console)
TEXT_OPTION(debugcon)

#define FLAG_OPTION(name, field)                                           \
	static int set_##name(void *ctx, const char *value, struct err *e) \
	{                                                                  \
		struct boot_args *a = ctx;                                 \
                                                                           \
		a->field = true;                                           \
		return 0;                                                  \
	}

FLAG_OPTION(no_unpack, spec.no_unpack)
FLAG_OPTION(dry_run, dry_run)
FLAG_OPTION(json, json)
FLAG_OPTION(stats, stats)
FLAG_OPTION(help, help)
FLAG_OPTION(verify, verify)
FLAG_OPTION(verify_translation, verify_translation)
FLAG_OPTION(quiet, quiet)

static int set_disk(void *ctx, const char *value, struct err *e)
{
	struct boot_args *a = ctx;

	return vm_spec_add_disk(&a->spec, value, e);
}

static int set_module(void *ctx, const char *value, struct err *e)
{
	struct boot_args *a = ctx;

	return vm_spec_add_module(&a->spec, value, e);
}

static int set_cpus(void *ctx, const char *value, struct err *e)
{
	struct boot_args *a = ctx;

	return num_parse_u64(value, "--cpus", 1, VM_CPUS_MAX, &a->spec.cpus, e);
}

static int set_memory(void *ctx, const char *value, struct err *e)
{
	struct boot_args *a = ctx;

	return num_parse_size(value, "--memory", &a->spec.memory, e);
}

static int set_timeout(void *ctx, const char *value, struct err *e)
{
	struct boot_args *a = ctx;

	return num_parse_u64(value, "--timeout", 1, 1000000, &a->timeout, e);
}

static int set_interpret(void *ctx, const char *value, struct err *e)
{
	struct boot_args *a = ctx;

	a->interpret = true;
	return 0;
}

static int set_device(void *ctx, const char *value, struct err *e)
{
	struct boot_args *a = ctx;

	return vm_spec_add_device(&a->spec, value, e);
}

const struct option_def boot_options[] = {
	{"kernel", "FILE", "bzImage, ELF vmlinux or Multiboot kernel", set_kernel},
	{"initrd", "FILE", "initial RAM disk", set_initrd},
	{"append", "TEXT", "the kernel's command line (default: console=ttyS0)", set_append},
	{"module", "'FILE args'", "Multiboot or PVH module, repeatable", set_module},
	{"bios", "FILE", "firmware instead of a kernel", set_bios},
	{"disk", "F[,format=raw,readonly]", "virtio disk, repeatable", set_disk},
	{"net", "user|tap=NAME|none", "network (default: user)", set_net},
	{"cpus", "N", "processors (default: 1)", set_cpus},
	{"memory", "SIZE", "RAM, as 512M or 2G (default: 512M)", set_memory},
	{"engine", "auto|kvm|soft", "what executes the guest (default: auto)", set_engine},
	{"interpret", NULL, "engine soft: translate nothing (to hunt a defect)", set_interpret},
	{"verify", NULL, "engine soft: compare translator and interpreter, block by block",
         set_verify},
	{"verify-translation", NULL, "engine soft: prove that translated code is harmless",
         set_verify_translation},
	{"console", "stdio|pty|file=F|none", "serial console (default: stdio)", set_console},
	{"debugcon", "stderr|file=F", "debug console at port 0x402", set_debugcon},
	{"device", "virtio-console[=CONSOLE]", "one more console, as --console (default: pty)",
         set_device},
	{"device", "isa-debug-exit", "test device: the guest sets our exit code", set_device},
	{"no-unpack", NULL, "let a bzImage unpack itself", set_no_unpack},
	{"dry-run", NULL, "print the plan, start nothing", set_dry_run},
	{"json", NULL, "with --dry-run: as JSON", set_json},
	{"stats", NULL, "print the engine's counters at the end", set_stats},
	{"timeout", "SECONDS", "stop the guest after so long", set_timeout},
	{"quiet", NULL, "no lines about engine and times", set_quiet},
	{"help", NULL, "this text", set_help},
	{},
};
