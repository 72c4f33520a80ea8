#include "image_make.h"

#include <elf.h>
#include <string.h>

#include "dev/firmware/blob.h"
#include "image/bzimage.h"

static struct file as_file(struct blob *b)
{
	return (struct file){b->data, b->len};
}

struct file make_bzimage(const uint8_t *payload, size_t len)
{
	size_t setup = 5 * 512, code = align_up(1024 + len, 16);
	struct blob b = {};
	uint8_t *d;

	blob_zero(&b, setup + code);
	d = b.data;
	d[SETUP_SECTS] = 4;
	store_le(d + SETUP_SYSSIZE, code / 16, 4);
	store_le(d + SETUP_BOOT_FLAG, 0xaa55, 2);
	store_le(d + SETUP_JUMP, 0x6aeb, 2);
	memcpy(d + SETUP_HEADER, "HdrS", 4);
	store_le(d + SETUP_VERSION, 0x020f, 2);
	d[SETUP_LOADFLAGS] = 1;
	store_le(d + SETUP_INITRD_ADDR_MAX, 0x7fffffff, 4);
	store_le(d + SETUP_KERNEL_ALIGNMENT, 0x200000, 4);
	d[SETUP_RELOCATABLE] = 1;
	store_le(d + SETUP_XLOADFLAGS, 1, 2);
	store_le(d + SETUP_CMDLINE_SIZE, 2047, 4);
	store_le(d + SETUP_PAYLOAD_OFFSET, 1024, 4);
	store_le(d + SETUP_PAYLOAD_LENGTH, len, 4);
	store_le(d + SETUP_PREF_ADDRESS, 0x1000000, 8);
	store_le(d + SETUP_INIT_SIZE, 0x400000, 4);
	memcpy(d + setup + 0x200, MAKE_CODE, 4);
	if (len)
		memcpy(d + setup + 1024, payload, len);
	return as_file(&b);
}

struct file make_elf64(uint32_t note_entry)
{
	Elf64_Ehdr h = {
		.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_entry = 0xffffffff80000000ull + MAKE_LOAD,
		.e_phoff = sizeof(h),
		.e_ehsize = sizeof(h),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = note_entry ? 2 : 1,
	};
	Elf64_Phdr load = {
		.p_type = PT_LOAD,
		.p_offset = 0x200,
		.p_vaddr = 0xffffffff80000000ull + MAKE_LOAD,
		.p_paddr = MAKE_LOAD,
		.p_filesz = 4,
		.p_memsz = 0x2000,
	};
	Elf64_Phdr note = {.p_type = PT_NOTE, .p_offset = 0x180, .p_filesz = 20};
	struct blob b = {};

	blob_put(&b, &h, sizeof(h));
	blob_put(&b, &load, sizeof(load));
	blob_put(&b, &note, sizeof(note));
	blob_zero(&b, 0x180 - b.len);
	blob_u32(&b, 4);
	blob_u32(&b, 4);
	blob_u32(&b, 18);
	blob_put(&b, "Xen", 4);
	blob_u32(&b, note_entry);
	blob_zero(&b, 0x200 - b.len);
	blob_put(&b, MAKE_CODE, 4);
	return as_file(&b);
}

static void put_multiboot_header(struct blob *b, uint32_t flags)
{
	blob_u32(b, 0x1badb002);
	blob_u32(b, flags);
	blob_u32(b, -(0x1badb002 + flags));
}

struct file make_elf32_multiboot(void)
{
	Elf32_Ehdr h = {
		.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
		.e_type = ET_EXEC,
		.e_machine = EM_386,
		.e_version = EV_CURRENT,
		.e_entry = MAKE_LOAD + 12,
		.e_phoff = sizeof(h),
		.e_ehsize = sizeof(h),
		.e_phentsize = sizeof(Elf32_Phdr),
		.e_phnum = 1,
	};
	Elf32_Phdr load = {
		.p_type = PT_LOAD,
		.p_offset = 0x100,
		.p_vaddr = MAKE_LOAD,
		.p_paddr = MAKE_LOAD,
		.p_filesz = 16,
		.p_memsz = 0x3000,
	};
	struct blob b = {};

	blob_put(&b, &h, sizeof(h));
	blob_put(&b, &load, sizeof(load));
	blob_zero(&b, 0x100 - b.len);
	put_multiboot_header(&b, 3);
	blob_put(&b, MAKE_CODE, 4);
	return as_file(&b);
}

struct file make_multiboot_flat(void)
{
	struct blob b = {};

	blob_zero(&b, 64); /* something in front of what is loaded */
	put_multiboot_header(&b, 0x10003);
	blob_u32(&b, MAKE_LOAD);          /* header */
	blob_u32(&b, MAKE_LOAD);          /* load */
	blob_u32(&b, MAKE_LOAD + 36);     /* end of data */
	blob_u32(&b, MAKE_LOAD + 0x4000); /* end of bss */
	blob_u32(&b, MAKE_LOAD + 32);     /* entry */
	blob_put(&b, MAKE_CODE, 4);
	return as_file(&b);
}
