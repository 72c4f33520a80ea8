/* The guest's wishes about the TLB and caches: INVLPG, INVPCID, WBINVD. */
#include "engine/soft/decode.h"
#include "engine/soft/sys.h"

static void op_invlpg(struct soft_cpu *c, const struct op *op)
{
	uint64_t va = op_offset(c, op) + c->seg[op->seg == SOFT_SEG_NONE ? CPU_DS : op->seg].base;

	sys_ring0(c, op);
	if ((c->mode & MODE_BITS) == MODE_64)
		va = op_offset(c, op) + c->seg_base[op->seg];
	else
		va = (uint32_t)va;
	soft_tlb_flush_page(c, va);
	return sys_leave(c, op);
}

enum invpcid { INVPCID_ADDRESS, INVPCID_CONTEXT, INVPCID_GLOBAL, INVPCID_ALL };

/* Memory: PCID (12 bits), then the address. */
static void op_invpcid(struct soft_cpu *c, const struct op *op)
{
	uint64_t type = reg_get(c, op->reg, op->size, false), descriptor[2];

	sys_ring0(c, op);
	mmu_load_bytes(c, op_ea(c, op, 16, false), descriptor, 16, false);
	if (type > INVPCID_ALL || descriptor[0] >> 12)
		sys_refuse(c);
	if (type <= INVPCID_CONTEXT && descriptor[0] != 0 && !(c->cr4 & CR4_PCIDE))
		sys_refuse(c);
	if (type == INVPCID_ADDRESS && !seg_canonical(descriptor[1]))
		sys_refuse(c);
	if (type == INVPCID_ADDRESS)
		soft_tlb_flush_page(c, descriptor[1]);
	else if (type == INVPCID_CONTEXT)
		soft_tlb_flush_pcid(c, (uint16_t)descriptor[0]);
	else
		soft_tlb_flush(c, type != INVPCID_GLOBAL);
	return sys_leave(c, op);
}

/* Caches are the host's and coherent. */
static void op_wbinvd(struct soft_cpu *c, const struct op *op)
{
	sys_ring0(c, op);
	return op_next(c, op);
}

bool decode_sys_tlb(const struct decoded *d, struct op *op)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_INVLPG:
		op->fn = op_invlpg;
		return true;
	case ZYDIS_MNEMONIC_INVPCID:
		if ((d->mode & MODE_BITS) == MODE_16)
			return false;
		op->size = (d->mode & MODE_BITS) == MODE_64 ? 8 : 4;
		op->fn = op_invpcid;
		return true;
	case ZYDIS_MNEMONIC_INVD:
	case ZYDIS_MNEMONIC_WBINVD:
		op->fn = op_wbinvd;
		return true;
	default:
		return false;
	}
}
