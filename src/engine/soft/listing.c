/* By Zydis: see listing.h. */
#include "engine/soft/listing.h"

#include <inttypes.h>

#include <Zydis/Zydis.h>

#define BYTES_SHOWN 10

static void decoder_init(ZydisDecoder *z, unsigned bits)
{
	if (bits == 64)
		ZydisDecoderInit(z, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	else if (bits == 32)
		ZydisDecoderInit(z, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
	else
		ZydisDecoderInit(z, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
}

static void print_bytes(FILE *f, const uint8_t *p, unsigned len)
{
	for (unsigned i = 0; i < MAX(len, BYTES_SHOWN); i++) {
		if (i < len)
			fprintf(f, "%02x", p[i]);
		else
			fprintf(f, "  ");
	}
}

void listing_print(FILE *f, const uint8_t *code, size_t len, uint64_t address, unsigned bits,
                   uint64_t mark)
{
	ZydisDecoder z;
	ZydisFormatter text;
	size_t at = 0;

	decoder_init(&z, bits);
	ZydisFormatterInit(&text, ZYDIS_FORMATTER_STYLE_ATT);
	while (at < len) {
		ZydisDecodedInstruction insn;
		ZydisDecodedOperand o[ZYDIS_MAX_OPERAND_COUNT];
		char line[128] = "(bad)";
		unsigned n = 1;

		if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(&z, code + at, len - at, &insn, o))) {
			n = insn.length;
			ZydisFormatterFormatInstruction(&text, &insn, o, insn.operand_count_visible,
			                                line, sizeof(line), address + at, NULL);
		}
		fprintf(f, "%s %12" PRIx64 "  ", address + at == mark ? "->" : "  ", address + at);
		print_bytes(f, code + at, n);
		fprintf(f, "  %s\n", line);
		at += n;
	}
}
