/* /dev/kvm: opening it, and whether its kernel has what this engine is built on. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "engine/kvm/kvm.h"

int kvm_ioctl(int fd, unsigned long request, void *arg)
{
	int rc;

	do
		rc = ioctl(fd, request, arg);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : rc;
}

int kvm_ioctl_n(int fd, unsigned long request, unsigned long arg)
{
	return kvm_ioctl(fd, request, (void *)arg);
}

int kvm_extension(int fd, unsigned which)
{
	int rc = kvm_ioctl_n(fd, KVM_CHECK_EXTENSION, which);

	return rc < 0 ? 0 : rc;
}

/* All of them are in Linux 4.12 and later. */
static const struct {
	unsigned which;
	const char *name;
} needed[] = {
	{KVM_CAP_SPLIT_IRQCHIP, "split interrupt controllers"},
	{KVM_CAP_IRQ_ROUTING, "interrupt routing"},
	{KVM_CAP_SIGNAL_MSI, "messages from user space"},
	{KVM_CAP_IRQFD, "irqfd"},
	{KVM_CAP_IOEVENTFD, "ioeventfd"},
	{KVM_CAP_IMMEDIATE_EXIT, "immediate exit"},
	{KVM_CAP_MP_STATE, "activity states"},
	{KVM_CAP_VCPU_EVENTS, "events"},
	{KVM_CAP_DEBUGREGS, "debug registers"},
	{KVM_CAP_XSAVE, "extended state"},
	{KVM_CAP_ADJUST_CLOCK, "a settable clock"},
	{KVM_CAP_READONLY_MEM, "read-only memory"},
};

static int open_failed(int code, struct err *e)
{
	switch (code) {
	case ENOENT:
	case ENXIO:
	case ENODEV:
		return err_set(e, ENODEV,
		               "this host has no /dev/kvm: load the module kvm_intel or kvm_amd "
		               "where the processor has virtualization");
	case EACCES:
	case EPERM:
		return err_set(e, code,
		               "no permission for /dev/kvm: add yourself to its group "
		               "(usermod -aG kvm USER) and log in again");
	default:
		return err_set(e, code, "cannot open /dev/kvm: %s", strerror(code));
	}
}

int kvm_dev_open(struct err *e)
{
	AUTO_FD int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int version;

	if (fd < 0)
		return open_failed(errno, e);
	version = kvm_ioctl_n(fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION)
		return err_set(e, ENOTSUP, "/dev/kvm speaks interface version %d, not %d", version,
		               KVM_API_VERSION);
	for (unsigned i = 0; i < ARRAY_LEN(needed); i++)
		if (kvm_extension(fd, needed[i].which) <= 0)
			return err_set(e, ENOTSUP,
			               "this kernel's KVM lacks %s: use Linux 4.12 or later",
			               needed[i].name);
	return take_fd(&fd);
}
