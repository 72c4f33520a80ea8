#include "image/bzimage.h"

#include <errno.h>
#include <string.h>

#define SETUP_MIN     0x268     /* end of the fields that protocol 2.12 has */
#define XLF_KERNEL_64 (1u << 0) /* has the 64-bit entry at 0x200 */
#define LOADED_HIGH   (1u << 0)

static uint64_t get(const struct file *f, size_t at, size_t len)
{
	uint64_t v = 0;

	memcpy(&v, f->data + at, len);
	return v;
}

bool bzimage_is(const struct file *f)
{
	return f->size >= SETUP_VERSION + 2 && get(f, SETUP_BOOT_FLAG, 2) == 0xaa55 &&
	       memcmp(f->data + SETUP_HEADER, "HdrS", 4) == 0;
}

static int truncated(const char *path, const struct file *f, uint64_t need, struct err *e)
{
	return err_set(e, EINVAL,
	               "kernel '%s' is truncated: it has %zu bytes of %llu: copy it again", path,
	               f->size, (unsigned long long)need);
}

/* The version text that the header points to, for people. */
static void read_version(const struct file *f, struct kernel_linux *k)
{
	size_t at = get(f, SETUP_KERNEL_VERSION, 2) + 0x200;

	if (at == 0x200 || at + sizeof(k->version) > k->code_offset)
		return;
	for (size_t i = 0; i < sizeof(k->version) - 1; i++) {
		char c = f->data[at + i];

		if (c == 0 || c == ' ')
			break;
		k->version[i] = c >= ' ' && c <= '~' ? c : '?';
	}
}

static int check_support(const char *path, const struct file *f, unsigned protocol, struct err *e)
{
	if (protocol < 0x020c || !(get(f, SETUP_XLOADFLAGS, 2) & XLF_KERNEL_64))
		return err_set(e, ENOTSUP,
		               "kernel '%s' has no 64-bit entry (boot protocol %u.%02u): "
		               "give --kernel a 64-bit Linux 3.8 or later",
		               path, protocol >> 8, protocol & 0xff);
	if (!(get(f, SETUP_LOADFLAGS, 1) & LOADED_HIGH))
		return err_set(e, ENOTSUP,
		               "kernel '%s' is a zImage for low memory: give --kernel a bzImage",
		               path);
	return 0;
}

int bzimage_parse(const char *path, const struct file *f, struct kernel_linux *out, struct err *e)
{
	struct kernel_linux k = {.protocol = get(f, SETUP_VERSION, 2)};
	uint64_t sects, payload;
	int r;

	if (f->size < SETUP_MIN)
		return truncated(path, f, SETUP_MIN, e);
	r = check_support(path, f, k.protocol, e);
	if (r < 0)
		return r;
	sects = get(f, SETUP_SECTS, 1);
	k.code_offset = ((sects ? sects : 4) + 1) * 512;
	k.code_size = get(f, SETUP_SYSSIZE, 4) * 16;
	/* The build rounds syssize up to 16 bytes, so the file may end up to 15 bytes earlier. */
	if (f->size < k.code_offset || f->size - k.code_offset + 15 < k.code_size)
		return truncated(path, f, k.code_offset + k.code_size, e);
	k.code_size = MIN(k.code_size, f->size - k.code_offset);

	payload = get(f, SETUP_PAYLOAD_OFFSET, 4);
	k.payload_size = get(f, SETUP_PAYLOAD_LENGTH, 4);
	k.payload_offset = k.code_offset + payload;
	if (payload > k.code_size || k.payload_size > k.code_size - payload)
		return truncated(path, f, k.payload_offset + k.payload_size, e);

	k.pref_address = get(f, SETUP_PREF_ADDRESS, 8);
	k.init_size = MAX(get(f, SETUP_INIT_SIZE, 4), k.code_size);
	k.alignment = get(f, SETUP_KERNEL_ALIGNMENT, 4);
	k.relocatable = get(f, SETUP_RELOCATABLE, 1);
	k.initrd_max = get(f, SETUP_INITRD_ADDR_MAX, 4);
	k.cmdline_max = get(f, SETUP_CMDLINE_SIZE, 4);
	if (k.pref_address < MIB || k.pref_address > 2 * GIB || k.alignment > GIB)
		return err_set(e, EINVAL, "kernel '%s' has a damaged setup header: copy it again",
		               path);
	read_version(f, &k);
	*out = k;
	return 0;
}
