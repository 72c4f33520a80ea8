#include "vm/spec.h"

#include <errno.h>
#include <string.h>

#include "base/num.h"

void vm_spec_init(struct vm_spec *s)
{
	*s = (struct vm_spec){
		.cpus = 1,
		.memory = 512 * MIB,
		.net = "user",
		.engine = "auto",
		.console = "stdio",
	};
}

void vm_spec_fini(struct vm_spec *s)
{
	for (unsigned i = 0; i < s->disks; i++) {
		free(s->disk[i].path);
		free(s->disk[i].format);
	}
	for (unsigned i = 0; i < s->modules; i++) {
		free(s->module[i].path);
		free(s->module[i].args);
	}
	s->disks = s->modules = 0;
}

static int disk_property(struct vm_disk *d, const char *p, size_t len, struct err *e)
{
	if (len == 8 && strncmp(p, "readonly", len) == 0) {
		d->readonly = true;
		return 0;
	}
	if (len > 7 && strncmp(p, "format=", 7) == 0) {
		free(d->format);
		d->format = xasprintf("%.*s", (int)len - 7, p + 7);
		if (strcmp(d->format, "raw") == 0)
			return 0;
		return err_set(e, EINVAL, "unknown disk format '%s': use format=raw", d->format);
	}
	return err_set(e, EINVAL, "unknown disk property '%.*s': use format=raw or readonly",
	               (int)len, p);
}

int vm_spec_add_disk(struct vm_spec *s, const char *text, struct err *e)
{
	size_t len = strcspn(text, ",");
	struct vm_disk *d;

	if (s->disks == VM_DISKS_MAX)
		return err_set(e, EINVAL, "more than %u disks: leave some --disk out",
		               VM_DISKS_MAX);
	if (len == 0)
		return err_set(e, EINVAL, "--disk '%s' names no file: use --disk FILE", text);
	d = &s->disk[s->disks++];
	*d = (struct vm_disk){.path = xasprintf("%.*s", (int)len, text), .format = xstrdup("raw")};
	text += len;
	while (*text == ',') {
		int r;

		text++;
		len = strcspn(text, ",");
		r = disk_property(d, text, len, e);
		if (r < 0)
			return r;
		text += len;
	}
	return 0;
}

int vm_spec_add_module(struct vm_spec *s, const char *text, struct err *e)
{
	size_t len = strcspn(text, " ");
	struct vm_module *m;

	if (s->modules == VM_MODULES_MAX)
		return err_set(e, EINVAL, "more than %u modules: leave some --module out",
		               VM_MODULES_MAX);
	if (len == 0)
		return err_set(e, EINVAL, "--module '%s' names no file: use --module 'FILE args'",
		               text);
	m = &s->module[s->modules++];
	m->path = xasprintf("%.*s", (int)len, text);
	m->args = text[len] ? xstrdup(text + len + 1) : NULL;
	return 0;
}

int vm_spec_add_device(struct vm_spec *s, const char *text, struct err *e)
{
	static const char console[] = "virtio-console";
	size_t len = strcspn(text, "=");

	if (strcmp(text, "isa-debug-exit") == 0) {
		s->debug_exit = true;
		return 0;
	}
	if (len == strlen(console) && strncmp(text, console, len) == 0) {
		s->virtio_console = text[len] ? text + len + 1 : "pty";
		return 0;
	}
	return err_set(e, EINVAL,
	               "unknown device '%s': use --device isa-debug-exit or virtio-console", text);
}

static bool starts(const char *s, const char *with)
{
	return strncmp(s, with, strlen(with)) == 0 && s[strlen(with)];
}

static int check_memory(uint64_t memory, struct err *e)
{
	char text[32];

	num_format_size(memory, text, sizeof(text));
	if (memory < VM_MEMORY_MIN)
		return err_set(e, EINVAL,
		               "too little memory: --memory %s: give at least 16M (Linux needs "
		               "about 128M)",
		               text);
	if (memory > VM_MEMORY_MAX)
		return err_set(e, EINVAL, "too much memory: --memory %s: give at most 1T", text);
	if (memory % MIB)
		return err_set(e, EINVAL, "--memory %llu is not a whole number of MiB: round it",
		               (unsigned long long)memory);
	return 0;
}

static bool is_console(const char *s)
{
	return strcmp(s, "stdio") == 0 || strcmp(s, "pty") == 0 || strcmp(s, "none") == 0 ||
	       starts(s, "file=");
}

static int check_consoles(const struct vm_spec *s, struct err *e)
{
	if (!is_console(s->console))
		return err_set(e, EINVAL,
		               "unknown console '%s': use --console stdio, pty, file=F or none",
		               s->console);
	if (!s->virtio_console)
		return 0;
	if (!is_console(s->virtio_console))
		return err_set(e, EINVAL,
		               "unknown console '%s': use --device virtio-console=stdio, pty, "
		               "file=F or none",
		               s->virtio_console);
	if (strcmp(s->console, "stdio") == 0 && strcmp(s->virtio_console, "stdio") == 0)
		return err_set(e, EINVAL,
		               "two consoles want stdio: give the serial one another place, as "
		               "--console none");
	return 0;
}

static int check_back_ends(const struct vm_spec *s, struct err *e)
{
	if (strcmp(s->net, "user") != 0 && strcmp(s->net, "none") != 0 && !starts(s->net, "tap="))
		return err_set(e, EINVAL, "unknown network '%s': use --net user, tap=NAME or none",
		               s->net);
	if (s->debugcon && strcmp(s->debugcon, "stderr") != 0 && !starts(s->debugcon, "file="))
		return err_set(e, EINVAL,
		               "unknown debug console '%s': use --debugcon stderr or file=F",
		               s->debugcon);
	return check_consoles(s, e);
}

int vm_spec_check(const struct vm_spec *s, struct err *e)
{
	int r;

	if (!s->kernel && !s->bios)
		return err_set(e, EINVAL, "nothing to boot: give --kernel FILE or --bios FILE");
	if (s->kernel && s->bios)
		return err_set(e, EINVAL,
		               "both --kernel and --bios are given: leave one of them out");
	if (s->bios && (s->initrd || s->append || s->modules))
		return err_set(e, EINVAL,
		               "--initrd, --append and --module belong to a --kernel: leave them "
		               "out with --bios");
	if (s->initrd && s->modules)
		return err_set(e, EINVAL,
		               "both --initrd and --module are given: leave one of them out");
	if (s->cpus < 1 || s->cpus > VM_CPUS_MAX)
		return err_set(e, EINVAL, "--cpus %llu: give 1 to %u", (unsigned long long)s->cpus,
		               VM_CPUS_MAX);
	r = check_memory(s->memory, e);
	return r < 0 ? r : check_back_ends(s, e);
}
