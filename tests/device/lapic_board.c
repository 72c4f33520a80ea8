#include "lapic_board.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "dev/chip/lapic.h"

void apics_open(struct apics *b, unsigned cpus)
{
	struct err e = {0};

	*b = (struct apics){0};
	assert_int_equal(loop_new("test", &b->loop, &e), 0);
	assert_int_equal(machine_new(cpus, b->loop, true, &b->m, &e), 0);
	assert_int_equal(lapics_new(b->m, NULL, &e), 0);
	assert_int_equal(machine_open_engine(b->m, &fake_engine, &e), 0);
	for (unsigned i = 0; i < cpus; i++)
		apic_put(b, i, APIC_SVR, 0x1ff);
}

void apics_close(struct apics *b)
{
	machine_free(b->m);
	loop_free(b->loop);
}

uint32_t apic_get(struct apics *b, unsigned cpu, uint32_t offset)
{
	struct intc *ic = b->m->vcpu[cpu].intc;

	return ic->ops->mmio_read(ic, offset);
}

void apic_put(struct apics *b, unsigned cpu, uint32_t offset, uint32_t v)
{
	struct intc *ic = b->m->vcpu[cpu].intc;

	ic->ops->mmio_write(ic, offset, v);
}

void x2apic(struct apics *b, unsigned cpu)
{
	uint64_t v;

	assert_int_equal(msr_read(b, cpu, 0x1b, &v), 0);
	assert_int_equal(msr_write(b, cpu, 0x1b, v | APIC_BASE_X2APIC), 0);
}

uint64_t msr_get(struct apics *b, unsigned cpu, uint32_t offset)
{
	uint64_t v;

	assert_int_equal(msr_read(b, cpu, X2APIC_MSR_FIRST + (offset >> 4), &v), 0);
	return v;
}

void msr_put(struct apics *b, unsigned cpu, uint32_t offset, uint64_t v)
{
	assert_int_equal(msr_write(b, cpu, X2APIC_MSR_FIRST + (offset >> 4), v), 0);
}

int msr_read(struct apics *b, unsigned cpu, uint32_t msr, uint64_t *v)
{
	struct intc *ic = b->m->vcpu[cpu].intc;

	return ic->ops->msr_read(ic, msr, v);
}

int msr_write(struct apics *b, unsigned cpu, uint32_t msr, uint64_t v)
{
	struct intc *ic = b->m->vcpu[cpu].intc;

	return ic->ops->msr_write(ic, msr, v);
}
