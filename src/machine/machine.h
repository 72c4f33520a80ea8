/*
 * The virtual computer: memory, buses, interrupt wires, clock, vCPUs, and the list of its devices.
 *
 * Life: machine_new -> mem_add, devices add themselves -> engine opens -> machine_start -> (pause,
 * resume) -> ends by machine_end() -> machine_free.
 */
#ifndef MACHINE_MACHINE_H
#define MACHINE_MACHINE_H

#include "base/lock.h"
#include "base/loop.h"
#include "base/state.h"
#include "machine/bus.h"
#include "machine/clock.h"
#include "machine/cpuid.h"
#include "machine/engine.h"
#include "machine/irq.h"
#include "machine/mem.h"
#include "machine/vcpu.h"

struct device;
struct machine;

/*
 * What every device offers.  All but free are called on the lane's thread with the machine's lock held:
 * no register access and no queue work goes on meanwhile.  free: after both loops stopped working for
 * the machine.  Every one may be NULL.
 */
struct device_type {
	const char *name; /* "uart16550" */
	void (*reset)(struct device *d);
	void (*state)(struct device *d,
	              struct state *s); /* fields once, inside a section d->name */
	void (*free)(struct device *d);
	/* Stop and go on working on queues (lanes); NULL when it has none. */
	void (*quiesce)(struct device *d);
	void (*resume)(struct device *d);
};

struct device {
	const struct device_type *type;
	struct machine *machine;
	char name[24]; /* unique: "com1", "virtio-blk0" */
	struct device *next;
};

/* How a guest ended. */
enum machine_end {
	MACHINE_RUNS,
	MACHINE_POWEROFF,
	MACHINE_RESET,      /* the guest asked for a reset */
	MACHINE_CRASH,      /* triple fault, or the engine cannot go on */
	MACHINE_DEBUG_EXIT, /* isa-debug-exit; end_code is the value written */
	MACHINE_STOPPED,    /* by the user */
};

struct machine {
	struct mem mem;
	struct lock lock; /* LOCK_MACHINE: buses, device registers */
	struct bus pio, mmio;
	struct irq irq;
	struct clock clock;
	struct loop *loop; /* main loop: timers, console, control */
	struct loop *lane; /* I/O lane: queues and their back ends; has a thread of its own */
	struct cpuid_model cpuid;
	uint64_t tsc_khz;

	const struct engine *engine;
	void *engine_data;
	unsigned cpus;
	struct vcpu *vcpu; /* [cpus] */

	struct device *devices; /* in the order they were added */

	/* machine.c's */
	pthread_t lane_thread;
	bool lane_started;
	bool running;    /* not paused; main thread's */
	unsigned opened; /* vCPUs the engine has opened */
	_Atomic bool ending;

	_Atomic int ended; /* enum machine_end; the two below are written before it */
	int end_code;
	char end_text[2048]; /* crash: why, and registers */
};

/*
 * loop: the main loop, run by the caller.  The lane's thread is started.  stepped: the test machine, with
 * a clock that moves by clock_step() and a lane without a thread: tests call loop_step(m->lane, 0).
 */
int machine_new(unsigned cpus, struct loop *loop, bool stepped, struct machine **out,
                struct err *e) MUST_CHECK;
void machine_free(struct machine *m); /* stops vCPUs, frees devices in reverse order */

void machine_add_device(struct machine *m, struct device *d, const struct device_type *type,
                        const char *name);
struct device *machine_find_device(struct machine *m, const char *name);
void machine_reset_devices(struct machine *m);

/*
 * Opens the engine and its vCPUs (threads not running yet): after memory, CPU model and devices are
 * set.  All vCPUs get their reset state; a boot protocol then changes it by vcpu_state_set().
 */
int machine_open_engine(struct machine *m, const struct engine *engine, struct err *e) MUST_CHECK;
/*
 * Starts or goes on; pause parks all vCPUs and quiesces the devices (and returns when that is so).  On
 * the main thread, no lock held.  vCPUs of a machine that ended park by themselves.
 */
int machine_start(struct machine *m, struct err *e) MUST_CHECK;
void machine_pause(struct machine *m);
void machine_resume(struct machine *m);

/* Ends the machine: the first call counts; stops the main loop.  Any thread. */
void machine_end(struct machine *m, enum machine_end how, int code, const char *fmt, ...)
	PRINTF(4, 5);

/* All state of a paused machine but RAM's contents: vCPUs, local APICs, clock, devices by name. */
void machine_state(struct machine *m, struct state *s);

/*
 * The engines' door to the devices.  Size 1, 2, 4 (MMIO also 8).  They take the machine's lock.
 * The local APIC's MMIO page is the software engine's business, not the bus's.
 */
uint32_t machine_pio_read(struct machine *m, uint16_t port, unsigned size);
void machine_pio_write(struct machine *m, uint16_t port, unsigned size, uint32_t value);
uint64_t machine_mmio_read(struct machine *m, gpa_t gpa, unsigned size);
void machine_mmio_write(struct machine *m, gpa_t gpa, unsigned size, uint64_t value);

#endif
