/*
 * Messages of the process to its operator, on stderr: "casulo: warning: text".  Library code logs
 * only at debug level and returns errors otherwise.  Thread-safe.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/lang.h"

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

void log_level_set(enum log_level max);
bool log_enabled(enum log_level level);
void log_print(enum log_level level, const char *fmt, ...) PRINTF(2, 3);

#define log_error(...)   log_print(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_print(LOG_WARNING, __VA_ARGS__)
#define log_info(...)    log_print(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                     \
	do {                                               \
		if (log_enabled(LOG_DEBUG))                \
			log_print(LOG_DEBUG, __VA_ARGS__); \
	} while (0)

/*
 * Guest nonsense: counted always, printed (debug level) for the first few of each call site.
 * Cheap enough for the data path.
 */
struct log_site {
	_Atomic uint64_t count;
};
void log_guest_at(struct log_site *site, const char *fmt, ...) PRINTF(2, 3);
#define log_guest(...)                             \
	do {                                       \
		static struct log_site site_;      \
		log_guest_at(&site_, __VA_ARGS__); \
	} while (0)

/* How many times any log_guest() site was reached in this process. */
uint64_t log_guest_total(void);

#endif
