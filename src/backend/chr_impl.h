/* Between the files of character back ends. */
#ifndef BACKEND_CHR_IMPL_H
#define BACKEND_CHR_IMPL_H

#include "backend/chr.h"

/*
 * A character back end on descriptors.  Input comes on the loop's thread as far as the owner has
 * room; output is queued by any thread and written without waiting, the rest when poll says so.
 */
struct chr_fd_spec {
	const char *name;
	int in, out; /* -1: none; closed on free when own is set */
	bool own;
	/* Looks at input before the owner does, edits it in place, returns the new length.  NULL: none. */
	size_t (*filter)(void *arg, uint8_t *data, size_t len);
	void (*free)(void *arg); /* after the last output; may be NULL */
	void *arg;
};
int chr_fd_new(struct loop *loop, const struct chr_fd_spec *spec, struct chr **out,
               struct err *e) MUST_CHECK;

int chr_stdio_open(struct loop *loop, const struct chr_spec *spec, const char *arg,
                   struct chr **out, struct err *e) MUST_CHECK;

#endif
