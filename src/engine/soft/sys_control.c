/* Control registers: MOV CRn, CLTS, LMSW, SMSW (SDM 3A 2.5, 9.8, 4.1.2). */
#include "engine/soft/decode.h"
#include "engine/soft/run.h"
#include "engine/soft/sys.h"

#define CR0_VALID                                                                                  \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | \
	 CR0_PG)
#define CR0_PAGING (CR0_PE | CR0_WP | CR0_PG) /* what TLB entries depend on */
#define CR4_PAGING \
	(CR4_PSE | CR4_PAE | CR4_PGE | CR4_LA57 | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKE)

#define CR3_PCID 0xfffull
#define CR3_KEEP (1ull << 63)

static void check_cr0(struct soft_cpu *c, uint64_t v)
{
	bool on = (v & CR0_PG) && !(c->cr0 & CR0_PG), off = !(v & CR0_PG) && (c->cr0 & CR0_PG);

	if (v >> 32 || ((v & CR0_PG) && !(v & CR0_PE)) || ((v & CR0_NW) && !(v & CR0_CD)))
		sys_refuse(c);
	/* Long mode is entered and left from 32-bit code only. */
	if (on && (c->efer & EFER_LME) && (!(c->cr4 & CR4_PAE) || (c->seg[CPU_CS].attr & SEG_L)))
		sys_refuse(c);
	if (off && ((c->mode & MODE_BITS) == MODE_64 || (c->cr4 & CR4_PCIDE)))
		sys_refuse(c);
}

static void set_cr0(struct soft_cpu *c, uint64_t v)
{
	uint64_t changed;

	check_cr0(c, v);
	/* Reserved bits are ignored, ET is always set. */
	v = (v & CR0_VALID) | CR0_ET;
	changed = v ^ c->cr0;
	c->cr0 = v;
	if ((v & CR0_PG) && (c->efer & EFER_LME))
		c->efer |= EFER_LMA;
	else
		c->efer &= ~EFER_LMA;
	if (changed & CR0_PAGING)
		soft_tlb_flush(c, false);
	if (changed & (CR0_PE | CR0_PG))
		soft_mode_update(c);
}

/* With PCIDs, bit 63 keeps what the TLB has of the new one (SDM 3A 4.10.4.1). */
static void set_cr3(struct soft_cpu *c, uint64_t v)
{
	bool pcids = c->cr4 & CR4_PCIDE, keep = pcids && (v & CR3_KEEP);

	if (pcids)
		v &= ~CR3_KEEP;
	if ((c->efer & EFER_LMA) && (v & (c->run->phys_mask | 0xfffull << 52)))
		sys_refuse(c);
	c->cr3 = v;
	if (pcids)
		soft_tlb_switch(c, v & CR3_PCID, keep);
	else
		soft_tlb_flush(c, true);
}

/* Bits of CR4 that belong to what CPUID shows. */
static uint64_t cr4_valid(const struct soft_cpu *c)
{
	struct cpuid_leaf l1 = sys_cpuid(c, 1, 0), l7 = sys_cpuid(c, 7, 0);
	uint64_t v = CR4_PCE;

	v |= l1.edx & 1u << 1 ? CR4_VME | CR4_PVI : 0;
	v |= l1.edx & 1u << 2 ? CR4_DE : 0;
	v |= l1.edx & 1u << 3 ? CR4_PSE : 0;
	v |= l1.edx & 1u << 4 ? CR4_TSD : 0;
	v |= l1.edx & 1u << 6 ? CR4_PAE : 0;
	v |= l1.edx & 1u << 7 ? CR4_MCE : 0;
	v |= l1.edx & 1u << 13 ? CR4_PGE : 0;
	v |= l1.edx & 1u << 24 ? CR4_OSFXSR : 0;
	v |= l1.edx & 1u << 25 ? CR4_OSXMMEXCPT : 0;
	v |= l1.ecx & 1u << 17 ? CR4_PCIDE : 0;
	v |= l1.ecx & 1u << 26 ? CR4_OSXSAVE : 0;
	v |= l7.ebx & 1u << 0 ? CR4_FSGSBASE : 0;
	v |= l7.ebx & 1u << 7 ? CR4_SMEP : 0;
	v |= l7.ebx & 1u << 20 ? CR4_SMAP : 0;
	v |= l7.ecx & 1u << 2 ? CR4_UMIP : 0;
	return v;
}

static void set_cr4(struct soft_cpu *c, uint64_t v)
{
	uint64_t changed = v ^ c->cr4;

	if ((v & ~cr4_valid(c)) || ((c->efer & EFER_LMA) && !(v & CR4_PAE)))
		sys_refuse(c);
	if ((changed & v & CR4_PCIDE) && (!(c->efer & EFER_LMA) || (c->cr3 & CR3_PCID)))
		sys_refuse(c);
	c->cr4 = v;
	if (changed & CR4_PCIDE)
		soft_tlb_switch(c, 0, false);
	if (changed & CR4_PAGING)
		soft_tlb_flush(c, false);
}

/* Lowering the priority may let an interrupt through. */
static void set_cr8(struct soft_cpu *c, uint64_t v)
{
	struct intc *ic = c->vcpu->intc;

	if (v > 15)
		sys_refuse(c);
	if (ic == NULL)
		return;
	ic->ops->tpr_set(ic, (uint8_t)v);
	sys_look(c);
}

static void op_mov_to_cr(struct soft_cpu *c, const struct op *op)
{
	uint64_t v = op->size == 8 ? c->gpr[op->rm] : (uint32_t)c->gpr[op->rm];

	sys_ring0(c, op);
	switch (op->reg) {
	case 0:
		set_cr0(c, v);
		break;
	case 2:
		c->cr2 = v;
		break;
	case 3:
		set_cr3(c, v);
		break;
	case 4:
		set_cr4(c, v);
		break;
	default:
		set_cr8(c, v);
		break;
	}
	return sys_leave(c, op);
}

static uint64_t get_cr(const struct soft_cpu *c, unsigned n)
{
	struct intc *ic = c->vcpu->intc;

	switch (n) {
	case 0:
		return c->cr0;
	case 2:
		return c->cr2;
	case 3:
		return c->cr3;
	case 4:
		return c->cr4;
	default:
		return ic != NULL ? ic->ops->tpr_get(ic) : 0;
	}
}

static void op_mov_from_cr(struct soft_cpu *c, const struct op *op)
{
	sys_ring0(c, op);
	reg_set(c, op->rm, op->size, false, get_cr(c, op->reg));
	return op_next(c, op);
}

static void op_clts(struct soft_cpu *c, const struct op *op)
{
	sys_ring0(c, op);
	c->cr0 &= ~CR0_TS;
	return op_next(c, op);
}

/* The low four bits of CR0; PE can be set but not cleared. */
static void op_lmsw(struct soft_cpu *c, const struct op *op)
{
	uint64_t v;

	sys_ring0(c, op);
	if (op->flags & OP_MEM)
		v = soft_ld16(c, op_ea(c, op, 2, false));
	else
		v = c->gpr[op->rm];
	set_cr0(c, (c->cr0 & ~0xeull) | (v & 0xf));
	return sys_leave(c, op);
}

static void op_smsw(struct soft_cpu *c, const struct op *op)
{
	c->op = op;
	if ((c->cr4 & CR4_UMIP) && c->cpl != 0)
		sys_refuse(c);
	if (op->flags & OP_MEM)
		soft_st16(c, op_ea(c, op, 2, true), (uint16_t)c->cr0);
	else
		reg_set(c, op->rm, op->size, false, c->cr0);
	return op_next(c, op);
}

static bool is_control(const ZydisDecodedOperand *o)
{
	return o->type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       ZydisRegisterGetClass(o->reg.value) == ZYDIS_REGCLASS_CONTROL;
}

static bool decode_mov(const struct decoded *d, struct op *op)
{
	bool to = is_control(&d->operand[0]);

	if (!to && !is_control(&d->operand[1]))
		return false;
	/* Zydis knows which of them exist, but for those that nothing has. */
	if (op->reg > 8 || (op->reg > 4 && op->reg < 8) || op->reg == 1)
		return false;
	op->size = (d->mode & MODE_BITS) == MODE_64 ? 8 : 4;
	op->fn = to ? op_mov_to_cr : op_mov_from_cr;
	return true;
}

bool decode_sys_control(const struct decoded *d, struct op *op)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
		return decode_mov(d, op);
	case ZYDIS_MNEMONIC_CLTS:
		op->fn = op_clts;
		return true;
	case ZYDIS_MNEMONIC_LMSW:
		op->fn = op_lmsw;
		return true;
	case ZYDIS_MNEMONIC_SMSW:
		op->fn = op_smsw;
		return true;
	default:
		return false;
	}
}
