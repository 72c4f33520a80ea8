#include "dev/firmware/bios.h"

#include <errno.h>

#define SHADOW       0x20000
#define RESET_OFFSET 16 /* from the end: F000:FFF0 */

int bios_check(const char *path, const struct file *f, struct err *e)
{
	uint8_t op;

	if (f->size % PAGE_SIZE || f->size < SHADOW / 2)
		return err_set(
			e, EINVAL,
			"not a firmware image: '%s' has %zu bytes, not a multiple of 64 KiB: "
			"is it a --kernel?",
			path, f->size);
	op = f->data[f->size - RESET_OFFSET];
	if (op == 0x00 || op == 0xff)
		return err_set(e, EINVAL,
		               "not a firmware image: '%s' has no code at the reset vector, its "
		               "last 16 bytes: give --bios a whole image",
		               path);
	return 0;
}

int bios_load(struct mem *mem, const struct file *f, struct cpu_state *cpu, struct err *e)
{
	uint64_t shadow = MIN(f->size, (uint64_t)SHADOW);
	int r = mem_add(mem, "bios", MEM_ROM, 4 * GIB - f->size, f->size, e);

	if (r < 0)
		return r;
	if (mem_load(mem, 4 * GIB - f->size, f->data, f->size) < 0 ||
	    mem_load(mem, MIB - shadow, f->data + f->size - shadow, shadow) < 0)
		return err_set(e, EFAULT, "cannot write the firmware to guest memory");
	cpu_state_reset(cpu, true);
	return 0;
}
