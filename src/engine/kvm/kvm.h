/*
 * Inside the KVM engine: a VM's and a vCPU's descriptors and what we must remember of them.
 *
 * Split interrupt controllers: the local APICs are in the kernel, PIC and IOAPIC are ours (dev/chip).
 *
 *   IOAPIC, MSI --KVM_SIGNAL_MSI--> local APICs         irqfd --route--> local APICs
 *   PIC --event injected at an instruction boundary--> vCPU 0, where LINT0 takes it
 *   local APICs --KVM_EXIT_IOAPIC_EOI, for vectors of level-triggered routes--> IOAPIC
 *
 * Routes: GSI 0 to 23 are the IOAPIC's pins, and only tell the kernel which vectors are
 * level-triggered; the GSIs behind them belong to irqfds.
 */
#ifndef ENGINE_KVM_KVM_H
#define ENGINE_KVM_KVM_H

#include <linux/kvm.h>
#include <sys/ioctl.h>
#include "machine/machine.h"

#define KVM_FD_ROUTES_MAX 512
#define KVM_ROUTES_MAX    (IRQ_GSIS + KVM_FD_ROUTES_MAX)
#define KVM_RING_BYTES    65536u /* a vCPU's dirty ring: 4096 pages */

struct kvm_route {
	uint64_t address;
	uint32_t data;
	int fd; /* the irqfd's eventfd; -1 for pins */
	bool used;
};

struct kvm_slot {
	gpa_t gpa;
	uint64_t size; /* 0: not there */
	uint8_t *host;
	uint64_t page0;
	uint32_t flags;
};

struct kvm_vm {
	struct machine *machine;
	int dev, fd; /* /dev/kvm, the VM */
	size_t run_size;
	struct kvm_slot slot[MEM_RANGES_MAX];

	struct lock lock; /* LOCK_APIC: routes, clock_epoch */
	struct kvm_route route[KVM_ROUTES_MAX];
	unsigned routes; /* index of the last one used, plus one */
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entry[KVM_ROUTES_MAX];
	} table; /* for the kernel */
	/* The machine's clock word that the kernel's clock was set by last (clock.c). */
	uint64_t clock_epoch;

	bool ring;              /* dirty rings, not the log */
	bool logging;           /* slots have KVM_MEM_LOG_DIRTY_PAGES */
	struct lock dirty_lock; /* LOCK_MEM: the rings' consumer ends */
	uint64_t *bitmap; /* for KVM_GET_DIRTY_LOG, of the largest slot; NULL while not logging */

	uint32_t msr[64]; /* those of our list that this kernel has */
	unsigned msrs;
};

struct kvm_cpu {
	struct vcpu *vcpu;
	struct kvm_vm *vm;
	int fd;
	struct kvm_run *run;
	_Atomic int tid;   /* of the thread in vcpu_run; 0: nobody */
	bool unfinished;   /* an access's result is not in the registers before the next KVM_RUN */
	bool extint;       /* the PIC may have something for this vCPU */
	uint64_t epoch;    /* as kvm_vm's: this vCPU was told that time stood still */
	uint64_t deadline; /* IA32_TSC_DEADLINE, for after the local APIC's state */

	struct kvm_dirty_gfn *ring; /* NULL: log */
	uint32_t ring_next;

	/* Exits, by what they were for.  Written by the vCPU's thread, read by anyone. */
	_Atomic uint64_t pio, mmio, eois, windows, interrupts, kicks, rings_full;
};

/* ioctl that is repeated when a signal interrupts it; -errno on failure. */
int kvm_ioctl(int fd, unsigned long request, void *arg);
/* The same for requests with a number for argument. */
int kvm_ioctl_n(int fd, unsigned long request, unsigned long arg);

/* dev.c: opens /dev/kvm and checks that it has what we need.  Errors name the remedy. */
int kvm_dev_open(struct err *e) MUST_CHECK;
/* An extension's value; 0: this kernel does not have it. */
int kvm_extension(int fd, unsigned which);

/* cpuid.c */
void kvm_abilities(struct cpuid_wish *w);
/* Everything that this host's KVM can do; of a descriptor without our structs. */
int kvm_cpuid_set_host(int dev, int cpu);
int kvm_cpuid_set(struct kvm_cpu *c, struct err *e) MUST_CHECK;

/* vm.c */
/* How dirty pages are found in VMs opened from now on: a test's choice. */
extern enum kvm_dirty_kind { KVM_DIRTY_AUTO, KVM_DIRTY_LOG, KVM_DIRTY_RING } kvm_dirty_kind;
int kvm_vm_open(struct machine *m, struct err *e) MUST_CHECK;
void kvm_vm_close(struct machine *m);
int kvm_notify_fd(struct machine *m, bool pio, uint64_t addr, unsigned size, int fd, bool on);

/* memory.c */
int kvm_memory_update(struct machine *m, struct err *e) MUST_CHECK;

/* dirty.c */
int kvm_dirty_start(struct machine *m, struct err *e) MUST_CHECK;
int kvm_dirty_sync(struct machine *m, struct err *e) MUST_CHECK;
void kvm_dirty_stop(struct machine *m);
/* Any thread: moves what the vCPU's ring holds into the dirty log. */
int kvm_ring_harvest(struct kvm_cpu *c);

/* vcpu.c */
int kvm_vcpu_open(struct vcpu *v, struct err *e) MUST_CHECK;
void kvm_vcpu_close(struct vcpu *v);
enum engine_exit kvm_vcpu_run(struct vcpu *v);
void kvm_vcpu_kick(struct vcpu *v);
/*
 * The signal that interrupts KVM_RUN; its handler does nothing.  Whoever started us may have blocked it:
 * it's unblocked for this thread, and for those that it makes.
 */
int kvm_kick_signal(void);

/* state.c, msr.c, apic.c */
int kvm_state_get(struct vcpu *v, struct cpu_state *out, struct err *e) MUST_CHECK;
int kvm_state_set(struct vcpu *v, const struct cpu_state *in, struct err *e) MUST_CHECK;
int kvm_msr_get(struct kvm_cpu *c, struct cpu_state *out, struct err *e) MUST_CHECK;
int kvm_msr_set(struct kvm_cpu *c, const struct cpu_state *in, struct err *e) MUST_CHECK;
int kvm_set_deadline(struct kvm_cpu *c);
void kvm_apic_state(struct vcpu *v, struct state *s);

/* irq.c */
int kvm_msi(struct machine *m, uint64_t address, uint32_t data);
int kvm_msi_fd(struct machine *m, uint64_t address, uint32_t data, int fd, bool on);
void kvm_ioapic_route(struct machine *m, unsigned pin, uint64_t address, uint32_t data, bool on);
/* vCPU 0's thread, outside KVM_RUN: gives the PIC's interrupt to the vCPU, or asks for a window. */
int kvm_take_extint(struct kvm_cpu *c);

/* clock.c: on the vCPU's thread before it runs.  kvmclock shows the machine's time. */
int kvm_clock_follow(struct kvm_cpu *c);

/* probe.c, describe.c */
struct json *kvm_describe(void);
void kvm_probe(struct engine_report *out);

#endif
