/*
 * System instructions of the software engine: control and debug registers, descriptor tables,
 * MSRs, port I/O with its permissions, the paravirtual clock.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>
#include <x86intrin.h>
#include <cmocka.h>

#include "engine/soft/engine.h"
#include "far_guest.h"
#include "host/host.h"

#define RING3   (3 << SEG_DPL_SHIFT)
#define AT_DATA 0x20000

static struct guest g;

/*
 * Puts code in place, runs it to a HLT, and returns the handler's vector, -1: the code's own HLT.
 */
#define RUN(name)                                                  \
	({                                                         \
		guest_put(&g, AT_CODE, name);                      \
		assert_int_equal(guest_run(&g), ENGINE_EXIT_HALT); \
		guest_vector(&g);                                  \
	})

/* A device at port 0x100..0x107: reads count up, writes are kept. */
static struct {
	struct bus_range range;
	uint32_t next, last, writes;
	unsigned size;
} port;

static uint64_t port_read(void *dev, uint64_t offset, unsigned size)
{
	port.size = size;
	return port.next++;
}

static void port_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	port.size = size;
	port.last = (uint32_t)value;
	port.writes++;
}

static const struct bus_ops port_ops = {.read = port_read, .write = port_write};

GUEST(in_out, 64,
      "mov $0x100, %edx; in %dx, %al; inl %dx, %eax; mov $0x12345678, %eax; outw %ax, %dx;"
      "inb $0x40, %al; hlt");
GUEST(rep_ins, 64, "mov $0x100, %edx; rep insw; hlt");
GUEST(rep_outs, 64, "mov $0x100, %edx; rep outsb; hlt");
GUEST(in_byte, 64, "in %dx, %al; mov $1, %ebx; ud2");
GUEST(in_word, 64, "in %dx, %ax; mov $1, %ebx; ud2");

static void ports_reach_devices(void **state)
{
	guest_long(&g);
	port.next = 0xaabbccdd;
	g.s.gpr[CPU_RAX] = ~0ull;
	assert_int_equal(RUN(in_out), -1);
	/* A 32-bit IN clears the upper half; nobody is at port 0x40. */
	assert_int_equal(g.s.gpr[CPU_RAX], 0x123456ff);
	assert_int_equal(port.last, 0x5678);
	assert_int_equal(port.size, 2);
}

static void strings_go_through_ports(void **state)
{
	guest_long(&g);
	port.next = 0x4141;
	g.s.gpr[CPU_RDI] = AT_DATA;
	g.s.gpr[CPU_RCX] = 1000;
	assert_int_equal(RUN(rep_ins), -1);
	assert_int_equal(g.s.gpr[CPU_RCX], 0);
	assert_int_equal(g.s.gpr[CPU_RDI], AT_DATA + 2000);
	assert_int_equal(guest_get(&g, AT_DATA, 2), 0x4141);
	assert_int_equal(guest_get(&g, AT_DATA + 1998, 2), 0x4141 + 999);

	guest_long(&g);
	guest_set(&g, AT_DATA, 4, 0x44332211);
	port.writes = 0;
	g.s.rflags |= FLAG_DF;
	g.s.gpr[CPU_RSI] = AT_DATA + 3;
	g.s.gpr[CPU_RCX] = 4;
	assert_int_equal(RUN(rep_outs), -1);
	assert_int_equal(port.writes, 4);
	assert_int_equal(port.last, 0x11);
	assert_int_equal(g.s.gpr[CPU_RSI], AT_DATA - 1);

	/* Into a page that isn't there: nothing is taken from the device before that is known. */
	guest_long(&g);
	port.next = 0;
	g.s.gpr[CPU_RDI] = AT_PAGED - 4;
	g.s.gpr[CPU_RCX] = 5;
	assert_int_equal(RUN(rep_ins), EXC_PF);
	assert_int_equal(port.next, 2);
	assert_int_equal(g.s.gpr[CPU_RCX], 3);
	assert_int_equal(g.s.cr2, AT_PAGED);
}

static int in_at(unsigned dx, bool word)
{
	g.s.gpr[CPU_RDX] = dx;
	g.s.gpr[CPU_RBX] = 0;
	if (word)
		return RUN(in_word);
	return RUN(in_byte);
}

static void the_bitmap_gives_ring_3_its_ports(void **state)
{
	const unsigned map = 0x80;

	for (unsigned open = 0; open < 2; open++) {
		guest_long(&g);
		guest_set(&g, AT_TSS + 102, 2, map);
		memset(g.ram + AT_TSS + map, 0xff, 0x40);
		guest_set(&g, AT_TSS + map + 0x100 / 8, 1, open ? 0xf9 : 0xff);
		guest_ring3(&g);
		assert_int_equal(in_at(0x101, false), open ? EXC_UD : EXC_GP);
		assert_int_equal(g.s.gpr[CPU_RBX], open);
		guest_ring3(&g);
		g.s.rip = AT_CODE;
		assert_int_equal(in_at(0x101, true), open ? EXC_UD : EXC_GP);
		guest_ring3(&g);
		g.s.rip = AT_CODE;
		assert_int_equal(in_at(0x102, true), EXC_GP);
	}
	/* Beyond the TSS's end all is closed; IOPL 3 opens all. */
	guest_ring3(&g);
	g.s.rip = AT_CODE;
	g.s.tr.limit = map + 0x100 / 8;
	assert_int_equal(in_at(0x101, false), EXC_GP);
	guest_ring3(&g);
	g.s.rip = AT_CODE;
	g.s.rflags = FLAG_FIXED | FLAG_IOPL;
	assert_int_equal(in_at(0x102, true), EXC_UD);
}

GUEST(cr0_from_rax, 64, "mov %rax, %cr0; mov %cr0, %rbx; hlt");
GUEST(cr4_from_rax, 64, "mov %rax, %cr4; mov %cr4, %rbx; hlt");
GUEST(cr3_from_rax, 64, "mov %rax, %cr3; mov %cr3, %rbx; hlt");
GUEST(clts_smsw, 64, "clts; smsw %ebx; hlt");
GUEST(lmsw_0, 32, "xor %eax, %eax; lmsw %ax; smsw %ebx; hlt");

static void control_registers_are_checked(void **state)
{
	static const uint64_t bad0[] = {CR0_PG, CR0_PE, CR0_PE | CR0_PG | CR0_NW, 1ull << 32};

	for (unsigned i = 0; i < ARRAY_LEN(bad0); i++) {
		guest_long(&g);
		g.s.gpr[CPU_RAX] = bad0[i];
		assert_int_equal(RUN(cr0_from_rax), EXC_GP);
	}
	guest_long(&g);
	g.s.gpr[CPU_RAX] = CR0_PG | CR0_PE | CR0_TS;
	assert_int_equal(RUN(cr0_from_rax), -1);
	assert_int_equal(g.s.gpr[CPU_RBX], CR0_PG | CR0_PE | CR0_TS | CR0_ET);
	g.s.rip = AT_CODE;
	assert_int_equal(RUN(clts_smsw), -1);
	assert_int_equal(g.s.gpr[CPU_RBX], CR0_PG | CR0_PE | CR0_ET);

	/* PAE cannot go in long mode, and what CPUID doesn't show cannot come. */
	guest_long(&g);
	g.s.gpr[CPU_RAX] = 0;
	assert_int_equal(RUN(cr4_from_rax), EXC_GP);
	guest_long(&g);
	g.s.gpr[CPU_RAX] = CR4_PAE | CR4_LA57;
	assert_int_equal(RUN(cr4_from_rax), EXC_GP);
	guest_long(&g);
	g.s.gpr[CPU_RAX] = CR4_PAE | CR4_PGE | CR4_FSGSBASE;
	assert_int_equal(RUN(cr4_from_rax), -1);
	guest_long(&g);
	g.s.gpr[CPU_RAX] = 1ull << 51;
	assert_int_equal(RUN(cr3_from_rax), EXC_GP);
	guest_long(&g);
	guest_ring3(&g);
	assert_int_equal(RUN(cr3_from_rax), EXC_GP);

	/* LMSW cannot leave protected mode. */
	guest_protected(&g);
	assert_int_equal(RUN(lmsw_0), -1);
	assert_int_equal(g.s.cr0 & CR0_PE, CR0_PE);
}

/* From the reset state's real mode to 64-bit code, as a boot loader does it. */
GUEST(to_long, 16,
      "mov $0x20, %eax; mov %eax, %cr4; mov $0x6000, %eax; mov %eax, %cr3;"
      "mov $0xc0000080, %ecx; rdmsr; or $0x100, %eax; wrmsr;"
      "mov %cr0, %eax; or $0x80000001, %eax; mov %eax, %cr0; ljmpl $0x08, $0x12000");
GUEST(in_long, 64, "mov $0xc0000080, %ecx; rdmsr; mov $0x123456789abc, %rbx; hlt");

static void a_boot_loader_reaches_long_mode(void **state)
{
	struct cpu_state real;

	guest_long(&g);
	guest_put(&g, AT_CODE2, in_long);
	guest_put(&g, AT_CODE, to_long);
	cpu_state_reset(&real, true);
	real.gdt = g.s.gdt;
	real.seg[CPU_CS].sel = AT_CODE >> 4;
	real.seg[CPU_CS].base = AT_CODE;
	real.rip = 0;
	g.s = real;
	assert_int_equal(guest_run(&g), ENGINE_EXIT_HALT);
	assert_int_equal(g.s.gpr[CPU_RBX], 0x123456789abc);
	assert_int_equal(g.s.gpr[CPU_RAX], EFER_LME | EFER_LMA);
}

GUEST(lidt_sidt, 64, "lidt (%rsi); sidt (%rdi); sgdt 16(%rdi); hlt");
GUEST(sidt, 64, "sidt (%rdi); hlt");
GUEST(ltr_str, 64, "mov $0x28, %eax; ltr %ax; str %rbx; hlt");
GUEST(lldt_real, 16, "lldt %ax");

static void descriptor_tables_are_loaded_and_stored(void **state)
{
	guest_long(&g);
	g.s.gpr[CPU_RSI] = AT_DATA;
	g.s.gpr[CPU_RDI] = AT_DATA + 0x100;
	guest_set(&g, AT_DATA, 2, 0xabc);
	guest_set(&g, AT_DATA + 2, 8, 0xffff800000001000);
	assert_int_equal(RUN(lidt_sidt), -1);
	assert_int_equal(g.s.idt.limit, 0xabc);
	assert_int_equal(g.s.idt.base, 0xffff800000001000);
	assert_int_equal(guest_get(&g, AT_DATA + 0x102, 8), 0xffff800000001000);
	assert_int_equal(guest_get(&g, AT_DATA + 0x110, 2), GDT_END - 1);

	guest_long(&g);
	g.s.gpr[CPU_RSI] = AT_DATA;
	guest_set(&g, AT_DATA + 2, 8, 0x1000800000001000);
	assert_int_equal(RUN(lidt_sidt), EXC_GP);

	guest_long(&g);
	guest_set(&g, AT_GDT + TSS + 5, 1, SEG_P | 9);
	assert_int_equal(RUN(ltr_str), -1);
	assert_int_equal(g.s.gpr[CPU_RBX], TSS);
	assert_int_equal(guest_get(&g, AT_GDT + TSS + 5, 1), SEG_P | 11);
	/* A busy one cannot be loaded. */
	g.s.rip = AT_CODE;
	assert_int_equal(RUN(ltr_str), EXC_GP);
	guest_real(&g);
	assert_int_equal(RUN(lldt_real), EXC_UD);

	/* UMIP hides the tables from programs. */
	for (unsigned umip = 0; umip < 2; umip++) {
		guest_long(&g);
		guest_ring3(&g);
		g.s.cr4 |= umip ? CR4_UMIP : 0;
		g.s.gpr[CPU_RDI] = AT_DATA;
		/* Its HLT is not ring 3's to execute. */
		assert_int_equal(RUN(sidt), EXC_GP);
		assert_int_equal(guest_get(&g, AT_DATA, 2), umip ? 0 : 0xfff);
	}
}

GUEST(msr, 64, "wrmsr; rdmsr; hlt");

static int set_msr(uint32_t n, uint64_t v)
{
	guest_long(&g);
	g.s.gpr[CPU_RCX] = n;
	g.s.gpr[CPU_RAX] = (uint32_t)v;
	g.s.gpr[CPU_RDX] = v >> 32;
	return RUN(msr);
}

static void msrs_are_kept_or_refused(void **state)
{
	static const struct {
		uint32_t msr;
		uint64_t good, bad;
	} msr[] = {
		{0xc0000080, EFER_LME | EFER_NXE, 1ull << 63},
		{0xc0000082, 0xffffffff81000000, 0x8000000000000},
		{0xc0000102, 0x7fffffffffff, 0x800000000000},
		{0x277, 0x0007040600070406, 0x0207040600070406},
		{0x2ff, 0xc06, 0x100},
		{0x250, 0x0606060606060606, 0x0606060606060602},
		{0x201, 0x3fffc0000800, 1ull << 50},
		{0xc0000103, 0xffffffff, 1ull << 32},
		{0x4b564d04, AT_DATA | 1, AT_DATA | 2},
	};

	for (unsigned i = 0; i < ARRAY_LEN(msr); i++) {
		uint64_t lma = msr[i].msr == 0xc0000080 ? EFER_LMA : 0;

		assert_int_equal(set_msr(msr[i].msr, msr[i].good), -1);
		assert_int_equal(g.s.gpr[CPU_RAX] | g.s.gpr[CPU_RDX] << 32, msr[i].good | lma);
		assert_int_equal(set_msr(msr[i].msr, msr[i].bad), EXC_GP);
		assert_int_equal(g.s.rip - 1, AT_HANDLERS + EXC_GP * 16);
	}
	assert_int_equal(set_msr(0xdeadbeef, 0), EXC_GP);
	/* Swallowed; LFENCE always serializes. */
	assert_int_equal(set_msr(0xc0011029, 0), -1);
	assert_int_equal(g.s.gpr[CPU_RAX], 2);
}

GUEST(tsc_set, 64,
      "mov $0x3b, %ecx; xor %eax, %eax; mov $0x100, %edx; wrmsr;"
      "mov $0x10, %ecx; rdmsr; mov %edx, %ebx; xor %eax, %eax; xor %edx, %edx; wrmsr;"
      "rdtsc; mov %edx, %esi; mov $0x3b, %ecx; rdmsr; hlt");

static void the_tsc_moves_with_its_adjustment(void **state)
{
	guest_long(&g);
	assert_int_equal(RUN(tsc_set), -1);
	assert_true(g.s.gpr[CPU_RBX] >= 0x100 && g.s.gpr[CPU_RBX] < 0x110);
	assert_int_equal(g.s.gpr[CPU_RSI], 0);
	/* Setting it back to 0 took off what had passed, too. */
	assert_true((int32_t)g.s.gpr[CPU_RDX] < 0);
}

GUEST(rdtsc, 64, "rdtsc; hlt");

static uint64_t guest_tsc(void)
{
	g.s.rip = AT_CODE;
	assert_int_equal(RUN(rdtsc), -1);
	return g.s.gpr[CPU_RAX] | g.s.gpr[CPU_RDX] << 32;
}

/* The machine's clock stands still between the two, as in a pause. */
static void the_tsc_stands_still_with_the_machine(void **state)
{
	const uint64_t slept = 30 * g.m->tsc_khz;
	uint64_t before, first, second;

	guest_long(&g);
	before = __rdtsc();
	first = guest_tsc();
	usleep(30000);
	clock_step(&g.m->clock, 1);
	second = guest_tsc();
	assert_true(second >= first);
	assert_true(second - first <= __rdtsc() - before - slept);
	/* Saved and loaded it goes on from there. */
	assert_true(guest_tsc() > second);
}

GUEST(swap, 64, "swapgs; rdgsbase %rax; wrfsbase %rbx; mov %fs:(0), %ecx; hlt");
GUEST(wrfs, 64, "wrfsbase %rbx; hlt");

static void bases_of_fs_and_gs(void **state)
{
	guest_long(&g);
	g.s.cr4 |= CR4_FSGSBASE;
	g.s.seg[CPU_GS].base = 0x1111;
	g.s.kernel_gs_base = 0x2222;
	g.s.gpr[CPU_RBX] = AT_DATA;
	guest_set(&g, AT_DATA, 4, 0x12345);
	assert_int_equal(RUN(swap), -1);
	assert_int_equal(g.s.gpr[CPU_RAX], 0x2222);
	assert_int_equal(g.s.kernel_gs_base, 0x1111);
	assert_int_equal(g.s.gpr[CPU_RCX], 0x12345);
	guest_long(&g);
	assert_int_equal(RUN(wrfs), EXC_UD);
	guest_long(&g);
	g.s.cr4 |= CR4_FSGSBASE;
	g.s.gpr[CPU_RBX] = 1ull << 50;
	assert_int_equal(RUN(wrfs), EXC_GP);
}

GUEST(dr, 64,
      "mov %rax, %dr0; mov $0x20000, %eax; mov %rax, %dr0; mov $0xf0003, %eax; mov %rax, %dr7;"
      "mov %dr7, %rbx; incb 0x1ffff; mov 0x20004, %ecx; movb $1, 0x20002; inc %esi; hlt");
GUEST(dr6, 64, "mov %rax, %dr6; hlt");

static void data_breakpoints_report_behind_the_access(void **state)
{
	guest_long(&g);
	assert_int_equal(RUN(dr), EXC_DB);
	assert_int_equal(g.s.gpr[CPU_RBX], 0xf0403);
	assert_int_equal(guest_get(&g, AT_DATA + 2, 1), 1);
	assert_int_equal(g.s.gpr[CPU_RSI], 0);
	assert_int_equal(g.s.dr[6] & 0xf, 1);
	/* General detect: the access is refused, and the detector disarmed. */
	guest_long(&g);
	g.s.dr[7] |= 1 << 13;
	assert_int_equal(RUN(dr6), EXC_DB);
	assert_int_equal(g.s.dr[6] & 1 << 13, 1 << 13);
	assert_int_equal(g.s.dr[7] & 1 << 13, 0);
	guest_long(&g);
	g.s.gpr[CPU_RAX] = 1ull << 32;
	assert_int_equal(RUN(dr6), EXC_GP);
}

GUEST(kick_self, 64,
      "mov $5, %eax; xor %ebx, %ebx; xor %ecx, %ecx; vmmcall; mov %rax, %rsi;"
      "hlt; inc %edi; hlt; inc %edi");
GUEST(call_unknown, 64, "mov $1234, %eax; vmmcall; hlt");

static void a_kick_ends_one_hlt(void **state)
{
	guest_long(&g);
	g.s.gpr[CPU_RDI] = 0;
	assert_int_equal(RUN(kick_self), -1);
	assert_int_equal(g.s.gpr[CPU_RSI], 0);
	assert_int_equal(g.s.gpr[CPU_RDI], 1);
	guest_long(&g);
	assert_int_equal(RUN(call_unknown), -1);
	assert_int_equal((int64_t)g.s.gpr[CPU_RAX], -1000);
}

GUEST(cli, 64, "cli; hlt");

static void the_interrupt_flag_is_iopls(void **state)
{
	guest_long(&g);
	guest_ring3(&g);
	g.s.rflags |= FLAG_IF;
	assert_int_equal(RUN(cli), EXC_GP);
	assert_int_equal(guest_get(&g, (uint32_t)g.s.gpr[CPU_RSP] + 8, 8), AT_CODE);
	guest_long(&g);
	guest_ring3(&g);
	g.s.rflags |= FLAG_IF | FLAG_IOPL;
	/* CLI passes; HLT is ring 0's alone. */
	assert_int_equal(RUN(cli), EXC_GP);
	assert_int_equal(guest_get(&g, (uint32_t)g.s.gpr[CPU_RSP] + 8, 8), AT_CODE + 1);
}

/* An interrupt that waits until it is taken. */
static bool waits;

static bool intc_pending(struct intc *ic)
{
	return waits;
}

static int intc_accept(struct intc *ic)
{
	waits = false;
	return 0x55;
}

static bool intc_eoi_avoidable(struct intc *ic)
{
	return false;
}

GUEST(sti_nop_cli, 64, "sti; nop; cli; hlt");
GUEST(sti_cli, 64, "sti; cli; hlt");

static void interrupts_are_taken_between_sti_and_cli(void **state)
{
	static const struct intc_ops ops = {.pending = intc_pending,
	                                    .accept = intc_accept,
	                                    .eoi_avoidable = intc_eoi_avoidable};
	struct intc ic = {.ops = &ops, .vcpu = &g.m->vcpu[0], .mmio_base = UINT64_MAX};

	g.m->vcpu[0].intc = &ic;
	waits = true;
	guest_long(&g);
	assert_int_equal(RUN(sti_nop_cli), 0x55);
	assert_int_equal(guest_get(&g, (uint32_t)g.s.gpr[CPU_RSP], 8), AT_CODE + 2);
	/* STI's shadow covers the CLI. */
	waits = true;
	guest_long(&g);
	assert_int_equal(RUN(sti_cli), -1);
	assert_true(waits);
	g.m->vcpu[0].intc = NULL;
}

GUEST(clock_page, 64, "wrmsr; rdtsc; hlt");

/* The clock page as a guest computes with it. */
static void the_clock_page_tells_the_time(void **state)
{
	uint64_t tsc, delta, ns, now;
	int8_t shift;

	guest_long(&g);
	clock_step(&g.m->clock, 5000000000);
	now = clock_now(&g.m->clock);
	g.s.gpr[CPU_RCX] = 0x4b564d01;
	g.s.gpr[CPU_RAX] = AT_DATA | 1;
	assert_int_equal(RUN(clock_page), -1);
	assert_int_equal(guest_get(&g, AT_DATA, 4) & 1, 0);
	assert_true(guest_get(&g, AT_DATA, 4) != 0);
	assert_int_equal(guest_get(&g, AT_DATA + 16, 8), now);
	assert_int_equal(guest_get(&g, AT_DATA + 29, 1), 1);
	/* One second's worth of TSC is one second. */
	tsc = guest_get(&g, AT_DATA + 8, 8);
	assert_true(tsc <= (g.s.gpr[CPU_RAX] | g.s.gpr[CPU_RDX] << 32));
	shift = (int8_t)guest_get(&g, AT_DATA + 28, 1);
	delta = g.m->tsc_khz * 1000;
	delta = shift < 0 ? delta >> -shift : delta << shift;
	ns = (uint64_t)((unsigned __int128)delta * guest_get(&g, AT_DATA + 24, 4) >> 32);
	assert_true(ns > 999999990 && ns < 1000000010);

	/* A clock that has jumped: the page follows when the vCPU runs again. */
	clock_step(&g.m->clock, 1000000000);
	g.s.rip = AT_CODE2;
	guest_set(&g, AT_CODE2, 1, 0xf4);
	assert_int_equal(guest_run(&g), ENGINE_EXIT_HALT);
	assert_int_equal(guest_get(&g, AT_DATA + 16, 8), now + 1000000000);
}

static int setup(void **state)
{
	struct cpuid_wish wish;
	struct err e;

	guest_new(&g);
	engine_soft.abilities(&wish);
	wish.cpus = 1;
	wish.tsc_khz = g.m->tsc_khz = host_tsc_khz();
	cpuid_model_make(&g.m->cpuid, &wish);
	port.range = (struct bus_range){.base = 0x100, .len = 8, .ops = &port_ops, .name = "test"};
	return bus_add(&g.m->pio, &port.range, &e);
}

static int teardown(void **state)
{
	bus_del(&g.m->pio, &port.range);
	guest_free(&g);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ports_reach_devices),
		cmocka_unit_test(strings_go_through_ports),
		cmocka_unit_test(the_bitmap_gives_ring_3_its_ports),
		cmocka_unit_test(control_registers_are_checked),
		cmocka_unit_test(a_boot_loader_reaches_long_mode),
		cmocka_unit_test(descriptor_tables_are_loaded_and_stored),
		cmocka_unit_test(msrs_are_kept_or_refused),
		cmocka_unit_test(the_tsc_moves_with_its_adjustment),
		cmocka_unit_test(the_tsc_stands_still_with_the_machine),
		cmocka_unit_test(bases_of_fs_and_gs),
		cmocka_unit_test(data_breakpoints_report_behind_the_access),
		cmocka_unit_test(the_interrupt_flag_is_iopls),
		cmocka_unit_test(interrupts_are_taken_between_sti_and_cli),
		cmocka_unit_test(a_kick_ends_one_hlt),
		cmocka_unit_test(the_clock_page_tells_the_time),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
