/* Guest memory: exact bounds, ranges side by side, ROM, and a dirty log that misses nothing. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "machine/mem.h"

static int setup(void **state)
{
	static struct mem m;
	struct err e;

	mem_init(&m);
	assert_int_equal(mem_add(&m, "high", MEM_RAM, 0x100000, 0x100000, &e), 0);
	assert_int_equal(mem_add(&m, "low", MEM_RAM, 0, 0xa0000, &e), 0);
	assert_int_equal(mem_add(&m, "bios", MEM_ROM, 0xe0000, 0x20000, &e), 0);
	*state = &m;
	return 0;
}

static int teardown(void **state)
{
	mem_fini(*state);
	return 0;
}

static void bounds_are_exact(void **state)
{
	struct mem *m = *state;

	assert_non_null(mem_ptr(m, 0x9ffff, 1, true));
	assert_null(mem_ptr(m, 0x9ffff, 2, true));
	assert_null(mem_ptr(m, 0xa0000, 1, false));
	assert_null(mem_ptr(m, 0x200000, 1, false));
	assert_non_null(mem_ptr(m, 0x100000, 0x100000, true));
	assert_null(mem_ptr(m, 0x100000, 0x100001, true));
	assert_null(mem_ptr(m, 0x1fffff, UINT64_MAX, true));
	assert_null(mem_ptr(m, UINT64_MAX, 1, false));
	assert_int_equal(mem_find(m, 0xfffff)->kind, MEM_ROM);
	assert_int_equal(mem_find(m, 0x100000)->gpa, 0x100000);
}

static void copies_straddle_ranges(void **state)
{
	struct mem *m = *state;
	uint8_t in[8] = {1, 2, 3, 4, 5, 6, 7, 8}, out[8] = {0};

	assert_int_equal(mem_load(m, 0xffffc, in, 8), 0);
	assert_int_equal(mem_read(m, 0xffffc, out, 8), 0);
	assert_memory_equal(in, out, 8);
	assert_int_equal(*(uint8_t *)mem_ptr(m, 0x100000, 1, false), 5);
	/* Into a hole: nothing is written */
	assert_int_equal(mem_write(m, 0x9fffc, in, 8), -EFAULT);
	assert_int_equal(mem_read(m, 0x9fffc, out, 4), 0);
	assert_int_equal(out[0], 0);
	assert_int_equal(mem_read(m, UINT64_MAX - 3, out, 8), -EFAULT);
	assert_int_equal(mem_read(m, 0x500000, out, 0), 0);
}

static void rom_is_read_only(void **state)
{
	struct mem *m = *state;
	uint8_t in[8] = {9, 9, 9, 9, 9, 9, 9, 9}, out[8];

	assert_null(mem_ptr(m, 0xe0000, 1, true));
	assert_non_null(mem_ptr(m, 0xe0000, 1, false));
	assert_int_equal(mem_write(m, 0xe0000, in, 8), -EFAULT);
	/* A write that begins in ROM and ends in RAM changes neither */
	assert_int_equal(mem_write(m, 0xffffc, in, 8), -EFAULT);
	assert_int_equal(mem_read(m, 0x100000, out, 4), 0);
	assert_int_equal(out[0], 0);
	assert_int_equal(mem_load(m, 0xe0000, in, 8), 0);
	assert_int_equal(mem_read(m, 0xe0000, out, 8), 0);
	assert_memory_equal(in, out, 8);
}

static void bad_ranges_are_refused(void **state)
{
	struct mem *m = *state;
	struct err e;

	assert_int_equal(mem_add(m, "x", MEM_RAM, 0x1ff000, 0x2000, &e), -EEXIST);
	assert_non_null(strstr(e.text, "'high'"));
	assert_int_equal(mem_add(m, "x", MEM_RAM, 0x300001, 0x1000, &e), -EINVAL);
	assert_int_equal(mem_add(m, "x", MEM_RAM, 0x300000, 0, &e), -EINVAL);
	assert_int_equal(mem_add(m, "x", MEM_RAM, ~0xfffull, 0x2000, &e), -EINVAL);
	assert_int_equal(mem_add(m, "x", MEM_RAM, 1ull << 40, 1ull << 50, &e), -ENOMEM);
	assert_non_null(strstr(e.text, "--memory"));
	assert_int_equal(m->n, 3);
}

static void dirty_log_sees_writes(void **state)
{
	struct mem *m = *state;
	uint64_t low = mem_page(m, 0), bits[5];
	uint8_t byte = 1, two[2] = {1, 1};
	struct err e;

	assert_int_equal(mem_write(m, 0x5000, &byte, 1), 0);
	assert_int_equal(mem_dirty_start(m, &e), 0);
	assert_int_equal(mem_write(m, 0x3fff, two, 2), 0);
	memset(mem_ptr(m, 0x9f000, 0x1000, true), 7, 0x1000);
	mem_written(m, 0x9f000, 0x1000);
	assert_int_equal(mem_dirty_fetch(m, low, 160, bits), 3);
	assert_int_equal(bits[0], 1 << 3 | 1 << 4);
	assert_int_equal(bits[2], 1u << 31);
	assert_int_equal(mem_dirty_fetch(m, low, 160, bits), 0);
	/* A window that begins inside a word of the log */
	assert_int_equal(mem_write(m, 0x46000, &byte, 1), 0);
	assert_int_equal(mem_write(m, 0x45000, &byte, 1), 0);
	assert_int_equal(mem_dirty_fetch(m, low + 0x45 - 3, 4, bits), 1);
	assert_int_equal(bits[0], 8);
	assert_int_equal(mem_dirty_fetch(m, low, 160, bits), 1);
	assert_int_equal(mem_dirty_fetch(m, m->pages, 1, bits), 0);
}

static gpa_t heard_gpa;
static uint64_t heard_len;

static void hear(void *engine, gpa_t gpa, uint64_t len)
{
	heard_gpa = gpa;
	heard_len = len;
}

static void the_engine_hears_of_writes(void **state)
{
	struct mem *m = *state;
	uint8_t byte = 1;

	m->written = hear;
	assert_int_equal(mem_write(m, 0x1234, &byte, 1), 0);
	assert_int_equal(heard_gpa, 0x1234);
	assert_int_equal(heard_len, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(bounds_are_exact, setup, teardown),
		cmocka_unit_test_setup_teardown(copies_straddle_ranges, setup, teardown),
		cmocka_unit_test_setup_teardown(rom_is_read_only, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_ranges_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(dirty_log_sees_writes, setup, teardown),
		cmocka_unit_test_setup_teardown(the_engine_hears_of_writes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
