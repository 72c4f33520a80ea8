/* Plans: what a wish becomes, without touching the host. */
#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "image_make.h"
#include "vm/plan.h"

static const char golden[] =
	"engine   soft (the reason)\n"
	"boot     Linux 64-bit, unpacked by the kernel itself\n"
	"append   console=ttyS0\n"
	"cpus     2\n"
	"memory   4 GiB\n"
	"address map\n"
	"  0x0000000000-0x00bfffffff  RAM\n"
	"  0x00c0000000-0x00dfffffff  PCI 32-bit\n"
	"  0x00e0000000-0x00efffffff  PCI ECAM\n"
	"  0x00f0000000-0x00febfffff  PCI 32-bit\n"
	"  0x00fec00000-0x00fec00fff  IOAPIC\n"
	"  0x00fee00000-0x00fee00fff  local APIC\n"
	"  0x0100000000-0x013fffffff  RAM\n"
	"  0x1000000000-0x1fffffffff  PCI 64-bit\n"
	"memory map (e820)\n"
	"  0x0000000000-0x000009fbff  usable\n"
	"  0x000009fc00-0x000009ffff  reserved\n"
	"  0x00000e0000-0x00000fffff  reserved\n"
	"  0x0000100000-0x00bfffffff  usable\n"
	"  0x00e0000000-0x00efffffff  reserved\n"
	"  0x00fec00000-0x00fec00fff  reserved\n"
	"  0x00fee00000-0x00fee00fff  reserved\n"
	"  0x0100000000-0x013fffffff  usable\n"
	"devices\n"
	"  lapic           memory 0xfee00000    -             \n"
	"  ioapic          memory 0xfec00000    -             \n"
	"  pic             port 0x20-0x21       -             \n"
	"  pit             port 0x40-0x43       irq 0         \n"
	"  rtc             port 0x70-0x71       irq 8         \n"
	"  acpi-pm         port 0x600-0x63f     irq 9         \n"
	"  i8042           port 0x60-0x64       irq 1         \n"
	"  com1            port 0x3f8-0x3ff     irq 4          stdio\n"
	"  pci             pci 00:00.0          -             \n"
	"  virtio-rng0     pci 00:01.0          irq 17, MSI-X \n"
	"  virtio-blk0     pci 00:02.0          irq 18, MSI-X  a.img (raw)\n"
	"  virtio-blk1     pci 00:03.0          irq 19, MSI-X  b.img (raw, read-only)\n"
	"  virtio-net0     pci 00:04.0          irq 16, MSI-X  user\n";

struct fixture {
	struct vm_spec spec;
	struct kernel kernel;
	struct vm_plan plan;
};

static void setup(struct fixture *f, struct file image)
{
	vm_spec_init(&f->spec);
	f->spec.kernel = "k";
	assert_int_equal(kernel_parse("k", &image, &f->kernel, NULL), 0);
}

static void make(struct fixture *f)
{
	assert_int_equal(vm_spec_check(&f->spec, NULL), 0);
	vm_plan_make(&f->spec, &f->kernel, 0, "soft", "the reason", &f->plan);
}

static void teardown(struct fixture *f)
{
	kernel_free(&f->kernel);
	vm_spec_fini(&f->spec);
}

static void test_golden_text(void **state)
{
	AUTO_FREE char *text = NULL;
	struct fixture f;

	setup(&f, make_bzimage(NULL, 0));
	f.spec.cpus = 2;
	f.spec.memory = 4 * GIB;
	assert_int_equal(vm_spec_add_disk(&f.spec, "a.img", NULL), 0);
	assert_int_equal(vm_spec_add_disk(&f.spec, "b.img,format=raw,readonly", NULL), 0);
	make(&f);
	text = vm_plan_text(&f.plan);
	assert_string_equal(text, golden);
	teardown(&f);
}

static void test_json_has_the_same(void **state)
{
	struct fixture f;
	struct json *j, *devices;
	uint64_t cpus;

	setup(&f, make_bzimage(NULL, 0));
	f.spec.net = "none";
	make(&f);
	j = vm_plan_json(&f.plan);
	assert_string_equal(json_to_str(json_get(j, "engine")), "soft");
	assert_int_equal(json_to_u64(json_get(j, "cpus"), &cpus), 0);
	assert_int_equal(cpus, 1);
	devices = json_get(j, "devices");
	assert_int_equal(json_len(devices), f.plan.devices);
	assert_string_equal(json_to_str(json_get(json_at(devices, 0), "name")), "lapic");
	json_free(j);
	teardown(&f);
}

/* Memory map and address map cover the wished RAM exactly, whatever its size. */
static void test_ram_adds_up(void **state)
{
	static const uint64_t sizes[] = {16 * MIB, 512 * MIB,     3 * GIB - MIB,
	                                 3 * GIB,  3 * GIB + MIB, 64 * GIB};

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		uint64_t ram = 0, usable = 0, end = 0;
		struct fixture f;

		setup(&f, make_bzimage(NULL, 0));
		f.spec.memory = sizes[i];
		make(&f);
		for (unsigned k = 0; k < f.plan.ranges; k++) {
			const struct plan_range *r = &f.plan.range[k];

			assert_true(r->base >= end);
			end = r->base + r->size;
			if (strcmp(r->name, "RAM") == 0)
				ram += r->size;
		}
		assert_int_equal(ram, sizes[i]);
		end = 0;
		for (unsigned k = 0; k < f.plan.e820.n; k++) {
			const struct e820_entry *r = &f.plan.e820.entry[k];

			assert_true(r->base >= end);
			end = r->base + r->size;
			if (r->type == E820_RAM)
				usable += r->size;
		}
		/* All but the legacy area from the end of conventional memory to 1 MiB. */
		assert_int_equal(usable, sizes[i] - (MIB - E820_LOW_END));
		teardown(&f);
	}
}

/* SeaBIOS moves ECAM to where a plan for it has it already, and RAM has to end before. */
static void test_firmware_plan(void **state)
{
	AUTO_FREE char *text = NULL;
	struct vm_spec s;
	struct vm_plan p;

	vm_spec_init(&s);
	s.bios = "b";
	s.memory = 4 * GIB;
	assert_int_equal(vm_spec_check(&s, NULL), 0);
	vm_plan_make(&s, NULL, 256 * KIB, "soft", "the reason", &p);
	assert_int_equal(p.low_ram, 0xb0000000);
	assert_int_equal(p.high_ram, 0x50000000);
	assert_int_equal(p.ecam, 0xb0000000);
	assert_non_null(vm_plan_find(&p, PLAN_FW_CFG));
	text = vm_plan_text(&p);
	assert_non_null(strstr(text, "  0x0000000000-0x00afffffff  RAM\n"
	                             "  0x00b0000000-0x00bfffffff  PCI ECAM\n"
	                             "  0x00c0000000-0x00febfffff  PCI 32-bit\n"));
	assert_non_null(strstr(text, "  0x00fffc0000-0x00ffffffff  firmware\n"));
}

static void test_virtio_console(void **state)
{
	AUTO_FREE char *text = NULL;
	struct fixture f;

	setup(&f, make_bzimage(NULL, 0));
	assert_null(f.spec.virtio_console);
	assert_int_equal(vm_spec_add_device(&f.spec, "virtio-console", NULL), 0);
	assert_string_equal(f.spec.virtio_console, "pty");
	assert_int_equal(vm_spec_add_device(&f.spec, "virtio-console=file=out", NULL), 0);
	make(&f);
	text = vm_plan_text(&f.plan);
	assert_non_null(
		strstr(text, "virtio-console0 pci 00:03.0          irq 19, MSI-X  file=out"));
	teardown(&f);
}

static void rejected(void (*change)(struct vm_spec *s), const char *why)
{
	struct vm_spec s;
	struct err e = {};

	vm_spec_init(&s);
	s.kernel = "k";
	change(&s);
	assert_int_equal(vm_spec_check(&s, &e), -EINVAL);
	if (!strstr(e.text, why) || strchr(e.text, '\n'))
		fail_msg("error is: %s", e.text);
}

static void no_kernel(struct vm_spec *s)
{
	s->kernel = NULL;
}

static void two_firsts(struct vm_spec *s)
{
	s->bios = "b";
}

static void bios_with_initrd(struct vm_spec *s)
{
	s->kernel = NULL;
	s->bios = "b";
	s->initrd = "i";
}

static void small(struct vm_spec *s)
{
	s->memory = MIB;
}

static void crooked(struct vm_spec *s)
{
	s->memory = 512 * MIB + 4096;
}

static void many_cpus(struct vm_spec *s)
{
	s->cpus = 255;
}

static void no_tap_name(struct vm_spec *s)
{
	s->net = "tap=";
}

static void stdio_twice(struct vm_spec *s)
{
	s->virtio_console = "stdio";
}

static void odd_console(struct vm_spec *s)
{
	s->virtio_console = "teletype";
}

static void test_spec_rules(void **state)
{
	rejected(no_kernel, "nothing to boot: give --kernel");
	rejected(two_firsts, "both --kernel and --bios");
	rejected(bios_with_initrd, "leave them out with --bios");
	rejected(small, "too little memory");
	rejected(crooked, "not a whole number of MiB");
	rejected(many_cpus, "--cpus 255: give 1 to 254");
	rejected(no_tap_name, "--net user, tap=NAME or none");
	rejected(stdio_twice, "two consoles want stdio");
	rejected(odd_console, "unknown console 'teletype'");
}

static void test_disk_and_module_texts(void **state)
{
	struct vm_spec s;
	struct err e = {};

	vm_spec_init(&s);
	assert_true(vm_spec_add_disk(&s, "a,format=vhs", &e) < 0);
	assert_non_null(strstr(e.text, "'vhs'"));
	assert_true(vm_spec_add_disk(&s, "a,writable", &e) < 0);
	assert_non_null(strstr(e.text, "'writable'"));
	assert_true(vm_spec_add_disk(&s, ",readonly", &e) < 0);
	assert_int_equal(vm_spec_add_module(&s, "vmlinuz console=hvc0 x", &e), 0);
	assert_string_equal(s.module[0].path, "vmlinuz");
	assert_string_equal(s.module[0].args, "console=hvc0 x");
	vm_spec_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden_text),
		cmocka_unit_test(test_json_has_the_same),
		cmocka_unit_test(test_ram_adds_up),
		cmocka_unit_test(test_firmware_plan),
		cmocka_unit_test(test_virtio_console),
		cmocka_unit_test(test_spec_rules),
		cmocka_unit_test(test_disk_and_module_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
