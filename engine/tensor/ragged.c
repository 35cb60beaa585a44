/*
** ragged.c - moving whole sequences: B of them lie end to end in one tensor, and int32 offsets
** [B+1] say where each begins.
**
** Only data moves here, of any dtype; nothing is recorded on the tape.
*/
#include <string.h>

#include "tensor/tensor.h"

/* *starts: the offsets, held against the rows of x (NULL: against nothing); *count sequences. */
static pl_status read_offsets(pl_ctx *ctx, const int32_t **starts, int64_t *count,
                              const pl_tensor *offsets, const pl_tensor *x, const char *what)
{
    PL_TRY(pl_tensor_check(ctx, offsets));
    if (offsets->dtype != PL_I32 || offsets->rank != 1 || offsets->count < 1)
        return pl__fail(ctx, PL_ERR_SHAPE, "ragged: the offsets of %s must be int32 [B+1]", what);
    const int32_t *at = pl__data(offsets);
    bool fine = at[0] == 0;
    for (int64_t i = 1; i < offsets->count; i++) fine = fine && at[i - 1] <= at[i];
    if (x != NULL) {
        PL_TRY(pl_tensor_check(ctx, x));
        if (pl__kept(x->dtype))
            return pl__fail(ctx, PL_ERR_DTYPE, "ragged: %s is %s; cast makes it float32", what,
                            pl_dtype_name(x->dtype));
        if (x->rank < 1) return pl__fail(ctx, PL_ERR_SHAPE, "ragged: %s is a single number", what);
        fine = fine && at[offsets->count - 1] == x->shape[0];
    }
    if (!fine)
        return pl__fail(ctx, PL_ERR_ARG,
                        "ragged: the offsets of %s must begin with 0, never fall and end with its "
                        "number of rows",
                        what);
    *starts = at;
    *count = offsets->count - 1;
    return PL_OK;
}

static size_t row_bytes(const pl_tensor *x)
{
    size_t bytes = pl_dtype_size(x->dtype);
    for (int i = 1; i < x->rank; i++) bytes *= (size_t)x->shape[i];
    return bytes;
}

/* A new tensor with `rows` rows of the form of x's. */
static pl_status new_like(pl_ctx *ctx, pl_tensor **out, const pl_tensor *x, int64_t rows)
{
    int64_t shape[PL_MAX_RANK];
    memcpy(shape, x->shape, sizeof shape);
    shape[0] = rows;
    return pl_tensor_new(ctx, out, x->dtype, x->rank, shape);
}

pl_status pl_ragged_take(pl_ctx *ctx, pl_tensor **out, pl_tensor **out_offsets, const pl_tensor *x,
                         const pl_tensor *offsets, const int64_t *index, int64_t n)
{
    const int32_t *from;
    int64_t count, total = 0;
    pl_tensor *taken = NULL, *starts = NULL;
    pl_status st = PL_OK;
    PL_TRY(read_offsets(ctx, &from, &count, offsets, x, "x"));
    for (int64_t i = 0; i < n; i++) {
        if (index[i] < 0 || index[i] >= count)
            return pl__fail(ctx, PL_ERR_ARG, "ragged: there is no sequence %lld of %lld",
                            (long long)index[i] + ctx->first, (long long)count);
        total += from[index[i] + 1] - from[index[i]];
    }
    if (total > INT32_MAX)
        return pl__fail(ctx, PL_ERR_SHAPE, "ragged: %lld rows are too many", (long long)total);
    PL_GO(new_like(ctx, &taken, x, total));
    PL_GO(pl_tensor_new(ctx, &starts, PL_I32, 1, &(int64_t){n + 1}));
    const size_t row = row_bytes(x);
    char *to = pl__data(taken);
    int32_t *start = pl__data(starts);
    start[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        const int32_t length = from[index[i] + 1] - from[index[i]];
        memcpy(to, (const char *)pl__data(x) + (size_t)from[index[i]] * row, (size_t)length * row);
        to += (size_t)length * row;
        start[i + 1] = start[i] + length;
    }
done:
    if (st != PL_OK) {
        pl_tensor_release(taken);
        pl_tensor_release(starts);
        return st;
    }
    *out = taken;
    *out_offsets = starts;
    return PL_OK;
}

pl_status pl_ragged_join(pl_ctx *ctx, pl_tensor **out, pl_tensor **out_offsets, pl_tensor **before,
                         const pl_tensor *a, const pl_tensor *a_offsets, const pl_tensor *b,
                         const pl_tensor *b_offsets)
{
    const int32_t *a_at, *b_at = NULL;
    int64_t count, b_count = 0;
    pl_tensor *joined = NULL, *starts = NULL, *rows = NULL;
    pl_status st = PL_OK;
    PL_TRY(read_offsets(ctx, &a_at, &count, a_offsets, a, "a"));
    PL_TRY(read_offsets(ctx, &b_at, &b_count, b_offsets, b, "b"));
    if (count != b_count || a->dtype != b->dtype || row_bytes(a) != row_bytes(b))
        return pl__fail(ctx, PL_ERR_SHAPE,
                        "ragged: a has %lld sequences of %s, b %lld of %s; they must be alike",
                        (long long)count, pl_dtype_name(a->dtype), (long long)b_count,
                        pl_dtype_name(b->dtype));
    for (int64_t i = 0; i < count; i++)
        if (a_at[i] == a_at[i + 1] && b_at[i] < b_at[i + 1])
            return pl__fail(ctx, PL_ERR_ARG,
                            "ragged: sequence %lld of a is empty: nothing stands before "
                            "the first row of b",
                            (long long)i + ctx->first);
    const int64_t total = a->shape[0] + b->shape[0];
    if (total > INT32_MAX)
        return pl__fail(ctx, PL_ERR_SHAPE, "ragged: %lld rows are too many", (long long)total);
    PL_GO(new_like(ctx, &joined, a, total));
    PL_GO(pl_tensor_new(ctx, &starts, PL_I32, 1, &(int64_t){count + 1}));
    PL_GO(pl_tensor_new(ctx, &rows, PL_I32, 1, &(int64_t){b->shape[0]}));
    const size_t row = row_bytes(a);
    int32_t *start = pl__data(starts), *place = pl__data(rows);
    for (int64_t i = 0; i < count; i++) {
        const int32_t n_a = a_at[i + 1] - a_at[i], n_b = b_at[i + 1] - b_at[i];
        start[i] = a_at[i] + b_at[i];
        char *to = (char *)pl__data(joined) + (size_t)start[i] * row;
        memcpy(to, (const char *)pl__data(a) + (size_t)a_at[i] * row, (size_t)n_a * row);
        memcpy(to + (size_t)n_a * row, (const char *)pl__data(b) + (size_t)b_at[i] * row,
               (size_t)n_b * row);
        for (int32_t k = 0; k < n_b; k++) place[b_at[i] + k] = start[i] + n_a + k - 1;
    }
    start[count] = (int32_t)total;
done:
    if (st != PL_OK) {
        pl_tensor_release(joined);
        pl_tensor_release(starts);
        pl_tensor_release(rows);
        return st;
    }
    *out = joined;
    *out_offsets = starts;
    *before = rows;
    return PL_OK;
}

pl_status pl_ragged_positions(pl_ctx *ctx, pl_tensor **out, const pl_tensor *offsets)
{
    const int32_t *at;
    int64_t count;
    PL_TRY(read_offsets(ctx, &at, &count, offsets, NULL, "the batch"));
    PL_TRY(pl_tensor_new(ctx, out, PL_I32, 1, &(int64_t){at[count]}));
    int32_t *position = pl__data(*out);
    for (int64_t i = 0; i < count; i++)
        for (int32_t k = at[i]; k < at[i + 1]; k++) position[k] = k - at[i];
    return PL_OK;
}

/* The length of the common beginning of two runs of n and m tokens. */
static int32_t common(const int32_t *a, int32_t n, const int32_t *b, int32_t m)
{
    int32_t k = 0;
    while (k < n && k < m && a[k] == b[k]) k++;
    return k;
}

pl_status pl_ragged_distinct(pl_ctx *ctx, pl_tensor **rows, pl_tensor **places,
                             const pl_tensor *tokens, const pl_tensor *offsets)
{
    const int32_t *at;
    int64_t count;
    pl_tensor *distinct = NULL, *place = NULL;
    pl_status st = PL_OK;
    PL_TRY(read_offsets(ctx, &at, &count, offsets, tokens, "the batch"));
    if (tokens->dtype != PL_I32 || tokens->rank != 1)
        return pl__fail(ctx, PL_ERR_DTYPE, "ragged: tokens must be int32 [T]");
    PL_TRY(pl_tensor_new(ctx, &place, PL_I32, 1, &(int64_t){at[count]}));
    const int32_t *token = pl__data(tokens);
    int32_t *to = pl__data(place), n = 0;
    for (int64_t b = 0; b < count; b++) {
        const int32_t first = at[b], length = at[b + 1] - first;
        const int32_t before = b == 0 ? first : at[b - 1];
        const int32_t same = common(token + before, first - before, token + first, length);
        for (int32_t k = 0; k < same; k++) to[first + k] = to[before + k];
        for (int32_t k = same; k < length; k++) to[first + k] = n++;
    }
    PL_GO(pl_tensor_new(ctx, &distinct, PL_I32, 1, &(int64_t){n}));
    int32_t *row = pl__data(distinct);
    for (int32_t i = at[count]; i-- > 0;) row[to[i]] = i; /* the first of those that are alike */
done:
    if (st != PL_OK) {
        pl_tensor_release(place);
        return st;
    }
    *rows = distinct;
    *places = place;
    return PL_OK;
}
