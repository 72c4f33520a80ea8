#include "base/lang.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void *checked(void *p)
{
	if (!p) {
		fputs("casulo: out of memory\n", stderr);
		abort();
	}
	return p;
}

void *xalloc(size_t size)
{
	return checked(calloc(1, size ? size : 1));
}

void *xrealloc(void *p, size_t size)
{
	return checked(realloc(p, size ? size : 1));
}

char *xstrdup(const char *s)
{
	return checked(strdup(s));
}

char *xasprintf(const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		s = NULL;
	va_end(ap);
	return checked(s);
}

void *alloc_checked(size_t n, size_t size, size_t limit)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes) || bytes > limit)
		return NULL;
	return calloc(1, bytes ? bytes : 1);
}
