/*
 * Registers, by offset; DLAB is bit 7 of the line control register:
 *
 *	0  RBR (read), THR (write); DLAB: divisor low		4  MCR	modem control
 *	1  IER	interrupt enable;   DLAB: divisor high		5  LSR	line status
 *	2  IIR (read), FCR (write)				6  MSR	modem status
 *	3  LCR	line control					7  SCR	scratch
 *
 * Interrupts, first to last: line status, received data (FIFO at its trigger level) or character timeout,
 * transmitter empty, modem status.  The first that is pending and enabled shows in IIR.
 *
 * Registers are under the machine's lock.  The back end calls on the main loop's thread without it.
 */
#include "dev/chip/uart16550.h"

enum { RBR_THR, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR, PORTS };

enum { IER_RECEIVED = 1, IER_TRANSMITTER = 2, IER_LINE = 4, IER_MODEM = 8, IER_ALL = 15 };
enum {
	IIR_MODEM = 0x0,
	IIR_NONE = 0x1,
	IIR_TRANSMITTER = 0x2,
	IIR_RECEIVED = 0x4,
	IIR_LINE = 0x6,
	IIR_TIMEOUT = 0xc,
	IIR_FIFO = 0xc0,
};
enum { FCR_ENABLE = 0x01, FCR_CLEAR_RX = 0x02, FCR_KEPT = 0xc9 };
enum { LCR_BREAK = 0x40, LCR_DLAB = 0x80 };
enum { MCR_LOOP = 0x10, MCR_ALL = 0x1f };
enum { LSR_DATA = 0x01, LSR_OVERRUN = 0x02, LSR_BREAK = 0x10, LSR_EMPTY = 0x60, LSR_ERRORS = 0x1e };
enum { MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80, MSR_TERI = 0x04 };

#define FIFO_SIZE 16
#define BIT_NS    8681 /* at divisor 1: 115200 baud */

struct uart {
	struct device device;
	struct bus_range ports;
	struct chr *chr;
	unsigned gsi;
	struct clock_timer timer; /* character timeout */

	uint8_t ier, fcr, lcr, mcr, scr;
	uint8_t errors; /* LSR_ERRORS since the last look at LSR */
	uint8_t lines;  /* MSR */
	uint16_t divisor;
	bool transmitter; /* the transmitter became empty, and nobody has been told */
	bool timeout;     /* data waits for four characters' time */
	uint8_t rx[FIFO_SIZE];
	uint8_t rx_head, rx_len;
};

static size_t rx_size(const struct uart *u)
{
	return u->fcr & FCR_ENABLE ? FIFO_SIZE : 1;
}

static uint8_t rx_trigger(const struct uart *u)
{
	static const uint8_t level[] = {1, 4, 8, 14};

	return u->fcr & FCR_ENABLE ? level[u->fcr >> 6] : 1;
}

static uint8_t interrupt(const struct uart *u)
{
	if (u->ier & IER_LINE && u->errors)
		return IIR_LINE;
	if (u->ier & IER_RECEIVED && u->rx_len >= rx_trigger(u))
		return IIR_RECEIVED;
	if (u->ier & IER_RECEIVED && u->timeout)
		return IIR_TIMEOUT;
	if (u->ier & IER_TRANSMITTER && u->transmitter)
		return IIR_TRANSMITTER;
	if (u->ier & IER_MODEM && u->lines & 0x0f)
		return IIR_MODEM;
	return IIR_NONE;
}

/* On a PC, OUT2 also has to be on for an interrupt to get out; guests that forget it get theirs. */
static void update(struct uart *u)
{
	irq_set(u->device.machine, u->gsi, interrupt(u) != IIR_NONE);
}

/* How much the back end may hand over now. */
static void accept(struct uart *u)
{
	chr_accept(u->chr, u->mcr & MCR_LOOP ? 0 : rx_size(u) - u->rx_len);
}

/* Starts anew whenever a character comes or goes, as long as some are left. */
static void timeout_restart(struct uart *u)
{
	unsigned bits = 1 + 5 + (u->lcr & 3) + (u->lcr >> 3 & 1) + 1 + (u->lcr >> 2 & 1);
	uint64_t ns = 4ull * bits * BIT_NS * MAX(u->divisor, 1);
	bool wait = u->fcr & FCR_ENABLE && u->rx_len;

	u->timeout = false;
	clock_timer_set(&u->timer, wait ? clock_now(&u->device.machine->clock) + ns : UINT64_MAX);
}

static void on_timeout(struct clock_timer *t)
{
	struct uart *u = container_of(t, struct uart, timer);

	lock_take(&u->device.machine->lock);
	u->timeout = u->rx_len > 0;
	update(u);
	lock_drop(&u->device.machine->lock);
}

static void rx_clear(struct uart *u)
{
	u->rx_head = u->rx_len = 0;
	timeout_restart(u);
}

static void rx_push(struct uart *u, uint8_t byte)
{
	if (u->rx_len == rx_size(u)) {
		u->errors |= LSR_OVERRUN;
		/* Without FIFOs the new character takes the old one's place. */
		if (u->fcr & FCR_ENABLE)
			return;
		u->rx_len = 0;
	}
	u->rx[(u->rx_head + u->rx_len++) % FIFO_SIZE] = byte;
}

static uint8_t rx_pop(struct uart *u)
{
	uint8_t byte = u->rx[u->rx_head];

	if (u->rx_len == 0)
		return 0;
	u->rx_head = (u->rx_head + 1) % FIFO_SIZE;
	u->rx_len--;
	timeout_restart(u);
	return byte;
}

static void receive(void *owner, const uint8_t *data, size_t len)
{
	struct uart *u = owner;

	lock_take(&u->device.machine->lock);
	/* In loopback mode the receiver's wire is cut; a FIFO that was switched off meanwhile is full. */
	for (size_t i = 0; i < len && !(u->mcr & MCR_LOOP); i++)
		rx_push(u, data[i]);
	timeout_restart(u);
	accept(u);
	update(u);
	lock_drop(&u->device.machine->lock);
}

/* The modem's lines as they are, with what changed since the last look in the low bits. */
static void lines_update(struct uart *u)
{
	uint8_t old = u->lines, now = MSR_CTS | MSR_DSR | MSR_DCD, changed;

	if (u->mcr & MCR_LOOP) /* DTR to DSR, RTS to CTS, OUT1 to RI, OUT2 to DCD */
		now = (u->mcr & 1) << 5 | (u->mcr & 2) << 3 | (u->mcr & 0xc) << 4;
	changed = (old ^ now) >> 4;
	/* A ring counts when it ends. */
	if (now & MSR_RI)
		changed &= ~MSR_TERI;
	u->lines = now | (old & 0x0f) | changed;
}

static uint64_t uart_read(void *dev, uint64_t offset, unsigned size)
{
	struct uart *u = dev;
	bool dlab = u->lcr & LCR_DLAB;
	uint8_t v = 0;

	switch (offset) {
	case RBR_THR:
		if (dlab)
			return u->divisor & 0xff;
		v = rx_pop(u);
		accept(u);
		break;
	case IER:
		return dlab ? u->divisor >> 8 : u->ier;
	case IIR_FCR:
		v = interrupt(u);
		if (v == IIR_TRANSMITTER)
			u->transmitter = false;
		if (u->fcr & FCR_ENABLE)
			v |= IIR_FIFO;
		break;
	case LCR:
		return u->lcr;
	case MCR:
		return u->mcr;
	case LSR:
		v = LSR_EMPTY | u->errors | (u->rx_len ? LSR_DATA : 0);
		u->errors = 0;
		break;
	case MSR:
		v = u->lines;
		u->lines &= 0xf0;
		break;
	case SCR:
		return u->scr;
	}
	update(u);
	return v;
}

static void transmit(struct uart *u, uint8_t byte)
{
	/* The line falls and rises again: each character that is gone is an edge of its own. */
	u->transmitter = false;
	update(u);
	if (u->mcr & MCR_LOOP) {
		rx_push(u, byte);
		timeout_restart(u);
	} else {
		chr_write(u->chr, &byte, 1);
	}
	u->transmitter = true;
}

static void fcr_write(struct uart *u, uint8_t v)
{
	bool toggled = (v ^ u->fcr) & FCR_ENABLE;

	/* The other bits count only together with this one. */
	u->fcr = v & FCR_ENABLE ? v & FCR_KEPT : 0;
	if (toggled || (v & FCR_ENABLE && v & FCR_CLEAR_RX))
		rx_clear(u);
	accept(u);
}

static void uart_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct uart *u = dev;
	uint8_t v = value, old;

	switch (offset) {
	case RBR_THR:
		if (u->lcr & LCR_DLAB)
			u->divisor = (u->divisor & 0xff00) | v;
		else
			transmit(u, v);
		break;
	case IER:
		if (u->lcr & LCR_DLAB) {
			u->divisor = (u->divisor & 0xff) | v << 8;
			break;
		}
		/* The transmitter is empty: who starts to ask is told so at once. */
		if ((v ^ u->ier) & IER_TRANSMITTER)
			u->transmitter = v & IER_TRANSMITTER;
		u->ier = v & IER_ALL;
		break;
	case IIR_FCR:
		fcr_write(u, v);
		break;
	case LCR:
		old = u->lcr;
		u->lcr = v;
		if (v & ~old & LCR_BREAK && u->mcr & MCR_LOOP) {
			rx_push(u, 0);
			u->errors |= LSR_BREAK;
		}
		break;
	case MCR:
		u->mcr = v & MCR_ALL;
		lines_update(u);
		accept(u);
		break;
	case SCR:
		u->scr = v;
		return;
	}
	update(u);
}

static const struct bus_ops uart_ops = {uart_read, uart_write, 1};

static void reset(struct device *d)
{
	struct uart *u = container_of(d, struct uart, device);

	u->ier = u->fcr = u->lcr = u->mcr = u->scr = u->errors = 0;
	u->divisor = 1;
	u->transmitter = false;
	rx_clear(u);
	lines_update(u);
	u->lines &= 0xf0;
	accept(u);
	update(u);
}

static void state(struct device *d, struct state *s)
{
	struct uart *u = container_of(d, struct uart, device);
	uint64_t deadline = u->timer.deadline;

	state_u8(s, "ier", &u->ier);
	state_u8(s, "fcr", &u->fcr);
	state_u8(s, "lcr", &u->lcr);
	state_u8(s, "mcr", &u->mcr);
	state_u8(s, "scr", &u->scr);
	state_u8(s, "errors", &u->errors);
	state_u8(s, "lines", &u->lines);
	state_u16(s, "divisor", &u->divisor);
	state_bool(s, "transmitter", &u->transmitter);
	state_bool(s, "timeout", &u->timeout);
	state_bytes(s, "rx", u->rx, sizeof(u->rx));
	state_u8(s, "rx_head", &u->rx_head);
	state_u8(s, "rx_len", &u->rx_len);
	state_u64(s, "deadline", &deadline);
	if (!state_loading(s) || state_failed(s))
		return;
	if (u->rx_head >= FIFO_SIZE || u->rx_len > rx_size(u)) {
		u->rx_head = u->rx_len = 0;
		state_fail(s, "%s: a FIFO of more than its size", d->name);
	}
	clock_timer_set(&u->timer, deadline);
	accept(u);
}

static void uart_free(struct device *d)
{
	struct uart *u = container_of(d, struct uart, device);

	clock_timer_set(&u->timer, UINT64_MAX);
	bus_del(&d->machine->pio, &u->ports);
	chr_free(u->chr);
	free(u);
}

static const struct device_type type = {
	.name = "uart16550", .reset = reset, .state = state, .free = uart_free};

int uart16550_new(struct machine *m, const char *name, uint16_t port, unsigned gsi, struct chr *chr,
                  struct err *e)
{
	struct uart *u = xalloc(sizeof(*u));
	int r;

	u->ports = (struct bus_range){
		.base = port, .len = PORTS, .ops = &uart_ops, .dev = u, .name = "uart16550"};
	r = bus_add(&m->pio, &u->ports, e);
	if (r < 0) {
		free(u);
		return r;
	}
	u->gsi = gsi;
	u->chr = chr;
	chr->owner = u;
	chr->receive = receive;
	clock_timer_init(&m->clock, &u->timer, on_timeout);
	machine_add_device(m, &u->device, &type, name);
	reset(&u->device);
	return 0;
}
