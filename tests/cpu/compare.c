#include "compare.h"

#include <inttypes.h>
#include <string.h>
#include "insn.h"
#include "machine/cpu.h"

#define X87_POINTERS     6 /* FOP, FIP, FDP: kept differently by processors */
#define X87_POINTERS_LEN 18
#define MXCSR_MASK       28
#define MXCSR_OE         0x0008u
#define MXCSR_UE         0x0010u
#define MXCSR_PE         0x0020u
#define USER_TOP         0x7ffffffff000ull /* of Linux' TASK_SIZE_MAX */

static const char *const gpr_names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                          "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

/* Components that XSTATE_BV says are in their initial state, and bytes that mean nothing. */
static void normalize_xsave(uint8_t *x)
{
	static const uint16_t fcw = 0x37f;
	uint64_t bv;

	memcpy(&bv, x + CASE_BV, 8);
	if (!(bv & 1)) {
		memset(x, 0, CASE_MXCSR);
		memset(x + CASE_ST, 0, CASE_XMM - CASE_ST);
		memcpy(x + CASE_FCW, &fcw, 2);
	}
	if (!(bv & 2))
		memset(x + CASE_XMM, 0, 256);
	if (!(bv & 4))
		memset(x + CASE_YMMH, 0, 256);
	memset(x + X87_POINTERS, 0, X87_POINTERS_LEN);
	memset(x + MXCSR_MASK, 0, 4);
	for (unsigned i = 0; i < 8; i++)
		memset(x + CASE_ST + 16 * i + 10, 0, 6);
	x[CASE_FTW + 1] = 0;
	memset(x + CASE_XMM + 256, 0, CASE_YMMH - CASE_XMM - 256);
}

/*
 * With a trapping overflow or underflow the precision flag tells whether the result would be inexact
 * with an exponent of any size, which the engine doesn't know.
 */
static void forget_precision(uint8_t *x)
{
	uint32_t mxcsr;

	memcpy(&mxcsr, x + CASE_MXCSR, 4);
	if (mxcsr & (MXCSR_OE | MXCSR_UE))
		mxcsr &= ~MXCSR_PE;
	memcpy(x + CASE_MXCSR, &mxcsr, 4);
}

static bool is_partial(const struct cpu_case *c, const struct outcome *o)
{
	return c->partial && o->out.rip == c->in.rip;
}

void outcome_normalize(const struct cpu_case *c, struct outcome *o)
{
	if (o->timeout) {
		memset(o, 0, sizeof(*o));
		o->timeout = true;
		return;
	}
	if (c->mode != CASE_64 || o->cs != SEL_CODE64) {
		for (unsigned i = 0; i < 16; i++)
			o->out.gpr[i] = i < 8 ? (uint32_t)o->out.gpr[i] : 0;
		o->out.gs_base = 0;
	}
	/* The kernel's way back to a program makes all null selectors 0. */
	o->ds = o->ds < 4 ? 0 : o->ds;
	o->es = o->es < 4 ? 0 : o->es;
	o->gs = o->gs < 4 ? 0 : o->gs;
	o->out.rflags &= ~(uint64_t)c->undefined;
	/* Linux says of addresses that aren't a program's that they are present. */
	if (o->vector == EXC_PF && o->cr2 >= USER_TOP)
		o->error |= 1;
	if (c->any_fault && (o->vector == EXC_PF || o->vector == EXC_GP || o->vector == EXC_SS ||
	                     o->vector == EXC_AC)) {
		o->vector = EXC_PF;
		o->cr2 = o->error = 0;
	}
	if (o->vector == EXC_XM)
		forget_precision(o->out.xsave);
	if (is_partial(c, o)) {
		memset(o->out.gpr, 0, sizeof(o->out.gpr));
		memset(o->out.xsave, 0, sizeof(o->out.xsave));
	}
	normalize_xsave(o->out.xsave);
}

bool outcome_equal(const struct cpu_case *c, const struct outcome *a, const struct outcome *b)
{
	return a->timeout == b->timeout && a->vector == b->vector && a->error == b->error &&
	       a->cr2 == b->cr2 && a->cs == b->cs && a->ss == b->ss && a->ds == b->ds &&
	       a->es == b->es && a->gs == b->gs && memcmp(&a->out, &b->out, sizeof(a->out)) == 0;
}

bool box_equal(const struct cpu_case *c, const struct outcome *o, const struct box *a,
               const struct box *b)
{
	if (is_partial(c, o))
		return true;
	for (unsigned i = 0; i < c->holes; i++)
		for (unsigned k = 0; k < c->hole[i].len; k++) {
			unsigned at = c->hole[i].at + k;

			if (at < BOX_DATA_PAGES * BOX_PAGE)
				a->data[at / BOX_PAGE][at % BOX_PAGE] =
					b->data[at / BOX_PAGE][at % BOX_PAGE];
		}
	for (unsigned i = 0; i < BOX_DATA_PAGES; i++)
		if (memcmp(a->data[i], b->data[i], BOX_PAGE) != 0)
			return false;
	return true;
}

static void print_u64(FILE *out, const char *name, uint64_t in, uint64_t a, uint64_t b)
{
	if (a != b)
		fprintf(out, "    %-7s %016" PRIx64 " -> %016" PRIx64 " | %016" PRIx64 "\n", name,
		        in, a, b);
}

static void print_bytes(FILE *out, const char *name, unsigned i, const uint8_t *in,
                        const uint8_t *a, const uint8_t *b, unsigned len)
{
	const uint8_t *p[3] = {in, a, b};

	if (memcmp(a, b, len) == 0)
		return;
	fprintf(out, "    %s%-*u ", name, 7 - (int)strlen(name), i);
	for (unsigned k = 0; k < 3; k++) {
		for (unsigned n = len; n-- > 0;)
			fprintf(out, "%02x", p[k][n]);
		fputs(k == 0 ? " -> " : k == 1 ? " | " : "\n", out);
	}
}

static void print_xsave(FILE *out, const uint8_t *in, const uint8_t *a, const uint8_t *b)
{
	static const struct {
		const char *name;
		uint16_t at, len, n;
	} field[] = {
		{"fcw", CASE_FCW, 2, 1},     {"fsw", CASE_FSW, 2, 1},     {"ftw", CASE_FTW, 1, 1},
		{"st", CASE_ST, 10, 8},      {"mxcsr", CASE_MXCSR, 4, 1}, {"xmm", CASE_XMM, 16, 16},
		{"ymmh", CASE_YMMH, 16, 16}, {"bv", CASE_BV, 8, 2},
	};

	for (unsigned i = 0; i < ARRAY_LEN(field); i++)
		for (unsigned k = 0; k < field[i].n; k++) {
			unsigned step = field[i].len == 10 ? 16 : field[i].len;
			unsigned at = field[i].at + k * step;

			print_bytes(out, field[i].name, k, in + at, a + at, b + at, field[i].len);
		}
}

static void print_data(FILE *out, const struct box *x, const struct box *y)
{
	unsigned lines = 0;

	for (unsigned at = 0; at < BOX_DATA_PAGES * BOX_PAGE && lines < 4; at += 16) {
		const uint8_t *a = x->data[at / BOX_PAGE] + at % BOX_PAGE;
		const uint8_t *b = y->data[at / BOX_PAGE] + at % BOX_PAGE;

		if (memcmp(a, b, 16) == 0)
			continue;
		fprintf(out, "    data at %x:\n", BOX_DATA + at);
		print_bytes(out, "  ", 0, a, a, b, 16);
		lines++;
	}
}

void outcome_print(FILE *out, const struct cpu_case *c, const struct side *x, const struct side *y)
{
	const struct outcome *o = &x->outcome, *p = &y->outcome;
	const struct cpu_regs *a = &o->out, *b = &p->out;

	fprintf(out, "    (before -> %s | %s)\n", x->executor->name, y->executor->name);
	if (o->timeout)
		fprintf(out, "    %s did not end\n", x->executor->name);
	if (p->timeout)
		fprintf(out, "    %s did not end\n", y->executor->name);
	if (o->timeout || p->timeout)
		return;
	print_u64(out, "vector", 0, o->vector, p->vector);
	print_u64(out, "error", 0, o->error, p->error);
	print_u64(out, "cr2", 0, o->cr2, p->cr2);
	print_u64(out, "cs", c->cs, o->cs, p->cs);
	print_u64(out, "ss", c->ss, o->ss, p->ss);
	print_u64(out, "ds", c->ds, o->ds, p->ds);
	print_u64(out, "es", c->es, o->es, p->es);
	print_u64(out, "gs", 0, o->gs, p->gs);
	print_u64(out, "rip", c->in.rip, a->rip, b->rip);
	print_u64(out, "rflags", c->in.rflags, a->rflags, b->rflags);
	for (unsigned i = 0; i < 16; i++)
		print_u64(out, gpr_names[i], c->in.gpr[i], a->gpr[i], b->gpr[i]);
	print_u64(out, "gs_base", c->in.gs_base, a->gs_base, b->gs_base);
	print_xsave(out, c->in.xsave, a->xsave, b->xsave);
	print_data(out, &x->box, &y->box);
	if (memcmp(x->code, y->code, c->len) != 0)
		fprintf(out, "    the code is not the same\n");
}

void case_print(FILE *out, const struct cpu_case *c)
{
	static const char *const modes[] = {"64", "32", "seg32", "seg16"};
	ZydisFormatter f;
	char text[128];
	unsigned at = 0;
	struct insn n;

	ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL);
	while (at < c->len) {
		unsigned left = MIN(c->len - at, (unsigned)ZYDIS_MAX_INSTRUCTION_LENGTH);

		if (!insn_decode(c->mode, c->code + at, left, &n))
			break;
		ZydisFormatterFormatInstruction(&f, &n.i, n.op, n.i.operand_count_visible, text,
		                                sizeof(text), c->in.rip + at, NULL);
		fprintf(out, "    %s %08" PRIx64 " ", modes[c->mode], c->in.rip + at);
		for (unsigned i = 0; i < n.i.length; i++)
			fprintf(out, "%02x", c->code[at + i]);
		fprintf(out, "  %s\n", text);
		at += n.i.length;
	}
	if (c->mode >= CASE_SEG32)
		fprintf(out, "    segments: ss %u ds %u es %u\n", c->ss >> 3, c->ds >> 3,
		        c->es >> 3);
	for (unsigned i = 0; i < (c->mode == CASE_64 ? 16 : 8); i++)
		fprintf(out, "%s%s=%" PRIx64 "%s", i % 8 ? " " : "    ", gpr_names[i], c->in.gpr[i],
		        i % 8 == 7 ? "\n" : "");
}
