/*
 * Items are read from an offset that starts at 0 when one is selected; behind an item's end there are
 * zeros.  Nothing can be written.  A transfer's descriptor, all big-endian:
 *
 *	0  control: bits 31-16 key, 3 select, 2 skip, 1 read, 0 error	4  length	8  address
 *
 * The control field becomes 0 when the transfer is done, or just the error bit.
 */
#include "dev/chip/fw_cfg.h"

#include <assert.h>
#include <string.h>
#include "base/log.h"

enum { SELECTOR = 0, DATA = 1, PORTS = 2, DMA_AT = 4, DMA_LEN = 8 };
enum { KEY_SIGNATURE = 0x00, KEY_ID = 0x01, KEY_DIRECTORY = 0x19, KEY_FILES = 0x20 };
enum { ID_PORTS = 1, ID_DMA = 2 };
enum { DMA_ERROR = 1, DMA_READ = 2, DMA_SKIP = 4, DMA_SELECT = 8, DMA_WRITE = 16 };

#define ITEMS_MAX 48
#define KEY_MASK  0xbfff /* without the bit that once meant writing */
/* A directory entry: size, key (big-endian), 2 bytes of nothing, name. */
#define ENTRY_SIZE 64
#define ENTRY_KEY  4
#define ENTRY_NAME 8

struct item {
	uint16_t key;
	uint8_t *data;
	size_t len;
};

struct fw_cfg {
	struct device device;
	struct bus_range ports, dma;
	struct item item[ITEMS_MAX];
	unsigned items, files;

	uint16_t key;
	uint32_t offset;
	uint8_t address[DMA_LEN]; /* of a descriptor, as it is written */
};

static void put_be(uint8_t *at, uint64_t v, size_t len)
{
	for (size_t i = 0; i < len; i++)
		at[i] = v >> 8 * (len - 1 - i);
}

static uint64_t get_be(const uint8_t *at, size_t len)
{
	uint64_t v = 0;

	for (size_t i = 0; i < len; i++)
		v = v << 8 | at[i];
	return v;
}

static struct item *find(struct fw_cfg *f, uint16_t key)
{
	for (unsigned i = 0; i < f->items; i++) {
		if (f->item[i].key == key)
			return &f->item[i];
	}
	return NULL;
}

static void item_select(struct fw_cfg *f, uint16_t key)
{
	f->key = key & KEY_MASK;
	f->offset = 0;
}

/* Where the selected item goes on; *left is 0 behind its end. */
static const uint8_t *rest(struct fw_cfg *f, size_t *left)
{
	const struct item *item = find(f, f->key);

	*left = item && f->offset < item->len ? item->len - f->offset : 0;
	return *left ? item->data + f->offset : NULL;
}

static void skip(struct fw_cfg *f, uint32_t n)
{
	if (__builtin_add_overflow(f->offset, n, &f->offset))
		f->offset = UINT32_MAX;
}

static int copy_out(struct fw_cfg *f, gpa_t gpa, uint32_t len)
{
	static const uint8_t zeros[4096];
	struct mem *mem = &f->device.machine->mem;
	size_t left;

	while (len) {
		const uint8_t *from = rest(f, &left);
		size_t n = MIN(from ? left : sizeof(zeros), (size_t)len);

		if (mem_write(mem, gpa, from ? from : zeros, n) < 0)
			return -1;
		skip(f, n);
		gpa += n;
		len -= n;
	}
	return 0;
}

static uint32_t transfer(struct fw_cfg *f, const uint8_t descriptor[16])
{
	uint32_t control = get_be(descriptor, 4), len = get_be(descriptor + 4, 4);

	if (control & DMA_SELECT)
		item_select(f, control >> 16);
	if (control & DMA_READ)
		return copy_out(f, get_be(descriptor + 8, 8), len) < 0 ? DMA_ERROR : 0;
	if (control & DMA_WRITE)
		return DMA_ERROR;
	if (control & DMA_SKIP)
		skip(f, len);
	return 0;
}

static void dma_start(struct fw_cfg *f)
{
	struct mem *mem = &f->device.machine->mem;
	gpa_t at = get_be(f->address, DMA_LEN);
	uint8_t descriptor[16], done[4];

	memset(f->address, 0, sizeof(f->address));
	if (mem_read(mem, at, descriptor, sizeof(descriptor)) < 0) {
		log_guest("fw-cfg: no descriptor at 0x%llx", (unsigned long long)at);
		return;
	}
	put_be(done, transfer(f, descriptor), sizeof(done));
	if (mem_write(mem, at, done, sizeof(done)) < 0)
		log_guest("fw-cfg: descriptor at 0x%llx cannot be written", (unsigned long long)at);
}

static uint64_t ports_read(void *dev, uint64_t offset, unsigned size)
{
	struct fw_cfg *f = dev;
	const uint8_t *from;
	size_t left;

	if (offset != DATA)
		return UINT64_MAX;
	from = rest(f, &left);
	skip(f, 1);
	return from ? *from : 0;
}

static void ports_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	if (offset == SELECTOR && size == 2)
		item_select(dev, value);
}

static uint64_t dma_read(void *dev, uint64_t offset, unsigned size)
{
	static const char signature[] = "QEMU CFG";
	uint64_t v = 0;

	for (unsigned i = 0; i < size; i++)
		v |= (uint64_t)(uint8_t)signature[offset + i] << 8 * i;
	return v;
}

static void dma_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct fw_cfg *f = dev;

	for (unsigned i = 0; i < size; i++)
		f->address[offset + i] = value >> 8 * i;
	if (offset + size == DMA_LEN)
		dma_start(f);
}

static const struct bus_ops ports_ops = {ports_read, ports_write, 2};
static const struct bus_ops dma_ops = {dma_read, dma_write, 4};

void fw_cfg_item(struct fw_cfg *f, uint16_t key, const void *data, size_t len)
{
	struct item *item;

	assert(f->items < ITEMS_MAX && !find(f, key));
	item = &f->item[f->items++];
	*item = (struct item){.key = key, .data = xalloc(len ? len : 1), .len = len};
	memcpy(item->data, data, len);
}

void fw_cfg_number(struct fw_cfg *f, uint16_t key, uint64_t value, size_t len)
{
	uint8_t data[8];

	assert(len <= sizeof(data));
	for (size_t i = 0; i < len; i++)
		data[i] = value >> 8 * i;
	fw_cfg_item(f, key, data, len);
}

void fw_cfg_file(struct fw_cfg *f, const char *name, const void *data, size_t len)
{
	struct item *directory = find(f, KEY_DIRECTORY);
	uint16_t key = KEY_FILES + f->files;
	uint8_t entry[ENTRY_SIZE] = {0};

	assert(strlen(name) <= FW_CFG_NAME_MAX);
	fw_cfg_item(f, key, data, len);
	put_be(entry, len, 4);
	put_be(entry + ENTRY_KEY, key, 2);
	memcpy(entry + ENTRY_NAME, name, strlen(name));

	directory->data = xrealloc(directory->data, directory->len + ENTRY_SIZE);
	memcpy(directory->data + directory->len, entry, ENTRY_SIZE);
	directory->len += ENTRY_SIZE;
	put_be(directory->data, ++f->files, 4);
}

static void reset(struct device *d)
{
	struct fw_cfg *f = container_of(d, struct fw_cfg, device);

	item_select(f, 0);
	memset(f->address, 0, sizeof(f->address));
}

/* The items are the plan's; the other side has the same ones. */
static void state(struct device *d, struct state *s)
{
	struct fw_cfg *f = container_of(d, struct fw_cfg, device);

	state_u16(s, "key", &f->key);
	state_u32(s, "offset", &f->offset);
	state_bytes(s, "address", f->address, sizeof(f->address));
}

static void fw_cfg_free(struct device *d)
{
	struct fw_cfg *f = container_of(d, struct fw_cfg, device);

	bus_del(&d->machine->pio, &f->ports);
	bus_del(&d->machine->pio, &f->dma);
	for (unsigned i = 0; i < f->items; i++)
		free(f->item[i].data);
	free(f);
}

static const struct device_type type = {
	.name = "fw-cfg", .reset = reset, .state = state, .free = fw_cfg_free};

int fw_cfg_new(struct machine *m, uint16_t port, struct fw_cfg **out, struct err *e)
{
	static const uint8_t no_files[4];
	struct fw_cfg *f = xalloc(sizeof(*f));
	int r;

	f->ports = (struct bus_range){port, PORTS, &ports_ops, f, "fw-cfg", false};
	f->dma = (struct bus_range){port + DMA_AT, DMA_LEN, &dma_ops, f, "fw-cfg-dma", false};
	fw_cfg_item(f, KEY_SIGNATURE, "QEMU", 4);
	fw_cfg_number(f, KEY_ID, ID_PORTS | ID_DMA, 4);
	fw_cfg_item(f, KEY_DIRECTORY, no_files, sizeof(no_files));
	machine_add_device(m, &f->device, &type, "fw-cfg");
	r = bus_add(&m->pio, &f->ports, e);
	if (r == 0)
		r = bus_add(&m->pio, &f->dma, e);
	if (r == 0)
		*out = f;
	return r;
}
