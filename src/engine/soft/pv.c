/*
 * What KVM's guests expect of their host, in software: clock, steal time, end of interrupt without
 * an exit.  Structures and MSRs as Linux Documentation/virt/kvm/x86/msr.rst defines them.
 *
 * The clock.  A vCPU's page says: at TSC a the machine's time was b, the TSC's scale is c.  Where
 * a and b come from, and when they change, is told in times.h.
 *
 * Steal time.  While it should run, a vCPU's thread uses processor time; what is missing to the
 * time that has passed, others got.  Added up when a vCPU leaves the engine, and on interrupts
 * every 10 ms.
 *
 * A kick (hypercall 5) ends another vCPU's HLT, even one without interrupts: spin locks that have
 * spun for long wait like that, so that the holder gets the processor.
 *
 * All pages are the guest's memory: it may point them anywhere, and then only harms itself.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/loop.h"
#include "engine/soft/code.h"
#include "engine/soft/msr.h"
#include "engine/soft/sys.h"

#define PV_ENABLE    1ull
#define STEAL_PERIOD 10000000ull /* ns */

struct pv_clock_page {
	uint32_t version; /* odd while it's being written */
	uint32_t pad0;
	uint64_t tsc, ns;
	uint32_t mul; /* ns = ((tsc << shift) * mul) >> 32 */
	int8_t shift;
	uint8_t flags;
	uint8_t pad[2];
};
#define PV_CLOCK_FLAG_STABLE 1

struct pv_wall_page {
	uint32_t version;
	uint32_t sec, nsec; /* of the machine's time 0 */
};

struct pv_steal_page {
	uint64_t steal; /* ns */
	uint32_t version;
	uint32_t flags;
	uint8_t preempted;
	uint8_t pad[47];
};
_Static_assert(sizeof(struct pv_steal_page) == 64, "as KVM's");

static void *page_at(struct soft_cpu *c, gpa_t gpa, uint64_t len)
{
	return mem_ptr(&c->machine->mem, gpa, len, true);
}

/* A guest reads between two equal, even versions (x86 keeps stores in order). */
static void version_begin(uint32_t *version)
{
	__atomic_store_n(version, (*version | 1), __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void version_end(uint32_t *version)
{
	__atomic_store_n(version, *version + 1, __ATOMIC_RELEASE);
}

static void scale(uint64_t khz, uint32_t *mul, int8_t *shift)
{
	uint64_t hz = khz * 1000;

	*shift = 0;
	/* mul needs its upper half full for precision, and must fit into 32 bits. */
	for (; hz > 2000000000ull; hz >>= 1)
		(*shift)--;
	for (; hz && hz <= 1000000000ull; hz <<= 1)
		(*shift)++;
	*mul = hz ? (uint32_t)(((unsigned __int128)1000000000ull << 32) / hz) : 0;
}

static void clock_publish(struct soft_cpu *c)
{
	gpa_t gpa = c->pv_system_time & ~PV_ENABLE;
	struct times_pair t = times_pair(c);
	struct pv_clock_page *p;

	if (c->pv_times == t.generation && c->pv_tsc_offset == c->tsc_offset)
		return;
	p = page_at(c, gpa, sizeof(*p));
	if (p == NULL)
		return;
	version_begin(&p->version);
	p->tsc = t.tsc + (uint64_t)c->tsc_offset;
	p->ns = t.ns;
	scale(c->machine->tsc_khz, &p->mul, &p->shift);
	p->flags = PV_CLOCK_FLAG_STABLE;
	version_end(&p->version);
	mem_written(&c->machine->mem, gpa, sizeof(*p));
	c->pv_times = t.generation;
	c->pv_tsc_offset = c->tsc_offset;
}

static void wall_publish(struct soft_cpu *c, gpa_t gpa)
{
	struct pv_wall_page *p = page_at(c, gpa, sizeof(*p));
	uint64_t now = clock_now(&c->machine->clock), ns;
	struct timespec t;

	if (p == NULL)
		return;
	clock_gettime(CLOCK_REALTIME, &t);
	ns = (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec - now;
	version_begin(&p->version);
	p->sec = (uint32_t)(ns / 1000000000ull);
	p->nsec = (uint32_t)(ns % 1000000000ull);
	version_end(&p->version);
	mem_written(&c->machine->mem, gpa, sizeof(*p));
}

static uint64_t thread_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void steal_begin(struct soft_cpu *c)
{
	c->pv_ran_since = loop_now();
	c->pv_cpu_since = thread_cpu_ns();
}

static void steal_publish(struct soft_cpu *c)
{
	uint64_t ran = c->pv_ran_since, cpu = c->pv_cpu_since;
	gpa_t gpa = c->pv_steal_time & ~63ull;
	struct pv_steal_page *p = page_at(c, gpa, sizeof(*p));
	int64_t stolen;

	steal_begin(c);
	stolen = (int64_t)((c->pv_ran_since - ran) - (c->pv_cpu_since - cpu));
	if (p == NULL || ran == 0 || stolen <= 0)
		return;
	version_begin(&p->version);
	p->steal += (uint64_t)stolen;
	version_end(&p->version);
	mem_written(&c->machine->mem, gpa, sizeof(*p));
}

void pv_resumed(struct soft_cpu *c)
{
	times_resumed(c);
	if (c->pv_system_time & PV_ENABLE)
		clock_publish(c);
	if (c->pv_steal_time & PV_ENABLE)
		steal_begin(c);
}

void pv_leaves(struct soft_cpu *c)
{
	times_left(c);
	/* An offer is no part of the processor's state. */
	pv_eoi_poll(c);
	if (c->pv_steal_time & PV_ENABLE)
		steal_publish(c);
}

void pv_accepted(struct soft_cpu *c)
{
	struct intc *ic = c->vcpu->intc;
	gpa_t gpa = c->pv_eoi & ~PV_ENABLE;
	uint32_t *flag;

	if ((c->pv_steal_time & PV_ENABLE) && loop_now() - c->pv_ran_since > STEAL_PERIOD)
		steal_publish(c);
	if (!(c->pv_eoi & PV_ENABLE) || !ic->ops->eoi_avoidable(ic))
		return;
	flag = page_at(c, gpa, sizeof(*flag));
	if (flag == NULL)
		return;
	*flag |= 1;
	mem_written(&c->machine->mem, gpa, sizeof(*flag));
	c->pv_eoi_set = true;
}

/*
 * A cleared flag: the guest is through with the interrupt.  Otherwise the offer ends, as something
 * else may be accepted now, and the guest will write its EOI.
 */
void pv_eoi_poll(struct soft_cpu *c)
{
	struct intc *ic = c->vcpu->intc;
	gpa_t gpa = c->pv_eoi & ~PV_ENABLE;
	uint32_t *flag;

	if (!c->pv_eoi_set)
		return;
	c->pv_eoi_set = false;
	flag = page_at(c, gpa, sizeof(*flag));
	if (flag == NULL)
		return;
	if (*flag & 1) {
		*flag &= ~1u;
		mem_written(&c->machine->mem, gpa, sizeof(*flag));
	} else {
		ic->ops->eoi(ic);
	}
}

void pv_kick(struct soft_cpu *c, uint32_t apic_id)
{
	struct machine *m = c->machine;
	struct soft_cpu *to;

	if (apic_id >= m->cpus || m->vcpu[apic_id].engine_data == NULL)
		return;
	to = m->vcpu[apic_id].engine_data;
	atomic_store(&to->pv_kick, true);
	vcpu_request(&m->vcpu[apic_id], VCPU_REQ_INTERRUPT);
}

bool pv_kicked(struct soft_cpu *c)
{
	if (likely(!atomic_load_explicit(&c->pv_kick, memory_order_relaxed)))
		return false;
	atomic_store(&c->pv_kick, false);
	c->halted = false;
	atomic_store(&c->vcpu->mp, CPU_MP_RUNNING);
	return true;
}

static uint64_t *field(struct soft_cpu *c, uint32_t msr)
{
	if (sys_cpuid(c, 0x40000001, 0).eax == 0)
		return NULL;
	switch (msr) {
	case MSR_PV_WALL_CLOCK:
	case MSR_PV_WALL_CLOCK_OLD:
		return &c->pv_wall_clock;
	case MSR_PV_SYSTEM_TIME:
	case MSR_PV_SYSTEM_TIME_OLD:
		return &c->pv_system_time;
	case MSR_PV_ASYNC_PF:
		return &c->pv_async_pf;
	case MSR_PV_STEAL_TIME:
		return &c->pv_steal_time;
	case MSR_PV_EOI:
		return &c->pv_eoi;
	case MSR_PV_POLL_CONTROL:
		return &c->pv_poll_control;
	default:
		return NULL;
	}
}

/* Reserved bits */
static bool is_valid(uint32_t msr, uint64_t v)
{
	switch (msr) {
	case MSR_PV_ASYNC_PF:
		return (v & 0x30) == 0;
	case MSR_PV_STEAL_TIME:
		return (v & 0x3e) == 0;
	case MSR_PV_EOI:
		return (v & 2) == 0;
	case MSR_PV_POLL_CONTROL:
		return v <= 1;
	default:
		return true;
	}
}

int pv_msr_read(struct soft_cpu *c, uint32_t msr, uint64_t *value)
{
	const uint64_t *f = field(c, msr);

	if (f == NULL)
		return -ENOENT;
	*value = *f;
	return 0;
}

int pv_msr_write(struct soft_cpu *c, uint32_t msr, uint64_t value)
{
	uint64_t *f = field(c, msr);

	if (f == NULL)
		return -ENOENT;
	if (!is_valid(msr, value))
		return -EINVAL;
	if (f == &c->pv_eoi)
		pv_eoi_poll(c);
	*f = value;
	if (f == &c->pv_wall_clock)
		wall_publish(c, value);
	if (f == &c->pv_system_time)
		c->pv_times = 0;
	pv_resumed(c);
	return 0;
}
