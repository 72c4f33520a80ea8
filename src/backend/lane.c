/* Watches on a lane that may be running already, from another thread. */
#include "backend/lane.h"

struct change {
	struct loop *lane;
	struct watch *watch;
	struct err *err;
	int result;
};

static void add(void *arg)
{
	struct change *c = arg;

	c->result = watch_add(c->lane, c->watch, c->err);
}

static void del(void *arg)
{
	struct change *c = arg;

	watch_del(c->watch);
}

int lane_watch(struct loop *lane, struct watch *w, struct err *e)
{
	struct change c = {.lane = lane, .watch = w, .err = e};

	loop_call_wait(lane, add, &c);
	return c.result;
}

void lane_unwatch(struct watch *w)
{
	struct change c = {.watch = w};

	if (w->loop)
		loop_call_wait(w->loop, del, &c);
}
