/* Watches on a lane that may be running already, from another thread. */
#ifndef BACKEND_LANE_H
#define BACKEND_LANE_H

#include "base/loop.h"

/* Both return when it is done. */
int lane_watch(struct loop *lane, struct watch *w, struct err *e) MUST_CHECK;
void lane_unwatch(struct watch *w); /* accepts one that was not added */

#endif
