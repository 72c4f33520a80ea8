/* The arena of a vCPU's stubs, and the instructions that stubs are made of but for the guest's own. */
#include "engine/soft/vec.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

#include "engine/soft/run.h"

#define ARENA_SIZE (16u << 20)
#define HASH_BITS  12

struct kept {
	uint32_t next; /* in its bucket: place in the arena, 0 for none */
	uint32_t len;
	uint8_t code[];
};

int vec_open(struct soft_cpu *c)
{
	struct vec_cache *v = NULL;
	int rc, fd = memfd_create("casulo-vector-stubs", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (posix_memalign((void **)&v, 64, align_up(sizeof(*v), 64)) != 0) {
		close(fd);
		return -ENOMEM;
	}
	memset(v, 0, sizeof(*v));
	v->write = v->exec = MAP_FAILED;
	if (ftruncate(fd, ARENA_SIZE) < 0)
		goto fail;
	v->write = mmap(NULL, ARENA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (v->write == MAP_FAILED)
		goto fail;
	v->exec = mmap(NULL, ARENA_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	if (v->exec == MAP_FAILED)
		goto fail;
	close(fd);
	c->vec = v;
	vec_drop(c);
	return 0;
fail:
	rc = -errno;
	if (v->write != MAP_FAILED)
		munmap(v->write, ARENA_SIZE);
	close(fd);
	free(v);
	return rc;
}

void vec_close(struct soft_cpu *c)
{
	if (c->vec == NULL)
		return;
	munmap(c->vec->write, ARENA_SIZE);
	munmap(c->vec->exec, ARENA_SIZE);
	free(c->vec);
	c->vec = NULL;
}

void vec_drop(struct soft_cpu *c)
{
	memset(c->vec->bucket, 0, sizeof(c->vec->bucket));
	c->vec->used = 64; /* place 0 is none */
}

bool vec_full(const struct soft_cpu *c)
{
	return c->vec->used > ARENA_SIZE - BLOCK_OPS * (STUB_MAX + 64);
}

static uint32_t hash(const struct emit *e)
{
	uint64_t h = e->n;

	for (unsigned i = 0; i < e->n; i++)
		h = (h ^ e->code[i]) * 0x100000001b3ull;
	return (uint32_t)((h * 0x9e3779b97f4a7c15ull) >> (64 - HASH_BITS));
}

vec_stub *vec_keep(struct soft_cpu *c, const struct emit *e)
{
	struct vec_cache *v = c->vec;
	uint32_t *bucket = &v->bucket[hash(e)];
	struct kept *k;
	uint32_t at;

	for (at = *bucket; at != 0; at = k->next) {
		k = (struct kept *)(v->write + at);
		if (k->len == e->n && memcmp(k->code, e->code, e->n) == 0)
			return (vec_stub *)(v->exec + at + sizeof(*k));
	}
	at = v->used;
	assert(at + sizeof(*k) + e->n <= ARENA_SIZE);
	k = (struct kept *)(v->write + at);
	k->next = *bucket;
	k->len = e->n;
	memcpy(k->code, e->code, e->n);
	*bucket = at;
	v->used = (uint32_t)align_up(at + sizeof(*k) + e->n, 16);
	return (vec_stub *)(v->exec + at + sizeof(*k));
}

void emit_bytes(struct emit *e, const void *bytes, unsigned len)
{
	assert(e->n + len <= STUB_MAX);
	memcpy(e->code + e->n, bytes, len);
	e->n += len;
}

void emit_u32(struct emit *e, uint32_t v)
{
	emit_bytes(e, &v, sizeof(v));
}

void emit_gpr_load(struct emit *e, unsigned r, unsigned gpr)
{
	EMIT(e, 0x48, 0x8b, (uint8_t)(0x87 | r << 3)); /* mov r, [rdi + disp32] */
	emit_u32(e, (uint32_t)(offsetof(struct soft_cpu, gpr) + gpr * 8));
}

void emit_gpr_store(struct emit *e, unsigned r, unsigned gpr)
{
	EMIT(e, 0x48, 0x89, (uint8_t)(0x87 | r << 3));
	emit_u32(e, (uint32_t)(offsetof(struct soft_cpu, gpr) + gpr * 8));
}

void emit_flags_load(struct emit *e)
{
	EMIT(e, 0x66, 0x8b, 0x87); /* mov ax, [aflags] */
	emit_u32(e, offsetof(struct soft_cpu, aflags));
	EMIT(e, 0x04, 0x7f, 0x9e); /* add al, 0x7f; sahf */
}

void emit_flags_store(struct emit *e)
{
	EMIT(e, 0x9f, 0x0f, 0x90, 0xc0, 0x66, 0x89, 0x87); /* lahf; seto al; mov [aflags], ax */
	emit_u32(e, offsetof(struct soft_cpu, aflags));
}

void emit_mxcsr_host(struct emit *e)
{
	EMIT(e, 0x68); /* push imm32; ldmxcsr [rsp]; pop rax */
	emit_u32(e, MXCSR_INIT);
	EMIT(e, 0x0f, 0xae, 0x14, 0x24, 0x58);
}

static_assert(offsetof(struct op, fn) == 0, "stubs jump to the next op's function");

void emit_next(struct emit *e)
{
	EMIT(e, 0x48, 0x81, 0xc6); /* add rsi, sizeof(struct op) */
	emit_u32(e, sizeof(struct op));
	EMIT(e, 0xff, 0x26); /* jmp [rsi] */
}
