#include "vm/engines.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/kvm/engine.h"
#include "engine/soft/engine.h"

const struct engine *const engines[] = {&engine_kvm, &engine_soft, NULL};

static int choose_named(const char *name, struct engine_choice *out, struct err *e)
{
	char names[64] = "auto";
	size_t len = strlen(names);

	for (unsigned i = 0; engines[i]; i++) {
		struct engine_report report = {};

		if (strcmp(engines[i]->name, name) != 0) {
			len += snprintf(names + len, sizeof(names) - len, ", %s", engines[i]->name);
			continue;
		}
		engines[i]->probe(&report);
		if (!report.usable && !report.openable)
			return err_set(e, ENODEV,
			               "engine '%s' cannot be used: %s: try --engine soft", name,
			               report.reason);
		out->engine = engines[i];
		snprintf(out->reason, sizeof(out->reason), "asked for; %s", report.reason);
		return 0;
	}
	return err_set(e, EINVAL, "unknown engine '%s': use one of %s", name, names);
}

int engine_choose(const char *name, struct engine_choice *out, struct err *e)
{
	char passed[128] = "";

	if (strcmp(name, "auto") != 0)
		return choose_named(name, out, e);
	for (unsigned i = 0; engines[i]; i++) {
		struct engine_report report = {};

		engines[i]->probe(&report);
		if (report.usable) {
			out->engine = engines[i];
			snprintf(out->reason, sizeof(out->reason), "%s",
			         passed[0] ? passed : report.reason);
			return 0;
		}
		snprintf(passed, sizeof(passed), "not %s: %.110s", engines[i]->name, report.reason);
	}
	return err_set(e, ENODEV, "no engine works here (%s): see 'casulo doctor'", passed);
}
