/* PCI as firmware and kernels meet it: configuration by ports and ECAM, BARs, bridges, wires. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "virtio_driver.h"

#define ECAM       0xe0000000ull
#define OTHER_SLOT 9 /* shares the INTx wire of DRV_SLOT */

static void open_two(struct drv *d)
{
	drv_open(d);
	assert_int_equal(virtio_rng_new(d->host, DRV_SLOT, "virtio-rng0", NULL), 0);
	assert_int_equal(virtio_rng_new(d->host, OTHER_SLOT, "virtio-rng1", NULL), 0);
}

static uint32_t ecam(struct drv *d, uint64_t base, unsigned slot, unsigned offset)
{
	return fake_read(d->m, base + (slot << 15) + offset, 4);
}

static void functions_are_found(void **state)
{
	struct drv d;

	open_two(&d);
	assert_int_equal(drv_config_read(&d, 0, 0, 4), 0x29c08086);
	assert_int_equal(drv_config_read(&d, 31, 0, 4), 0x29188086);
	assert_int_equal(drv_config_read(&d, DRV_SLOT, 0, 4), 0x10441af4);
	assert_int_equal(drv_config_read(&d, 7, 0, 4), 0xffffffff);
	for (unsigned slot = 0; slot < 32; slot++)
		assert_int_equal(ecam(&d, ECAM, slot, 0), drv_config_read(&d, slot, 0, 4));
	assert_int_equal(ecam(&d, ECAM, DRV_SLOT, 0x100), 0xffffffff);     /* nothing extended */
	assert_int_equal(fake_read(d.m, ECAM + (1 << 20), 4), 0xffffffff); /* bus 1 */
	/* Identity cannot be changed; parts of a register can be read. */
	drv_config_write(&d, DRV_SLOT, 0, 4, 0);
	assert_int_equal(drv_config_read(&d, DRV_SLOT, 2, 2), 0x1044);
	assert_int_equal(drv_config_read(&d, DRV_SLOT, 1, 1), 0x1a);
	drv_close(&d);
}

static void slots_are_taken_once(void **state)
{
	struct err e = {0};
	struct drv d;

	open_two(&d);
	assert_int_equal(virtio_rng_new(d.host, DRV_SLOT, "virtio-rng2", &e), -EBUSY);
	assert_non_null(strstr(e.text, "virtio-rng2"));
	assert_int_equal(virtio_rng_new(d.host, 0, "virtio-rng3", &e), 0);
	assert_int_equal(drv_config_read(&d, 1, 0, 4), 0x10441af4);
	drv_close(&d);
}

static void bars_are_sized_and_moved(void **state)
{
	struct drv d;

	open_two(&d);
	drv_config_write(&d, DRV_SLOT, 0x10, 4, 0xffffffff);
	assert_int_equal(drv_config_read(&d, DRV_SLOT, 0x10, 4), 0xffffc000); /* 16 KiB */
	drv_config_write(&d, DRV_SLOT, 0x18, 4, 0xffffffff);
	assert_int_equal(drv_config_read(&d, DRV_SLOT, 0x18, 4), 0); /* no such BAR */
	drv_config_write(&d, DRV_SLOT, 0x10, 4, 0xc0000000);
	assert_null(bus_find(&d.m->mmio, 0xc0000000)); /* decoding is off */
	drv_config_write(&d, DRV_SLOT, 4, 2, 2);
	assert_non_null(bus_find(&d.m->mmio, 0xc0000000));
	drv_config_write(&d, DRV_SLOT, 0x10, 4, 0xc1000000);
	assert_null(bus_find(&d.m->mmio, 0xc0000000));
	assert_non_null(bus_find(&d.m->mmio, 0xc1003fff));

	/* Two at one address: the first answers, and the other one when the first is gone. */
	drv_config_write(&d, OTHER_SLOT, 0x10, 4, 0xc1000000);
	drv_config_write(&d, OTHER_SLOT, 4, 2, 2);
	fake_write(d.m, 0xc1000000 + 20, 1, 1);
	drv_config_write(&d, DRV_SLOT, 4, 2, 0);
	assert_int_equal(fake_read(d.m, 0xc1000000 + 20, 1), 0);
	drv_config_write(&d, OTHER_SLOT, 4, 2, 0);
	assert_null(bus_find(&d.m->mmio, 0xc1000000));
	drv_close(&d);
}

static void ecam_window_moves(void **state)
{
	struct drv d;

	open_two(&d);
	assert_int_equal(drv_config_read(&d, 0, 0x60, 4), ECAM | 1);
	drv_config_write(&d, 0, 0x60, 4, 0xb0000001);
	assert_int_equal(ecam(&d, 0xb0000000, 0, 0), 0x29c08086);
	assert_int_equal(ecam(&d, ECAM, 0, 0), 0xffffffff);
	drv_config_write(&d, 0, 0x60, 4, 0);
	assert_int_equal(ecam(&d, 0xb0000000, 0, 0), 0xffffffff);
	machine_reset_devices(d.m);
	assert_int_equal(ecam(&d, ECAM, 0, 0), 0x29c08086);
	drv_close(&d);
}

static struct pci_device *device(struct drv *d, const char *name)
{
	return container_of(machine_find_device(d->m, name), struct pci_device, dev);
}

static void wires_are_shared(void **state)
{
	uint32_t line = 1u << pci_intx_gsi(DRV_SLOT, 0);
	struct drv d;

	open_two(&d);
	assert_int_equal(pci_intx_gsi(DRV_SLOT, 0), pci_intx_gsi(OTHER_SLOT, 0));
	pci_intx_set(device(&d, "virtio-rng0"), true);
	pci_intx_set(device(&d, "virtio-rng1"), true);
	assert_int_equal(d.m->irq.levels, line);
	pci_intx_set(device(&d, "virtio-rng0"), false);
	assert_int_equal(d.m->irq.levels, line);
	/* Firmware routes the wire to ISA interrupt 10. */
	drv_config_write(&d, 31, 0x60 + pci_intx_gsi(DRV_SLOT, 0) - 16, 1, 10);
	assert_int_equal(d.m->irq.levels, line | 1u << 10);
	pci_intx_set(device(&d, "virtio-rng1"), false);
	assert_int_equal(d.m->irq.levels, 0);
	drv_close(&d);
}

static void reset_port(void **state)
{
	struct drv d;

	open_two(&d);
	fake_out8(d.m, 0xcf9, 0x02);
	assert_int_equal(d.m->ended, MACHINE_RUNS);
	fake_out8(d.m, 0xcf9, 0x06);
	assert_int_equal(d.m->ended, MACHINE_RESET);
	drv_close(&d);
}

static void bridges_keep_their_state(void **state)
{
	struct state *save = state_new_save(), *load;
	struct device *mch, *lpc;
	struct err e = {0};
	const void *data;
	struct drv d;
	size_t len;

	open_two(&d);
	mch = machine_find_device(d.m, "mch");
	lpc = machine_find_device(d.m, "lpc");
	drv_config_write(&d, 0, 0x60, 4, 0xb0000001);
	drv_config_write(&d, 0, 0x90, 4, 0x33333330);
	drv_config_write(&d, 31, 0x61, 1, 11);
	mch->type->state(mch, save);
	lpc->type->state(lpc, save);
	assert_int_equal(state_finish(save, &e), 0);
	machine_reset_devices(d.m);
	data = state_data(save, &len);
	load = state_new_load(data, len);
	mch->type->state(mch, load);
	lpc->type->state(lpc, load);
	assert_int_equal(state_finish(load, &e), 0);
	assert_int_equal(ecam(&d, 0xb0000000, 0, 0x90), 0x33333330);
	assert_int_equal(drv_config_read(&d, 31, 0x61, 1), 11);
	state_free(save);
	state_free(load);
	drv_close(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(functions_are_found),      cmocka_unit_test(slots_are_taken_once),
		cmocka_unit_test(bars_are_sized_and_moved), cmocka_unit_test(ecam_window_moves),
		cmocka_unit_test(wires_are_shared),         cmocka_unit_test(reset_port),
		cmocka_unit_test(bridges_keep_their_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
