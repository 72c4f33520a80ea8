/* Kernel images: recognised by kind, refused with a reason when damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "image/bzimage.h"
#include "dev/firmware/blob.h"
#include "image_make.h"

static struct kernel parse(struct file f)
{
	struct kernel k = {};
	struct err e = {};
	int r = kernel_parse("k", &f, &k, &e);

	if (r < 0)
		fail_msg("%s", e.text);
	assert_null(f.data); /* taken over */
	return k;
}

static void refused(struct file f, const char *why)
{
	struct kernel k = {};
	struct err e = {};

	assert_true(kernel_parse("the-file", &f, &k, &e) < 0);
	if (!strstr(e.text, why) || !strstr(e.text, "'the-file'") || strchr(e.text, '\n'))
		fail_msg("error is: %s", e.text);
	assert_null(k.file.data);
	file_free(&f);
}

static struct file bytes(const void *data, size_t len)
{
	struct blob b = {};

	blob_put(&b, data, len);
	return (struct file){b.data, b.len};
}

static void test_bzimage(void **state)
{
	struct kernel k = parse(make_bzimage((const uint8_t *)"payload", 7));

	assert_int_equal(k.kind, KERNEL_BZIMAGE);
	assert_int_equal(k.linux_hdr.code_offset, 5 * 512);
	assert_int_equal(k.linux_hdr.pref_address, 0x1000000);
	assert_int_equal(k.linux_hdr.cmdline_max, 2047);
	assert_memory_equal(k.file.data + k.linux_hdr.payload_offset, "payload", 7);
	kernel_free(&k);
}

static void test_pvh(void **state)
{
	struct kernel k = parse(make_elf64(MAKE_LOAD + 2));

	assert_int_equal(k.kind, KERNEL_PVH);
	assert_int_equal(k.entry, MAKE_LOAD + 2);
	assert_int_equal(k.segments, 1);
	assert_int_equal(kernel_end(&k), MAKE_LOAD + 0x2000);
	kernel_free(&k);
}

static void test_elf_without_note_enters_by_physical_address(void **state)
{
	struct kernel k = parse(make_elf64(0));

	assert_int_equal(k.kind, KERNEL_ELF64);
	assert_int_equal(k.entry, MAKE_LOAD);
	kernel_free(&k);
}

static void test_multiboot(void **state)
{
	struct kernel k = parse(make_elf32_multiboot());

	assert_int_equal(k.kind, KERNEL_MULTIBOOT);
	assert_int_equal(k.entry, MAKE_LOAD + 12);
	assert_int_equal(k.segment[0].memsz, 0x3000);
	kernel_free(&k);

	k = parse(make_multiboot_flat());
	assert_int_equal(k.kind, KERNEL_MULTIBOOT);
	assert_int_equal(k.entry, MAKE_LOAD + 32);
	assert_int_equal(k.segment[0].offset, 64);
	assert_int_equal(k.segment[0].filesz, 36);
	assert_int_equal(k.segment[0].memsz, 0x4000);
	assert_memory_equal(k.file.data + 64 + 32, MAKE_CODE, 4);
	kernel_free(&k);
}

/* However short a file is cut, it is refused, or the same kernel where only padding is missing. */
static void cut(struct file (*make)(void))
{
	struct file whole = make();

	for (size_t len = 0; len < whole.size; len++) {
		/* An allocation of exactly len bytes, so that a sanitizer sees any read behind it. */
		struct file f = {malloc(len ? len : 1), len};
		struct kernel k = {};
		struct err e = {};

		assert_non_null(f.data);
		memcpy(f.data, whole.data, len);
		if (kernel_parse("cut", &f, &k, &e) < 0) {
			assert_true(strlen(e.text) > 0);
			file_free(&f);
		} else {
			assert_true(whole.size - len < 16);
			kernel_free(&k);
		}
	}
	file_free(&whole);
}

static struct file make_bz(void)
{
	return make_bzimage((const uint8_t *)"payload", 7);
}

static struct file make_pvh(void)
{
	return make_elf64(MAKE_LOAD);
}

static void test_truncated(void **state)
{
	cut(make_bz);
	cut(make_pvh);
	cut(make_elf32_multiboot);
	cut(make_multiboot_flat);
}

static void test_bzimage_names_what_is_missing(void **state)
{
	struct file f = make_bz();

	f.size -= 100;
	refused(f, "truncated");

	f = make_bz();
	store_le(f.data + SETUP_PAYLOAD_LENGTH, 0xfffffff0, 4);
	refused(f, "truncated");

	f = make_bz();
	store_le(f.data + SETUP_XLOADFLAGS, 0, 2);
	refused(f, "no 64-bit entry");
}

static void test_not_a_kernel(void **state)
{
	uint8_t disk[1024] = {};

	refused(bytes("\x1f\x8b\x08 etc.", 8), "looks like gzip data: unpack it with gunzip");
	refused(bytes("070701 cpio", 11), "--initrd");
	refused(bytes("#!/bin/sh\n", 10), "looks like a script");
	refused(bytes("hello", 5), "not a kernel");
	disk[510] = 0x55;
	disk[511] = 0xaa;
	refused(bytes(disk, sizeof(disk)), "looks like a disk image");
}

static void test_elf_that_is_no_kernel(void **state)
{
	struct file f = make_elf64(0);

	f.data[16] = 3; /* ET_DYN */
	refused(f, "looks like an ELF shared object");

	f = make_elf64(0);
	f.data[18] = 183; /* EM_AARCH64 */
	refused(f, "not x86");

	f = make_elf64(0);
	store_le(f.data + 64 + 24, 1ull << 40, 8); /* p_paddr */
	refused(f, "above 4 GiB");

	f = make_elf64(MAKE_LOAD + 0x10000);
	refused(f, "in none of its segments");
}

static void test_open_errors(void **state)
{
	struct kernel k;
	struct err e = {};

	assert_true(kernel_open("/nonexistent/vmlinuz", &k, &e) < 0);
	assert_non_null(strstr(e.text, "cannot open kernel '/nonexistent/vmlinuz'"));
	assert_non_null(strstr(e.text, "--kernel"));
	assert_true(kernel_open("/", &k, &e) < 0);
	assert_non_null(strstr(e.text, "is a directory"));
	assert_true(kernel_open("/dev/null", &k, &e) < 0);
	assert_non_null(strstr(e.text, "not a regular file"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bzimage),
		cmocka_unit_test(test_pvh),
		cmocka_unit_test(test_elf_without_note_enters_by_physical_address),
		cmocka_unit_test(test_multiboot),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_bzimage_names_what_is_missing),
		cmocka_unit_test(test_not_a_kernel),
		cmocka_unit_test(test_elf_that_is_no_kernel),
		cmocka_unit_test(test_open_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
