/*
 * Micro-guests: small kernels that check one part of a computer each and print what they found, so that
 * engines can be compared.  They run where KVM itself emulates the kernel's half of a guest, too: general
 * registers only at privilege 0, few instructions there, to user mode by IRETQ and back by INT3.
 *
 * A guest is main() and what it needs of on_event() and second().
 */
#ifndef TESTS_GUEST_MICRO_MICRO_H
#define TESTS_GUEST_MICRO_MICRO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KERNEL_CS 0x10
#define KERNEL_SS 0x18

/* What the processor and the entry pushed. */
struct event {
	uint64_t r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};

/* Returns the exit code: 0 all is well. */
int main(void);
/* An event other than INT3 of user mode, which ends user().  Interrupts are off. */
void on_event(struct event *e);
/* Processor 1 comes here after start_second(). */
void second(void);

/* start.S */
void end(int code) __attribute__((noreturn));
void user(void (*fn)(void), void *stack_top);
extern uint64_t pd[2048]; /* the map: 2 MiB a word */

/* micro.c */
void print(const char *text);
void print_number(const char *name, uint64_t value);         /* "name value\n", in hexadecimal */
bool check(const char *name, uint64_t got, uint64_t wanted); /* prints "ok" or the difference */
int failures(void);
void gates_init(void); /* start.S has called it */
void start_second(void);

/* The local APIC's registers, by offset. */
#define APIC_ID    0x20
#define APIC_TPR   0x80
#define APIC_EOI   0xb0
#define APIC_SVR   0xf0
#define APIC_ICR   0x300
#define APIC_ICR2  0x310
#define APIC_LVTT  0x320
#define APIC_LINT0 0x350
#define APIC_TMICT 0x380
#define APIC_TMCCT 0x390
#define APIC_TDCR  0x3e0

static inline volatile uint32_t *apic(unsigned reg)
{
	return (volatile uint32_t *)(uintptr_t)(0xfee00000u + reg);
}

static inline void apic_on(void)
{
	*apic(APIC_SVR) = 0x1ff;
}

static inline void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline void outl(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint32_t inl(uint16_t port)
{
	uint32_t v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)));
}

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return low | (uint64_t)high << 32;
}

static inline void flush_tlb(void)
{
	uint64_t cr3;

	__asm__ volatile("mov %%cr3, %0; mov %0, %%cr3" : "=r"(cr3) : : "memory");
}

/* Halts until *count is at least n; interrupts are off before and after. */
static inline void halt_until(volatile unsigned *count, unsigned n)
{
	while (*count < n)
		__asm__ volatile("sti; hlt; cli" : : : "memory");
}

#endif
