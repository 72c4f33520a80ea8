/* Host facts from a root of our own: two nodes, hybrid cgroups; and from a root with nothing at all. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "host/host.h"

static char root[64];
static char made[64][160]; /* to be removed again, in reverse */
static unsigned n_made;

static void keep(const char *path)
{
	assert_true(n_made < ARRAY_LEN(made));
	snprintf(made[n_made++], sizeof(made[0]), "%s", path);
}

static void put(const char *name, const char *text)
{
	char path[160];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		if (mkdir(path, 0700) == 0)
			keep(path);
		*slash = '/';
	}
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	keep(path);
}

static int setup(void **state)
{
	n_made = 0;
	snprintf(root, sizeof(root), "/tmp/casulo-host-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state)
{
	while (n_made)
		remove(made[--n_made]);
	return rmdir(root);
}

static const struct host_check *find(const struct host_check *k, unsigned n, const char *name)
{
	for (unsigned i = 0; i < n; i++)
		if (strcmp(k[i].name, name) == 0)
			return &k[i];
	return NULL;
}

static void facts_are_read_below_the_root(void **state)
{
	static struct host_facts f;
	struct err e;

	put("sys/devices/system/cpu/online", "0-3,6\n");
	put("sys/devices/system/node/online", "0,2\n");
	put("sys/devices/system/node/node0/cpulist", "0-1\n");
	put("sys/devices/system/node/node0/distance", "10 21\n");
	put("sys/devices/system/node/node0/meminfo", "Node 0 MemTotal:  2048 kB\n");
	put("sys/devices/system/node/node2/cpulist", "2-3,6\n");
	put("sys/devices/system/node/node2/distance", "21 10\n");
	put("proc/meminfo", "MemTotal:  4096 kB\nMemFree: 1 kB\nMemAvailable:  1024 kB\n");
	put("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n");
	put("proc/self/ns/user", "");
	put("proc/sys/kernel/unprivileged_userns_clone", "0\n");
	put("proc/cgroups",
	    "#subsys_name\thierarchy\ncpu\t1\t1\t1\nmemory\t2\t1\t1\nrdma\t3\t1\t1\n");
	put("sys/fs/cgroup/cpu/tasks", "");
	put("sys/fs/cgroup/memory/tasks", "");
	put("sys/fs/cgroup/unified/cgroup.controllers", "\n");
	put("sys/kernel/mm/transparent_hugepage/shmem_enabled",
	    "always within_size [advise] never deny force\n");
	put("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "12\n");
	put("dev/kvm", "");
	assert_int_equal(host_facts_read(root, &f, &e), 0);
	assert_int_equal(host_cpuset_count(&f.online), 5);
	assert_int_equal(f.nodes, 2);
	assert_int_equal(f.node[1].id, 2);
	assert_int_equal(f.node[1].distance[0], 21);
	assert_true(host_cpuset_has(&f.node[1].cpus, 6));
	assert_int_equal(f.node[0].memory, 2 * MIB);
	assert_int_equal(f.memory.available, MIB);
	assert_int_equal(f.memory.huge_2m, 12);
	assert_string_equal(f.memory.thp_shmem, "advise");
	assert_int_equal(f.kernel.minor, 1);
	assert_true(f.kernel.memfd);
	assert_true(f.kernel.ns[NS_USER]);
	assert_false(f.kernel.ns[NS_NET]);
	assert_false(f.kernel.userns_allowed);
	assert_int_equal(f.kernel.cgroups, CGROUPS_HYBRID);
	assert_string_equal(f.kernel.controllers, "cpu memory");
	assert_int_equal(f.kvm, DEVICE_OK);
	assert_int_equal(f.tun, DEVICE_ABSENT);
}

static void nothing_is_a_fact_too(void **state)
{
	static struct host_facts f;
	struct host_check k[HOST_CHECKS_MAX];
	const struct host_check *kvm;
	char *table;
	struct err e;
	unsigned n;

	assert_int_equal(host_facts_read(root, &f, &e), 0);
	assert_int_equal(f.nodes, 1);
	assert_int_equal(f.kernel.cgroups, CGROUPS_NONE);
	assert_int_equal(f.kvm, DEVICE_ABSENT);
	n = host_check(&f, host_cpu(), k);
	kvm = find(k, n, "/dev/kvm");
	assert_non_null(kvm);
	assert_int_equal(kvm->verdict, HOST_LIMITED);
	assert_non_null(strstr(kvm->remedy, "software engine"));
	assert_int_equal(find(k, n, "cgroups")->verdict, HOST_MISSING);
	/* Nothing that is amiss goes without advice */
	for (unsigned i = 0; i < n; i++)
		assert_true(k[i].verdict == HOST_GOOD || k[i].remedy[0]);
	table = host_table(&f, host_cpu());
	assert_non_null(strstr(table, "/dev/kvm"));
	free(table);
	assert_int_equal(host_facts_read("/nonexistent/root", &f, &e), -ENOENT);
	assert_non_null(strstr(e.text, "'/nonexistent/root'"));
}

static void cpu_lists_are_parsed_strictly(void **state)
{
	struct host_cpuset set;

	assert_int_equal(host_cpuset_parse("0-2,64,1023\n", &set), 0);
	assert_int_equal(host_cpuset_count(&set), 5);
	assert_true(host_cpuset_has(&set, 1023));
	assert_int_equal(host_cpuset_parse("", &set), 0);
	assert_int_equal(host_cpuset_count(&set), 0);
	assert_int_equal(host_cpuset_parse("1024", &set), -EINVAL);
	assert_int_equal(host_cpuset_parse("3-1", &set), -EINVAL);
	assert_int_equal(host_cpuset_parse("1;2", &set), -EINVAL);
	assert_int_equal(host_cpuset_parse("-1", &set), -EINVAL);
	assert_int_equal(host_cpuset_parse("99999999999999999999", &set), -EINVAL);
}

static void this_computer_has_facts(void **state)
{
	static struct host_facts f;
	struct json *object = json_object();
	struct err e;
	uint64_t khz = host_tsc_khz();

	assert_int_equal(host_facts_read(NULL, &f, &e), 0);
	assert_true(host_cpuset_count(&f.online) >= 1);
	assert_true(f.memory.total > 0);
	assert_true(khz > 100000 && khz < 20000000);
	assert_int_equal(host_tsc_khz(), khz);
	assert_int_equal(strlen(host_cpu()->vendor), 12);
	assert_true(host_cpu()->f1_edx & 1u << 26); /* SSE2: this is x86-64 */
	host_report(&f, host_cpu(), object);
	assert_non_null(json_get(object, "kernel"));
	assert_true(json_len(json_get(object, "checks")) > 5);
	json_free(object);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(facts_are_read_below_the_root, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_is_a_fact_too, setup, teardown),
		cmocka_unit_test(cpu_lists_are_parsed_strictly),
		cmocka_unit_test(this_computer_has_facts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
