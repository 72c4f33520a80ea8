/* The command line: options, their errors, and spelling help. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "cli/boot.h"

static int parse(struct boot_args *a, struct err *e, char **argv)
{
	int argc = 0;

	while (argv[argc])
		argc++;
	memset(a, 0, sizeof(*a));
	vm_spec_init(&a->spec);
	return options_parse(boot_options, a, argc, argv, e);
}
#define PARSE(a, e, ...) parse(a, e, (char **)(const char *[]){"boot", __VA_ARGS__, NULL})

static void test_values(void **state)
{
	struct boot_args a;
	struct err e;

	assert_int_equal(PARSE(&a, &e, "--kernel", "k", "--memory=1G", "--cpus", "2", "--dry-run",
	                       "--append=a=b c", "--device", "isa-debug-exit", "--device",
	                       "virtio-console=none"),
	                 0);
	assert_string_equal(a.spec.kernel, "k");
	assert_int_equal(a.spec.memory, GIB);
	assert_int_equal(a.spec.cpus, 2);
	assert_true(a.dry_run);
	assert_string_equal(a.spec.append, "a=b c");
	assert_true(a.spec.debug_exit);
	assert_string_equal(a.spec.virtio_console, "none");
	vm_spec_fini(&a.spec);
}

static void test_defaults(void **state)
{
	struct boot_args a;
	struct err e;

	assert_int_equal(PARSE(&a, &e, "--kernel", "k"), 0);
	assert_int_equal(a.spec.memory, 512 * MIB);
	assert_int_equal(a.spec.cpus, 1);
	assert_string_equal(a.spec.engine, "auto");
	assert_string_equal(a.spec.console, "stdio");
}

#define FAILS(why, ...)                                        \
	do {                                                   \
		struct boot_args a_;                           \
		struct err e_ = {};                            \
                                                               \
		assert_true(PARSE(&a_, &e_, __VA_ARGS__) < 0); \
		if (!strstr(e_.text, why))                     \
			fail_msg("error is: %s", e_.text);     \
		vm_spec_fini(&a_.spec);                        \
	} while (0)

static void test_errors(void **state)
{
	FAILS("did you mean '--kernel'?", "--kernl", "x");
	FAILS("did you mean '--memory'?", "--memroy=1G");
	FAILS("unknown option '--xyzzy': see", "--xyzzy");
	FAILS("unexpected argument 'vmlinuz'", "vmlinuz");
	FAILS("unexpected argument '-k'", "-k");
	FAILS("'--kernel' needs a value: --kernel FILE", "--kernel");
	FAILS("takes no value: leave '=1' out", "--dry-run=1");
	FAILS("--memory", "--memory", "512");
	FAILS("--cpus", "--cpus", "two");
	FAILS("unknown device 'floppy'", "--device", "floppy");
	FAILS("unknown device 'virtio-consoles'", "--device", "virtio-consoles");
}

static void test_spelling(void **state)
{
	static const char *const words[] = {"boot", "doctor", "help"};

	assert_string_equal(spelling_nearest("boo", words, 3), "boot");
	assert_string_equal(spelling_nearest("dcotor", words, 3), "doctor");
	assert_null(spelling_nearest("frobnicate", words, 3));
	assert_null(spelling_nearest("", words, 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_spelling),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
