/*
 * Errors of the control path: a value in the caller's frame, with a text that names the thing and,
 * where it is known, the remedy.  Lower case, no full stop, the subject in single quotes.
 *
 *	int disk_open(const char *path, struct err *e)
 *	{
 *		...
 *		return err_set(e, ENOENT, "cannot open disk '%s': give --disk an existing file", path);
 *
 * Functions return 0 or a positive value on success and -errno on failure, and leave their outputs
 * untouched on failure.  e may be NULL.  Only the edges (main, supervisor) print an error.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/lang.h"

struct err {
	int code; /* a positive errno; 0: no error */
	char text[512];
};

/* Sets the error and returns -code. */
int err_set(struct err *e, int code, const char *fmt, ...) PRINTF(3, 4);

/* Puts context in front ("context: text") and returns -e->code (or -EIO where e is NULL). */
int err_wrap(struct err *e, const char *fmt, ...) PRINTF(2, 3);

#endif
