/*
 * The controller keeps one byte for the processor in its output buffer.  What the keyboard has to say
 * waits in the keyboard until the buffer is empty and its clock is on; the controller's own answers take
 * the buffer at once.  IRQ 1 tells of bytes from the keyboard.
 *
 * A command of the controller or of the keyboard may need a parameter, which is the next byte written to
 * the data port: `expects` says who waits for it.
 */
#include "dev/chip/i8042.h"

#include <string.h>
#include "base/log.h"

#define PORT_DATA    0x60
#define PORT_COMMAND 0x64
#define PORT_92      0x92

enum { STATUS_OUTPUT = 0x01, STATUS_SYSTEM = 0x04, STATUS_COMMAND = 0x08, STATUS_UNLOCKED = 0x10 };
enum { /* command byte */
       CTR_INTERRUPT = 0x01,
       CTR_SYSTEM = 0x04,
       CTR_KEYBOARD_OFF = 0x10,
       CTR_AUX_OFF = 0x20,
       CTR_TRANSLATE = 0x40,
};
enum { /* commands of the controller */
       READ_RAM = 0x20,
       WRITE_RAM = 0x60,
       AUX_OFF = 0xa7,
       AUX_ON = 0xa8,
       AUX_TEST = 0xa9,
       SELF_TEST = 0xaa,
       KEYBOARD_TEST = 0xab,
       KEYBOARD_OFF = 0xad,
       KEYBOARD_ON = 0xae,
       READ_INPUT = 0xc0,
       READ_OUTPUT = 0xd0,
       WRITE_OUTPUT = 0xd1,
       WRITE_KEYBOARD_BUFFER = 0xd2,
       WRITE_AUX_BUFFER = 0xd3,
       WRITE_AUX = 0xd4,
       PULSE = 0xf0, /* bits 3-0: lines that stay high */
};
enum { /* commands and answers of the keyboard */
       KEY_LEDS = 0xed,
       KEY_ECHO = 0xee,
       KEY_SCAN_SET = 0xf0,
       KEY_IDENTIFY = 0xf2,
       KEY_RATE = 0xf3,
       KEY_ENABLE = 0xf4,
       KEY_DISABLE = 0xf5,
       KEY_DEFAULTS = 0xf6,
       KEY_RESEND = 0xfe,
       KEY_RESET = 0xff,
       KEY_ACK = 0xfa,
       KEY_PASSED = 0xaa,
};
#define SELF_TEST_PASSED 0x55
#define AUX_TEST_FAILED  0x02 /* clock line stuck */
#define INPUT_UNLOCKED   0x80
#define OUTPUT_RESET     0x01 /* low: the processor is in reset */
#define OUTPUT_A20       0x02
#define OUTPUT_PORT      0xc0 /* keyboard lines */
#define RAM_SIZE         32   /* byte 0 is the command byte */
#define QUEUE_SIZE       16

struct i8042 {
	struct device device;
	struct bus_range data, command, port92;
	unsigned gsi;

	uint8_t ram[RAM_SIZE];
	uint8_t output;
	bool full;          /* the output buffer */
	bool from_keyboard; /* what is in it */
	bool last_command;  /* the last write went to the command port */
	uint8_t expects;    /* command of the controller that waits for its parameter, or 0 */

	uint8_t key_expects, key_last, scan_set;
	bool scanning;
	uint8_t queue[QUEUE_SIZE];
	uint8_t queue_len;
};

static void reset_machine(struct i8042 *c, const char *by)
{
	machine_end(c->device.machine, MACHINE_RESET, 0, "reset by %s", by);
}

/* Moves on what the keyboard has to say, and sets the interrupt line. */
static void update(struct i8042 *c)
{
	if (!c->full && c->queue_len && !(c->ram[0] & CTR_KEYBOARD_OFF)) {
		c->output = c->queue[0];
		c->full = c->from_keyboard = true;
		memmove(c->queue, c->queue + 1, --c->queue_len);
	}
	irq_set(c->device.machine, c->gsi,
	        c->full && c->from_keyboard && c->ram[0] & CTR_INTERRUPT);
}

static void answer(struct i8042 *c, uint8_t byte)
{
	c->output = byte;
	c->full = true;
	c->from_keyboard = false;
}

static void key_say(struct i8042 *c, uint8_t byte)
{
	if (c->queue_len == QUEUE_SIZE) {
		log_guest("i8042: the keyboard's queue is full");
		return;
	}
	c->queue[c->queue_len++] = byte;
	c->key_last = byte;
}

static void key_defaults(struct i8042 *c, bool scanning)
{
	c->scan_set = 2;
	c->scanning = scanning;
}

static void key_parameter(struct i8042 *c, uint8_t v)
{
	uint8_t command = c->key_expects;

	c->key_expects = 0;
	if (command == KEY_SCAN_SET && v > 3) {
		key_say(c, KEY_RESEND);
		return;
	}
	key_say(c, KEY_ACK);
	if (command != KEY_SCAN_SET)
		return;
	if (v == 0)
		key_say(c, c->scan_set);
	else
		c->scan_set = v;
}

static void key_identify(struct i8042 *c)
{
	key_say(c, KEY_ACK);
	key_say(c, 0xab);
	key_say(c, c->ram[0] & CTR_TRANSLATE ? 0x41 : 0x83);
}

static void key_write(struct i8042 *c, uint8_t v)
{
	/* Commands have bit 7 set, parameters do not. */
	if (c->key_expects && v < 0x80) {
		key_parameter(c, v);
		return;
	}
	c->key_expects = 0;
	switch (v) {
	case KEY_LEDS:
	case KEY_SCAN_SET:
	case KEY_RATE:
		c->key_expects = v;
		key_say(c, KEY_ACK);
		break;
	case KEY_ECHO:
		key_say(c, KEY_ECHO);
		break;
	case KEY_IDENTIFY:
		key_identify(c);
		break;
	case KEY_ENABLE:
		c->scanning = true;
		key_say(c, KEY_ACK);
		break;
	case KEY_DISABLE:
	case KEY_DEFAULTS:
		key_defaults(c, v == KEY_DEFAULTS);
		key_say(c, KEY_ACK);
		break;
	case KEY_RESEND:
		key_say(c, c->key_last);
		break;
	case KEY_RESET:
		c->queue_len = 0;
		key_defaults(c, true);
		key_say(c, KEY_ACK);
		key_say(c, KEY_PASSED);
		break;
	default:
		key_say(c, KEY_RESEND);
		break;
	}
}

static void parameter(struct i8042 *c, uint8_t command, uint8_t v)
{
	switch (command) {
	case WRITE_OUTPUT:
		if (!(v & OUTPUT_RESET))
			reset_machine(c, "the keyboard controller's output port");
		break;
	case WRITE_KEYBOARD_BUFFER:
		answer(c, v);
		c->from_keyboard = true;
		break;
	case WRITE_AUX_BUFFER: /* without an auxiliary port there is nobody whose byte it could be */
		answer(c, v);
		break;
	case WRITE_AUX:
		break;
	default: /* WRITE_RAM + address */
		c->ram[command - WRITE_RAM] = v;
		/* There is no auxiliary port to switch on. */
		c->ram[0] |= CTR_AUX_OFF;
		break;
	}
}

static void controller_command(struct i8042 *c, uint8_t v)
{
	c->expects = 0;
	if (v >= READ_RAM && v < READ_RAM + RAM_SIZE) {
		answer(c, c->ram[v - READ_RAM]);
		return;
	}
	if ((v >= WRITE_RAM && v < WRITE_RAM + RAM_SIZE) || (v >= WRITE_OUTPUT && v <= WRITE_AUX)) {
		c->expects = v;
		return;
	}
	if (v >= PULSE) {
		if (!(v & OUTPUT_RESET))
			reset_machine(c, "the keyboard controller");
		return;
	}
	switch (v) {
	case AUX_OFF:
	case AUX_ON:
		break;
	case AUX_TEST:
		answer(c, AUX_TEST_FAILED);
		break;
	case SELF_TEST:
		c->ram[0] |= CTR_SYSTEM;
		answer(c, SELF_TEST_PASSED);
		break;
	case KEYBOARD_TEST:
		answer(c, 0);
		break;
	case KEYBOARD_OFF:
		c->ram[0] |= CTR_KEYBOARD_OFF;
		break;
	case KEYBOARD_ON:
		c->ram[0] &= ~CTR_KEYBOARD_OFF;
		break;
	case READ_INPUT:
		answer(c, INPUT_UNLOCKED);
		break;
	case READ_OUTPUT:
		answer(c, OUTPUT_PORT | OUTPUT_A20 | OUTPUT_RESET | (c->full ? 0x10 : 0));
		break;
	default:
		log_guest("i8042: unknown command 0x%02x", v);
		break;
	}
}

static uint64_t data_read(void *dev, uint64_t offset, unsigned size)
{
	struct i8042 *c = dev;
	uint8_t v = c->output;

	/* The line falls before the next byte raises it. */
	c->full = false;
	irq_set(c->device.machine, c->gsi, false);
	update(c);
	return v;
}

static void data_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct i8042 *c = dev;
	uint8_t expects = c->expects;

	c->last_command = false;
	c->expects = 0;
	if (expects) {
		parameter(c, expects, value);
	} else {
		c->ram[0] &= ~CTR_KEYBOARD_OFF; /* talking to the keyboard switches its clock on */
		key_write(c, value);
	}
	update(c);
}

static uint64_t status_read(void *dev, uint64_t offset, unsigned size)
{
	struct i8042 *c = dev;

	return STATUS_UNLOCKED | (c->full ? STATUS_OUTPUT : 0) |
	       (c->ram[0] & CTR_SYSTEM ? STATUS_SYSTEM : 0) |
	       (c->last_command ? STATUS_COMMAND : 0);
}

static void command_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct i8042 *c = dev;

	c->last_command = true;
	controller_command(c, value);
	update(c);
}

static uint64_t port92_read(void *dev, uint64_t offset, unsigned size)
{
	return OUTPUT_A20;
}

static void port92_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	if (value & 1)
		reset_machine(dev, "port 0x92");
}

static const struct bus_ops data_ops = {data_read, data_write, 1};
static const struct bus_ops command_ops = {status_read, command_write, 1};
static const struct bus_ops port92_ops = {port92_read, port92_write, 1};

static void reset(struct device *d)
{
	struct i8042 *c = container_of(d, struct i8042, device);

	memset(c->ram, 0, sizeof(c->ram));
	c->ram[0] = CTR_AUX_OFF | CTR_TRANSLATE | CTR_INTERRUPT;
	c->full = c->from_keyboard = c->last_command = false;
	c->output = c->expects = c->key_expects = c->key_last = c->queue_len = 0;
	key_defaults(c, true);
	update(c);
}

static void state(struct device *d, struct state *s)
{
	struct i8042 *c = container_of(d, struct i8042, device);

	state_bytes(s, "ram", c->ram, sizeof(c->ram));
	state_u8(s, "output", &c->output);
	state_bool(s, "full", &c->full);
	state_bool(s, "from_keyboard", &c->from_keyboard);
	state_bool(s, "last_command", &c->last_command);
	state_u8(s, "expects", &c->expects);
	state_u8(s, "key_expects", &c->key_expects);
	state_u8(s, "key_last", &c->key_last);
	state_u8(s, "scan_set", &c->scan_set);
	state_bool(s, "scanning", &c->scanning);
	state_bytes(s, "queue", c->queue, sizeof(c->queue));
	state_u8(s, "queue_len", &c->queue_len);
	if (!state_loading(s) || state_failed(s))
		return;
	if (c->queue_len > QUEUE_SIZE) {
		c->queue_len = 0;
		state_fail(s, "i8042: a queue of more than its size");
	}
	if (c->expects && !(c->expects >= WRITE_RAM && c->expects < WRITE_RAM + RAM_SIZE) &&
	    !(c->expects >= WRITE_OUTPUT && c->expects <= WRITE_AUX)) {
		c->expects = 0;
		state_fail(s, "i8042: waits for a parameter of no command");
	}
}

static void i8042_free(struct device *d)
{
	struct i8042 *c = container_of(d, struct i8042, device);

	bus_del(&d->machine->pio, &c->data);
	bus_del(&d->machine->pio, &c->command);
	bus_del(&d->machine->pio, &c->port92);
	free(c);
}

static const struct device_type type = {
	.name = "i8042", .reset = reset, .state = state, .free = i8042_free};

int i8042_new(struct machine *m, unsigned gsi, struct err *e)
{
	struct i8042 *c = xalloc(sizeof(*c));
	int r;

	c->gsi = gsi;
	c->data = (struct bus_range){PORT_DATA, 1, &data_ops, c, "keyboard-data", false};
	c->command = (struct bus_range){PORT_COMMAND, 1, &command_ops, c, "keyboard", false};
	c->port92 = (struct bus_range){PORT_92, 1, &port92_ops, c, "port92", false};
	machine_add_device(m, &c->device, &type, "i8042");
	r = bus_add(&m->pio, &c->data, e);
	if (r == 0)
		r = bus_add(&m->pio, &c->command, e);
	if (r == 0)
		r = bus_add(&m->pio, &c->port92, e);
	if (r == 0)
		reset(&c->device);
	return r;
}
