/*
 * Who decodes a system instruction, what the CPU model may show of them, and the small ones: the
 * interrupt flag, HLT, CPUID, XCR0, hypercalls.
 */
#include "engine/soft/sys.h"

#include "engine/soft/decode.h"

void system_abilities(struct cpuid_wish *w)
{
	/* DE, TSC, MSR, MCE, APIC, SEP, MTRR, MCA, PAT */
	w->f1_edx |= 1u << 2 | 1u << 4 | 1u << 5 | 1u << 7 | 1u << 9 | 1u << 11 | 1u << 12 |
	             1u << 14 | 1u << 16;
	/* PCID, x2APIC, TSC_DEADLINE */
	w->f1_ecx |= 1u << 17 | 1u << 21 | 1u << 24;
	/* FSGSBASE, TSC_ADJUST, INVPCID */
	w->f7_ebx |= 1u << 0 | 1u << 1 | 1u << 10;
	/* UMIP, RDPID */
	w->f7_ecx |= 1u << 2 | 1u << 22;
	/* SYSCALL, RDTSCP */
	w->fe1_edx |= 1u << 11 | 1u << 27;
	w->pv_features |= PV_CLOCKSOURCE | PV_CLOCKSOURCE2 | PV_NOP_IO_DELAY | PV_STEAL_TIME |
	                  PV_EOI | PV_UNHALT | PV_CLOCK_STABLE;
}

/*
 * May the interrupt flag be changed?  Without VME and PVI IOPL decides, in v86 mode only 3 will
 * do.
 */
static void check_iopl(struct soft_cpu *c)
{
	unsigned iopl = (c->eflags & FLAG_IOPL) >> FLAG_IOPL_SHIFT;

	if ((c->cr0 & CR0_PE) && (c->eflags & FLAG_VM ? iopl < 3 : c->cpl > iopl))
		sys_refuse(c);
}

static void op_cli(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	check_iopl(c);
	c->eflags &= ~FLAG_IF;
	return op_next(c, op);
}

/* Apart, so that op_sti() stays small. */
static bool __attribute__((noinline)) something_waits(struct soft_cpu *c)
{
	struct intc *ic = c->vcpu->intc;

	if (ic == NULL || (!c->pv_eoi_set && !ic->ops->pending(ic)))
		return false;
	sys_look(c);
	return true;
}

/*
 * Events are taken behind blocks, so STI leaves its block when one waits: a CLI could follow in
 * it, and in a loop nothing would ever be taken.  What comes later in the block is for the next
 * STI or the block's end.
 */
static void op_sti(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	check_iopl(c);
	if (c->eflags & FLAG_IF)
		return op_next(c, op);
	c->eflags |= FLAG_IF;
	if ((op->flags & OP_LAST) || something_waits(c)) {
		c->shadow = 1;
		return sys_leave(c, op);
	}
	return op_next(c, op);
}

static void op_hlt(struct soft_cpu *c, const struct op *op)
{
	sys_ring0(c, op);
	c->halted = true;
	return sys_leave(c, op);
}

static NOINLINE void do_cpuid(struct soft_cpu *c, const struct op *op)
{
	uint32_t out[4];

	cpuid_lookup(&c->machine->cpuid, c->vcpu->id, c->cr4, c->xcr0, (uint32_t)c->gpr[CPU_RAX],
	             (uint32_t)c->gpr[CPU_RCX], out);
	c->gpr[CPU_RAX] = out[0];
	c->gpr[CPU_RBX] = out[1];
	c->gpr[CPU_RCX] = out[2];
	c->gpr[CPU_RDX] = out[3];
}
OP_OF(cpuid)

static void check_osxsave(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	if (!(c->cr4 & CR4_OSXSAVE))
		soft_fault(c, EXC_UD);
}

static void op_xgetbv(struct soft_cpu *c, const struct op *op)
{
	uint32_t n = (uint32_t)c->gpr[CPU_RCX];

	check_osxsave(c, op);
	/* 1: components in use, where XGETBV1 is shown; all of them always are. */
	if (n > 1 || (n == 1 && !(sys_cpuid(c, 0xd, 1).eax & 1u << 2)))
		sys_refuse(c);
	sys_put_edx_eax(c, c->xcr0);
	return op_next(c, op);
}

/*
 * Components that may be enabled together (SDM 1 13.3): x87 always, AVX with SSE, AVX-512 as a
 * whole.
 */
static bool xcr0_possible(const struct soft_cpu *c, uint64_t v)
{
	struct cpuid_leaf l = sys_cpuid(c, 0xd, 0);
	uint64_t can = l.eax | (uint64_t)l.edx << 32;

	if (!(v & 1) || (v & ~can) || ((v & 4) && !(v & 2)))
		return false;
	return (v & 0xe0) == 0 || ((v & 0xe0) == 0xe0 && (v & 4));
}

static void op_xsetbv(struct soft_cpu *c, const struct op *op)
{
	uint64_t v = sys_edx_eax(c);

	check_osxsave(c, op);
	if (c->cpl != 0 || (uint32_t)c->gpr[CPU_RCX] != 0 || !xcr0_possible(c, v))
		sys_refuse(c);
	c->xcr0 = v;
	return sys_leave(c, op);
}

/* KVM's hypercalls (Linux Documentation/virt/kvm/x86/hypercalls.rst): number in RAX, RBX, RCX... */
#define HC_KICK_CPU 5 /* flags, APIC id */
#define HC_ENOSYS   -1000
#define HC_EPERM    -1

static void op_hypercall(struct soft_cpu *c, const struct op *op)
{
	int64_t result = HC_ENOSYS;

	if (c->cpl != 0) {
		result = HC_EPERM;
	} else if (c->gpr[CPU_RAX] == HC_KICK_CPU) {
		pv_kick(c, (uint32_t)c->gpr[CPU_RCX]);
		result = 0;
	}
	c->gpr[CPU_RAX] = (c->mode & MODE_BITS) == MODE_64 ? (uint64_t)result : (uint32_t)result;
	return op_next(c, op);
}

/* UD0, UD1, UD2: meant to be undefined. */
static void op_ud(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	soft_fault(c, EXC_UD);
}

static bool decode_small(struct decoded *d, struct op *op)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_CLI:
		op->fn = op_cli;
		return true;
	case ZYDIS_MNEMONIC_STI:
		op->fn = op_sti;
		return true;
	case ZYDIS_MNEMONIC_CPUID:
		op->fn = op_cpuid;
		return true;
	case ZYDIS_MNEMONIC_XGETBV:
		op->fn = op_xgetbv;
		return true;
	case ZYDIS_MNEMONIC_VMCALL:
	case ZYDIS_MNEMONIC_VMMCALL:
		op->fn = op_hypercall;
		return true;
	default:
		break;
	}
	d->ends = true;
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_HLT:
		op->fn = op_hlt;
		return true;
	case ZYDIS_MNEMONIC_XSETBV:
		op->fn = op_xsetbv;
		return true;
	case ZYDIS_MNEMONIC_UD0:
	case ZYDIS_MNEMONIC_UD1:
	case ZYDIS_MNEMONIC_UD2:
		op->fn = op_ud;
		return true;
	default:
		d->ends = false;
		return false;
	}
}

bool decode_system(struct soft_cpu *c, const struct decoded *cd, struct op *op)
{
	struct decoded *d = (struct decoded *)cd; /* d->ends is an output */

	if (decode_far(c, d, op) || decode_small(d, op) || decode_sys_msr(d, op) ||
	    decode_sys_tsc(d, op) || decode_sys_base(d, op) || decode_sys_io(d, op))
		return true;
	if (!decode_sys_control(d, op) && !decode_sys_debug(d, op) && !decode_sys_table(d, op) &&
	    !decode_sys_tlb(d, op))
		return false;
	d->ends = true;
	return true;
}
