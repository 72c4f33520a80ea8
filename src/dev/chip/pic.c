/*
 * Two 8259A, the second on the first's pin 2, as in every PC since the AT.
 *
 *	gsi 0..7 ---> first 8259A ---INTR---> irq_extint()
 *	                  ^ 2
 *	gsi 8..15 --> second 8259A
 *
 * A chip accepts initialisation words one after the other (ICW1, ICW2, ICW3 unless single, ICW4 if ICW1
 * asked for it); `expects` says which one is next.  Otherwise it works: operation words, and interrupts.
 *
 * A request of an edge-triggered pin stays when the line falls before it was acknowledged, so that a
 * pulse is enough.  Pin 2 of the first chip is not latched: it is what the second chip's output is.
 *
 * All of it is under the irq lock; register accesses have the machine's lock too.
 */
#include "dev/chip/pic.h"

#include "base/log.h"

#define PORT_FIRST  0x20
#define PORT_SECOND 0xa0
#define PORT_ELCR   0x4d0
#define CASCADE     2
#define SPURIOUS    7

#define ICW1        0x10
#define ICW1_ICW4   0x01
#define ICW1_SINGLE 0x02
#define ICW4_AUTO   0x02
#define ICW4_NESTED 0x10
#define OCW3        0x08
#define OCW3_READ   0x02
#define OCW3_ISR    0x01
#define OCW3_POLL   0x04
#define OCW3_SMM    0x20
#define OCW3_ESMM   0x40
#define POLL_FOUND  0x80

enum expects { OPERATION, EXPECTS_ICW2, EXPECTS_ICW3, EXPECTS_ICW4 };

struct chip {
	struct pic *pic;
	struct bus_range ports;
	uint8_t irr, imr, isr;
	uint8_t elcr; /* pins that are level-triggered */
	uint8_t base; /* of the vectors */
	uint8_t top;  /* pin of highest priority */
	uint8_t expects;
	uint8_t icw1;
	bool read_isr, poll, special_mask;
	bool auto_eoi, auto_rotate, fully_nested; /* special fully nested mode */
};

struct pic {
	struct device dev;
	struct chip chip[2];
	struct bus_range elcr;
	bool intr;
};

/* Number of the pin of highest priority in the set, 8 if empty; as a rank, 0 is the highest. */
static unsigned first_rank(const struct chip *c, uint8_t pins)
{
	unsigned rank = 0;

	while (rank < 8 && !(pins >> ((c->top + rank) & 7) & 1))
		rank++;
	return rank;
}

/* The pin that may interrupt now, or -1. */
static int ready_pin(const struct chip *c)
{
	uint8_t service = c->isr;
	unsigned rank = first_rank(c, c->irr & ~c->imr);

	if (c->special_mask)
		service &= ~c->imr;
	if (c->fully_nested && c == &c->pic->chip[0])
		service &= ~(1 << CASCADE);
	return rank < first_rank(c, service) ? (int)((c->top + rank) & 7) : -1;
}

static uint8_t lines(const struct chip *c)
{
	return c->pic->dev.machine->irq.levels >> (c == &c->pic->chip[0] ? 0 : 8);
}

static void update(struct pic *p)
{
	struct chip *first = &p->chip[0];
	bool intr;

	if (ready_pin(&p->chip[1]) >= 0)
		first->irr |= 1 << CASCADE;
	else
		first->irr &= ~(1 << CASCADE);
	intr = ready_pin(first) >= 0;
	if (intr != p->intr) {
		p->intr = intr;
		irq_extint(p->dev.machine, intr);
	}
}

static void set(void *dev, unsigned pin, bool level)
{
	struct pic *p = dev;
	struct chip *c = &p->chip[pin >> 3];
	uint8_t bit = 1 << (pin & 7);

	if (pin == CASCADE)
		return;
	if (level)
		c->irr |= bit;
	else if (c->elcr & bit)
		c->irr &= ~bit;
	update(p);
}

static bool pending(void *dev)
{
	return ((struct pic *)dev)->intr;
}

/* What a chip does when its interrupt is acknowledged; pin -1: it had none. */
static void acknowledge(struct chip *c, int pin)
{
	if (pin < 0)
		return;
	if (!(c->elcr & 1 << pin))
		c->irr &= ~(1 << pin);
	if (!c->auto_eoi)
		c->isr |= 1 << pin;
	else if (c->auto_rotate)
		c->top = (pin + 1) & 7;
}

static uint8_t accept(void *dev)
{
	struct pic *p = dev;
	struct chip *c = &p->chip[0];
	int pin = ready_pin(c);

	acknowledge(c, pin);
	if (pin == CASCADE) {
		c = &p->chip[1];
		pin = ready_pin(c);
		acknowledge(c, pin);
	}
	update(p);
	return c->base + (pin < 0 ? SPURIOUS : pin);
}

static const struct irq_pins pins = {.set = set, .pending = pending, .accept = accept};

static void initialise(struct chip *c, uint8_t icw1)
{
	c->icw1 = icw1;
	c->expects = EXPECTS_ICW2;
	c->irr = lines(c) & c->elcr;
	c->imr = c->isr = c->top = 0;
	c->read_isr = c->poll = c->special_mask = false;
	c->auto_eoi = c->auto_rotate = c->fully_nested = false;
}

static void end_of_interrupt(struct chip *c, int pin, bool rotate)
{
	if (pin < 0) {
		uint8_t service = c->special_mask ? c->isr & ~c->imr : c->isr;
		unsigned rank = first_rank(c, service);

		if (rank == 8)
			return;
		pin = (c->top + rank) & 7;
	}
	c->isr &= ~(1 << pin);
	if (rotate)
		c->top = (pin + 1) & 7;
}

static void ocw2(struct chip *c, uint8_t v)
{
	int pin = v & 7;

	switch (v >> 5) {
	case 0:
	case 4:
		c->auto_rotate = v >> 7;
		break;
	case 1:
	case 5:
		end_of_interrupt(c, -1, v >> 7);
		break;
	case 3:
	case 7:
		end_of_interrupt(c, pin, v >> 7);
		break;
	case 6:
		c->top = (pin + 1) & 7;
		break;
	}
}

static void ocw3(struct chip *c, uint8_t v)
{
	if (v & OCW3_POLL)
		c->poll = true;
	else if (v & OCW3_READ)
		c->read_isr = v & OCW3_ISR;
	if (v & OCW3_ESMM)
		c->special_mask = v & OCW3_SMM;
}

static void write_data(struct chip *c, uint8_t v)
{
	switch (c->expects) {
	case OPERATION:
		c->imr = v;
		break;
	case EXPECTS_ICW2:
		c->base = v & 0xf8;
		if (!(c->icw1 & ICW1_SINGLE))
			c->expects = EXPECTS_ICW3;
		else
			c->expects = c->icw1 & ICW1_ICW4 ? EXPECTS_ICW4 : OPERATION;
		break;
	case EXPECTS_ICW3: /* the wires of a PC are what they are */
		c->expects = c->icw1 & ICW1_ICW4 ? EXPECTS_ICW4 : OPERATION;
		break;
	case EXPECTS_ICW4:
		c->auto_eoi = v & ICW4_AUTO;
		c->fully_nested = v & ICW4_NESTED;
		c->expects = OPERATION;
		break;
	}
}

static void port_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct chip *c = dev;
	struct irq *irq = &c->pic->dev.machine->irq;
	uint8_t v = value;

	lock_take(&irq->lock);
	if (offset == 1)
		write_data(c, v);
	else if (v & ICW1)
		initialise(c, v);
	else if (v & OCW3)
		ocw3(c, v);
	else
		ocw2(c, v);
	update(c->pic);
	lock_drop(&irq->lock);
}

static uint64_t port_read(void *dev, uint64_t offset, unsigned size)
{
	struct chip *c = dev;
	struct irq *irq = &c->pic->dev.machine->irq;
	uint8_t v;

	lock_take(&irq->lock);
	if (c->poll) {
		int pin = ready_pin(c);

		c->poll = false;
		acknowledge(c, pin);
		update(c->pic);
		v = pin < 0 ? 0 : POLL_FOUND | pin;
	} else if (offset == 1) {
		v = c->imr;
	} else {
		v = c->read_isr ? c->isr : c->irr;
	}
	lock_drop(&irq->lock);
	return v;
}

static const struct bus_ops port_ops = {port_read, port_write, 1};

static uint64_t elcr_read(void *dev, uint64_t offset, unsigned size)
{
	return ((struct pic *)dev)->chip[offset].elcr;
}

static void elcr_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	/* Timer, keyboard, cascade, clock and coprocessor are edge-triggered for ever. */
	static const uint8_t writable[2] = {0xf8, 0xde};
	struct pic *p = dev;
	struct chip *c = &p->chip[offset];
	struct irq *irq = &p->dev.machine->irq;

	lock_take(&irq->lock);
	c->elcr = value & writable[offset];
	c->irr = (c->irr & ~c->elcr) | (lines(c) & c->elcr);
	update(p);
	lock_drop(&irq->lock);
}

static const struct bus_ops elcr_ops = {elcr_read, elcr_write, 1};

static void reset(struct device *d)
{
	struct pic *p = container_of(d, struct pic, dev);

	lock_take(&d->machine->irq.lock);
	for (unsigned i = 0; i < 2; i++) {
		struct chip *c = &p->chip[i];

		c->elcr = 0;
		c->base = 0;
		initialise(c, 0);
		/* Silent until it is initialised, and usable without. */
		c->imr = 0xff;
		c->expects = OPERATION;
	}
	update(p);
	lock_drop(&d->machine->irq.lock);
}

static void chip_state(struct state *s, const char *name, struct chip *c)
{
	state_enter(s, name, 1);
	state_u8(s, "irr", &c->irr);
	state_u8(s, "imr", &c->imr);
	state_u8(s, "isr", &c->isr);
	state_u8(s, "elcr", &c->elcr);
	state_u8(s, "base", &c->base);
	state_u8(s, "top", &c->top);
	state_u8(s, "expects", &c->expects);
	state_u8(s, "icw1", &c->icw1);
	state_bool(s, "read_isr", &c->read_isr);
	state_bool(s, "poll", &c->poll);
	state_bool(s, "special_mask", &c->special_mask);
	state_bool(s, "auto_eoi", &c->auto_eoi);
	state_bool(s, "auto_rotate", &c->auto_rotate);
	state_bool(s, "fully_nested", &c->fully_nested);
	if (state_loading(s) && (c->top > 7 || c->expects > EXPECTS_ICW4 || c->base & 7)) {
		state_fail(s, "%s: impossible state", name);
		c->top &= 7;
		c->expects = OPERATION;
	}
	state_leave(s);
}

static void state(struct device *d, struct state *s)
{
	struct pic *p = container_of(d, struct pic, dev);

	lock_take(&d->machine->irq.lock);
	chip_state(s, "first", &p->chip[0]);
	chip_state(s, "second", &p->chip[1]);
	if (state_loading(s))
		update(p);
	lock_drop(&d->machine->irq.lock);
}

static void pic_free(struct device *d)
{
	struct pic *p = container_of(d, struct pic, dev);
	struct machine *m = d->machine;

	lock_take(&m->irq.lock);
	m->irq.pic = NULL;
	lock_drop(&m->irq.lock);
	bus_del(&m->pio, &p->chip[0].ports);
	bus_del(&m->pio, &p->chip[1].ports);
	bus_del(&m->pio, &p->elcr);
	free(p);
}

static const struct device_type type = {
	.name = "pic8259", .reset = reset, .state = state, .free = pic_free};

int pic_new(struct machine *m, struct err *e)
{
	static const uint16_t port[2] = {PORT_FIRST, PORT_SECOND};
	struct pic *p = xalloc(sizeof(*p));
	int r = 0;

	machine_add_device(m, &p->dev, &type, "pic");
	for (unsigned i = 0; i < 2 && r == 0; i++) {
		struct chip *c = &p->chip[i];

		c->pic = p;
		c->ports = (struct bus_range){
			.base = port[i], .len = 2, .ops = &port_ops, .dev = c, .name = "pic"};
		r = bus_add(&m->pio, &c->ports, e);
	}
	p->elcr = (struct bus_range){
		.base = PORT_ELCR, .len = 2, .ops = &elcr_ops, .dev = p, .name = "pic-elcr"};
	if (r == 0)
		r = bus_add(&m->pio, &p->elcr, e);
	if (r < 0)
		return r;
	reset(&p->dev);
	m->irq.pic = &pins;
	m->irq.pic_dev = p;
	return 0;
}
