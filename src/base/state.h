/*
 * The state visitor.  A component lists its fields once, in one function
 *
 *	void uart_state(struct state *s, struct uart *u)
 *	{
 *		state_enter(s, "uart", 1);
 *		state_u8(s, "ier", &u->ier);
 *		...
 *		state_leave(s);
 *	}
 *
 * and the visitor saves, loads, prints as JSON, or compares.  Saved form: sections of {name, version,
 * length, fields}, little-endian, so that a truncated or foreign stream is refused, not misread.
 *
 * Errors stick: after the first one all calls do nothing, and state_finish() returns it.  On load,
 * the component must check what the fields mean (indexes, ranges) and call state_fail().
 * Control path; one thread.
 */
#ifndef BASE_STATE_H
#define BASE_STATE_H

#include "base/err.h"
#include "base/json.h"

enum state_mode {
	STATE_SAVE,    /* fields -> bytes */
	STATE_LOAD,    /* bytes -> fields */
	STATE_JSON,    /* fields -> a JSON object */
	STATE_COMPARE, /* fields against bytes; the first difference is the error */
};

struct state;

struct state *state_new_save(void);
struct state *state_new_load(const void *data, size_t len); /* data is borrowed until state_free */
struct state *state_new_json(void);
struct state *state_new_compare(const void *data, size_t len);
void state_free(struct state *s);

enum state_mode state_mode(const struct state *s);
static inline bool state_loading(const struct state *s)
{
	return state_mode(s) == STATE_LOAD;
}

/*
 * A section, may nest.  Returns the version that is read (load, compare) or given (save, json).
 * A stream with a newer version than given is refused.  state_leave() skips what an older reader
 * does not know, and refuses a section that ended early.
 */
uint32_t state_enter(struct state *s, const char *name, uint32_t version);
void state_leave(struct state *s);

void state_bool(struct state *s, const char *name, bool *v);
void state_u8(struct state *s, const char *name, uint8_t *v);
void state_u16(struct state *s, const char *name, uint16_t *v);
void state_u32(struct state *s, const char *name, uint32_t *v);
void state_u64(struct state *s, const char *name, uint64_t *v);
void state_bytes(struct state *s, const char *name, void *p, size_t len); /* JSON: hex */
void state_u32s(struct state *s, const char *name, uint32_t *v, size_t n);
void state_u64s(struct state *s, const char *name, uint64_t *v, size_t n);

void state_fail(struct state *s, const char *fmt, ...) PRINTF(2, 3);
bool state_failed(const struct state *s);

/* 0, or the sticky error (-EBADMSG for a bad stream, -EILSEQ for a difference). */
int state_finish(struct state *s, struct err *e) MUST_CHECK;

/* After save: borrowed bytes.  After json: borrowed object. */
const void *state_data(const struct state *s, size_t *len);
struct json *state_json(struct state *s);

#endif
