/*
** tensor.c - making, viewing, filling and freeing tensors.
*/
#include "tensor/tensor.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/thread.h"

bool pl__shape_count(int rank, const int64_t *shape, int64_t *count)
{
    if (rank < 0 || rank > PL_MAX_RANK) return false;
    int64_t n = 1;
    for (int i = 0; i < rank; i++)
        if (!pl__mul(n, shape[i], &n)) return false;
    *count = n;
    return n <= INT64_MAX / 16;
}

const char *pl__shape_text(const pl_tensor *t, char text[PL_SHAPE_TEXT])
{
    int at = snprintf(text, PL_SHAPE_TEXT, "[");
    for (int i = 0; i < t->rank; i++)
        at += snprintf(text + at, (size_t)(PL_SHAPE_TEXT - at), i ? ",%lld" : "%lld",
                       (long long)t->shape[i]);
    snprintf(text + at, (size_t)(PL_SHAPE_TEXT - at), "]");
    return text;
}

static pl_status handle_new(pl_ctx *ctx, pl_tensor **out, pl_dtype dtype, int rank,
                            const int64_t *shape)
{
    *out = NULL;
    int64_t count;
    if (!pl__shape_count(rank, shape, &count))
        return pl__fail(
            ctx, PL_ERR_SHAPE,
            "tensor: bad shape (%d axes of at most %d, sizes 0 or more, product in memory)", rank,
            PL_MAX_RANK);
    const int64_t block = pl_dtype_block(dtype);
    if (pl__kept(dtype) && rank < 1)
        return pl__fail(ctx, PL_ERR_SHAPE, "tensor: a single number is never kept as %s",
                        pl_dtype_name(dtype));
    if (pl__kept(dtype) && shape[rank - 1] % block != 0)
        return pl__fail(ctx, PL_ERR_SHAPE,
                        "tensor: rows of %s have a multiple of %lld elements, not %lld",
                        pl_dtype_name(dtype), (long long)block, (long long)shape[rank - 1]);
    pl_tensor *t = pl_calloc(ctx, 1, sizeof *t);
    if (t == NULL) return PL_ERR_NOMEM;
    t->ctx = ctx;
    t->refs = 1;
    t->claimed = true;
    t->dtype = dtype;
    t->rank = rank;
    for (int i = 0; i < rank; i++) t->shape[i] = shape[i];
    t->count = count;
    *out = t;
    return PL_OK;
}

void pl__scope_add(pl_tensor *t, pl_scope *scope)
{
    t->scope = scope;
    if (scope == NULL) return;
    t->prev = NULL;
    t->next = scope->tensors;
    if (t->next != NULL) t->next->prev = t;
    scope->tensors = t;
}

void pl__scope_remove(pl_tensor *t)
{
    if (t->scope == NULL) return;
    if (t->prev != NULL) t->prev->next = t->next;
    else t->scope->tensors = t->next;
    if (t->next != NULL) t->next->prev = t->prev;
    t->scope = NULL;
    t->prev = t->next = NULL;
}

static pl_status give_storage(pl_tensor *t, bool zeros)
{
    const size_t bytes = pl_tensor_bytes(t);
    pl_storage *s = pl_calloc(t->ctx, 1, sizeof *s);
    if (s != NULL) s->data = zeros ? pl_calloc(t->ctx, 1, bytes) : pl_alloc(t->ctx, bytes);
    if (s == NULL || s->data == NULL) {
        pl_free(t->ctx, s);
        return PL_ERR_NOMEM;
    }
#ifdef PL_DEBUG
    if (!zeros) memset(s->data, 0xff, bytes); /* NaN: a read of undefined contents shows */
#endif
    s->ctx = t->ctx;
    s->users = 1;
    t->storage = s;
    return PL_OK;
}

static pl_status make(pl_ctx *ctx, pl_tensor **out, pl_dtype dtype, int rank, const int64_t *shape,
                      bool zeros)
{
    PL_TRY(handle_new(ctx, out, dtype, rank, shape));
    const pl_status st = give_storage(*out, zeros);
    if (st == PL_OK) return PL_OK;
    pl_free(ctx, *out);
    *out = NULL;
    return st;
}

pl_status pl__tensor_data_again(pl_tensor *t, uint64_t version)
{
    PL_TRY(give_storage(t, false));
    t->offset = 0;
    t->storage->version = version;
    return PL_OK;
}

void pl__tensor_lend(pl_tensor *t)
{
    t->storage->lent = true;
    pl__mem_lend(t->ctx, t->storage->data);
}

pl_status pl__tensor_claim(pl_tensor *t)
{
    if (!t->storage->lent) return PL_OK;
    const size_t from = pl__dtype_bytes(t->dtype, t->offset);
    return pl__mem_claim(t->ctx, t->storage->data, from, pl_tensor_bytes(t));
}

void pl__tensor_cut(pl_tensor *t, int64_t rows)
{
    t->count = t->count / t->shape[0] * rows;
    t->shape[0] = rows;
}

pl_status pl__tensor_resize(pl_tensor *t, int64_t rows)
{
    const size_t old = pl_tensor_bytes(t);
    int64_t shape[PL_MAX_RANK], count;
    memcpy(shape, t->shape, sizeof shape);
    shape[0] = rows;
    if (!pl__shape_count(t->rank, shape, &count) || t->storage->users > 1)
        return pl__fail(t->ctx, PL_ERR_SHAPE, "tensor: its first axis cannot become %lld",
                        (long long)rows);
    const size_t bytes = pl__dtype_bytes(t->dtype, count);
    char *data = pl_calloc(t->ctx, 1, bytes);
    if (data == NULL) return PL_ERR_NOMEM;
    memcpy(data, t->storage->data, old < bytes ? old : bytes);
    pl_free(t->ctx, t->storage->data);
    t->storage->data = data;
    t->storage->version++;
    t->shape[0] = rows;
    t->count = count;
    return PL_OK;
}

pl_status pl__tensor_new_free(pl_ctx *ctx, pl_tensor **out, pl_dtype dtype, int rank,
                              const int64_t *shape)
{
    return make(ctx, out, dtype, rank, shape, false);
}

pl_status pl__tensor_zeros_free(pl_ctx *ctx, pl_tensor **out, pl_dtype dtype, int rank,
                                const int64_t *shape)
{
    return make(ctx, out, dtype, rank, shape, true);
}

pl_status pl_tensor_new(pl_ctx *ctx, pl_tensor **out, pl_dtype dtype, int rank,
                        const int64_t *shape)
{
    PL_TRY(pl__tensor_new_free(ctx, out, dtype, rank, shape));
    pl__scope_add(*out, pl__tensor_floor(ctx)->innermost);
    return PL_OK;
}

pl_status pl_tensor_zeros(pl_ctx *ctx, pl_tensor **out, pl_dtype dtype, int rank,
                          const int64_t *shape)
{
    PL_TRY(pl__tensor_zeros_free(ctx, out, dtype, rank, shape));
    pl__scope_add(*out, pl__tensor_floor(ctx)->innermost);
    return PL_OK;
}

pl_status pl_tensor_from_bytes(pl_ctx *ctx, pl_tensor **out, pl_dtype dtype, int rank,
                               const int64_t *shape, const void *bytes, size_t size)
{
    pl_tensor *t;
    *out = NULL;
    PL_TRY(handle_new(ctx, &t, dtype, rank, shape));
    const size_t wanted = pl_tensor_bytes(t);
    pl_free(ctx, t);
    if (size != wanted)
        return pl__fail(ctx, PL_ERR_SHAPE, "tensor: %zu bytes given, the shape of %s has %zu", size,
                        pl_dtype_name(dtype), wanted);
    PL_TRY(pl_tensor_new(ctx, out, dtype, rank, shape));
    if (size > 0) memcpy(pl__data(*out), bytes, size);
    return PL_OK;
}

pl_status pl_tensor_view(pl_ctx *ctx, pl_tensor **out, pl_tensor *base, int64_t offset, int rank,
                         const int64_t *shape)
{
    *out = NULL;
    PL_TRY(pl_tensor_check(ctx, base));
    pl_tensor *t;
    PL_TRY(handle_new(ctx, &t, base->dtype, rank, shape));
    if (offset < 0 || offset > base->count || t->count > base->count - offset) {
        pl_free(ctx, t);
        char text[PL_SHAPE_TEXT];
        return pl__fail(ctx, PL_ERR_SHAPE, "view: beyond the %lld elements of %s",
                        (long long)base->count, pl__shape_text(base, text));
    }
    if (offset % pl_dtype_block(base->dtype) != 0) {
        pl_free(ctx, t);
        return pl__fail(ctx, PL_ERR_SHAPE, "view: element %lld of %s is inside a block",
                        (long long)offset, pl_dtype_name(base->dtype));
    }
    t->storage = base->storage;
    t->storage->users++;
    t->offset = base->offset + offset;
    pl__scope_add(t, pl__tensor_floor(ctx)->innermost);
    *out = t;
    return PL_OK;
}

static void drop_pack(pl_tensor *t, int i)
{
    pl_free(t->ctx, t->packs[i].data);
    t->packs[i].data = NULL;
}

static void drop_data(pl_tensor *t)
{
    if (t->storage == NULL || t->claimed || t->holds > 0) return;
    for (int i = 0; i < 2; i++) drop_pack(t, i);
    pl__rounded_set(t, NULL);
    pl_storage *s = t->storage;
    t->storage = NULL;
    if (--s->users > 0) return;
    pl_free(s->ctx, s->data);
    pl_free(s->ctx, s);
}

static void drop_handle(pl_tensor *t)
{
    if (t->refs > 0 || t->node_refs > 0) return;
    pl__scope_remove(t);
    t->claimed = false;
    pl_tensor *grad = t->grad;
    t->grad = NULL;
    if (grad != NULL) pl_tensor_release(grad);
    drop_data(t);
    pl_free(t->ctx, t);
}

void pl_tensor_retain(pl_tensor *t)
{
    t->refs++;
}

void pl_tensor_release(pl_tensor *t)
{
    if (t == NULL || --t->refs > 0) return;
    pl__scope_remove(t);
    t->claimed = false;
    if (t->node_refs == 0) {
        drop_handle(t);
        return;
    }
    drop_data(t);
    if (t->node != NULL) pl__tensor_floor(t->ctx)->hooks->last_user_gone(t->ctx, t);
}

void pl__tensor_node_ref(pl_tensor *t)
{
    t->node_refs++;
}

void pl__tensor_node_unref(pl_tensor *t)
{
    t->node_refs--;
    drop_handle(t);
}

void pl__tensor_hold(pl_tensor *t)
{
    t->holds++;
    if (t->storage != NULL) t->storage->holds++;
}

void pl__tensor_unhold(pl_tensor *t)
{
    t->holds--;
    if (t->storage != NULL) t->storage->holds--;
    drop_data(t);
}

void pl_tensor_free_data(pl_tensor *t)
{
    if (!t->claimed) return;
    pl__scope_remove(t);
    t->claimed = false;
    t->freed_in = NULL;
    drop_data(t);
}

pl_dtype pl_tensor_dtype(const pl_tensor *t)
{
    return t->dtype;
}

int pl_tensor_rank(const pl_tensor *t)
{
    return t->rank;
}

const int64_t *pl_tensor_shape(const pl_tensor *t)
{
    return t->shape;
}

int64_t pl_tensor_count(const pl_tensor *t)
{
    return t->count;
}

size_t pl_tensor_bytes(const pl_tensor *t)
{
    return pl__dtype_bytes(t->dtype, t->count);
}

void *pl_tensor_data(const pl_tensor *t)
{
    return t->claimed && t->storage != NULL ? pl__data(t) : NULL;
}

void pl_tensor_touch(pl_tensor *t)
{
    if (t->storage != NULL) t->storage->version++;
}

uint64_t pl_tensor_version(const pl_tensor *t)
{
    return t->storage != NULL ? t->storage->version : 0;
}

pl_status pl_tensor_check(pl_ctx *ctx, const pl_tensor *t)
{
    if (t->claimed && t->storage != NULL) return PL_OK;
    char shape[PL_SHAPE_TEXT];
    const char *name = t->name[0] ? t->name : "tensor";
    pl__shape_text(t, shape);
    if (t->freed_in == NULL)
        return pl__fail(ctx, PL_ERR_FREED, "%s %s was freed by :free(); it cannot be used again",
                        name, shape);
    return pl__fail(ctx, PL_ERR_FREED,
                    "%s %s was freed when scope '%s' closed; use :keep() to move it out of a scope",
                    name, shape, t->freed_in);
}

void pl_tensor_set_name(pl_tensor *t, const char *name)
{
    snprintf(t->name, sizeof t->name, "%s", name);
}

const char *pl_tensor_name(const pl_tensor *t)
{
    return t->name;
}

static int place_of(pl_pack_kind kind)
{
    return kind == PL_PACK_BF16_TURNED;
}

void *pl__pack_get(const pl_tensor *t, pl_pack_kind kind, int rule)
{
    const pl_pack *pack = &t->packs[place_of(kind)];
    const bool ours = pack->kind == kind && pack->rule == rule;
    return ours && pack->version == t->storage->version ? pack->data : NULL;
}

void pl__pack_set(pl_tensor *t, pl_pack_kind kind, int rule, void *block)
{
    drop_pack(t, place_of(kind));
    t->packs[place_of(kind)] = (pl_pack){block, kind, rule, t->storage->version};
}

/* What does not overlap goes in pieces, and stops between two. */
static pl_status copy_bytes(pl_ctx *ctx, char *to, const char *from, size_t size)
{
    enum { PIECE = 1 << 20 };
    if (to < from + size && from < to + size) {
        memmove(to, from, size);
        return PL_OK;
    }
    for (size_t at = 0; at < size; at += PIECE) {
        PL_TRY(pl__check_interrupt(ctx));
        memcpy(to + at, from + at, size - at < PIECE ? size - at : PIECE);
    }
    return PL_OK;
}

pl_tensor *pl__rounded_get(const pl_tensor *t)
{
    return t->rounded != NULL && t->rounded_version == t->storage->version ? t->rounded : NULL;
}

void pl__rounded_set(pl_tensor *t, pl_tensor *rounded)
{
    pl_tensor *former = t->rounded;
    if (rounded != NULL) pl_tensor_retain(rounded);
    t->rounded = rounded;
    t->rounded_version = t->storage->version;
    pl_tensor_release(former);
}

bool pl__tensor_held(const pl_tensor *t)
{
    return t->storage->holds > 0;
}

pl_status pl_tensor_copy(pl_ctx *ctx, pl_tensor *dst, const pl_tensor *src)
{
    PL_TRY(pl_tensor_check(ctx, dst));
    PL_TRY(pl_tensor_check(ctx, src));
    if (dst->dtype != src->dtype || dst->count != src->count) {
        char a[PL_SHAPE_TEXT], b[PL_SHAPE_TEXT];
        return pl__fail(ctx, PL_ERR_SHAPE, "copy: %s %s does not fit into %s %s",
                        pl_dtype_name(src->dtype), pl__shape_text(src, a),
                        pl_dtype_name(dst->dtype), pl__shape_text(dst, b));
    }
    pl_tensor_touch(dst);
    return copy_bytes(ctx, pl__data(dst), pl__data(src), pl_tensor_bytes(src));
}

/* For what writes single elements. */
static pl_status refuse_kept(pl_ctx *ctx, const pl_tensor *t, const char *what)
{
    if (!pl__kept(t->dtype)) return PL_OK;
    return pl__fail(ctx, PL_ERR_DTYPE, "%s: the tensor is %s, a kept dtype; cast makes it float32",
                    what, pl_dtype_name(t->dtype));
}

pl_status pl_tensor_check_write(pl_ctx *ctx, const pl_tensor *t, const char *what)
{
    PL_TRY(pl_tensor_check(ctx, t));
    return pl__tensor_floor(ctx)->hooks->check_write(ctx, t, what);
}

static void store(pl_tensor *t, int64_t i, double value)
{
    if (t->dtype == PL_F32) ((float *)pl__data(t))[i] = (float)value;
    else if (t->dtype == PL_F64) ((double *)pl__data(t))[i] = value;
    else ((int32_t *)pl__data(t))[i] = (int32_t)value;
}

pl_status pl_tensor_fill(pl_ctx *ctx, pl_tensor *t, double value)
{
    PL_TRY(pl_tensor_check(ctx, t));
    PL_TRY(refuse_kept(ctx, t, "fill"));
    if (t->dtype == PL_I32 && !(value >= INT32_MIN && value <= INT32_MAX && value == floor(value)))
        return pl__fail(ctx, PL_ERR_ARG, "fill: %.17g is not an integer of 32 bits", value);
    pl_tensor_touch(t);
    for (int64_t i = 0; i < t->count; i++) {
        if (i % PL_LOOK == 0) PL_TRY(pl__check_interrupt(ctx));
        store(t, i, value);
    }
    return PL_OK;
}

pl_status pl_tensor_random(pl_ctx *ctx, pl_tensor *t, bool normal, double a, double b,
                           uint64_t seed, uint64_t purpose)
{
    PL_TRY(pl_tensor_check(ctx, t));
    PL_TRY(refuse_kept(ctx, t, "random"));
    if (t->dtype == PL_I32) return pl__fail(ctx, PL_ERR_DTYPE, "random: wants a float tensor");
    pl_tensor_touch(t);
    PL_PARALLEL_FOR(t->count * 100)
    for (int64_t i = 0; i < t->count; i++) {
        if (pl__stopped(&ctx->interrupted)) continue;
        const double x = normal ? a + b * pl_random_normal(seed, purpose, (uint64_t)i)
                                : a + (b - a) * pl_random_uniform(seed, purpose, (uint64_t)i);
        store(t, i, x);
    }
    return pl__check_interrupt(ctx);
}
