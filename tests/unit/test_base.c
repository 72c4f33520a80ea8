/* Errors, checked numbers, JSON, checked allocation. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "base/json.h"
#include "base/log.h"
#include "base/num.h"

static void errors_carry_text_and_code(void **state)
{
	struct err e = {0};
	char longish[600];

	assert_int_equal(err_set(&e, ENOENT, "cannot open disk '%s'", "a"), -ENOENT);
	assert_int_equal(e.code, ENOENT);
	assert_int_equal(err_wrap(&e, "guest %d", 7), -ENOENT);
	assert_string_equal(e.text, "guest 7: cannot open disk 'a'");
	assert_int_equal(err_set(&e, EIO, "%s again", e.text), -EIO); /* its own text */
	assert_string_equal(e.text, "guest 7: cannot open disk 'a' again");
	assert_int_equal(err_set(NULL, EPERM, "nobody listens"), -EPERM);
	assert_true(err_wrap(NULL, "nobody listens") < 0);

	memset(longish, 'x', sizeof(longish));
	longish[sizeof(longish) - 1] = 0;
	err_set(&e, EINVAL, "%s", longish);
	assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
	assert_int_equal(err_wrap(&e, "context"), -EINVAL);
	assert_int_equal(strncmp(e.text, "context: xxx", 12), 0);
	assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
}

static void numbers_within_bounds(void **state)
{
	uint64_t v = 77;

	assert_int_equal(num_parse_u64("10", "n", 0, 10, &v, NULL), 0);
	assert_int_equal(v, 10);
	assert_int_equal(num_parse_u64("0xfF", "n", 0, UINT64_MAX, &v, NULL), 0);
	assert_int_equal(v, 255);
	assert_int_equal(num_parse_u64("18446744073709551615", "n", 0, UINT64_MAX, &v, NULL), 0);
	assert_true(v == UINT64_MAX);
}

static void numbers_that_are_none(void **state)
{
	static const char *const bad[] = {
		"", "x", "-1", "+1", " 1", "1 ", "1x", "0x", "0xg", "1.5", "18446744073709551616"};
	uint64_t v = 77;
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		e = (struct err){0};
		assert_int_equal(num_parse_u64(bad[i], "--cpus", 0, UINT64_MAX, &v, &e), -EINVAL);
		assert_non_null(strstr(e.text, "--cpus"));
		assert_int_equal(v, 77);
	}
	assert_int_equal(num_parse_u64("11", "--cpus", 1, 10, &v, &e), -ERANGE);
	assert_string_equal(e.text, "--cpus '11' is out of range: give 1 to 10");
	assert_int_equal(num_parse_u64("0", "--cpus", 1, 10, &v, &e), -ERANGE);
	assert_int_equal(v, 77);
}

static void sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{"0", 0},        {"512M", 512 * MIB}, {"512MiB", 512 * MIB},
		{"2g", 2 * GIB}, {"64K", 64 * KIB},   {"1T", 1024 * GIB},
		{"7B", 7},       {"1KB", KIB},        {"15E", 15ull << 60},
	};
	static const char *const bad[] = {"",    "M",   "512", "-1M", "1.5G",
	                                  "1MM", "1Mi", "1 M", "16E"};
	uint64_t v = 77;
	struct err e;
	char buf[32];

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_int_equal(num_parse_size(good[i].text, "--memory", &v, NULL), 0);
		assert_true(v == good[i].bytes);
	}
	v = 77;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_true(num_parse_size(bad[i], "--memory", &v, &e) < 0);
		assert_non_null(strstr(e.text, "--memory"));
		assert_int_equal(v, 77);
	}
	assert_true(num_parse_size("512", "--memory", &v, &e) < 0);
	assert_non_null(strstr(e.text, "512M for MiB or 512B for bytes"));

	assert_string_equal(num_format_size(1, buf, sizeof(buf)), "1 B");
	assert_string_equal(num_format_size(512 * MIB, buf, sizeof(buf)), "512 MiB");
	assert_string_equal(num_format_size(3584 * MIB, buf, sizeof(buf)), "3.5 GiB");
	assert_string_equal(num_format_size(UINT64_MAX, buf, sizeof(buf)), "16.0 EiB");
}

static struct json *parse(const char *text)
{
	return json_parse(text, strlen(text), NULL);
}

static void json_there_and_back(void **state)
{
	struct json *j = json_object(), *a = json_array(), *back;
	AUTO_FREE char *text = NULL, *again = NULL;
	uint64_t n = 0;
	bool b = false;

	json_add(a, json_u64(UINT64_MAX));
	json_add(a, json_i64(-5));
	json_add(a, json_bool(true));
	json_put(j, "list", a);
	json_put(j, "text", json_str("a \"quote\"/\n\xc3\xa4"));
	text = json_print(j, false);
	back = parse(text);
	assert_non_null(back);
	a = json_get(back, "list");
	assert_int_equal(json_len(a), 3);
	assert_int_equal(json_to_u64(json_at(a, 0), &n), 0);
	assert_true(n == UINT64_MAX);
	assert_int_equal(json_to_u64(json_at(a, 1), &n), -EINVAL);
	assert_int_equal(json_to_bool(json_at(a, 2), &b), 0);
	assert_true(b);
	assert_string_equal(json_to_str(json_get(back, "text")), "a \"quote\"/\n\xc3\xa4");
	again = json_print(back, false);
	assert_string_equal(text, again);
	json_free(back);
	json_free(j);
}

static void json_of_another_type(void **state)
{
	struct json *j = parse("{\"s\": \"1\", \"n\": 1, \"f\": 1.5}");
	uint64_t n = 77;
	bool b = true;

	assert_non_null(j);
	assert_int_equal(json_to_u64(json_get(j, "s"), &n), -EINVAL);
	assert_int_equal(json_to_u64(json_get(j, "f"), &n), -EINVAL);
	assert_int_equal(json_to_u64(json_get(j, "none"), &n), -EINVAL);
	assert_int_equal(json_to_bool(json_get(j, "n"), &b), -EINVAL);
	assert_null(json_to_str(json_get(j, "n")));
	assert_null(json_get(json_get(j, "n"), "x"));
	assert_null(json_at(j, 0));
	assert_int_equal(json_len(j), 0);
	assert_int_equal(n, 77);
	json_free(j);
}

static void json_that_is_none(void **state)
{
	static const char *const bad[] = {"",      "{",         "[1,]",   "{\"a\":1,}", "{'a':1}",
	                                  "[1] x", "{\"a\" 1}", "nul",    "[1",         "\"\xff\"",
	                                  "NaN",   "-Infinity", "\"\n\"", "'a'"};
	char deep[128];
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		e = (struct err){0};
		if (json_parse(bad[i], strlen(bad[i]), &e))
			fail_msg("taken as JSON: %s", bad[i]);
		assert_int_not_equal(e.code, 0);
		assert_null(strchr(e.text, '\n'));
	}
	memset(deep, '[', 40);
	memset(deep + 40, ']', 40);
	assert_null(json_parse(deep, 80, &e));
	/* The length counts, not a zero. */
	assert_null(json_parse("[1]\0[2]", 7, &e));
}

static void allocation_is_checked(void **state)
{
	uint8_t *p = alloc_checked(10, 10, 100);

	assert_non_null(p);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(p[i], 0);
	free(p);
	assert_null(alloc_checked(11, 10, 100));
	assert_null(alloc_checked(SIZE_MAX / 2, 3, SIZE_MAX));
}

static void guest_nonsense_is_counted(void **state)
{
	uint64_t before = log_guest_total();

	for (unsigned i = 0; i < 100; i++)
		log_guest("nonsense %u", i);
	assert_int_equal(log_guest_total(), before + 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errors_carry_text_and_code),
		cmocka_unit_test(numbers_within_bounds),
		cmocka_unit_test(numbers_that_are_none),
		cmocka_unit_test(sizes),
		cmocka_unit_test(json_there_and_back),
		cmocka_unit_test(json_of_another_type),
		cmocka_unit_test(json_that_is_none),
		cmocka_unit_test(allocation_is_checked),
		cmocka_unit_test(guest_nonsense_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
