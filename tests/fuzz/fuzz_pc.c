/*
 * Registers of all chips, PCI configuration, local APICs: accesses of any size in any order, interrupt
 * lines, time.  Nothing may crash, and no interrupt may come that nobody can take.
 */
#include "engine/fake/fake.h"
#include "input.h"
#include "rig.h"
#include "vm/layout.h"

static gpa_t mmio(struct input *in)
{
	switch (input_take(in, 1) & 7) {
	case 0:
		return LAYOUT_IOAPIC + (input_take(in, 1) & 0x1f);
	case 1:
		return LAYOUT_ECAM + (input_take(in, 3) & 0xfffff); /* bus 0 */
	case 2:
		return LAYOUT_ECAM + input_take(in, 4) % PCI_ECAM_SIZE;
	case 3:
		return LAYOUT_PCI_HOLE + input_take(in, 3);
	case 4:
		return LAYOUT_HIGH + input_take(in, 6);
	default:
		return input_take(in, 8);
	}
}

/* Ports of devices more often than others. */
static uint16_t port(struct input *in)
{
	static const uint16_t base[] = {0x00,  0x20,  0x40,  0x60,  0x70,  0xa0,  0xf0,   0x3f8,
	                                0x402, 0x4d0, 0x510, 0x600, 0xcf8, 0xcfc, 0xc000, 0x92};
	uint8_t how = (uint8_t)input_take(in, 1);

	if (how & 0x80)
		return (uint16_t)input_take(in, 2);
	return (uint16_t)(base[how & 15] + (how >> 4));
}

/* One register of a function's configuration space, the guest's usual way. */
static void configure(struct machine *m, struct input *in)
{
	unsigned slot = (unsigned)input_take(in, 1) & 31, offset = (unsigned)input_take(in, 1);
	unsigned size = MIN(input_size(in), 4u);

	fake_out32(m, 0xcf8, 0x80000000u | slot << 11 | (offset & 0xfc));
	if (size == 1)
		fake_out8(m, (uint16_t)(0xcfc + (offset & 3)), (uint8_t)input_take(in, 1));
	else if (size == 2)
		fake_out16(m, (uint16_t)(0xcfc + (offset & 2)), (uint16_t)input_take(in, 2));
	else
		fake_out32(m, 0xcfc, (uint32_t)input_take(in, 4));
}

static void local_apic(struct machine *m, struct input *in)
{
	struct intc *ic = m->vcpu[input_take(in, 1) % RIG_CPUS].intc;
	uint64_t value;
	uint32_t msr;
	int vector;

	switch (input_take(in, 1) % 8) {
	case 0:
		ic->ops->mmio_write(ic, (uint32_t)input_take(in, 2) & 0xffc,
		                    (uint32_t)input_take(in, 4));
		break;
	case 1:
		ic->ops->mmio_read(ic, (uint32_t)input_take(in, 2) & 0xffc);
		break;
	case 2:
		msr = input_take(in, 1) & 1 ? 0x800 + (uint32_t)(input_take(in, 1)) : 0x1b;
		(void)!ic->ops->msr_write(ic, msr, input_take(in, 8));
		break;
	case 3:
		msr = 0x800 + (uint32_t)(input_take(in, 1));
		(void)!ic->ops->msr_read(ic, msr, &value);
		break;
	case 4:
		(void)!ic->ops->msr_write(ic, 0x6e0, input_take(in, 8));
		break;
	case 5:
		ic->ops->tpr_set(ic, (uint8_t)input_take(in, 1) & 15);
		break;
	case 6:
		if (!ic->ops->pending(ic))
			break;
		vector = ic->ops->accept(ic);
		if (vector > 255)
			abort();
		break;
	default:
		ic->ops->eoi(ic);
	}
}

static void access_port(struct machine *m, struct input *in, bool write)
{
	uint16_t p = port(in);
	unsigned size = MIN(input_size(in), 4u);

	if (write)
		machine_pio_write(m, p, size, (uint32_t)input_take(in, size));
	else
		machine_pio_read(m, p, size);
}

static void act(struct rig *r, struct input *in)
{
	struct machine *m = r->m;
	unsigned size;
	gpa_t at;

	switch (input_take(in, 1) % 9) {
	case 0:
	case 1:
		access_port(m, in, true);
		break;
	case 2:
		access_port(m, in, false);
		break;
	case 3:
		size = input_size(in);
		at = mmio(in);
		machine_mmio_write(m, at, size, input_take(in, size));
		break;
	case 4:
		size = input_size(in);
		machine_mmio_read(m, mmio(in), size);
		break;
	case 5:
		configure(m, in);
		break;
	case 6:
		local_apic(m, in);
		break;
	case 7:
		clock_step(&m->clock, input_take(in, 4));
		break;
	default:
		size = (unsigned)input_take(in, 1);
		irq_set(m, size % IRQ_GSIS, size >> 7);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct rig *r = rig_get();

	rig_reset(r);
	while (!input_ended(&in))
		act(r, &in);
	rig_settle(r);
	return 0;
}
