/* What this host's KVM can do, for people. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "engine/kvm/kvm.h"

static void add(struct json *list, const char *name, struct json *value)
{
	struct json *fact = json_object();

	json_put(fact, "name", json_str(name));
	json_put(fact, "value", value);
	json_add(list, fact);
}

static const struct {
	unsigned which;
	const char *name;
} numbers[] = {
	{KVM_CAP_NR_VCPUS, "vCPUs recommended"},
	{KVM_CAP_MAX_VCPUS, "vCPUs at most"},
	{KVM_CAP_NR_MEMSLOTS, "memory ranges"},
	{KVM_CAP_DIRTY_LOG_RING, "dirty ring, bytes"},
	{KVM_CAP_NESTED_STATE, "nested state, bytes"},
};

static const struct {
	unsigned which;
	const char *name;
} abilities[] = {
	{KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, "dirty log cleared in parts"},
	{KVM_CAP_SYNC_MMU, "host paging under guests"},
	{KVM_CAP_TSC_CONTROL, "TSC scaling"},
	{KVM_CAP_TSC_DEADLINE_TIMER, "TSC deadline timer"},
	{KVM_CAP_KVMCLOCK_CTRL, "kvmclock told of pauses"},
	{KVM_CAP_STEAL_TIME, "steal time"},
	{KVM_CAP_EXIT_ON_EMULATION_FAILURE, "instructions of failed emulation"},
	{KVM_CAP_XSAVE2, "large extended state"},
};

static const struct {
	uint32_t bit;
	const char *name;
} pv[] = {
	{PV_CLOCKSOURCE2, "kvmclock"}, {PV_CLOCK_STABLE, "stable"},
	{PV_STEAL_TIME, "steal time"}, {PV_EOI, "PV EOI"},
	{PV_UNHALT, "PV unhalt"},
};

static void add_pv(struct json *list)
{
	struct cpuid_wish w;
	char text[128] = "";
	size_t used = 0;

	kvm_abilities(&w);
	for (unsigned i = 0; i < ARRAY_LEN(pv); i++)
		if (w.pv_features & pv[i].bit)
			used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s",
			                         used ? ", " : "", pv[i].name);
	add(list, "paravirtual", json_str(text));
}

struct json *kvm_describe(void)
{
	AUTO_FD int dev = kvm_dev_open(NULL);
	struct json *list = json_array();

	if (dev < 0)
		return list;
	for (unsigned i = 0; i < ARRAY_LEN(numbers); i++)
		add(list, numbers[i].name,
		    json_u64((uint64_t)kvm_extension(dev, numbers[i].which)));
	for (unsigned i = 0; i < ARRAY_LEN(abilities); i++)
		add(list, abilities[i].name, json_bool(kvm_extension(dev, abilities[i].which) > 0));
	add_pv(list);
	return list;
}
