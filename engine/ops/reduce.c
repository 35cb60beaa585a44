/*
** reduce.c - sum, mean, max and min over one axis or over all (order of sums: kernels/reduce.h).
**
** The mean of nothing is NaN, as 0/0 is; the largest of nothing is an error.
*/
#include "kernels/reduce.h"

#include "ops/geometry.h"

/* The same places in every row of this file. */
enum { X = SUM_x, AXIS = SUM_axis, KEEPDIM = SUM_keepdim, Y = SUM_y };
PL_SAME_PLACE(MEAN_axis, AXIS);
PL_SAME_PLACE(MAX_axis, AXIS);
PL_SAME_PLACE(MIN_axis, AXIS);
PL_SAME_PLACE(MEAN_keepdim, KEEPDIM);
PL_SAME_PLACE(MAX_keepdim, KEEPDIM);
PL_SAME_PLACE(MIN_keepdim, KEEPDIM);

/* The input as [before, size, after] around the axis; "all" is one run. */
static pl_status split_input(pl_call *c, pl_split *s)
{
    const pl_tensor *x = c->in[X];
    int axis = 0;
    if (c->param[AXIS].i == PL_AXIS_ALL) {
        *s = (pl_split){1, x->count, 1};
        return PL_OK;
    }
    PL_TRY(pl__axis(c, AXIS, x->rank, &axis));
    *s = pl__split_at(x, axis);
    return PL_OK;
}

static pl_status sum_shape(pl_call *c)
{
    const pl_tensor *x = c->in[X];
    const bool keep = c->param[KEEPDIM].i != 0;
    int axis = -1, rank = 0;
    int64_t shape[PL_MAX_RANK];
    if (c->param[AXIS].i != PL_AXIS_ALL) PL_TRY(pl__axis(c, AXIS, x->rank, &axis));
    for (int i = 0; i < x->rank; i++) {
        if (axis >= 0 && i != axis) shape[rank++] = x->shape[i];
        else if (keep) shape[rank++] = 1;
    }
    return pl__out(c, Y, x->dtype, rank, shape);
}

static pl_status forward(pl_call *c, bool mean)
{
    pl_split s;
    PL_TRY(split_input(c, &s));
    K(sum_axis)(s.before, s.size, s.after, pl__real(c->out[Y]), false, pl__real(c->in[X]),
                mean ? (real)s.size : REAL(1.0));
    return PL_OK;
}

static pl_status backward(pl_call *c, bool mean)
{
    pl_split s;
    if (c->d_in[X] == NULL) return PL_OK;
    PL_TRY(split_input(c, &s));
    K(spread_axis)(s.before, s.size, s.after, pl__real(c->d_in[X]), c->acc[X],
                   pl__real(c->d_out[Y]), mean ? (real)s.size : REAL(1.0));
    return PL_OK;
}

static pl_status sum_forward(pl_call *c)
{
    return forward(c, false);
}
static pl_status sum_backward(pl_call *c)
{
    return backward(c, false);
}
const pl_op_impl OPI(sum) = {sum_shape, sum_forward, sum_backward};

static pl_status mean_forward(pl_call *c)
{
    return forward(c, true);
}
static pl_status mean_backward(pl_call *c)
{
    return backward(c, true);
}
const pl_op_impl OPI(mean) = {sum_shape, mean_forward, mean_backward};

static pl_status extreme_shape(pl_call *c)
{
    pl_split s;
    PL_TRY(split_input(c, &s));
    if (s.size == 0)
        return pl__shape_fail(c, X,
                              c->param[AXIS].i == PL_AXIS_ALL
                                  ? "one element or more"
                                  : "one element or more along the axis");
    return sum_shape(c);
}

static pl_status extreme_forward(pl_call *c, bool least)
{
    pl_split s;
    PL_TRY(split_input(c, &s));
    K(extreme_axis)(s.before, s.size, s.after, pl__real(c->out[Y]), pl__real(c->in[X]), least);
    return PL_OK;
}

static pl_status extreme_backward(pl_call *c)
{
    pl_split s;
    if (c->d_in[X] == NULL) return PL_OK;
    PL_TRY(split_input(c, &s));
    K(extreme_axis_bwd)(s.before, s.size, s.after, pl__real(c->d_in[X]), c->acc[X],
                        pl__real(c->d_out[Y]), pl__real(c->in[X]), pl__real(c->out[Y]));
    return PL_OK;
}

static pl_status max_forward(pl_call *c)
{
    return extreme_forward(c, false);
}
const pl_op_impl OPI(max) = {extreme_shape, max_forward, extreme_backward};

static pl_status min_forward(pl_call *c)
{
    return extreme_forward(c, true);
}
const pl_op_impl OPI(min) = {extreme_shape, min_forward, extreme_backward};
