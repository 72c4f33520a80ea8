/*
 * Facts about this computer: plain values, read from files below a root directory (tests give one of
 * their own) and from the processor.  Nothing here changes the host, needs privilege or opens devices;
 * what an engine can do with /dev/kvm is the engine's probe.  Control path.
 */
#ifndef HOST_HOST_H
#define HOST_HOST_H

#include "base/err.h"
#include "base/json.h"

#define HOST_CPUS_MAX  1024
#define HOST_NODES_MAX 64

/* CPUID is executed once a process: it costs microseconds on a host that is itself a guest. */
struct host_cpu {
	char vendor[13], brand[49];
	unsigned family, model, stepping;
	bool is_guest; /* runs under a hypervisor itself */
	char hypervisor[13];
	/* Feature words as CPUID gives them: 1, 7.0, 0x80000001, 0xd.1 */
	uint32_t f1_ecx, f1_edx, f7_ebx, f7_ecx, f7_edx, fe1_ecx, fe1_edx, fd1_eax;
	uint64_t xcr0;                                    /* what the kernel enabled; 0: no XSAVE */
	unsigned phys_bits;                               /* physical address width */
	bool avx, avx2, avx512, fma, f16c, bmi, aes, sha; /* usable: feature and state enabled */
	bool fsgsbase; /* RDFSBASE... work in user space (AT_HWCAP2) */
	bool tsc_invariant;
	bool vmx, svm;
};
const struct host_cpu *host_cpu(void);

/* Measured against CLOCK_MONOTONIC_RAW at the first call, which takes 25 ms. Precise to some ppm. */
uint64_t host_tsc_khz(void);

/* A set of CPU numbers, from the kernel's list form "0-3,8". */
struct host_cpuset {
	uint64_t bit[HOST_CPUS_MAX / 64];
};
unsigned host_cpuset_count(const struct host_cpuset *set);
static inline bool host_cpuset_has(const struct host_cpuset *set, unsigned cpu)
{
	return cpu < HOST_CPUS_MAX && set->bit[cpu / 64] >> cpu % 64 & 1;
}
/* -EINVAL for text of another form, or a number out of range; out untouched then. */
int host_cpuset_parse(const char *text, struct host_cpuset *out) MUST_CHECK;

struct host_node {
	unsigned id;
	struct host_cpuset cpus;
	uint64_t memory;                  /* bytes */
	uint8_t distance[HOST_NODES_MAX]; /* to the nodes in the order of this array */
};

enum host_cgroups { CGROUPS_NONE, CGROUPS_V1, CGROUPS_HYBRID, CGROUPS_V2 };

/* Kinds of namespaces, as /proc/self/ns names them. */
enum { NS_CGROUP, NS_IPC, NS_MNT, NS_NET, NS_PID, NS_TIME, NS_USER, NS_UTS, NS_KINDS };
extern const char *const host_ns_names[NS_KINDS];

struct host_kernel {
	char release[64];
	unsigned major, minor;
	bool ns[NS_KINDS];
	bool userns_allowed; /* an unprivileged process may make one */
	bool seccomp, seccomp_notify;
	bool memfd;
	bool userfaultfd;              /* the kernel has it */
	bool userfaultfd_unprivileged; /* ...and gives it for kernel faults, too, without privilege */
	enum host_cgroups cgroups;
	char controllers[256]; /* separated by blanks */
};

struct host_memory {
	uint64_t total, available;                             /* bytes */
	uint64_t huge_2m, huge_2m_free, huge_1g, huge_1g_free; /* pages */
	char thp[16], thp_shmem[16]; /* chosen: "always", "madvise", "never"...; "" unknown */
};

enum host_device { DEVICE_ABSENT, DEVICE_FORBIDDEN, DEVICE_OK };

struct host_facts {
	struct host_cpuset online;
	unsigned nodes;
	struct host_node node[HOST_NODES_MAX]; /* at least one */
	struct host_kernel kernel;
	struct host_memory memory;
	enum host_device kvm, vhost_net, tun;
};

/*
 * Reads them below root ("/"; NULL is the same).  A file that is missing is a fact, too: absent.
 * Fails only when root isn't a directory.
 */
int host_facts_read(const char *root, struct host_facts *out, struct err *e) MUST_CHECK;

/* What works and what to do where it doesn't: computed from the facts alone. */
enum host_verdict { HOST_GOOD, HOST_LIMITED, HOST_MISSING };
struct host_check {
	const char *name; /* "user namespaces" */
	enum host_verdict verdict;
	char detail[160];
	const char *remedy; /* "" when good */
};
#define HOST_CHECKS_MAX 24
unsigned host_check(const struct host_facts *f, const struct host_cpu *cpu, struct host_check *out);

/* Facts and checks into an object, as `casulo doctor --json` shows it. */
void host_report(const struct host_facts *f, const struct host_cpu *cpu, struct json *object);
/* The same for people: malloc'ed text of lines. */
char *host_table(const struct host_facts *f, const struct host_cpu *cpu);

#endif
