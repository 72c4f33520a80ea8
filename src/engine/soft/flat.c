/* The flat table's memory: the vCPU's state, the views of RAM, windows.  See flat.h. */
#include "engine/soft/flat_impl.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/soft/code.h"

#define HOST_SPACE (100ull << 40) /* bytes of host addresses that all vCPUs' windows may take */

struct soft_cpu *flat_cpu_new(void)
{
	int fd = memfd_create("casulo-vcpu", MFD_CLOEXEC);
	struct soft_cpu *c;

	if (fd < 0)
		return NULL;
	if (ftruncate(fd, (off_t)FILE_BYTES) < 0) {
		close(fd);
		return NULL;
	}
	c = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (c == MAP_FAILED) {
		close(fd);
		return NULL;
	}
	c->native.state_fd = fd;
	return c;
}

void flat_cpu_free(struct soft_cpu *c)
{
	int fd = c->native.state_fd;

	munmap(c, FILE_BYTES);
	close(fd);
}

int flat_views_open(struct soft_vm *vm, struct err *e)
{
	const struct mem *m = &vm->machine->mem;

	flat_views_close(vm);
	for (unsigned i = 0; i < m->n; i++) {
		const struct mem_range *r = &m->range[i];
		void *p = mmap(NULL, r->size, PROT_READ, MAP_SHARED | MAP_NORESERVE, r->fd,
		               (off_t)r->offset);

		if (p == MAP_FAILED)
			return err_set(e, errno, "cannot map '%s' a second time: %s", r->name,
			               strerror(errno));
		vm->view[i] = p;
		vm->view_size[i] = r->size;
	}
	return 0;
}

void flat_views_close(struct soft_vm *vm)
{
	for (unsigned i = 0; i < MEM_RANGES_MAX; i++) {
		if (vm->view[i] != NULL)
			munmap(vm->view[i], vm->view_size[i]);
		vm->view[i] = NULL;
	}
}

/* user: the jumps of its own; NULL: a supervisor window */
static bool window_open(struct soft_cpu *c, struct window *w, struct jumps *user)
{
	void *p = mmap(NULL, WINDOW_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
	               -1, 0);

	if (p == MAP_FAILED)
		return false;
	w->base = p;
	w->table = (void *)(w->base + FILE_BYTES);
	if (mmap(w->base, user ? FLAT_STATE_BYTES : FILE_BYTES, PROT_READ | PROT_WRITE,
	         MAP_SHARED | MAP_FIXED, c->native.state_fd, 0) == MAP_FAILED)
		return false;
	w->jumps = user ? user : &c->native.flat->supervisor;
	if (user)
		user->hash = (void *)(w->base + FLAT_STATE_BYTES);
	if (user && mprotect(user->hash, sizeof(*user->hash), PROT_READ | PROT_WRITE) < 0)
		return false;
	w->opened = mmap(NULL, OPENED_BYTES, PROT_READ | PROT_WRITE,
	                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (w->opened == MAP_FAILED) {
		w->opened = NULL;
		return false;
	}
	w->jumps->hash->code[0] = c->native.exit;
	flat_slot_clear(w->jumps, 0);
	return true;
}

static void space_close(struct space *s)
{
	for (unsigned i = 0; i < 2; i++) {
		if (s->window[i].opened != NULL)
			munmap(s->window[i].opened, OPENED_BYTES);
		if (s->window[i].base != NULL)
			munmap(s->window[i].base, WINDOW_BYTES);
	}
}

/* A vCPU gets its share of the address space that the process has. */
static unsigned how_many(const struct soft_cpu *c)
{
	unsigned share = (unsigned)(HOST_SPACE / (2 * WINDOW_BYTES) / c->machine->cpus);

	return MIN(MAX(share, 1u), SPACES_MAX);
}

int flat_open(struct soft_cpu *c)
{
	struct flat *f = xalloc(sizeof(*f));
	unsigned most = how_many(c);

	c->native.flat = f;
	f->supervisor.hash = (void *)((uint8_t *)c + FLAT_STATE_BYTES);
	f->space = xalloc(most * sizeof(*f->space));
	while (f->spaces < most) {
		struct space *s = &f->space[f->spaces++];

		s->pcid = (uint16_t)(f->spaces - 1);
		s->generation = f->spaces;
		if (!window_open(c, &s->window[0], NULL) ||
		    !window_open(c, &s->window[1], &s->user))
			break;
	}
	/* A limit of the host: with those that could be had, but for one that is half open. */
	if (f->space[f->spaces - 1].window[1].opened == NULL)
		space_close(&f->space[--f->spaces]);
	if (f->spaces == 0) {
		flat_close(c);
		return -ENOMEM;
	}
	f->here = &f->space[0];
	c->run->generations = f->spaces;
	return 0;
}

void flat_close(struct soft_cpu *c)
{
	struct flat *f = c->native.flat;

	if (f == NULL)
		return;
	for (unsigned i = 0; i < f->spaces; i++)
		space_close(&f->space[i]);
	free(f->space);
	free(f);
	c->native.flat = NULL;
}

void flat_select(struct soft_cpu *c)
{
	struct flat *f = c->native.flat;
	struct window *w = &f->here->window[c->cpl == 3];

	f->now = w;
	if (c->native.gs == (uint64_t)w->table)
		return;
	c->native.gs = (uint64_t)w->table;
	asm volatile("wrgsbase %0" : : "r"(w->table));
}

/* All parts of all windows are as at first. */
static void close_parts(struct flat *f)
{
	for (unsigned i = 0; i < 2 * f->spaces; i++) {
		struct window *w = window_of(f, i);

		if (w->parts == 0)
			continue;
		flat_drop_fills(&w->local);
		flat_drop_fills(&w->global);
		mprotect(w->table, FLAT_TABLE, PROT_NONE);
		madvise(w->table, FLAT_TABLE, MADV_DONTNEED);
		madvise(w->opened, OPENED_BYTES, MADV_DONTNEED);
		w->parts = 0;
	}
	f->parts = 0;
}

bool flat_part_open(struct soft_cpu *c, struct window *w, const void *at)
{
	uint64_t part = (uint64_t)((const uint8_t *)at - (const uint8_t *)w->table) / PART;
	uint64_t *entry = (uint64_t *)((uint8_t *)w->table + part * PART);
	struct flat *f = c->native.flat;

	/* A guest that goes everywhere gets neither all memory nor all mappings of the process. */
	if (f->parts == PARTS_MAX)
		close_parts(f);
	if (mprotect(entry, PART, PROT_READ | PROT_WRITE) < 0) {
		close_parts(f);
		if (mprotect(entry, PART, PROT_READ | PROT_WRITE) < 0)
			return false;
	}
	for (unsigned i = 0; i < PART / sizeof(*entry); i++)
		entry[i] = FLAT_MISS;
	w->opened[part / 8] |= (uint8_t)(1u << part % 8);
	w->parts++;
	f->parts++;
	return true;
}

enum flat_part flat_open_part(struct soft_cpu *c, const void *at)
{
	struct flat *f = c->native.flat;

	for (unsigned i = 0; i < 2 * f->spaces; i++) {
		struct window *w = window_of(f, i);

		if ((const uint8_t *)at < (const uint8_t *)w->table ||
		    (const uint8_t *)at >= (const uint8_t *)w->table + FLAT_TABLE)
			continue;
		if (part_is_open(w, at))
			return FLAT_PART_NONE;
		return flat_part_open(c, w, at) ? FLAT_PART_OPENED : FLAT_PART_REFUSED;
	}
	return FLAT_PART_NONE;
}
