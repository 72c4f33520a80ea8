/* See lockstep.h. */
#include "engine/soft/lockstep.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <Zydis/Zydis.h>

#include "engine/soft/code.h"
#include "engine/soft/fpu.h"
#include "engine/soft/listing.h"
#include "engine/soft/native.h"

#define PAGES 32
#define TRIES 3 /* times that a difference must come */
/* A block is compared so many times, and from then on now and then. */
#define OFTEN  32
#define SELDOM 1024

/* What is compared, and put back. */
struct result {
	uint64_t gpr[16], rip;
	uint16_t aflags;
	uint32_t eflags;
	bool again, raised;
	struct soft_exception exc;
	uint64_t at; /* the instruction that raised it */
	uint8_t xsave[CPU_XSAVE_SIZE];
};

struct page {
	uint8_t *host;
	uint8_t before[PAGE_SIZE], after[PAGE_SIZE]; /* after: as the interpreter left it */
};

struct lockstep {
	bool on, interpreting; /* pages are kept */
	unsigned pages;
	bool too_many;
	struct page page[PAGES];
	struct result before, interpreted, translated;
};

struct lockstep *lockstep_new(void)
{
	return calloc(1, sizeof(struct lockstep));
}

void lockstep_free(struct lockstep *l)
{
	free(l);
}

void lockstep_page(struct lockstep *l, void *host)
{
	uint8_t *at = (uint8_t *)align_down((uintptr_t)host, PAGE_SIZE);
	struct page *p = &l->page[l->pages];

	if (!l->on)
		return;
	for (unsigned i = 0; i < l->pages; i++)
		if (l->page[i].host == at)
			return;
	if (l->pages == PAGES) {
		l->too_many = true;
		return;
	}
	l->pages++;
	p->host = at;
	memcpy(p->before, at, PAGE_SIZE);
	/* The interpreter didn't touch it, if it's the translated code that does now. */
	memcpy(p->after, at, PAGE_SIZE);
}

static void take(struct soft_cpu *c, struct result *r, bool raised)
{
	memcpy(r->gpr, c->gpr, sizeof(r->gpr));
	memcpy(r->xsave, c->xsave, sizeof(r->xsave));
	r->rip = raised ? 0 : c->rip;
	r->aflags = c->aflags;
	r->eflags = c->eflags;
	r->again = c->run->again;
	r->raised = raised;
	r->exc = raised ? c->exc : (struct soft_exception){0};
	r->at = raised ? op_rip(c, c->op) : 0;
}

static void put_back(struct soft_cpu *c, const struct result *r)
{
	memcpy(c->gpr, r->gpr, sizeof(r->gpr));
	memcpy(c->xsave, r->xsave, sizeof(r->xsave));
	c->rip = r->rip;
	c->aflags = r->aflags;
	c->eflags = r->eflags;
	c->op = &c->run->fetch;
}

static NOINLINE bool go(struct soft_cpu *c, const struct op *op)
{
	jmp_buf here;
	volatile bool raised = true;

	if (setjmp(here) == 0) {
		c->catch = &here;
		c->block_rip = c->rip;
		c->run->again = false;
		op->fn(c, op);
		raised = false;
	}
	c->native.host_rsp = 0;
	c->native.site = NATIVE_SITE_NONE;
	c->run->link = NULL;
	c->catch = &c->run->catch;
	return raised;
}

/* Neither FOP, FIP and FDP, nor what is reserved. */
static bool same_vectors(const struct result *a, const struct result *b)
{
	const struct fpu_area *x = (const struct fpu_area *)a->xsave;
	const struct fpu_area *y = (const struct fpu_area *)b->xsave;

	return memcmp(a->xsave, b->xsave, 6) == 0 && x->mxcsr == y->mxcsr &&
	       memcmp(a->xsave + 32, b->xsave + 32, 128) == 0 &&
	       memcmp(x->xmm, y->xmm, sizeof(x->xmm)) == 0 &&
	       memcmp(x->high, y->high, sizeof(x->high)) == 0;
}

/*
 * Arithmetic flags that may be undefined where the block is left (any: within it, too), as in aflags: two
 * runs on the same processor need not agree on them.
 */
static uint16_t undefined_flags(const struct block *b, unsigned last, bool any)
{
	uint32_t now = 0, all = 0;
	ZydisDecoder z;

	/* The interpreter makes no flags that the block's next op kills. */
	if (last < b->n && !any)
		return UINT16_MAX;
	ZydisDecoderInit(&z, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (unsigned i = 0; i < last; i++) {
		ZydisDecodedInstruction insn;
		const ZydisAccessedFlags *f;

		if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&z, NULL, b->bytes + b->op[i].ip,
		                                                b->op[i].len, &insn)))
			continue;
		f = insn.cpu_flags;
		if (f != NULL)
			now = (now & ~(f->modified | f->set_0 | f->set_1)) | f->undefined;
		if (any || i + 1 == last || insn.meta.category == ZYDIS_CATEGORY_COND_BR)
			all |= now;
	}
	return (uint16_t)((all & 0xff) << 8 | (all >> 11 & 1));
}

/* What differs; NULL: nothing. */
static const char *difference(const struct lockstep *l, uint16_t undefined)
{
	const struct result *a = &l->interpreted, *b = &l->translated;

	if (a->raised != b->raised || a->exc.vector != b->exc.vector || a->at != b->at ||
	    a->exc.error != b->exc.error || a->exc.cr2 != b->exc.cr2)
		return "exception";
	if (memcmp(a->gpr, b->gpr, sizeof(a->gpr)) != 0)
		return "general registers";
	if (a->rip != b->rip)
		return "RIP";
	if (((a->aflags ^ b->aflags) & ~undefined) || a->eflags != b->eflags)
		return "flags";
	if (!same_vectors(a, b))
		return "x87 or vector registers";
	for (unsigned i = 0; i < l->pages; i++)
		if (memcmp(l->page[i].after, l->page[i].host, PAGE_SIZE) != 0)
			return "memory";
	return NULL;
}

static void print_result(const char *name, const struct result *r)
{
	fprintf(stderr, "%s: rip %" PRIx64 " flags %04x eflags %08x", name, r->rip, r->aflags,
	        r->eflags);
	if (r->raised)
		fprintf(stderr, " exception %u error %x at %" PRIx64, r->exc.vector, r->exc.error,
		        r->at);
	for (unsigned i = 0; i < 16; i++)
		fprintf(stderr, "%s%2u %016" PRIx64, i % 4 ? "  " : "\n  ", i, r->gpr[i]);
	fprintf(stderr, "\n");
}

static void print_vectors(const struct lockstep *l)
{
	for (unsigned i = 0; i < CPU_XSAVE_SIZE; i++)
		if (l->interpreted.xsave[i] != l->translated.xsave[i])
			fprintf(stderr, "XSAVE area + %03x: interpreted %02x, translated %02x\n", i,
			        l->interpreted.xsave[i], l->translated.xsave[i]);
}

static void print_memory(const struct lockstep *l)
{
	for (unsigned i = 0; i < l->pages; i++) {
		const struct page *p = &l->page[i];

		for (unsigned k = 0; k < PAGE_SIZE; k++)
			if (p->after[k] != p->host[k])
				fprintf(stderr,
				        "page %u + %03x: was %02x, interpreted %02x, translated "
				        "%02x\n",
				        i, k, p->before[k], p->after[k], p->host[k]);
	}
}

_Noreturn static void report(struct soft_cpu *c, const struct block *b, const char *what)
{
	const struct lockstep *l = c->run->lockstep;
	const struct native *n = c->native.code;
	const struct native_block *nb = b->native;

	fprintf(stderr, "lockstep: %s differ in the block at %" PRIx64 " (physical %" PRIx64 ")\n",
	        what, l->before.rip, b->gpa);
	print_result("before", &l->before);
	print_result("interpreted", &l->interpreted);
	print_result("translated", &l->translated);
	print_vectors(l);
	print_memory(l);
	listing_print(stderr, b->bytes, b->len, l->before.rip, 64, UINT64_MAX);
	if (nb != NULL)
		listing_print(stderr, n->rw + nb->far, nb->end - nb->far, nb->far, 64, UINT64_MAX);
	abort();
}

/* Interprets, and keeps what it did.  False: it can't be done again. */
static bool interpret(struct soft_cpu *c, struct block *b)
{
	struct lockstep *l = c->run->lockstep;
	uint64_t mmio = c->run->mmio, changes = atomic_load(&c->vm->changes);

	code_drop_writes(c);
	l->pages = 0;
	l->too_many = false;
	take(c, &l->before, false);
	l->on = true;
	take(c, &l->interpreted, go(c, b->op));
	l->on = false;
	for (unsigned i = 0; i < l->pages; i++)
		memcpy(l->page[i].after, l->page[i].host, PAGE_SIZE);
	return !l->too_many && c->run->mmio == mmio && atomic_load(&c->vm->changes) == changes &&
	       block_fresh(b) && b->native != NULL;
}

static void undo(struct soft_cpu *c)
{
	struct lockstep *l = c->run->lockstep;

	for (unsigned i = 0; i < l->pages; i++)
		memcpy(l->page[i].host, l->page[i].before, PAGE_SIZE);
	put_back(c, &l->before);
}

static void translated(struct soft_cpu *c, struct block *b)
{
	struct lockstep *l = c->run->lockstep;

	code_drop_writes(c);
	native_poke(c); /* it leaves behind each block */
	l->on = true;
	take(c, &l->translated, go(c, &b->entry));
	l->on = false;
}

/* Both; what differed. */
static const char *compare(struct soft_cpu *c, struct block *b, unsigned last)
{
	struct lockstep *l = c->run->lockstep;
	const char *what;

	for (unsigned i = 0; i < TRIES; i++) {
		if (!interpret(c, b))
			return NULL;
		undo(c);
		translated(c, b);
		if (l->too_many)
			return NULL;
		what = difference(l, undefined_flags(b, last, l->interpreted.raised));
		if (what == NULL || i == TRIES - 1)
			return what;
		undo(c);
	}
	return NULL;
}

/* It changed code once, and the interpreter stops there since (block_cut()). */
static bool is_cut(const struct block *b, unsigned last)
{
	for (unsigned i = 0; i < last; i++)
		if (b->op[i].fn == block_stop)
			return true;
	return false;
}

static bool is_due(struct native_block *nb)
{
	return ++nb->runs <= OFTEN || nb->runs % SELDOM == 0;
}

void lockstep_run(struct soft_cpu *c, struct block *b)
{
	struct native_block *nb = b->native;
	const char *what = NULL;
	unsigned last = b->n;
	op_fn *fn;
	bool raised;

	if (nb != NULL)
		last = ~nb->ours ? MIN((unsigned)__builtin_ctzll(~nb->ours), b->n) : b->n;
	/* An op of the interpreter's runs alone. */
	last = MAX(last, 1u);
	fn = b->op[last].fn;
	b->op[last].fn = block_stop;
	if (nb != NULL && (nb->ours & 1) && is_due(nb) && !is_cut(b, last)) {
		what = compare(c, b, last);
		raised = c->run->lockstep->interpreted.raised;
	} else if (nb != NULL && !(nb->ours & 1)) {
		raised = go(c, b->op);
	} else {
		native_poke(c);
		raised = go(c, &b->entry);
	}
	if (b->op[last].fn == block_stop)
		b->op[last].fn = fn;
	if (what != NULL)
		report(c, b, what);
	if (raised)
		longjmp(*c->catch, 1);
}
