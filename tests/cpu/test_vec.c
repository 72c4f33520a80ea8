/*
 * Every vector, x87 and VEX-encoded instruction against this processor.  All opcodes of their maps are
 * tried with every prefix, VEX length and W bit; those that it is about run with random operands, control
 * words and memory.
 *
 * test_vec [SEED [ROUNDS]]; each form is executed ROUNDS times.
 */
#include "vec_values.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "host/host.h"

#define MXCSR_OE 0x08u
#define MXCSR_UE 0x10u
#define MXCSR_PE 0x20u

static unsigned rounds = 6;

static bool is_vector(const struct decoded *d)
{
	switch (d->insn.meta.isa_set) {
	case ZYDIS_ISA_SET_PENTIUMMMX:
	case ZYDIS_ISA_SET_SSE:
	case ZYDIS_ISA_SET_SSE2:
	case ZYDIS_ISA_SET_SSE2MMX:
	case ZYDIS_ISA_SET_SSE3:
	case ZYDIS_ISA_SET_SSSE3:
	case ZYDIS_ISA_SET_SSSE3MMX:
	case ZYDIS_ISA_SET_SSE4:
	case ZYDIS_ISA_SET_SSE42:
	case ZYDIS_ISA_SET_SSEMXCSR:
		return true;
	case ZYDIS_ISA_SET_AES:
		return host_cpu()->aes;
	case ZYDIS_ISA_SET_PCLMULQDQ:
		return host_cpu()->f1_ecx & 2;
	case ZYDIS_ISA_SET_SHA:
		return host_cpu()->sha;
	case ZYDIS_ISA_SET_GFNI:
		return host_cpu()->f7_ecx >> 8 & 1;
	case ZYDIS_ISA_SET_AVX:
	case ZYDIS_ISA_SET_AVXAES:
		return host_cpu()->avx;
	case ZYDIS_ISA_SET_AVX2:
	case ZYDIS_ISA_SET_AVX2GATHER:
		return host_cpu()->avx2;
	case ZYDIS_ISA_SET_FMA:
		return host_cpu()->fma;
	case ZYDIS_ISA_SET_F16C:
		return host_cpu()->f16c;
	case ZYDIS_ISA_SET_AVX_GFNI:
		return host_cpu()->avx && host_cpu()->f7_ecx >> 8 & 1;
	case ZYDIS_ISA_SET_VAES:
		return host_cpu()->avx && host_cpu()->f7_ecx >> 9 & 1;
	case ZYDIS_ISA_SET_VPCLMULQDQ:
		return host_cpu()->avx && host_cpu()->f7_ecx >> 10 & 1;
	case ZYDIS_ISA_SET_X87:
	case ZYDIS_ISA_SET_FCMOV:
	case ZYDIS_ISA_SET_PPRO:
	case ZYDIS_ISA_SET_SSE3X87:
		return true;
	case ZYDIS_ISA_SET_BMI1:
	case ZYDIS_ISA_SET_BMI2:
		return host_cpu()->bmi && d->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
	default:
		return false;
	}
}

static const char *difference(const struct vec_state *want, const struct vec_state *got)
{
	if (want->vector != got->vector)
		return "exception";
	if (memcmp(want->fpu.xmm, got->fpu.xmm, sizeof(want->fpu.xmm)) != 0)
		return "xmm";
	if (memcmp(want->fpu.high, got->fpu.high, sizeof(want->fpu.high)) != 0)
		return "ymm";
	if (want->fpu.mxcsr != got->fpu.mxcsr)
		return "mxcsr";
	if (memcmp(want->mem, got->mem, sizeof(want->mem)) != 0)
		return "memory";
	if (want->flags != got->flags)
		return "flags";
	for (unsigned i = 0; i < 16; i++)
		if (i != CPU_RBX && i != CPU_RSP && i != CPU_RDI && want->gpr[i] != got->gpr[i])
			return "gpr";
	if (want->fpu.fcw != got->fpu.fcw)
		return "fcw";
	if (want->fpu.fsw != got->fpu.fsw)
		return "fsw";
	if (want->fpu.ftw != got->fpu.ftw)
		return "ftw";
	for (unsigned i = 0; i < 8; i++)
		if (memcmp(&want->fpu.st[i], &got->fpu.st[i], 10) != 0)
			return "st";
	return NULL;
}

static unsigned failures, cases, forms;

static void dump(const char *name, const struct vec_state *s, const struct decoded *d)
{
	printf("  %-6s vector %d mxcsr %04x fcw %04x fsw %04x ftw %02x flags %03lx\n", name,
	       s->vector, s->fpu.mxcsr, s->fpu.fcw, s->fpu.fsw, s->fpu.ftw,
	       (unsigned long)s->flags);
	for (unsigned i = 0; i < d->insn.operand_count; i++) {
		const ZydisDecodedOperand *o = &d->operand[i];
		int r = ZydisRegisterGetId(o->reg.value);

		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY) {
			printf("         mem  ");
			for (unsigned k = 0; k < 4; k++)
				printf(" %016lx",
				       (unsigned long)((uint64_t *)s->mem)[VEC_MEM / 16 + k]);
			printf("\n");
		} else if (o->type == ZYDIS_OPERAND_TYPE_REGISTER && r >= 0 && r < 16 &&
		           ZydisRegisterGetClass(o->reg.value) == ZYDIS_REGCLASS_X87) {
			printf("         st%d   %04x %016lx\n", r, s->fpu.st[r].exponent,
			       (unsigned long)s->fpu.st[r].mantissa);
		} else if (o->type == ZYDIS_OPERAND_TYPE_REGISTER && r >= 0 && r < 16) {
			printf("         v%-2d   %016lx %016lx %016lx %016lx  r%d %016lx\n", r,
			       (unsigned long)s->fpu.xmm[r].q[0], (unsigned long)s->fpu.xmm[r].q[1],
			       (unsigned long)s->fpu.high[r].q[0],
			       (unsigned long)s->fpu.high[r].q[1], r, (unsigned long)s->gpr[r]);
		}
	}
}

static void report(const char *what, const uint8_t *insn, unsigned len, const struct decoded *d,
                   const struct vec_state *in, const struct vec_state *want,
                   const struct vec_state *got)
{
	static unsigned shown[ZYDIS_MNEMONIC_MAX_VALUE + 1];

	failures++;
	if (shown[d->insn.mnemonic]++ >= 2)
		return;
	printf("%s differs: %s", what, ZydisMnemonicGetString(d->insn.mnemonic));
	for (unsigned i = 0; i < len; i++)
		printf(" %02x", insn[i]);
	printf("\n");
	dump("in", in, d);
	dump("native", want, d);
	dump("soft", got, d);
}

/* What the harness cannot run natively in this form. */
static bool excluded(const struct decoded *d)
{
	for (unsigned i = 0; i < d->insn.operand_count; i++) {
		const ZydisDecodedOperand *o = &d->operand[i];
		bool high;

		/* rsp, and the registers that hold addresses */
		if (o->type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    (decode_gpr(o->reg.value, &high) == CPU_RSP ||
		     decode_gpr(o->reg.value, &high) == CPU_RBX ||
		     decode_gpr(o->reg.value, &high) == CPU_RDI))
			return true;
	}
	return false;
}

static bool is_dot_product(const struct decoded *d)
{
	return d->insn.mnemonic == ZYDIS_MNEMONIC_DPPS || d->insn.mnemonic == ZYDIS_MNEMONIC_DPPD ||
	       d->insn.mnemonic == ZYDIS_MNEMONIC_VDPPS || d->insn.mnemonic == ZYDIS_MNEMONIC_VDPPD;
}

/* Those that are defined. */
static uint64_t bmi_flags(const struct decoded *d, uint64_t flags)
{
	if (d->insn.cpu_flags != NULL)
		flags &= ~(uint64_t)d->insn.cpu_flags->undefined;
	return flags;
}

static void one_case(const uint8_t *insn, unsigned len, const struct decoded *d)
{
	struct vec_state in, want, got;
	const char *what;
	bool crossing = vec_below(6) == 0;

	vec_random_state(&in);
	/* SHA's operands: Intel wants them aligned, AMD doesn't. */
	in.shift = crossing && d->insn.meta.isa_set != ZYDIS_ISA_SET_SHA
	                   ? (unsigned[]){0, 1, 8, 16}[vec_below(4)]
	                   : 0;
	want = got = in;
	vec_run_native(insn, len, &want);
	vec_run_soft(insn, len, false, crossing, &got);
	/* Overflow and underflow unmasked: the engine doesn't know what an unbounded exponent would lose. */
	if (want.vector == EXC_XM && got.vector == EXC_XM &&
	    (want.fpu.mxcsr & ~(in.fpu.mxcsr >> 7) & (MXCSR_OE | MXCSR_UE)))
		want.fpu.mxcsr |= got.fpu.mxcsr & MXCSR_PE;
	/* Dot products stop at the first of their steps that raises; the engine runs them whole. */
	if (want.vector == EXC_XM && got.vector == EXC_XM && is_dot_product(d))
		want.fpu.mxcsr = got.fpu.mxcsr;
	if (d->insn.meta.isa_set == ZYDIS_ISA_SET_BMI1 ||
	    d->insn.meta.isa_set == ZYDIS_ISA_SET_BMI2)
		want.flags = bmi_flags(d, want.flags), got.flags = bmi_flags(d, got.flags);
	cases++;
	what = difference(&want, &got);
	if (what != NULL)
		report(what, insn, len, d, &in, &want, &got);
}

static void try(const uint8_t *insn, unsigned len)
{
	static ZydisDecoder z;
	static bool ready;
	struct decoded d;

	if (!ready)
		ZydisDecoderInit(&z, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	ready = true;
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&z, insn, len, &d.insn, d.operand)) ||
	    !is_vector(&d) || excluded(&d))
		return;
	forms++;
	for (unsigned i = 0; i < rounds; i++)
		one_case(insn, d.insn.length, &d);
}

/* A random ModRM: register form, or [rbx + disp8] with a displacement that keeps it aligned, mostly. */
static unsigned modrm(uint8_t *p, bool memory)
{
	static const uint8_t disp[] = {0, 16, 32, 0xe0, 64, 8, 1};
	unsigned reg = vec_below(8);

	if (!memory) {
		p[0] = (uint8_t)(0xc0 | reg << 3 | vec_below(8));
		return 1;
	}
	p[0] = (uint8_t)(0x43 | reg << 3);
	p[1] = disp[vec_below(12) == 0 ? 5 + vec_below(2) : vec_below(5)];
	return 2;
}

static void legacy(unsigned map, unsigned opcode, unsigned prefix, bool memory)
{
	static const uint8_t byte[] = {0, 0x66, 0xf3, 0xf2};
	uint8_t insn[20];
	unsigned n = 0;

	if (prefix)
		insn[n++] = byte[prefix];
	if (vec_below(2))
		insn[n++] = (uint8_t)(0x40 | (vec_below(16) & (memory ? 0xc : 0xd)));
	insn[n++] = 0x0f;
	if (map)
		insn[n++] = map == 1 ? 0x38 : 0x3a;
	insn[n++] = (uint8_t)opcode;
	n += modrm(insn + n, memory);
	insn[n++] = (uint8_t)vec_random();
	try(insn, n);
}

static void vex(unsigned map, unsigned opcode, unsigned pp, unsigned l, unsigned w, bool memory)
{
	uint8_t insn[20];
	unsigned n = 0, vvvv = vec_below(2) ? vec_below(16) : 0;

	insn[n++] = 0xc4;
	insn[n++] = (uint8_t)(vec_below(2) << 7 | 0x40 | (memory ? 1 : vec_below(2)) << 5 | map);
	insn[n++] = (uint8_t)(w << 7 | (~vvvv & 15) << 3 | l << 2 | pp);
	insn[n++] = (uint8_t)opcode;
	n += modrm(insn + n, memory);
	insn[n++] = (uint8_t)vec_random();
	try(insn, n);
}

static void finish(const char *what)
{
	printf("%s: %u forms, %u cases, %u differ\n", what, forms, cases, failures);
	assert_int_equal(failures, 0);
	assert_true(forms > 0);
	forms = cases = 0;
}

static void legacy_instructions(void **state)
{
	vec_run_signals();
	for (unsigned i = 0; i < 3 * 256; i++)
		if (i != 0x38 && i != 0x3a) /* escapes to the other maps */
			for (unsigned k = 0; k < 4 * 2 * 8; k++)
				legacy(i >> 8, i & 0xff, k & 3, k & 4);
	finish("MMX, SSE");
}

static void x87_instructions(void **state)
{
	vec_run_signals();
	for (unsigned opcode = 0xd8; opcode < 0xe0; opcode++) {
		for (unsigned m = 0xc0; m < 0x100; m++)
			for (unsigned k = 0; k < 4; k++)
				try((const uint8_t[]){(uint8_t)opcode, (uint8_t)m}, 2);
		for (unsigned reg = 0; reg < 8; reg++) {
			for (unsigned k = 0; k < 16; k++) {
				uint8_t insn[4] = {0x66, (uint8_t)opcode};

				insn[2] = (uint8_t)(0x43 | reg << 3);
				insn[3] = (uint8_t)(vec_below(128) - 64);
				try(insn + (k & 1), 4 - (k & 1));
			}
		}
	}
	try((const uint8_t[]){0x9b}, 1);
	finish("x87");
}

static void vex_instructions(void **state)
{
	vec_run_signals();
	for (unsigned map = 1; map < 4; map++)
		for (unsigned opcode = 0; opcode < 256; opcode++)
			for (unsigned k = 0; k < 32 * 8; k++)
				vex(map, opcode, k & 3, k >> 2 & 1, k >> 3 & 1, k & 16);
	finish("AVX");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(legacy_instructions),
		cmocka_unit_test(x87_instructions),
		cmocka_unit_test(vex_instructions),
	};
	int rc;

	vec_seed = (uint64_t)time(NULL);
	if (argc > 1)
		vec_seed = strtoull(argv[1], NULL, 0);
	if (argc > 2)
		rounds = (unsigned)strtoul(argv[2], NULL, 0);
	printf("seed 0x%llx\n", (unsigned long long)vec_seed);
	vec_run_open();
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	vec_run_close();
	return rc;
}
