/* What the user wants of a virtual machine: plain data from the command line. */
#ifndef VM_SPEC_H
#define VM_SPEC_H

#include "base/err.h"

#define VM_DISKS_MAX   16
#define VM_MODULES_MAX 32
#define VM_CPUS_MAX    254 /* APIC ids of 8 bits */
#define VM_MEMORY_MIN  (16 * MIB)
#define VM_MEMORY_MAX  (1024 * GIB)

struct vm_disk {
	char *path;
	char *format; /* "raw" */
	bool readonly;
};

struct vm_module {
	char *path;
	char *args; /* NULL: none */
};

struct vm_spec {
	const char *kernel, *initrd, *bios; /* kernel or bios, NULL: not given */
	const char *append;                 /* NULL: the kind of kernel decides */
	struct vm_disk disk[VM_DISKS_MAX];
	unsigned disks;
	struct vm_module module[VM_MODULES_MAX];
	unsigned modules;
	uint64_t cpus;
	uint64_t memory;      /* bytes */
	const char *net;      /* "user", "tap=NAME", "none" */
	const char *engine;   /* "auto" or an engine's name */
	const char *console;  /* of COM1: "stdio", "pty", "file=F", "none" */
	const char *debugcon; /* port 0x402: "stderr", "file=F", NULL: not there */
	bool debug_exit;      /* isa-debug-exit at port 0xf4 */
	/* Back end of a virtio console beside COM1: as console; NULL: there is none. */
	const char *virtio_console;
	bool no_unpack; /* let a bzImage unpack itself */
};

void vm_spec_init(struct vm_spec *s); /* the defaults */
void vm_spec_fini(struct vm_spec *s);

/* "F[,format=raw,readonly]". */
int vm_spec_add_disk(struct vm_spec *s, const char *text, struct err *e) MUST_CHECK;
/* "FILE[ args]". */
int vm_spec_add_module(struct vm_spec *s, const char *text, struct err *e) MUST_CHECK;
/* "isa-debug-exit", "virtio-console[=BACKEND]"; text stays borrowed. */
int vm_spec_add_device(struct vm_spec *s, const char *text, struct err *e) MUST_CHECK;
/* All rules that need no look at the host. */
int vm_spec_check(const struct vm_spec *s, struct err *e) MUST_CHECK;

#endif
