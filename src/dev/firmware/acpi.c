#include "dev/firmware/acpi.h"

#include <assert.h>
#include <string.h>

#define HEADER      36  /* of a system description table (5.2.6) */
#define CHECKSUM_AT 9   /* in it */
#define FADT_SIZE   268 /* revision 5 */

enum { MADT_PCAT = 1, MADT_ENABLED = 1 };
enum { /* MADT entries (5.2.12) */
       MADT_LAPIC = 0,
       MADT_IOAPIC = 1,
       MADT_OVERRIDE = 2,
       MADT_LAPIC_NMI = 4,
       MADT_X2APIC = 9,
       MADT_X2APIC_NMI = 10,
};
#define LEVEL_HIGH   0x000d /* override flags: active high, level-triggered */
#define X2APIC_FIRST 255    /* ids that an 8-bit entry cannot hold */

static size_t begin(struct acpi *a, const char *signature, uint8_t revision)
{
	size_t at;

	blob_align(&a->tables, 16);
	at = a->tables.len;
	blob_put(&a->tables, signature, 4);
	blob_u32(&a->tables, 0); /* length: by end() */
	blob_u8(&a->tables, revision);
	blob_u8(&a->tables, 0);
	blob_put(&a->tables, "CASULOCASULOVM", 14);
	blob_u32(&a->tables, 1);
	blob_put(&a->tables, "CSLO", 4);
	blob_u32(&a->tables, 1);
	return at;
}

static void end(struct acpi *a, size_t at)
{
	size_t len = a->tables.len - at;

	store_le(a->tables.data + at + 4, len, 4);
	assert(a->checksums < ACPI_CHECKSUMS_MAX);
	a->checksum[a->checksums++] = (struct acpi_checksum){at + CHECKSUM_AT, at, len};
}

/* Puts an offset into the tables where an address belongs. */
static void pointer(struct acpi *a, size_t at, size_t size, size_t target)
{
	store_le(a->tables.data + at, target, size);
	assert(a->pointers < ACPI_POINTERS_MAX);
	a->pointer[a->pointers++] = (struct acpi_pointer){at, size};
}

static size_t build_facs(struct acpi *a)
{
	size_t at;

	blob_align(&a->tables, 64);
	at = a->tables.len;
	blob_put(&a->tables, "FACS", 4);
	blob_u32(&a->tables, 64);
	blob_zero(&a->tables, 24);
	blob_u8(&a->tables, 2); /* version */
	blob_zero(&a->tables, 31);
	return at;
}

static size_t build_dsdt(struct acpi *a, const struct acpi_platform *p)
{
	size_t at = begin(a, "DSDT", 2);

	acpi_dsdt(p, &a->tables);
	end(a, at);
	return at;
}

/* Generic address structure (5.2.3.2) of a port range. */
static void put_gas(uint8_t *at, unsigned bits, uint8_t access, uint16_t port)
{
	at[0] = 1; /* I/O space */
	at[1] = bits;
	at[3] = access; /* 1: byte, 2: word, 3: doubleword */
	store_le(at + 4, port, 8);
}

enum { /* FADT flags (5.2.9) */
       FADT_WBINVD = 1 << 0,
       FADT_C1 = 1 << 2,
       FADT_NO_SLEEP_BUTTON = 1 << 5,
       FADT_NO_RTC_WAKE = 1 << 6,
       FADT_TIMER_32 = 1 << 8,
       FADT_RESET = 1 << 10,
};
enum { BOOT_LEGACY = 1 << 0, BOOT_8042 = 1 << 1, BOOT_NO_VGA = 1 << 2 };

static void fill_fadt(uint8_t *t, const struct acpi_platform *p)
{
	t[45] = 4; /* enterprise server */
	store_le(t + 46, p->sci, 2);
	/* SMI_CMD stays 0: the machine is always in ACPI mode. */
	store_le(t + 56, p->pm_event_port, 4);
	store_le(t + 64, p->pm_control_port, 4);
	store_le(t + 76, p->pm_timer_port, 4);
	store_le(t + 80, p->gpe_port, 4);
	t[88] = 4;
	t[89] = 2;
	t[91] = 4;
	t[92] = p->gpe_port ? p->gpe_len : 0;
	store_le(t + 96, 0x0fff, 2); /* no C2 */
	store_le(t + 98, 0x0fff, 2); /* no C3 */
	t[108] = 0x32;               /* century in the RTC */
	store_le(t + 109, BOOT_LEGACY | (p->i8042 ? BOOT_8042 : 0) | BOOT_NO_VGA, 2);
	store_le(t + 112,
	         FADT_WBINVD | FADT_C1 | FADT_NO_SLEEP_BUTTON | FADT_NO_RTC_WAKE | FADT_TIMER_32 |
	                 FADT_RESET,
	         4);
	put_gas(t + 116, 8, 1, p->reset_port);
	t[128] = p->reset_value;
	put_gas(t + 148, 32, 2, p->pm_event_port);
	put_gas(t + 172, 16, 2, p->pm_control_port);
	put_gas(t + 208, 32, 3, p->pm_timer_port);
	if (p->gpe_port)
		put_gas(t + 220, p->gpe_len * 8, 1, p->gpe_port);
}

static size_t build_fadt(struct acpi *a, const struct acpi_platform *p, size_t facs, size_t dsdt)
{
	size_t at = begin(a, "FACP", 5);

	blob_zero(&a->tables, FADT_SIZE - HEADER);
	fill_fadt(a->tables.data + at, p);
	pointer(a, at + 36, 4, facs);
	pointer(a, at + 40, 4, dsdt);
	pointer(a, at + 140, 8, dsdt);
	end(a, at);
	return at;
}

static void madt_cpu(struct blob *t, unsigned id)
{
	if (id < X2APIC_FIRST) {
		blob_u8(t, MADT_LAPIC);
		blob_u8(t, 8);
		blob_u8(t, id);
		blob_u8(t, id);
		blob_u32(t, MADT_ENABLED);
		return;
	}
	blob_u8(t, MADT_X2APIC);
	blob_u8(t, 16);
	blob_u16(t, 0);
	blob_u32(t, id);
	blob_u32(t, MADT_ENABLED);
	blob_u32(t, id);
}

static void madt_override(struct blob *t, uint8_t irq, uint32_t gsi, uint16_t flags)
{
	blob_u8(t, MADT_OVERRIDE);
	blob_u8(t, 10);
	blob_u8(t, 0); /* ISA */
	blob_u8(t, irq);
	blob_u32(t, gsi);
	blob_u16(t, flags);
}

/* LINT1 of every processor is its NMI input. */
static void madt_nmi(struct blob *t, unsigned cpus)
{
	blob_u8(t, MADT_LAPIC_NMI);
	blob_u8(t, 6);
	blob_u8(t, 0xff);
	blob_u16(t, 0);
	blob_u8(t, 1);
	if (cpus <= X2APIC_FIRST)
		return;
	blob_u8(t, MADT_X2APIC_NMI);
	blob_u8(t, 12);
	blob_u16(t, 0);
	blob_u32(t, UINT32_MAX);
	blob_u32(t, 1);
}

static size_t build_madt(struct acpi *a, const struct acpi_platform *p)
{
	size_t at = begin(a, "APIC", 4);
	struct blob *t = &a->tables;

	blob_u32(t, p->lapic_base);
	blob_u32(t, MADT_PCAT);
	for (unsigned i = 0; i < p->cpus; i++)
		madt_cpu(t, i);
	blob_u8(t, MADT_IOAPIC);
	blob_u8(t, 12);
	blob_u8(t, p->ioapic_id);
	blob_u8(t, 0);
	blob_u32(t, p->ioapic_base);
	blob_u32(t, 0);
	madt_override(t, 0, 2, 0); /* the PIT is wired to pin 2 */
	madt_override(t, p->sci, p->sci, LEVEL_HIGH);
	madt_nmi(t, p->cpus);
	end(a, at);
	return at;
}

static size_t build_mcfg(struct acpi *a, const struct acpi_platform *p)
{
	size_t at = begin(a, "MCFG", 1);

	blob_u64(&a->tables, 0);
	blob_u64(&a->tables, p->ecam_base);
	blob_u16(&a->tables, 0);
	blob_u8(&a->tables, 0);
	blob_u8(&a->tables, p->buses - 1);
	blob_u32(&a->tables, 0);
	end(a, at);
	return at;
}

static size_t build_hpet(struct acpi *a, const struct acpi_platform *p)
{
	size_t at = begin(a, "HPET", 1);

	blob_u32(&a->tables, 0x8086a201); /* 64 bits, 3 timers, legacy routing */
	blob_zero(&a->tables, 4);         /* address space: memory */
	blob_u64(&a->tables, p->hpet_base);
	blob_u8(&a->tables, 0);
	blob_u16(&a->tables, 0);
	blob_u8(&a->tables, 0);
	end(a, at);
	return at;
}

static void build_xsdt(struct acpi *a, const size_t *table, unsigned n)
{
	a->xsdt = begin(a, "XSDT", 1);
	blob_zero(&a->tables, 8 * n);
	for (unsigned i = 0; i < n; i++)
		pointer(a, a->xsdt + HEADER + 8 * i, 8, table[i]);
	end(a, a->xsdt);
}

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	while (len--)
		s += *p++;
	return s;
}

void acpi_build(const struct acpi_platform *p, struct acpi *out)
{
	size_t table[8], facs, dsdt;
	unsigned n = 0;

	*out = (struct acpi){};
	facs = build_facs(out);
	dsdt = build_dsdt(out, p);
	table[n++] = build_fadt(out, p, facs, dsdt);
	table[n++] = build_madt(out, p);
	table[n++] = build_mcfg(out, p);
	if (p->hpet_base)
		table[n++] = build_hpet(out, p);
	build_xsdt(out, table, n);

	memcpy(out->rsdp, "RSD PTR \0CASULO\2", 16);
	store_le(out->rsdp + 20, ACPI_RSDP_SIZE, 4);
	store_le(out->rsdp + 24, out->xsdt, 8);
}

void acpi_place(struct acpi *a, uint64_t base)
{
	for (unsigned i = 0; i < a->pointers; i++) {
		uint8_t *at = a->tables.data + a->pointer[i].at;

		store_le(at, load_le(at, a->pointer[i].size) + base, a->pointer[i].size);
	}
	for (unsigned i = 0; i < a->checksums; i++) {
		const struct acpi_checksum *c = &a->checksum[i];

		a->tables.data[c->at] -= sum(a->tables.data + c->start, c->len);
	}
	store_le(a->rsdp + 24, base + a->xsdt, 8);
	a->rsdp[8] = -sum(a->rsdp, 20);
	a->rsdp[32] = -sum(a->rsdp, ACPI_RSDP_SIZE);
}

/*
 * Commands of 128 bytes: allocate a file's memory, add the address of one file's memory to a field
 * in another's, add up a checksum.
 */
enum { LOADER_ALLOCATE = 1, LOADER_POINTER = 2, LOADER_CHECKSUM = 3 };
enum { LOADER_COMMAND = 128, LOADER_NAME = 56, ZONE_HIGH = 1, ZONE_LOW = 2 };

static void put_file(struct blob *out, const char *name)
{
	size_t len = strlen(name);

	blob_put(out, name, len);
	blob_zero(out, LOADER_NAME - len);
}

static void loader_allocate(struct blob *out, const char *name, uint32_t align, uint8_t zone)
{
	blob_u32(out, LOADER_ALLOCATE);
	put_file(out, name);
	blob_u32(out, align);
	blob_u8(out, zone);
	blob_align(out, LOADER_COMMAND);
}

static void loader_pointer(struct blob *out, const char *in, const char *to, uint32_t at,
                           uint8_t size)
{
	blob_u32(out, LOADER_POINTER);
	put_file(out, in);
	put_file(out, to);
	blob_u32(out, at);
	blob_u8(out, size);
	blob_align(out, LOADER_COMMAND);
}

static void loader_checksum(struct blob *out, const char *in, uint32_t at, uint32_t start,
                            uint32_t len)
{
	blob_u32(out, LOADER_CHECKSUM);
	put_file(out, in);
	blob_u32(out, at);
	blob_u32(out, start);
	blob_u32(out, len);
	blob_align(out, LOADER_COMMAND);
}

void acpi_loader(const struct acpi *a, struct blob *out)
{
	static const char tables[] = "etc/acpi/tables", rsdp[] = "etc/acpi/rsdp";

	loader_allocate(out, tables, 64, ZONE_HIGH);
	loader_allocate(out, rsdp, 16, ZONE_LOW);
	for (unsigned i = 0; i < a->pointers; i++)
		loader_pointer(out, tables, tables, a->pointer[i].at, a->pointer[i].size);
	for (unsigned i = 0; i < a->checksums; i++)
		loader_checksum(out, tables, a->checksum[i].at, a->checksum[i].start,
		                a->checksum[i].len);
	loader_pointer(out, rsdp, tables, 24, 8);
	loader_checksum(out, rsdp, 8, 0, 20);
	loader_checksum(out, rsdp, 32, 0, ACPI_RSDP_SIZE);
}

void acpi_free(struct acpi *a)
{
	blob_free(&a->tables);
}
