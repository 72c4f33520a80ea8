/* The probe's guest: its memory, its code, its modes. */
#include "engine/kvm/tiny.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

__asm__(".pushsection .rodata\n"
        ".globl tiny_code, tiny_code_end, tiny_to_user, tiny_syscall, tiny_protected, tiny_user\n"
        "tiny_code:\n"
        "tiny_to_user:\n"
        "	iretq\n"
        "tiny_user:\n"
        "	syscall\n"
        "	ud2\n"
        "tiny_syscall:\n"
        "	mov %cs, %eax\n"
        "	out %al, $0x11\n"
        "	ud2\n"
        "tiny_protected:\n"
        "	out %al, $0x12\n"
        "	ud2\n"
        ".globl tiny_loop\n"
        "tiny_loop:\n"
        "1:	dec %ecx\n"
        "	jnz 1b\n"
        "	out %al, $0x10\n"
        "	ud2\n"
        "tiny_code_end:\n"
        ".popsection\n");

#define PML4    0x1000
#define PDPT    0x2000
#define PD      0x3000
#define PD32    0x4000
#define GDT     0x5000
#define ENTRY   0x87 /* present, writable, for users, 2 or 4 MiB where it is a page's */
#define POINTER 0x07

/* Selectors as Linux has them; hosts that are not quite hardware expect these. */
#define KERNEL_CS 0x10
#define KERNEL_SS 0x18
#define USER_SS   0x2b
#define USER_CS   0x33

#define MSR_STAR  0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_FMASK 0xc0000084

static const uint64_t gdt[] = {
	[KERNEL_CS / 8] = 0x00af9b000000ffff, /* 64-bit code, privilege 0 */
	[KERNEL_SS / 8] = 0x00cf93000000ffff,
	[USER_SS / 8] = 0x00cff3000000ffff,
	[USER_CS / 8] = 0x00affb000000ffff,
};

static uint64_t address(const uint8_t *piece)
{
	return TINY_CODE + (uint64_t)(piece - tiny_code);
}

static void put(struct tiny *t, uint64_t at, uint64_t value)
{
	memcpy(t->memory + at, &value, sizeof(value));
}

static void fill_memory(struct tiny *t)
{
	/* What IRETQ takes: RIP, CS, RFLAGS, RSP, SS */
	const uint64_t frame[] = {address(tiny_user), USER_CS, FLAG_FIXED, TINY_STACK, USER_SS};

	put(t, PML4, PDPT | POINTER);
	put(t, PDPT, PD | POINTER);
	put(t, PD, ENTRY);
	put(t, PD32, ENTRY);
	memcpy(t->memory + GDT, gdt, sizeof(gdt));
	memcpy(t->memory + TINY_STACK, frame, sizeof(frame));
	memcpy(t->memory + TINY_CODE, tiny_code, (size_t)(tiny_code_end - tiny_code));
}

static int open_cpu(struct tiny *t)
{
	int rc = kvm_ioctl_n(t->vm, KVM_CREATE_VCPU, 0);
	void *p;

	if (rc < 0)
		return rc;
	t->cpu = rc;
	rc = kvm_ioctl_n(t->dev, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (rc < (int)sizeof(struct kvm_run))
		return -EIO;
	p = mmap(NULL, (size_t)rc, PROT_READ | PROT_WRITE, MAP_SHARED, t->cpu, 0);
	if (p == MAP_FAILED)
		return -errno;
	t->run = p;
	t->run_size = (size_t)rc;
	return kvm_cpuid_set_host(t->dev, t->cpu);
}

static int open_vm(struct tiny *t)
{
	struct kvm_userspace_memory_region region = {.memory_size = TINY_MEMORY};
	void *p;
	int rc = kvm_ioctl_n(t->dev, KVM_CREATE_VM, 0);

	if (rc < 0)
		return rc;
	t->vm = rc;
	p = mmap(NULL, TINY_MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	t->memory = p;
	fill_memory(t);
	region.userspace_addr = (uintptr_t)p;
	rc = kvm_ioctl_n(t->vm, KVM_SET_TSS_ADDR, 0xfeffd000);
	if (rc == 0)
		rc = kvm_ioctl(t->vm, KVM_SET_USER_MEMORY_REGION, &region);
	return rc < 0 ? rc : open_cpu(t);
}

int tiny_open(struct tiny *t, struct err *e)
{
	int rc = kvm_dev_open(e);

	*t = (struct tiny){.dev = rc, .vm = -1, .cpu = -1};
	if (rc < 0)
		return rc;
	rc = open_vm(t);
	if (rc < 0) {
		tiny_close(t);
		return err_set(e, -rc, "/dev/kvm makes no virtual machine: %s", strerror(-rc));
	}
	return 0;
}

void tiny_close(struct tiny *t)
{
	if (t->run)
		munmap(t->run, t->run_size);
	if (t->cpu >= 0)
		close(t->cpu);
	if (t->vm >= 0)
		close(t->vm);
	if (t->memory)
		munmap(t->memory, TINY_MEMORY);
	if (t->dev >= 0)
		close(t->dev);
	*t = (struct tiny){.dev = -1, .vm = -1, .cpu = -1};
}

static int set_msrs(struct tiny *t)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry[3];
	} m = {
		.head.nmsrs = 3,
		.entry = {{.index = MSR_STAR, .data = (uint64_t)KERNEL_CS << 32},
	                  {.index = MSR_LSTAR, .data = address(tiny_syscall)},
	                  {.index = MSR_FMASK, .data = FLAG_IF | FLAG_TF}},
	};

	return kvm_ioctl(t->cpu, KVM_SET_MSRS, &m) == 3 ? 0 : -EINVAL;
}

int tiny_set(struct tiny *t, const uint8_t *piece, bool is_64bit, uint64_t rcx)
{
	struct kvm_regs regs = {
		.rip = address(piece), .rsp = TINY_STACK, .rcx = rcx, .rflags = FLAG_FIXED};
	struct kvm_segment segment = {
		.limit = UINT32_MAX, .present = 1, .s = 1, .g = 1, .db = 1, .type = 3};
	struct kvm_sregs s;
	int rc = kvm_ioctl(t->cpu, KVM_GET_SREGS, &s);

	if (rc < 0)
		return rc;
	segment.selector = KERNEL_SS;
	s.ds = s.es = s.fs = s.gs = s.ss = segment;
	segment.selector = KERNEL_CS;
	segment.type = 0xb;
	segment.l = is_64bit;
	segment.db = !is_64bit;
	s.cs = segment;
	s.gdt.base = GDT;
	s.gdt.limit = sizeof(gdt) - 1;
	s.idt.limit = 0; /* any exception is the end */
	s.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
	s.cr3 = is_64bit ? PML4 : PD32;
	s.cr4 = is_64bit ? CR4_PAE : CR4_PSE;
	s.efer = is_64bit ? EFER_LME | EFER_LMA | EFER_SCE : 0;
	rc = kvm_ioctl(t->cpu, KVM_SET_SREGS, &s);
	if (rc == 0)
		rc = kvm_ioctl(t->cpu, KVM_SET_REGS, &regs);
	return rc < 0 ? rc : set_msrs(t);
}

int tiny_run(struct tiny *t, uint16_t port, uint32_t *eax)
{
	struct kvm_regs regs;
	int rc;

	if (ioctl(t->cpu, KVM_RUN, 0) < 0)
		return -errno;
	if (t->run->exit_reason != KVM_EXIT_IO || t->run->io.port != port)
		return -EPROTO;
	rc = eax ? kvm_ioctl(t->cpu, KVM_GET_REGS, &regs) : 0;
	if (rc == 0 && eax)
		*eax = (uint32_t)regs.rax;
	return rc;
}
