/* Virtio devices driven through real rings: data, interrupts, guest nonsense, resets, state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "virtio_driver.h"

#define VERSION_1   (1ull << 32)
#define EVENT_IDX   (1ull << 29)
#define INDIRECT    (1ull << 28)
#define MRG_RXBUF   (1ull << 15)
#define DISK_SIZE   (1 * MIB)
#define HEADER      DRV_BUFFER
#define STATUS_BYTE (DRV_BUFFER + 0x100)
#define DATA        (DRV_BUFFER + 0x1000)
#define NEEDS_RESET 0x40

static char disk_path[64];
static struct chr *console;

static void disk_make(void)
{
	static uint8_t zeroes[DISK_SIZE];
	int fd;

	snprintf(disk_path, sizeof(disk_path), "/tmp/casulo-disk-XXXXXX");
	fd = mkstemp(disk_path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, zeroes, sizeof(zeroes)), sizeof(zeroes));
	close(fd);
}

static void open_blk(struct drv *d, bool readonly)
{
	struct blk_spec spec = {.path = disk_path, .readonly = readonly};
	struct blk *blk;
	struct err e = {0};

	disk_make();
	drv_open(d);
	assert_int_equal(blk_open(d->m->lane, &spec, &blk, &e), 0);
	assert_int_equal(virtio_blk_new(d->host, DRV_SLOT, "virtio-blk0", blk, "serial-1", &e), 0);
	drv_find(d);
}

static void close_blk(struct drv *d)
{
	drv_close(d);
	unlink(disk_path);
}

static void open_rng(struct drv *d)
{
	drv_open(d);
	assert_int_equal(virtio_rng_new(d->host, DRV_SLOT, "virtio-rng0", NULL), 0);
	drv_find(d);
}

/* One disk request; returns the status byte, 0xff when the device did not answer. */
static uint8_t blk_request(struct drv *d, uint32_t type, uint64_t sector, uint32_t len, bool in)
{
	struct {
		uint32_t type, reserved;
		uint64_t sector;
	} h = {type, 0, sector};
	uint8_t status = 0xff;
	unsigned n = 0;

	drv_write(d, HEADER, &h, sizeof(h));
	drv_write(d, STATUS_BYTE, &status, 1);
	drv_desc(d, d->q[0].desc, n++, HEADER, sizeof(h), DESC_NEXT, 1);
	if (len) {
		drv_desc(d, d->q[0].desc, n, DATA, len, DESC_NEXT | (in ? DESC_WRITE : 0), n + 1);
		n++;
	}
	drv_desc(d, d->q[0].desc, n, STATUS_BYTE, 1, DESC_WRITE, 0);
	drv_submit(d, 0, 0);
	drv_wait(d, 0);
	drv_read(d, STATUS_BYTE, &status, 1);
	return status;
}

static void pattern(uint8_t *p, size_t len, uint32_t seed)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1664525 + 1013904223;
		p[i] = seed >> 24;
	}
}

static void disk_keeps_what_is_written(void **state)
{
	static uint8_t out[8192], in[8192], file[8192];
	struct drv d;
	FILE *f;

	open_blk(&d, false);
	assert_int_equal(drv_init(&d, VERSION_1 | EVENT_IDX, 1, DRV_ALL), 0x0f);
	assert_int_equal(fake_read(d.m, d.device, 8), DISK_SIZE / 512);
	pattern(out, sizeof(out), 7);
	drv_write(&d, DATA, out, sizeof(out));
	assert_int_equal(blk_request(&d, 1, 3, sizeof(out), false), 0);
	assert_int_equal(blk_request(&d, 4, 0, 0, false), 0);
	drv_write(&d, DATA, in, sizeof(in));
	assert_int_equal(blk_request(&d, 0, 3, sizeof(in), true), 0);
	drv_read(&d, DATA, in, sizeof(in));
	assert_memory_equal(in, out, sizeof(out));
	f = fopen(disk_path, "r");
	assert_non_null(f);
	fseek(f, 3 * 512, SEEK_SET);
	assert_int_equal(fread(file, 1, sizeof(file), f), sizeof(file));
	fclose(f);
	assert_memory_equal(file, out, sizeof(out));
	close_blk(&d);
}

static void disk_answers_other_requests(void **state)
{
	struct {
		uint64_t sector;
		uint32_t sectors, flags;
	} range = {8, 8, 0};
	static uint8_t data[4096], zeroes[4096];
	char id[20];
	struct drv d;

	open_blk(&d, false);
	drv_init(&d, VERSION_1, 1, DRV_ALL);
	assert_int_equal(blk_request(&d, 8, 0, 20, true), 0);
	drv_read(&d, DATA, id, sizeof(id));
	assert_string_equal(id, "serial-1");
	assert_int_equal(blk_request(&d, 99, 0, 512, true), 2);              /* unsupported */
	assert_int_equal(blk_request(&d, 0, DISK_SIZE / 512, 512, true), 1); /* behind the end */
	assert_int_equal(blk_request(&d, 0, UINT64_MAX, 512, true), 1);
	assert_int_equal(blk_request(&d, 0, 0, 100, true), 1); /* no whole sector */

	pattern(data, sizeof(data), 1);
	drv_write(&d, DATA, data, sizeof(data));
	assert_int_equal(blk_request(&d, 1, 8, sizeof(data), false), 0);
	drv_write(&d, DATA, &range, sizeof(range));
	assert_int_equal(blk_request(&d, 13, 0, sizeof(range), false), 0);
	assert_int_equal(blk_request(&d, 0, 8, sizeof(data), true), 0);
	drv_read(&d, DATA, data, sizeof(data));
	assert_memory_equal(data, zeroes, sizeof(data));
	drv_write(&d, DATA, &range, sizeof(range));
	assert_int_equal(blk_request(&d, 11, 0, sizeof(range), false), 0);
	close_blk(&d);
}

static void readonly_disk_refuses_writes(void **state)
{
	struct drv d;

	open_blk(&d, true);
	assert_true(drv_features(&d) & 1ull << 5);
	drv_init(&d, VERSION_1 | 1ull << 5, 1, DRV_ALL);
	assert_int_equal(blk_request(&d, 1, 0, 512, false), 1);
	assert_int_equal(blk_request(&d, 0, 0, 512, true), 0);
	close_blk(&d);
}

static void indirect_descriptors(void **state)
{
	uint8_t data[64] = {0}, zeroes[64] = {0};
	gpa_t table = DRV_BUFFER + 0x8000;
	struct drv d;

	open_rng(&d);
	drv_init(&d, VERSION_1 | INDIRECT, 1, DRV_ALL);
	drv_desc(&d, table, 0, DATA, 32, DESC_WRITE | DESC_NEXT, 1);
	drv_desc(&d, table, 1, DATA + 32, 32, DESC_WRITE, 0);
	drv_desc(&d, d.q[0].desc, 3, table, 32, DESC_INDIRECT, 0);
	drv_submit(&d, 0, 3);
	assert_int_equal(drv_wait(&d, 0), 64);
	drv_read(&d, DATA, data, sizeof(data));
	assert_memory_not_equal(data, zeroes, 32);
	assert_memory_not_equal(data + 32, zeroes, 32);
	drv_close(&d);
}

static void open_net(struct drv *d)
{
	static const uint8_t mac[6] = {0x52, 0x54, 0, 1, 2, 3};

	drv_open(d);
	assert_int_equal(
		virtio_net_new(d->host, DRV_SLOT, "virtio-net0", net_loopback_new(), mac, NULL), 0);
	drv_find(d);
}

static void frames_come_back(void **state)
{
	uint8_t out[12 + 600] = {0}, in[12 + 600];
	struct drv d;

	open_net(&d);
	drv_init(&d, VERSION_1 | MRG_RXBUF, 2, DRV_ALL);
	assert_int_equal(fake_read(d.m, d.device, 4), 0x01005452);
	pattern(out + 12, 600, 3);
	/* The frame and its header take two buffers of 400 bytes. */
	for (unsigned i = 0; i < 2; i++) {
		drv_desc(&d, d.q[0].desc, i, DATA + 400 * i, 400, DESC_WRITE, 0);
		drv_submit(&d, 0, i);
	}
	drv_write(&d, DATA + 0x2000, out, sizeof(out));
	drv_desc(&d, d.q[1].desc, 0, DATA + 0x2000, sizeof(out), 0, 0);
	drv_submit(&d, 1, 0);
	assert_int_equal(drv_wait(&d, 1), 0);
	assert_int_equal(drv_wait(&d, 0), 400);
	assert_int_equal(drv_wait(&d, 0), 212);
	drv_read(&d, DATA, in, sizeof(in));
	assert_int_equal(in[10], 2); /* num_buffers */
	assert_memory_equal(in + 12, out + 12, 600);
	drv_close(&d);
}

static void console_speaks_and_listens(void **state)
{
	char text[16] = {0};
	struct drv d;

	drv_open(&d);
	console = chr_buffer_new();
	assert_int_equal(
		virtio_console_new(d.host, DRV_SLOT, "virtio-console0", console, 80, 25, NULL), 0);
	drv_find(&d);
	assert_int_equal(fake_read(d.m, d.device, 2), 80);
	fake_write(d.m, d.device + 8, 4, '!'); /* emergency write, before any set-up */
	drv_init(&d, VERSION_1 | 1, 2, DRV_ALL);
	drv_write(&d, DATA, "hello", 5);
	drv_desc(&d, d.q[1].desc, 0, DATA, 5, 0, 0);
	drv_submit(&d, 1, 0);
	assert_int_equal(drv_wait(&d, 1), 0);
	assert_int_equal(chr_buffer_output(console, text, sizeof(text)), 6);
	assert_memory_equal(text, "!hello", 6);

	assert_int_equal(chr_buffer_input(console, "typed", 5), 5);
	drv_desc(&d, d.q[0].desc, 0, DATA, 64, DESC_WRITE, 0);
	drv_submit(&d, 0, 0);
	assert_int_equal(drv_wait(&d, 0), 5);
	drv_read(&d, DATA, text, 5);
	assert_memory_equal(text, "typed", 5);
	drv_close(&d);
}

static int64_t entropy(struct drv *d)
{
	drv_desc(d, d->q[0].desc, 0, DATA, 16, DESC_WRITE, 0);
	drv_submit(d, 0, 0);
	return drv_wait(d, 0);
}

static void msix_messages(void **state)
{
	struct fake_msi msi;
	struct drv d;

	open_rng(&d);
	drv_msix(&d, 2);
	drv_init(&d, VERSION_1, 1, DRV_ALL);
	assert_int_equal(entropy(&d), 16);
	assert_true(fake_msi_take(d.m, &msi));
	assert_int_equal(msi.address, 0xfee00000);
	assert_int_equal(msi.data, 0x41);
	assert_false(fake_msi_take(d.m, &msi));

	/* Masked: pending, and sent when it is unmasked. */
	fake_write(d.m, d.msix + 16 + 12, 4, 1);
	assert_int_equal(entropy(&d), 16);
	assert_false(fake_msi_take(d.m, &msi));
	assert_int_equal(fake_read(d.m, d.msix + 0x800, 4), 2);
	fake_write(d.m, d.msix + 16 + 12, 4, 0);
	assert_true(fake_msi_take(d.m, &msi));
	assert_int_equal(fake_read(d.m, d.msix + 0x800, 4), 0);

	/* The driver does not want any. */
	fake_write(d.m, d.q[0].avail, 2, 1);
	assert_int_equal(entropy(&d), 16);
	assert_false(fake_msi_take(d.m, &msi));
	drv_close(&d);
}

static void event_index_suppresses(void **state)
{
	struct fake_msi msi;
	struct drv d;

	open_rng(&d);
	drv_msix(&d, 2);
	drv_init(&d, VERSION_1 | EVENT_IDX, 1, DRV_ALL);
	fake_write(d.m, d.q[0].avail + 4 + 2 * d.q[0].size, 2, 2); /* used_event: the third */
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(entropy(&d), 16);
	assert_true(fake_msi_count(d.m) >= 1);
	while (fake_msi_take(d.m, &msi))
		;
	assert_int_equal(entropy(&d), 16);
	assert_int_equal(fake_msi_count(d.m), 0);
	drv_close(&d);
}

static void intx_without_msix(void **state)
{
	unsigned gsi = pci_intx_gsi(DRV_SLOT, 0);
	struct drv d;

	open_rng(&d);
	drv_init(&d, VERSION_1, 1, DRV_ALL);
	assert_int_equal(entropy(&d), 16);
	assert_true(d.m->irq.levels & 1u << gsi);
	assert_true(drv_config_read(&d, DRV_SLOT, 6, 2) & 8);
	assert_int_equal(fake_read(d.m, d.isr, 1), 1);
	assert_false(d.m->irq.levels & 1u << gsi);
	assert_int_equal(fake_read(d.m, d.isr, 1), 0);
	/* Switched off in the command register: the wire stays down. */
	drv_config_write(&d, DRV_SLOT, 4, 2, 0x406);
	assert_int_equal(entropy(&d), 16);
	assert_false(d.m->irq.levels & 1u << gsi);
	drv_close(&d);
}

/* Descriptors that make no sense.  Table 0 is the queue's, 1 an indirect one. */
static const struct bad {
	const char *name;
	unsigned head;
	struct {
		unsigned table, index;
		uint64_t addr;
		uint32_t len;
		uint16_t flags, next;
	} desc[3];
} bad[] = {
	{"out of RAM", 0, {{0, 0, DRV_RAM - 8, 16, DESC_WRITE, 0}}},
	{"wraps around", 0, {{0, 0, UINT64_MAX - 7, 16, DESC_WRITE, 0}}},
	{"in a register", 0, {{0, 0, DRV_BARS, 16, DESC_WRITE, 0}}},
	{"no length", 0, {{0, 0, DATA, 0, DESC_WRITE, 0}}},
	{"too long", 0, {{0, 0, DATA, UINT32_MAX, DESC_WRITE, 0}}},
	{"loop of one", 0, {{0, 0, DATA, 16, DESC_WRITE | DESC_NEXT, 0}}},
	{"loop of two",
         0,
         {{0, 0, DATA, 16, DESC_WRITE | DESC_NEXT, 1},
          {0, 1, DATA, 16, DESC_WRITE | DESC_NEXT, 0}}},
	{"next behind the table", 0, {{0, 0, DATA, 16, DESC_WRITE | DESC_NEXT, 9999}}},
	{"head behind the table", 9999, {{0, 0, DATA, 16, DESC_WRITE, 0}}},
	{"read behind write",
         0,
         {{0, 0, DATA, 16, DESC_WRITE | DESC_NEXT, 1}, {0, 1, DATA, 16, 0, 0}}},
	{"indirect in indirect",
         0,
         {{0, 0, DATA + 0x1000, 16, DESC_INDIRECT, 0},
          {1, 0, DATA + 0x1000, 16, DESC_INDIRECT, 0}}},
	{"indirect and next", 0, {{0, 0, DATA + 0x1000, 16, DESC_INDIRECT | DESC_NEXT, 1}}},
	{"indirect of odd size", 0, {{0, 0, DATA + 0x1000, 24, DESC_INDIRECT, 0}}},
	{"indirect of no size", 0, {{0, 0, DATA + 0x1000, 0, DESC_INDIRECT, 0}}},
	{"indirect out of RAM", 0, {{0, 0, DRV_RAM, 16, DESC_INDIRECT, 0}}},
	{"indirect behind others",
         0,
         {{0, 0, DATA, 16, DESC_WRITE | DESC_NEXT, 1},
          {0, 1, DATA + 0x1000, 16, DESC_INDIRECT, 0},
          {1, 0, DATA, 16, DESC_WRITE, 0}}},
	{"indirect loop",
         0,
         {{0, 0, DATA + 0x1000, 32, DESC_INDIRECT, 0},
          {1, 0, DATA, 16, DESC_WRITE | DESC_NEXT, 1},
          {1, 1, DATA, 16, DESC_WRITE | DESC_NEXT, 0}}},
};

static void nonsense_needs_reset(void **state)
{
	struct drv d;

	open_rng(&d);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		const struct bad *b = &bad[i];

		drv_init(&d, VERSION_1 | INDIRECT, 1, DRV_ALL);
		for (size_t k = 0; k < ARRAY_LEN(b->desc) && b->desc[k].addr; k++)
			drv_desc(&d, b->desc[k].table ? DATA + 0x1000 : d.q[0].desc,
			         b->desc[k].index, b->desc[k].addr, b->desc[k].len,
			         b->desc[k].flags, b->desc[k].next);
		drv_submit(&d, 0, b->head);
		if (drv_wait(&d, 0) != -1 || !(drv_status(&d) & NEEDS_RESET))
			fail_msg("descriptors '%s' were accepted", b->name);
		/* It survives: after a reset all is well. */
		drv_reset(&d);
		assert_int_equal(drv_status(&d), 0);
		drv_init(&d, VERSION_1, 1, DRV_ALL);
		assert_int_equal(entropy(&d), 16);
		drv_reset(&d);
	}
	drv_close(&d);
}

static void queue_out_of_memory(void **state)
{
	struct drv d;

	open_rng(&d);
	drv_init(&d, VERSION_1, 1, 5);
	fake_write(d.m, d.common + 32, 8, DRV_RAM - 16);
	fake_write(d.m, d.common + 20, 1, 0x0f);
	assert_true(drv_status(&d) & NEEDS_RESET);
	drv_reset(&d);
	drv_init(&d, VERSION_1, 1, DRV_ALL);
	assert_int_equal(entropy(&d), 16);
	/* More available than the queue holds. */
	fake_write(d.m, d.q[0].avail + 2, 2, 1000);
	fake_write(d.m, d.q[0].notify, 2, 0);
	drv_settle(&d);
	assert_true(drv_status(&d) & NEEDS_RESET);
	drv_close(&d);
}

static void features_are_negotiated(void **state)
{
	struct drv d;

	open_rng(&d);
	assert_true(drv_features(&d) & VERSION_1);
	assert_int_equal(drv_init(&d, VERSION_1 | 1ull << 40, 1, 4), 0x03); /* not offered */
	drv_reset(&d);
	assert_int_equal(drv_init(&d, 0, 1, 4), 0x03); /* a legacy driver */
	drv_reset(&d);
	assert_int_equal(drv_init(&d, VERSION_1, 1, 4), 0x0b);
	drv_close(&d);
}

static void reset_at_each_step(void **state)
{
	struct drv d;

	open_blk(&d, false);
	for (unsigned steps = 1; steps <= DRV_ALL; steps++) {
		drv_init(&d, VERSION_1, 1, steps);
		if (steps == DRV_ALL) { /* with a request under way */
			drv_desc(&d, d.q[0].desc, 0, HEADER, 16, DESC_NEXT, 1);
			drv_desc(&d, d.q[0].desc, 1, STATUS_BYTE, 1, DESC_WRITE, 0);
			drv_submit(&d, 0, 0);
			loop_step(d.m->lane, 0);
		}
		drv_reset(&d);
		assert_int_equal(drv_status(&d), 0);
		drv_init(&d, VERSION_1, 1, DRV_ALL);
		assert_int_equal(blk_request(&d, 0, 0, 512, true), 0);
		machine_reset_devices(d.m);
		assert_int_equal(drv_config_read(&d, DRV_SLOT, 4, 2), 0);
		drv_find(&d);
		assert_int_equal(drv_status(&d), 0);
	}
	close_blk(&d);
}

static void state_at_each_step(void **state)
{
	struct drv d;

	open_blk(&d, false);
	for (unsigned steps = 1; steps <= DRV_ALL; steps++) {
		struct device *dev = machine_find_device(d.m, "virtio-blk0");
		struct state *save = state_new_save(), *json = state_new_json(), *load, *cmp;
		const void *data;
		struct err e = {0};
		size_t len;
		char *text;

		drv_init(&d, VERSION_1, 1, steps);
		if (steps == DRV_ALL)
			assert_int_equal(blk_request(&d, 0, 0, 512, true), 0);
		dev->type->quiesce(dev);
		dev->type->state(dev, save);
		assert_int_equal(state_finish(save, &e), 0);
		data = state_data(save, &len);
		dev->type->state(dev, json);
		text = json_print(state_json(json), false);
		assert_non_null(strstr(text, "last_avail"));
		free(text);
		state_free(json);

		dev->type->reset(dev);
		assert_int_equal(drv_config_read(&d, DRV_SLOT, 4, 2), 0);
		load = state_new_load(data, len);
		dev->type->state(dev, load);
		assert_int_equal(state_finish(load, &e), 0);
		cmp = state_new_compare(data, len);
		dev->type->state(dev, cmp);
		assert_int_equal(state_finish(cmp, &e), 0);
		dev->type->resume(dev);
		if (steps == DRV_ALL) /* the rings go on where they were */
			assert_int_equal(blk_request(&d, 0, 8, 512, true), 0);
		drv_reset(&d);
		state_free(save);
		state_free(load);
		state_free(cmp);
	}
	close_blk(&d);
}

static void nothing_happens_while_quiet(void **state)
{
	struct device *dev;
	struct drv d;

	open_rng(&d);
	dev = machine_find_device(d.m, "virtio-rng0");
	drv_init(&d, VERSION_1, 1, DRV_ALL);
	dev->type->quiesce(dev);
	drv_desc(&d, d.q[0].desc, 0, DATA, 16, DESC_WRITE, 0);
	drv_submit(&d, 0, 0);
	drv_settle(&d);
	assert_int_equal(fake_read(d.m, d.q[0].used + 2, 2), 0);
	dev->type->resume(dev);
	assert_int_equal(drv_wait(&d, 0), 16);
	drv_close(&d);
}

static void moved_bar_works(void **state)
{
	struct drv d;

	open_rng(&d);
	drv_init(&d, VERSION_1, 1, DRV_ALL);
	drv_config_write(&d, DRV_SLOT, 0x10, 4, 0xd0000000);
	assert_int_equal(fake_read(d.m, d.common + 20, 1), 0xff); /* nobody there */
	d.notify += 0xd0000000 - (d.common & ~0x3fffull);
	d.q[0].notify = d.notify;
	d.common = 0xd0000000;
	assert_int_equal(drv_status(&d), 0x0f);
	assert_int_equal(entropy(&d), 16);
	drv_close(&d);
}

/* Firmware reaches BAR 0 through configuration space (4.1.4.9). */
static void configuration_access(void **state)
{
	unsigned at;
	struct drv d;

	open_rng(&d);
	at = drv_config_read(&d, DRV_SLOT, 0x34, 1);
	while (drv_config_read(&d, DRV_SLOT, at, 1) != 9 ||
	       drv_config_read(&d, DRV_SLOT, at + 3, 1) != 5)
		at = drv_config_read(&d, DRV_SLOT, at + 1, 1);
	drv_config_write(&d, DRV_SLOT, at + 4, 1, 0);
	drv_config_write(&d, DRV_SLOT, at + 8, 4, 20);
	drv_config_write(&d, DRV_SLOT, at + 12, 4, 1);
	drv_config_write(&d, DRV_SLOT, at + 16, 1, 1);
	assert_int_equal(drv_status(&d), 1);
	assert_int_equal(drv_config_read(&d, DRV_SLOT, at + 16, 1), 1);
	drv_close(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(disk_keeps_what_is_written),
		cmocka_unit_test(disk_answers_other_requests),
		cmocka_unit_test(readonly_disk_refuses_writes),
		cmocka_unit_test(indirect_descriptors),
		cmocka_unit_test(frames_come_back),
		cmocka_unit_test(console_speaks_and_listens),
		cmocka_unit_test(msix_messages),
		cmocka_unit_test(event_index_suppresses),
		cmocka_unit_test(intx_without_msix),
		cmocka_unit_test(nonsense_needs_reset),
		cmocka_unit_test(queue_out_of_memory),
		cmocka_unit_test(features_are_negotiated),
		cmocka_unit_test(reset_at_each_step),
		cmocka_unit_test(state_at_each_step),
		cmocka_unit_test(nothing_happens_while_quiet),
		cmocka_unit_test(moved_bar_works),
		cmocka_unit_test(configuration_access),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
