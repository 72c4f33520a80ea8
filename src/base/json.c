/* Two of json-c's type names are functions of ours: it gets other names for them here. */
#define json_object jsonc
#define json_bool   jsonc_bool
#include <json-c/json.h>
#undef json_object
#undef json_bool

#include "base/json.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define DEPTH_MAX 32

/* struct json is json-c's object under our name. */
static struct jsonc *in(const struct json *j)
{
	return (struct jsonc *)j;
}

static struct json *out(struct jsonc *o)
{
	return (struct json *)o;
}

struct json *json_object(void)
{
	return out(json_object_new_object());
}

struct json *json_array(void)
{
	return out(json_object_new_array());
}

struct json *json_str(const char *s)
{
	return out(json_object_new_string(s));
}

struct json *json_u64(uint64_t v)
{
	return out(json_object_new_uint64(v));
}

struct json *json_i64(int64_t v)
{
	return out(json_object_new_int64(v));
}

struct json *json_bool(bool v)
{
	return out(json_object_new_boolean(v));
}

void json_free(struct json *j)
{
	json_object_put(in(j));
}

void json_put(struct json *object, const char *key, struct json *child)
{
	json_object_object_add(in(object), key, in(child));
}

void json_add(struct json *array, struct json *child)
{
	json_object_array_add(in(array), in(child));
}

struct json *json_get(const struct json *object, const char *key)
{
	struct jsonc *child = NULL;

	if (!json_object_is_type(in(object), json_type_object))
		return NULL;
	json_object_object_get_ex(in(object), key, &child);
	return out(child);
}

struct json *json_at(const struct json *array, size_t i)
{
	if (i >= json_len(array))
		return NULL;
	return out(json_object_array_get_idx(in(array), i));
}

size_t json_len(const struct json *array)
{
	if (!json_object_is_type(in(array), json_type_array))
		return 0;
	return json_object_array_length(in(array));
}

int json_to_u64(const struct json *j, uint64_t *v)
{
	if (!json_object_is_type(in(j), json_type_int) || json_object_get_int64(in(j)) < 0)
		return -EINVAL;
	*v = json_object_get_uint64(in(j));
	return 0;
}

int json_to_bool(const struct json *j, bool *v)
{
	if (!json_object_is_type(in(j), json_type_boolean))
		return -EINVAL;
	*v = json_object_get_boolean(in(j));
	return 0;
}

const char *json_to_str(const struct json *j)
{
	if (!json_object_is_type(in(j), json_type_string))
		return NULL;
	return json_object_get_string(in(j));
}

/*
 * What json-c takes in its strict mode all the same: names in single quotes, NaN and Infinity, control
 * characters in strings.
 */
static bool is_strict(const char *text, size_t len)
{
	bool string = false;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = text[i];

		if (c == '"')
			string = !string;
		else if (string && c < ' ')
			return false;
		else if (string && c == '\\')
			i++;
		else if (!string && (c == '\'' || c == 'N' || c == 'I'))
			return false;
	}
	return true;
}

struct json *json_parse(const char *text, size_t len, struct err *e)
{
	AUTO_FREE char *copy = NULL; /* with the zero that ends a bare number */
	struct json_tokener *t;
	struct jsonc *o;
	enum json_tokener_error why;
	size_t at;

	if (len >= INT_MAX) {
		err_set(e, EFBIG, "JSON text of %zu bytes is too long", len);
		return NULL;
	}
	if (!is_strict(text, len)) {
		err_set(e, EINVAL,
		        "not JSON: a name in single quotes, a number that is none, or a "
		        "control character in a string");
		return NULL;
	}
	copy = xalloc(len + 1);
	memcpy(copy, text, len);
	t = json_tokener_new_ex(DEPTH_MAX);
	if (!t) {
		err_set(e, ENOMEM, "out of memory");
		return NULL;
	}
	json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	o = json_tokener_parse_ex(t, copy, (int)len + 1);
	why = json_tokener_get_error(t);
	at = json_tokener_get_parse_end(t);
	json_tokener_free(t);
	if (why == json_tokener_success && at >= len)
		return out(o);
	json_object_put(o);
	if (why == json_tokener_continue)
		err_set(e, EINVAL, "the JSON text ends too early");
	else
		err_set(e, EINVAL, "not JSON at byte %zu: %s", at,
		        why == json_tokener_success ? "text behind the end"
		                                    : json_tokener_error_desc(why));
	return NULL;
}

char *json_print(const struct json *j, bool pretty)
{
	int flags =
		pretty ? JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED : JSON_C_TO_STRING_PLAIN;

	return xstrdup(
		json_object_to_json_string_ext(in(j), flags | JSON_C_TO_STRING_NOSLASHESCAPE));
}
