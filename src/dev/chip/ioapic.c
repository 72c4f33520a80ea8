/*
 * The I/O APIC: each pin has an entry that says which message it sends.
 *
 *	63-56        16    15     14    13       12      11        10-8  7-0
 *	destination  mask  level  IRR   polarity status  logical   mode  vector
 *
 * A level-triggered pin sends when it is high and its remote IRR bit is clear, sets that bit, and may
 * send again when the end of its vector's interrupt was told (eoi).  An edge on a masked pin is lost, as
 * the data sheet has it.  Pins are told whether they are asserted, so polarity means nothing here.
 *
 * All of it is under the irq lock; register accesses have the machine's lock too.
 */
#include "dev/chip/ioapic.h"

#include "base/log.h"
#include "machine/apic.h"

#define PINS IRQ_GSIS

/* Offsets in the window, and indirect registers */
#define WINDOW_SELECT 0x00
#define WINDOW_DATA   0x10
#define WINDOW_EOI    0x40
#define REG_ID        0x00
#define REG_VERSION   0x01
#define REG_ARB       0x02
#define REG_ENTRY     0x10
#define VERSION       0x20 /* the first with an EOI register */

#define ENTRY_IRR      (1ull << 14)
#define ENTRY_WRITABLE 0xff0000000001afffull
#define ENTRY_RESET    APIC_MASKED

#define MSI_BASE       0xfee00000ull
#define MSI_DEST_SHIFT 12
#define MSI_LOGICAL    (1u << 2)
#define DATA_BITS      0x87ff /* trigger, mode, vector: where an entry has them */

struct ioapic {
	struct device dev;
	struct bus_range window;
	uint8_t id, select;
	uint32_t levels; /* of the pins */
	uint64_t entry[PINS];
};

static uint64_t message_address(uint64_t entry)
{
	return MSI_BASE | (entry >> 56) << MSI_DEST_SHIFT |
	       (entry & APIC_LOGICAL ? MSI_LOGICAL : 0);
}

static uint32_t message_data(uint64_t entry)
{
	return (uint32_t)entry & DATA_BITS;
}

/* Only fixed and lowest-priority interrupts have an end that is told. */
static bool is_level(uint64_t entry)
{
	return entry & APIC_LEVEL && APIC_MODE(entry) <= APIC_LOWEST;
}

static void send(struct ioapic *io, unsigned pin)
{
	uint64_t entry = io->entry[pin];

	if (is_level(entry))
		io->entry[pin] |= ENTRY_IRR;
	irq_msi(io->dev.machine, message_address(entry), message_data(entry) | APIC_ASSERT);
}

/* Sends what a level-triggered pin has to say now. */
static void look(struct ioapic *io, unsigned pin)
{
	uint64_t entry = io->entry[pin];

	if (is_level(entry) && !(entry & (APIC_MASKED | ENTRY_IRR)) && io->levels & 1u << pin)
		send(io, pin);
}

static void set(void *dev, unsigned pin, bool level)
{
	struct ioapic *io = dev;
	uint32_t bit = 1u << pin;
	bool rises = level && !(io->levels & bit);

	io->levels = level ? io->levels | bit : io->levels & ~bit;
	if (is_level(io->entry[pin]))
		look(io, pin);
	else if (rises && !(io->entry[pin] & APIC_MASKED))
		send(io, pin);
}

static void eoi(void *dev, uint8_t vector)
{
	struct ioapic *io = dev;

	for (unsigned pin = 0; pin < PINS; pin++) {
		if (!(io->entry[pin] & ENTRY_IRR) || (uint8_t)io->entry[pin] != vector)
			continue;
		io->entry[pin] &= ~ENTRY_IRR;
		look(io, pin);
	}
}

static const struct irq_pins pins = {.set = set, .eoi = eoi};

/* The engine hears what the pin would send; without the irq lock. */
static void route(struct ioapic *io, unsigned pin)
{
	uint64_t entry = io->entry[pin];

	irq_route(io->dev.machine, pin, message_address(entry), message_data(entry),
	          !(entry & APIC_MASKED));
}

static void entry_write(struct ioapic *io, unsigned pin, bool high, uint32_t v)
{
	struct irq *irq = &io->dev.machine->irq;
	uint64_t entry = io->entry[pin];

	if (high)
		entry = (uint32_t)entry | (uint64_t)v << 32;
	else
		entry = (entry & ~(uint64_t)UINT32_MAX) | v;
	lock_take(&irq->lock);
	entry = (entry & ENTRY_WRITABLE) | (io->entry[pin] & ENTRY_IRR);
	/* Systems make a pin edge-triggered for a moment to clear a remote IRR that is stuck. */
	if (!is_level(entry))
		entry &= ~ENTRY_IRR;
	io->entry[pin] = entry;
	look(io, pin);
	lock_drop(&irq->lock);
	route(io, pin);
}

static uint32_t register_read(struct ioapic *io)
{
	unsigned reg = io->select;
	uint64_t entry;

	if (reg == REG_ID || reg == REG_ARB)
		return (uint32_t)io->id << 24;
	if (reg == REG_VERSION)
		return VERSION | (PINS - 1) << 16;
	if (reg < REG_ENTRY || reg >= REG_ENTRY + 2 * PINS)
		return UINT32_MAX;
	lock_take(&io->dev.machine->irq.lock);
	entry = io->entry[(reg - REG_ENTRY) / 2];
	lock_drop(&io->dev.machine->irq.lock);
	return reg & 1 ? entry >> 32 : entry;
}

static void register_write(struct ioapic *io, uint32_t v)
{
	unsigned reg = io->select;

	if (reg == REG_ID)
		io->id = v >> 24;
	else if (reg >= REG_ENTRY && reg < REG_ENTRY + 2 * PINS)
		entry_write(io, (reg - REG_ENTRY) / 2, reg & 1, v);
	else
		log_guest("IOAPIC register %#x does not take %#x", reg, v);
}

static uint64_t window_read(void *dev, uint64_t offset, unsigned size)
{
	struct ioapic *io = dev;

	switch (offset) {
	case WINDOW_SELECT:
		return io->select;
	case WINDOW_DATA:
		return register_read(io);
	default:
		return 0;
	}
}

static void window_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct ioapic *io = dev;

	switch (offset) {
	case WINDOW_SELECT:
		io->select = value;
		break;
	case WINDOW_DATA:
		if (size == 4)
			register_write(io, value);
		break;
	case WINDOW_EOI:
		irq_eoi(io->dev.machine, value);
		break;
	}
}

static const struct bus_ops window_ops = {window_read, window_write, 4};

static void route_all(struct ioapic *io)
{
	for (unsigned pin = 0; pin < PINS; pin++)
		route(io, pin);
}

static void reset(struct device *d)
{
	struct ioapic *io = container_of(d, struct ioapic, dev);

	lock_take(&d->machine->irq.lock);
	io->select = 0;
	for (unsigned pin = 0; pin < PINS; pin++)
		io->entry[pin] = ENTRY_RESET;
	lock_drop(&d->machine->irq.lock);
	route_all(io);
}

static void state(struct device *d, struct state *s)
{
	struct ioapic *io = container_of(d, struct ioapic, dev);

	lock_take(&d->machine->irq.lock);
	state_u8(s, "id", &io->id);
	state_u8(s, "select", &io->select);
	state_u32(s, "levels", &io->levels);
	state_u64s(s, "entry", io->entry, PINS);
	if (state_loading(s))
		for (unsigned pin = 0; pin < PINS; pin++)
			io->entry[pin] &= ENTRY_WRITABLE | ENTRY_IRR;
	lock_drop(&d->machine->irq.lock);
	if (state_loading(s))
		route_all(io);
}

static void ioapic_free(struct device *d)
{
	struct ioapic *io = container_of(d, struct ioapic, dev);
	struct machine *m = d->machine;

	lock_take(&m->irq.lock);
	m->irq.ioapic = NULL;
	lock_drop(&m->irq.lock);
	bus_del(&m->mmio, &io->window);
	free(io);
}

static const struct device_type type = {
	.name = "ioapic", .reset = reset, .state = state, .free = ioapic_free};

int ioapic_new(struct machine *m, uint64_t base, uint8_t id, struct err *e)
{
	struct ioapic *io = xalloc(sizeof(*io));
	int r;

	io->id = id;
	machine_add_device(m, &io->dev, &type, "ioapic");
	io->window = (struct bus_range){
		.base = base, .len = 0x1000, .ops = &window_ops, .dev = io, .name = "ioapic"};
	r = bus_add(&m->mmio, &io->window, e);
	if (r < 0)
		return r;
	reset(&io->dev);
	m->irq.ioapic = &pins;
	m->irq.ioapic_dev = io;
	return 0;
}
