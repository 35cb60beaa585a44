/*
** move.c - ops that move elements and compute nothing: embedding, gather, pick, transpose, t,
** slice, concat, cast. All copy (those that do not are in view.c).
**
** Where one takes int32 its elements are moved as if they were float32: loads and stores keep the
** bits. Where one row is read several times its gradients are added in the
** order of reading: positions are sorted by row (counting sort), then each row is one thread's.
*/
#include <stdio.h>

#include "kernels/elementwise.h"
#include "kernels/quant.h"
#include "ops/geometry.h"

enum { SAVED_INDEX };

static int64_t row_width(const pl_tensor *t)
{
    return pl__product(t->shape + 1, t->rank - 1);
}

/* ---- embedding, gather: rows of the first input named by the second ---- */
PL_SAME_PLACE(EMBEDDING_w, GATHER_x);
PL_SAME_PLACE(EMBEDDING_ids, GATHER_rows);

static pl_status rows_shape(pl_call *c, const char *want)
{
    const pl_tensor *x = c->in[GATHER_x], *rows = c->in[GATHER_rows];
    int64_t shape[PL_MAX_RANK];
    if (x->rank < 1) return pl__shape_fail(c, GATHER_x, want);
    if (rows->rank != 1) return pl__shape_fail(c, GATHER_rows, "rank 1");
    PL_TRY(pl__save_ints(c, SAVED_INDEX, GATHER_rows));
    memcpy(shape, x->shape, sizeof shape);
    shape[0] = rows->count;
    const bool values = c->op == PL_OP_embedding && pl__kept(x->dtype);
    return pl__out(c, GATHER_y, values ? PL_REAL_DTYPE : x->dtype, x->rank, shape);
}

static pl_status gather_shape(pl_call *c)
{
    const pl_tensor *x = c->in[GATHER_x];
    if (pl__kept(x->dtype) && x->rank < 2)
        return pl__shape_fail(c, GATHER_x, "[N,C] of whole rows");
    return rows_shape(c, "[N,...]");
}

static pl_status gather_forward(pl_call *c)
{
    const int64_t n = c->in[GATHER_rows]->count, width = row_width(c->in[GATHER_x]);
    const pl_tensor *x = c->in[GATHER_x], *y = c->out[GATHER_y];
    const char *from = pl__data(x);
    char *to = pl__data(y);
    const int32_t *rows = pl__ints(c->in[GATHER_rows]);
    const size_t from_bytes = pl__dtype_bytes(x->dtype, width);
    const size_t to_bytes = pl__dtype_bytes(y->dtype, width);
    /* here and not in the shape: a plan replays with other rows */
    PL_TRY(pl__check_index(c, GATHER_rows, x->shape[0]));
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(n * width)
    for (int64_t i = 0; i < n; i++) {
        if (pl__stopped(stop)) continue;
        const char *row = from + (size_t)rows[i] * from_bytes;
        if (x->dtype == y->dtype) memcpy(to + (size_t)i * to_bytes, row, to_bytes);
        else K(dequantise)(x->dtype, width, row, (real *)(to + (size_t)i * to_bytes));
    }
    return PL_OK;
}

static pl_status gather_backward(pl_call *c)
{
    if (c->d_in[GATHER_x] == NULL) return PL_OK;
    const pl_tensor *x = c->in[GATHER_x], *index = c->saved[SAVED_INDEX];
    const int64_t n = index->count, limit = x->shape[0], width = row_width(x);
    const int32_t *rows = pl__ints(index);
    const real *dy = pl__real(c->d_out[GATHER_y]);
    const bool acc = c->acc[GATHER_x];
    real *dx = pl__real(c->d_in[GATHER_x]);
    /* readers of row r: place[start[r]] .. place[start[r+1]-1], in rising order */
    int64_t *start = pl__work(c, (limit + 2) * (int64_t)sizeof *start);
    int64_t *place = pl__work(c, n * (int64_t)sizeof *place);
    if (start == NULL || place == NULL) return PL_ERR_NOMEM;
    memset(start, 0, (size_t)(limit + 2) * sizeof *start);
    for (int64_t i = 0; i < n; i++) start[rows[i] + 2]++;
    for (int64_t r = 2; r < limit + 2; r++) start[r] += start[r - 1];
    for (int64_t i = 0; i < n; i++) place[start[rows[i] + 1]++] = i;
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR((n + (acc ? 0 : limit)) * width)
    for (int64_t r = 0; r < limit; r++) {
        if (pl__stopped(stop)) continue;
        real *to = dx + r * width;
        if (!acc && start[r] == start[r + 1]) memset(to, 0, (size_t)width * sizeof *to);
        for (int64_t k = start[r]; k < start[r + 1]; k++)
            K(put)(width, to, acc || k > start[r], dy + place[k] * width);
    }
    return PL_OK;
}

const pl_op_impl OPI(gather) = {gather_shape, gather_forward, gather_backward};

static pl_status embedding_shape(pl_call *c)
{
    if (c->in[EMBEDDING_w]->rank != 2) return pl__shape_fail(c, EMBEDDING_w, "[V,C]");
    return rows_shape(c, "[V,C]");
}

const pl_op_impl OPI(embedding) = {embedding_shape, gather_forward, gather_backward};

/* ---- pick ---- */
static pl_status pick_shape(pl_call *c)
{
    const pl_tensor *x = c->in[PICK_x], *columns = c->in[PICK_columns];
    if (x->rank != 2) return pl__shape_fail(c, PICK_x, "[N,C]");
    if (columns->rank != 1 || columns->count != x->shape[0]) {
        char text[2][PL_SHAPE_TEXT];
        return pl__op_fail(c, PL_ERR_SHAPE,
                           "x has shape %s and columns %s, one column for each "
                           "row wanted",
                           pl__shape_text(x, text[0]), pl__shape_text(columns, text[1]));
    }
    PL_TRY(pl__save_ints(c, SAVED_INDEX, PICK_columns));
    return pl__out(c, PICK_y, x->dtype, 1, x->shape);
}

static pl_status pick_forward(pl_call *c)
{
    const int64_t n = c->in[PICK_x]->shape[0], width = c->in[PICK_x]->shape[1];
    const real *x = pl__real(c->in[PICK_x]);
    const int32_t *columns = pl__ints(c->in[PICK_columns]);
    real *y = pl__real(c->out[PICK_y]);
    PL_TRY(pl__check_index(c, PICK_columns, width));
    for (int64_t i = 0; i < n; i++) y[i] = x[i * width + columns[i]];
    return PL_OK;
}

static pl_status pick_backward(pl_call *c)
{
    if (c->d_in[PICK_x] == NULL) return PL_OK;
    const int64_t n = c->in[PICK_x]->shape[0], width = c->in[PICK_x]->shape[1];
    const int32_t *columns = pl__ints(c->saved[SAVED_INDEX]);
    const real *dy = pl__real(c->d_out[PICK_y]);
    real *dx = pl__real(c->d_in[PICK_x]);
    if (!c->acc[PICK_x]) memset(dx, 0, (size_t)(n * width) * sizeof *dx);
    for (int64_t i = 0; i < n; i++) dx[i * width + columns[i]] += dy[i];
    return PL_OK;
}

const pl_op_impl OPI(pick) = {pick_shape, pick_forward, pick_backward};

/* ---- transpose: [p, a, q, b, r] -> [p, b, q, a, r] ---- */
static pl_status axes_of(pl_call *c, int *a, int *b)
{
    PL_TRY(pl__axis(c, TRANSPOSE_a, c->in[TRANSPOSE_x]->rank, a));
    PL_TRY(pl__axis(c, TRANSPOSE_b, c->in[TRANSPOSE_x]->rank, b));
    if (*a > *b) {
        const int other = *a;
        *a = *b;
        *b = other;
    }
    return PL_OK;
}

static pl_status transpose_shape(pl_call *c)
{
    const pl_tensor *x = c->in[TRANSPOSE_x];
    int a = 0, b = 0;
    int64_t shape[PL_MAX_RANK];
    PL_TRY(axes_of(c, &a, &b));
    memcpy(shape, x->shape, sizeof shape);
    shape[a] = x->shape[b];
    shape[b] = x->shape[a];
    return pl__out(c, TRANSPOSE_y, x->dtype, x->rank, shape);
}

/* to[p, b, q, a, r] (+)= from[p, a, q, b, r]; blocks of 16 x 16 keep both sides in the cache. */
static void exchange(const int64_t *shape, int rank, int ax, int bx, real *to, bool acc,
                     const real *from)
{
    const int64_t p = pl__product(shape, ax), a = shape[ax], b = ax == bx ? 1 : shape[bx];
    const int64_t q = ax == bx ? 1 : pl__product(shape + ax + 1, bx - ax - 1);
    const int64_t r = pl__product(shape + bx + 1, rank - bx - 1);
    const int64_t block = 16, a_blocks = pl__tiles(a, block);
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(p * a * q * b * r * 2)
    for (int64_t t = 0; t < p * q * a_blocks; t++) {
        if (pl__stopped(stop)) continue;
        const int64_t ip = t / (q * a_blocks), iq = t / a_blocks % q;
        const int64_t a0 = t % a_blocks * block, a1 = pl__least(a0 + block, a);
        for (int64_t b0 = 0; b0 < b; b0 += block)
            for (int64_t ib = b0; ib < pl__least(b0 + block, b); ib++)
                for (int64_t ia = a0; ia < a1; ia++) {
                    real *dst = to + (((ip * b + ib) * q + iq) * a + ia) * r;
                    const real *src = from + (((ip * a + ia) * q + iq) * b + ib) * r;
                    if (r == 1) *dst = acc ? *dst + *src : *src;
                    else K(put)(r, dst, acc, src);
                }
    }
}

static pl_status transpose_forward(pl_call *c)
{
    int a = 0, b = 0;
    const pl_tensor *x = c->in[TRANSPOSE_x];
    PL_TRY(axes_of(c, &a, &b));
    exchange(x->shape, x->rank, a, b, pl__real(c->out[TRANSPOSE_y]), false, pl__real(x));
    return PL_OK;
}

static pl_status transpose_backward(pl_call *c)
{
    int a = 0, b = 0;
    const pl_tensor *y = c->out[TRANSPOSE_y];
    if (c->d_in[TRANSPOSE_x] == NULL) return PL_OK;
    PL_TRY(axes_of(c, &a, &b));
    exchange(y->shape, y->rank, a, b, pl__real(c->d_in[TRANSPOSE_x]), c->acc[TRANSPOSE_x],
             pl__real(c->d_out[TRANSPOSE_y]));
    return PL_OK;
}

const pl_op_impl OPI(transpose) = {transpose_shape, transpose_forward, transpose_backward};

/* ---- t: the two axes of a matrix ---- */
static pl_status t_shape(pl_call *c)
{
    const pl_tensor *x = c->in[T_x];
    if (x->rank != 2) return pl__shape_fail(c, T_x, "a matrix [N,M]");
    return pl__out(c, T_y, x->dtype, 2, (int64_t[]){x->shape[1], x->shape[0]});
}

static pl_status t_forward(pl_call *c)
{
    const pl_tensor *x = c->in[T_x];
    exchange(x->shape, 2, 0, 1, pl__real(c->out[T_y]), false, pl__real(x));
    return PL_OK;
}

static pl_status t_backward(pl_call *c)
{
    if (c->d_in[T_x] == NULL) return PL_OK;
    exchange(c->out[T_y]->shape, 2, 0, 1, pl__real(c->d_in[T_x]), c->acc[T_x],
             pl__real(c->d_out[T_y]));
    return PL_OK;
}

const pl_op_impl OPI(t) = {t_shape, t_forward, t_backward};

/* ---- slice, concat: part of the middle axis of [before, whole, after] ---- */
enum { RUN_TILE = 1 << 16 }; /* elements of a run that are moved at a time */

/* part[before, size, after] (+)= whole[before, start .. start+size-1, after] */
static void take_part(pl_split whole, int64_t start, int64_t size, real *part, bool acc,
                      const real *from)
{
    const int64_t run = size * whole.after, tiles = pl__tiles(run, RUN_TILE);
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(whole.before * run)
    for (int64_t t = 0; t < whole.before * tiles; t++) {
        if (pl__stopped(stop)) continue;
        const int64_t b = t / tiles, at = t % tiles * RUN_TILE;
        K(put)(pl__least(RUN_TILE, run - at), part + b * run + at, acc,
               from + (b * whole.size + start) * whole.after + at);
    }
}

/* the other way round */
static void give_part(pl_split whole, int64_t start, int64_t size, real *to, bool acc,
                      const real *part)
{
    const int64_t run = size * whole.after, tiles = pl__tiles(run, RUN_TILE);
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(whole.before * run)
    for (int64_t t = 0; t < whole.before * tiles; t++) {
        if (pl__stopped(stop)) continue;
        const int64_t b = t / tiles, at = t % tiles * RUN_TILE;
        K(put)(pl__least(RUN_TILE, run - at), to + (b * whole.size + start) * whole.after + at, acc,
               part + b * run + at);
    }
}

static pl_status slice_shape(pl_call *c)
{
    const pl_tensor *x = c->in[SLICE_x];
    const int64_t start = c->param[SLICE_start].i;
    int64_t stop = c->param[SLICE_stop].i;
    int axis = 0;
    int64_t shape[PL_MAX_RANK];
    PL_TRY(pl__axis(c, SLICE_axis, x->rank, &axis));
    if (stop == PL_AXIS_ALL) stop = x->shape[axis];
    if (start < 0 || stop < start || stop > x->shape[axis]) {
        char text[PL_SHAPE_TEXT];
        const int first = c->ctx->first;
        return pl__op_fail(c, PL_ERR_SHAPE,
                           "elements %lld to %lld (the last one taken) are not a run of axis %d of "
                           "x of shape %s",
                           (long long)start + first, (long long)stop - 1 + first, axis + first,
                           pl__shape_text(x, text));
    }
    memcpy(shape, x->shape, sizeof shape);
    shape[axis] = stop - start;
    return pl__out(c, SLICE_y, x->dtype, x->rank, shape);
}

static pl_status slice_forward(pl_call *c)
{
    int axis = 0;
    const pl_tensor *x = c->in[SLICE_x], *y = c->out[SLICE_y];
    PL_TRY(pl__axis(c, SLICE_axis, x->rank, &axis));
    take_part(pl__split_at(x, axis), c->param[SLICE_start].i, y->shape[axis], pl__real(y), false,
              pl__real(x));
    return PL_OK;
}

static pl_status slice_backward(pl_call *c)
{
    int axis = 0;
    const pl_tensor *dx = c->d_in[SLICE_x], *dy = c->d_out[SLICE_y];
    const bool acc = c->acc[SLICE_x];
    if (dx == NULL) return PL_OK;
    PL_TRY(pl__axis(c, SLICE_axis, dx->rank, &axis));
    if (!acc) memset(pl__real(dx), 0, (size_t)dx->count * sizeof(real));
    give_part(pl__split_at(dx, axis), c->param[SLICE_start].i, dy->shape[axis], pl__real(dx), acc,
              pl__real(dy));
    return PL_OK;
}

const pl_op_impl OPI(slice) = {slice_shape, slice_forward, slice_backward};

static pl_status concat_shape(pl_call *c)
{
    const pl_tensor *first = c->in[CONCAT_a];
    int axis = 0;
    int64_t shape[PL_MAX_RANK];
    PL_TRY(pl__axis(c, CONCAT_axis, first->rank, &axis));
    memcpy(shape, first->shape, sizeof shape);
    for (int k = 1; k < c->row->n_in; k++) {
        const pl_tensor *t = c->in[k];
        if (t == NULL) continue;
        if (t->dtype != first->dtype)
            return pl__op_fail(c, PL_ERR_DTYPE, "%s is %s, but an input before it is %s",
                               c->row->in[k].name, pl_dtype_name(t->dtype),
                               pl_dtype_name(first->dtype));
        bool fits = t->rank == first->rank;
        for (int i = 0; fits && i < t->rank; i++)
            fits = i == axis || t->shape[i] == first->shape[i];
        if (!fits) {
            char text[2][PL_SHAPE_TEXT];
            return pl__op_fail(
                c, PL_ERR_SHAPE, "%s has shape %s and %s %s: all but axis %d must be equal",
                c->row->in[CONCAT_a].name, pl__shape_text(first, text[0]), c->row->in[k].name,
                pl__shape_text(t, text[1]), axis + c->ctx->first);
        }
        shape[axis] += t->shape[axis];
    }
    return pl__out(c, CONCAT_y, first->dtype, first->rank, shape);
}

static pl_status concat_forward(pl_call *c)
{
    const pl_tensor *y = c->out[CONCAT_y];
    int axis = 0;
    int64_t at = 0;
    PL_TRY(pl__axis(c, CONCAT_axis, c->in[CONCAT_a]->rank, &axis));
    for (int k = 0; k < c->row->n_in; k++) {
        if (c->in[k] == NULL) continue;
        const int64_t size = c->in[k]->shape[axis];
        give_part(pl__split_at(y, axis), at, size, pl__real(y), false, pl__real(c->in[k]));
        at += size;
    }
    return PL_OK;
}

static pl_status concat_backward(pl_call *c)
{
    const pl_tensor *dy = c->d_out[CONCAT_y];
    int axis = 0;
    int64_t at = 0;
    PL_TRY(pl__axis(c, CONCAT_axis, c->in[CONCAT_a]->rank, &axis));
    for (int k = 0; k < c->row->n_in; k++) {
        if (c->in[k] == NULL) continue;
        const int64_t size = c->in[k]->shape[axis];
        if (c->d_in[k] != NULL)
            take_part(pl__split_at(dy, axis), at, size, pl__real(c->d_in[k]), c->acc[k],
                      pl__real(dy));
        at += size;
    }
    return PL_OK;
}

const pl_op_impl OPI(concat) = {concat_shape, concat_forward, concat_backward};

/* ---- cast ---- */
static void convert(int64_t n, pl_dtype to_dtype, void *to, bool acc, pl_dtype from_dtype,
                    const void *from)
{
#define CONVERT(to_type, from_type)                                                        \
    do {                                                                                   \
        to_type *y = to;                                                                   \
        const from_type *x = from;                                                         \
        for (int64_t i = 0; i < n; i++) y[i] = acc ? y[i] + (to_type)x[i] : (to_type)x[i]; \
    } while (0)
#define CONVERT_TO(to_type)                                       \
    do {                                                          \
        if (from_dtype == PL_F64) CONVERT(to_type, double);       \
        else if (from_dtype == PL_I32) CONVERT(to_type, int32_t); \
        else CONVERT(to_type, float);                             \
    } while (0)
    if (to_dtype == PL_F64) CONVERT_TO(double);
    else if (to_dtype == PL_I32) CONVERT_TO(int32_t);
    else CONVERT_TO(float);
#undef CONVERT_TO
#undef CONVERT
}

/* All of from (+)= into to, tile by tile. */
static void convert_all(const pl_tensor *to, bool acc, const pl_tensor *from)
{
    const size_t to_size = pl_dtype_size(to->dtype), from_size = pl_dtype_size(from->dtype);
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(from->count)
    for (int64_t at = 0; at < from->count; at += PL_TILE) {
        if (pl__stopped(stop)) continue;
        convert(pl__least(PL_TILE, from->count - at), to->dtype,
                (char *)pl__data(to) + (size_t)at * to_size, acc, from->dtype,
                (const char *)pl__data(from) + (size_t)at * from_size);
    }
}

static double element(const pl_tensor *t, int64_t i)
{
    const void *data = pl__data(t);
    return t->dtype == PL_F64 ? ((const double *)data)[i] : (double)((const float *)data)[i];
}

static pl_status check_whole(pl_call *c, const pl_tensor *x)
{
    for (int64_t i = 0; i < x->count; i++) {
        const double v = element(x, i);
        if (!(v >= INT32_MIN && v <= INT32_MAX && v == floor(v)))
            return pl__op_fail(c, PL_ERR_ARG, "element %lld is %g, which int32 cannot hold",
                               (long long)i + c->ctx->first, v);
    }
    return PL_OK;
}

static pl_status cast_shape(pl_call *c)
{
    static const pl_dtype dtypes[] = {
        [CAST_dtype_float32] = PL_F32,   [CAST_dtype_float64] = PL_F64,
        [CAST_dtype_bfloat16] = PL_BF16, [CAST_dtype_float16] = PL_F16,
        [CAST_dtype_q8_0] = PL_Q8_0,     [CAST_dtype_int32] = PL_I32,
    };
    const pl_tensor *x = c->in[CAST_x];
    const pl_dtype dtype = dtypes[c->param[CAST_dtype].i];
    if ((pl__kept(dtype) || dtype == PL_I32) && c->grad)
        return pl__op_fail(c, PL_ERR_GRAD, "%s is a constant: detach x, or cast it under no_grad",
                           pl_dtype_name(dtype));
    const bool by_float =
        pl__kept(dtype) ? x->dtype != PL_F32 : dtype == PL_I32 && pl__kept(x->dtype);
    if (dtype != x->dtype && by_float)
        return pl__op_fail(c, PL_ERR_DTYPE, "from %s to %s goes by way of float32",
                           pl_dtype_name(x->dtype), pl_dtype_name(dtype));
    return pl__out(c, CAST_y, dtype, x->rank, x->shape);
}

/* A kept x, run by run, since the values may have to become wider still. */
static void dequantise_runs(const pl_tensor *x, const pl_tensor *y)
{
    const size_t size = pl_dtype_size(y->dtype);
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(x->count * 2)
    for (int64_t at = 0; at < x->count; at += PL_TILE) {
        if (pl__stopped(stop)) continue;
        real values[PL_TILE];
        const int64_t n = pl__least(PL_TILE, x->count - at);
        K(dequantise)(x->dtype, n, (char *)pl__data(x) + pl__dtype_bytes(x->dtype, at), values);
        convert(n, y->dtype, (char *)pl__data(y) + (size_t)at * size, false, PL_REAL_DTYPE, values);
    }
}

static pl_status cast_forward(pl_call *c)
{
    const pl_tensor *x = c->in[CAST_x], *y = c->out[CAST_y];
    if (x->dtype == y->dtype) return pl_tensor_copy(c->ctx, c->out[CAST_y], x);
    if (pl__kept(y->dtype))
        return pl_quantise(c->ctx, pl__data(y), y->dtype, pl__data(x), x->count);
    else if (pl__kept(x->dtype)) dequantise_runs(x, y);
    else {
        if (y->dtype == PL_I32) PL_TRY(check_whole(c, x));
        convert_all(y, false, x);
    }
    return PL_OK;
}

static pl_status cast_backward(pl_call *c)
{
    const pl_tensor *dx = c->d_in[CAST_x], *dy = c->d_out[CAST_y];
    if (dx != NULL) convert_all(dx, c->acc[CAST_x], dy);
    return PL_OK;
}

const pl_op_impl OPI(cast) = {cast_shape, cast_forward, cast_backward};
