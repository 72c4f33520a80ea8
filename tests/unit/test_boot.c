/* Boot protocols: guest memory and registers hold what each protocol promises. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "dev/firmware/blob.h"
#include "dev/firmware/boot.h"
#include "image/bzimage.h"
#include "image_make.h"

#define RAM  (64 * MIB)
#define RSDP 0xe0000

struct fixture {
	struct mem mem;
	struct e820 e820;
	struct boot_input in;
	struct kernel kernel;
	struct cpu_state cpu;
	struct boot_result result;
};

static void setup(struct fixture *f, struct file image)
{
	struct err e = {};

	memset(f, 0, sizeof(*f));
	mem_init(&f->mem);
	assert_int_equal(mem_add(&f->mem, "ram", MEM_RAM, 0, RAM, &e), 0);
	e820_make(&f->e820, RAM, 0);
	f->in = (struct boot_input){.mem = &f->mem,
	                            .e820 = &f->e820,
	                            .low_ram = RAM,
	                            .rsdp = RSDP,
	                            .cmdline = "console=ttyS0 a=b",
	                            .unpack = true};
	memset(f->in.seed, 0x5a, sizeof(f->in.seed));
	if (kernel_parse("k", &image, &f->kernel, &e) < 0)
		fail_msg("%s", e.text);
}

static void load(struct fixture *f)
{
	struct err e = {};

	if (boot_load(&f->kernel, &f->in, &f->cpu, &f->result, &e) < 0)
		fail_msg("%s", e.text);
}

static void load_fails(struct fixture *f, const char *why)
{
	struct err e = {};

	assert_true(boot_load(&f->kernel, &f->in, &f->cpu, &f->result, &e) < 0);
	if (!strstr(e.text, why))
		fail_msg("error is: %s", e.text);
}

static void teardown(struct fixture *f)
{
	kernel_free(&f->kernel);
	mem_fini(&f->mem);
}

static uint64_t get(struct fixture *f, gpa_t gpa, size_t len)
{
	uint8_t b[8];

	assert_int_equal(mem_read(&f->mem, gpa, b, len), 0);
	return load_le(b, len);
}

static void assert_text(struct fixture *f, gpa_t gpa, const char *want)
{
	char got[128] = "";

	assert_int_equal(mem_read(&f->mem, gpa, got, strlen(want) + 1), 0);
	assert_string_equal(got, want);
}

/* Walks the page tables of the state as the processor would. */
static uint64_t translate(struct fixture *f, uint64_t va)
{
	uint64_t t = f->cpu.cr3;

	for (int shift = 39; shift >= 21; shift -= 9) {
		uint64_t entry = get(f, (t & ~0xfffull) + (va >> shift & 511) * 8, 8);

		assert_true(entry & 1);
		if (shift == 21) {
			assert_true(entry & 1 << 7);
			return (entry & ~0x1fffffull) | (va & 0x1fffff);
		}
		t = entry;
	}
	return 0;
}

static void assert_long_mode(struct fixture *f)
{
	assert_int_equal(f->cpu.cr0 & (CR0_PE | CR0_PG), CR0_PE | CR0_PG);
	assert_true(f->cpu.cr4 & CR4_PAE);
	assert_int_equal(f->cpu.efer, EFER_LME | EFER_LMA);
	assert_true(f->cpu.seg[CPU_CS].attr & SEG_L);
	assert_false(f->cpu.rflags & FLAG_IF);
	assert_int_equal(translate(f, f->cpu.rip), f->cpu.rip);
	assert_int_equal(translate(f, 0xfee00123), 0xfee00123);
	/* The descriptor of CS, as the guest reads it from the table. */
	assert_int_equal(get(f, f->cpu.gdt.base + f->cpu.seg[CPU_CS].sel, 8), 0x00af9b000000ffff);
	assert_int_equal(get(f, f->cpu.gdt.base + f->cpu.seg[CPU_DS].sel, 8), 0x00cf93000000ffff);
}

static void assert_zero_page(struct fixture *f)
{
	uint64_t zero = f->cpu.gpr[CPU_RSI];

	assert_int_equal(get(f, zero + SETUP_HEADER, 4), 0x53726448); /* HdrS */
	assert_int_equal(get(f, zero + SETUP_LOADER_TYPE, 1), 0xff);
	assert_text(f, get(f, zero + SETUP_CMD_LINE_PTR, 4), "console=ttyS0 a=b");
	assert_int_equal(get(f, zero + 0x070, 8), RSDP);
	assert_int_equal(get(f, zero + 0x1e8, 1), f->e820.n);
	assert_int_equal(get(f, zero + 0x2d0, 8), 0);
	assert_int_equal(get(f, zero + 0x2d0 + 8, 8), E820_LOW_END);
	assert_int_equal(get(f, zero + 0x2d0 + 16, 4), E820_RAM);
}

static void test_linux_bzimage(void **state)
{
	struct fixture f;
	uint64_t data;

	setup(&f, make_bzimage((const uint8_t *)"payload", 7));
	load(&f);
	assert_int_equal(f.cpu.rip, 0x1000200);
	assert_int_equal(get(&f, f.cpu.rip, 4), 0xfdebf4fa);
	assert_long_mode(&f);
	assert_zero_page(&f);
	assert_int_equal(get(&f, f.cpu.gpr[CPU_RSI] + SETUP_PREF_ADDRESS, 8), 0x1000000);
	data = get(&f, f.cpu.gpr[CPU_RSI] + SETUP_DATA, 8);
	assert_int_equal(get(&f, data, 8), 0);
	assert_int_equal(get(&f, data + 8, 4), 9);
	assert_int_equal(get(&f, data + 12, 4), 32);
	assert_int_equal(get(&f, data + 16, 1), 0x5a);
	teardown(&f);
}

static void test_linux_initrd_is_high_and_whole(void **state)
{
	uint8_t disk[5000];
	struct fixture f;
	uint64_t at;

	memset(disk, 7, sizeof(disk));
	setup(&f, make_bzimage(NULL, 0));
	f.in.initrd = (struct file){disk, sizeof(disk)};
	load(&f);
	at = get(&f, f.cpu.gpr[CPU_RSI] + SETUP_RAMDISK_IMAGE, 4);
	assert_int_equal(at, RAM - 8192);
	assert_int_equal(at, f.result.initrd);
	assert_int_equal(get(&f, f.cpu.gpr[CPU_RSI] + SETUP_RAMDISK_SIZE, 4), 5000);
	assert_int_equal(get(&f, at + 4999, 1), 7);
	teardown(&f);
}

/* The payload: a legacy LZ4 frame with an uncompressed block around an ELF file. */
static struct file bzimage_with(struct file elf)
{
	struct blob b = {};
	struct file f;

	blob_u32(&b, 0x184c2102);
	blob_u32(&b, 0);
	blob_u8(&b, 0xf0);
	for (size_t left = elf.size - 15;; left -= 255) {
		blob_u8(&b, MIN(left, 255u));
		if (left < 255)
			break;
	}
	blob_put(&b, elf.data, elf.size);
	store_le(b.data + 4, b.len - 8, 4);
	f = make_bzimage(b.data, b.len);
	blob_free(&b);
	file_free(&elf);
	return f;
}

static struct file bzimage_with_vmlinux(void)
{
	return bzimage_with(make_elf64(0));
}

static void test_linux_payload_is_unpacked(void **state)
{
	struct fixture f;

	setup(&f, bzimage_with_vmlinux());
	load(&f);
	assert_int_equal(f.cpu.rip, MAKE_LOAD);
	assert_int_equal(get(&f, MAKE_LOAD, 4), 0xfdebf4fa);
	assert_long_mode(&f);
	assert_zero_page(&f);
	assert_non_null(strstr(f.result.protocol, "lz4"));
	teardown(&f);

	setup(&f, bzimage_with_vmlinux());
	f.in.unpack = false;
	load(&f);
	assert_int_equal(f.cpu.rip, 0x1000200);
	teardown(&f);
}

/* vmlinux with the lists that its build appends: one place of each kind, 16 bytes apart. */
static struct file relocatable_vmlinux(uint32_t first_place)
{
	struct file elf = make_elf64(0);
	struct blob b = {};

	store_le(elf.data + 40, elf.size, 8); /* e_shoff: the file's end */
	blob_put(&b, elf.data, elf.size);
	for (unsigned i = 0; i < 3; i++) {
		blob_u32(&b, 0);
		blob_u32(&b, first_place + 16 * i);
	}
	file_free(&elf);
	return (struct file){b.data, b.len};
}

#define PLACES (0x80000000u + MAKE_LOAD + 0x100)

static void test_linux_payload_moves_to_a_random_address(void **state)
{
	struct fixture f;
	uint64_t delta;

	setup(&f, bzimage_with(relocatable_vmlinux(PLACES)));
	f.in.kaslr_random = 5;
	load(&f);
	delta = get(&f, MAKE_LOAD + 0x100, 8);
	assert_int_equal(delta, 5 * 2 * MIB);
	assert_int_equal(get(&f, MAKE_LOAD + 0x110, 4), (uint32_t)-delta);
	assert_int_equal(get(&f, MAKE_LOAD + 0x120, 8), delta); /* the upper half untouched */
	assert_int_equal(get(&f, f.cpu.gpr[CPU_RSI] + SETUP_LOADFLAGS, 1) & 2, 2);
	assert_int_equal(f.cpu.rip, MAKE_LOAD);
	teardown(&f);

	setup(&f, bzimage_with(relocatable_vmlinux(PLACES)));
	f.in.kaslr_random = 5;
	f.in.cmdline = "quiet nokaslr";
	load(&f);
	assert_int_equal(get(&f, MAKE_LOAD + 0x100, 8), 0);
	assert_int_equal(get(&f, f.cpu.gpr[CPU_RSI] + SETUP_LOADFLAGS, 1) & 2, 0);
	teardown(&f);

	/* A place outside the kernel: nothing is changed, the kernel starts where it is linked. */
	setup(&f, bzimage_with(relocatable_vmlinux(PLACES + 0x2000 - 0x120)));
	f.in.kaslr_random = 5;
	load(&f);
	assert_int_equal(get(&f, MAKE_LOAD + 0x1fe0, 8), 0);
	teardown(&f);
}

static void test_linux_bare_elf(void **state)
{
	struct fixture f;

	setup(&f, make_elf64(0));
	load(&f);
	assert_int_equal(f.cpu.rip, MAKE_LOAD);
	assert_long_mode(&f);
	assert_zero_page(&f);
	teardown(&f);
}

static void test_linux_errors(void **state)
{
	char line[3000];
	struct fixture f;

	setup(&f, make_bzimage(NULL, 0));
	f.in.low_ram = 16 * MIB;
	e820_make(&f.e820, 16 * MIB, 0);
	load_fails(&f, "too little memory");
	teardown(&f);

	setup(&f, make_bzimage(NULL, 0));
	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = 0;
	f.in.cmdline = line;
	load_fails(&f, "shorten --append");
	teardown(&f);

	setup(&f, make_bzimage(NULL, 0));
	f.in.initrd = (struct file){(uint8_t *)line, 60 * MIB};
	load_fails(&f, "give --memory more");
	teardown(&f);
}

static void assert_flat32(struct fixture *f)
{
	assert_int_equal(f->cpu.cr0 & (CR0_PE | CR0_PG), CR0_PE);
	assert_int_equal(f->cpu.efer, 0);
	assert_int_equal(f->cpu.rflags, FLAG_FIXED);
	for (unsigned i = 0; i < CPU_SEGS; i++) {
		assert_int_equal(f->cpu.seg[i].base, 0);
		assert_int_equal(f->cpu.seg[i].limit, 0xffffffff);
		assert_true(f->cpu.seg[i].attr & SEG_DB);
	}
}

static void test_pvh(void **state)
{
	struct boot_module module = {"m", "args of m", {(uint8_t *)"module", 6}};
	struct fixture f;
	uint64_t info, list, map;

	setup(&f, make_elf64(MAKE_LOAD + 2));
	f.in.module = &module;
	f.in.modules = 1;
	load(&f);
	assert_flat32(&f);
	assert_int_equal(f.cpu.rip, MAKE_LOAD + 2);
	info = f.cpu.gpr[CPU_RBX];
	assert_int_equal(get(&f, info, 4), 0x336ec578);
	assert_int_equal(get(&f, info + 4, 4), 1);
	assert_int_equal(get(&f, info + 12, 4), 1);
	assert_text(&f, get(&f, info + 24, 8), "console=ttyS0 a=b");
	assert_int_equal(get(&f, info + 32, 8), RSDP);
	list = get(&f, info + 16, 8);
	assert_int_equal(get(&f, get(&f, list, 8), 6), 0x656c75646f6d); /* "module" */
	assert_int_equal(get(&f, list + 8, 8), 6);
	assert_text(&f, get(&f, list + 16, 8), "args of m");
	map = get(&f, info + 40, 8);
	assert_int_equal(get(&f, info + 48, 4), f.e820.n);
	assert_int_equal(get(&f, map + 8, 8), E820_LOW_END);
	assert_int_equal(get(&f, map + 16, 4), E820_RAM);
	teardown(&f);
}

static void test_multiboot(void **state)
{
	struct boot_module module = {"m", "args", {(uint8_t *)"module", 6}};
	struct fixture f;
	uint64_t info, mod, map, entries = 0;

	setup(&f, make_elf32_multiboot());
	f.in.module = &module;
	f.in.modules = 1;
	load(&f);
	assert_flat32(&f);
	assert_int_equal(f.cpu.gpr[CPU_RAX], 0x2badb002);
	info = f.cpu.gpr[CPU_RBX];
	assert_int_equal(get(&f, info + 4, 4), 639);
	assert_int_equal(get(&f, info + 8, 4), (RAM - MIB) / KIB);
	assert_text(&f, get(&f, info + 16, 4), "k console=ttyS0 a=b");
	assert_text(&f, get(&f, info + 64, 4), "Casulo");
	assert_int_equal(get(&f, info + 20, 4), 1);
	mod = get(&f, info + 24, 4);
	assert_int_equal(get(&f, mod, 4) % 4096, 0);
	assert_true(get(&f, mod, 4) >= MAKE_LOAD + 0x3000);
	assert_int_equal(get(&f, mod + 4, 4) - get(&f, mod, 4), 6);
	assert_text(&f, get(&f, mod + 8, 4), "m args");
	map = get(&f, info + 48, 4);
	for (uint64_t at = 0; at < get(&f, info + 44, 4); at += get(&f, map + at, 4) + 4)
		entries++;
	assert_int_equal(entries, f.e820.n);
	/* What real mode finds: conventional memory, and a handler behind each vector. */
	assert_int_equal(get(&f, 0x40e, 2), 0x9fc0);
	assert_int_equal(get(&f, 0x413, 2), 639);
	assert_int_equal(get(&f, get(&f, 0x13 * 4, 4) + 8, 1), 0xcf);
	assert_int_equal(get(&f, 0xff * 4, 4), get(&f, 0, 4));
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_linux_bzimage),
		cmocka_unit_test(test_linux_initrd_is_high_and_whole),
		cmocka_unit_test(test_linux_payload_is_unpacked),
		cmocka_unit_test(test_linux_payload_moves_to_a_random_address),
		cmocka_unit_test(test_linux_bare_elf),
		cmocka_unit_test(test_linux_errors),
		cmocka_unit_test(test_pvh),
		cmocka_unit_test(test_multiboot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
