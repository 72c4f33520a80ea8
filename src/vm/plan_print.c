/* A plan for people and for programs. */
#include <stdio.h>

#include "base/num.h"
#include "vm/plan.h"

static const char *e820_name(uint32_t type)
{
	switch (type) {
	case E820_RAM:
		return "usable";
	case E820_ACPI:
		return "ACPI";
	default:
		return "reserved";
	}
}

static void place_text(const struct plan_device *d, char *buf, size_t len)
{
	unsigned long long base = d->base, last = d->base + d->len - 1;

	switch (d->space) {
	case PLAN_PORT:
		if (d->len == 1)
			snprintf(buf, len, "port 0x%llx", base);
		else
			snprintf(buf, len, "port 0x%llx-0x%llx", base, last);
		break;
	case PLAN_MMIO:
		snprintf(buf, len, "memory 0x%llx", base);
		break;
	case PLAN_PCI:
		snprintf(buf, len, "pci 00:%02llx.0", base);
		break;
	}
}

static void print_devices(const struct vm_plan *p, FILE *f)
{
	fprintf(f, "devices\n");
	for (unsigned i = 0; i < p->devices; i++) {
		const struct plan_device *d = &p->device[i];
		char place[48], irq[24] = "-";

		place_text(d, place, sizeof(place));
		if (d->gsi >= 0)
			snprintf(irq, sizeof(irq), "irq %d%s", d->gsi,
			         d->space == PLAN_PCI ? ", MSI-X" : "");
		fprintf(f, "  %-15s %-20s %-14s%s%s\n", d->name, place, irq,
		        d->detail[0] ? " " : "", d->detail);
	}
}

char *vm_plan_text(const struct vm_plan *p)
{
	char *text = NULL, size[32];
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return xstrdup("");
	fprintf(f, "engine   %s (%s)\n", p->engine, p->reason);
	fprintf(f, "boot     %s\n", p->boot);
	if (p->append[0])
		fprintf(f, "append   %s\n", p->append);
	fprintf(f, "cpus     %u\n", p->cpus);
	fprintf(f, "memory   %s\n", num_format_size(p->memory, size, sizeof(size)));
	fprintf(f, "address map\n");
	for (unsigned i = 0; i < p->ranges; i++) {
		const struct plan_range *r = &p->range[i];

		fprintf(f, "  0x%010llx-0x%010llx  %s\n", (unsigned long long)r->base,
		        (unsigned long long)(r->base + r->size - 1), r->name);
	}
	fprintf(f, "memory map (e820)\n");
	for (unsigned i = 0; i < p->e820.n; i++) {
		const struct e820_entry *r = &p->e820.entry[i];

		fprintf(f, "  0x%010llx-0x%010llx  %s\n", (unsigned long long)r->base,
		        (unsigned long long)(r->base + r->size - 1), e820_name(r->type));
	}
	print_devices(p, f);
	fclose(f);
	return text;
}

static struct json *range_json(const char *name, uint64_t base, uint64_t size)
{
	struct json *j = json_object();

	json_put(j, "name", json_str(name));
	json_put(j, "base", json_u64(base));
	json_put(j, "size", json_u64(size));
	return j;
}

static struct json *device_json(const struct plan_device *d)
{
	struct json *j = json_object();
	char place[48];

	place_text(d, place, sizeof(place));
	json_put(j, "name", json_str(d->name));
	json_put(j, "place", json_str(place));
	if (d->gsi >= 0)
		json_put(j, "irq", json_u64(d->gsi));
	if (d->detail[0])
		json_put(j, "backend", json_str(d->detail));
	return j;
}

struct json *vm_plan_json(const struct vm_plan *p)
{
	struct json *j = json_object(), *a = json_array();

	json_put(j, "engine", json_str(p->engine));
	json_put(j, "reason", json_str(p->reason));
	json_put(j, "boot", json_str(p->boot));
	json_put(j, "append", json_str(p->append));
	json_put(j, "cpus", json_u64(p->cpus));
	json_put(j, "memory", json_u64(p->memory));
	for (unsigned i = 0; i < p->ranges; i++)
		json_add(a, range_json(p->range[i].name, p->range[i].base, p->range[i].size));
	json_put(j, "address_map", a);
	a = json_array();
	for (unsigned i = 0; i < p->e820.n; i++)
		json_add(a, range_json(e820_name(p->e820.entry[i].type), p->e820.entry[i].base,
		                       p->e820.entry[i].size));
	json_put(j, "e820", a);
	a = json_array();
	for (unsigned i = 0; i < p->devices; i++)
		json_add(a, device_json(&p->device[i]));
	json_put(j, "devices", a);
	return j;
}
