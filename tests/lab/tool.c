/*
 * What the lab needs beside shell and busybox.
 *
 *   tool khz    prints the frequency of this computer's time stamp counter
 *   tool hold   keeps a virtual machine open, in the background
 *
 * Why "hold": the kernel patches its own code when the first virtual machine of some kind comes and when
 * the last one goes, and QEMU 7.2 with several processors can go on with a stale translation of the
 * breakpoint that is there meanwhile: the lab host hangs.  While one machine stays, nothing is patched.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define APIC_BASE_ENABLE (1u << 11)

static int hold(void)
{
	struct kvm_sregs s;
	int kvm, chip, bare, off;

	/* The kinds: a local APIC that software switched off, one that hardware did, none in the kernel. */
	kvm = open("/dev/kvm", O_RDWR);
	chip = ioctl(kvm, KVM_CREATE_VM, 0);
	bare = ioctl(kvm, KVM_CREATE_VM, 0);
	if (ioctl(chip, KVM_CREATE_IRQCHIP, 0) < 0 || ioctl(chip, KVM_CREATE_VCPU, 0) < 0 ||
	    ioctl(bare, KVM_CREATE_VCPU, 0) < 0)
		goto fail;
	off = ioctl(chip, KVM_CREATE_VCPU, 1);
	if (ioctl(off, KVM_GET_SREGS, &s) < 0)
		goto fail;
	s.apic_base &= ~(uint64_t)APIC_BASE_ENABLE;
	if (ioctl(off, KVM_SET_SREGS, &s) < 0)
		goto fail;
	if (fork() == 0) {
		for (;;)
			pause();
	}
	return 0;
fail:
	perror("tool hold");
	return 1;
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* The counter and the clock at one moment: the try in which reading them took least counts. */
static void sample(uint64_t *tsc, uint64_t *ns)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 100; i++) {
		uint64_t before = now(), t = __rdtsc(), took = now() - before;

		if (took < best) {
			best = took;
			*tsc = t;
			*ns = before + took / 2;
		}
	}
}

static int khz(void)
{
	uint64_t t0, t1, n0, n1;

	sample(&t0, &n0);
	usleep(200000);
	sample(&t1, &n1);
	printf("%.0f\n", (t1 - t0) * 1e6 / (n1 - n0));
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "hold") == 0)
		return hold();
	if (argc == 2 && strcmp(argv[1], "khz") == 0)
		return khz();
	fprintf(stderr, "usage: tool khz | hold\n");
	return 2;
}
