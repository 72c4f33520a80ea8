#include "cli/option.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define WORD_MAX    32
#define OPTIONS_MAX 64

/* Levenshtein's distance; words that are too long count as far away. */
static size_t distance(const char *a, const char *b)
{
	size_t row[WORD_MAX + 1], la = strlen(a), lb = strlen(b);

	if (la > WORD_MAX || lb > WORD_MAX)
		return WORD_MAX;
	for (size_t j = 0; j <= lb; j++)
		row[j] = j;
	for (size_t i = 1; i <= la; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			size_t replace = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			row[j] = MIN(replace, MIN(row[j], row[j - 1]) + 1);
		}
	}
	return row[lb];
}

const char *spelling_nearest(const char *typed, const char *const *words, size_t n)
{
	const char *best = NULL;
	size_t best_distance = strlen(typed) / 2 + 1;

	for (size_t i = 0; i < n; i++) {
		size_t d = distance(typed, words[i]);

		if (d < best_distance) {
			best = words[i];
			best_distance = d;
		}
	}
	return best;
}

static int unknown(const struct option_def *table, const char *name, size_t len, struct err *e)
{
	const char *words[OPTIONS_MAX], *near;
	char typed[WORD_MAX + 2];
	size_t n = 0;

	snprintf(typed, sizeof(typed), "%.*s", (int)len, name);
	for (; table[n].name && n < OPTIONS_MAX; n++)
		words[n] = table[n].name;
	near = spelling_nearest(typed, words, n);
	if (near)
		return err_set(e, EINVAL, "unknown option '--%s': did you mean '--%s'?", typed,
		               near);
	return err_set(e, EINVAL, "unknown option '--%s': see 'casulo help boot'", typed);
}

static const struct option_def *find(const struct option_def *table, const char *name, size_t len)
{
	for (; table->name; table++) {
		if (strlen(table->name) == len && memcmp(table->name, name, len) == 0)
			return table;
	}
	return NULL;
}

int options_parse(const struct option_def *table, void *ctx, int argc, char **argv, struct err *e)
{
	for (int i = 1; i < argc; i++) {
		const char *name = argv[i] + 2, *value = NULL;
		const struct option_def *o;
		size_t len;
		int r;

		if (strncmp(argv[i], "--", 2) != 0 || argv[i][2] == 0)
			return err_set(e, EINVAL,
			               "unexpected argument '%s': options start with '--', see "
			               "'casulo help boot'",
			               argv[i]);
		len = strcspn(name, "=");
		o = find(table, name, len);
		if (!o)
			return unknown(table, name, len, e);
		if (name[len] == '=')
			value = name + len + 1;
		if (!o->arg && value)
			return err_set(e, EINVAL, "option '--%s' takes no value: leave '=%s' out",
			               o->name, value);
		if (o->arg && !value) {
			if (i + 1 == argc)
				return err_set(e, EINVAL, "option '--%s' needs a value: --%s %s",
				               o->name, o->name, o->arg);
			value = argv[++i];
		}
		r = o->set(ctx, value, e);
		if (r < 0)
			return r;
	}
	return 0;
}

void options_help(const struct option_def *table)
{
	for (; table->name; table++) {
		char head[64];

		snprintf(head, sizeof(head), "--%s%s%s", table->name, table->arg ? " " : "",
		         table->arg ? table->arg : "");
		printf("  %-34s %s\n", head, table->help);
	}
}
