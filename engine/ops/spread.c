/*
** spread.c - var and std over one axis or over all.
**
** In two passes, both in double and in the order of the elements: the mean, then the squares of the
** distances from it. With `correction` 1 the sum is divided by n - 1 (an unbiased estimate), with 0
** by n. Of no more than `correction` elements the spread is NaN.
*/
#include "ops/geometry.h"

/* The same places in both rows. */
enum { X = VAR_x, AXIS = VAR_axis, KEEPDIM = VAR_keepdim, CORRECTION = VAR_correction, Y = VAR_y };
PL_SAME_PLACE(STD_axis, AXIS);
PL_SAME_PLACE(STD_keepdim, KEEPDIM);
PL_SAME_PLACE(STD_correction, CORRECTION);
PL_SAME_PLACE(STD_y, Y);

static pl_status split_input(pl_call *c, pl_split *s, int *axis)
{
    const pl_tensor *x = c->in[X];
    *axis = -1;
    *s = (pl_split){1, x->count, 1};
    if (c->param[AXIS].i == PL_AXIS_ALL) return PL_OK;
    PL_TRY(pl__axis(c, AXIS, x->rank, axis));
    *s = pl__split_at(x, *axis);
    return PL_OK;
}

static pl_status spread_shape(pl_call *c)
{
    const pl_tensor *x = c->in[X];
    int64_t shape[PL_MAX_RANK];
    int axis = 0, rank = 0;
    pl_split s;
    PL_TRY(split_input(c, &s, &axis));
    if (c->param[CORRECTION].i < 0)
        return pl__op_fail(c, PL_ERR_ARG, "correction is %lld; 0 or more wanted",
                           (long long)c->param[CORRECTION].i);
    for (int i = 0; i < x->rank; i++) {
        if (axis >= 0 && i != axis) shape[rank++] = x->shape[i];
        else if (c->param[KEEPDIM].i) shape[rank++] = 1;
    }
    return pl__out(c, Y, x->dtype, rank, shape);
}

static double mean_of(const real *run, int64_t n, int64_t step, pl_stop stop)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        if (i % PL_LOOK == 0 && pl__stopped(stop)) break;
        sum += (double)run[i * step];
    }
    return sum / (double)n;
}

/* What the sum of squares is divided by; NaN when there are too few. */
static double divisor(const pl_call *c, int64_t n)
{
    const int64_t left = n - c->param[CORRECTION].i;
    return left > 0 ? (double)left : (double)NAN;
}

static pl_status spread(pl_call *c, bool root)
{
    pl_split s;
    int axis = 0;
    PL_TRY(split_input(c, &s, &axis));
    const real *x = pl__real(c->in[X]);
    real *y = pl__real(c->out[Y]);
    const double by = divisor(c, s.size);
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(s.before * s.size * s.after * 2)
    for (int64_t r = 0; r < s.before * s.after; r++) {
        const real *run = x + r / s.after * s.size * s.after + r % s.after;
        const double mean = mean_of(run, s.size, s.after, stop);
        double sum = 0;
        for (int64_t i = 0; i < s.size; i++) {
            if (i % PL_LOOK == 0 && pl__stopped(stop)) break;
            const double d = (double)run[i * s.after] - mean;
            sum += d * d;
        }
        y[r] = (real)(root ? sqrt(sum / by) : sum / by);
    }
    return PL_OK;
}

/* dx = dy factor (x - mean); factor is 2 / n of the variance, 1 / (n std) of its root. */
static pl_status spread_backward(pl_call *c, bool root)
{
    pl_split s;
    int axis = 0;
    if (c->d_in[X] == NULL) return PL_OK;
    PL_TRY(split_input(c, &s, &axis));
    const real *x = pl__real(c->in[X]), *dy = pl__real(c->d_out[Y]);
    const real *y = root ? pl__real(c->out[Y]) : NULL;
    real *dx = pl__real(c->d_in[X]);
    const bool acc = c->acc[X];
    const double by = divisor(c, s.size);
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(s.before * s.size * s.after * 2)
    for (int64_t r = 0; r < s.before * s.after; r++) {
        const int64_t at = r / s.after * s.size * s.after + r % s.after;
        const double mean = mean_of(x + at, s.size, s.after, stop);
        double factor = (double)dy[r] * 2 / by;
        if (root) factor = y[r] == 0 ? 0 : (double)dy[r] / (by * (double)y[r]);
        for (int64_t i = 0; i < s.size; i++) {
            if (i % PL_LOOK == 0 && pl__stopped(stop)) break;
            const int64_t k = at + i * s.after;
            const real d = (real)(factor * ((double)x[k] - mean));
            dx[k] = acc ? dx[k] + d : d;
        }
    }
    return PL_OK;
}

static pl_status var_forward(pl_call *c)
{
    return spread(c, false);
}
static pl_status var_backward(pl_call *c)
{
    return spread_backward(c, false);
}
const pl_op_impl OPI(var) = {spread_shape, var_forward, var_backward};

static pl_status std_forward(pl_call *c)
{
    return spread(c, true);
}
static pl_status std_backward(pl_call *c)
{
    return spread_backward(c, true);
}
const pl_op_impl OPI(std) = {spread_shape, std_forward, std_backward};
