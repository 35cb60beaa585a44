/*
** segment.c - ops over ragged segments: segment b owns rows offsets[b] to offsets[b+1]-1.
**
** A segment's result does not depend on the segments beside it: sums are counted from its own first
** row, and each segment is one thread's work.
*/
#include "kernels/elementwise.h"
#include "kernels/reduce.h"
#include "ops/geometry.h"

enum { SAVED_OFFSETS };

/* The same places in every row of this file. */
enum { X = SEGMENT_SUM_x, OFFSETS = SEGMENT_SUM_offsets, Y = SEGMENT_SUM_y };
PL_SAME_PLACE(SEGMENT_MEAN_offsets, OFFSETS);
PL_SAME_PLACE(SEGMENT_REPEAT_offsets, OFFSETS);
PL_SAME_PLACE(REVERSE_SCAN_offsets, OFFSETS);

static int64_t row_width(const pl_tensor *t)
{
    return pl__product(t->shape + 1, t->rank - 1);
}

/* ---- segment_sum, segment_mean ---- */
static pl_status segment_sum_shape(pl_call *c)
{
    const pl_tensor *x = c->in[X];
    int64_t shape[PL_MAX_RANK];
    if (x->rank < 1) return pl__shape_fail(c, X, "[N,...]");
    memcpy(shape, x->shape, sizeof shape);
    PL_TRY(pl__check_offsets(c, OFFSETS, x->shape[0], &shape[0]));
    PL_TRY(pl__save_ints(c, SAVED_OFFSETS, OFFSETS));
    return pl__out(c, Y, x->dtype, x->rank, shape);
}

/* y[b] (+)= the sum, or mean, of the rows of segment b; 0 for an empty one. */
static void gather_segments(int64_t segments, const int32_t *offsets, int64_t width, real *y,
                            bool acc, const real *x, bool mean)
{
    PL_PARALLEL_FOR(offsets[segments] * width)
    for (int64_t b = 0; b < segments; b++) {
        const int64_t n = offsets[b + 1] - offsets[b];
        const real *from = x + offsets[b] * width;
        real *to = y + b * width;
        if (width == 1) {
            const double s = K(sum_run)(n, from) / (mean && n > 0 ? (double)n : 1.0);
            *to = acc ? *to + (real)s : (real)s;
            continue;
        }
        K(sum_rows)(n, width, to, acc, from);
        if (mean && n > 0)
            for (int64_t i = 0; i < width; i++) to[i] /= (real)n;
    }
}

/* y's rows of segment b (+)= row b of x, divided by the segment's length when `mean`. */
static void repeat_segments(int64_t segments, const int32_t *offsets, int64_t width, real *y,
                            bool acc, const real *x, bool mean)
{
    PL_PARALLEL_FOR(offsets[segments] * width)
    for (int64_t b = 0; b < segments; b++) {
        const int64_t n = offsets[b + 1] - offsets[b];
        K(spread_axis)(1, n, width, y + offsets[b] * width, acc, x + b * width,
                       mean ? (real)n : REAL(1.0));
    }
}

static pl_status sum_forward(pl_call *c, bool mean)
{
    gather_segments(c->in[OFFSETS]->count - 1, pl__ints(c->in[OFFSETS]), row_width(c->in[X]),
                    pl__real(c->out[Y]), false, pl__real(c->in[X]), mean);
    return PL_OK;
}

static pl_status sum_backward(pl_call *c, bool mean)
{
    if (c->d_in[X] == NULL) return PL_OK;
    const pl_tensor *offsets = c->saved[SAVED_OFFSETS];
    repeat_segments(offsets->count - 1, pl__ints(offsets), row_width(c->in[X]),
                    pl__real(c->d_in[X]), c->acc[X], pl__real(c->d_out[Y]), mean);
    return PL_OK;
}

static pl_status segment_sum_forward(pl_call *c)
{
    return sum_forward(c, false);
}
static pl_status segment_sum_backward(pl_call *c)
{
    return sum_backward(c, false);
}
const pl_op_impl OPI(segment_sum) = {segment_sum_shape, segment_sum_forward, segment_sum_backward};

static pl_status segment_mean_forward(pl_call *c)
{
    return sum_forward(c, true);
}
static pl_status segment_mean_backward(pl_call *c)
{
    return sum_backward(c, true);
}
const pl_op_impl OPI(segment_mean) = {segment_sum_shape, segment_mean_forward,
                                      segment_mean_backward};

/* ---- segment_repeat ---- */
static pl_status segment_repeat_shape(pl_call *c)
{
    const pl_tensor *x = c->in[X], *offsets = c->in[OFFSETS];
    int64_t shape[PL_MAX_RANK], segments;
    if (x->rank < 1) return pl__shape_fail(c, X, "[B,...]");
    if (offsets->rank != 1 || offsets->count != x->shape[0] + 1) {
        char text[2][PL_SHAPE_TEXT];
        return pl__op_fail(c, PL_ERR_SHAPE,
                           "x has shape %s and offsets %s, one offset more than "
                           "x has rows wanted",
                           pl__shape_text(x, text[0]), pl__shape_text(offsets, text[1]));
    }
    memcpy(shape, x->shape, sizeof shape);
    shape[0] = pl__ints(offsets)[offsets->count - 1];
    PL_TRY(pl__check_offsets(c, OFFSETS, shape[0], &segments));
    PL_TRY(pl__save_ints(c, SAVED_OFFSETS, OFFSETS));
    return pl__out(c, Y, x->dtype, x->rank, shape);
}

static pl_status segment_repeat_forward(pl_call *c)
{
    repeat_segments(c->in[OFFSETS]->count - 1, pl__ints(c->in[OFFSETS]), row_width(c->in[X]),
                    pl__real(c->out[Y]), false, pl__real(c->in[X]), false);
    return PL_OK;
}

static pl_status segment_repeat_backward(pl_call *c)
{
    if (c->d_in[X] == NULL) return PL_OK;
    const pl_tensor *offsets = c->saved[SAVED_OFFSETS];
    gather_segments(offsets->count - 1, pl__ints(offsets), row_width(c->in[X]),
                    pl__real(c->d_in[X]), c->acc[X], pl__real(c->d_out[Y]), false);
    return PL_OK;
}

const pl_op_impl OPI(segment_repeat) = {segment_repeat_shape, segment_repeat_forward,
                                        segment_repeat_backward};

/* ---- reverse_scan: y_t = x_t + decay y_(t+1); backward dx_t = dy_t + decay dx_(t-1) ---- */
static pl_status reverse_scan_shape(pl_call *c)
{
    int64_t segments;
    if (c->in[X]->rank != 1) return pl__shape_fail(c, X, "[N]");
    PL_TRY(pl__check_offsets(c, OFFSETS, c->in[X]->count, &segments));
    PL_TRY(pl__save_ints(c, SAVED_OFFSETS, OFFSETS));
    return pl__out_like(c, X);
}

static pl_status reverse_scan_forward(pl_call *c)
{
    const int64_t segments = c->in[OFFSETS]->count - 1;
    const int32_t *offsets = pl__ints(c->in[OFFSETS]);
    const real decay = (real)c->param[REVERSE_SCAN_decay].f, *x = pl__real(c->in[X]);
    real *y = pl__real(c->out[Y]);
    PL_PARALLEL_FOR(c->in[X]->count * 4)
    for (int64_t b = 0; b < segments; b++) {
        real s = 0;
        for (int64_t t = offsets[b + 1] - 1; t >= offsets[b]; t--) y[t] = s = x[t] + decay * s;
    }
    return PL_OK;
}

static pl_status reverse_scan_backward(pl_call *c)
{
    if (c->d_in[X] == NULL) return PL_OK;
    const int64_t segments = c->saved[SAVED_OFFSETS]->count - 1;
    const int32_t *offsets = pl__ints(c->saved[SAVED_OFFSETS]);
    const real decay = (real)c->param[REVERSE_SCAN_decay].f, *dy = pl__real(c->d_out[Y]);
    const bool acc = c->acc[X];
    real *dx = pl__real(c->d_in[X]);
    PL_PARALLEL_FOR(c->d_in[X]->count * 4)
    for (int64_t b = 0; b < segments; b++) {
        real s = 0;
        for (int64_t t = offsets[b]; t < offsets[b + 1]; t++) {
            s = dy[t] + decay * s;
            dx[t] = acc ? dx[t] + s : s;
        }
    }
    return PL_OK;
}

const pl_op_impl OPI(reverse_scan) = {reverse_scan_shape, reverse_scan_forward,
                                      reverse_scan_backward};
