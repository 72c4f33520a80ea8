#include "rig.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "dev/virtio/devices.h"
#include "engine/fake/fake.h"
#include "vm/layout.h"

#define DISK_SIZE   (64 * KIB)
#define SETTLE_MAX  64
#define BAR_COMMON  4 /* virtio's register BAR */
#define MEMORY_MASK (~0xfull)

static void must(int rc, const struct err *e)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "rig: %s\n", e->text);
	abort();
}

static struct blk *make_disk(struct machine *m)
{
	int fd = memfd_create("disk", MFD_CLOEXEC);
	char path[64];
	struct blk_spec spec = {.path = path};
	struct blk *blk = NULL;
	struct err e = {0};

	if (fd < 0 || ftruncate(fd, DISK_SIZE) < 0)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	must(blk_open(m->lane, &spec, &blk, &e), &e);
	return blk;
}

static void make_virtio(struct rig *r)
{
	static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
	struct pci_host *h = r->vm.pci;
	struct err e = {0};

	must(virtio_blk_new(h, RIG_SLOT(RIG_BLK), "virtio-blk9", make_disk(r->m), "serial", &e),
	     &e);
	must(virtio_net_new(h, RIG_SLOT(RIG_NET), "virtio-net9", net_loopback_new(), mac, &e), &e);
	r->console = chr_buffer_new();
	must(virtio_console_new(h, RIG_SLOT(RIG_CONSOLE), "virtio-console9", r->console, 80, 25,
	                        &e),
	     &e);
	must(virtio_rng_new(h, RIG_SLOT(RIG_RNG), "virtio-rng9", &e), &e);
}

static uint32_t config(struct rig *r, unsigned slot, unsigned offset)
{
	fake_out32(r->m, 0xcf8, 0x80000000u | slot << 11 | offset);
	return fake_in32(r->m, 0xcfc);
}

/* Where all virtio registers are: the BAR that the vendor capabilities name. */
static gpa_t find_bar(struct rig *r, unsigned slot)
{
	unsigned at = config(r, slot, PCI_CAPABILITIES) & 0xfc;

	for (unsigned i = 0; at && i < 48; i++) {
		uint32_t cap = config(r, slot, at);

		if ((cap & 0xff) == 9)
			return config(r, slot, PCI_BAR0 + 4 * (config(r, slot, at + 4) & 7)) &
			       MEMORY_MASK;
		at = cap >> 8 & 0xfc;
	}
	abort();
}

static void assign(struct rig *r)
{
	struct err e = {0};

	must(pci_assign(r->vm.pci, LAYOUT_PCI_HOLE, 256 * MIB, &e), &e);
	for (unsigned d = 0; d < RIG_VIRTIO; d++)
		r->bar[d] = find_bar(r, RIG_SLOT(d));
}

static void make(struct rig *r)
{
	static struct vm_spec spec;
	static struct vm_plan plan;
	struct vm_input in = {.spec = &spec, .plan = &plan, .engine = &fake_engine};
	struct err e = {0};

	vm_spec_init(&spec);
	spec.kernel = "none";
	spec.cpus = RIG_CPUS;
	spec.memory = RIG_RAM;
	spec.console = spec.net = "none";
	spec.debug_exit = true;
	spec.debugcon = "file=/dev/null";
	vm_plan_make(&spec, NULL, 0, "fake", "a fuzzer", &plan);
	must(loop_new("fuzz", &r->loop, &e), &e);
	must(machine_new(RIG_CPUS, r->loop, true, &r->m, &e), &e);
	in.loop = r->loop;
	r->vm.machine = r->m;
	must(mem_add(&r->m->mem, "ram-low", MEM_RAM, 0, RIG_RAM, &e), &e);
	must(devices_make(&r->vm, &in, &e), &e);
	make_virtio(r);
	must(machine_open_engine(r->m, &fake_engine, &e), &e);
	assign(r);
}

struct rig *rig_get(void)
{
	static struct rig r;

	if (r.m == NULL)
		make(&r);
	return &r;
}

void rig_settle(struct rig *r)
{
	for (unsigned i = 0; i < SETTLE_MAX && loop_step(r->m->lane, 0); i++)
		;
}

void rig_reset(struct rig *r)
{
	uint8_t sink[256];

	rig_settle(r);
	machine_reset_devices(r->m);
	memset(mem_ptr(&r->m->mem, RIG_RINGS, RIG_ROOM, true), 0, RIG_ROOM);
	while (chr_buffer_output(r->console, sink, sizeof(sink)) > 0)
		;
	for (unsigned i = 0; i < RIG_CPUS; i++) {
		struct intc *ic = r->m->vcpu[i].intc;

		ic->ops->init(ic);
		atomic_store(&r->m->vcpu[i].requests, 0);
	}
	/* A guest may have switched the machine off. */
	atomic_store(&r->m->ended, MACHINE_RUNS);
	atomic_store(&r->m->ending, false);
	assign(r);
}
