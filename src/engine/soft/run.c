/*
 * The dispatch loop of one vCPU: requests and events between blocks, then block after block.
 *
 * Exceptions thrown from any depth land here (soft_raise) and are delivered with rip at the faulting
 * instruction.  Single step, interrupt shadows and breakpoints run blocks of one instruction, after
 * each of which the loop looks around.
 */
#include "engine/soft/native.h"

#include "base/loop.h"
#include "engine/soft/code.h"
#include "engine/soft/flat.h"
#include "engine/soft/lockstep.h"
#include "engine/soft/mem.h"

#define DR6_BS   (1u << 14)
#define NO_JUMPS UINT64_MAX /* a key that no entry of the jump cache has: the block is left */

void soft_raise(struct soft_cpu *c, const struct soft_exception *x)
{
	c->exc = *x;
	longjmp(*c->catch, 1);
}

/* An exception came out of a block, a fetch, or the delivery of an interrupt. */
static void caught(struct soft_cpu *c)
{
	struct soft_run *r = c->run;
	struct soft_exception x = c->exc;
	const struct op *op = c->op;

	c->native.host_rsp = 0;
	if (op != &r->fetch) {
		c->rip = x.trap ? op_end(c, op) : op_rip(c, op);
		c->instructions += op->nth;
	}
	r->link = NULL;
	r->again = false;
	r->exceptions++;
	if (x.vector == EXC_PF && c->cpl == 3)
		c->native.faulted = x.cr2;
	c->op = &r->fetch;
	soft_exception(c, &x);
}

static void deliver(struct soft_cpu *c, enum soft_event kind, const struct soft_exception *x)
{
	c->halted = false;
	atomic_store(&c->vcpu->mp, CPU_MP_RUNNING);
	c->op = &c->run->fetch;
	c->run->interrupts++;
	soft_deliver(c, kind, x);
}

static void take_interrupt(struct soft_cpu *c)
{
	struct intc *ic = c->vcpu->intc;
	int vector;

	pv_eoi_poll(c);
	if (!ic->ops->pending(ic))
		return;
	vector = ic->ops->accept(ic);
	if (vector < 0)
		return;
	pv_accepted(c);
	deliver(c, SOFT_INTERRUPT, &(struct soft_exception){.vector = (uint8_t)vector});
}

static void take_events(struct soft_cpu *c, uint32_t requests)
{
	struct soft_run *r = c->run;

	if (r->inject) {
		r->inject = false;
		deliver(c, r->inject_kind, &r->inject_exc);
	}
	if (c->shadow)
		return;
	if ((requests & VCPU_REQ_NMI) && !c->nmi_masked) {
		atomic_fetch_and(c->requests, ~(uint32_t)VCPU_REQ_NMI);
		c->nmi_masked = true;
		deliver(c, SOFT_NMI, &(struct soft_exception){.vector = EXC_NMI});
	}
	if ((c->eflags & FLAG_IF) && c->vcpu->intc != NULL)
		take_interrupt(c);
}

/* Requests, events and ends.  True: vcpu_run returns *how. */
static bool look_around(struct soft_cpu *c, enum engine_exit *how)
{
	struct soft_run *r = c->run;
	uint32_t requests;

	native_poked(c);
	requests = atomic_load(c->requests);
	if (c->shutdown) {
		*how = ENGINE_EXIT_SHUTDOWN;
		return true;
	}
	/* Whoever wants something raises a request, after having said what. */
	if (requests != 0) {
		atomic_fetch_and(c->requests, ~(uint32_t)(VCPU_REQ_ENGINE | VCPU_REQ_INTERRUPT));
		code_serve(c);
		if (atomic_exchange(&r->kicked, false) ||
		    (requests & (VCPU_REQ_EXIT | VCPU_REQ_INIT | VCPU_REQ_SIPI))) {
			*how = ENGINE_EXIT_KICK;
			return true;
		}
	}
	take_events(c, requests);
	if (unlikely(c->cpl == 3 && r->user_ns == 0))
		r->user_ns = loop_now() - r->started_ns;
	*how = ENGINE_EXIT_HALT;
	return c->halted && !pv_kicked(c);
}

static void run_block(struct soft_cpu *c, const struct block *b)
{
	c->block_rip = c->rip;
	c->run->again = false;
	return b->entry.fn(c, &b->entry);
}

/* Instruction breakpoints at rip: DR6 bits. */
static uint64_t breakpoints(const struct soft_cpu *c)
{
	uint64_t hit = 0;

	for (unsigned i = 0; i < 4; i++)
		if ((c->dr[7] >> (2 * i) & 3) && (c->dr[7] >> (16 + 4 * i) & 3) == 0 &&
		    c->dr[i] == c->seg_base[CPU_CS] + c->rip)
			hit |= 1u << i;
	return hit;
}

/*
 * Does an instruction that began with TF set end in a single-step trap?  Software interrupts clear TF
 * without one; SYSCALL goes by the flags it leaves (AMD64 APM volume 2, Single Stepping).
 */
static bool single_traps(const struct soft_cpu *c, const struct op *op)
{
	switch (op->opcode) {
	case 0xcc:
	case 0xcd:
	case 0xf1:
		return false;
	case 0xce: /* when OF was set */
	case 0x105:
		return c->eflags & FLAG_TF;
	default:
		return true;
	}
}

/* One instruction, with all that may be reported around it. */
static void run_single(struct soft_cpu *c)
{
	struct soft_run *r = c->run;
	bool tf = c->eflags & FLAG_TF, resume = c->eflags & FLAG_RF;
	uint64_t hit = breakpoints(c);
	const struct block *b;
	uint64_t dr6;

	c->eflags &= ~FLAG_RF;
	if (hit && !resume)
		soft_raise(c, &(struct soft_exception){.vector = EXC_DB, .dr6 = hit});
	b = block_find(c, c->rip, c->mode | MODE_STEP);
	c->shadow = 0;
	r->watch_hit = 0;
	r->key = NO_JUMPS;
	run_block(c, b);
	r->again = false;
	r->link = NULL;
	dr6 = r->watch_hit | (tf && single_traps(c, &b->op[0]) ? DR6_BS : 0);
	if (dr6 == 0 || c->shadow == 2)
		return;
	c->op = &r->fetch;
	soft_raise(c, &(struct soft_exception){.vector = EXC_DB, .trap = true, .dr6 = dr6});
}

/* Blocks until something but rip has changed, or a request waits. */
static void run_blocks(struct soft_cpu *c)
{
	struct soft_run *r = c->run;

	r->key = r->generation << 16 | (c->cpl == 3) << 8 | c->mode;
	if (unlikely(r->lockstep != NULL))
		r->key = NO_JUMPS;
	/* Where the last block left is not where we go on, if an event came between. */
	r->link = NULL;
	c->native.site = NATIVE_SITE_NONE;
	if (c->native.code != NULL) {
		flat_select(c);
		if (unlikely(c->native.faulted != 0) && c->cpl == 3 && c->native.code != NULL) {
			flat_refill(c, c->native.faulted);
			c->native.faulted = 0;
		}
		native_vec_permit(c);
	}
	do {
		struct jump *j = &r->jump[jump_slot(c->rip)];
		struct block *b;

		c->op = &r->fetch;
		b = j->block;
		if (j->rip != c->rip || j->key != r->key || !block_fresh(b))
			b = block_find(c, c->rip, c->mode);
		if (unlikely(r->hot == b)) {
			r->hot = NULL;
			native_translate(c, b);
		}
		if (c->native.site != NATIVE_SITE_NONE)
			native_link(c, b);
		if (!b->cross && likely(r->lockstep == NULL)) {
			*j = (struct jump){.rip = c->rip, .key = r->key, .block = b};
			if (r->link != NULL)
				((struct op *)r->link)->ptr = b;
		}
		r->link = NULL;
		if (likely(r->lockstep == NULL))
			run_block(c, b);
		else
			lockstep_run(c, b);
	} while (r->again && atomic_load_explicit(c->requests, memory_order_relaxed) == 0);
}

static enum engine_exit loop(struct soft_cpu *c)
{
	struct soft_run *r = c->run;
	enum engine_exit how;

	c->catch = &r->catch;
	if (setjmp(r->catch) != 0) {
		c->catch = &r->catch;
		caught(c);
		c->catch = &r->catch;
	}
	while (!look_around(c, &how)) {
		c->op = &r->fetch;
		if (c->shadow || (c->eflags & FLAG_TF) || (c->mode & MODE_STEP) ||
		    unlikely(c->dr[7] & 0xff))
			run_single(c);
		else
			run_blocks(c);
	}
	return how;
}

enum engine_exit run_vcpu(struct vcpu *v)
{
	struct soft_cpu *c = v->engine_data;
	enum engine_exit how;

	if (c->run->started_ns == 0)
		c->run->started_ns = loop_now();
	pv_resumed(c);
	native_thread(c);
	code_enter(c);
	how = loop(c);
	code_exit(c);
	pv_leaves(c);
	return how;
}
