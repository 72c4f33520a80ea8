/* The formats of disks. */
#include "backend/blk.h"

#include <errno.h>
#include <string.h>

static const struct blk_format {
	const char *name;
	int (*open)(struct loop *lane, const struct blk_spec *spec, struct blk **out,
	            struct err *e);
} formats[] = {
	{"raw", blk_raw_open},
};

int blk_open(struct loop *lane, const struct blk_spec *spec, struct blk **out, struct err *e)
{
	const char *format = spec->format ? spec->format : "raw";

	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		if (!strcmp(formats[i].name, format))
			return formats[i].open(lane, spec, out, e);
	}
	return err_set(e, EINVAL, "unknown format '%s' of disk '%s': use format=raw", format,
	               spec->path);
}
