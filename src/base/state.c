/*
 * The state visitor.  The saved form, all numbers little-endian:
 *
 *	section:  name's length u8 | name | version u32 | length u32 | fields and sections
 *	fields:   their bytes one after the other, without names
 */
#include "base/state.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 16
#define NAME_MAX_ 64

struct section {
	const char *name;
	size_t length_at;    /* save: where its length goes */
	size_t end;          /* load, compare: behind its last byte */
	struct json *object; /* json */
};

struct state {
	enum state_mode mode;
	uint8_t *data; /* save: ours; load, compare: borrowed */
	size_t len, cap, at;
	struct json *json;
	unsigned depth;
	struct section section[DEPTH_MAX];
	struct err err;
};

static struct state *new (enum state_mode mode, const void *data, size_t len)
{
	struct state *s = xalloc(sizeof(*s));

	s->mode = mode;
	s->data = (uint8_t *)data;
	s->len = len;
	if (mode == STATE_JSON)
		s->json = json_object();
	return s;
}

struct state *state_new_save(void)
{
	return new (STATE_SAVE, NULL, 0);
}

struct state *state_new_load(const void *data, size_t len)
{
	return new (STATE_LOAD, data, len);
}

struct state *state_new_json(void)
{
	return new (STATE_JSON, NULL, 0);
}

struct state *state_new_compare(const void *data, size_t len)
{
	return new (STATE_COMPARE, data, len);
}

void state_free(struct state *s)
{
	if (!s)
		return;
	if (s->mode == STATE_SAVE)
		free(s->data);
	if (s->json)
		json_free(s->json);
	free(s);
}

enum state_mode state_mode(const struct state *s)
{
	return s->mode;
}

bool state_failed(const struct state *s)
{
	return s->err.code != 0;
}

/* "machine.vcpu0" */
static void path(const struct state *s, char *buf, size_t len)
{
	size_t n = 0;

	buf[0] = '\0';
	for (unsigned i = 0; i < s->depth && n < len; i++)
		n += (size_t)snprintf(buf + n, len - n, "%s%s", i ? "." : "", s->section[i].name);
}

static void PRINTF(3, 4) fail(struct state *s, int code, const char *fmt, ...)
{
	char text[256], where[200];
	va_list ap;

	if (state_failed(s))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	path(s, where, sizeof(where));
	err_set(&s->err, code, "state%s%s%s: %s", s->depth ? " of '" : "", where,
	        s->depth ? "'" : "", text);
}

void state_fail(struct state *s, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fail(s, EBADMSG, "%s", text);
}

/* Bytes: the one place that writes, and the one that reads within the current section. */

static void put(struct state *s, const void *p, size_t len)
{
	if (s->len + len > s->cap) {
		s->cap = MAX(2 * s->cap, s->len + len + 256);
		s->data = xrealloc(s->data, s->cap);
	}
	memcpy(s->data + s->len, p, len);
	s->len += len;
}

static size_t end_now(const struct state *s)
{
	return s->depth ? s->section[s->depth - 1].end : s->len;
}

static const uint8_t *get(struct state *s, size_t len)
{
	const uint8_t *p = s->data + s->at;

	if (state_failed(s))
		return NULL;
	if (len > end_now(s) - s->at) {
		fail(s, EBADMSG, "the data ends too early");
		return NULL;
	}
	s->at += len;
	return p;
}

static uint64_t load(const uint8_t *p, size_t len)
{
	uint64_t v = 0;

	memcpy(&v, p, len); /* little-endian, as this host */
	return v;
}

static struct json *object_now(const struct state *s)
{
	return s->depth ? s->section[s->depth - 1].object : s->json;
}

/* Sections. */

static void enter_save(struct state *s, const char *name, uint32_t version)
{
	uint8_t n = (uint8_t)strlen(name);

	put(s, &n, 1);
	put(s, name, n);
	put(s, &version, sizeof(version));
	s->section[s->depth].length_at = s->len;
	put(s, &(uint32_t){0}, sizeof(uint32_t));
}

static uint32_t enter_load(struct state *s, const char *name, uint32_t version)
{
	const uint8_t *p = get(s, 1);
	uint32_t found, len;
	size_t n;

	if (!p)
		return version;
	n = *p;
	p = get(s, n);
	if (!p)
		return version;
	if (n != strlen(name) || memcmp(p, name, n) != 0) {
		fail(s, EBADMSG, "'%.*s' instead of '%s'", (int)n, p, name);
		return version;
	}
	p = get(s, 8);
	if (!p)
		return version;
	found = (uint32_t)load(p, 4);
	len = (uint32_t)load(p + 4, 4);
	if (found > version)
		fail(s, EBADMSG, "'%s' has version %u, this program knows up to %u", name, found,
		     version);
	else if (len > end_now(s) - s->at)
		fail(s, EBADMSG, "the data of '%s' ends too early", name);
	else
		s->section[s->depth].end = s->at + len;
	return found;
}

uint32_t state_enter(struct state *s, const char *name, uint32_t version)
{
	uint32_t found = version;

	if (state_failed(s))
		return version;
	assert(s->depth < DEPTH_MAX && strlen(name) < NAME_MAX_);
	s->section[s->depth] = (struct section){.name = name};
	if (s->mode == STATE_SAVE) {
		enter_save(s, name, version);
	} else if (s->mode == STATE_JSON) {
		struct json *o = json_object();

		json_put(object_now(s), name, o);
		s->section[s->depth].object = o;
	} else {
		found = enter_load(s, name, version);
	}
	if (!state_failed(s))
		s->depth++;
	return found;
}

void state_leave(struct state *s)
{
	struct section *c;

	if (state_failed(s))
		return;
	assert(s->depth > 0);
	c = &s->section[--s->depth];
	if (s->mode == STATE_SAVE) {
		uint32_t len = (uint32_t)(s->len - c->length_at - sizeof(len));

		memcpy(s->data + c->length_at, &len, sizeof(len));
	} else if (s->mode != STATE_JSON) {
		s->at = c->end;
	}
}

/* Fields. */

/* An unsigned number of len bytes, of which the visitor's caller holds v; returns the new value. */
static uint64_t number(struct state *s, const char *name, uint64_t v, size_t len)
{
	const uint8_t *p;
	uint64_t there;

	if (state_failed(s))
		return v;
	if (s->mode == STATE_SAVE) {
		put(s, &v, len);
		return v;
	}
	if (s->mode == STATE_JSON) {
		json_put(object_now(s), name, json_u64(v));
		return v;
	}
	p = get(s, len);
	if (!p)
		return v;
	there = load(p, len);
	if (s->mode == STATE_LOAD)
		return there;
	if (there != v)
		fail(s, EILSEQ, "'%s' is 0x%" PRIx64 ", was 0x%" PRIx64, name, v, there);
	return v;
}

void state_bool(struct state *s, const char *name, bool *v)
{
	uint64_t n;

	if (s->mode == STATE_JSON && !state_failed(s)) {
		json_put(object_now(s), name, json_bool(*v));
		return;
	}
	/* What is loaded into needn't hold a bool yet. */
	n = number(s, name, s->mode == STATE_LOAD ? 0 : *v, 1);
	if (n > 1)
		fail(s, EBADMSG, "'%s' is %" PRIu64 ", not 0 or 1", name, n);
	else
		*v = n;
}

void state_u8(struct state *s, const char *name, uint8_t *v)
{
	*v = (uint8_t)number(s, name, *v, sizeof(*v));
}

void state_u16(struct state *s, const char *name, uint16_t *v)
{
	*v = (uint16_t)number(s, name, *v, sizeof(*v));
}

void state_u32(struct state *s, const char *name, uint32_t *v)
{
	*v = (uint32_t)number(s, name, *v, sizeof(*v));
}

void state_u64(struct state *s, const char *name, uint64_t *v)
{
	*v = number(s, name, *v, sizeof(*v));
}

static void put_hex(struct state *s, const char *name, const uint8_t *p, size_t len)
{
	AUTO_FREE char *text = xalloc(2 * len + 1);

	for (size_t i = 0; i < len; i++) {
		text[2 * i] = "0123456789abcdef"[p[i] >> 4];
		text[2 * i + 1] = "0123456789abcdef"[p[i] & 15];
	}
	json_put(object_now(s), name, json_str(text));
}

void state_bytes(struct state *s, const char *name, void *p, size_t len)
{
	const uint8_t *there;

	if (state_failed(s))
		return;
	if (s->mode == STATE_SAVE) {
		put(s, p, len);
		return;
	}
	if (s->mode == STATE_JSON) {
		put_hex(s, name, p, len);
		return;
	}
	there = get(s, len);
	if (!there)
		return;
	if (s->mode == STATE_LOAD) {
		memcpy(p, there, len);
		return;
	}
	for (size_t i = 0; i < len; i++) {
		if (((uint8_t *)p)[i] != there[i]) {
			fail(s, EILSEQ, "byte %zu of '%s' is 0x%02x, was 0x%02x", i, name,
			     ((uint8_t *)p)[i], there[i]);
			return;
		}
	}
}

/* Arrays: numbers of a fixed count, a list in JSON. */
static void numbers(struct state *s, const char *name, void *v, size_t n, size_t size)
{
	struct json *a;

	if (s->mode != STATE_JSON || state_failed(s)) {
		state_bytes(s, name, v, n * size);
		return;
	}
	a = json_array();
	for (size_t i = 0; i < n; i++)
		json_add(a, json_u64(load((uint8_t *)v + i * size, size)));
	json_put(object_now(s), name, a);
}

void state_u32s(struct state *s, const char *name, uint32_t *v, size_t n)
{
	numbers(s, name, v, n, sizeof(*v));
}

void state_u64s(struct state *s, const char *name, uint64_t *v, size_t n)
{
	numbers(s, name, v, n, sizeof(*v));
}

int state_finish(struct state *s, struct err *e)
{
	if (!state_failed(s)) {
		assert(s->depth == 0);
		if ((s->mode == STATE_LOAD || s->mode == STATE_COMPARE) && s->at != s->len)
			fail(s, EBADMSG, "%zu bytes too many", s->len - s->at);
	}
	return state_failed(s) ? err_set(e, s->err.code, "%s", s->err.text) : 0;
}

const void *state_data(const struct state *s, size_t *len)
{
	*len = s->len;
	return s->data;
}

struct json *state_json(struct state *s)
{
	return s->json;
}
