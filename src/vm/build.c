/*
 * Carrying out a plan: memory, CPU model, devices, the boot protocol, then the engine, which wants
 * to see all of these.
 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "dev/firmware/acpi.h"
#include "dev/firmware/bios.h"
#include "dev/firmware/boot.h"
#include "host/host.h"
#include "vm/devices.h"
#include "vm/firmware.h"
#include "vm/layout.h"

#define INITRD_MAX (2 * GIB)

static int read_files(struct vm *v, const struct vm_spec *spec, struct err *e)
{
	if (spec->initrd) {
		int r = file_read(spec->initrd, "initial RAM disk", "--initrd", INITRD_MAX,
		                  &v->initrd, e);

		if (r < 0)
			return r;
	}
	for (unsigned i = 0; i < spec->modules; i++) {
		int r = file_read(spec->module[i].path, "module", "--module", INITRD_MAX,
		                  &v->module[i], e);

		if (r < 0)
			return r;
	}
	return 0;
}

static int add_memory(struct machine *m, const struct vm_plan *p, struct err *e)
{
	int r = mem_add(&m->mem, "ram-low", MEM_RAM, 0, p->low_ram, e);

	if (r < 0 || p->high_ram == 0)
		return r;
	return mem_add(&m->mem, "ram-high", MEM_RAM, LAYOUT_HIGH, p->high_ram, e);
}

static void make_cpu_model(struct machine *m, const struct engine *engine)
{
	struct cpuid_wish wish = {};

	m->tsc_khz = host_tsc_khz();
	if (engine->abilities)
		engine->abilities(&wish);
	wish.cpus = m->cpus;
	wish.tsc_khz = m->tsc_khz;
	wish.phys_bits = LAYOUT_PHYS_BITS;
	cpuid_model_make(&m->cpuid, &wish);
}

static bool has(const struct vm_plan *p, enum plan_kind kind)
{
	return vm_plan_find(p, kind) != NULL;
}

static void make_tables(const struct vm_plan *p, struct acpi *out)
{
	const struct acpi_platform platform = {
		.cpus = p->cpus,
		.lapic_base = LAYOUT_LAPIC,
		.ioapic_base = LAYOUT_IOAPIC,
		.ioapic_id = LAYOUT_IOAPIC_ID,
		.pm_event_port = LAYOUT_PM_PORT + ACPI_PM_EVENT,
		.pm_control_port = LAYOUT_PM_PORT + ACPI_PM_CONTROL,
		.pm_timer_port = LAYOUT_PM_PORT + ACPI_PM_TIMER,
		.sci = LAYOUT_SCI,
		.s5_type = ACPI_PM_S5,
		.reset_port = 0xcf9,
		.reset_value = 6,
		.i8042 = has(p, PLAN_I8042),
		.com1 = has(p, PLAN_UART),
		.rtc = has(p, PLAN_RTC),
		.ecam_base = p->ecam,
		.ecam_size = (uint64_t)LAYOUT_ECAM_BUSES << 20,
		.buses = LAYOUT_PCI_BUSES,
		.hole_base = LAYOUT_PCI_HOLE,
		.hole_end = LAYOUT_PCI_HOLE_END,
		.high_base = p->pci_high,
		.high_end = p->pci_high_end,
		.intx_gsi = pci_intx_gsi,
	};

	acpi_build(&platform, out);
}

/* RSDP and tables where a kernel looks for them without being told, too. */
static int place_tables(struct vm *v, const struct vm_plan *p, struct err *e)
{
	struct mem *mem = &v->machine->mem;
	uint64_t at = BOOT_ACPI + align_up(ACPI_RSDP_SIZE, 64);
	struct acpi acpi;
	int r = 0;

	make_tables(p, &acpi);
	acpi_place(&acpi, at);
	if (acpi.tables.len > BOOT_ACPI + BOOT_ACPI_SIZE - at)
		r = err_set(e, E2BIG, "ACPI tables for %u processors do not fit: give --cpus less",
		            p->cpus);
	else if (mem_load(mem, BOOT_ACPI, acpi.rsdp, sizeof(acpi.rsdp)) < 0 ||
	         mem_load(mem, at, acpi.tables.data, acpi.tables.len) < 0)
		r = err_set(e, EFAULT, "cannot write ACPI tables to guest memory");
	acpi_free(&acpi);
	return r;
}

static int load_kernel(struct vm *v, const struct vm_input *in, struct cpu_state *cpu,
                       struct err *e)
{
	struct boot_module module[VM_MODULES_MAX];
	struct boot_input input = {
		.mem = &v->machine->mem,
		.e820 = &in->plan->e820,
		.low_ram = in->plan->low_ram,
		.rsdp = BOOT_ACPI,
		.cmdline = in->plan->append,
		.initrd = v->initrd,
		.module = module,
		.modules = in->spec->modules,
		.unpack = !in->spec->no_unpack,
	};
	struct boot_result result;
	int r = place_tables(v, in->plan, e);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < in->spec->modules; i++)
		module[i] = (struct boot_module){in->spec->module[i].path, in->spec->module[i].args,
		                                 v->module[i]};
	if (getrandom(input.seed, sizeof(input.seed), 0) != sizeof(input.seed) ||
	    getrandom(&input.kaslr_random, sizeof(input.kaslr_random), 0) !=
	            sizeof(input.kaslr_random))
		return err_set(e, EIO, "the host gives no random numbers");
	r = pci_assign(v->pci, LAYOUT_PCI_HOLE, LAYOUT_ECAM - LAYOUT_PCI_HOLE, e);
	if (r < 0)
		return r;
	return boot_load(in->kernel, &input, cpu, &result, e);
}

/*
 * What firmware leaves on all processors, and kernels keep: all memory is write-back (SDM 3A
 * 12.11.2.1).
 */
#define MTRR_WRITE_BACK (1ull << 11 | 6)

static int set_memory_types(struct machine *m, struct err *e)
{
	AUTO_FREE struct cpu_state *cpu = xalloc(sizeof(*cpu));

	for (unsigned i = 0; i < m->cpus; i++) {
		int r = vcpu_state_get(&m->vcpu[i], cpu, e);

		cpu->mtrr_def = MTRR_WRITE_BACK;
		if (r == 0)
			r = vcpu_state_set(&m->vcpu[i], cpu, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int load_firmware(struct vm *v, const struct vm_input *in, struct cpu_state *cpu,
                         struct err *e)
{
	struct acpi acpi;

	make_tables(in->plan, &acpi);
	firmware_describe(v->fw_cfg, in->plan, &acpi);
	acpi_free(&acpi);
	return bios_load(&v->machine->mem, in->bios, cpu, e);
}

static int build(struct vm *v, const struct vm_input *in, struct err *e)
{
	struct machine *m;
	struct cpu_state *cpu;
	int r = read_files(v, in->spec, e);

	if (r < 0)
		return r;
	r = machine_new(in->plan->cpus, in->loop, false, &v->machine, e);
	if (r < 0)
		return r;
	m = v->machine;
	r = add_memory(m, in->plan, e);
	if (r < 0)
		return r;
	make_cpu_model(m, in->engine);
	r = devices_make(v, in, e);
	if (r < 0)
		return r;

	cpu = xalloc(sizeof(*cpu));
	if (in->kernel)
		r = load_kernel(v, in, cpu, e);
	else
		r = load_firmware(v, in, cpu, e);
	if (r == 0)
		r = machine_open_engine(m, in->engine, e);
	if (r == 0)
		r = vcpu_state_set(&m->vcpu[0], cpu, e);
	if (r == 0 && in->kernel)
		r = set_memory_types(m, e);
	free(cpu);
	return r;
}

/* The guest's memory has what it needs of them. */
static void free_images(struct vm *v)
{
	file_free(&v->initrd);
	for (unsigned i = 0; i < VM_MODULES_MAX; i++)
		file_free(&v->module[i]);
}

int vm_new(const struct vm_input *in, struct vm **out, struct err *e)
{
	struct vm *v = xalloc(sizeof(*v));
	int r = build(v, in, e);

	free_images(v);
	if (r < 0) {
		vm_free(v);
		return r;
	}
	*out = v;
	return 0;
}

int vm_start(struct vm *v, struct err *e)
{
	return machine_start(v->machine, e);
}

void vm_free(struct vm *v)
{
	if (!v)
		return;
	if (v->machine)
		machine_free(v->machine);
	free(v);
}

struct machine *vm_machine(struct vm *v)
{
	return v->machine;
}
