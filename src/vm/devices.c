/*
 * From a plan's device list to devices.  The interrupt controllers come first in it, so that every other
 * device finds its wires; the power management before the PCI bridge that moves its registers.
 */
#include "vm/devices.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "dev/chip/debug_exit.h"
#include "dev/chip/debugcon.h"
#include "dev/chip/i8042.h"
#include "dev/chip/ioapic.h"
#include "dev/chip/lapic.h"
#include "dev/chip/pic.h"
#include "dev/chip/pit.h"
#include "dev/chip/rtc.h"
#include "dev/chip/uart16550.h"
#include "dev/virtio/devices.h"
#include "vm/layout.h"

#define ESCAPE_KEY 0x1d /* Ctrl-] */

static void escape_command(void *arg, char key)
{
	struct vm *v = arg;

	if (key == 'q')
		machine_end(v->machine, MACHINE_STOPPED, 0, "from the console");
	else if (key == 'p')
		acpi_pm_power_button(v->pm);
}

static int console_open(struct vm *v, const char *spec, struct chr **out, struct err *e)
{
	const struct chr_spec cs = {
		.spec = spec, .escape = ESCAPE_KEY, .command = escape_command, .arg = v};

	return chr_open(v->machine->loop, &cs, out, e);
}

static int make_uart(struct vm *v, const struct plan_device *d, const char *spec, struct err *e)
{
	struct chr *chr = NULL;
	int r = console_open(v, spec, &chr, e);

	if (r < 0)
		return r;
	r = uart16550_new(v->machine, d->name, d->base, d->gsi, chr, e);
	if (r < 0)
		chr_free(chr);
	return r;
}

static int make_debugcon(struct vm *v, const struct plan_device *d, const char *spec, struct err *e)
{
	struct chr *chr = NULL;
	int r = chr_open(v->machine->loop, &(struct chr_spec){.spec = spec}, &chr, e);

	if (r < 0)
		return r;
	r = debugcon_new(v->machine, d->base, chr, e);
	if (r < 0)
		chr_free(chr);
	return r;
}

static int make_rtc(struct vm *v, const struct plan_device *d, const struct vm_plan *p,
                    struct err *e)
{
	const struct rtc_config cfg = {
		.now = time(NULL), .low_ram = p->low_ram, .high_ram = p->high_ram, .cpus = p->cpus};

	return rtc_new(v->machine, d->gsi, &cfg, e);
}

static int make_pci_host(struct vm *v, const struct vm_plan *p, struct err *e)
{
	const struct pci_host_config cfg = {
		.ecam = p->ecam,
		.pm_base = LAYOUT_PM_PORT,
		.pm_moved = acpi_pm_moved,
		.arg = v->pm,
	};

	return pci_host_new(v->machine, &cfg, &v->pci, e);
}

static int make_disk(struct vm *v, const struct plan_device *d, const struct vm_disk *disk,
                     struct err *e)
{
	const struct blk_spec spec = {
		.path = disk->path, .format = disk->format, .readonly = disk->readonly};
	struct blk *blk = NULL;
	int r = blk_open(v->machine->lane, &spec, &blk, e);

	if (r < 0)
		return r;
	r = virtio_blk_new(v->pci, d->base, d->name, blk, d->name, e);
	if (r < 0)
		blk_free(blk);
	return r;
}

/* A locally administered address of its own for every machine that starts. */
static int make_mac(uint8_t mac[6], struct err *e)
{
	if (getrandom(mac, 6, 0) != 6)
		return err_set(e, EIO, "the host gives no random numbers");
	mac[0] = 0x02;
	return 0;
}

static int make_net(struct vm *v, const struct plan_device *d, const char *spec, struct err *e)
{
	struct net *net = NULL;
	uint8_t mac[6];
	int r = make_mac(mac, e);

	if (r < 0)
		return r;
	r = net_open(v->machine->lane, spec, &net, e);
	if (r < 0)
		return r;
	r = virtio_net_new(v->pci, d->base, d->name, net, mac, e);
	if (r < 0)
		net_free(net);
	return r;
}

static int make_virtio_console(struct vm *v, const struct plan_device *d, const char *spec,
                               struct err *e)
{
	struct chr *chr = NULL;
	int r = console_open(v, spec, &chr, e);

	if (r < 0)
		return r;
	r = virtio_console_new(v->pci, d->base, d->name, chr, 0, 0, e);
	if (r < 0)
		chr_free(chr);
	return r;
}

static int make(struct vm *v, const struct vm_input *in, const struct plan_device *d, struct err *e)
{
	const struct vm_spec *spec = in->spec;
	struct machine *m = v->machine;

	switch (d->kind) {
	case PLAN_LAPIC:
		return in->engine->own_apic ? 0 : lapics_new(m, NULL, e);
	case PLAN_IOAPIC:
		return ioapic_new(m, d->base, LAYOUT_IOAPIC_ID, e);
	case PLAN_PIC:
		return pic_new(m, e);
	case PLAN_PIT:
		return pit_new(m, e);
	case PLAN_RTC:
		return make_rtc(v, d, in->plan, e);
	case PLAN_ACPI_PM:
		return acpi_pm_new(m, d->base, d->gsi, &v->pm, e);
	case PLAN_I8042:
		return i8042_new(m, d->gsi, e);
	case PLAN_UART:
		return make_uart(v, d, spec->console, e);
	case PLAN_FW_CFG:
		return fw_cfg_new(m, d->base, &v->fw_cfg, e);
	case PLAN_DEBUGCON:
		return make_debugcon(v, d, spec->debugcon, e);
	case PLAN_DEBUG_EXIT:
		return debug_exit_new(m, d->base, e);
	case PLAN_PCI_HOST:
		return make_pci_host(v, in->plan, e);
	case PLAN_VIRTIO_RNG:
		return virtio_rng_new(v->pci, d->base, d->name, e);
	case PLAN_VIRTIO_BLK:
		return make_disk(v, d, &spec->disk[d->index], e);
	case PLAN_VIRTIO_NET:
		return make_net(v, d, spec->net, e);
	case PLAN_VIRTIO_CONSOLE:
		return make_virtio_console(v, d, spec->virtio_console, e);
	}
	return err_set(e, EINVAL, "device '%s' of an unknown kind", d->name);
}

int devices_make(struct vm *v, const struct vm_input *in, struct err *e)
{
	for (unsigned i = 0; i < in->plan->devices; i++) {
		int r = make(v, in, &in->plan->device[i], e);

		if (r < 0)
			return r;
	}
	return 0;
}
