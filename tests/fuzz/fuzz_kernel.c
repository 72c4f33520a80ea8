/* Any bytes as a kernel image: parsed or refused, unpacked and loaded within bounds. */
#include <string.h>

#include "dev/firmware/boot.h"
#include "image/kernel.h"
#include "image/unpack.h"

#define RAM (64 * MIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct mem *memory(void)
{
	static struct mem mem;

	if (mem.n == 0) {
		mem_init(&mem);
		if (mem_add(&mem, "ram", MEM_RAM, 0, RAM, NULL) < 0)
			abort();
	}
	return &mem;
}

static void load(const struct kernel *k)
{
	struct e820 map;
	struct boot_input in = {
		.mem = memory(), .e820 = &map, .low_ram = RAM, .cmdline = "a", .unpack = false};
	struct cpu_state cpu;
	struct boot_result result;

	e820_make(&map, RAM, 0);
	if (boot_load(k, &in, &cpu, &result, NULL) < 0)
		return;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t out[64 * KIB];
	struct kernel k;
	struct file f;

	if (size == 0)
		return 0;
	/* A copy of the exact size, so that a read behind it is seen. */
	f.size = size;
	f.data = malloc(size);
	if (!f.data)
		return 0;
	memcpy(f.data, data, size);
	if (unpack_lz4(data, size, out, sizeof(out)) > (int64_t)sizeof(out))
		abort();
	if (kernel_parse("fuzz", &f, &k, NULL) == 0) {
		load(&k);
		kernel_free(&k);
	}
	free(f.data);
	return 0;
}
