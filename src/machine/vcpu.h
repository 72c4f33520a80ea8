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
	char fail[256];	    /* after ENGINE_EXIT_FAIL */

	/* The thread body's */
	pthread_t thread;
	bool started, parked;
	struct lock lock;
	pthread_cond_t cond;
	_Atomic uint64_t halted_ns; /* time spent waiting (steal time, stats) */
	_Atomic uint64_t waiting;   /* != 0: waits in HLT */
};

int vcpu_init(struct vcpu *v, struct machine *m, unsigned id, struct err *e) MUST_CHECK;
void vcpu_fini(struct vcpu *v);
int vcpu_start(struct vcpu *v, struct err *e) MUST_CHECK; /* starts the thread */

/* Raises requests and wakes or kicks the vCPU.  Any thread. */
void vcpu_request(struct vcpu *v, uint32_t requests);

#endif
