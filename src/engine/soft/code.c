/* Pages with decoded code: see code.h for the protocol. */
#include "engine/soft/code.h"

#include <sched.h>

#include "engine/soft/flat.h"
#include "engine/soft/native.h"

static uint64_t chunks(unsigned offset, unsigned len)
{
	unsigned first = offset / 64, last = MIN(offset + len - 1, (unsigned)PAGE_SIZE - 1) / 64;

	return (~0ull >> (63 - (last - first))) << first;
}

static void drop_page(struct soft_cpu *c, uint32_t page)
{
	for (unsigned t = 0; t < 2; t++)
		for (unsigned i = 0; i < TLB_SIZE; i++)
			if (c->tlbs[t].p[i].page == page)
				c->tlbs[t].e[i].write = TLB_MISS;
	flat_drop_page(c, page);
}

void code_drop_writes(struct soft_cpu *c)
{
	for (unsigned t = 0; t < 2; t++)
		for (unsigned i = 0; i < TLB_SIZE; i++)
			c->tlbs[t].e[i].write = TLB_MISS;
	flat_drop_writes(c);
}

void code_serve(struct soft_cpu *c)
{
	uint64_t epoch = atomic_load(&c->vm->epoch);

	native_sweep(c);

	if (atomic_load(&c->run->ack) == epoch)
		return;
	code_drop_writes(c);
	atomic_store(&c->run->ack, epoch);
}

void code_enter(struct soft_cpu *c)
{
	atomic_store(&c->run->inside, true);
	code_serve(c);
}

void code_exit(struct soft_cpu *c)
{
	atomic_store(&c->run->inside, false);
}

/* Takes all write tags of the other vCPUs away and waits until they are gone. */
static void others_drop(struct soft_cpu *c)
{
	struct machine *m = c->machine;
	uint64_t epoch = atomic_fetch_add(&c->vm->epoch, 1) + 1;

	for (unsigned i = 0; i < m->cpus; i++) {
		struct soft_cpu *o = m->vcpu[i].engine_data;

		if (o == NULL || o == c || !atomic_load(&o->run->inside))
			continue;
		atomic_fetch_or(&m->vcpu[i].requests, VCPU_REQ_ENGINE);
		native_poke(o);
		while (atomic_load(&o->run->inside) && atomic_load(&o->run->ack) < epoch) {
			code_serve(c);
			sched_yield();
		}
	}
}

uint32_t code_mark(struct soft_cpu *c, uint32_t page, unsigned offset, unsigned len)
{
	struct code_page *p = &c->vm->page[page];
	uint32_t version = atomic_load(&p->version), ticket;

	ticket = 2 + (uint32_t)(c->vcpu - c->machine->vcpu);
	atomic_fetch_or(&p->map, chunks(offset, len));
	if (atomic_load(&p->tagged)) {
		atomic_store(&p->tagged, ticket);
		drop_page(c, page);
		if (c->machine->cpus > 1)
			others_drop(c);
		atomic_compare_exchange_strong(&p->tagged, &ticket, 0);
	}
	return version;
}

/* All vCPUs look at their translated code soon. */
static void changed(struct soft_vm *vm, uint32_t page)
{
	struct machine *m = vm->machine;

	pthread_mutex_lock(&vm->changes_lock);
	vm->changed[vm->changes % CODE_CHANGES] = page;
	atomic_fetch_add(&vm->changes, 1);
	pthread_mutex_unlock(&vm->changes_lock);
	for (unsigned i = 0; i < m->cpus; i++) {
		atomic_fetch_or(&m->vcpu[i].requests, VCPU_REQ_ENGINE);
		if (m->vcpu[i].engine_data != NULL)
			native_poke(m->vcpu[i].engine_data);
	}
}

bool code_written(struct soft_vm *vm, uint32_t page, unsigned offset, unsigned len)
{
	struct code_page *p = &vm->page[page];

	atomic_thread_fence(memory_order_seq_cst);
	if (likely((atomic_load(&p->map) & chunks(offset, len)) == 0))
		return false;
	atomic_store(&p->map, 0);
	atomic_fetch_add(&p->version, 1);
	changed(vm, page);
	return true;
}
