/*
 * test_cpu CLASS [--mode 64|32|seg32|seg16] [--seed N] [--count N] [--case N] [--strict]
 *
 * Runs random cases of a class on all executors and compares what comes out.  The environment's
 * CPU_SEED and CPU_COUNT say the same as the options.  --case runs a single one, for the debugger;
 * --strict compares undefined flags too.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include "compare.h"
#include "gen.h"
#include "machine/cpu.h"
#include "sequence.h"

#define SKIP        77
#define SHOWN_MAX   10
#define IMAGE_CASES 16 /* so many cases start from the same data */

/* The first is the oracle. */
static struct side sides[] = {
	{.executor = &executor_native},
	{.executor = &executor_interpreter},
	{.executor = &executor_translator},
};

#define MODES_FLAT 3u /* 1 << enum case_mode */
#define MODES_ALL  15u

static const struct {
	const char *name;
	enum insn_class class;
	unsigned modes;
	unsigned count; /* cases for each mode */
} classes[] = {
	{"alu", CLASS_ALU, MODES_ALL, 20000},
	{"mov", CLASS_MOV, MODES_ALL, 20000},
	{"shift", CLASS_SHIFT, MODES_ALL, 20000},
	{"mul", CLASS_MUL, MODES_ALL, 20000},
	{"bit", CLASS_BIT, MODES_ALL, 20000},
	{"string", CLASS_STRING, MODES_ALL, 20000},
	{"atomic", CLASS_ATOMIC, MODES_ALL, 20000},
	{"stack", CLASS_STACK, MODES_ALL, 20000},
	{"flow", CLASS_FLOW, MODES_ALL, 20000},
	{"segment", CLASS_SEGMENT, MODES_ALL, 20000},
	{"trap", CLASS_TRAP, MODES_ALL, 10000},
	{"bcd", CLASS_BCD, MODES_ALL & ~(1u << CASE_64), 10000},
	{"x87", CLASS_X87, MODES_ALL, 20000},
	{"mmx", CLASS_MMX, MODES_ALL, 20000},
	{"sse", CLASS_SSE, MODES_ALL, 40000},
	{"sse-fp", CLASS_SSE_FP, MODES_ALL, 40000},
	{"avx", CLASS_AVX, MODES_ALL, 40000},
	{"avx-fp", CLASS_AVX_FP, MODES_ALL, 40000},
	{"crypto", CLASS_CRYPTO, MODES_ALL, 20000},
	{"xsave", CLASS_XSAVE, MODES_FLAT, 10000},
	{"sequence", CLASS_NONE, MODES_ALL, 10000},
};
static const char *const mode_names[] = {"64", "32", "seg32", "seg16"};

struct run {
	struct gen_wish wish;
	const struct sequences *sequences; /* or NULL: single instructions */
	uint64_t seed;
	bool strict;
	unsigned cases, ended, failed; /* ended: reached the INT3 behind the code */
	uint16_t covered[ZYDIS_MNEMONIC_MAX_VALUE + 1];
	uint16_t wrong[ZYDIS_MNEMONIC_MAX_VALUE + 1];
};

struct options {
	const char *class;
	unsigned modes;
	uint64_t seed, count;
	int64_t only;
	bool strict;
};

static struct {
	const struct executor *running; /* NULL: none */
	uint64_t number;                /* of the execution */
} volatile now;

/* Twice in the same execution: it does not end. */
static void on_tick(int sig, siginfo_t *info, void *context)
{
	static uint64_t last;

	if (now.running && now.number == last)
		now.running->stop(context);
	last = now.number;
}

static void start_ticks(void)
{
	const struct itimerval t = {{0, 500000}, {0, 500000}};
	struct sigaction sa = {.sa_sigaction = on_tick,
	                       .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};

	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &t, NULL);
}

static unsigned code_offset(const struct cpu_case *c)
{
	return (unsigned)(c->in.rip + case_code_base(c) - BOX_CODE);
}

static void load_code(const struct side *s, const struct cpu_case *c, bool put)
{
	unsigned at = code_offset(c);

	if (put)
		memcpy(s->box.code + at, c->code, c->len);
	else
		memset(s->box.code + at, 0xcc, c->len);
	s->executor->code_changed(at, c->len);
}

static void execute(struct side *s, const struct cpu_case *c, const struct image *image)
{
	struct outcome *o = &s->outcome;

	for (unsigned p = 0; p < BOX_DATA_PAGES; p++)
		memcpy(s->box.data[p], image->data + p * BOX_PAGE, BOX_PAGE);
	load_code(s, c, true);
	memset(o, 0, sizeof(*o));
	now.number++;
	now.running = s->executor;
	s->executor->run(c, o);
	now.running = NULL;
	memcpy(s->code, s->box.code + code_offset(c), c->len);
	load_code(s, c, false);
	outcome_normalize(c, o);
}

static void make_image(const struct run *r, uint64_t number, struct image *image)
{
	static struct image base;
	static uint64_t made = UINT64_MAX;

	if (made != number / IMAGE_CASES) {
		struct rng rng = {rng_mix(r->seed + 1) ^ number / IMAGE_CASES};

		made = number / IMAGE_CASES;
		gen_image(&rng, &base);
	}
	*image = base;
}

static void count_case(struct run *r, const struct cpu_case *c, const struct outcome *o)
{
	struct insn n;

	r->cases++;
	r->ended += o->vector == EXC_BP && o->out.rip == c->in.rip + c->len + 1;
	if (insn_decode(c->mode, c->code, c->len, &n))
		r->covered[n.i.mnemonic]++;
}

static void report(struct run *r, uint64_t number, const struct cpu_case *c, const struct side *s)
{
	struct insn n;

	r->failed++;
	if (insn_decode(c->mode, c->code, c->len, &n) && r->wrong[n.i.mnemonic]++ >= 2)
		return;
	if (r->failed > SHOWN_MAX * 4)
		return;
	printf("  differs: --mode %s --seed %" PRIu64 " --case %" PRIu64 "\n", mode_names[c->mode],
	       r->seed, number);
	case_print(stdout, c);
	outcome_print(stdout, c, &sides[0], s);
}

static bool make_case(const struct run *r, uint64_t number, struct cpu_case *c, struct image *image)
{
	struct rng rng = {rng_mix(r->seed) ^ rng_mix(number + ((uint64_t)r->wish.mode << 56))};

	if (r->sequences) {
		make_image(r, number, image);
		gen_sequence(&rng, r->sequences, c);
		return true;
	}
	for (unsigned tries = 0; tries < 100; tries++) {
		make_image(r, number, image);
		if (gen_single(&rng, &r->wish, c, image))
			return true;
	}
	return false;
}

static bool agree(const struct cpu_case *c, const struct side *a, const struct side *b)
{
	return outcome_equal(c, &a->outcome, &b->outcome) &&
	       memcmp(a->code, b->code, c->len) == 0 && box_equal(c, &a->outcome, &a->box, &b->box);
}

static void run_case(struct run *r, uint64_t number)
{
	static struct cpu_case c;
	static struct image image;

	if (!make_case(r, number, &c, &image))
		return;
	if (r->strict)
		c.undefined = 0;
	execute(&sides[0], &c, &image);
	count_case(r, &c, &sides[0].outcome);
	for (unsigned i = 1; i < ARRAY_LEN(sides); i++) {
		if (sides[i].executor == &executor_translator && c.mode != CASE_64)
			continue;
		execute(&sides[i], &c, &image);
		if (!agree(&c, &sides[0], &sides[i]))
			report(r, number, &c, &sides[i]);
	}
}

static void summarize_forms(const struct run *r)
{
	const struct catalogue *f = r->wish.forms;
	unsigned covered = 0;

	for (unsigned g = 0; g < f->groups; g++) {
		uint16_t m = f->form[f->group[g]].mnemonic;

		covered += r->covered[m] != 0;
		if (!r->covered[m] && r->cases > f->groups * 20)
			printf("  never tried: %s\n", ZydisMnemonicGetString(m));
	}
	printf("  %u of %u instructions tried\n", covered, f->groups);
	for (unsigned m = 0; m <= ZYDIS_MNEMONIC_MAX_VALUE; m++)
		if (r->wrong[m])
			printf("  %s: %u of %u\n", ZydisMnemonicGetString(m), r->wrong[m],
			       r->covered[m]);
}

static void summarize(const struct run *r, const char *name)
{
	printf("%s, mode %s: %u cases, %u%% without exception, %u differ\n", name,
	       mode_names[r->wish.mode], r->cases, r->cases ? r->ended * 100 / r->cases : 0,
	       r->failed);
	if (!r->sequences)
		summarize_forms(r);
}

/* 0, or 1 when something differed or nothing was tested. */
static int run_class(unsigned k, enum case_mode mode, const struct options *o)
{
	uint64_t count = o->count ? o->count : classes[k].count;
	static struct sequences sequences;
	struct catalogue forms;
	static struct run r;

	memset(&r, 0, sizeof(r));
	catalogue_make(&forms, classes[k].class, mode);
	if (classes[k].class == CLASS_NONE) {
		sequences_make(&sequences, mode);
		r.sequences = &sequences;
	}
	r.wish = (struct gen_wish){classes[k].class, mode, &forms};
	r.seed = o->seed;
	r.strict = o->strict;
	if (!r.sequences && forms.n == 0) {
		printf("%s, mode %s: the processor has none\n", classes[k].name, mode_names[mode]);
		catalogue_free(&forms);
		return 0;
	}
	for (uint64_t i = 0; i < (o->only >= 0 ? 1 : count); i++)
		run_case(&r, o->only >= 0 ? (uint64_t)o->only : i);
	summarize(&r, classes[k].name);
	catalogue_free(&forms);
	if (r.sequences)
		sequences_free(&sequences);
	return r.failed != 0 || r.cases == 0;
}

static int open_executors(void)
{
	for (unsigned i = 0; i < ARRAY_LEN(sides); i++) {
		struct side *s = &sides[i];
		int rc = s->executor->open(&s->box);

		if (rc < 0) {
			printf("executor %s: %s\n", s->executor->name, strerror(-rc));
			return rc;
		}
		memset(s->box.code, 0xcc, BOX_CODE_PAGES * BOX_PAGE);
		s->executor->code_changed(0, BOX_CODE_PAGES * BOX_PAGE);
	}
	return 0;
}

static void close_executors(void)
{
	for (unsigned i = 0; i < ARRAY_LEN(sides); i++)
		sides[i].executor->close();
}

static uint64_t environment(const char *name, uint64_t otherwise)
{
	const char *v = getenv(name);

	return v && *v ? strtoull(v, NULL, 0) : otherwise;
}

static bool parse(int argc, char **argv, struct options *o)
{
	*o = (struct options){.modes = MODES_ALL, .only = -1};
	o->seed = environment("CPU_SEED", 1);
	o->count = environment("CPU_COUNT", 0);
	if (argc < 2)
		return false;
	o->class = argv[1];
	for (int i = 2; i < argc; i++) {
		const char *v = i + 1 < argc ? argv[i + 1] : "";

		if (strcmp(argv[i], "--strict") == 0) {
			o->strict = true;
			continue;
		}
		if (strcmp(argv[i], "--seed") == 0)
			o->seed = strtoull(v, NULL, 0);
		else if (strcmp(argv[i], "--count") == 0)
			o->count = strtoull(v, NULL, 0);
		else if (strcmp(argv[i], "--case") == 0)
			o->only = (int64_t)strtoull(v, NULL, 0);
		else if (strcmp(argv[i], "--mode") == 0)
			for (unsigned m = o->modes = 0; m < ARRAY_LEN(mode_names); m++)
				o->modes |= strcmp(v, mode_names[m]) == 0 ? 1u << m : 0;
		else
			return false;
		i++;
	}
	return true;
}

int main(int argc, char **argv)
{
	struct options o;
	unsigned k = 0;
	int rc = 0;

	if (!parse(argc, argv, &o)) {
		fprintf(stderr,
		        "usage: %s CLASS [--mode M] [--seed N] [--count N] [--case N] "
		        "[--strict]\n",
		        argv[0]);
		return 2;
	}
	while (k < ARRAY_LEN(classes) && strcmp(classes[k].name, o.class) != 0)
		k++;
	if (k == ARRAY_LEN(classes)) {
		fprintf(stderr, "no class '%s'\n", o.class);
		return 2;
	}
	rc = open_executors();
	if (rc < 0)
		return rc == -EOPNOTSUPP ? SKIP : 1;
	if (!native_has_ldt()) {
		printf("no LDT here (modify_ldt): no segmented code\n");
		if (classes[k].class == CLASS_SEGMENT)
			return SKIP;
		o.modes &= MODES_FLAT;
	}
	start_ticks();
	printf("seed %" PRIu64 "\n", o.seed);
	for (unsigned m = 0; m < ARRAY_LEN(mode_names); m++)
		if (o.modes & classes[k].modes & 1u << m)
			rc |= run_class(k, m, &o);
	printf("%" PRIu64 " blocks translated\n", soft_translated());
	close_executors();
	return rc;
}
