/*
 * The processor's accesses done by a test's own thread.
 */
#include "engine/fake/fake.h"

void fake_out8(struct machine *m, uint16_t port, uint8_t v)
{
	machine_pio_write(m, port, 1, v);
}

void fake_out16(struct machine *m, uint16_t port, uint16_t v)
{
	machine_pio_write(m, port, 2, v);
}

void fake_out32(struct machine *m, uint16_t port, uint32_t v)
{
	machine_pio_write(m, port, 4, v);
}

uint8_t fake_in8(struct machine *m, uint16_t port)
{
	return (uint8_t)machine_pio_read(m, port, 1);
}

uint16_t fake_in16(struct machine *m, uint16_t port)
{
	return (uint16_t)machine_pio_read(m, port, 2);
}

uint32_t fake_in32(struct machine *m, uint16_t port)
{
	return machine_pio_read(m, port, 4);
}

void fake_write(struct machine *m, gpa_t gpa, unsigned size, uint64_t v)
{
	if (mem_write(&m->mem, gpa, &v, MIN(size, 8u)) < 0)
		machine_mmio_write(m, gpa, size, v);
}

uint64_t fake_read(struct machine *m, gpa_t gpa, unsigned size)
{
	uint64_t v = 0;

	if (mem_read(&m->mem, gpa, &v, MIN(size, 8u)) < 0)
		v = machine_mmio_read(m, gpa, size);
	return v;
}
