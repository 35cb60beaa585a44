/*
** part.c - writing into a part of a tensor.
**
** The part is a box of places; what is written broadcasts to it. Both are walked with a step for
** each axis, so that a part may lie in pieces.
*/
#include "tensor/tensor.h"

#include <string.h>

typedef struct {
    int rank;
    int64_t first;                  /* element of dst where the part begins */
    int64_t count;                  /* elements of the part */
    int64_t size[PL_MAX_RANK];      /* of the axes that are not dropped */
    int64_t to_step[PL_MAX_RANK];   /* elements of dst to the next place of an axis */
    int64_t from_step[PL_MAX_RANK]; /* of src; 0 where it is broadcast */
} box;

static pl_status read_parts(pl_ctx *ctx, box *b, const pl_tensor *dst, const pl_part *parts)
{
    int64_t step = 1;
    *b = (box){.count = 1};
    for (int i = 0; i < dst->rank; i++) b->rank += !parts[i].drop;
    int at = b->rank;
    for (int i = dst->rank - 1; i >= 0; i--) {
        const pl_part p = parts[i];
        if (p.start < 0 || p.count < 0 || p.start > dst->shape[i] - p.count ||
            (p.drop && p.count != 1))
            return pl__fail(ctx, PL_ERR_SHAPE, "put: the part leaves axis %d", i + ctx->first);
        b->first += p.start * step;
        b->count *= p.count;
        if (!p.drop) {
            b->size[--at] = p.count;
            b->to_step[at] = step;
        }
        step *= dst->shape[i];
    }
    return PL_OK;
}

static bool broadcasts(box *b, const pl_tensor *src)
{
    const int before = b->rank - src->rank;
    int64_t step = 1;
    if (before < 0) return false;
    for (int i = src->rank - 1; i >= 0; i--) {
        if (src->shape[i] != b->size[before + i] && src->shape[i] != 1) return false;
        b->from_step[before + i] = src->shape[i] == 1 ? 0 : step;
        step *= src->shape[i];
    }
    return true;
}

static pl_status misfit(pl_ctx *ctx, const box *b, const pl_tensor *src)
{
    char given[PL_SHAPE_TEXT], text[PL_SHAPE_TEXT];
    pl_tensor part = {.rank = b->rank};
    memcpy(part.shape, b->size, sizeof part.shape);
    return pl__fail(ctx, PL_ERR_SHAPE, "a value of shape %s does not fit into a part of shape %s",
                    pl__shape_text(src, given), pl__shape_text(&part, text));
}

/* One run along the last axis. */
static void write_run(char *to, int64_t to_step, const char *from, int64_t from_step, int64_t n,
                      size_t size)
{
    if (to_step == 1 && from_step == 1) {
        memcpy(to, from, (size_t)n * size);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        memcpy(to + (size_t)(i * to_step) * size, from + (size_t)(i * from_step) * size, size);
}

static void write_box(const box *b, pl_tensor *dst, const pl_tensor *src)
{
    const size_t size = pl_dtype_size(dst->dtype);
    char *to = (char *)pl__data(dst) + (size_t)b->first * size;
    const char *from = pl__data(src);
    const int last = b->rank - 1;
    const int64_t n = b->rank > 0 ? b->size[last] : 1;
    for (int64_t run = 0; run < b->count / n; run++) {
        int64_t rest = run, to_at = 0, from_at = 0;
        for (int i = last - 1; i >= 0; i--) {
            to_at += rest % b->size[i] * b->to_step[i];
            from_at += rest % b->size[i] * b->from_step[i];
            rest /= b->size[i];
        }
        write_run(to + (size_t)to_at * size, b->rank > 0 ? b->to_step[last] : 1,
                  from + (size_t)from_at * size, b->rank > 0 ? b->from_step[last] : 1, n, size);
    }
}

pl_status pl_tensor_put(pl_ctx *ctx, pl_tensor *dst, const pl_part *parts, const pl_tensor *src)
{
    box b;
    PL_TRY(pl_tensor_check(ctx, dst));
    PL_TRY(pl_tensor_check(ctx, src));
    if (pl__kept(dst->dtype))
        return pl__fail(ctx, PL_ERR_DTYPE, "the tensor is %s, a kept dtype, which is not written",
                        pl_dtype_name(dst->dtype));
    if (src->dtype != dst->dtype)
        return pl__fail(ctx, PL_ERR_DTYPE, "a value of %s does not fit into a tensor of %s",
                        pl_dtype_name(src->dtype), pl_dtype_name(dst->dtype));
    PL_TRY(read_parts(ctx, &b, dst, parts));
    if (!broadcasts(&b, src)) return misfit(ctx, &b, src);
    if (b.count == 0) return PL_OK;
    pl_tensor *copy = NULL;
    if (src->storage == dst->storage) { /* the part may overlap what is read */
        PL_TRY(pl__tensor_new_free(ctx, &copy, src->dtype, src->rank, src->shape));
        memcpy(pl__data(copy), pl__data(src), pl_tensor_bytes(src));
    }
    write_box(&b, dst, copy != NULL ? copy : src);
    pl_tensor_release(copy);
    pl_tensor_touch(dst);
    return PL_OK;
}
