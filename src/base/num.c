#include "base/num.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Digits of a base from *text on; false: none, or too large. */
static bool digits(const char **text, unsigned base, uint64_t *out)
{
	const char *s = *text;
	uint64_t v = 0;

	for (;; s++) {
		unsigned digit;

		if (*s >= '0' && *s <= '9')
			digit = (unsigned)(*s - '0');
		else if (base == 16 && (*s | 0x20) >= 'a' && (*s | 0x20) <= 'f')
			digit = (unsigned)((*s | 0x20) - 'a') + 10;
		else
			break;
		if (__builtin_mul_overflow(v, base, &v) || __builtin_add_overflow(v, digit, &v))
			return false;
	}
	if (s == *text)
		return false;
	*text = s;
	*out = v;
	return true;
}

int num_parse_u64(const char *text, const char *what, uint64_t min, uint64_t max, uint64_t *out,
                  struct err *e)
{
	bool hex = text[0] == '0' && (text[1] | 0x20) == 'x';
	const char *s = hex ? text + 2 : text;
	uint64_t v;

	if (!digits(&s, hex ? 16 : 10, &v) || *s != '\0')
		return err_set(e, EINVAL, "%s '%s' is not a number from %" PRIu64 " to %" PRIu64,
		               what, text, min, max);
	if (v < min || v > max)
		return err_set(e, ERANGE, "%s '%s' is out of range: give %" PRIu64 " to %" PRIu64,
		               what, text, min, max);
	*out = v;
	return 0;
}

static const char units[] = "KMGTPE"; /* each 1024 times the one before */

int num_parse_size(const char *text, const char *what, uint64_t *out, struct err *e)
{
	const char *s = text, *unit;
	unsigned shift = 0;
	uint64_t v;

	if (!digits(&s, 10, &v))
		return err_set(e, EINVAL, "%s '%s' is not a size: give one like 512M or 2G", what,
		               text);
	if (*s == '\0' && v != 0)
		return err_set(e, EINVAL, "%s '%s' has no unit: give %sM for MiB or %sB for bytes",
		               what, text, text, text);
	unit = *s ? strchr(units, *s & ~0x20) : NULL;
	if (unit) {
		shift = 10 * (unsigned)(unit - units + 1);
		s++;
		if (*s == 'i' && s[1] == 'B')
			s++;
	}
	if (*s == 'B')
		s++;
	if (*s != '\0')
		return err_set(e, EINVAL, "%s '%s' is not a size: give one like 512M or 2G", what,
		               text);
	if (shift && v > UINT64_MAX >> shift)
		return err_set(e, ERANGE, "%s '%s' is too large", what, text);
	*out = v << shift;
	return 0;
}

char *num_format_size(uint64_t bytes, char *buf, size_t len)
{
	unsigned unit = 0;

	if (bytes < KIB) {
		snprintf(buf, len, "%" PRIu64 " B", bytes);
		return buf;
	}
	while (unit < sizeof(units) - 2 && bytes >> (10 * (unit + 2)))
		unit++;
	if (bytes % (1ull << 10 * (unit + 1)) == 0)
		snprintf(buf, len, "%" PRIu64 " %ciB", bytes >> 10 * (unit + 1), units[unit]);
	else
		snprintf(buf, len, "%.1f %ciB", (double)bytes / (double)(1ull << 10 * (unit + 1)),
		         units[unit]);
	return buf;
}
