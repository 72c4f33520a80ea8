/* ACPI tables: a guest that walks them from the RSDP finds everything, with right checksums. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "dev/firmware/acpi.h"
#include "dev/firmware/aml.h"

#define BASE 0xe0040u

static unsigned gsi(unsigned device, unsigned pin)
{
	return 16 + (device + pin) % 8;
}

static const struct acpi_platform platform = {
	.cpus = 2,
	.lapic_base = 0xfee00000,
	.ioapic_base = 0xfec00000,
	.pm_event_port = 0x600,
	.pm_control_port = 0x604,
	.pm_timer_port = 0x608,
	.sci = 9,
	.s5_type = 5,
	.reset_port = 0xcf9,
	.reset_value = 6,
	.com1 = true,
	.rtc = true,
	.ecam_base = 0xe0000000,
	.ecam_size = 256 << 20,
	.buses = 256,
	.hole_base = 0xc0000000,
	.hole_end = 0xfec00000,
	.high_base = 64ull << 30,
	.high_end = 128ull << 30,
	.intx_gsi = gsi,
};

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	while (len--)
		s += *p++;
	return s;
}

static const uint8_t *table_at(const struct acpi *a, uint64_t gpa)
{
	assert_in_range(gpa, BASE, BASE + a->tables.len - 36);
	return a->tables.data + (gpa - BASE);
}

/* By the pointers, as an operating system would. */
static const uint8_t *find(const struct acpi *a, const char *signature)
{
	const uint8_t *xsdt = table_at(a, load_le(a->rsdp + 24, 8));
	size_t len = load_le(xsdt + 4, 4);

	assert_memory_equal(xsdt, "XSDT", 4);
	assert_int_equal(sum(xsdt, len), 0);
	for (size_t at = 36; at < len; at += 8) {
		const uint8_t *t = table_at(a, load_le(xsdt + at, 8));

		assert_int_equal(sum(t, load_le(t + 4, 4)), 0);
		if (memcmp(t, signature, 4) == 0)
			return t;
	}
	return NULL;
}

static void build(struct acpi *a, const struct acpi_platform *p)
{
	acpi_build(p, a);
	acpi_place(a, BASE);
}

static void test_rsdp(void **state)
{
	struct acpi a;

	build(&a, &platform);
	assert_memory_equal(a.rsdp, "RSD PTR ", 8);
	assert_int_equal(sum(a.rsdp, 20), 0);
	assert_int_equal(sum(a.rsdp, sizeof(a.rsdp)), 0);
	assert_null(find(&a, "HPET"));
	acpi_free(&a);
}

static void test_fadt(void **state)
{
	const uint8_t *t, *dsdt, *facs;
	struct acpi a;

	build(&a, &platform);
	t = find(&a, "FACP");
	assert_non_null(t);
	dsdt = table_at(&a, load_le(t + 140, 8));
	assert_int_equal(load_le(t + 40, 4), load_le(t + 140, 8));
	assert_memory_equal(dsdt, "DSDT", 4);
	assert_int_equal(sum(dsdt, load_le(dsdt + 4, 4)), 0);
	facs = table_at(&a, load_le(t + 36, 4));
	assert_memory_equal(facs, "FACS", 4);
	assert_int_equal((load_le(t + 36, 4)) % 64, 0);
	assert_int_equal(load_le(t + 56, 4), 0x600);
	assert_int_equal(load_le(t + 172 + 4, 8), 0x604);
	assert_int_equal(load_le(t + 116 + 4, 8), 0xcf9);
	assert_int_equal(t[128], 6);
	acpi_free(&a);
}

/* Counts MADT entries of a type. */
static unsigned madt_count(const uint8_t *t, uint8_t type)
{
	size_t len = load_le(t + 4, 4);
	unsigned n = 0;

	for (size_t at = 44; at < len; at += t[at + 1]) {
		assert_true(t[at + 1] >= 2 && at + t[at + 1] <= len);
		n += t[at] == type;
	}
	return n;
}

static void test_madt(void **state)
{
	struct acpi_platform p = platform;
	const uint8_t *t;
	struct acpi a;

	build(&a, &p);
	t = find(&a, "APIC");
	assert_int_equal(madt_count(t, 0), 2);
	assert_int_equal(madt_count(t, 1), 1);
	assert_int_equal(madt_count(t, 2), 2);
	assert_int_equal(madt_count(t, 9), 0);
	acpi_free(&a);

	/* Ids that 8 bits cannot hold (255 is the broadcast) are x2APIC entries. */
	p.cpus = 300;
	build(&a, &p);
	t = find(&a, "APIC");
	assert_int_equal(madt_count(t, 0), 255);
	assert_int_equal(madt_count(t, 9), 45);
	assert_int_equal(madt_count(t, 10), 1);
	acpi_free(&a);
}

static void test_mcfg(void **state)
{
	const uint8_t *t;
	struct acpi a;

	build(&a, &platform);
	t = find(&a, "MCFG");
	assert_int_equal(load_le(t + 44, 8), 0xe0000000);
	assert_int_equal(t[55], 255);
	acpi_free(&a);
}

/* Guest firmware that carries out the commands gets what acpi_place() makes. */
static void test_loader_commands(void **state)
{
	struct acpi a, placed;
	struct blob cmd = {};

	acpi_build(&platform, &a);
	acpi_loader(&a, &cmd);
	assert_int_equal(cmd.len % 128, 0);
	for (size_t at = 0; at < cmd.len; at += 128) {
		const uint8_t *c = cmd.data + at, *f = c + 60;
		bool rsdp = strstr((const char *)c + 4, "rsdp");
		uint8_t *file = rsdp ? a.rsdp : a.tables.data;

		if (load_le(c, 4) == 2) {
			uint8_t *p = file + load_le(c + 116, 4);

			store_le(p, load_le(p, c[120]) + BASE, c[120]);
		} else if (load_le(c, 4) == 3) {
			uint8_t *p = file + load_le(f, 4);

			*p -= sum(file + load_le(f + 4, 4), load_le(f + 8, 4));
		}
	}
	build(&placed, &platform);
	assert_int_equal(placed.tables.len, a.tables.len);
	assert_memory_equal(placed.tables.data, a.tables.data, a.tables.len);
	assert_memory_equal(placed.rsdp, a.rsdp, sizeof(a.rsdp));
	acpi_free(&a);
	acpi_free(&placed);
	blob_free(&cmd);
}

static void test_aml_bytes(void **state)
{
	/* Scope (\_SB) { Device (X) { Name (_HID, EisaId ("PNP0A03")) Name (_UID, 0x1234) } } */
	static const uint8_t want[] = {0x10, 0x1f, '\\', '_',  'S',  'B',  '_',  0x5b,
	                               0x82, 0x18, 'X',  '_',  '_',  '_',  0x08, '_',
	                               'H',  'I',  'D',  0x0c, 0x41, 0xd0, 0x0a, 0x03,
	                               0x08, '_',  'U',  'I',  'D',  0x0b, 0x34, 0x12};
	struct blob b = {};
	struct aml a = {.out = &b};

	aml_scope(&a, "\\_SB");
	aml_device(&a, "X");
	aml_name_eisa(&a, "_HID", "PNP0A03");
	aml_name_int(&a, "_UID", 0x1234);
	aml_end(&a);
	aml_end(&a);
	assert_int_equal(b.data[1], b.len - 1);
	assert_int_equal(b.data[9], b.len - 9);
	assert_int_equal(b.len, sizeof(want));
	assert_memory_equal(b.data + 10, want + 10, sizeof(want) - 10);
	blob_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rsdp),
		cmocka_unit_test(test_fadt),
		cmocka_unit_test(test_madt),
		cmocka_unit_test(test_mcfg),
		cmocka_unit_test(test_loader_commands),
		cmocka_unit_test(test_aml_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
