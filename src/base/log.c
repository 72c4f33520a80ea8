#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#define SITE_PRINTS 5 /* how often a site of guest nonsense is printed */

static _Atomic int level_max = LOG_INFO;
static _Atomic uint64_t guest_total;

void log_level_set(enum log_level max)
{
	atomic_store(&level_max, max);
}

bool log_enabled(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&level_max, memory_order_relaxed);
}

/* One write a line, so that lines of several threads don't mix. */
static void PRINTF(2, 0) print(enum log_level level, const char *fmt, va_list ap)
{
	static const char *const names[] = {"error: ", "warning: ", "", "debug: "};
	char line[1024];
	size_t n;

	n = (size_t)snprintf(line, sizeof(line), "casulo: %s", names[level]);
	vsnprintf(line + n, sizeof(line) - n, fmt, ap);
	fprintf(stderr, "%s\n", line);
}

void log_print(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	if (!log_enabled(level))
		return;
	va_start(ap, fmt);
	print(level, fmt, ap);
	va_end(ap);
}

void log_guest_at(struct log_site *site, const char *fmt, ...)
{
	uint64_t n = atomic_fetch_add_explicit(&site->count, 1, memory_order_relaxed);
	va_list ap;

	atomic_fetch_add_explicit(&guest_total, 1, memory_order_relaxed);
	if (n >= SITE_PRINTS || !log_enabled(LOG_DEBUG))
		return;
	va_start(ap, fmt);
	print(LOG_DEBUG, fmt, ap);
	va_end(ap);
}

uint64_t log_guest_total(void)
{
	return atomic_load_explicit(&guest_total, memory_order_relaxed);
}
