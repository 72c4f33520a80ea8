/*
 * Events of user mode: page faults with their error codes, demand paging, and the other exceptions that
 * every processor reports alike.
 */
#include "micro.h"

#define REGION 0x40000000ul /* mapped page by page, by us */
#define PAGES  16
#define HOLE   (REGION + 0x100000)
#define RO     (REGION + 0x101000)
#define KERNEL (REGION + 0x102000)
#define DATA   (REGION + 0x103000) /* not executable */
#define P      1ull
#define W      2ull
#define U      4ull
#define NX     (1ull << 63)

static uint64_t table[512] __attribute__((aligned(4096)));
static uint8_t frames[PAGES + 3][4096] __attribute__((aligned(4096)));
static uint8_t stack[8192] __attribute__((aligned(16)));
static unsigned demanded, stepped;

static struct {
	uint64_t vector, error, address;
	bool user;
} seen[32];
static unsigned events;

static void map(uint64_t address, void *frame, uint64_t flags)
{
	table[(address - REGION) / 4096] = (uintptr_t)frame | flags;
}

static uint64_t fault_address(void)
{
	uint64_t cr2;

	__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
	return cr2;
}

/* Pages of the region come with their first use; other faults go on at r11. */
void on_event(struct event *e)
{
	uint64_t address = e->vector == 14 ? fault_address() : 0;

	if (e->vector == 1) {
		stepped++;
		e->rflags &= ~0x100ull; /* TF */
		return;
	}
	if (e->vector == 14 && address - REGION < PAGES * 4096ul) {
		map(address & ~4095ull, frames[demanded], P | W | U);
		demanded++;
		if (e->error != 6)
			print_number("demand: error code", e->error);
		return;
	}
	if (events < sizeof(seen) / sizeof(seen[0])) {
		seen[events].vector = e->vector;
		seen[events].error = e->error;
		seen[events].address = address;
		seen[events].user = e->cs & 3;
		events++;
	}
	e->rip = e->r11;
}

/* One instruction that faults, with its operand in rax. */
#define TRY(insn, operand)                                    \
	__asm__ volatile("lea 1f(%%rip), %%r11; " insn "; 1:" \
	                 :                                    \
	                 : "a"(operand)                       \
	                 : "rcx", "rdx", "r11", "cc", "memory")

static void work(void)
{
	volatile uint8_t *page = (volatile uint8_t *)REGION;

	for (unsigned i = 0; i < PAGES; i++)
		page[i * 4096] = (uint8_t)(i + 1);
	TRY("mov (%%rax), %%cl", HOLE);
	TRY("mov %%cl, (%%rax)", HOLE + 5);
	TRY("mov %%cl, (%%rax)", RO);
	TRY("mov (%%rax), %%cl", KERNEL);
	TRY("jmp *%%rax", DATA);
	TRY("mov (%%rax), %%cl", 0x8000000000000000ul);
	TRY("hlt", 0ul);
	TRY("in $0x60, %%al", 0ul);
	TRY("ud2", 0ul);
	TRY("xor %%edx, %%edx; xor %%ecx, %%ecx; div %%ecx", 1ul);
	__asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq; nop; nop" : : : "cc", "memory");
	__asm__ volatile("int3");
}

static const struct {
	const char *name;
	uint64_t vector, error, address;
} wanted[] = {
	{"read where nothing is", 14, 4, HOLE},
	{"write where nothing is", 14, 6, HOLE + 5},
	{"write to a read-only page", 14, 7, RO},
	{"read of a kernel's page", 14, 5, KERNEL},
	{"code in a data page", 14, 0x15, DATA},
	{"address that is not canonical", 13, 0, 0},
	{"HLT", 13, 0, 0},
	{"port", 13, 0, 0},
	{"UD2", 6, 0, 0},
	{"division by zero", 0, 0, 0},
};

void second(void)
{
}

int main(void)
{
	unsigned total = 0;

	pd[REGION >> 21] = (uintptr_t)table | P | W | U;
	map(RO, frames[PAGES], P | U);
	map(KERNEL, frames[PAGES + 1], P | W);
	map(DATA, frames[PAGES + 2], P | W | U | NX);
	flush_tlb();
	user(work, stack + sizeof(stack));
	for (unsigned i = 0; i < PAGES; i++)
		total += frames[i][0];
	check("pages on demand", demanded, PAGES);
	check("their contents", total, PAGES * (PAGES + 1) / 2);
	for (unsigned i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		if (seen[i].vector != wanted[i].vector || seen[i].error != wanted[i].error ||
		    !seen[i].user)
			check(wanted[i].name, seen[i].vector << 8 | seen[i].error,
			      wanted[i].vector << 8 | wanted[i].error);
		else
			check(wanted[i].name, seen[i].address, wanted[i].address);
	check("no others", events, sizeof(wanted) / sizeof(wanted[0]));
	check("single step", stepped, 1);
	return failures();
}
