/* Whole machines from plans: what is on them, and their state moved from one to another. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "engine/fake/fake.h"
#include "vm/vm.h"

#define BIOS_SIZE (128 * KIB)
#define DISK_SIZE MIB
#define CPUS      2

static char disk_path[] = "/tmp/casulo-test-disk-XXXXXX";

struct fixture {
	struct vm_spec spec;
	struct vm_plan plan;
	struct file bios;
	struct loop *loop;
	struct vm *vm;
	struct machine *m;
};

/* What a jump to itself at the reset vector makes a firmware image. */
static struct file make_bios(void)
{
	struct file f = {.data = xalloc(BIOS_SIZE), .size = BIOS_SIZE};

	f.data[BIOS_SIZE - 16] = 0xeb;
	f.data[BIOS_SIZE - 15] = 0xfe;
	return f;
}

static int try_open(struct fixture *f, unsigned cpus, bool console, struct err *e)
{
	struct vm_input in;

	*f = (struct fixture){.bios = make_bios()};
	vm_spec_init(&f->spec);
	f->spec.bios = "bios";
	f->spec.cpus = cpus;
	f->spec.memory = 16 * MIB;
	f->spec.console = "none";
	f->spec.debug_exit = true;
	f->spec.debugcon = "file=/dev/null";
	f->spec.virtio_console = console ? "none" : NULL;
	assert_int_equal(vm_spec_add_disk(&f->spec, disk_path, NULL), 0);
	assert_int_equal(vm_spec_check(&f->spec, NULL), 0);
	vm_plan_make(&f->spec, NULL, BIOS_SIZE, "fake", "a test", &f->plan);
	assert_int_equal(loop_new("test", &f->loop, NULL), 0);
	in = (struct vm_input){.spec = &f->spec,
	                       .plan = &f->plan,
	                       .bios = &f->bios,
	                       .engine = &fake_engine,
	                       .loop = f->loop};
	return vm_new(&in, &f->vm, e);
}

static void open_vm(struct fixture *f, unsigned cpus, bool console)
{
	struct err e = {0};

	if (try_open(f, cpus, console, &e) < 0)
		fail_msg("%s", e.text);
	f->m = vm_machine(f->vm);
}

static void close_vm(struct fixture *f)
{
	vm_free(f->vm);
	loop_free(f->loop);
	file_free(&f->bios);
	vm_spec_fini(&f->spec);
}

/* Something happens on every device that has registers. */
static void use(struct machine *m)
{
	fake_out8(m, 0x21, 0xf5);
	fake_out8(m, 0x43, 0x34);
	fake_out8(m, 0x40, 0x12);
	fake_out8(m, 0x70, 0x40);
	fake_out8(m, 0x71, 0x77);
	fake_out8(m, 0x60, 0xf2);
	fake_out8(m, 0x3ff, 0x5a);
	fake_out16(m, 0x510, 1);
	fake_out16(m, 0x602, 0x100);
	fake_write(m, 0xfec00000, 4, 0x12);
	fake_write(m, 0xfec00010, 4, 0x31);
	for (unsigned slot = 1; slot <= 4; slot++) {
		fake_out32(m, 0xcf8, 0x80000000 | slot << 11 | 0x10);
		fake_out32(m, 0xcfc, 0xc0000000 | slot << 16);
		fake_out32(m, 0xcf8, 0x80000000 | slot << 11 | 0x04);
		fake_out16(m, 0xcfc, 0x0406);
		/* Device status: acknowledged, driver. */
		fake_write(m, (0xc0000000 | slot << 16) + 20, 1, 3);
	}
}

struct saved {
	uint8_t *data;
	size_t len;
};

static struct saved save(struct machine *m)
{
	struct state *s = state_new_save();
	struct saved out;
	const void *data;

	machine_state(m, s);
	assert_int_equal(state_finish(s, NULL), 0);
	data = state_data(s, &out.len);
	out.data = xalloc(out.len);
	memcpy(out.data, data, out.len);
	state_free(s);
	return out;
}

static int load(struct machine *m, const struct saved *saved, size_t len, struct err *e)
{
	struct state *s = state_new_load(saved->data, len);
	int r;

	machine_state(m, s);
	r = state_finish(s, e);
	state_free(s);
	return r;
}

static int compare(struct machine *m, const struct saved *saved, struct err *e)
{
	struct state *s = state_new_compare(saved->data, saved->len);
	int r;

	machine_state(m, s);
	r = state_finish(s, e);
	state_free(s);
	return r;
}

static void all_devices_are_there(void **state)
{
	struct fixture f;

	open_vm(&f, CPUS, true);
	for (unsigned i = 0; i < f.plan.devices; i++) {
		const struct plan_device *d = &f.plan.device[i];

		switch (d->space) {
		case PLAN_PORT:
			assert_non_null(bus_find(&f.m->pio, d->base));
			assert_non_null(bus_find(&f.m->pio, d->base + d->len - 1));
			break;
		case PLAN_MMIO:
			if (d->kind != PLAN_LAPIC) /* not on the bus */
				assert_non_null(bus_find(&f.m->mmio, d->base));
			break;
		case PLAN_PCI:
			fake_out32(f.m, 0xcf8, 0x80000000 | (uint32_t)d->base << 11);
			assert_int_not_equal(fake_in32(f.m, 0xcfc), UINT32_MAX);
			break;
		}
	}
	assert_non_null(f.m->vcpu[CPUS - 1].intc);
	/* The processor starts at the reset vector, where the firmware is. */
	assert_int_equal(fake_read(f.m, 0xfffffff0, 2), 0xfeeb);
	assert_int_equal(fake_read(f.m, 0xffff0, 2), 0xfeeb);
	close_vm(&f);
}

static uint8_t fw_cfg_u8(struct machine *m, uint16_t key)
{
	fake_out16(m, 0x510, key);
	return fake_in8(m, 0x511);
}

static void firmware_is_told(void **state)
{
	static const char *const files[] = {"etc/e820", "etc/acpi/tables", "etc/acpi/rsdp",
	                                    "etc/table-loader", "etc/sercon-port"};
	unsigned found = 0, count = 0;
	struct fixture f;

	open_vm(&f, CPUS, false);
	assert_int_equal(fw_cfg_u8(f.m, 0x05), CPUS);
	fake_out16(f.m, 0x510, 0x19);
	for (unsigned i = 0; i < 4; i++)
		count = count << 8 | fake_in8(f.m, 0x511);
	for (unsigned i = 0; i < count; i++) {
		char entry[64];

		for (unsigned k = 0; k < sizeof(entry); k++)
			entry[k] = fake_in8(f.m, 0x511);
		for (unsigned k = 0; k < ARRAY_LEN(files); k++)
			found += strcmp(entry + 8, files[k]) == 0;
	}
	assert_int_equal(found, ARRAY_LEN(files));
	close_vm(&f);
}

static void state_moves_to_another_machine(void **state)
{
	struct fixture a, b;
	struct saved saved;
	struct err e = {0};

	open_vm(&a, CPUS, true);
	open_vm(&b, CPUS, true);
	use(a.m);
	saved = save(a.m);
	assert_int_equal(compare(a.m, &saved, NULL), 0);
	assert_int_equal(compare(b.m, &saved, NULL), -EILSEQ);
	if (load(b.m, &saved, saved.len, &e) < 0 || compare(b.m, &saved, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(fake_in8(b.m, 0x21), 0xf5);
	assert_int_equal(fake_in8(b.m, 0x3ff), 0x5a);
	assert_int_equal(fake_in8(b.m, 0x71), 0x77);
	assert_int_equal(fake_read(b.m, 0xc0010014, 1), 3);
	free(saved.data);
	close_vm(&a);
	close_vm(&b);
}

static void state_is_printed(void **state)
{
	struct state *s = state_new_json();
	struct json *j;
	struct fixture f;

	open_vm(&f, CPUS, true);
	use(f.m);
	machine_state(f.m, s);
	assert_int_equal(state_finish(s, NULL), 0);
	j = json_get(state_json(s), "machine");
	for (struct device *d = f.m->devices; d; d = d->next) {
		if (d->type->state && !json_get(j, d->name))
			fail_msg("'%s' is missing", d->name);
	}
	assert_non_null(json_get(j, "vcpu1"));
	state_free(s);
	close_vm(&f);
}

static void other_machines_state_is_refused(void **state)
{
	struct fixture a, b;
	struct saved saved;
	struct err e = {0};

	open_vm(&a, CPUS, true);
	saved = save(a.m);
	open_vm(&b, 1, true);
	assert_int_equal(load(b.m, &saved, saved.len, &e), -EBADMSG);
	assert_non_null(strstr(e.text, "2 vCPUs"));
	close_vm(&b);
	open_vm(&b, CPUS, false);
	assert_int_equal(load(b.m, &saved, saved.len, &e), -EBADMSG);
	assert_non_null(strstr(e.text, "virtio-console0"));
	close_vm(&b);
	free(saved.data);
	close_vm(&a);
}

/* A stream from somebody who means harm: refused or loaded, and the machine can be used and freed. */
static void changed_streams_do_no_harm(void **state)
{
	struct fixture a, b;
	struct saved saved;
	uint32_t random = 1;

	open_vm(&a, CPUS, true);
	open_vm(&b, CPUS, true);
	use(a.m);
	saved = save(a.m);
	for (size_t len = 0; len < saved.len; len += saved.len / 100)
		assert_int_equal(load(b.m, &saved, len, NULL), -EBADMSG);
	for (unsigned i = 0; i < 3000; i++) {
		uint8_t *at, old;

		random = random * 1664525 + 1013904223;
		at = &saved.data[(random >> 8) % saved.len];
		old = *at;
		*at ^= 1 << (random >> 29) | random >> 3;
		if (load(b.m, &saved, saved.len, NULL) == 0) {
			struct saved again = save(b.m);

			free(again.data);
		}
		*at = old;
		if (i % 64 == 0)
			use(b.m);
	}
	machine_reset_devices(b.m);
	free(saved.data);
	close_vm(&a);
	close_vm(&b);
}

static uint32_t next(uint32_t *random)
{
	*random = *random * 1664525 + 1013904223;
	return *random >> 4;
}

/* One access by somebody who has no idea: mostly where something is. */
static void access_anywhere(struct fixture *f, uint32_t *random)
{
	const struct plan_device *d = &f->plan.device[next(random) % f->plan.devices];
	unsigned size = 1u << next(random) % 3;
	uint32_t value = next(random) << next(random) % 8;
	uint64_t at = d->base + (d->len ? next(random) % d->len : 0);
	bool write = next(random) % 4 != 0;

	if (d->space == PLAN_PCI && next(random) % 2) {
		fake_out32(f->m, 0xcf8, 0x80000000 | (uint32_t)d->base << 11 | (value & 0xfc));
		at = 0xcfc + next(random) % 4;
	} else if (d->space != PLAN_PORT) {
		if (d->space == PLAN_PCI)
			at = 0xc0000000 + (d->base << 16) + next(random) % 0x4000;
		if (write)
			fake_write(f->m, at, size, value);
		else
			fake_read(f->m, at, size);
		return;
	}
	if (write)
		machine_pio_write(f->m, at, size, value);
	else
		machine_pio_read(f->m, at, size);
}

static void random_accesses_do_no_harm(void **state)
{
	uint32_t random = 1;
	struct fixture f;

	open_vm(&f, CPUS, true);
	for (unsigned i = 0; i < 200000; i++) {
		if (i % 20000 == 0)
			use(f.m);
		access_anywhere(&f, &random);
	}
	assert_int_not_equal(f.m->ended, MACHINE_CRASH);
	machine_reset_devices(f.m);
	use(f.m);
	assert_int_equal(fake_in8(f.m, 0x21), 0xf5);
	close_vm(&f);
}

static void a_missing_disk_is_named(void **state)
{
	char old[sizeof(disk_path)];
	struct err e = {0};
	struct fixture f;

	memcpy(old, disk_path, sizeof(old));
	strcpy(disk_path, "/none/disk");
	assert_true(try_open(&f, 1, false, &e) < 0);
	memcpy(disk_path, old, sizeof(old));
	assert_non_null(strstr(e.text, "/none/disk"));
	f.vm = NULL;
	close_vm(&f);
}

static int make_disk(void **state)
{
	int fd = mkstemp(disk_path);

	if (fd < 0 || ftruncate(fd, DISK_SIZE) < 0)
		return -1;
	close(fd);
	return 0;
}

static int drop_disk(void **state)
{
	return unlink(disk_path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_devices_are_there),
		cmocka_unit_test(firmware_is_told),
		cmocka_unit_test(state_moves_to_another_machine),
		cmocka_unit_test(state_is_printed),
		cmocka_unit_test(other_machines_state_is_refused),
		cmocka_unit_test(changed_streams_do_no_harm),
		cmocka_unit_test(random_accesses_do_no_harm),
		cmocka_unit_test(a_missing_disk_is_named),
	};

	return cmocka_run_group_tests(tests, make_disk, drop_disk);
}
