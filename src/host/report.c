/*
 * What the facts mean: checks with remedies, as JSON and as a table for people.
 */
#include "host/host.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/num.h"

static const char *const cgroup_names[] = {"none", "v1", "hybrid", "v2"};
static const char *const verdict_names[] = {"good", "limited", "missing"};
static const char *const device_names[] = {"absent", "no permission", "accessible"};

struct checks {
	struct host_check *out;
	unsigned n;
};

static void PRINTF(5, 6) check(struct checks *c, const char *name, enum host_verdict verdict,
                               const char *remedy, const char *fmt, ...)
{
	struct host_check *k = &c->out[c->n++];
	va_list ap;

	k->name = name;
	k->verdict = verdict;
	k->remedy = verdict == HOST_GOOD ? "" : remedy;
	va_start(ap, fmt);
	vsnprintf(k->detail, sizeof(k->detail), fmt, ap);
	va_end(ap);
}

static void check_processor(struct checks *c, const struct host_cpu *cpu)
{
	bool v3 = cpu->avx2 && cpu->fma && cpu->f16c && cpu->bmi;

	check(c, "processor", v3 ? HOST_GOOD : HOST_LIMITED,
	      "guests are not shown AVX2, FMA and BMI here; they run without", "%s%s%s",
	      cpu->brand[0] ? cpu->brand : cpu->vendor,
	      cpu->is_guest ? ", a guest itself under " : "", cpu->is_guest ? cpu->hypervisor : "");
	check(c, "time stamp counter", cpu->tsc_invariant ? HOST_GOOD : HOST_LIMITED,
	      "guests' clocks may drift when this host changes its frequency",
	      "%" PRIu64 ".%03" PRIu64 " MHz, %s", host_tsc_khz() / 1000, host_tsc_khz() % 1000,
	      cpu->tsc_invariant ? "invariant" : "not invariant");
	check(c, "FSGSBASE", cpu->fsgsbase ? HOST_GOOD : HOST_LIMITED,
	      "a kernel from 5.9 on enables it, unless started with nofsgsbase",
	      cpu->fsgsbase ? "accessible" : "not usable by programs");
	check(c, "virtualization by processor", cpu->vmx || cpu->svm ? HOST_GOOD : HOST_LIMITED,
	      "enable VT-x or AMD-V in the firmware, or nested virtualization in the outer "
	      "hypervisor; the software engine needs neither",
	      cpu->vmx   ? "VT-x"
	      : cpu->svm ? "AMD-V"
	                 : "not shown by this processor");
}

static void check_device(struct checks *c, const char *path, enum host_device d, const char *absent,
                         const char *forbidden)
{
	check(c, path, d == DEVICE_OK ? HOST_GOOD : HOST_LIMITED,
	      d == DEVICE_ABSENT ? absent : forbidden, "%s", device_names[d]);
}

static void check_kernel(struct checks *c, const struct host_kernel *k)
{
	char missing[80] = "";
	size_t used = 0;

	for (unsigned i = 0; i < NS_KINDS; i++)
		if (!k->ns[i])
			used += (size_t)snprintf(missing + used, sizeof(missing) - used, " %s",
			                         host_ns_names[i]);
	check(c, "kernel", k->memfd ? HOST_GOOD : HOST_MISSING, "casulo needs memfd: Linux 3.17",
	      "%s", k->release[0] ? k->release : "unknown");
	check(c, "namespaces", used ? HOST_LIMITED : HOST_GOOD,
	      "isolation of these kinds needs a kernel that has them", "%s%s",
	      used ? "without" : "all", missing);
	check(c, "user namespaces", k->userns_allowed ? HOST_GOOD : HOST_LIMITED,
	      "run as root, or set user.max_user_namespaces (and on Debian "
	      "kernel.unprivileged_userns_clone=1, with AppArmor "
	      "kernel.apparmor_restrict_unprivileged_userns=0) by sysctl",
	      k->userns_allowed ? "allowed without privilege" : "not for the unprivileged");
	check(c, "seccomp", k->seccomp ? HOST_GOOD : HOST_MISSING,
	      "use a kernel with CONFIG_SECCOMP_FILTER", "%s%s", k->seccomp ? "filters" : "absent",
	      k->seccomp_notify ? ", notification" : "");
	check(c, "cgroups",
	      k->cgroups == CGROUPS_V2     ? HOST_GOOD
	      : k->cgroups == CGROUPS_NONE ? HOST_MISSING
	                                   : HOST_LIMITED,
	      "start the kernel with systemd.unified_cgroup_hierarchy=1, or mount cgroup2 at "
	      "/sys/fs/cgroup",
	      "%s%s%s", cgroup_names[k->cgroups], k->controllers[0] ? ": " : "", k->controllers);
	check(c, "userfaultfd", k->userfaultfd ? HOST_GOOD : HOST_LIMITED,
	      "needed for post-copy migration only: a kernel with CONFIG_USERFAULTFD", "%s",
	      !k->userfaultfd               ? "absent"
	      : k->userfaultfd_unprivileged ? "for everyone"
	                                    : "user-mode faults; more with privilege");
}

unsigned host_check(const struct host_facts *f, const struct host_cpu *cpu, struct host_check *out)
{
	struct checks c = {.out = out};
	char total[32], available[32];
	bool thp = strcmp(f->memory.thp_shmem, "advise") == 0 ||
	           strcmp(f->memory.thp_shmem, "always") == 0 ||
	           strcmp(f->memory.thp_shmem, "within_size") == 0;

	check_processor(&c, cpu);
	check_device(&c, "/dev/kvm", f->kvm,
	             "load the module kvm-intel or kvm-amd where the processor has "
	             "virtualization; the software engine needs none",
	             "add yourself to its group: usermod -aG kvm USER; the software engine "
	             "needs no permission");
	check_device(&c, "/dev/net/tun", f->tun, "tap networks need it: modprobe tun",
	             "tap networks need it: run as root; --net user works without");
	check_device(&c, "/dev/vhost-net", f->vhost_net, "faster tap networks: modprobe vhost_net",
	             "faster tap networks: give permission to it");
	check_kernel(&c, &f->kernel);
	check(&c, "memory", HOST_GOOD, "", "%s, %s available",
	      num_format_size(f->memory.total, total, sizeof(total)),
	      num_format_size(f->memory.available, available, sizeof(available)));
	check(&c, "huge pages", thp || f->memory.huge_2m_free ? HOST_GOOD : HOST_LIMITED,
	      "echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled makes guests "
	      "faster",
	      "transparent for guest memory: %s; reserved: %" PRIu64 " of 2 MiB, %" PRIu64
	      " of 1 GiB",
	      f->memory.thp_shmem[0] ? f->memory.thp_shmem : "unknown", f->memory.huge_2m,
	      f->memory.huge_1g);
	check(&c, "topology", HOST_GOOD, "", "%u CPUs, %u memory node%s",
	      host_cpuset_count(&f->online), f->nodes, f->nodes == 1 ? "" : "s");
	return c.n;
}

static struct json *cpus_json(const struct host_cpuset *set)
{
	struct json *a = json_array();

	for (unsigned i = 0; i < HOST_CPUS_MAX; i++)
		if (host_cpuset_has(set, i))
			json_add(a, json_u64(i));
	return a;
}

static struct json *cpu_json(const struct host_cpu *cpu)
{
	const struct {
		const char *name;
		bool on;
	} feature[] = {
		{"avx", cpu->avx},           {"avx2", cpu->avx2},
		{"avx512", cpu->avx512},     {"fma", cpu->fma},
		{"f16c", cpu->f16c},         {"bmi", cpu->bmi},
		{"aes", cpu->aes},           {"sha", cpu->sha},
		{"vmx", cpu->vmx},           {"svm", cpu->svm},
		{"fsgsbase", cpu->fsgsbase}, {"tsc_invariant", cpu->tsc_invariant},
	};
	struct json *o = json_object();

	json_put(o, "vendor", json_str(cpu->vendor));
	json_put(o, "brand", json_str(cpu->brand));
	json_put(o, "family", json_u64(cpu->family));
	json_put(o, "model", json_u64(cpu->model));
	json_put(o, "stepping", json_u64(cpu->stepping));
	if (cpu->is_guest)
		json_put(o, "hypervisor", json_str(cpu->hypervisor));
	json_put(o, "xcr0", json_u64(cpu->xcr0));
	json_put(o, "phys_bits", json_u64(cpu->phys_bits));
	json_put(o, "tsc_khz", json_u64(host_tsc_khz()));
	for (unsigned i = 0; i < ARRAY_LEN(feature); i++)
		json_put(o, feature[i].name, json_bool(feature[i].on));
	return o;
}

static struct json *nodes_json(const struct host_facts *f)
{
	struct json *a = json_array();

	for (unsigned i = 0; i < f->nodes; i++) {
		struct json *o = json_object(), *distances = json_array();

		json_put(o, "id", json_u64(f->node[i].id));
		json_put(o, "memory", json_u64(f->node[i].memory));
		json_put(o, "cpus", cpus_json(&f->node[i].cpus));
		for (unsigned j = 0; j < f->nodes; j++)
			json_add(distances, json_u64(f->node[i].distance[j]));
		json_put(o, "distances", distances);
		json_add(a, o);
	}
	return a;
}

static struct json *kernel_json(const struct host_kernel *k)
{
	struct json *o = json_object(), *ns = json_array();

	json_put(o, "release", json_str(k->release));
	for (unsigned i = 0; i < NS_KINDS; i++)
		if (k->ns[i])
			json_add(ns, json_str(host_ns_names[i]));
	json_put(o, "namespaces", ns);
	json_put(o, "userns_allowed", json_bool(k->userns_allowed));
	json_put(o, "seccomp", json_bool(k->seccomp));
	json_put(o, "seccomp_notify", json_bool(k->seccomp_notify));
	json_put(o, "memfd", json_bool(k->memfd));
	json_put(o, "userfaultfd", json_bool(k->userfaultfd));
	json_put(o, "cgroups", json_str(cgroup_names[k->cgroups]));
	json_put(o, "controllers", json_str(k->controllers));
	return o;
}

static struct json *memory_json(const struct host_memory *m)
{
	struct json *o = json_object();

	json_put(o, "total", json_u64(m->total));
	json_put(o, "available", json_u64(m->available));
	json_put(o, "huge_2m", json_u64(m->huge_2m));
	json_put(o, "huge_2m_free", json_u64(m->huge_2m_free));
	json_put(o, "huge_1g", json_u64(m->huge_1g));
	json_put(o, "huge_1g_free", json_u64(m->huge_1g_free));
	json_put(o, "thp", json_str(m->thp));
	json_put(o, "thp_shmem", json_str(m->thp_shmem));
	return o;
}

void host_report(const struct host_facts *f, const struct host_cpu *cpu, struct json *object)
{
	struct host_check k[HOST_CHECKS_MAX];
	unsigned n = host_check(f, cpu, k);
	struct json *checks = json_array();

	json_put(object, "cpu", cpu_json(cpu));
	json_put(object, "online", cpus_json(&f->online));
	json_put(object, "nodes", nodes_json(f));
	json_put(object, "kernel", kernel_json(&f->kernel));
	json_put(object, "memory", memory_json(&f->memory));
	json_put(object, "kvm", json_str(device_names[f->kvm]));
	json_put(object, "tun", json_str(device_names[f->tun]));
	json_put(object, "vhost_net", json_str(device_names[f->vhost_net]));
	for (unsigned i = 0; i < n; i++) {
		struct json *o = json_object();

		json_put(o, "name", json_str(k[i].name));
		json_put(o, "verdict", json_str(verdict_names[k[i].verdict]));
		json_put(o, "detail", json_str(k[i].detail));
		if (k[i].remedy[0])
			json_put(o, "remedy", json_str(k[i].remedy));
		json_add(checks, o);
	}
	json_put(object, "checks", checks);
}

char *host_table(const struct host_facts *f, const struct host_cpu *cpu)
{
	struct host_check k[HOST_CHECKS_MAX];
	unsigned n = host_check(f, cpu, k);
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return xstrdup("");
	for (unsigned i = 0; i < n; i++) {
		fprintf(out, "%-28s %-8s %s\n", k[i].name, verdict_names[k[i].verdict],
		        k[i].detail);
		if (k[i].remedy[0])
			fprintf(out, "%-28s %-8s -> %s\n", "", "", k[i].remedy);
	}
	fclose(out);
	return text;
}
