#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "cli/command.h"
#include "cli/option.h"
#include "host/host.h"
#include "vm/engines.h"

static const char *verdict(const struct engine_report *r)
{
	if (r->usable)
		return "works";
	return r->openable ? "limited" : "no";
}

static struct json *engines_json(void)
{
	struct json *a = json_array();

	for (unsigned i = 0; engines[i]; i++) {
		struct engine_report r = {};
		struct json *j = json_object();

		engines[i]->probe(&r);
		json_put(j, "name", json_str(engines[i]->name));
		json_put(j, "usable", json_bool(r.usable));
		json_put(j, "openable", json_bool(r.openable));
		json_put(j, "reason", json_str(r.reason));
		if (engines[i]->describe)
			json_put(j, "abilities", engines[i]->describe());
		json_add(a, j);
	}
	return a;
}

/* An engine's abilities, each a line. */
static void print_abilities(const struct engine *engine)
{
	struct json *list = engine->describe ? engine->describe() : json_array();

	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *fact = json_at(list, i), *value = json_get(fact, "value");
		uint64_t number;
		bool yes;

		printf("         %-33s ", json_to_str(json_get(fact, "name")));
		if (json_to_bool(value, &yes) == 0)
			puts(yes ? "yes" : "no");
		else if (json_to_u64(value, &number) == 0)
			printf("%" PRIu64 "\n", number);
		else
			puts(json_to_str(value));
	}
	json_free(list);
}

static void print_engines(void)
{
	struct engine_choice choice = {};
	struct err e = {};

	printf("engines\n");
	for (unsigned i = 0; engines[i]; i++) {
		struct engine_report r = {};

		engines[i]->probe(&r);
		printf("  %-6s %-8s %s\n", engines[i]->name, verdict(&r), r.reason);
		print_abilities(engines[i]);
	}
	if (engine_choose("auto", &choice, &e) == 0)
		printf("  auto   takes %s: %s\n", choice.engine->name, choice.reason);
	else
		printf("  auto   fails: %s\n", e.text);
}

static int set_json(void *ctx, const char *value, struct err *e)
{
	*(bool *)ctx = true;
	return 0;
}

int command_doctor(int argc, char **argv)
{
	static const struct option_def options[] = {{"json", NULL, "for programs", set_json}, {}};
	static struct host_facts facts; /* large */
	AUTO_FREE char *text = NULL;
	struct err e = {};
	bool json = false;

	if (options_parse(options, &json, argc, argv, &e) < 0) {
		log_error("%s", e.text);
		return EXIT_USAGE;
	}
	if (host_facts_read("/", &facts, &e) < 0) {
		log_error("%s", e.text);
		return EXIT_ERROR;
	}
	if (json) {
		struct json *j = json_object();

		host_report(&facts, host_cpu(), j);
		json_put(j, "engines", engines_json());
		text = json_print(j, true);
		json_free(j);
		puts(text);
		return EXIT_OK;
	}
	text = host_table(&facts, host_cpu());
	fputs(text, stdout);
	print_engines();
	return EXIT_OK;
}
