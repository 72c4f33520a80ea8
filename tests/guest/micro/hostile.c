/*
 * What no kernel in its right mind does, and what becomes of it: wild jumps and stacks, code where there is
 * none, in the page tables, under the hands of another processor.
 */
#include "micro.h"

#define REGION  0x40000000ul /* mapped page by page, by us */
#define NOWHERE 0xd0000000ul /* no device there */
#define TOP     0x00007ffffffff000ul
#define SPARSE  0x0000010000000000ul
#define STEP    0x1000000ul
#define STEPS   40000
#define ROUNDS  400
#define P       1ull
#define W       2ull
#define U       4ull
#define PS      0x80ull
#define NX      (1ull << 63)

typedef uint64_t table_t[512] __attribute__((aligned(4096)));

static table_t table, cycle, top[3], sparse[2];
static uint8_t frame[4][4096] __attribute__((aligned(4096)));
static uint8_t stack[8192] __attribute__((aligned(16)));

static struct {
	uint64_t vector, error, address, rip;
} seen;
static unsigned events;

static uint64_t fault_address(void)
{
	uint64_t cr2;

	__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
	return cr2;
}

/* Goes on at r11. */
void on_event(struct event *e)
{
	events++;
	seen.vector = e->vector;
	seen.error = e->error;
	seen.address = e->vector == 14 ? fault_address() : 0;
	seen.rip = e->rip;
	e->rip = e->r11;
}

static uint64_t *pml4(void)
{
	uint64_t cr3;

	__asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
	return (uint64_t *)(cr3 & ~4095ul);
}

static void map(unsigned page, const void *to, uint64_t flags)
{
	table[page] = (uintptr_t)to | flags;
	__asm__ volatile("invlpg (%0)" : : "r"(REGION + page * 4096ul) : "memory");
}

static void copy(uint8_t *to, const void *from, size_t n)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

static unsigned call(uint64_t at)
{
	unsigned result = 0;

	__asm__ volatile("lea 1f(%%rip), %%r11; mov %%rsp, %%r10; call *%2; 1: mov %%r10, %%rsp"
	                 : "+a"(result)
	                 : "c"(0ul), "r"(at)
	                 : "r10", "r11", "cc", "memory");
	return result;
}

/* One event in user mode: op has its operand in rax, and what becomes of the stack does not matter. */
#define WILD(op, operand)                                  \
	__asm__ volatile("lea 1f(%%rip), %%r11\n"          \
	                 "	mov %%rsp, %%r10\n"             \
	                 "	mov %%rbp, %%r8\n" op "\n" \
	                 "1:	mov %%r10, %%rsp\n"           \
	                 "	mov %%r8, %%rbp"                \
	                 :                                 \
	                 : "a"(operand)                    \
	                 : "rcx", "r8", "r10", "r11", "cc", "memory")

static struct {
	uint64_t vector, error, address;
} user_seen[16];
static unsigned users;

static void note(void)
{
	user_seen[users].vector = seen.vector;
	user_seen[users].error = seen.error;
	user_seen[users].address = seen.address;
	users++;
}

static void wild(void)
{
	WILD("jmp *%%rax", 1ul << 62);
	note();
	WILD("push %%rax; ret", 0x0000800000000000ul);
	note();
	WILD("jmp *%%rax", REGION + 0x5123);
	note();
	WILD("mov %%rax, %%rsp; push %%rcx", 0x0000900000000000ul);
	note();
	WILD("mov %%rax, %%rsp; pop %%rcx", REGION + 0x5ff8);
	note();
	WILD("mov %%rax, %%rsp; call 1f", REGION + 0x6000);
	note();
	WILD("mov %%rax, %%rsp; push %%rcx", 0ul);
	note();
	WILD("mov %%rax, %%rsp; pushfq", REGION + 0x5004);
	note();
	WILD("mov %%rax, %%rbp; mov (%%rbp), %%rcx", 0x7fff000000000000ul);
	note();
	WILD("jmp *%%rax", NOWHERE);
	note();
	WILD("jmp *%%rax", TOP + 0xffe);
	note();
	/* Sixteen bytes. */
	WILD(".fill 15, 1, 0x66; nop", 0ul);
	note();
}

/* Often enough for a translator, then once to be looked at. */
static void wilds(void)
{
	for (unsigned i = 0; i < 50; i++) {
		users = 0;
		wild();
	}
	__asm__ volatile("int3");
}

static const struct {
	const char *name;
	uint64_t vector, error, address;
} wanted[] = {
	{"jump to no address", 13, 0, 0},
	{"return to no address", 13, 0, 0},
	{"jump to no page", 14, 0x14, REGION + 0x5123},
	{"PUSH to no address", 12, 0, 0},
	{"POP from no page", 14, 4, REGION + 0x5ff8},
	{"CALL with no stack", 14, 6, REGION + 0x5ff8},
	{"PUSH below zero", 14, 6, -8ul},
	{"PUSHF over the edge", 14, 6, REGION + 0x4ffc},
	{"RBP at no address", 12, 0, 0},
	{"code where nothing answers", 6, 0, 0},
	{"code that runs off the end of addresses", 13, 0, 0},
	{"an instruction that is too long", 13, 0, 0},
};

static void check_wild(void)
{
	static const uint8_t nops[2] = {0x90, 0x90};

	pml4()[255] = (uintptr_t)top[0] | P | W | U;
	top[0][511] = (uintptr_t)top[1] | P | W | U;
	top[1][511] = (uintptr_t)top[2] | P | W | U;
	top[2][511] = (uintptr_t)frame[3] | P | W | U;
	copy(frame[3] + 0xffe, nops, sizeof(nops));
	user(wilds, stack + sizeof(stack));
	for (unsigned i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		if (user_seen[i].vector != wanted[i].vector ||
		    user_seen[i].error != wanted[i].error)
			check(wanted[i].name, user_seen[i].vector << 8 | user_seen[i].error,
			      wanted[i].vector << 8 | wanted[i].error);
		else
			check(wanted[i].name, user_seen[i].address, wanted[i].address);
	check("the end of addresses", users, sizeof(wanted) / sizeof(wanted[0]));
}

/*
 * The page table is code: its first entry is RET until the page that it maps is used; then the accessed
 * bit makes JRCXZ of it, to the third entry.
 */
static void check_table_as_code(void)
{
	unsigned before = 0, after = 0;

	table[2] = 0xc307b0ul << 16; /* mov $7, %al; ret in bytes 2 to 4 */
	map(1, table, P | W);
	for (unsigned i = 0; i < ROUNDS; i++) {
		map(0, (void *)0x1000, 0xc3);
		before += call(REGION + 0x1000);
		__asm__ volatile("mov (%0), %%al" : : "r"(REGION) : "rax", "memory");
		after += call(REGION + 0x1000);
	}
	check("page table as code", before, 0);
	check("page table as code that its use has changed", after, 7 * ROUNDS);
}

/* An instruction whose end lies in another page, which is not there or changes. */
static void check_cross(void)
{
	static const uint8_t code[] = {0xb8, 1, 0, 0, 0, 0xc3}; /* mov $1, %eax; ret */
	unsigned total = 0;

	copy(frame[0] + 0xffe, code, 2);
	copy(frame[1], code + 2, 4);
	copy(frame[2], code + 2, 4);
	frame[2][0] = 1;
	map(3, frame[0], P | W);
	map(4, NULL, 0);
	call(REGION + 0x3ffe);
	check("code over the edge: address", seen.address, REGION + 0x4000);
	check("code over the edge: error code", seen.error, 0x10);
	for (unsigned i = 0; i < ROUNDS; i++) {
		map(4, frame[1 + i % 2], P | W);
		total += call(REGION + 0x3ffe);
	}
	check("code over the edge that changes", total, ROUNDS / 2 * (1 + 0x101));
	map(4, frame[1], P | W | NX);
	events = 0;
	call(REGION + 0x3ffe);
	check("code over the edge that may not be executed", seen.error << 8 | events, 0x1101);
}

/* Each turn of the loop changes the next instruction. */
static void check_modifying(void)
{
	unsigned total = 0, left = 1000;

	__asm__ volatile("1:	incl 2f+1(%%rip)\n"
	                 "2:	mov $0, %%eax\n"
	                 "	add %%eax, %0\n"
	                 "	dec %1\n"
	                 "	jnz 1b"
	                 : "+r"(total), "+r"(left)
	                 :
	                 : "rax", "cc", "memory");
	check("a loop that changes itself", total, 1000 * 1001 / 2);
}

/* The top table maps itself, at each level. */
static void check_cycle(void)
{
	uint64_t at = 0xffff000000000000ul, *t = pml4();

	for (unsigned shift = 12; shift <= 39; shift += 9)
		at |= 510ul << shift;
	t[510] = (uintptr_t)t | P | W | U;
	check("a table that maps itself", ((volatile uint64_t *)at)[0] & ~0xffful, t[0] & ~0xffful);
	((volatile uint64_t *)at)[300] = (uintptr_t)cycle | P | W;
	cycle[0] = (uintptr_t)cycle | P | W;
	check("and one that it made", *(volatile uint64_t *)0xffff960000000000ul & ~0xffful,
	      (uintptr_t)cycle);
}

/* More places than a host has mappings for. */
static void check_sparse(void)
{
	uint64_t *t = pml4(), total = 0;

	t[SPARSE >> 39] = t[(SPARSE >> 39) + 1] = (uintptr_t)sparse[0] | P | W;
	for (unsigned i = 0; i < 512; i++) {
		sparse[0][i] = (uintptr_t)sparse[1] | P | W;
		sparse[1][i] = ((uintptr_t)frame & ~0x1ffffful) | P | W | PS;
	}
	frame[0][0] = 3;
	for (unsigned i = 0; i < STEPS; i++)
		total += *(volatile uint8_t *)(SPARSE + i * STEP + ((uintptr_t)frame & 0x1fffff));
	check("many places", total, 3 * STEPS);
	check("and the first again", *(volatile uint8_t *)(SPARSE + ((uintptr_t)frame & 0x1fffff)),
	      3);
}

/* Another processor writes code that this one executes. */
static volatile unsigned written, executed;
static uint8_t shared[64] __attribute__((aligned(64)));

void second(void)
{
	for (unsigned i = 1; i <= ROUNDS; i++) {
		*(volatile uint32_t *)(shared + 1) = i;
		written = i;
		while (executed != i)
			__asm__ volatile("pause");
	}
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void check_other_writes(void)
{
	static const uint8_t code[] = {0xb8, 0, 0, 0, 0, 0xc3};
	unsigned wrong = 0;

	copy(shared, code, sizeof(code));
	start_second();
	for (unsigned i = 1; i <= ROUNDS; i++) {
		while (written != i) {
			unsigned now = call((uintptr_t)shared);

			wrong += now != i && now != i - 1;
		}
		wrong += call((uintptr_t)shared) != i;
		executed = i;
	}
	check("code that another processor writes", wrong, 0);
}

int main(void)
{
	pd[REGION >> 21] = (uintptr_t)table | P | W | U;
	flush_tlb();
	check_wild();
	check_table_as_code();
	check_cross();
	check_modifying();
	check_cycle();
	check_sparse();
	check_other_writes();
	return failures();
}
