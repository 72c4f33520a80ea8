/*
 * Facts from /proc, /sys and /dev.
 */
#include "host/host.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "host/read.h"

#define DISTANCE_LOCAL 10

const char *const host_ns_names[NS_KINDS] = {"cgroup", "ipc",  "mnt",  "net",
                                             "pid",    "time", "user", "uts"};

unsigned host_cpuset_count(const struct host_cpuset *set)
{
	unsigned n = 0;

	for (unsigned i = 0; i < ARRAY_LEN(set->bit); i++)
		n += (unsigned)__builtin_popcountll(set->bit[i]);
	return n;
}

/* A number at *at, moved behind it. */
static int parse_number(const char **at, unsigned *out)
{
	char *end;
	unsigned long v;

	if (**at < '0' || **at > '9')
		return -EINVAL;
	v = strtoul(*at, &end, 10);
	if (v >= HOST_CPUS_MAX)
		return -EINVAL;
	*at = end;
	*out = (unsigned)v;
	return 0;
}

int host_cpuset_parse(const char *text, struct host_cpuset *out)
{
	struct host_cpuset set = {0};

	while (*text && *text != '\n') {
		unsigned first, last;

		if (parse_number(&text, &first) < 0)
			return -EINVAL;
		last = first;
		if (*text == '-') {
			text++;
			if (parse_number(&text, &last) < 0 || last < first)
				return -EINVAL;
		}
		for (unsigned cpu = first; cpu <= last; cpu++)
			set.bit[cpu / 64] |= 1ull << cpu % 64;
		if (*text == ',')
			text++;
		else if (*text && *text != '\n')
			return -EINVAL;
	}
	*out = set;
	return 0;
}

static bool read_cpuset(int root, const char *path, struct host_cpuset *out)
{
	char text[1024];

	return read_text(root, path, text, sizeof(text)) && host_cpuset_parse(text, out) == 0;
}

static void read_distances(int root, struct host_node *node, unsigned nodes)
{
	char path[64], text[512], *at = text, *end;

	for (unsigned i = 0; i < nodes; i++)
		node->distance[i] = DISTANCE_LOCAL;
	snprintf(path, sizeof(path), "sys/devices/system/node/node%u/distance", node->id);
	if (!read_text(root, path, text, sizeof(text)))
		return;
	for (unsigned i = 0; i < nodes; i++, at = end) {
		unsigned long v = strtoul(at, &end, 10);

		if (end == at)
			break;
		node->distance[i] = (uint8_t)MIN(v, 255ul);
	}
}

static void read_nodes(int root, struct host_facts *f)
{
	struct host_cpuset ids = {0};

	read_cpuset(root, "sys/devices/system/node/online", &ids);
	for (unsigned id = 0; id < HOST_CPUS_MAX && f->nodes < HOST_NODES_MAX; id++) {
		struct host_node *node = &f->node[f->nodes];
		char path[64];

		if (!host_cpuset_has(&ids, id))
			continue;
		node->id = id;
		snprintf(path, sizeof(path), "sys/devices/system/node/node%u/cpulist", id);
		read_cpuset(root, path, &node->cpus);
		snprintf(path, sizeof(path), "sys/devices/system/node/node%u/meminfo", id);
		node->memory = read_meminfo(root, path, "MemTotal:");
		f->nodes++;
	}
	if (f->nodes == 0) { /* a kernel without NUMA: all is one node */
		f->node[0].cpus = f->online;
		f->node[0].memory = f->memory.total;
		f->nodes = 1;
	}
	for (unsigned i = 0; i < f->nodes; i++)
		read_distances(root, &f->node[i], f->nodes);
}

/* Controllers of v1 that are mounted at the usual place. */
static void read_v1_controllers(int root, struct host_kernel *k)
{
	char text[4096], path[96], *line, *save = NULL;
	size_t used = 0;

	if (!read_text(root, "proc/cgroups", text, sizeof(text)))
		return;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *end = strchr(line, '\t');

		if (line[0] == '#' || !end)
			continue;
		*end = '\0';
		snprintf(path, sizeof(path), "sys/fs/cgroup/%.64s", line);
		if (!read_exists(root, path) || used + strlen(line) + 2 > sizeof(k->controllers))
			continue;
		used += (size_t)snprintf(k->controllers + used, sizeof(k->controllers) - used,
		                         "%s%s", used ? " " : "", line);
	}
}

static void read_cgroups(int root, struct host_kernel *k)
{
	if (read_text(root, "sys/fs/cgroup/cgroup.controllers", k->controllers,
	              sizeof(k->controllers))) {
		k->cgroups = CGROUPS_V2;
		return;
	}
	read_v1_controllers(root, k);
	if (read_exists(root, "sys/fs/cgroup/unified/cgroup.controllers"))
		k->cgroups = CGROUPS_HYBRID;
	else if (k->controllers[0])
		k->cgroups = CGROUPS_V1;
}

static void read_kernel(int root, struct host_kernel *k)
{
	char text[256] = "", path[64];
	char *end;

	if (read_text(root, "proc/sys/kernel/osrelease", k->release, sizeof(k->release))) {
		k->major = (unsigned)strtoul(k->release, &end, 10);
		if (*end == '.')
			k->minor = (unsigned)strtoul(end + 1, NULL, 10);
	}
	for (unsigned i = 0; i < NS_KINDS; i++) {
		snprintf(path, sizeof(path), "proc/self/ns/%s", host_ns_names[i]);
		/* A link to a name that is no path: look at the link itself. */
		k->ns[i] = faccessat(root, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	}
	/* Three switches of three distributions; what is not there does not forbid. */
	k->userns_allowed =
		k->ns[NS_USER] && read_u64(root, "proc/sys/user/max_user_namespaces", 1) > 0 &&
		read_u64(root, "proc/sys/kernel/unprivileged_userns_clone", 1) != 0 &&
		read_u64(root, "proc/sys/kernel/apparmor_restrict_unprivileged_userns", 0) == 0;
	k->seccomp = read_text(root, "proc/sys/kernel/seccomp/actions_avail", text, sizeof(text));
	k->seccomp_notify = strstr(text, "user_notif") != NULL;
	k->memfd = k->major > 3 || (k->major == 3 && k->minor >= 17);
	k->userfaultfd = read_exists(root, "proc/sys/vm/unprivileged_userfaultfd");
	k->userfaultfd_unprivileged =
		read_u64(root, "proc/sys/vm/unprivileged_userfaultfd", 0) == 1;
	read_cgroups(root, k);
}

static void read_memory(int root, struct host_memory *m)
{
#define HUGE "sys/kernel/mm/hugepages/hugepages-"
#define THP  "sys/kernel/mm/transparent_hugepage/"
	m->total = read_meminfo(root, "proc/meminfo", "MemTotal:");
	m->available = read_meminfo(root, "proc/meminfo", "MemAvailable:");
	m->huge_2m = read_u64(root, HUGE "2048kB/nr_hugepages", 0);
	m->huge_2m_free = read_u64(root, HUGE "2048kB/free_hugepages", 0);
	m->huge_1g = read_u64(root, HUGE "1048576kB/nr_hugepages", 0);
	m->huge_1g_free = read_u64(root, HUGE "1048576kB/free_hugepages", 0);
	read_choice(root, THP "enabled", m->thp, sizeof(m->thp));
	read_choice(root, THP "shmem_enabled", m->thp_shmem, sizeof(m->thp_shmem));
}

static enum host_device read_device(int root, const char *path)
{
	if (faccessat(root, path, R_OK | W_OK, AT_EACCESS) == 0)
		return DEVICE_OK;
	return errno == ENOENT || errno == ENOTDIR ? DEVICE_ABSENT : DEVICE_FORBIDDEN;
}

int host_facts_read(const char *root, struct host_facts *out, struct err *e)
{
	AUTO_FD int fd = open(root ? root : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_set(e, errno, "cannot read the host's facts below '%s': %s",
		               root ? root : "/", strerror(errno));
	memset(out, 0, sizeof(*out));
	read_memory(fd, &out->memory);
	if (!read_cpuset(fd, "sys/devices/system/cpu/online", &out->online))
		out->online.bit[0] = 1;
	read_nodes(fd, out);
	read_kernel(fd, &out->kernel);
	out->kvm = read_device(fd, "dev/kvm");
	out->vhost_net = read_device(fd, "dev/vhost-net");
	out->tun = read_device(fd, "dev/net/tun");
	return 0;
}
