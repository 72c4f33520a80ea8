/* A machine with a bare 64-bit guest. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "bare_guest.h"
#include "dev/chip/lapic.h"

#define PML4 0x1000u
#define PDPT 0x2000u
#define PD   0x3000u /* four pages */
#define GDT  0x8000u
#define IDT  0x9000u
#define TSS  0xa000u

#define KERNEL_CS 0x10
#define KERNEL_SS 0x18
#define TSS_SEL   0x40

static const uint64_t gdt[] = {
	[KERNEL_CS / 8] = 0x00af9b000000ffff,
	[KERNEL_SS / 8] = 0x00cf93000000ffff,
	[0x28 / 8] = 0x00cff3000000ffff,                /* user data */
	[0x30 / 8] = 0x00affb000000ffff,                /* user 64-bit code */
	[TSS_SEL / 8] = 0x00008b0000000067 | TSS << 16, /* busy */
	[TSS_SEL / 8 + 1] = 0,
};

static uint64_t read_device(void *dev, uint64_t offset, unsigned size)
{
	struct bare *b = dev;

	b->reads++;
	return b->answer + offset;
}

static void write_device(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct bare *b = dev;

	b->value = value;
	b->offset = offset;
	b->size = size;
	b->writes++;
	if (b->written)
		b->written(b);
}

static void write_end(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct bare *b = dev;

	machine_end(b->m, MACHINE_DEBUG_EXIT, (int)value, "the guest ended");
}

static uint64_t read_end(void *dev, uint64_t offset, unsigned size)
{
	return 0;
}

static const struct bus_ops device_ops = {read_device, write_device, 8};
static const struct bus_ops end_ops = {read_end, write_end, 4};

static void load(struct bare *b, gpa_t gpa, const void *data, size_t len)
{
	assert_int_equal(mem_load(&b->m->mem, gpa, data, len), 0);
}

void bare_write(struct bare *b, gpa_t gpa, uint64_t value)
{
	load(b, gpa, &value, sizeof(value));
}

uint64_t bare_read(struct bare *b, gpa_t gpa)
{
	const uint64_t *p = mem_ptr(&b->m->mem, gpa, sizeof(*p), false);

	assert_non_null(p);
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static void fill_tables(struct bare *b)
{
	bare_write(b, PML4, PDPT | 7);
	for (unsigned i = 0; i < 4; i++)
		bare_write(b, PDPT + 8 * i, (PD + 0x1000 * i) | 7);
	for (uint64_t i = 0; i < 2048; i++)
		bare_write(b, PD + 8 * i, i << 21 | 0x87);
	load(b, GDT, gdt, sizeof(gdt));
	bare_write(b, TSS + 4, BARE_STACK - 0x1000); /* RSP0 */
}

static void on_limit(struct loop_timer *t)
{
	struct bare *b = container_of(t, struct bare, limit);

	loop_stop(b->loop);
}

static void add_ranges(struct bare *b)
{
	struct err e;

	b->pio = (struct bus_range){BARE_PORT, 16, &device_ops, b, "test", false};
	b->mmio = (struct bus_range){BARE_MMIO, 4096, &device_ops, b, "test", false};
	b->end = (struct bus_range){BARE_END, 4, &end_ops, b, "end", false};
	assert_int_equal(bus_add(&b->m->pio, &b->pio, &e), 0);
	assert_int_equal(bus_add(&b->m->pio, &b->end, &e), 0);
	assert_int_equal(bus_add(&b->m->mmio, &b->mmio, &e), 0);
}

void bare_make(struct bare *b, const struct engine *engine, unsigned cpus)
{
	struct cpuid_wish wish = {};
	struct err e = {0};

	*b = (struct bare){.limit.fn = on_limit};
	assert_int_equal(loop_new("test", &b->loop, &e), 0);
	assert_int_equal(machine_new(cpus, b->loop, false, &b->m, &e), 0);
	assert_int_equal(mem_add(&b->m->mem, "ram", MEM_RAM, 0, BARE_RAM, &e), 0);
	assert_int_equal(mem_add(&b->m->mem, "rom", MEM_ROM, BARE_ROM, 0x10000, &e), 0);
	fill_tables(b);
	load(b, BARE_CODE, guest_code, (size_t)(guest_code_end - guest_code));
	add_ranges(b);
	engine->abilities(&wish);
	wish.cpus = cpus;
	wish.tsc_khz = b->m->tsc_khz = 2000000;
	cpuid_model_make(&b->m->cpuid, &wish);
	if (!engine->own_apic)
		assert_int_equal(lapics_new(b->m, NULL, &e), 0);
	if (machine_open_engine(b->m, engine, &e) < 0)
		fail_msg("%s", e.text);
}

void bare_drop(struct bare *b)
{
	timer_cancel(b->loop, &b->limit);
	machine_free(b->m);
	loop_free(b->loop);
}

static uint64_t address(const uint8_t *piece)
{
	return BARE_CODE + (uint64_t)(piece - guest_code);
}

void bare_state(const uint8_t *piece, struct cpu_state *out)
{
	const struct cpu_seg data = {0, UINT32_MAX, KERNEL_SS, SEG_P | SEG_S | SEG_G | SEG_DB | 3};

	cpu_state_reset(out, true);
	for (unsigned i = 0; i < CPU_SEGS; i++)
		out->seg[i] = data;
	out->seg[CPU_CS] =
		(struct cpu_seg){0, UINT32_MAX, KERNEL_CS, SEG_P | SEG_S | SEG_G | SEG_L | 0xb};
	out->tr = (struct cpu_seg){TSS, 0x67, TSS_SEL, SEG_P | 0xb};
	out->gdt = (struct cpu_table){GDT, sizeof(gdt) - 1};
	out->idt = (struct cpu_table){IDT, 0xfff};
	out->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
	out->cr3 = PML4;
	out->cr4 = CR4_PAE | CR4_OSFXSR;
	out->efer = EFER_LME | EFER_LMA;
	out->gpr[CPU_RSP] = BARE_STACK;
	out->rip = address(piece);
}

void bare_start_at(struct bare *b, const uint8_t *piece)
{
	struct cpu_state c;
	struct err e = {0};

	bare_state(piece, &c);
	if (vcpu_state_set(&b->m->vcpu[0], &c, &e) < 0 || machine_start(b->m, &e) < 0)
		fail_msg("%s", e.text);
}

void bare_gate(struct bare *b, uint8_t vector, const uint8_t *piece)
{
	uint64_t at = address(piece);

	bare_write(b, IDT + 16 * vector,
	           (at & 0xffff) | KERNEL_CS << 16 | 0x8e00ull << 32 | at >> 16 << 48);
	bare_write(b, IDT + 16 * vector + 8, at >> 32);
}

void bare_run(struct bare *b)
{
	timer_arm(b->loop, &b->limit, loop_now() + 10000000000ull);
	loop_run(b->loop);
	assert_int_not_equal(b->m->ended, MACHINE_RUNS);
}

void bare_sleep(unsigned ms)
{
	const struct timespec t = {.tv_nsec = ms * 1000000l};

	nanosleep(&t, NULL);
}

bool bare_wait(struct bare *b, const _Atomic unsigned *counter, unsigned value)
{
	uint64_t until = loop_now() + 10000000000ull;

	while (*counter < value && loop_now() < until)
		loop_step(b->loop, 1);
	return *counter >= value;
}

bool bare_wait_memory(struct bare *b, gpa_t gpa, uint64_t above)
{
	uint64_t until = loop_now() + 10000000000ull;

	while (bare_read(b, gpa) <= above && loop_now() < until)
		loop_step(b->loop, 1);
	return bare_read(b, gpa) > above;
}
