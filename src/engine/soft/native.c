/* Translated code: memory for it, ways in and out, links, staleness.  See native.h. */
#include "engine/soft/native.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"
#include "engine/soft/code.h"
#include "engine/soft/engine.h"
#include "engine/soft/asm.h"
#include "engine/soft/flat.h"
#include "engine/soft/listing.h"
#include "engine/soft/lockstep.h"
#include "engine/soft/validate.h"
#include "host/host.h"

#define AGAIN   4 /* executions before a block that went stale is translated again, at most */
#define FULL_AT (1 * MIB)

const uint8_t native_nop[5] = {0x0f, 0x1f, 0x44, 0x00, 0x00};

static unsigned translate_after = ENGINE_SOFT_TRANSLATE;

void engine_soft_translate_after(unsigned executions)
{
	translate_after = executions;
}

#ifndef CASULO_VALIDATE
#define CASULO_VALIDATE ENGINE_SOFT_VALIDATE_OFF
#endif
static enum engine_soft_validate validate_how = CASULO_VALIDATE;

void engine_soft_validate(enum engine_soft_validate how)
{
	validate_how = how;
}

#define NATIVE(field) \
	[field] "i"(offsetof(struct soft_cpu, native) + offsetof(struct soft_native, field))
/* clang-format off */
#define GPR(n) [g##n] "i"(offsetof(struct soft_cpu, gpr) + 8 * (n))
#define GPRS GPR(0), GPR(1), GPR(2), GPR(3), GPR(4), GPR(5), GPR(6), GPR(7), GPR(8), GPR(9), GPR(10), \
	GPR(11), GPR(12)

/*
 * The stack while translated code runs, from native.host_rsp up: 8 bytes that align it, six saved
 * registers, the return address to who called the first op.  An op function that comes here by a tail
 * call from within (op_next, op_jump) has the return address of native_fallback()'s call below that.
 */
__attribute__((naked)) void native_enter(struct soft_cpu *c UNUSED, const struct op *op UNUSED)
{
	asm volatile(
		"lea 8(%%rsp), %%rax\n\t"
		"cmp %c[host_rsp](%%rdi), %%rax\n\t"
		"je 1f\n\t"
		"push %%rbx\n\tpush %%rbp\n\tpush %%r12\n\tpush %%r13\n\tpush %%r14\n\tpush %%r15\n\t"
		"sub $8, %%rsp\n\t"
		"mov %%rsp, %c[host_rsp](%%rdi)\n"
		"1:\n\t"
		"mov %c[requests](%%rdi), %%rax\n\t"
		"cmpl $0, (%%rax)\n\t"
		"je 2f\n\t"
		"movq $0, %c[hash_mask](%%rdi)\n" /* native_poke(): it may be us who want something */
		"2:\n\t"
		"mov %c[ptr](%%rsi), %%rax\n\t"
		"mov %%rax, %c[target](%%rdi)\n\t"
		"mov %c[block_rip](%%rdi), %%r15\n\t"
		"movzwl %c[aflags](%%rdi), %%eax\n\t"
		"add $0x7f, %%al\n\t"
		"sahf\n\t"
		"mov %c[g0](%%rdi), %%rax\n\t"
		"mov %c[g1](%%rdi), %%r13\n\t"
		"mov %c[g2](%%rdi), %%rdx\n\t"
		"mov %c[g3](%%rdi), %%rbx\n\t"
		"mov %c[g4](%%rdi), %%rsp\n\t"
		"mov %c[g5](%%rdi), %%rbp\n\t"
		"mov %c[g6](%%rdi), %%rsi\n\t"
		"mov %c[g8](%%rdi), %%r8\n\t"
		"mov %c[g9](%%rdi), %%r9\n\t"
		"mov %c[g10](%%rdi), %%r10\n\t"
		"mov %c[g11](%%rdi), %%r11\n\t"
		"mov %c[g12](%%rdi), %%r12\n\t"
		"mov %c[g7](%%rdi), %%rdi\n\t"
		"jmp *%%gs:%c[gs]+%c[target]\n\t"
		:
		: GPRS, NATIVE(host_rsp), NATIVE(target), NATIVE(hash_mask),
		  [requests] "i"(offsetof(struct soft_cpu, requests)), [ptr] "i"(offsetof(struct op, ptr)),
		  [block_rip] "i"(offsetof(struct soft_cpu, block_rip)),
		  [aflags] "i"(offsetof(struct soft_cpu, aflags)),
		  [gs] "i"(FLAT_STATE));
}

/* Guest registers and flags back into the state; leaves rdi = c, the host's stack, and its flags. */
#define SPILL                                                                                  \
	"mov %%rax, %%gs:%c[gs]+%c[g0]\n\t"                                                    \
	"mov %%r13, %%gs:%c[gs]+%c[g1]\n\t"                                                    \
	"mov %%rdx, %%gs:%c[gs]+%c[g2]\n\t"                                                    \
	"mov %%rbx, %%gs:%c[gs]+%c[g3]\n\t"                                                    \
	"mov %%rsp, %%gs:%c[gs]+%c[g4]\n\t"                                                    \
	"mov %%rbp, %%gs:%c[gs]+%c[g5]\n\t"                                                    \
	"mov %%rsi, %%gs:%c[gs]+%c[g6]\n\t"                                                    \
	"mov %%rdi, %%gs:%c[gs]+%c[g7]\n\t"                                                    \
	"mov %%r8, %%gs:%c[gs]+%c[g8]\n\t"                                                     \
	"mov %%r9, %%gs:%c[gs]+%c[g9]\n\t"                                                     \
	"mov %%r10, %%gs:%c[gs]+%c[g10]\n\t"                                                   \
	"mov %%r11, %%gs:%c[gs]+%c[g11]\n\t"                                                   \
	"mov %%r12, %%gs:%c[gs]+%c[g12]\n\t"                                                   \
	"lahf\n\t"                                                                             \
	"seto %%al\n\t"                                                                        \
	"mov %%gs:%c[gs]+%c[self], %%rdi\n\t"                                                  \
	"mov %%ax, %c[aflags](%%rdi)\n\t"                                                      \
	"mov %c[host_rsp](%%rdi), %%rsp\n\t"                                                   \
	"mov %c[vec_live]+8*%c[sse](%%rdi), %%rax\n\t"                                         \
	"or %c[vec_live]+8*%c[x87](%%rdi), %%rax\n\t"                                          \
	"je 1f\n\t"                                                                            \
	"call native_vec_store\n"                                                              \
	"1:\n\t"
#define SPILL_OPERANDS                                                                         \
	GPRS, NATIVE(self), NATIVE(host_rsp), NATIVE(vec_live), [sse] "i"(NATIVE_SSE),         \
		[x87] "i"(NATIVE_X87), [aflags] "i"(offsetof(struct soft_cpu, aflags)),        \
		[gs] "i"(FLAT_STATE)
#define RETURN                                                                                 \
	"movq $0, %c[host_rsp](%%rdi)\n\t"                                                     \
	"add $8, %%rsp\n\t"                                                                    \
	"pop %%r15\n\tpop %%r14\n\tpop %%r13\n\tpop %%r12\n\tpop %%rbp\n\tpop %%rbx\n\t"       \
	"ret\n\t"

/* r15: guest address to go on at, r14: NATIVE_SITE_*.  As op_leave(). */
__attribute__((naked)) static void native_exit(void)
{
	asm volatile(SPILL
	             "mov %%r15, %c[rip](%%rdi)\n\t"
	             "mov %%r14, %c[site](%%rdi)\n\t"
	             "mov %c[run](%%rdi), %%rax\n\t"
	             "movb $1, %c[again](%%rax)\n\t"
	             RETURN
	             :
	             : SPILL_OPERANDS, NATIVE(site), [rip] "i"(offsetof(struct soft_cpu, rip)),
	               [run] "i"(offsetof(struct soft_cpu, run)),
	               [again] "i"(offsetof(struct soft_run, again)));
}

/* The same with NATIVE_SITE_HASH; r14 is free. */
__attribute__((naked)) static void native_exit_hash(void)
{
	asm volatile("mov %[hash], %%r14d\n\t"
	             "jmp *%%gs:%c[gs]+%c[exit]\n\t"
	             :
	             : [hash] "i"(NATIVE_SITE_HASH), NATIVE(exit), [gs] "i"(FLAT_STATE));
}

/* r15: the op, r14: offset of its block in the page. */
__attribute__((naked)) static void native_fallback(void)
{
	asm volatile(SPILL
	             "add %c[page_rip](%%rdi), %%r14\n\t"
	             "mov %%r14, %c[block_rip](%%rdi)\n\t"
	             "mov %%r15, %%rsi\n\t"
	             "call *%c[fn](%%rsi)\n\t"
	             "mov %%gs:%c[gs]+%c[self], %%rdi\n\t"
	             RETURN
	             :
	             : SPILL_OPERANDS, NATIVE(page_rip),
	               [block_rip] "i"(offsetof(struct soft_cpu, block_rip)),
	               [fn] "i"(offsetof(struct op, fn)));
}
/* clang-format on */

static bool host_can(void)
{
	const struct host_cpu *h = host_cpu();

	/* PEXT is microcode before Zen 3. */
	if (memcmp(h->vendor, "AuthenticAMD", 12) == 0 && h->family < 0x19)
		return false;
	return SOFT_TAIL_CALLS && h->fsgsbase && (h->f7_ebx & 1u << 8);
}

static bool map_code(struct native *n)
{
	int fd = memfd_create("casulo-code", MFD_CLOEXEC);

	if (fd < 0)
		return false;
	if (ftruncate(fd, NATIVE_CODE) == 0) {
		n->rw = mmap(NULL, NATIVE_CODE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		n->rx = mmap(NULL, NATIVE_CODE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	}
	close(fd);
	return n->rw != MAP_FAILED && n->rx != MAP_FAILED;
}

static void *reserve(size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
	            -1, 0);
}

static void unmap(void *p, size_t size)
{
	if (p != MAP_FAILED && p != NULL)
		munmap(p, size);
}

static void free_native(struct native *n)
{
	unmap(n->rw, NATIVE_CODE);
	unmap(n->rx, NATIVE_CODE);
	unmap(n->ops, NATIVE_OPS);
	unmap(n->site, NATIVE_SITES * sizeof(*n->site));
	validator_free(n->validator);
	free(n);
}

static bool open_validator(struct native *n)
{
	if (validate_how == ENGINE_SOFT_VALIDATE_OFF)
		return true;
	n->validator = validator_new();
	return n->validator != NULL;
}

static bool lockstep;

void engine_soft_lockstep(bool on)
{
	lockstep = on;
	translate_after = on ? 1 : ENGINE_SOFT_TRANSLATE;
}

void native_open(struct soft_cpu *c)
{
	struct native *n;

	if (translate_after == 0 || !host_can())
		return;
	n = xalloc(sizeof(*n));
	n->rw = n->rx = MAP_FAILED;
	n->ops = reserve(NATIVE_OPS);
	n->site = reserve(NATIVE_SITES * sizeof(*n->site));
	c->native.exit = native_exit;
	if (!open_validator(n) || !map_code(n) || n->ops == MAP_FAILED || n->site == MAP_FAILED ||
	    flat_open(c) < 0) {
		free_native(n);
		return;
	}
	n->after = translate_after;
	n->used = 64; /* so that no site has one of the small numbers */
	c->native.self = c;
	c->native.page_mask = FLAT_PAGE_MASK;
	for (unsigned i = 0; i < ARRAY_LEN(c->native.chunk_mask); i++)
		c->native.chunk_mask[i] = ~PAGE_MASK & ~((2u << i) - 1);
	c->native.page_low = ~PAGE_MASK;
	c->native.cross_mask = PAGE_SIZE;
	c->native.hash_mask = FLAT_HASH_MASK;
	c->native.exit_hash = native_exit_hash;
	c->native.fallback = native_fallback;
	native_vec_open(c);
	c->native.code = n;
	if (lockstep)
		c->run->lockstep = lockstep_new();
}

void native_close(struct soft_cpu *c)
{
	if (c->native.code != NULL)
		free_native(c->native.code);
	c->native.code = NULL;
	flat_close(c);
}

void native_reset(struct soft_cpu *c)
{
	struct native *n = c->native.code;

	if (n == NULL)
		return;
	n->used = 64;
	n->ops_used = 0;
	n->sites = 0;
	n->dropped++;
	if (n->validator != NULL)
		validator_reset(n->validator);
	memset(n->page, 0, sizeof(n->page));
	c->native.site = NATIVE_SITE_NONE;
	c->run->hot = NULL;
	flat_hash_clear(c);
}

void native_thread(struct soft_cpu *c)
{
	if (c->native.code == NULL)
		return;
	if (!native_catch_faults(c)) {
		block_cache_drop(c);
		native_close(c);
		return;
	}
	c->native.gs = 0;
}

void native_block_entry(struct soft_cpu *c, struct block *b)
{
	if (c->native.code != NULL && b->page != UINT32_MAX && !b->cross &&
	    (b->mode & (MODE_BITS | MODE_STEP)) == MODE_64)
		b->entry = (struct op){.fn = native_count, .imm = c->native.code->after};
	else
		b->entry = (struct op){.fn = native_never};
}

void native_never(struct soft_cpu *c, const struct op *op)
{
	const struct block *b = container_of(op, struct block, entry);

	return b->op[0].fn(c, b->op);
}

void native_count(struct soft_cpu *c, const struct op *op)
{
	struct block *b = container_of(op, struct block, entry);

	if (--b->entry.imm == 0) {
		b->entry.imm = c->native.code->after;
		c->run->hot = b;
		return op_leave(c, c->block_rip);
	}
	return b->op[0].fn(c, b->op);
}

void native_invalid(struct native *n, const struct block *b, const char *what, uint32_t start,
                    uint32_t end, uint32_t at)
{
	n->invalid++;
	log_error("translated code is not valid: %s, at %x", what, at);
	if (b != NULL)
		listing_print(stderr, b->bytes, b->len, b->gpa, 64, UINT64_MAX);
	listing_print(stderr, n->rw + start, end - start, start, 64, at);
	if (validate_how == ENGINE_SOFT_VALIDATE_ABORT)
		abort();
}

static struct block **bucket(struct native *n, uint32_t page)
{
	return &n->page[page % NATIVE_PAGES];
}

/* Code becomes the way into a block. */
static void put_in(struct native *n, struct block *b, struct native_block *nb)
{
	struct block **head = bucket(n, b->page);

	b->native = nb;
	b->last = NULL;
	b->parked = false;
	b->entry = (struct op){.fn = native_enter, .ptr = n->rx + nb->far};
	b->native_next = *head;
	*head = b;
}

/* The first bytes of the near entry become a jump. */
static void divert(struct native *n, uint32_t near, uint32_t to)
{
	uint8_t jmp[5] = {0xe9};
	int32_t rel = (int32_t)(to - (near + 5));

	if (n->validator != NULL &&
	    !(validator_entry(n->validator, near) && validator_entry(n->validator, to)))
		native_invalid(n, NULL, "a stale block's way out", near, near, near);
	memcpy(jmp + 1, &rel, 4);
	memcpy(n->rw + near, jmp, 5);
}

static void count_again(struct native *n, struct block *b)
{
	b->entry = (struct op){.fn = native_count, .imm = MIN(AGAIN, n->after)};
}

/* Takes the way in away; the code stays where it is. */
static void park(struct soft_cpu *c, struct block *b)
{
	struct native *n = c->native.code;
	struct native_block *nb = b->native;

	divert(n, nb->near, nb->out);
	b->last = nb;
	b->parked = true;
	b->native = NULL;
	count_again(n, b);
	for (struct block **at = bucket(n, b->page); *at; at = &(*at)->native_next) {
		if (*at == b) {
			*at = b->native_next;
			break;
		}
	}
}

void native_discard(struct soft_cpu *c, struct block *b)
{
	park(c, b);
	b->parked = false;
}

void native_revive(struct soft_cpu *c, struct block *b)
{
	struct native *n = c->native.code;

	if (!b->parked)
		return;
	memcpy(n->rw + b->last->near, native_nop, sizeof(native_nop));
	put_in(n, b, b->last);
}

void native_page_changed(struct soft_cpu *c, uint32_t page)
{
	struct native *n = c->native.code;
	struct block *b, *next;

	if (n == NULL)
		return;
	for (b = *bucket(n, page); b; b = next) {
		next = b->native_next;
		if (b->page == page)
			park(c, b);
	}
}

static void sweep_all(struct soft_cpu *c)
{
	struct native *n = c->native.code;
	struct block *b, *next;

	for (unsigned i = 0; i < NATIVE_PAGES; i++) {
		for (b = n->page[i]; b; b = next) {
			next = b->native_next;
			if (!block_fresh(b))
				park(c, b);
		}
	}
}

void native_sweep(struct soft_cpu *c)
{
	struct native *n = c->native.code;
	struct soft_vm *vm = c->vm;
	uint64_t changes = atomic_load(&vm->changes);

	if (n == NULL || n->seen == changes)
		return;
	if (changes - n->seen < CODE_CHANGES / 2) {
		while (n->seen != changes)
			native_page_changed(c, vm->changed[n->seen++ % CODE_CHANGES]);
	} else {
		n->seen = changes;
		sweep_all(c);
	}
}

void native_install(struct soft_cpu *c, struct block *b, struct native_block *nb)
{
	struct native *n = c->native.code;

	if (b->last != NULL)
		divert(n, b->last->near, nb->near);
	put_in(n, b, nb);
	n->blocks++;
}

bool native_is_full(const struct native *n)
{
	return n->used + FULL_AT > NATIVE_CODE || n->ops_used + FULL_AT > NATIVE_OPS ||
	       n->sites + 4096 > NATIVE_SITES;
}

void native_link(struct soft_cpu *c, struct block *b)
{
	struct native *n = c->native.code;
	uint64_t site = c->native.site;

	c->native.site = NATIVE_SITE_NONE;
	if (b->native == NULL || c->run->lockstep != NULL)
		return;
	if (n->validator != NULL &&
	    !(site == NATIVE_SITE_HASH
	              ? validator_entry(n->validator, b->native->far)
	              : validator_link(n->validator, (uint32_t)site, b->native->near))) {
		native_invalid(n, b, "a link", b->native->far, b->native->out, (uint32_t)site);
		return;
	}
	if (site == NATIVE_SITE_HASH)
		flat_hash_add(c, c->rip, n->rx + b->native->far);
	else
		asm_to(n->rw + site, n->rw + b->native->near);
}
