/*
 * The validator: pieces of code as the translator could have made them, good ones, and for each rule one
 * that breaks it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "engine/soft/validate.h"

#define START 64
#define ROOM  4096

/* Operands by GS, as native.c has them. */
#define STATE_OF(name, field) [name] "i"(FLAT_STATE + (long)offsetof(struct soft_cpu, field))
#define HASH_OF(name, field)  [name] "i"(FLAT_HASH + (long)offsetof(struct flat_hash, field))
#define OPERANDS                                                                             \
	STATE_OF(page, native.page_mask), STATE_OF(piece8, native.chunk_mask[2]),            \
		STATE_OF(piece4, native.chunk_mask[1]), STATE_OF(page_low, native.page_low), \
		STATE_OF(cross, native.cross_mask), STATE_OF(hash, native.hash_mask),        \
		STATE_OF(exit, native.exit), STATE_OF(exit_hash, native.exit_hash),          \
		STATE_OF(fallback, native.fallback), STATE_OF(callee, native.callee),        \
		STATE_OF(target, native.target), STATE_OF(page_rip, native.page_rip),        \
		STATE_OF(vec_load, native.vec_load), STATE_OF(r12, gpr[12]),                 \
		STATE_OF(r13, gpr[13]), STATE_OF(r15, gpr[15]), STATE_OF(self, native.self), \
		STATE_OF(cr3, cr3), HASH_OF(rip, minus_rip), HASH_OF(code, code)

/*
 * name_code..name_end; name_access, name_stub, name_out when they are there.  The block's entries are its
 * first bytes.
 */
#define CODE(name, text)                                                                    \
	extern const uint8_t name##_code[], name##_end[];                                   \
	extern const uint8_t name##_access[] __attribute__((weak));                         \
	__attribute__((naked, used)) static void name##_holder(void)                        \
	{                                                                                   \
		asm volatile(".globl " #name "_code, " #name "_end\n" #name "_code:\n\t"    \
		             ".byte 0x0f, 0x1f, 0x44, 0, 0\n\t" text "\n" #name "_end:\n\t" \
		             :                                                              \
		             : OPERANDS);                                                   \
	}

#define ACCESS_AT(name) "\n.weak " #name "_access\n" #name "_access:\n\t"
#define PAGE(ea)        "pext %%gs:%c[page], %%" ea ", %%rcx\n\t"
#define TABLE           "mov %%gs:0(,%%rcx,8), %%rcx\n\t"
#define LEAVE           "xor %%r15d, %%r15d\n\tmov $0, %%r14d\n\tjmp *%%gs:%c[exit]\n\t"
#define BYTE_ACCESS(ea) "movb $1, (%%" ea ",%%rcx)\n\t"

CODE(leaves, LEAVE)
CODE(byte, PAGE("rax") TABLE ACCESS_AT(byte) BYTE_ACCESS("rax") LEAVE)
#define IN_LAST(size) \
	"pext %%gs:%c[piece" #size "], %%rax, %%rcx\n\tlea 1-4096/" #size "(%%rcx), %%rcx\n\t"
/* As the translator looks for the page's end, with the second look out of line. */
CODE(aligned, IN_LAST(8) "jrcxz 2f\n1:\n\t" PAGE("rax") TABLE ACCESS_AT(
		      aligned) "mov %%rdx, (%%rax,%%rcx)\n\t" LEAVE
                               "2: pext %%gs:%c[page_low], %%rax, %%rcx\n\tlea 7(%%rcx), %%rcx\n\t"
                               "pext %%gs:%c[cross], %%rcx, %%rcx\n\tjrcxz 1b\n\t" LEAVE)
CODE(by_host, PAGE("rax") TABLE ACCESS_AT(by_host) "addps (%%rax,%%rcx), %%xmm3\n\t" LEAVE)
CODE(by_hash,
     "pext %%gs:%c[hash], %%r15, %%r14\n\tmov %%gs:%c[rip](,%%r14,8), %%rcx\n\t"
     "lea (%%rcx,%%r15), %%rcx\n\tjrcxz 1f\n\t" LEAVE "1: jmp *%%gs:%c[code](,%%r14,8)\n\t")
CODE(poll, "mov %%gs:%c[hash], %%rcx\n\tjrcxz 1f\n1:\n\t" LEAVE)
CODE(call, "mov %%gs:%c[exit_hash], %%rcx\n\tmov %%rcx, %%gs:%c[callee]\n\t"
           "mov %%gs:%c[target], %%r15\n\tjmp *%%gs:%c[callee]\n\t")
CODE(vector, "lea 1f(%%rip), %%r15\n\tjmp *%%gs:%c[vec_load]\n1:\n\t" LEAVE)
CODE(links, "2: jmp 1f\n\t.byte 0xe9\n\t.long 0\n1: jne 2b\n\t" LEAVE)

CODE(wild, BYTE_ACCESS("rax") LEAVE)
CODE(one_register, "movb $1, (%%rax)\n\t" LEAVE)
CODE(displaced, PAGE("rax") TABLE ACCESS_AT(displaced) "movb $1, 1(%%rax,%%rcx)\n\t" LEAVE)
CODE(other_register, PAGE("rax") TABLE ACCESS_AT(other_register) BYTE_ACCESS("rbx") LEAVE)
CODE(changed, PAGE("rax") TABLE "inc %%rax\n\t" ACCESS_AT(changed) BYTE_ACCESS("rax") LEAVE)
CODE(half_changed,
     PAGE("rax") TABLE "mov $1, %%ah\n\t" ACCESS_AT(half_changed) BYTE_ACCESS("rax") LEAVE)
CODE(addend_changed,
     PAGE("rax") TABLE "dec %%rcx\n\t" ACCESS_AT(addend_changed) BYTE_ACCESS("rax") LEAVE)
CODE(between, PAGE("rax") "inc %%rax\n\t" TABLE ACCESS_AT(between) BYTE_ACCESS("rax") LEAVE)
CODE(no_page, "mov %%rax, %%rcx\n\t" TABLE ACCESS_AT(no_page) BYTE_ACCESS("rax") LEAVE)
CODE(low_not_page, "pext %%gs:%c[page_low], %%rax, %%rcx\n\t" TABLE ACCESS_AT(low_not_page)
                           BYTE_ACCESS("rax") LEAVE)
/* On one of two ways only. */
CODE(one_way, "je 1f\n\t" PAGE("rax") TABLE "1:\n\t" ACCESS_AT(one_way) BYTE_ACCESS("rax") LEAVE)
CODE(into_middle, PAGE("rax") TABLE "1:\n\t" ACCESS_AT(into_middle)
                          BYTE_ACCESS("rax") "mov $0, %%ecx\n\tjmp 1b\n\t")
CODE(unaligned, PAGE("rax") TABLE ACCESS_AT(unaligned) "mov %%rdx, (%%rax,%%rcx)\n\t" LEAVE)
CODE(less_aligned, IN_LAST(4) "jrcxz 1f\n\t" PAGE("rax")
                           TABLE ACCESS_AT(less_aligned) "mov %%rdx, (%%rax,%%rcx)\n\t1:\n\t" LEAVE)
CODE(last_piece, IN_LAST(8) "jrcxz 1f\n\t" LEAVE "1:\n\t" PAGE("rax")
                         TABLE ACCESS_AT(last_piece) "mov %%rdx, (%%rax,%%rcx)\n\t" LEAVE)
CODE(other_piece,
     "pext %%gs:%c[piece8], %%rax, %%rcx\n\tlea -510(%%rcx), %%rcx\n\tjrcxz 1f\n\t" PAGE("rax")
             TABLE ACCESS_AT(other_piece) "mov %%rdx, (%%rax,%%rcx)\n\t1:\n\t" LEAVE)
CODE(shorter, "pext %%gs:%c[page_low], %%rax, %%rcx\n\tlea 3(%%rcx), %%rcx\n\t"
              "pext %%gs:%c[cross], %%rcx, %%rcx\n\tjrcxz 1f\n\t" LEAVE "1:\n\t" PAGE("rax")
                      TABLE ACCESS_AT(shorter) "mov %%rdx, (%%rax,%%rcx)\n\t" LEAVE)
CODE(not_by_host, PAGE("rax") TABLE ACCESS_AT(not_by_host) "movups (%%rax,%%rcx), %%xmm3\n\t" LEAVE)
CODE(unknown_fault, PAGE("rax") TABLE BYTE_ACCESS("rax") LEAVE)
CODE(bit_string, IN_LAST(8) "jrcxz 1f\n\t" PAGE("rax")
                         TABLE ACCESS_AT(bit_string) "btq %%rdx, (%%rax,%%rcx)\n\t1:\n\t" LEAVE)
CODE(segment, PAGE("rax") TABLE ACCESS_AT(segment) "movb $1, %%fs:(%%rax,%%rcx)\n\t" LEAVE)
CODE(by_gs, "movb $1, %%gs:(%%rax)\n\t" LEAVE)
CODE(near_address,
     PAGE("rax") TABLE ACCESS_AT(near_address) "addr32 movb $1, (%%eax,%%ecx)\n\t" LEAVE)
CODE(absolute, "movabs 0x12345678, %%al\n\t" LEAVE)

CODE(writes_state, "mov %%rax, %%gs:%c[cr3]\n\t" LEAVE)
CODE(writes_r12, "mov %%rax, %%gs:%c[r12]\n\t" LEAVE)
CODE(writes_mask, "mov %%rax, %%gs:%c[page]\n\t" LEAVE)
CODE(reads_self, "mov %%gs:%c[self], %%rax\n\t" LEAVE)
CODE(writes_table, PAGE("rax") "mov %%rax, %%gs:0(,%%rcx,8)\n\t" LEAVE)
CODE(writes_half, "mov %%eax, %%gs:%c[r13]\n\t" LEAVE)
CODE(leaks_addend, PAGE("rax") TABLE "mov %%rcx, %%rdx\n\t" LEAVE)
CODE(uses_addend, PAGE("rax") TABLE "add %%rcx, %%rdx\n\t" LEAVE)
CODE(stores_addend, PAGE("rax") TABLE "mov %%rcx, %%gs:%c[r15]\n\t" LEAVE)

CODE(falls_out, "inc %%rax\n\t")
CODE(jumps_out, "jmp . + 0x100\n\t")
CODE(jumps_before, "jne . - 0x20\n\t" LEAVE)
CODE(into_instruction, "jmp . + 3\n\tmov $0x90909090, %%eax\n\t" LEAVE)
CODE(by_register, "jmp *%%rax\n\t")
CODE(by_memory, PAGE("rax") TABLE ACCESS_AT(by_memory) "jmp *(%%rax,%%rcx)\n\t")
CODE(by_no_slot, "jmp *%%gs:%c[code](,%%r14,8)\n\t")
CODE(by_a_miss, "pext %%gs:%c[hash], %%r15, %%r14\n\tjmp *%%gs:%c[code](,%%r14,8)\n\t")
CODE(by_anothers, "pext %%gs:%c[hash], %%r15, %%r14\n\tmov %%gs:%c[rip](,%%r14,8), %%rcx\n\t"
                  "lea (%%rcx,%%r15), %%rcx\n\tjrcxz 1f\n\t" LEAVE
                  "1: lea 1(%%r15), %%r15\n\tjmp *%%gs:%c[code](,%%r14,8)\n\t")
CODE(old_callee, "jmp *%%gs:%c[callee]\n\t")
CODE(own_callee, "mov %%rax, %%gs:%c[callee]\n\tjmp *%%gs:%c[callee]\n\t")
CODE(by_cr3, "jmp *%%gs:%c[cr3]\n\t")
CODE(own_ops, "mov %%rax, %%r15\n\tmov $0, %%r14d\n\tjmp *%%gs:%c[fallback]\n\t")
CODE(other_ops, "movabs $0x123456789a8, %%r15\n\tmov $0, %%r14d\n\tjmp *%%gs:%c[fallback]\n\t")
CODE(other_site, "xor %%r15d, %%r15d\n\tmov $0x1000, %%r14d\n\tjmp *%%gs:%c[exit]\n\t")
CODE(unknown_site, "xor %%r15d, %%r15d\n\tmov %%eax, %%r14d\n\tjmp *%%gs:%c[exit]\n\t")
CODE(comes_back_wild, "mov %%rax, %%r15\n\tjmp *%%gs:%c[vec_load]\n\t")

#define INSTRUCTION(name, text) CODE(name, text "\n\t" LEAVE)
INSTRUCTION(i_syscall, "syscall")
INSTRUCTION(i_sysenter, "sysenter")
INSTRUCTION(i_int, "int $0x80")
INSTRUCTION(i_int3, "int3")
INSTRUCTION(i_hlt, "hlt")
INSTRUCTION(i_in, "in %%dx, %%al")
INSTRUCTION(i_movs, "movsb")
INSTRUCTION(i_stos, "rep stosq")
INSTRUCTION(i_push, "push %%rax")
INSTRUCTION(i_pop, "pop %%rax")
INSTRUCTION(i_pushf, "pushf")
INSTRUCTION(i_popf, "popf")
INSTRUCTION(i_call, "call .")
INSTRUCTION(i_ret, "ret")
INSTRUCTION(i_leave, "leave")
INSTRUCTION(i_enter, "enter $16, $0")
INSTRUCTION(i_iret, "iretq")
INSTRUCTION(i_far, "lretq")
INSTRUCTION(i_fs, "mov %%eax, %%fs")
INSTRUCTION(i_reads_ds, "mov %%ds, %%eax")
INSTRUCTION(i_wrgsbase, "wrgsbase %%rax")
INSTRUCTION(i_swapgs, "swapgs")
INSTRUCTION(i_cr, "mov %%cr0, %%rax")
INSTRUCTION(i_wrmsr, "wrmsr")
INSTRUCTION(i_wrpkru, "wrpkru")
INSTRUCTION(i_xrstor, "xrstor (%%rax,%%rcx)")
INSTRUCTION(i_fxrstor, "fxrstor (%%rax,%%rcx)")
INSTRUCTION(i_xsetbv, "xsetbv")
INSTRUCTION(i_cld, "cld")
INSTRUCTION(i_std, "std")
INSTRUCTION(i_cli, "cli")
INSTRUCTION(i_loop, "1: loop 1b")
INSTRUCTION(i_xlat, "xlat")
INSTRUCTION(i_maskmov, "maskmovdqu %%xmm0, %%xmm1")
INSTRUCTION(i_gather, "vpgatherdd %%xmm0, (%%rax,%%xmm1), %%xmm2")
INSTRUCTION(i_clflush, "clflush (%%rax,%%rcx)")
INSTRUCTION(i_cpuid, "cpuid")
INSTRUCTION(i_ud2, "ud2")
INSTRUCTION(i_bad, ".byte 0x06")
INSTRUCTION(i_xbegin, "xbegin .")

struct code {
	const char *name;
	const uint8_t *code, *end, *access;
};
#define ROW(name)                                             \
	{                                                     \
#name, name##_code, name##_end, name##_access \
	}

static const struct code good[] = {
	ROW(leaves), ROW(byte), ROW(aligned), ROW(by_host), ROW(by_hash),
	ROW(poll),   ROW(call), ROW(vector),  ROW(links),
};

#define NOT_ALLOWED "an instruction that isn't allowed"

static const struct bad {
	const char *what; /* is wrong */
	struct code code;
} bad[] = {
	{"an access that was not looked up in the table", ROW(wild)},
	{"an access that was not looked up in the table", ROW(one_register)},
	{"a memory operand that isn't (base,index)", ROW(displaced)},
	{"an access that was not looked up in the table", ROW(other_register)},
	{"an access that was not looked up in the table", ROW(changed)},
	{"an access that was not looked up in the table", ROW(half_changed)},
	{"a host address that goes its own way", ROW(addend_changed)},
	{"an index of the table that is no page number", ROW(between)},
	{"an index of the table that is no page number", ROW(no_page)},
	{"an index of the table that is no page number", ROW(low_not_page)},
	{"an access that was not looked up in the table", ROW(one_way)},
	{"an access that was not looked up in the table", ROW(into_middle)},
	{"an access that may go over a page's end", ROW(unaligned)},
	{"an access that may go over a page's end", ROW(less_aligned)},
	{"an access that may go over a page's end", ROW(last_piece)},
	{"an access that may go over a page's end", ROW(other_piece)},
	{"an access that may go over a page's end", ROW(shorter)},
	{"an access that may go over a page's end", ROW(not_by_host)},
	{"an access that the fault handler does not know", ROW(unknown_fault)},
	{"a bit number that reaches beyond the operand", ROW(bit_string)},
	{"a segment override", ROW(segment)},
	{"a GS operand of another form", ROW(by_gs)},
	{"addresses of less than 64 bits", ROW(near_address)},
	{"a memory operand that isn't ModRM's", ROW(absolute)},
	{"a word of the state that may not be written", ROW(writes_state)},
	{"a word of the state that may not be written", ROW(writes_r12)},
	{"a word of the state that may not be written", ROW(writes_mask)},
	{"a word of the state that may not be read", ROW(reads_self)},
	{"an instruction that may not use GS", ROW(writes_table)},
	{"a GS operand of another form", ROW(writes_half)},
	{"a host address in a guest register", ROW(leaks_addend)},
	{"a host address that goes its own way", ROW(uses_addend)},
	{"a host address that goes its own way", ROW(stores_addend)},
	{"a jump that leaves the block", ROW(falls_out)},
	{"a jump that leaves the block", ROW(jumps_out)},
	{"a jump that leaves the block", ROW(jumps_before)},
	{"a jump that leaves the block", ROW(into_instruction)},
	{"an indirect jump of another form", ROW(by_register)},
	{"an indirect jump of another form", ROW(by_memory)},
	{"code from a slot that may be another's", ROW(by_no_slot)},
	{"code from a slot that may be another's", ROW(by_a_miss)},
	{"code from a slot that may be another's", ROW(by_anothers)},
	{"a callee of another time", ROW(old_callee)},
	{"a callee that isn't the hash's", ROW(own_callee)},
	{"a word of the state that leads nowhere", ROW(by_cr3)},
	{"ops that are not the block's", ROW(own_ops)},
	{"ops that are not the block's", ROW(other_ops)},
	{"an exit that names no jump of the block", ROW(other_site)},
	{"an exit that names no jump of the block", ROW(unknown_site)},
	{"no place to come back to", ROW(comes_back_wild)},
	{NOT_ALLOWED, ROW(i_syscall)},
	{NOT_ALLOWED, ROW(i_sysenter)},
	{NOT_ALLOWED, ROW(i_int)},
	{NOT_ALLOWED, ROW(i_int3)},
	{NOT_ALLOWED, ROW(i_hlt)},
	{NOT_ALLOWED, ROW(i_in)},
	{NOT_ALLOWED, ROW(i_movs)},
	{NOT_ALLOWED, ROW(i_stos)},
	{NOT_ALLOWED, ROW(i_push)},
	{NOT_ALLOWED, ROW(i_pop)},
	{NOT_ALLOWED, ROW(i_pushf)},
	{NOT_ALLOWED, ROW(i_popf)},
	{NOT_ALLOWED, ROW(i_call)},
	{NOT_ALLOWED, ROW(i_ret)},
	{NOT_ALLOWED, ROW(i_leave)},
	{NOT_ALLOWED, ROW(i_enter)},
	{NOT_ALLOWED, ROW(i_iret)},
	{NOT_ALLOWED, ROW(i_far)},
	{"a register of the system's", ROW(i_fs)},
	{"a register of the system's", ROW(i_reads_ds)},
	{NOT_ALLOWED, ROW(i_wrgsbase)},
	{NOT_ALLOWED, ROW(i_swapgs)},
	{NOT_ALLOWED, ROW(i_cr)},
	{NOT_ALLOWED, ROW(i_wrmsr)},
	{NOT_ALLOWED, ROW(i_wrpkru)},
	{NOT_ALLOWED, ROW(i_xrstor)},
	{"a memory operand of no ordinary size", ROW(i_fxrstor)},
	{NOT_ALLOWED, ROW(i_xsetbv)},
	{NOT_ALLOWED, ROW(i_cld)},
	{NOT_ALLOWED, ROW(i_std)},
	{NOT_ALLOWED, ROW(i_cli)},
	{"a jump of another kind", ROW(i_loop)},
	{NOT_ALLOWED, ROW(i_xlat)},
	{"a memory operand that isn't ModRM's", ROW(i_maskmov)},
	{NOT_ALLOWED, ROW(i_gather)},
	{NOT_ALLOWED, ROW(i_clflush)},
	{NOT_ALLOWED, ROW(i_cpuid)},
	{NOT_ALLOWED, ROW(i_ud2)},
	{"no instruction", ROW(i_bad)},
	{"a jump of another kind", ROW(i_xbegin)},
};

static struct native n;
static struct native_site site;
static struct validator *v;
static struct {
	struct block block;
	struct op op[3];
} guest;

static int setup(void **state)
{
	n = (struct native){
		.rw = calloc(1, ROOM), .ops = calloc(8, sizeof(struct op)), .site = &site};
	n.rx = n.rw;
	v = validator_new();
	guest.block.n = 2;
	guest.op[1].ip = 1;
	guest.op[2].ip = 2;
	guest.op[0].fn = guest.op[1].fn = native_never;
	guest.op[2].fn = native_count;
	return v == NULL || n.rw == NULL || n.ops == NULL;
}

static int teardown(void **state)
{
	free(n.rw);
	free(n.ops);
	validator_free(v);
	return 0;
}

/* What is wrong with it; NULL: nothing. */
static const char *judge(const struct code *c)
{
	const struct native_block nb = {START, START, START};
	struct validator_block vb = {.b = &guest.block, .start = START, .nb = &nb};
	struct validator_fault f = {0};

	vb.end = START + (uint32_t)(c->end - c->code);
	memset(n.rw, 0xcc, ROOM);
	memcpy(n.rw + START, c->code, (size_t)(c->end - c->code));
	n.sites = 0;
	if (c->access != NULL) {
		uint32_t at = START + (uint32_t)(c->access - c->code);

		site = (struct native_site){
			.pc = at, .restart = START, .stub = START, .ea = 0, .write = true};
		n.sites = 1;
	}
	validator_reset(v);
	return validator_block(v, &n, &vb, &f) ? NULL : f.what;
}

static void good_code_passes(void **state)
{
	for (unsigned i = 0; i < ARRAY_LEN(good); i++) {
		const char *what = judge(&good[i]);

		if (what != NULL)
			fail_msg("%s: %s", good[i].name, what);
	}
}

static void broken_code_does_not(void **state)
{
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		const char *what = judge(&bad[i].code);

		if (what == NULL || strcmp(what, bad[i].what) != 0)
			fail_msg("%s: %s", bad[i].code.name, what);
	}
}

static void faults_are_known_as_they_are(void **state)
{
	const struct native_block nb = {START, START, START};
	struct validator_block vb = {.b = &guest.block, .start = START, .nb = &nb};
	struct validator_fault f = {0};
	struct code c = ROW(byte);

	assert_null(judge(&c));
	vb.end = START + (uint32_t)(c.end - c.code);
	site.ea = 3;
	assert_false(validator_block(v, &n, &vb, &f));
	site.ea = 0;
	site.write = false;
	assert_false(validator_block(v, &n, &vb, &f));
	site.write = true;
	site.stub = START + 1;
	assert_false(validator_block(v, &n, &vb, &f));
	site.stub = START;
	site.restart = vb.end;
	assert_false(validator_block(v, &n, &vb, &f));
	site.restart = START;
	assert_true(validator_block(v, &n, &vb, &f));
}

static void jumps_are_linked_to_entries_only(void **state)
{
	struct code c = ROW(links);
	uint32_t rel = START + 5 + 2 + 1;

	assert_null(judge(&c));
	assert_true(validator_entry(v, START));
	assert_false(validator_entry(v, START + 5));
	assert_true(validator_link(v, rel, START));
	assert_false(validator_link(v, rel, START + 5));
	assert_false(validator_link(v, rel + 1, START));
	assert_false(validator_link(v, UINT32_MAX, START));
	assert_false(validator_link(v, rel, UINT32_MAX));
	validator_reset(v);
	assert_false(validator_entry(v, START));
}

/* The code that leaves for ops[0..1] and comes back at its entry; its ops are what the test says. */
CODE(falls_back,
     "movabs $0x1122334455667788, %%r15\n\tmov $0, %%r14d\n\tjmp *%%gs:%c[fallback]\n\t")

static const char *judge_fallback(const struct op *ops)
{
	static uint8_t copy[64];
	size_t len = (size_t)(falls_back_end - falls_back_code);
	struct code c = {"falls_back", copy, copy + len, NULL};
	uint64_t place = (uint64_t)ops;

	memcpy(copy, falls_back_code, len);
	memcpy(copy + 7, &place, 8);
	return judge(&c);
}

static void fallbacks_run_the_block_s_own_ops(void **state)
{
	struct op *op = n.ops;

	n.ops_used = 8 * sizeof(*op);
	memcpy(op, guest.op, 3 * sizeof(*op));
	assert_null(judge_fallback(op));
	assert_non_null(judge_fallback((struct op *)((uint8_t *)op + 1)));
	assert_non_null(judge_fallback(op + 8));
	op[1].fn = native_enter;
	op[1].ptr = n.rx + START;
	assert_null(judge_fallback(op));
	op[1].ptr = n.rx + START + 1;
	assert_non_null(judge_fallback(op));
	op[1].ptr = n.rx + ROOM;
	assert_non_null(judge_fallback(op));
	op[1].fn = native_count;
	assert_non_null(judge_fallback(op));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_code_passes),
		cmocka_unit_test(broken_code_does_not),
		cmocka_unit_test(faults_are_known_as_they_are),
		cmocka_unit_test(jumps_are_linked_to_entries_only),
		cmocka_unit_test(fallbacks_run_the_block_s_own_ops),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
