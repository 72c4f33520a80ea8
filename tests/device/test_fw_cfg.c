/* Firmware's questions: items and files, by ports and by transfers. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>
#include "board.h"
#include "dev/chip/fw_cfg.h"

#define PORT       0x510
#define DATA       (PORT + 1)
#define DMA        (PORT + 4)
#define DESCRIPTOR 0x1000
#define BUFFER     0x2000
#define DIRECTORY  0x19

static void open_fw_cfg(struct board *b)
{
	struct fw_cfg *f = NULL;

	board_open(b);
	assert_int_equal(fw_cfg_new(b->m, PORT, &f, NULL), 0);
	fw_cfg_number(f, FW_CFG_CPUS, 3, 2);
	fw_cfg_file(f, "etc/one", "first file", 10);
	fw_cfg_file(f, "etc/two", "2", 1);
}

static void read_ports(struct board *b, uint16_t key, void *buf, size_t len)
{
	fake_out16(b->m, PORT, key);
	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = fake_in8(b->m, DATA);
}

/* The key of a file, as firmware finds it. */
static uint16_t find(struct board *b, const char *name, uint32_t *len)
{
	uint8_t head[4], entry[64];

	read_ports(b, DIRECTORY, head, 4);
	for (unsigned i = 0; i < head[3]; i++) {
		for (unsigned k = 0; k < sizeof(entry); k++)
			entry[k] = fake_in8(b->m, DATA);
		*len = entry[2] << 8 | entry[3];
		if (strcmp((char *)entry + 8, name) == 0)
			return entry[4] << 8 | entry[5];
	}
	fail_msg("no file '%s'", name);
	return 0;
}

static void items_by_ports(void **state)
{
	struct board b;
	uint32_t len;
	uint16_t key;
	char buf[16];

	open_fw_cfg(&b);
	read_ports(&b, 0, buf, 4);
	assert_memory_equal(buf, "QEMU", 4);
	read_ports(&b, 1, buf, 4);
	assert_memory_equal(buf, "\3\0\0", 4);
	read_ports(&b, FW_CFG_CPUS, buf, 4);
	assert_memory_equal(buf, "\3\0\0\0", 4); /* zeros behind its end */
	key = find(&b, "etc/one", &len);
	assert_int_equal(len, 10);
	read_ports(&b, key, buf, 10);
	assert_memory_equal(buf, "first file", 10);
	key = find(&b, "etc/two", &len);
	assert_int_equal(len, 1);
	read_ports(&b, key, buf, 2);
	assert_memory_equal(buf, "2", 2);
	read_ports(&b, 0x1234, buf, 2); /* no such item */
	assert_memory_equal(buf, "\0", 2);
	fake_out8(b.m, DATA, 'x'); /* nothing can be written */
	read_ports(&b, 0, buf, 4);
	assert_memory_equal(buf, "QEMU", 4);
	board_close(&b);
}

/* Returns what the control field has become. */
static uint32_t transfer(struct board *b, uint32_t control, uint32_t len, uint64_t address)
{
	fake_write(b->m, DESCRIPTOR, 4, __builtin_bswap32(control));
	fake_write(b->m, DESCRIPTOR + 4, 4, __builtin_bswap32(len));
	fake_write(b->m, DESCRIPTOR + 8, 8, __builtin_bswap64(address));
	fake_out32(b->m, DMA, 0);
	fake_out32(b->m, DMA + 4, __builtin_bswap32(DESCRIPTOR));
	return __builtin_bswap32(fake_read(b->m, DESCRIPTOR, 4));
}

static void transfers(void **state)
{
	struct board b;
	uint32_t len;
	uint16_t key;
	char buf[16];

	open_fw_cfg(&b);
	assert_int_equal(fake_in32(b.m, DMA), 0x554d4551); /* QEMU */
	key = find(&b, "etc/one", &len);
	assert_int_equal(transfer(&b, key << 16 | 8 | 2, 5, BUFFER), 0);
	assert_int_equal(mem_read(&b.m->mem, BUFFER, buf, 5), 0);
	assert_memory_equal(buf, "first", 5);
	assert_int_equal(transfer(&b, 4, 1, 0), 0); /* skip */
	fake_write(b.m, BUFFER + 4, 8, UINT64_MAX);
	assert_int_equal(transfer(&b, 2, 7, BUFFER), 0);
	assert_int_equal(mem_read(&b.m->mem, BUFFER, buf, 8), 0);
	assert_memory_equal(buf, "file\0\0\0\xff", 8);
	assert_int_equal(transfer(&b, key << 16 | 8, 0, 0), 0); /* select alone */
	assert_int_equal(fake_in8(b.m, DATA), 'f');
	machine_reset_devices(b.m);
	assert_int_equal(fake_in8(b.m, DATA), 'Q');
	board_close(&b);
}

static void nonsense_is_an_error(void **state)
{
	struct board b;

	open_fw_cfg(&b);
	assert_int_equal(transfer(&b, 8 | 2, 16, BOARD_RAM - 4), 1);
	assert_int_equal(transfer(&b, 8 | 2, 16, UINT64_MAX - 3), 1);
	assert_int_equal(transfer(&b, 8 | 2, UINT32_MAX, 0x100), 1);
	assert_int_equal(transfer(&b, 16, 4, BUFFER), 1); /* write */
	assert_int_equal(transfer(&b, 4, UINT32_MAX, 0), 0);
	assert_int_equal(transfer(&b, 4, UINT32_MAX, 0), 0);
	assert_int_equal(fake_in8(b.m, DATA), 0);
	/* A descriptor that is not there, or half. */
	fake_out32(b.m, DMA, UINT32_MAX);
	fake_out32(b.m, DMA + 4, UINT32_MAX);
	fake_out32(b.m, DMA + 4, __builtin_bswap32(BOARD_RAM - 8));
	assert_int_equal(transfer(&b, 8, 0, 0), 0);
	assert_int_equal(fake_in8(b.m, DATA), 'Q');
	board_close(&b);
}

static void state_moves(void **state)
{
	struct board b, c;
	char buf[2];

	open_fw_cfg(&b);
	open_fw_cfg(&c);
	read_ports(&b, 0, buf, 2);
	fake_out32(b.m, DMA, 0x12345678);
	board_move(&b, &c, "fw-cfg");
	assert_int_equal(fake_in8(c.m, DATA), 'M');
	board_close(&b);
	board_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(items_by_ports),
		cmocka_unit_test(transfers),
		cmocka_unit_test(nonsense_is_an_error),
		cmocka_unit_test(state_moves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
