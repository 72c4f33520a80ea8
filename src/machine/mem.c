/*
 * Guest physical memory: ranges, checked access, dirty log.
 *
 * Each range is one memfd, so that it can be shared with other processes (vhost-user, live update) and
 * mapped twice (the software engine).  Nothing here reserves host memory: pages come with first use.
 */
#include "machine/mem.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include "base/num.h"

void mem_init(struct mem *m)
{
	memset(m, 0, sizeof(*m));
}

void mem_fini(struct mem *m)
{
	mem_dirty_stop(m);
	for (unsigned i = 0; i < m->n; i++) {
		munmap(m->range[i].host, m->range[i].size);
		close(m->range[i].fd);
	}
	m->n = 0;
	m->pages = 0;
}

/* More than the host has would only be found out later, by the OOM killer. */
static int check_host_memory(uint64_t total, struct err *e)
{
	struct sysinfo si;
	char want[32], have[32];
	uint64_t host;

	if (sysinfo(&si) != 0)
		return 0;
	host = ((uint64_t)si.totalram + si.totalswap) * si.mem_unit;
	if (total <= host)
		return 0;
	return err_set(e, ENOMEM,
	               "guest memory of %s is more than this host has (%s with swap): give a "
	               "smaller --memory",
	               num_format_size(total, want, sizeof(want)),
	               num_format_size(host, have, sizeof(have)));
}

static int check_range(const struct mem *m, const char *name, gpa_t gpa, uint64_t size,
                       struct err *e)
{
	uint64_t total = m->pages * PAGE_SIZE;

	if (size == 0 || (gpa | size) & ~PAGE_MASK || gpa + (size - 1) < gpa)
		return err_set(e, EINVAL, "memory range '%s' is not whole pages", name);
	if (m->n == MEM_RANGES_MAX)
		return err_set(e, ENOSPC, "no room for memory range '%s'", name);
	for (unsigned i = 0; i < m->n; i++) {
		const struct mem_range *r = &m->range[i];

		if (gpa <= r->gpa + (r->size - 1) && r->gpa <= gpa + (size - 1))
			return err_set(e, EEXIST, "memory range '%s' overlaps '%s'", name, r->name);
	}
	if (__builtin_add_overflow(total, size, &total))
		return err_set(e, ENOMEM, "memory range '%s' is too large", name);
	return check_host_memory(total, e);
}

static uint8_t *map_memfd(const char *name, uint64_t size, int *fd_out, struct err *e)
{
	char label[40], text[32];
	uint8_t *host;
	int fd;

	snprintf(label, sizeof(label), "casulo-%s", name);
	num_format_size(size, text, sizeof(text));
	fd = memfd_create(label, MFD_CLOEXEC);
	if (fd < 0) {
		err_set(e, errno, "cannot create guest memory '%s': %s", name, strerror(errno));
		return NULL;
	}
	if (ftruncate(fd, (off_t)size) != 0)
		goto fail;
	host = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (host == MAP_FAILED)
		goto fail;
	/* Both are only advice: fewer TLB misses, and no guest secrets in a core file. */
	madvise(host, size, MADV_HUGEPAGE);
	madvise(host, size, MADV_DONTDUMP);
	*fd_out = fd;
	return host;
fail:
	err_set(e, ENOMEM, "cannot map %s of guest memory '%s': %s: give a smaller --memory", text,
	        name, strerror(errno));
	close(fd);
	return NULL;
}

int mem_add(struct mem *m, const char *name, enum mem_kind kind, gpa_t gpa, uint64_t size,
            struct err *e)
{
	struct err local = {0};
	unsigned at = m->n;
	struct mem_range *r;
	uint8_t *host;
	int rc, fd = -1;

	e = e ? e : &local;
	rc = check_range(m, name, gpa, size, e);
	if (rc < 0)
		return rc;
	host = map_memfd(name, size, &fd, e);
	if (!host)
		return -e->code;
	while (at > 0 && m->range[at - 1].gpa > gpa)
		at--;
	r = &m->range[at];
	memmove(r + 1, r, (m->n - at) * sizeof(*r));
	*r = (struct mem_range){
		.gpa = gpa, .size = size, .kind = kind, .host = host, .fd = fd, .page0 = m->pages};
	snprintf(r->name, sizeof(r->name), "%s", name);
	m->pages += size / PAGE_SIZE;
	m->n++;
	return 0;
}

const struct mem_range *mem_find(const struct mem *m, gpa_t gpa)
{
	for (unsigned i = 0; i < m->n; i++) {
		const struct mem_range *r = &m->range[i];

		if (gpa - r->gpa < r->size)
			return r;
	}
	return NULL;
}

void *mem_ptr(const struct mem *m, gpa_t gpa, uint64_t len, bool write)
{
	const struct mem_range *r = mem_find(m, gpa);
	uint64_t offset;

	if (!r || (write && r->kind == MEM_ROM))
		return NULL;
	offset = gpa - r->gpa;
	return len <= r->size - offset ? r->host + offset : NULL;
}

void mem_written(struct mem *m, gpa_t gpa, uint64_t len)
{
	if (len == 0)
		return;
	if (m->dirty) {
		uint64_t page = mem_page(m, gpa);
		uint64_t n = ((gpa & ~PAGE_MASK) + len + PAGE_SIZE - 1) / PAGE_SIZE;

		for (uint64_t i = 0; page != UINT64_MAX && i < n; i++)
			mem_dirty_set(m, page + i);
	}
	if (m->written)
		m->written(m->engine, gpa, len);
}

/* Is all of it there?  Neighbouring ranges count as one. */
static bool is_mapped(const struct mem *m, gpa_t gpa, uint64_t len, bool write)
{
	if (len && gpa + (len - 1) < gpa)
		return false;
	while (len) {
		const struct mem_range *r = mem_find(m, gpa);
		uint64_t n;

		if (!r || (write && r->kind == MEM_ROM))
			return false;
		n = MIN(len, r->size - (gpa - r->gpa));
		gpa += n;
		len -= n;
	}
	return true;
}

int mem_read(const struct mem *m, gpa_t gpa, void *buf, uint64_t len)
{
	uint8_t *out = buf;

	if (!is_mapped(m, gpa, len, false))
		return -EFAULT;
	while (len) {
		const struct mem_range *r = mem_find(m, gpa);
		uint64_t offset = gpa - r->gpa, n = MIN(len, r->size - offset);

		memcpy(out, r->host + offset, n);
		out += n;
		gpa += n;
		len -= n;
	}
	return 0;
}

static int copy_in(struct mem *m, gpa_t gpa, const void *buf, uint64_t len, bool check_rom)
{
	const uint8_t *in = buf;

	if (!is_mapped(m, gpa, len, check_rom))
		return -EFAULT;
	while (len) {
		const struct mem_range *r = mem_find(m, gpa);
		uint64_t offset = gpa - r->gpa, n = MIN(len, r->size - offset);

		memcpy(r->host + offset, in, n);
		mem_written(m, gpa, n);
		in += n;
		gpa += n;
		len -= n;
	}
	return 0;
}

int mem_write(struct mem *m, gpa_t gpa, const void *buf, uint64_t len)
{
	return copy_in(m, gpa, buf, len, true);
}

int mem_load(struct mem *m, gpa_t gpa, const void *buf, uint64_t len)
{
	return copy_in(m, gpa, buf, len, false);
}

uint64_t mem_page(const struct mem *m, gpa_t gpa)
{
	const struct mem_range *r = mem_find(m, gpa);

	return r ? r->page0 + (gpa - r->gpa) / PAGE_SIZE : UINT64_MAX;
}

int mem_dirty_start(struct mem *m, struct err *e)
{
	size_t words = m->pages / 64 + 1;

	if (m->dirty)
		return err_set(e, EBUSY, "the dirty log is running already");
	m->dirty = calloc(words, sizeof(*m->dirty));
	if (!m->dirty)
		return err_set(e, ENOMEM, "no memory for the dirty log (%zu bytes)", words * 8);
	return 0;
}

void mem_dirty_stop(struct mem *m)
{
	free((void *)m->dirty);
	m->dirty = NULL;
}

uint64_t mem_dirty_fetch(struct mem *m, uint64_t page, uint64_t n, uint64_t *out)
{
	uint64_t count = 0;

	if (page >= m->pages)
		n = 0;
	n = MIN(n, m->pages - page);
	for (uint64_t done = 0; done < n;) {
		uint64_t from = page + done, shift = from % 64;
		uint64_t bits = MIN(MIN(64 - shift, 64 - done % 64), n - done);
		uint64_t mask = (bits == 64 ? UINT64_MAX : (1ull << bits) - 1) << shift;
		uint64_t got = 0;

		if (m->dirty)
			got = atomic_fetch_and(&m->dirty[from / 64], ~mask) & mask;
		if (done % 64 == 0)
			out[done / 64] = 0;
		out[done / 64] |= got >> shift << done % 64;
		count += (uint64_t)__builtin_popcountll(got);
		done += bits;
	}
	return count;
}
