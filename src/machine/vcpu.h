/*
 * A virtual CPU: its thread body, requests and waiting.  The only place besides base/loop.c where a
 * thread parks.
 *
 * requests is a bit set that any thread may raise; raising one makes vcpu_run() return or the wait
 * end.  The engine (software) or the thread body serves and clears them:
 *   INTERRUPT  the intc may have something to accept          - served by the software CPU
 *   NMI        take an NMI at the next boundary               - served by the engine
 *   INIT/SIPI  processor start-up (SDM 3A 8.4); sipi_vector   - served by the thread body
 *   EXIT       come back to the thread body (pause, stop)     - served by the thread body
 *   ENGINE     the engine's own business (TLB, code)          - served by the engine
 * What waits ends for: HLT any request; wait-for-SIPI only INIT, SIPI, EXIT (an engine that waits for
 * all vCPUs must not wait for one whose mp is CPU_MP_WAIT_SIPI, or that is parked).
 *
 * HLT.  vcpu_run returns ENGINE_EXIT_HALT with rip behind the HLT; the thread body sets mp to
 * CPU_MP_HALTED, waits for a request and calls vcpu_run again.  An engine that is called with mp
 * CPU_MP_HALTED serves its requests first: when one of them takes the CPU out of HLT (an interrupt that
 * is accepted, an NMI) it sets mp to CPU_MP_RUNNING and goes on; otherwise it returns
 * ENGINE_EXIT_HALT once more.  Engines with APICs of their own keep mp to themselves, unless they return
 * ENGINE_EXIT_HALT.
 */
#ifndef MACHINE_VCPU_H
#define MACHINE_VCPU_H

#include <pthread.h>
#include "base/lock.h"
#include "machine/engine.h"

enum vcpu_request {
	VCPU_REQ_INTERRUPT = 1 << 0,
	VCPU_REQ_NMI = 1 << 1,
	VCPU_REQ_INIT = 1 << 2,
	VCPU_REQ_SIPI = 1 << 3,
	VCPU_REQ_EXIT = 1 << 4,
	VCPU_REQ_ENGINE = 1 << 5,
};

struct intc;

struct vcpu {
	struct machine *machine;
	unsigned id; /* = APIC id */
	void *engine_data;
	struct intc *intc; /* NULL where the engine has local APICs */
	_Atomic uint32_t requests;
	_Atomic uint8_t sipi_vector;
	_Atomic uint8_t mp; /* enum cpu_mp */
	char fail[256];     /* after ENGINE_EXIT_FAIL, perhaps after SHUTDOWN */

	/* The thread body's */
	pthread_t thread;
	struct lock lock; /* LOCK_VCPU: started to stop, and the wait */
	bool started;
	bool parked; /* the thread rests: state may be read and set from elsewhere */
	bool hold;   /* wish: be parked */
	bool stop;   /* wish: end the thread */
	pthread_cond_t cond;
	_Atomic uint64_t halted_ns; /* time spent waiting (steal time, stats) */
	_Atomic uint64_t waiting;   /* != 0: waits, since this time (ns, CLOCK_MONOTONIC) */
};

int vcpu_init(struct vcpu *v, struct machine *m, unsigned id, struct err *e) MUST_CHECK;
void vcpu_fini(struct vcpu *v);
int vcpu_start(struct vcpu *v, struct err *e) MUST_CHECK; /* starts the thread, parked */
void vcpu_stop(struct vcpu *v);                           /* ends it; from another thread */

/* Parks: vcpu_hold() asks, vcpu_wait_parked() waits for it.  Not on a vCPU's thread, no lock held. */
void vcpu_hold(struct vcpu *v);
void vcpu_wait_parked(struct vcpu *v);
void vcpu_release(struct vcpu *v);

/*
 * The engine-neutral state of a parked vCPU, or on its own thread.  For software engines mp is the
 * vCPU's, and apic_base, cr8 and tsc_deadline are the intc's, not the engine's business.
 */
int vcpu_state_get(struct vcpu *v, struct cpu_state *out, struct err *e) MUST_CHECK;
int vcpu_state_set(struct vcpu *v, const struct cpu_state *in, struct err *e) MUST_CHECK;

/* Raises requests and wakes or kicks the vCPU.  Any thread. */
void vcpu_request(struct vcpu *v, uint32_t requests);

#endif
