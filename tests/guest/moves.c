/*
 * A guest that moves from machine to machine while it works: every so often it is paused, its
 * state and memory go into a new machine, and the old one is thrown away.  So all state that
 * counts must be in the visitor, and loading must give a machine that goes on.  Translated and
 * interpreted processors take turns.
 *
 * usage: moves CONSOLE MILLISECONDS MOST OPTION...        options as of `casulo boot` The console
 * of incarnation N goes to file CONSOLE.N.  After MOST moves the guest stays where it is. Exit
 * code 0: it powered off, after at least three moves.
 */
#include <stdio.h>
#include <string.h>

#include "cli/boot.h"
#include "engine/soft/engine.h"
#include "image/kernel.h"
#include "vm/engines.h"
#include "vm/vm.h"

struct run {
	struct boot_args args;
	struct kernel kernel;
	struct vm_plan plan;
	struct loop *loop;
	struct loop_timer timer;
	struct vm *vm;
	const char *console;
	char path[200], spec[208];
	unsigned moves, most;
};

_Noreturn static void die(const struct err *e)
{
	fprintf(stderr, "moves: %s\n", e->text);
	exit(1);
}

static void on_timer(struct loop_timer *t)
{
	loop_stop(container_of(t, struct run, timer)->loop);
}

static void open_vm(struct run *r)
{
	struct vm_input in = {
		.spec = &r->args.spec,
		.plan = &r->plan,
		.kernel = &r->kernel,
		.engine = &engine_soft,
		.loop = r->loop,
	};
	struct err e = {};

	engine_soft_translate_after(r->moves % 2 ? 0 : ENGINE_SOFT_TRANSLATE);
	snprintf(r->path, sizeof(r->path), "%s.%u", r->console, r->moves);
	snprintf(r->spec, sizeof(r->spec), "file=%s", r->path);
	r->args.spec.console = r->spec;
	if (vm_new(&in, &r->vm, &e) < 0)
		die(&e);
}

static void copy_memory(struct mem *to, const struct mem *from)
{
	for (unsigned i = 0; i < from->n; i++)
		memcpy(to->range[i].host, from->range[i].host, from->range[i].size);
}

/* Saved state comes out of the new machine as it went in. */
static void move(struct run *r)
{
	struct vm *old = r->vm;
	struct state *save = state_new_save(), *load, *compare;
	struct err e = {};
	const void *data;
	size_t len;

	machine_pause(vm_machine(old));
	machine_state(vm_machine(old), save);
	if (state_finish(save, &e) < 0)
		die(&e);
	data = state_data(save, &len);
	r->moves++;
	open_vm(r);
	copy_memory(&vm_machine(r->vm)->mem, &vm_machine(old)->mem);
	load = state_new_load(data, len);
	machine_state(vm_machine(r->vm), load);
	if (state_finish(load, &e) < 0)
		die(&e);
	compare = state_new_compare(data, len);
	machine_state(vm_machine(r->vm), compare);
	/* Time goes on meanwhile: the TSC's the only difference there may be. */
	if (state_finish(compare, &e) < 0 && strstr(e.text, "tsc") == NULL)
		die(&e);
	state_free(save);
	state_free(load);
	state_free(compare);
	vm_free(old);
}

static enum machine_end run(struct run *r, unsigned ms)
{
	struct machine *m;
	struct err e = {};

	for (;;) {
		m = vm_machine(r->vm);
		if (vm_start(r->vm, &e) < 0)
			die(&e);
		if (r->moves < r->most)
			timer_arm(r->loop, &r->timer, loop_now() + ms * 1000000ull);
		loop_run(r->loop);
		timer_cancel(r->loop, &r->timer);
		if (m->ended != MACHINE_RUNS)
			return m->ended;
		move(r);
	}
}

int main(int argc, char **argv)
{
	struct run r = {.timer.fn = on_timer};
	struct err e = {};
	enum machine_end end;

	if (argc < 5)
		return 2;
	r.console = argv[1];
	r.most = (unsigned)atoi(argv[3]);
	vm_spec_init(&r.args.spec);
	if (options_parse(boot_options, &r.args, argc - 3, argv + 3, &e) < 0 ||
	    kernel_open(r.args.spec.kernel, &r.kernel, &e) < 0 || loop_new("main", &r.loop, &e) < 0)
		die(&e);
	vm_plan_make(&r.args.spec, &r.kernel, 0, "soft", "a test", &r.plan);
	open_vm(&r);
	end = run(&r, (unsigned)atoi(argv[2]));
	if (end != MACHINE_POWEROFF)
		fprintf(stderr, "moves: end %d: %s\n", end, vm_machine(r.vm)->end_text);
	fprintf(stderr, "moves: %u\n", r.moves);
	vm_free(r.vm);
	loop_free(r.loop);
	kernel_free(&r.kernel);
	vm_spec_fini(&r.args.spec);
	return end == MACHINE_POWEROFF && r.moves >= 3 ? 0 : 1;
}
