#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *e, int code, const char *fmt, ...)
{
	char text[sizeof(e->text)]; /* arguments may point into e->text */
	va_list ap;

	if (!e)
		return -code;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	e->code = code;
	memcpy(e->text, text, sizeof(text));
	return -code;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	char text[sizeof(e->text)];
	va_list ap;
	size_t n;

	if (!e)
		return -EIO;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	n = strlen(text);
	/* Cut at the end where both are too long: the context is the new part. */
	strncat(text, ": ", sizeof(text) - 1 - n);
	n = strlen(text);
	strncat(text, e->text, sizeof(text) - 1 - n);
	memcpy(e->text, text, sizeof(text));
	return e->code ? -e->code : -EIO;
}
