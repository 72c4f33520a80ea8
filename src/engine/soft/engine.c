/* The software engine behind the engine contract: life of a VM and its vCPUs, state, counters. */
#include "engine/soft/engine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/soft/code.h"
#include "engine/soft/flags.h"
#include "engine/soft/flat.h"
#include "engine/soft/lockstep.h"
#include "engine/soft/native.h"
#include "engine/soft/vec.h"

/* IBPB, IBRS, STIBP and what goes with them, SSBD: of 0x80000008 ebx */
#define SPECULATION_CONTROL 0x0107d000u

static void probe(struct engine_report *out)
{
	*out = (struct engine_report){.usable = true, .openable = true};
	snprintf(out->reason, sizeof(out->reason), "processor in software, works everywhere");
}

static void abilities(struct cpuid_wish *w)
{
	*w = (struct cpuid_wish){.phys_bits = 46};
	/* PSE, PAE, CX8, PGE, CMOV, PSE36, CLFLUSH */
	w->f1_edx = 1u << 3 | 1u << 6 | 1u << 8 | 1u << 13 | 1u << 15 | 1u << 17 | 1u << 19;
	/* CX16, MOVBE, POPCNT, RDRAND */
	w->f1_ecx = 1u << 13 | 1u << 22 | 1u << 23 | 1u << 30;
	/* BMI1, SMEP, BMI2, ERMS, RDSEED, ADX, CLFLUSHOPT, CLWB */
	w->f7_ebx =
		1u << 3 | 1u << 7 | 1u << 8 | 1u << 9 | 1u << 18 | 1u << 19 | 1u << 23 | 1u << 24;
	/* LAHF, LZCNT, PREFETCHW */
	w->fe1_ecx = 1u << 0 | 1u << 5 | 1u << 8;
	/* NX, 1 GiB pages, long mode */
	w->fe1_edx = 1u << 20 | 1u << 26 | 1u << 29;
	/* Nothing is speculated here, and the TSC is the host's. */
	w->fe7_edx = w->fe8_ebx = w->fe21_eax = w->fe21_ecx = UINT32_MAX;
	w->fe8_ebx &= ~SPECULATION_CONTROL;
	vector_abilities(w);
	system_abilities(w);
}

/* Devices wrote to memory: blocks decoded from it are stale. */
static void written(void *engine, gpa_t gpa, uint64_t len)
{
	struct soft_vm *vm = engine;

	while (len > 0) {
		unsigned offset = gpa & ~PAGE_MASK;
		uint64_t n = MIN(len, PAGE_SIZE - offset), page = mem_page(&vm->machine->mem, gpa);

		if (page < vm->pages)
			code_written(vm, (uint32_t)page, offset, (unsigned)n);
		gpa += n;
		len -= n;
	}
}

static int vm_open(struct machine *m, struct err *e)
{
	struct soft_vm *vm = calloc(1, sizeof(*vm));

	if (vm == NULL)
		return err_set(e, ENOMEM, "no memory for the software engine");
	vm->machine = m;
	vm->pages = m->mem.pages;
	vm->page = calloc(vm->pages + 1, sizeof(*vm->page));
	if (vm->page == NULL) {
		free(vm);
		return err_set(e, ENOMEM, "no memory for the page table of the software engine");
	}
	pthread_mutex_init(&vm->split, NULL);
	pthread_mutex_init(&vm->changes_lock, NULL);
	times_open(&vm->times);
	if (flat_views_open(vm, e) < 0) {
		int rc = e ? -e->code : -ENOMEM;

		flat_views_close(vm);
		free(vm->page);
		free(vm);
		return rc;
	}
	m->engine_data = vm;
	m->mem.engine = vm;
	m->mem.written = written;
	return 0;
}

static void vm_close(struct machine *m)
{
	struct soft_vm *vm = m->engine_data;

	if (vm == NULL)
		return;
	m->mem.written = NULL;
	m->mem.engine = NULL;
	m->engine_data = NULL;
	pthread_mutex_destroy(&vm->split);
	pthread_mutex_destroy(&vm->changes_lock);
	times_close(&vm->times);
	flat_views_close(vm);
	free(vm->page);
	free(vm);
}

static void flush_all(struct machine *m)
{
	for (unsigned i = 0; i < m->cpus; i++)
		if (m->vcpu[i].engine_data != NULL)
			soft_tlb_flush(m->vcpu[i].engine_data, false);
}

static int mem_update(struct machine *m, struct err *e)
{
	struct soft_vm *vm = m->engine_data;

	if (m->mem.pages != vm->pages) {
		struct code_page *p = calloc(m->mem.pages + 1, sizeof(*p));

		if (p == NULL)
			return err_set(e, ENOMEM, "no memory for the software engine's pages");
		for (unsigned i = 0; i < m->cpus; i++) {
			struct soft_cpu *c = m->vcpu[i].engine_data;

			if (c != NULL)
				block_cache_drop(c);
		}
		free(vm->page);
		vm->page = p;
		vm->pages = m->mem.pages;
	}
	flush_all(m);
	return flat_views_open(vm, e);
}

/* Write tags go; while mem.dirty is there no new ones are given. */
static int dirty_start(struct machine *m, struct err *e)
{
	int rc = mem_dirty_start(&m->mem, e);

	if (rc >= 0)
		flush_all(m);
	return rc;
}

static int dirty_sync(struct machine *m, struct err *e)
{
	return 0;
}

static void dirty_stop(struct machine *m)
{
	mem_dirty_stop(&m->mem);
}

static uint64_t tsc(struct vcpu *v)
{
	return times_tsc(v->engine_data);
}

static int vcpu_open(struct vcpu *v, struct err *e)
{
	struct soft_cpu *c = flat_cpu_new();
	uint32_t phys = 46;
	int rc;
	const struct cpuid_leaf *leaf = cpuid_model_find(&v->machine->cpuid, 0x80000008, 0);

	if (c == NULL)
		return err_set(e, ENOMEM, "no memory for vCPU %u", v->id);
	c->run = calloc(1, sizeof(*c->run));
	if (c->run == NULL || block_cache_open(c) < 0) {
		free(c->run);
		flat_cpu_free(c);
		return err_set(e, ENOMEM, "no memory for the block cache of vCPU %u", v->id);
	}
	rc = vec_open(c);
	if (rc < 0) {
		block_cache_close(c);
		free(c->run);
		flat_cpu_free(c);
		return err_set(e, -rc, "cannot make the code arena of vCPU %u: %s", v->id,
		               strerror(-rc));
	}
	if (leaf != NULL && (leaf->eax & 0xff) >= 32 && (leaf->eax & 0xff) <= 52)
		phys = leaf->eax & 0xff;
	c->run->phys_mask = ((1ull << 52) - 1) & ~((1ull << phys) - 1);
	c->run->generation = 1;
	c->vcpu = v;
	c->machine = v->machine;
	c->vm = v->machine->engine_data;
	c->requests = &v->requests;
	c->op = &c->run->fetch;
	c->tlb = &c->tlbs[0];
	native_open(c);
	c->tlbs[0].n = c->tlbs[1].n = TLB_FILLS + 1; /* all zeros is no empty TLB */
	for (unsigned i = 0; i < TLB_SIZE; i++)
		c->tlb_aligned.e[i] =
			(struct tlb_entry){.read = TLB_MISS, .write = TLB_MISS, .exec = TLB_MISS};
	soft_tlb_flush(c, false);
	fpu_reset(c);
	v->engine_data = c;
	if (v->intc != NULL)
		v->intc->tsc = tsc;
	return 0;
}

static void vcpu_close(struct vcpu *v)
{
	struct soft_cpu *c = v->engine_data;

	if (c == NULL)
		return;
	v->engine_data = NULL;
	vec_close(c);
	native_close(c);
	block_cache_close(c);
	lockstep_free(c->run->lockstep);
	free(c->run);
	flat_cpu_free(c);
}

static void vcpu_kick(struct vcpu *v)
{
	struct soft_cpu *c = v->engine_data;

	atomic_store(&c->run->kicked, true);
	atomic_fetch_or(&v->requests, VCPU_REQ_ENGINE);
	native_poke(c);
}

static void put_native(struct machine *m, struct json *j)
{
	struct native sum = {0};

	for (unsigned i = 0; i < m->cpus; i++) {
		const struct soft_cpu *c = m->vcpu[i].engine_data;
		const struct native *n = c != NULL ? c->native.code : NULL;

		if (n == NULL)
			continue;
		sum.blocks += n->blocks;
		sum.bytes += n->bytes;
		sum.refused += n->refused;
		sum.faults += n->faults;
		sum.slow += n->slow;
		sum.dropped += n->dropped;
		sum.fills += n->fills;
		sum.validated += n->validated;
		sum.invalid += n->invalid;
	}
	json_put(j, "translated_blocks", json_u64(sum.blocks));
	json_put(j, "translated_bytes", json_u64(sum.bytes));
	json_put(j, "not_worth_translating", json_u64(sum.refused));
	json_put(j, "translations_dropped", json_u64(sum.dropped));
	json_put(j, "host_faults", json_u64(sum.faults));
	json_put(j, "host_faults_slow", json_u64(sum.slow));
	json_put(j, "flat_fills", json_u64(sum.fills));
	json_put(j, "blocks_validated", json_u64(sum.validated));
	json_put(j, "blocks_not_valid", json_u64(sum.invalid));
}

static struct json *stats(struct machine *m)
{
	struct json *j = json_object();
	struct soft_run sum = {0};
	uint64_t instructions = 0;

	for (unsigned i = 0; i < m->cpus; i++) {
		const struct soft_cpu *c = m->vcpu[i].engine_data;

		if (c == NULL)
			continue;
		instructions += c->instructions;
		sum.decoded += c->run->decoded;
		sum.invalidated += c->run->invalidated;
		sum.tlb_fills += c->run->tlb_fills;
		sum.slow += c->run->slow;
		sum.mmio += c->run->mmio;
		sum.exceptions += c->run->exceptions;
		sum.interrupts += c->run->interrupts;
		if (c->run->user_ns && (sum.user_ns == 0 || c->run->user_ns < sum.user_ns))
			sum.user_ns = c->run->user_ns;
	}
	json_put(j, "instructions", json_u64(instructions));
	json_put(j, "blocks_decoded", json_u64(sum.decoded));
	json_put(j, "invalidations", json_u64(sum.invalidated));
	json_put(j, "tlb_fills", json_u64(sum.tlb_fills));
	json_put(j, "slow_accesses", json_u64(sum.slow));
	json_put(j, "mmio", json_u64(sum.mmio));
	json_put(j, "exceptions", json_u64(sum.exceptions));
	json_put(j, "interrupts", json_u64(sum.interrupts));
	put_native(m, j);
	json_put(j, "user_space_ns", json_u64(sum.user_ns));
	return j;
}

const struct engine engine_soft = {
	.name = "soft",
	.probe = probe,
	.abilities = abilities,
	.vm_open = vm_open,
	.vm_close = vm_close,
	.mem_update = mem_update,
	.dirty_start = dirty_start,
	.dirty_sync = dirty_sync,
	.dirty_stop = dirty_stop,
	.vcpu_open = vcpu_open,
	.vcpu_close = vcpu_close,
	.vcpu_run = run_vcpu,
	.vcpu_kick = vcpu_kick,
	.vcpu_get = soft_state_get,
	.vcpu_set = soft_state_set,
	.stats = stats,
};
