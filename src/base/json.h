/*
 * JSON, by json-c behind a small wrapper so that its types stay in json.c.  Control path only.
 * A struct json is reference-counted by json-c; json_free() drops one.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/err.h"

struct json;

struct json *json_object(void);
struct json *json_array(void);
struct json *json_str(const char *s);
struct json *json_u64(uint64_t v);
struct json *json_i64(int64_t v);
struct json *json_bool(bool v);
void json_free(struct json *j);

/* Both take over the child. */
void json_put(struct json *object, const char *key, struct json *child);
void json_add(struct json *array, struct json *child);

/* Borrowed child or NULL. */
struct json *json_get(const struct json *object, const char *key);
struct json *json_at(const struct json *array, size_t i);
size_t json_len(const struct json *array);
/* Typed values: -EINVAL when the type differs. */
int json_to_u64(const struct json *j, uint64_t *out) MUST_CHECK;
int json_to_bool(const struct json *j, bool *out) MUST_CHECK;
const char *json_to_str(const struct json *j); /* borrowed, NULL when it isn't a string */

/* Strict parsing of the whole text; depth at most 32. */
struct json *json_parse(const char *text, size_t len, struct err *e);

/* Malloc'ed text; pretty: indented for people. */
char *json_print(const struct json *j, bool pretty);

#endif
