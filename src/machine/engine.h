/*
 * The engine contract: what executes a machine's code.  Engines are const tables, listed in
 * vm/engines.c.  An engine does I/O through machine_pio(), machine_mmio() (vcpu.h), so that devices
 * cannot tell engines apart.
 *
 * Threads: vm_* and mem_* on the main thread while no vCPU runs; vcpu_run on that vCPU's thread;
 * vcpu_get/vcpu_set on that thread, or anywhere while the vCPU is parked; kick, msi from any thread.
 */
#ifndef MACHINE_ENGINE_H
#define MACHINE_ENGINE_H

#include "base/err.h"
#include "machine/cpu.h"
#include "machine/cpuid.h"
#include "machine/mem.h"

struct json;
struct machine;
struct vcpu;

/* Why vcpu_run came back. */
enum engine_exit {
	ENGINE_EXIT_KICK,     /* a request or a kick: look at vcpu->requests and run again */
	ENGINE_EXIT_HALT,     /* HLT, nothing pending: wait for a request (software engines) */
	ENGINE_EXIT_SHUTDOWN, /* triple fault; vcpu->fail may say more */
	ENGINE_EXIT_DEBUG,    /* stopped by the debugger interface */
	ENGINE_EXIT_FAIL,     /* the engine cannot go on; vcpu->fail says why */
};

/* Whether this host can run unmodified guests on the engine. */
struct engine_report {
	bool usable;      /* `auto` may choose it */
	bool openable;    /* it works for guests made for it (PVM hosts) */
	char reason[200]; /* one line: "hardware virtualization: ring-0 loop 21 us" */
};

struct engine {
	const char *name;
	bool own_apic; /* has local APICs of its own: vcpu->intc stays NULL */

	void (*probe)(struct engine_report *out);
	/* Its abilities on this host, for people: an array of {"name", "value"}.  May be NULL. */
	struct json *(*describe)(void);
	/* What it can execute on this host: the feature words and xcr0 of the wish, pv_features. */
	void (*abilities)(struct cpuid_wish *w);

	/* m->mem and m->cpuid are filled before. */
	int (*vm_open)(struct machine *m, struct err *e);
	void (*vm_close)(struct machine *m);
	/* The memory map changed (vCPUs parked). */
	int (*mem_update)(struct machine *m, struct err *e);
	/* Stores by vCPUs are logged into m->mem.dirty from start on; fetch brings it up to date. */
	int (*dirty_start)(struct machine *m, struct err *e);
	int (*dirty_sync)(struct machine *m, struct err *e);
	void (*dirty_stop)(struct machine *m);

	int (*vcpu_open)(struct vcpu *v, struct err *e);
	void (*vcpu_close)(struct vcpu *v);
	enum engine_exit (*vcpu_run)(struct vcpu *v);
	void (*vcpu_kick)(struct vcpu *v); /* vcpu_run returns, or does not start, soon */
	int (*vcpu_get)(struct vcpu *v, struct cpu_state *out, struct err *e);
	int (*vcpu_set)(struct vcpu *v, const struct cpu_state *in, struct err *e);
	/* The engine's own local APIC through the visitor: lapic_regs_state(), after vcpu_set (NULL
	 * without). */
	void (*apic_state)(struct vcpu *v, struct state *s);

	/* NULL where the local APICs are ours. */
	int (*msi)(struct machine *m, uint64_t address, uint32_t data);
	/* A signal of fd raises the message, without a detour through us.  May be NULL. */
	int (*msi_fd)(struct machine *m, uint64_t address, uint32_t data, int fd, bool on);
	/* IOAPIC pin's message changed (irq_route()): for engines that must know which vectors are
	 * level-triggered, to tell their EOI by irq_eoi().  May be NULL. */
	void (*ioapic_route)(struct machine *m, unsigned pin, uint64_t address, uint32_t data,
	                     bool on);
	/* A store of size bytes (value: any) to addr signals fd without a detour through us.  May be
	 * NULL or refuse: then the device sees the store. */
	int (*notify_fd)(struct machine *m, bool pio, uint64_t addr, unsigned size, int fd,
	                 bool on);
	/* Counters as JSON for inspect and --stats; may be NULL. */
	struct json *(*stats)(struct machine *m);
};

#endif
