/*
** norm.c - RMSNorm, LayerNorm, softmax and log-softmax over the last axis (maths: kernels/norm.h).
**
** Rows are shared among threads in tiles. The gradients of w and b are summed over tiles of 64
** rows, each into a row of scratch memory, and those rows then in order: the same bits for any
** number of threads.
*/
#include "kernels/norm.h"

#include <stdio.h>

#include "kernels/reduce.h"
#include "ops/geometry.h"

#define GRAD_ROWS 64

enum { RSTD, MEAN }; /* saved */

/* The same places in every row of this file. */
enum { X = RMSNORM_x, Y = RMSNORM_y };

static pl_status check_rows(pl_call *c, const char *want)
{
    return c->in[X]->rank >= 1 ? PL_OK : pl__shape_fail(c, X, want);
}

static int64_t width_of(const pl_tensor *x)
{
    return x->shape[x->rank - 1];
}

static int64_t rows_of(const pl_tensor *x)
{
    return pl__product(x->shape, x->rank - 1);
}

/* w (and b): [C] with the C of x. */
static pl_status check_scale(pl_call *c, int input)
{
    const pl_tensor *x = c->in[X], *w = c->in[input];
    if (w == NULL || (w->rank == 1 && w->count == width_of(x))) return PL_OK;
    char want[64];
    snprintf(want, sizeof want, "[%lld] as the last axis of x", (long long)width_of(x));
    return pl__shape_fail(c, input, want);
}

static real *saved_or_null(const pl_call *c, int slot)
{
    return c->saved[slot] != NULL ? pl__real(c->saved[slot]) : NULL;
}

/* Scratch memory for `kinds` gradients of c elements a tile, zeroed; *tiles of them. */
static real *partial_grads(pl_call *c, int64_t rows, int64_t width, int kinds, int64_t *tiles)
{
    *tiles = pl__tiles(rows, GRAD_ROWS);
    const int64_t bytes = *tiles * width * kinds * (int64_t)sizeof(real);
    real *block = pl__work(c, bytes);
    if (block != NULL) memset(block, 0, (size_t)bytes);
    return block;
}

/* The factors of a row: the input's own numbers, or in scratch memory those plus `offset`, or ones
** where it is absent. */
static pl_status factors(pl_call *c, int input, double offset, const real **w)
{
    const pl_tensor *given = c->in[input];
    *w = given != NULL ? pl__real(given) : NULL;
    if (given != NULL && offset == 0) return PL_OK;
    const int64_t width = width_of(c->in[X]);
    real *made = pl__work(c, width * (int64_t)sizeof(real));
    if (made == NULL) return PL_ERR_NOMEM;
    for (int64_t i = 0; i < width; i++) made[i] = given != NULL ? (*w)[i] + (real)offset : 1;
    *w = made;
    return PL_OK;
}

/* ---- rmsnorm ---- */
static pl_status rmsnorm_shape(pl_call *c)
{
    const double offset = c->param[RMSNORM_offset].f;
    if (!isfinite(offset))
        return pl__op_fail(c, PL_ERR_ARG, "offset is %g; a finite number wanted", offset);
    if (offset != 0 && c->in[RMSNORM_w] == NULL)
        return pl__op_fail(c, PL_ERR_ARG, "offset is %g, but there is no w to add it to", offset);
    PL_TRY(check_rows(c, "[...,C]"));
    PL_TRY(check_scale(c, RMSNORM_w));
    const int64_t rows = rows_of(c->in[X]);
    if (c->grad) PL_TRY(pl__saved(c, RSTD, c->in[X]->dtype, 1, &rows));
    return pl__out_like(c, X);
}

static pl_status rmsnorm_forward(pl_call *c)
{
    const int64_t rows = rows_of(c->in[X]), width = width_of(c->in[X]);
    const int64_t tile = pl__tile_rows(width);
    const real *x = pl__real(c->in[X]), *w;
    const real eps = (real)c->param[RMSNORM_eps].f;
    PL_TRY(factors(c, RMSNORM_w, c->param[RMSNORM_offset].f, &w));
    real *y = pl__real(c->out[Y]), *rstd = saved_or_null(c, RSTD);
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(rows * width * 2)
    for (int64_t r = 0; r < rows; r += tile)
        if (!pl__stopped(stop))
            K(rmsnorm_fwd)(pl__least(tile, rows - r), width, eps, y + r * width,
                           rstd != NULL ? rstd + r : NULL, x + r * width, w);
    return PL_OK;
}

static pl_status rmsnorm_backward(pl_call *c)
{
    const int64_t rows = rows_of(c->in[X]), width = width_of(c->in[X]);
    const real *x = pl__real(c->in[X]), *w;
    PL_TRY(factors(c, RMSNORM_w, c->param[RMSNORM_offset].f, &w));
    const real *rstd = pl__real(c->saved[RSTD]), *dy = pl__real(c->d_out[Y]);
    real *dx = c->d_in[X] != NULL ? pl__real(c->d_in[X]) : NULL;
    const bool acc = c->acc[X], want_dw = c->d_in[RMSNORM_w] != NULL;
    int64_t tiles;
    real *dw = partial_grads(c, rows, width, want_dw, &tiles);
    if (dw == NULL) return PL_ERR_NOMEM;
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(rows * width * 4)
    for (int64_t t = 0; t < tiles; t++) {
        if (pl__stopped(stop)) continue;
        const int64_t r = t * GRAD_ROWS;
        K(rmsnorm_bwd)(pl__least(GRAD_ROWS, rows - r), width, dx != NULL ? dx + r * width : NULL,
                       acc, want_dw ? dw + t * width : NULL, dy + r * width, x + r * width, w,
                       rstd + r);
    }
    if (want_dw)
        K(sum_axis)(1, tiles, width, pl__real(c->d_in[RMSNORM_w]), c->acc[RMSNORM_w], dw,
                    REAL(1.0));
    return PL_OK;
}

const pl_op_impl OPI(rmsnorm) = {rmsnorm_shape, rmsnorm_forward, rmsnorm_backward};

/* ---- layernorm ---- */
static pl_status layernorm_shape(pl_call *c)
{
    PL_TRY(check_rows(c, "[...,C]"));
    PL_TRY(check_scale(c, LAYERNORM_w));
    PL_TRY(check_scale(c, LAYERNORM_b));
    const int64_t rows = rows_of(c->in[X]);
    if (c->grad) {
        PL_TRY(pl__saved(c, RSTD, c->in[X]->dtype, 1, &rows));
        PL_TRY(pl__saved(c, MEAN, c->in[X]->dtype, 1, &rows));
    }
    return pl__out_like(c, X);
}

static pl_status layernorm_forward(pl_call *c)
{
    const int64_t rows = rows_of(c->in[X]), width = width_of(c->in[X]);
    const int64_t tile = pl__tile_rows(width);
    const real *x = pl__real(c->in[X]), *w;
    const real eps = (real)c->param[LAYERNORM_eps].f;
    PL_TRY(factors(c, LAYERNORM_w, 0, &w));
    const real *b = c->in[LAYERNORM_b] != NULL ? pl__real(c->in[LAYERNORM_b]) : NULL;
    real *y = pl__real(c->out[Y]);
    real *rstd = saved_or_null(c, RSTD), *mean = saved_or_null(c, MEAN);
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(rows * width * 3)
    for (int64_t r = 0; r < rows; r += tile)
        if (!pl__stopped(stop))
            K(layernorm_fwd)(pl__least(tile, rows - r), width, eps, y + r * width,
                             mean != NULL ? mean + r : NULL, rstd != NULL ? rstd + r : NULL,
                             x + r * width, w, b);
    return PL_OK;
}

static pl_status layernorm_backward(pl_call *c)
{
    const int64_t rows = rows_of(c->in[X]), width = width_of(c->in[X]);
    const real *x = pl__real(c->in[X]), *w;
    PL_TRY(factors(c, LAYERNORM_w, 0, &w));
    const real *dy = pl__real(c->d_out[Y]);
    const real *rstd = pl__real(c->saved[RSTD]), *mean = pl__real(c->saved[MEAN]);
    real *dx = c->d_in[X] != NULL ? pl__real(c->d_in[X]) : NULL;
    const bool acc = c->acc[X], want_dw = c->d_in[LAYERNORM_w] != NULL;
    const bool want_db = c->d_in[LAYERNORM_b] != NULL;
    int64_t tiles;
    real *dw = partial_grads(c, rows, width, 2, &tiles);
    if (dw == NULL) return PL_ERR_NOMEM;
    real *db = dw + tiles * width;
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(rows * width * 6)
    for (int64_t t = 0; t < tiles; t++) {
        if (pl__stopped(stop)) continue;
        const int64_t r = t * GRAD_ROWS;
        K(layernorm_bwd)(pl__least(GRAD_ROWS, rows - r), width, dx != NULL ? dx + r * width : NULL,
                         acc, want_dw ? dw + t * width : NULL, want_db ? db + t * width : NULL,
                         dy + r * width, x + r * width, w, mean + r, rstd + r);
    }
    if (want_dw)
        K(sum_axis)(1, tiles, width, pl__real(c->d_in[LAYERNORM_w]), c->acc[LAYERNORM_w], dw,
                    REAL(1.0));
    if (want_db)
        K(sum_axis)(1, tiles, width, pl__real(c->d_in[LAYERNORM_b]), c->acc[LAYERNORM_b], db,
                    REAL(1.0));
    return PL_OK;
}

const pl_op_impl OPI(layernorm) = {layernorm_shape, layernorm_forward, layernorm_backward};

/* ---- softmax, log_softmax ---- */
static pl_status softmax_shape(pl_call *c)
{
    PL_TRY(check_rows(c, "[...,N]"));
    return pl__out_like(c, X);
}

#define SOFTMAX(op)                                                                                \
    static pl_status op##_forward(pl_call *c)                                                      \
    {                                                                                              \
        const int64_t rows = rows_of(c->in[X]), width = width_of(c->in[X]);                        \
        const int64_t tile = pl__tile_rows(width);                                                 \
        const real *x = pl__real(c->in[X]);                                                        \
        real *y = pl__real(c->out[Y]);                                                             \
        const pl_stop stop = pl__stop_get();                                                       \
        PL_PARALLEL_FOR(8 * rows * width)                                                          \
        for (int64_t r = 0; r < rows; r += tile)                                                   \
            if (!pl__stopped(stop))                                                                \
                K(op##_fwd)(pl__least(tile, rows - r), width, y + r * width, x + r * width);       \
        return PL_OK;                                                                              \
    }                                                                                              \
    static pl_status op##_backward(pl_call *c)                                                     \
    {                                                                                              \
        if (c->d_in[X] == NULL) return PL_OK;                                                      \
        const int64_t rows = rows_of(c->in[X]), width = width_of(c->in[X]);                        \
        const int64_t tile = pl__tile_rows(width);                                                 \
        const real *dy = pl__real(c->d_out[Y]), *y = pl__real(c->out[Y]);                          \
        const bool acc = c->acc[X];                                                                \
        real *dx = pl__real(c->d_in[X]);                                                           \
        const pl_stop stop = pl__stop_get();                                                       \
        PL_PARALLEL_FOR(4 * rows * width)                                                          \
        for (int64_t r = 0; r < rows; r += tile)                                                   \
            if (!pl__stopped(stop))                                                                \
                K(op##_bwd)(pl__least(tile, rows - r), width, dx + r * width, acc, dy + r * width, \
                            y + r * width);                                                        \
        return PL_OK;                                                                              \
    }                                                                                              \
    const pl_op_impl OPI(op) = {softmax_shape, op##_forward, op##_backward};
SOFTMAX(softmax)
SOFTMAX(log_softmax)
