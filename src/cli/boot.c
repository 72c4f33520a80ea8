#include "cli/boot.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#include "base/log.h"
#include "cli/command.h"
#include "dev/firmware/bios.h"
#include "engine/soft/engine.h"
#include "vm/engines.h"
#include "vm/vm.h"

/* One run of the command: what is open, and when things happened. */
struct boot {
	struct boot_args args;
	struct kernel kernel;
	struct file bios;
	struct engine_choice choice;
	struct vm_plan plan;
	struct loop *loop;
	struct vm *vm;
	struct watch signals;
	struct loop_timer timeout;
	uint64_t began, entered; /* ns, CLOCK_MONOTONIC */
	/* How it ended */
	enum machine_end end;
	int end_code;
	char end_text[2048];
	struct json *stats;
};

static int fail(const struct err *e, enum exit_code code)
{
	log_error("%s", e->text);
	return code;
}

/* A line for the person at the terminal, not part of any output. */
static void say(const struct boot *b, const char *fmt, ...) PRINTF(2, 3);
static void say(const struct boot *b, const char *fmt, ...)
{
	va_list ap;

	if (b->args.quiet)
		return;
	fputs("casulo: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static int open_images(struct boot *b, struct err *e)
{
	const struct vm_spec *s = &b->args.spec;
	int r;

	if (s->kernel)
		return kernel_open(s->kernel, &b->kernel, e);
	r = file_read(s->bios, "firmware", "--bios", BIOS_SIZE_MAX, &b->bios, e);
	return r < 0 ? r : bios_check(s->bios, &b->bios, e);
}

static void print_plan(const struct boot *b)
{
	AUTO_FREE char *text = NULL;

	if (b->args.json) {
		struct json *j = vm_plan_json(&b->plan);

		text = json_print(j, true);
		json_free(j);
		puts(text);
	} else {
		text = vm_plan_text(&b->plan);
		fputs(text, stdout);
	}
}

static void on_signal(struct watch *w, uint32_t events)
{
	struct boot *b = container_of(w, struct boot, signals);
	struct signalfd_siginfo info;

	if (read(w->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		machine_end(vm_machine(b->vm), MACHINE_STOPPED, 0, "by signal %s",
		            sigabbrev_np(info.ssi_signo));
}

static void on_timeout(struct loop_timer *t)
{
	struct boot *b = container_of(t, struct boot, timeout);

	machine_end(vm_machine(b->vm), MACHINE_STOPPED, 0, "after --timeout %" PRIu64,
	            b->args.timeout);
}

/* Before any thread exists, so that all of them leave these signals to the loop. */
static int take_signals(struct boot *b, struct err *e)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	b->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (b->signals.fd < 0)
		return err_set(e, errno, "cannot receive signals: %s", strerror(errno));
	b->signals.events = EPOLLIN;
	b->signals.fn = on_signal;
	return 0;
}

static int run(struct boot *b, struct err *e)
{
	struct vm_input in = {
		.spec = &b->args.spec,
		.plan = &b->plan,
		.kernel = b->args.spec.kernel ? &b->kernel : NULL,
		.bios = &b->bios,
		.engine = b->choice.engine,
	};
	struct machine *m;
	int r = take_signals(b, e);

	if (r < 0)
		return r;
	r = loop_new("main", &b->loop, e);
	if (r < 0)
		return r;
	in.loop = b->loop;
	r = vm_new(&in, &b->vm, e);
	kernel_free(&b->kernel);
	malloc_trim(0); /* kernel and initrd may have been large */
	if (r < 0)
		return r;
	r = watch_add(b->loop, &b->signals, e);
	if (r < 0)
		return r;
	if (b->args.timeout) {
		b->timeout.fn = on_timeout;
		timer_arm(b->loop, &b->timeout, loop_now() + b->args.timeout * 1000000000ull);
	}
	m = vm_machine(b->vm);
	b->entered = loop_now();
	r = vm_start(b->vm, e);
	if (r < 0)
		return r;
	loop_run(b->loop);
	machine_pause(m);
	b->end = m->ended;
	b->end_code = m->end_code;
	memcpy(b->end_text, m->end_text, sizeof(b->end_text));
	if (m->engine->stats)
		b->stats = m->engine->stats(m);
	return 0;
}

static double seconds(uint64_t ns)
{
	return ns / 1e9;
}

static const char *end_name(enum machine_end end)
{
	switch (end) {
	case MACHINE_POWEROFF:
		return "powered off";
	case MACHINE_RESET:
		return "asked for a reset";
	case MACHINE_CRASH:
		return "crashed";
	case MACHINE_DEBUG_EXIT:
		return "ended by isa-debug-exit";
	case MACHINE_STOPPED:
		return "was stopped";
	case MACHINE_RUNS:
		break;
	}
	return "runs";
}

static void report(const struct boot *b)
{
	char user[48] = "";
	uint64_t ns;

	if (b->end == MACHINE_CRASH)
		fprintf(stderr, "casulo: the guest crashed: %s\n", b->end_text);
	if (b->stats && json_to_u64(json_get(b->stats, "user_space_ns"), &ns) == 0 && ns)
		snprintf(user, sizeof(user), "user space %.2f s, ", seconds(ns));
	say(b, "the guest %s%s%s: kernel entry %.2f s, %swall time %.2f s", end_name(b->end),
	    b->end == MACHINE_STOPPED ? " " : "", b->end == MACHINE_STOPPED ? b->end_text : "",
	    seconds(b->entered - b->began), user, seconds(loop_now() - b->began));
	if (b->args.stats && b->stats) {
		AUTO_FREE char *text = json_print(b->stats, true);

		fprintf(stderr, "%s\n", text);
	}
}

static int exit_code(const struct boot *b)
{
	switch (b->end) {
	case MACHINE_POWEROFF:
		return EXIT_OK;
	case MACHINE_RESET:
		return EXIT_RESET;
	case MACHINE_CRASH:
		return EXIT_CRASH;
	case MACHINE_DEBUG_EXIT:
		return (b->end_code << 1 | 1) & 0xff;
	case MACHINE_STOPPED:
	case MACHINE_RUNS:
		break;
	}
	return EXIT_STOPPED;
}

static int boot(struct boot *b)
{
	struct err e = {};
	int r = engine_choose(b->args.spec.engine, &b->choice, &e);

	if (r < 0)
		return fail(&e, r == -EINVAL ? EXIT_USAGE : EXIT_ERROR);
	if (open_images(b, &e) < 0)
		return fail(&e, EXIT_ERROR);
	vm_plan_make(&b->args.spec, b->args.spec.kernel ? &b->kernel : NULL, b->bios.size,
	             b->choice.engine->name, b->choice.reason, &b->plan);
	if (b->args.dry_run) {
		print_plan(b);
		return EXIT_OK;
	}
	if (b->args.interpret)
		engine_soft_translate_after(0);
	if (b->args.verify && b->args.spec.cpus > 1) {
		err_set(&e, EINVAL, "--verify needs --cpus 1");
		return fail(&e, EXIT_USAGE);
	}
	if (b->args.verify)
		engine_soft_lockstep(true);
	if (b->args.verify_translation)
		engine_soft_validate(ENGINE_SOFT_VALIDATE_REFUSE);
	say(b, "engine %s: %s", b->choice.engine->name, b->choice.reason);
	say(b, "boot %s", b->plan.boot);
	r = run(b, &e);
	vm_free(b->vm); /* gives the terminal back before anything more is printed */
	b->vm = NULL;
	if (r < 0)
		return fail(&e, EXIT_ERROR);
	report(b);
	return exit_code(b);
}

int command_boot(int argc, char **argv)
{
	struct boot b = {.signals.fd = -1, .began = loop_now()};
	struct err e = {};
	int code;

	vm_spec_init(&b.args.spec);
	if (options_parse(boot_options, &b.args, argc, argv, &e) < 0) {
		code = fail(&e, EXIT_USAGE);
	} else if (b.args.help) {
		code = command_help(2, (char **)(const char *[]){"help", "boot"});
	} else if (vm_spec_check(&b.args.spec, &e) < 0) {
		code = fail(&e, EXIT_USAGE);
	} else {
		code = boot(&b);
	}
	watch_del(&b.signals);
	if (b.signals.fd >= 0)
		close(b.signals.fd);
	if (b.loop)
		loop_free(b.loop);
	if (b.stats)
		json_free(b.stats);
	kernel_free(&b.kernel);
	file_free(&b.bios);
	vm_spec_fini(&b.args.spec);
	return code;
}
