/* The state visitor in its four modes, and what it refuses. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "base/state.h"

struct inner {
	uint8_t index;
};

struct thing {
	bool on;
	uint8_t u8;
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;
	uint8_t bytes[3];
	uint32_t words[2];
	uint64_t longs[2];
	struct inner inner;
};

static const struct thing sample = {
	.on = true,
	.u8 = 0x12,
	.u16 = 0x3456,
	.u32 = 0x789abcde,
	.u64 = UINT64_MAX - 1,
	.bytes = {1, 2, 0xff},
	.words = {3, 4},
	.longs = {5, UINT64_MAX},
	.inner = {7},
};

static void visit_inner(struct state *s, struct inner *i)
{
	state_enter(s, "inner", 1);
	state_u8(s, "index", &i->index);
	if (state_loading(s) && i->index > 9)
		state_fail(s, "index %u", i->index);
	state_leave(s);
}

static void visit(struct state *s, struct thing *t)
{
	state_enter(s, "thing", 2);
	state_bool(s, "on", &t->on);
	state_u8(s, "u8", &t->u8);
	state_u16(s, "u16", &t->u16);
	state_u32(s, "u32", &t->u32);
	state_u64(s, "u64", &t->u64);
	state_bytes(s, "bytes", t->bytes, sizeof(t->bytes));
	state_u32s(s, "words", t->words, ARRAY_LEN(t->words));
	state_u64s(s, "longs", t->longs, ARRAY_LEN(t->longs));
	visit_inner(s, &t->inner);
	state_leave(s);
}

struct saved {
	uint8_t data[256];
	size_t len;
};

static void save(struct thing t, struct saved *out)
{
	struct state *s = state_new_save();
	const void *data;

	visit(s, &t);
	assert_int_equal(state_finish(s, NULL), 0);
	data = state_data(s, &out->len);
	assert_true(out->len <= sizeof(out->data));
	memcpy(out->data, data, out->len);
	state_free(s);
}

static int load(struct thing *t, const void *data, size_t len, struct err *e)
{
	struct state *s = state_new_load(data, len);
	int r;

	assert_true(state_loading(s));
	visit(s, t);
	r = state_finish(s, e);
	state_free(s);
	return r;
}

static int compare(struct thing t, const struct saved *saved, struct err *e)
{
	struct state *s = state_new_compare(saved->data, saved->len);
	int r;

	visit(s, &t);
	r = state_finish(s, e);
	state_free(s);
	return r;
}

static void saved_and_loaded(void **state)
{
	struct thing t = {0};
	struct saved saved;

	save(sample, &saved);
	assert_int_equal(load(&t, saved.data, saved.len, NULL), 0);
	assert_memory_equal(&t.bytes, &sample.bytes, sizeof(t.bytes));
	assert_true(t.on);
	assert_int_equal(t.u8, sample.u8);
	assert_int_equal(t.u16, sample.u16);
	assert_int_equal(t.u32, sample.u32);
	assert_true(t.u64 == sample.u64);
	assert_int_equal(t.words[1], 4);
	assert_true(t.longs[1] == UINT64_MAX);
	assert_int_equal(t.inner.index, 7);
}

static void differences_are_named(void **state)
{
	struct thing t = sample;
	struct saved saved;
	struct err e = {0};

	save(sample, &saved);
	assert_int_equal(compare(sample, &saved, NULL), 0);
	t.u16 ^= 1;
	assert_int_equal(compare(t, &saved, &e), -EILSEQ);
	assert_non_null(strstr(e.text, "thing"));
	assert_non_null(strstr(e.text, "u16"));
	t = sample;
	t.bytes[2] = 0;
	assert_int_equal(compare(t, &saved, &e), -EILSEQ);
	assert_non_null(strstr(e.text, "bytes"));
	t = sample;
	t.longs[1] = 1;
	assert_int_equal(compare(t, &saved, &e), -EILSEQ);
	t = sample;
	t.inner.index = 8;
	assert_int_equal(compare(t, &saved, &e), -EILSEQ);
	assert_non_null(strstr(e.text, "thing.inner"));
}

static void json_shows_all_fields(void **state)
{
	struct state *s = state_new_json();
	struct thing t = sample;
	struct json *j;
	uint64_t n = 0;
	bool b = false;

	visit(s, &t);
	assert_int_equal(state_finish(s, NULL), 0);
	j = json_get(state_json(s), "thing");
	assert_int_equal(json_to_bool(json_get(j, "on"), &b), 0);
	assert_true(b);
	assert_int_equal(json_to_u64(json_get(j, "u64"), &n), 0);
	assert_true(n == sample.u64);
	assert_string_equal(json_to_str(json_get(j, "bytes")), "0102ff");
	assert_int_equal(json_len(json_get(j, "words")), 2);
	assert_int_equal(json_to_u64(json_at(json_get(j, "longs"), 1), &n), 0);
	assert_true(n == UINT64_MAX);
	assert_int_equal(json_to_u64(json_get(json_get(j, "inner"), "index"), &n), 0);
	assert_int_equal(n, 7);
	state_free(s);
}

static void cut_streams_are_refused(void **state)
{
	struct saved saved;
	struct thing t;
	struct err e;

	save(sample, &saved);
	for (size_t len = 0; len < saved.len; len++) {
		e = (struct err){0};
		assert_int_equal(load(&t, saved.data, len, &e), -EBADMSG);
		assert_int_equal(e.code, EBADMSG);
	}
	saved.data[saved.len] = 0;
	assert_int_equal(load(&t, saved.data, saved.len + 1, &e), -EBADMSG);
}

/* Whatever a byte is changed to: refused, or a value that the field may have. */
static void changed_streams_do_no_harm(void **state)
{
	struct saved saved, changed;
	struct thing t;

	save(sample, &saved);
	for (size_t at = 0; at < saved.len; at++) {
		for (unsigned v = 0; v < 256; v++) {
			struct saved again;
			int r;

			changed = saved;
			changed.data[at] = v;
			t = sample;
			r = load(&t, changed.data, changed.len, NULL);
			if (r < 0) {
				assert_int_equal(r, -EBADMSG);
				continue;
			}
			assert_in_range(t.inner.index, 0, 9);
			save(t, &again);
			assert_int_equal(again.len, saved.len);
		}
	}
}

static void foreign_section(struct state *s, const char *name, uint32_t version, bool more)
{
	uint8_t index = 3, extra = 0x55;

	state_enter(s, name, version);
	state_u8(s, "index", &index);
	if (more)
		state_u8(s, "extra", &extra);
	state_leave(s);
}

static int load_foreign(const char *name, uint32_t version, bool more, struct inner *i)
{
	struct state *s = state_new_save(), *l;
	const void *data;
	size_t len;
	int r;

	foreign_section(s, name, version, more);
	assert_int_equal(state_finish(s, NULL), 0);
	data = state_data(s, &len);
	l = state_new_load(data, len);
	visit_inner(l, i);
	r = state_finish(l, NULL);
	state_free(l);
	state_free(s);
	return r;
}

static void foreign_streams_are_refused(void **state)
{
	struct inner i = {0};

	assert_int_equal(load_foreign("inner", 1, false, &i), 0);
	assert_int_equal(i.index, 3);
	assert_int_equal(load_foreign("outer", 1, false, &i), -EBADMSG);
	assert_int_equal(load_foreign("innerer", 1, false, &i), -EBADMSG);
	assert_int_equal(load_foreign("inner", 2, false, &i), -EBADMSG);
	/* What an older reader does not know at a section's end is skipped. */
	assert_int_equal(load_foreign("inner", 1, true, &i), 0);
}

static void errors_stick(void **state)
{
	struct saved saved;
	struct state *s;
	struct thing t = sample;
	struct err e = {0};

	t.inner.index = 10;
	save(t, &saved);
	s = state_new_load(saved.data, saved.len);
	visit(s, &t);
	assert_true(state_failed(s));
	state_fail(s, "a later error");
	visit(s, &t); /* does nothing */
	assert_int_equal(state_finish(s, &e), -EBADMSG);
	assert_non_null(strstr(e.text, "index 10"));
	state_free(s);
}

static void a_bool_is_0_or_1(void **state)
{
	uint8_t two = 2;
	struct state *s = state_new_save(), *l;
	const void *data;
	bool b = true;
	size_t len;

	state_enter(s, "x", 1);
	state_u8(s, "b", &two);
	state_leave(s);
	data = state_data(s, &len);
	l = state_new_load(data, len);
	state_enter(l, "x", 1);
	state_bool(l, "b", &b);
	state_leave(l);
	assert_int_equal(state_finish(l, NULL), -EBADMSG);
	assert_true(b);
	state_free(l);
	state_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(saved_and_loaded),
		cmocka_unit_test(differences_are_named),
		cmocka_unit_test(json_shows_all_fields),
		cmocka_unit_test(cut_streams_are_refused),
		cmocka_unit_test(changed_streams_do_no_harm),
		cmocka_unit_test(foreign_streams_are_refused),
		cmocka_unit_test(errors_stick),
		cmocka_unit_test(a_bool_is_0_or_1),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
