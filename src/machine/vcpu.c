/*
 * A vCPU's thread: runs the engine, waits while the processor is halted, parks while the machine is
 * paused.
 *
 *	          hold or ended                    release
 *	  run ------------------> parked ----------------------> run
 *	  run --ENGINE_EXIT_HALT--> waits --any request--> run
 *
 * No wakeup is lost:
 *
 * A request and a wait.  The requester sets its bits, then reads `waiting`.  The vCPU sets `waiting`, then
 * reads the bits, holding its lock from before that until it sleeps in the condition.  All four are
 * sequentially consistent, so at least one of them sees the other's store.  When the vCPU sees the bits
 * it doesn't sleep.  When the requester sees `waiting`, it signals under the lock: the vCPU is then
 * either before its check (and will see the bits) or asleep (and is woken).
 *
 * A request and a run.  When `waiting` is 0 the engine is kicked: by contract vcpu_run returns, or does
 * not start, soon.  Engines look at `requests` after they became kickable and before they enter the
 * guest.  A second raise of a bit that's still set needs no kick: whoever set it first kicks, or has.
 *
 * A wish to park and a run.  hold (or the machine's end) is set before EXIT is raised.  The thread
 * clears EXIT before it looks at hold: either it sees hold, or EXIT is raised after the clearing and
 * makes it look again.
 */
#include "machine/vcpu.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include "machine/irq.h"
#include "machine/machine.h"

#define START_UP (VCPU_REQ_INIT | VCPU_REQ_SIPI)

int vcpu_init(struct vcpu *v, struct machine *m, unsigned id, struct err *e)
{
	*v = (struct vcpu){.machine = m, .id = id, .hold = true, .parked = true};
	v->mp = id == 0 ? CPU_MP_RUNNING : CPU_MP_WAIT_SIPI;
	lock_init(&v->lock, LOCK_VCPU);
	cond_init(&v->cond);
	return 0;
}

void vcpu_fini(struct vcpu *v)
{
	pthread_cond_destroy(&v->cond);
	lock_fini(&v->lock);
}

void vcpu_request(struct vcpu *v, uint32_t requests)
{
	uint32_t old = atomic_fetch_or(&v->requests, requests);

	if (atomic_load(&v->waiting)) {
		lock_take(&v->lock);
		pthread_cond_broadcast(&v->cond);
		lock_drop(&v->lock);
	} else if ((old & requests) != requests) {
		v->machine->engine->vcpu_kick(v);
	}
}

int vcpu_state_get(struct vcpu *v, struct cpu_state *out, struct err *e)
{
	const struct engine *engine = v->machine->engine;
	int rc = engine->vcpu_get(v, out, e);

	if (rc == 0 && !engine->own_apic) {
		out->mp = v->mp;
		out->sipi_vector = v->sipi_vector;
	}
	if (rc == 0 && v->intc)
		v->intc->ops->cpu_get(v->intc, out);
	return rc;
}

/* Leaves sipi_vector alone: the next SIPI may have set it already. */
static int set_state(struct vcpu *v, const struct cpu_state *c, struct err *e)
{
	int rc = v->machine->engine->vcpu_set(v, c, e);

	if (rc < 0)
		return rc;
	v->mp = c->mp;
	/* After the engine: a TSC deadline needs the TSC. */
	if (v->intc)
		v->intc->ops->cpu_set(v->intc, c);
	return 0;
}

int vcpu_state_set(struct vcpu *v, const struct cpu_state *in, struct err *e)
{
	int rc = set_state(v, in, e);

	if (rc == 0)
		v->sipi_vector = in->sipi_vector;
	return rc;
}

/* Parks while that is wished.  Returns false when the thread shall end. */
static bool rest(struct vcpu *v)
{
	bool go_on;

	lock_take(&v->lock);
	for (;;) {
		atomic_fetch_and(&v->requests, ~(uint32_t)VCPU_REQ_EXIT);
		if (v->stop || !(v->hold || v->machine->ended))
			break;
		v->parked = true;
		pthread_cond_broadcast(&v->cond);
		lock_wait(&v->lock, &v->cond, UINT64_MAX);
	}
	go_on = !v->stop;
	v->parked = !go_on;
	lock_drop(&v->lock);
	return go_on;
}

/* Sleeps until one of the requests in mask is there; returns for how long. */
static uint64_t wait_request(struct vcpu *v, uint32_t mask)
{
	uint64_t since = loop_now(), slept;

	lock_take(&v->lock);
	atomic_store(&v->waiting, since);
	while (!(atomic_load(&v->requests) & mask))
		lock_wait(&v->lock, &v->cond, UINT64_MAX);
	atomic_store(&v->waiting, 0);
	lock_drop(&v->lock);
	slept = loop_now() - since;
	return slept;
}

static void crash(struct vcpu *v, const char *why)
{
	char registers[1800] = "";
	struct cpu_state c;

	if (vcpu_state_get(v, &c, NULL) == 0)
		cpu_state_format(&c, registers, sizeof(registers));
	machine_end(v->machine, MACHINE_CRASH, 0, "vCPU %u: %s\n%s", v->id, why, registers);
}

/* INIT and SIPI, in this order: a SIPI means something after an INIT only (SDM 3A 8.4.3). */
static void start_up(struct vcpu *v)
{
	uint32_t requests = atomic_fetch_and(&v->requests, ~(uint32_t)START_UP);
	struct cpu_state c;
	struct err e = {0};

	if (requests & VCPU_REQ_INIT) {
		if (vcpu_state_get(v, &c, &e) < 0)
			goto fail;
		cpu_state_init(&c, v->id == 0);
		/* The APIC's part of the state is its own to reset. */
		if (v->intc)
			v->intc->ops->init(v->intc);
		if (set_state(v, &c, &e) < 0)
			goto fail;
	}
	if (requests & VCPU_REQ_SIPI && v->mp == CPU_MP_WAIT_SIPI) {
		uint8_t vector = v->sipi_vector;

		if (vcpu_state_get(v, &c, &e) < 0)
			goto fail;
		cpu_state_sipi(&c, vector);
		if (set_state(v, &c, &e) < 0)
			goto fail;
	}
	return;
fail:
	crash(v, e.text);
}

static void run(struct vcpu *v)
{
	switch (v->machine->engine->vcpu_run(v)) {
	case ENGINE_EXIT_KICK:
		break;
	case ENGINE_EXIT_HALT:
		v->mp = CPU_MP_HALTED;
		v->halted_ns += wait_request(v, UINT32_MAX);
		break;
	case ENGINE_EXIT_SHUTDOWN:
		crash(v, v->fail[0] ? v->fail : "triple fault");
		break;
	case ENGINE_EXIT_DEBUG:
		crash(v, "stopped for a debugger, but there is none");
		break;
	case ENGINE_EXIT_FAIL:
		crash(v, v->fail);
		break;
	}
}

/* Signals for the process are the main thread's; an engine may use the others for its kick. */
static void block_signals(void)
{
	static const int mains[] = {SIGINT,  SIGTERM,  SIGHUP,  SIGQUIT,
	                            SIGCHLD, SIGWINCH, SIGALRM, SIGPIPE};
	sigset_t set;

	sigemptyset(&set);
	for (unsigned i = 0; i < ARRAY_LEN(mains); i++)
		sigaddset(&set, mains[i]);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void *vcpu_body(void *arg)
{
	struct vcpu *v = arg;
	char name[16];

	snprintf(name, sizeof(name), "vcpu%u", v->id);
	pthread_setname_np(pthread_self(), name);
	block_signals();
	while (rest(v)) {
		if (v->requests & START_UP)
			start_up(v);
		if (v->mp == CPU_MP_WAIT_SIPI && !v->machine->engine->own_apic)
			wait_request(v, START_UP | VCPU_REQ_EXIT);
		else
			run(v);
	}
	return NULL;
}

int vcpu_start(struct vcpu *v, struct err *e)
{
	int rc = pthread_create(&v->thread, NULL, vcpu_body, v);

	if (rc != 0)
		return err_set(e, rc, "cannot start the thread of vCPU %u: %s", v->id,
		               strerror(rc));
	v->started = true;
	return 0;
}

/* Sets a wish under the lock, and has the thread look at it. */
static void wish(struct vcpu *v, bool *which, bool value)
{
	lock_take(&v->lock);
	*which = value;
	pthread_cond_broadcast(&v->cond);
	lock_drop(&v->lock);
	if (value)
		vcpu_request(v, VCPU_REQ_EXIT);
}

void vcpu_hold(struct vcpu *v)
{
	wish(v, &v->hold, true);
}

void vcpu_wait_parked(struct vcpu *v)
{
	lock_take(&v->lock);
	while (v->started && !v->parked)
		lock_wait(&v->lock, &v->cond, UINT64_MAX);
	lock_drop(&v->lock);
}

void vcpu_release(struct vcpu *v)
{
	wish(v, &v->hold, false);
}

void vcpu_stop(struct vcpu *v)
{
	if (!v->started)
		return;
	wish(v, &v->stop, true);
	pthread_join(v->thread, NULL);
	v->started = false;
}
