#include "board.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

void board_open(struct board *b)
{
	struct err e = {0};

	*b = (struct board){0};
	assert_int_equal(loop_new("test", &b->loop, &e), 0);
	assert_int_equal(machine_new(1, b->loop, true, &b->m, &e), 0);
	assert_int_equal(mem_add(&b->m->mem, "ram", MEM_RAM, 0, BOARD_RAM, &e), 0);
	assert_int_equal(machine_open_engine(b->m, &fake_engine_apic, &e), 0);
}

void board_close(struct board *b)
{
	machine_free(b->m);
	loop_free(b->loop);
}

bool board_irq(const struct board *b, unsigned gsi)
{
	return b->m->irq.levels & 1u << gsi;
}

static void visit(struct board *b, const char *name, struct state *s)
{
	struct device *d = machine_find_device(b->m, name);

	assert_non_null(d);
	lock_take(&b->m->lock);
	state_enter(s, name, 1);
	d->type->state(d, s);
	state_leave(s);
	lock_drop(&b->m->lock);
}

static int compare(struct board *b, const char *name, const void *data, size_t len)
{
	struct state *s = state_new_compare(data, len);
	int r;

	visit(b, name, s);
	r = state_finish(s, NULL);
	state_free(s);
	return r;
}

static int load(struct board *b, const char *name, const void *data, size_t len)
{
	struct state *s = state_new_load(data, len);
	int r;

	visit(b, name, s);
	r = state_finish(s, NULL);
	state_free(s);
	return r;
}

static void print(struct board *b, const char *name)
{
	struct state *s = state_new_json();
	struct json *back;
	char *text, *again;

	visit(b, name, s);
	assert_int_equal(state_finish(s, NULL), 0);
	assert_non_null(json_get(state_json(s), name));
	text = json_print(state_json(s), false);
	back = json_parse(text, strlen(text), NULL);
	assert_non_null(back);
	again = json_print(back, false);
	assert_string_equal(text, again);
	free(text);
	free(again);
	json_free(back);
	state_free(s);
}

void board_move(struct board *from, struct board *to, const char *name)
{
	struct state *s = state_new_save();
	const void *data;
	size_t len;

	clock_set(&to->m->clock, clock_now(&from->m->clock));
	visit(from, name, s);
	assert_int_equal(state_finish(s, NULL), 0);
	data = state_data(s, &len);
	assert_int_equal(compare(from, name, data, len), 0);
	assert_int_equal(compare(to, name, data, len), -EILSEQ);
	for (size_t cut = 0; cut < len; cut++)
		assert_int_equal(load(to, name, data, cut), -EBADMSG);
	assert_int_equal(load(to, name, data, len), 0);
	assert_int_equal(compare(to, name, data, len), 0);
	print(to, name);
	state_free(s);
}
