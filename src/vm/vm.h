/*
 * A virtual machine: a machine with its devices, back ends and kernel, as a plan says.
 *
 * vm_new -> vm_start -> (the loop runs until the machine ends) -> vm_free.
 */
#ifndef VM_VM_H
#define VM_VM_H

#include "image/kernel.h"
#include "machine/machine.h"
#include "vm/plan.h"

struct vm;

struct vm_input {
	const struct vm_spec *spec;
	const struct vm_plan *plan;
	const struct kernel *kernel; /* NULL: bios */
	const struct file *bios;
	const struct engine *engine;
	struct loop *loop; /* main loop, run by the caller */
};

/*
 * Builds everything and loads the kernel; nothing runs yet.  The input is borrowed until vm_free, but for the
 * kernel, whose bytes are in the guest's memory now.
 */
int vm_new(const struct vm_input *in, struct vm **out, struct err *e) MUST_CHECK;
int vm_start(struct vm *v, struct err *e) MUST_CHECK;
void vm_free(struct vm *v); /* accepts NULL; also gives the terminal back */

struct machine *vm_machine(struct vm *v);

#endif
