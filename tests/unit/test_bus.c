/* Buses: accesses find their device, and are split where a real bus splits them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "machine/bus.h"

struct recorder {
	struct bus_range range;
	uint64_t offset[8], value[8];
	unsigned size[8], n;
};

static uint64_t record_read(void *dev, uint64_t offset, unsigned size)
{
	struct recorder *r = dev;
	uint64_t value = 0;

	r->offset[r->n] = offset;
	r->size[r->n++] = size;
	for (unsigned i = size; i-- > 0;)
		value = value << 8 | ((offset + i) & 0xff);
	return value;
}

static void record_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct recorder *r = dev;

	r->offset[r->n] = offset;
	r->value[r->n] = value;
	r->size[r->n++] = size;
}

static const struct bus_ops ops4 = {record_read, record_write, 4};
static const struct bus_ops ops1 = {record_read, record_write, 1};

static struct recorder device(const char *name, uint64_t base, uint64_t len,
                              const struct bus_ops *ops)
{
	return (struct recorder){.range = {.base = base, .len = len, .ops = ops, .name = name}};
}

static void add(struct bus *b, struct recorder *r)
{
	struct err e;

	r->range.dev = r;
	assert_int_equal(bus_add(b, &r->range, &e), 0);
}

static void nobody_answers_ones(void **state)
{
	struct bus b = {0};

	assert_int_equal(bus_read(&b, 0x80, 1), 0xff);
	assert_int_equal(bus_read(&b, 0x80, 4), 0xffffffff);
	assert_true(bus_read(&b, UINT64_MAX - 3, 8) == UINT64_MAX);
	bus_write(&b, 0x80, 4, 1);
}

static void wide_accesses_are_split(void **state)
{
	struct bus b = {0};
	struct recorder r = device("r", 0x1000, 0x10, &ops4), byte = device("b", 0x2000, 8, &ops1);

	add(&b, &r);
	add(&b, &byte);
	assert_true(bus_read(&b, 0x1000, 8) == 0x0706050403020100);
	assert_int_equal(r.n, 2);
	assert_int_equal(r.size[1], 4);
	assert_int_equal(r.offset[1], 4);
	bus_write(&b, 0x2001, 2, 0xbbaa);
	assert_int_equal(byte.n, 2);
	assert_int_equal(byte.value[0], 0xaa);
	assert_int_equal(byte.value[1], 0xbb);
	assert_int_equal(byte.offset[1], 2);
}

static void accesses_straddle_ranges(void **state)
{
	struct bus b = {0};
	struct recorder high = device("high", 0x1004, 4, &ops4),
			low = device("low", 0x1000, 4, &ops4);

	add(&b, &high);
	add(&b, &low);
	/* Two bytes of each */
	assert_int_equal(bus_read(&b, 0x1002, 4), 0x01000302);
	assert_int_equal(low.size[0], 2);
	assert_int_equal(high.offset[0], 0);
	/* The last byte, and the nothing behind it */
	assert_int_equal(bus_read(&b, 0x1007, 2), 0xff03);
	assert_int_equal(bus_read(&b, 0xfff, 2), 0x00ff);
}

static void overlaps_are_refused(void **state)
{
	struct bus b = {0};
	struct recorder a = device("a", 0x100, 0x10, &ops4), c = device("c", 0x10f, 1, &ops4),
			d = device("d", 0x110, 1, &ops4), top = device("top", ~0ull, 2, &ops4);
	struct err e;

	add(&b, &a);
	assert_int_equal(bus_add(&b, &c.range, &e), -EEXIST);
	assert_non_null(strstr(e.text, "'a'"));
	assert_int_equal(bus_add(&b, &top.range, &e), -EINVAL);
	add(&b, &d);
	assert_ptr_equal(bus_find(&b, 0x10f), &a.range);
	assert_ptr_equal(bus_find(&b, 0x110), &d.range);
	bus_del(&b, &a.range);
	bus_del(&b, &a.range);
	assert_null(bus_find(&b, 0x10f));
}

static void a_guest_moves_a_range(void **state)
{
	struct bus b = {0};
	struct recorder a = device("a", 0x1000, 0x1000, &ops4),
			bar = device("bar", 0, 0x1000, &ops4);

	add(&b, &a);
	bar.range.dev = &bar;
	bus_move(&b, &bar.range, 0x8000, true);
	assert_ptr_equal(bus_find(&b, 0x8fff), &bar.range);
	bus_move(&b, &bar.range, 0x4000, true);
	assert_null(bus_find(&b, 0x8000));
	assert_ptr_equal(bus_find(&b, 0x4000), &bar.range);
	/* Onto another one, and around the end: off, and the other one stays */
	bus_move(&b, &bar.range, 0x1800, true);
	assert_false(bar.range.on);
	assert_ptr_equal(bus_find(&b, 0x1800), &a.range);
	bus_move(&b, &bar.range, ~0ull, true);
	assert_false(bar.range.on);
	bus_move(&b, &bar.range, 0x2000, false);
	assert_null(bus_find(&b, 0x2000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_answers_ones),
		cmocka_unit_test(wide_accesses_are_split),
		cmocka_unit_test(accesses_straddle_ranges),
		cmocka_unit_test(overlaps_are_refused),
		cmocka_unit_test(a_guest_moves_a_range),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
