/* Local APICs: priorities, ends, messages between them and from devices, x2APIC, the PIC behind LINT0. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "dev/chip/ioapic.h"
#include "dev/chip/pic.h"
#include "lapic_board.h"

#define SELF   (1u << 18)
#define ALL    (2u << 18)
#define OTHERS (3u << 18)
#define LEVEL  (APIC_LEVEL | APIC_ASSERT)

static void nothing_waits(struct apics *b, unsigned cpu)
{
	assert_int_equal(fake_accept(&b->m->vcpu[cpu]), -1);
}

static void takes(struct apics *b, unsigned cpu, uint8_t vector)
{
	assert_int_equal(fake_accept(&b->m->vcpu[cpu]), vector);
}

static void ends(struct apics *b, unsigned cpu)
{
	fake_eoi(&b->m->vcpu[cpu]);
}

/* A message arrived here, and only here. */
static void only(struct apics *b, unsigned cpu, uint8_t vector)
{
	for (unsigned i = 0; i < b->m->cpus; i++) {
		if (i != cpu)
			nothing_waits(b, i);
	}
	takes(b, cpu, vector);
	ends(b, cpu);
}

static void higher_classes_come_first(void **state)
{
	struct apics b;

	apics_open(&b, 1);
	irq_msi(b.m, 0xfee00000, 0x41);
	irq_msi(b.m, 0xfee00000, 0x45);
	irq_msi(b.m, 0xfee00000, 0x71);
	takes(&b, 0, 0x71);
	assert_int_equal(apic_get(&b, 0, APIC_PPR), 0x70);
	nothing_waits(&b, 0);
	irq_msi(b.m, 0xfee00000, 0x7f); /* the same class */
	nothing_waits(&b, 0);
	irq_msi(b.m, 0xfee00000, 0x82);
	takes(&b, 0, 0x82);
	assert_int_equal(apic_get(&b, 0, APIC_ISR + 0x30), 1u << 17);
	assert_int_equal(apic_get(&b, 0, APIC_ISR + 0x40), 1u << 2);
	assert_int_equal(apic_get(&b, 0, APIC_IRR + 0x20), 1u << 1 | 1u << 5);
	ends(&b, 0);
	nothing_waits(&b, 0);
	apic_put(&b, 0, APIC_EOI, 0); /* of 0x71 */
	takes(&b, 0, 0x7f);
	ends(&b, 0);
	takes(&b, 0, 0x45);
	ends(&b, 0);
	takes(&b, 0, 0x41);
	ends(&b, 0);
	ends(&b, 0); /* of nothing */
	nothing_waits(&b, 0);
	assert_int_equal(apic_get(&b, 0, APIC_PPR), 0);
	apics_close(&b);
}

static void the_task_priority_holds_back(void **state)
{
	struct apics b;
	struct intc *ic;

	apics_open(&b, 1);
	ic = b.m->vcpu[0].intc;
	apic_put(&b, 0, APIC_TPR, 0x45);
	assert_int_equal(ic->ops->tpr_get(ic), 4);
	irq_msi(b.m, 0xfee00000, 0x4f);
	nothing_waits(&b, 0);
	irq_msi(b.m, 0xfee00000, 0x50);
	takes(&b, 0, 0x50);
	ends(&b, 0);
	assert_int_equal(apic_get(&b, 0, APIC_PPR), 0x45);
	b.m->vcpu[0].requests = 0;
	ic->ops->tpr_set(ic, 3);
	assert_int_equal(apic_get(&b, 0, APIC_TPR), 0x30);
	assert_true(b.m->vcpu[0].requests & VCPU_REQ_INTERRUPT); /* it is looked at again */
	takes(&b, 0, 0x4f);
	b.m->vcpu[0].requests = 0;
	ends(&b, 0);
	assert_int_equal(b.m->vcpu[0].requests, 0);
	apics_close(&b);
}

static void the_ioapic_hears_of_the_end_of_levels(void **state)
{
	struct err e = {0};
	struct apics b;

	apics_open(&b, 1);
	assert_int_equal(ioapic_new(b.m, 0xfec00000, 0, &e), 0);
	fake_write(b.m, 0xfec00000, 4, 0x10 + 40);
	fake_write(b.m, 0xfec00010, 4, APIC_LEVEL | 0x61);
	irq_set(b.m, 20, true);
	takes(&b, 0, 0x61);
	assert_int_equal(apic_get(&b, 0, APIC_TMR + 0x30), 2);
	ends(&b, 0);
	takes(&b, 0, 0x61); /* still high */
	irq_set(b.m, 20, false);
	ends(&b, 0);
	nothing_waits(&b, 0);
	irq_msi(b.m, 0xfee00000, 0x61); /* an edge now */
	assert_int_equal(apic_get(&b, 0, APIC_TMR + 0x30), 0);
	takes(&b, 0, 0x61);
	ends(&b, 0);
	apics_close(&b);
}

static void ends_that_nobody_needs(void **state)
{
	struct apics b;
	struct intc *ic;

	apics_open(&b, 1);
	ic = b.m->vcpu[0].intc;
	irq_msi(b.m, 0xfee00000, 0x41);
	takes(&b, 0, 0x41);
	assert_true(ic->ops->eoi_avoidable(ic));
	irq_msi(b.m, 0xfee00000, 0x51);
	takes(&b, 0, 0x51);
	assert_false(ic->ops->eoi_avoidable(ic)); /* nested */
	ends(&b, 0);
	irq_msi(b.m, 0xfee00000, 0x31);
	assert_false(ic->ops->eoi_avoidable(ic)); /* one waits for it */
	ends(&b, 0);
	takes(&b, 0, 0x31);
	ends(&b, 0);
	irq_msi(b.m, 0xfee00000, LEVEL | 0x41);
	takes(&b, 0, 0x41);
	assert_false(ic->ops->eoi_avoidable(ic));
	ends(&b, 0);
	apics_close(&b);
}

static void messages_by_physical_id(void **state)
{
	struct apics b;

	apics_open(&b, 3);
	irq_msi(b.m, 0xfee02000, 0x41);
	only(&b, 2, 0x41);
	irq_msi(b.m, 0xfee07000, 0x41);              /* nobody */
	irq_msi(b.m, 0xfed00000, 0x41);              /* no message at all */
	irq_msi(b.m, 0xfee00000, APIC_LEVEL | 0x41); /* de-assert */
	nothing_waits(&b, 0);
	irq_msi(b.m, 0xfeeff000, 0x42);
	for (unsigned i = 0; i < 3; i++) {
		takes(&b, i, 0x42);
		ends(&b, i);
	}
	apic_put(&b, 1, APIC_SVR, 0xff); /* disabled by software */
	apic_put(&b, 2, APIC_ID, 0x07000000);
	irq_msi(b.m, 0xfeeff000, 0x42);
	takes(&b, 0, 0x42);
	nothing_waits(&b, 1);
	takes(&b, 2, 0x42);
	assert_int_equal(apic_get(&b, 2, APIC_ID), 0x02000000);
	apics_close(&b);
}

static void messages_by_logical_id(void **state)
{
	struct apics b;

	apics_open(&b, 3);
	for (unsigned i = 0; i < 3; i++)
		apic_put(&b, i, APIC_LDR, 0x01000000u << i);
	irq_msi(b.m, 0xfee02004, 0x41);
	only(&b, 1, 0x41);
	irq_msi(b.m, 0xfee05004, 0x41);
	nothing_waits(&b, 1);
	takes(&b, 0, 0x41);
	ends(&b, 0);
	only(&b, 2, 0x41);
	/* Clusters: 1 has APICs 0 and 1, 2 has APIC 2. */
	for (unsigned i = 0; i < 3; i++) {
		apic_put(&b, i, APIC_DFR, 0);
		apic_put(&b, i, APIC_LDR, (i < 2 ? 0x10 + (1u << i) : 0x21) << 24);
		assert_int_equal(apic_get(&b, i, APIC_DFR), 0x0fffffff);
	}
	irq_msi(b.m, 0xfee12004, 0x41);
	only(&b, 1, 0x41);
	irq_msi(b.m, 0xfee21004, 0x41);
	only(&b, 2, 0x41);
	irq_msi(b.m, 0xfee31004, 0x41);
	nothing_waits(&b, 0);
	nothing_waits(&b, 2);
	apics_close(&b);
}

static void the_lowest_priority(void **state)
{
	unsigned got[3] = {0};
	struct apics b;

	apics_open(&b, 3);
	for (unsigned i = 0; i < 3; i++)
		apic_put(&b, i, APIC_LDR, 0x01000000u << i);
	apic_put(&b, 0, APIC_TPR, 0x20);
	apic_put(&b, 2, APIC_TPR, 0x10);
	irq_msi(b.m, 0xfee07004, 0x0141);
	only(&b, 1, 0x41);
	irq_msi(b.m, 0xfee0700c, 0x0041); /* the redirection hint says the same */
	only(&b, 1, 0x41);
	apic_put(&b, 1, APIC_SVR, 0xff);
	irq_msi(b.m, 0xfee07004, 0x0141);
	only(&b, 2, 0x41);
	/* Equals take turns. */
	apic_put(&b, 0, APIC_TPR, 0x10);
	for (unsigned n = 0; n < 30; n++) {
		irq_msi(b.m, 0xfee07004, 0x0141);
		for (unsigned i = 0; i < 3; i++) {
			if (fake_accept(&b.m->vcpu[i]) != 0x41)
				continue;
			got[i]++;
			ends(&b, i);
		}
	}
	assert_in_range(got[0], 5, 25);
	assert_int_equal(got[1], 0);
	assert_int_equal(got[0] + got[2], 30);
	apics_close(&b);
}

static void interprocessor_interrupts(void **state)
{
	struct apics b;

	apics_open(&b, 3);
	apic_put(&b, 0, APIC_ICR_HIGH, 0x02000000);
	apic_put(&b, 0, APIC_ICR, 0x4051);
	assert_int_equal(apic_get(&b, 0, APIC_ICR), 0x4051); /* delivered */
	only(&b, 2, 0x51);
	apic_put(&b, 1, APIC_ICR, SELF | 0x52);
	only(&b, 1, 0x52);
	apic_put(&b, 1, APIC_ICR, OTHERS | 0x53);
	nothing_waits(&b, 1);
	takes(&b, 0, 0x53);
	takes(&b, 2, 0x53);
	apic_put(&b, 1, APIC_ICR, ALL | 0x64);
	for (unsigned i = 0; i < 3; i++)
		takes(&b, i, 0x64);
	for (unsigned i = 0; i < 3; i++)
		b.m->vcpu[i].requests = 0;
	apic_put(&b, 0, APIC_ICR, 0x0400); /* NMI for 2 */
	assert_int_equal(b.m->vcpu[2].requests, VCPU_REQ_NMI);
	apic_put(&b, 0, APIC_ICR, LEVEL | 0x0500);
	apic_put(&b, 0, APIC_ICR, APIC_LEVEL | 0x0500); /* de-assert: nothing */
	assert_int_equal(b.m->vcpu[2].requests, VCPU_REQ_NMI | VCPU_REQ_INIT);
	b.m->vcpu[2].requests = 0;
	apic_put(&b, 0, APIC_ICR, APIC_LEVEL | 0x0500);
	assert_int_equal(b.m->vcpu[2].requests, 0);
	apic_put(&b, 0, APIC_ICR, 0x069a);
	assert_int_equal(b.m->vcpu[2].requests, VCPU_REQ_SIPI);
	assert_int_equal(b.m->vcpu[2].sipi_vector, 0x9a);
	assert_int_equal(b.m->vcpu[1].requests, 0);
	apics_close(&b);
}

static void errors_are_told(void **state)
{
	struct apics b;

	apics_open(&b, 2);
	apic_put(&b, 0, APIC_LVT + 16 * LVT_ERROR, 0x33);
	apic_put(&b, 0, APIC_ICR, SELF | 0x0f);
	assert_int_equal(apic_get(&b, 0, APIC_ESR), 0); /* not before it is written */
	apic_put(&b, 0, APIC_ESR, 0);
	assert_int_equal(apic_get(&b, 0, APIC_ESR), 0x20);
	only(&b, 0, 0x33);
	irq_msi(b.m, 0xfee00000, 0x0f);
	apic_get(&b, 0, 0x3f0);
	apic_put(&b, 0, 0x0c0, 0);
	apic_put(&b, 0, APIC_VERSION, 0); /* read-only, no error */
	apic_put(&b, 0, APIC_ESR, 0);
	assert_int_equal(apic_get(&b, 0, APIC_ESR), 0xc0);
	apic_put(&b, 0, APIC_ESR, 0);
	assert_int_equal(apic_get(&b, 0, APIC_ESR), 0);
	only(&b, 0, 0x33);
	/* An error entry with an illegal vector doesn't go in circles. */
	apic_put(&b, 0, APIC_LVT + 16 * LVT_ERROR, 0x03);
	apic_put(&b, 0, APIC_ICR, SELF | 0x0f);
	nothing_waits(&b, 0);
	apics_close(&b);
}

static void registers_of_an_xapic(void **state)
{
	struct apics b;

	apics_open(&b, 2);
	assert_int_equal(apic_get(&b, 1, APIC_ID), 0x01000000);
	assert_int_equal(apic_get(&b, 1, APIC_VERSION), 0x00050014);
	apic_put(&b, 1, APIC_TPR, 0xffffff35);
	assert_int_equal(apic_get(&b, 1, APIC_TPR), 0x35);
	apic_put(&b, 1, APIC_LDR, 0xffffffff);
	assert_int_equal(apic_get(&b, 1, APIC_LDR), 0xff000000);
	apic_put(&b, 1, APIC_LVT, 0xffffffff);
	assert_int_equal(apic_get(&b, 1, APIC_LVT), 0x000700ff);
	apic_put(&b, 1, APIC_LVT + 16 * LVT_LINT0, 0xffffffff);
	assert_int_equal(apic_get(&b, 1, APIC_LVT + 16 * LVT_LINT0), 0x0001a7ff);
	apic_put(&b, 1, APIC_LVT + 16 * LVT_LINT0, 0x700);
	apic_put(&b, 1, APIC_LVT + 4, 0); /* between registers */
	assert_int_equal(apic_get(&b, 1, APIC_LVT), 0x000700ff);
	apic_put(&b, 1, APIC_SVR, 0x0ff); /* masks all entries, and keeps them so */
	assert_int_equal(apic_get(&b, 1, APIC_LVT + 16 * LVT_LINT0), 0x10700);
	apic_put(&b, 1, APIC_LVT + 16 * LVT_LINT0, 0x700);
	assert_int_equal(apic_get(&b, 1, APIC_LVT + 16 * LVT_LINT0), 0x10700);
	apics_close(&b);
}

static void an_init_resets(void **state)
{
	struct apics b;
	struct intc *ic;

	apics_open(&b, 2);
	x2apic(&b, 1);
	ic = b.m->vcpu[1].intc;
	irq_msi(b.m, 0xfee01000, 0x41);
	takes(&b, 1, 0x41);
	irq_msi(b.m, 0xfee01000, 0x42);
	msr_put(&b, 1, APIC_TPR, 0x20);
	ic->ops->init(ic);
	nothing_waits(&b, 1);
	assert_int_equal(msr_get(&b, 1, APIC_ID), 1); /* still an x2APIC */
	assert_int_equal(msr_get(&b, 1, APIC_TPR), 0);
	assert_int_equal(msr_get(&b, 1, APIC_PPR), 0);
	assert_int_equal(msr_get(&b, 1, APIC_SVR), 0xff);
	assert_int_equal(msr_get(&b, 1, APIC_LVT + 16 * LVT_LINT0), 0x10000);
	apics_close(&b);
}

static void modes_are_switched_by_rules(void **state)
{
	static const uint64_t off = APIC_BASE_DEFAULT, x = off | APIC_BASE_ENABLE,
			      x2 = x | APIC_BASE_X2APIC;
	struct apics b;
	uint64_t v;

	apics_open(&b, 2);
	assert_int_equal(msr_read(&b, 0, 0x1b, &v), 0);
	assert_int_equal(v, x | APIC_BASE_BSP);
	assert_int_equal(b.m->vcpu[1].intc->mmio_base, 0xfee00000);
	assert_int_equal(msr_read(&b, 1, 0x802, &v), -EINVAL); /* an xAPIC has no such MSRs */
	assert_int_equal(msr_write(&b, 1, 0x1b, off | APIC_BASE_X2APIC), -EINVAL);
	assert_int_equal(msr_write(&b, 1, 0x1b, x | 1), -EINVAL);
	assert_int_equal(msr_write(&b, 1, 0x1b, x | 1ull << 60), -EINVAL);
	assert_int_equal(msr_write(&b, 1, 0x1b, x2), 0);
	assert_int_equal(b.m->vcpu[1].intc->mmio_base, UINT64_MAX);
	assert_int_equal(msr_write(&b, 1, 0x1b, x), -EINVAL);
	assert_int_equal(msr_write(&b, 1, 0x1b, x2), 0);
	assert_int_equal(msr_write(&b, 1, 0x1b, off), 0);
	assert_int_equal(msr_write(&b, 1, 0x1b, x2), -EINVAL);
	assert_int_equal(msr_write(&b, 1, 0x1b, 0xfed00000 | APIC_BASE_ENABLE), 0);
	assert_int_equal(b.m->vcpu[1].intc->mmio_base, 0xfed00000);
	assert_int_equal(apic_get(&b, 1, APIC_SVR), 0xff); /* as after a reset */
	assert_int_equal(msr_write(&b, 1, 0x1b, off), 0);
	assert_int_equal(b.m->vcpu[1].intc->mmio_base, UINT64_MAX);
	irq_msi(b.m, 0xfee01000, 0x41); /* it isn't there */
	nothing_waits(&b, 1);
	apics_close(&b);
}

static void registers_of_an_x2apic(void **state)
{
	static const uint32_t none[] = {0x80e, 0x831, 0x809, 0x80c, 0x840, 0x8ff};
	static const uint32_t read_only[] = {0x802, 0x803, 0x80a, 0x80d,
	                                     0x810, 0x818, 0x820, 0x839};
	struct apics b;
	uint64_t v;

	apics_open(&b, 2);
	x2apic(&b, 1);
	for (unsigned i = 0; i < ARRAY_LEN(none); i++) {
		assert_int_equal(msr_read(&b, 1, none[i], &v), -EINVAL);
		assert_int_equal(msr_write(&b, 1, none[i], 0), -EINVAL);
	}
	for (unsigned i = 0; i < ARRAY_LEN(read_only); i++) {
		assert_int_equal(msr_read(&b, 1, read_only[i], &v), 0);
		assert_int_equal(msr_write(&b, 1, read_only[i], 0), -EINVAL);
	}
	assert_int_equal(msr_get(&b, 1, APIC_LDR), 2);
	assert_int_equal(msr_write(&b, 1, 0x808, 0x100), -EINVAL);
	assert_int_equal(msr_write(&b, 1, 0x80b, 1), -EINVAL);
	assert_int_equal(msr_write(&b, 1, 0x828, 1), -EINVAL);
	assert_int_equal(msr_read(&b, 1, 0x80b, &v), -EINVAL);
	assert_int_equal(msr_read(&b, 1, 0x83f, &v), -EINVAL);
	assert_int_equal(msr_write(&b, 1, 0x832, 0x80000), -EINVAL);
	assert_int_equal(msr_write(&b, 1, 0x830, 0x100000), -EINVAL);
	/* Read-only bits of an LVT entry may be written. */
	msr_put(&b, 1, APIC_LVT + 16 * LVT_LINT0, 0xf700);
	assert_int_equal(msr_get(&b, 1, APIC_LVT + 16 * LVT_LINT0), 0xa700);
	msr_put(&b, 1, APIC_SELF_IPI, 0x44);
	takes(&b, 1, 0x44);
	msr_put(&b, 1, APIC_EOI, 0);
	nothing_waits(&b, 1);
	apics_close(&b);
}

static void an_x2apic_sends_to_32_bits(void **state)
{
	struct apics b;

	apics_open(&b, 20);
	for (unsigned i = 0; i < 20; i++)
		x2apic(&b, i);
	msr_put(&b, 0, APIC_ICR, 18ull << 32 | 0x41);
	only(&b, 18, 0x41);
	assert_int_equal(msr_get(&b, 0, APIC_ICR), 18ull << 32 | 0x41);
	msr_put(&b, 0, APIC_ICR, 0x00010006ull << 32 | APIC_LOGICAL | 0x41); /* cluster 1 */
	nothing_waits(&b, 16);
	nothing_waits(&b, 1);
	takes(&b, 17, 0x41);
	takes(&b, 18, 0x41);
	ends(&b, 17);
	ends(&b, 18);
	msr_put(&b, 0, APIC_ICR, 0xffull << 32 | 0x42); /* an ID that nobody has */
	msr_put(&b, 3, APIC_ICR, 0xffffffffull << 32 | 0x43);
	for (unsigned i = 0; i < 20; i++)
		takes(&b, i, 0x43);
	irq_msi(b.m, 0xfee04000, 0x54);
	takes(&b, 4, 0x54);
	irq_msi(b.m, 0xfee20004, 0x64); /* logical: cluster 0, number 5 */
	takes(&b, 5, 0x64);
	irq_msi(b.m, 0xfeeff000, 0x74);
	for (unsigned i = 0; i < 20; i++)
		takes(&b, i, 0x74);
	apics_close(&b);
}

static void set_up_pic(struct apics *b)
{
	struct err e = {0};

	assert_int_equal(pic_new(b->m, &e), 0);
	fake_out8(b->m, 0x20, 0x11);
	fake_out8(b->m, 0x21, 0x30);
	fake_out8(b->m, 0x21, 0x04);
	fake_out8(b->m, 0x21, 0x03);
}

static void the_pic_comes_through_lint0(void **state)
{
	struct apics b;

	apics_open(&b, 2);
	set_up_pic(&b);
	b.m->vcpu[0].requests = 0;
	irq_pulse(b.m, 4); /* LINT0 is as firmware leaves it */
	assert_int_equal(b.m->vcpu[0].requests, VCPU_REQ_INTERRUPT);
	only(&b, 0, 0x34);
	apic_put(&b, 0, APIC_LVT + 16 * LVT_LINT0, 0x10700);
	irq_pulse(b.m, 4);
	nothing_waits(&b, 0);
	b.m->vcpu[0].requests = 0;
	apic_put(&b, 0, APIC_LVT + 16 * LVT_LINT0, 0x700);
	assert_int_equal(b.m->vcpu[0].requests, VCPU_REQ_INTERRUPT);
	takes(&b, 0, 0x34);
	assert_int_equal(apic_get(&b, 0, APIC_PPR), 0); /* no end to tell the APIC */
	nothing_waits(&b, 0);
	/* As a local interrupt, and as an NMI. */
	apic_put(&b, 0, APIC_LVT + 16 * LVT_LINT0, 0x55);
	irq_pulse(b.m, 4);
	only(&b, 0, 0x55);
	irq_pic_accept(b.m);
	apic_put(&b, 0, APIC_LVT + 16 * LVT_LINT0, 0x400);
	b.m->vcpu[0].requests = 0;
	irq_pulse(b.m, 4);
	assert_int_equal(b.m->vcpu[0].requests, VCPU_REQ_NMI);
	nothing_waits(&b, 0);
	/* Without an APIC the line is the processor's. */
	assert_int_equal(msr_write(&b, 0, 0x1b, APIC_BASE_DEFAULT), 0);
	takes(&b, 0, 0x34);
	apics_close(&b);
}

static void extint_by_message(void **state)
{
	struct apics b;

	apics_open(&b, 2);
	set_up_pic(&b);
	apic_put(&b, 0, APIC_LVT + 16 * LVT_LINT0, 0x10700);
	irq_pulse(b.m, 4);
	irq_msi(b.m, 0xfee01000, 0x0700);
	nothing_waits(&b, 0);
	takes(&b, 1, 0x34);
	nothing_waits(&b, 1);
	apics_close(&b);
}

static void nonsense(void **state)
{
	uint32_t seed = 1;
	struct apics b;

	apics_open(&b, 3);
	for (unsigned i = 0; i < 200000; i++) {
		unsigned cpu = (seed >> 9) % 3;

		seed = seed * 1664525 + 1013904223;
		if (seed >> 31)
			msr_write(&b, cpu, 0x800 + (seed >> 16 & 0xff), seed * 77);
		else
			apic_put(&b, cpu, seed >> 16 & 0xffc, seed * 77);
		if (seed % 64 == 0)
			msr_write(&b, cpu, 0x1b, 0xfee00000 | (seed >> 8 & 0xf00));
		apic_get(&b, cpu, seed >> 12 & 0xffc);
		irq_msi(b.m, 0xfee00000 | (seed >> 11 & 0xfffff), seed >> 13);
		if (fake_accept(&b.m->vcpu[cpu]) >= 0 && seed & 1)
			fake_eoi(&b.m->vcpu[cpu]);
		clock_step(&b.m->clock, seed >> 20);
	}
	machine_reset_devices(b.m);
	apic_put(&b, 1, APIC_SVR, 0x1ff);
	irq_msi(b.m, 0xfee01000, 0x41);
	only(&b, 1, 0x41);
	apics_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(higher_classes_come_first),
		cmocka_unit_test(the_task_priority_holds_back),
		cmocka_unit_test(the_ioapic_hears_of_the_end_of_levels),
		cmocka_unit_test(ends_that_nobody_needs),
		cmocka_unit_test(messages_by_physical_id),
		cmocka_unit_test(messages_by_logical_id),
		cmocka_unit_test(the_lowest_priority),
		cmocka_unit_test(interprocessor_interrupts),
		cmocka_unit_test(errors_are_told),
		cmocka_unit_test(registers_of_an_xapic),
		cmocka_unit_test(an_init_resets),
		cmocka_unit_test(modes_are_switched_by_rules),
		cmocka_unit_test(registers_of_an_x2apic),
		cmocka_unit_test(an_x2apic_sends_to_32_bits),
		cmocka_unit_test(the_pic_comes_through_lint0),
		cmocka_unit_test(extint_by_message),
		cmocka_unit_test(nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
