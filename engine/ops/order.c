/*
** order.c - ops that compare along an axis: argmax, argmin, sort, topk.
**
** A NaN counts as larger than any number (argmin finds one too, as min does). Equal elements keep
** their order. Places are int32 and count from `first`: 1 as x[place] does, 0 as rows and token
** ids do. They carry no gradient; values hand theirs to the places they came from.
*/
#include "kernels/elementwise.h"
#include "ops/geometry.h"

static bool is_nan(real x)
{
    return x != x;
}

static bool is_below(real a, real b)
{
    return a < b || (is_nan(b) && !is_nan(a));
}

/* Whether a comes before b. */
static bool comes_before(real a, real b, bool descending)
{
    return descending ? is_below(b, a) : is_below(a, b);
}

static pl_status check_first(pl_call *c, int param)
{
    const int64_t first = c->param[param].i;
    if (first == 0 || first == 1) return PL_OK;
    return pl__op_fail(c, PL_ERR_ARG, "first is %lld; 0 or 1 wanted", (long long)first);
}

static pl_status check_size(pl_call *c, int64_t size)
{
    if (size <= INT32_MAX) return PL_OK;
    return pl__op_fail(c, PL_ERR_SHAPE, "%lld elements are more than int32 can count",
                       (long long)size);
}

/* ---- argmax, argmin ---- */
PL_SAME_PLACE(ARGMIN_axis, ARGMAX_axis);
PL_SAME_PLACE(ARGMIN_keepdim, ARGMAX_keepdim);
PL_SAME_PLACE(ARGMIN_first, ARGMAX_first);

static pl_status split_all(pl_call *c, pl_split *s, int *axis)
{
    const pl_tensor *x = c->in[ARGMAX_x];
    *axis = -1;
    *s = (pl_split){1, x->count, 1};
    if (c->param[ARGMAX_axis].i == PL_AXIS_ALL) return PL_OK;
    PL_TRY(pl__axis(c, ARGMAX_axis, x->rank, axis));
    *s = pl__split_at(x, *axis);
    return PL_OK;
}

static pl_status place_shape(pl_call *c)
{
    const pl_tensor *x = c->in[ARGMAX_x];
    int64_t shape[PL_MAX_RANK];
    int axis = 0, rank = 0;
    pl_split s;
    PL_TRY(split_all(c, &s, &axis));
    PL_TRY(check_first(c, ARGMAX_first));
    PL_TRY(check_size(c, s.size));
    if (s.size == 0)
        return pl__shape_fail(
            c, ARGMAX_x, axis < 0 ? "one element or more" : "one element or more along the axis");
    for (int i = 0; i < x->rank; i++) {
        if (axis >= 0 && i != axis) shape[rank++] = x->shape[i];
        else if (c->param[ARGMAX_keepdim].i) shape[rank++] = 1;
    }
    return pl__out(c, ARGMAX_place, PL_I32, rank, shape);
}

static pl_status find_place(pl_call *c, bool least)
{
    pl_split s;
    int axis = 0;
    PL_TRY(split_all(c, &s, &axis));
    const real *x = pl__real(c->in[ARGMAX_x]);
    int32_t *place = pl__data(c->out[ARGMAX_place]);
    const int32_t first = (int32_t)c->param[ARGMAX_first].i;
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(s.before * s.size * s.after)
    for (int64_t r = 0; r < s.before * s.after; r++) {
        if (pl__stopped(stop)) continue;
        const real *run = x + r / s.after * s.size * s.after + r % s.after;
        int64_t best = 0;
        for (int64_t i = 1; i < s.size && !is_nan(run[best * s.after]); i++) {
            if (i % PL_LOOK == 0 && pl__stopped(stop)) break;
            const real v = run[i * s.after], held = run[best * s.after];
            if (is_nan(v) || (least ? v < held : v > held)) best = i;
        }
        place[r] = (int32_t)best + first;
    }
    return PL_OK;
}

static pl_status argmax_forward(pl_call *c)
{
    return find_place(c, false);
}
const pl_op_impl OPI(argmax) = {place_shape, argmax_forward, NULL};

static pl_status argmin_forward(pl_call *c)
{
    return find_place(c, true);
}
const pl_op_impl OPI(argmin) = {place_shape, argmin_forward, NULL};

/* ---- sort, topk ---- */
PL_SAME_PLACE(TOPK_values, SORT_values);
PL_SAME_PLACE(TOPK_places, SORT_places);

/* Sorts the n places in `at` by their values, stably: runs of twice the width are merged from one
** list into the other in turn. Returns the list that holds the result, in no order when stopped. */
static int32_t *merge_sort(int64_t n, const real *v, int32_t *at, int32_t *other, bool descending,
                           pl_stop stop)
{
    for (int64_t width = 1; width < n && !pl__stopped(stop); width *= 2) {
        for (int64_t from = 0; from < n; from += 2 * width) {
            const int64_t middle = pl__least(from + width, n), to = pl__least(from + 2 * width, n);
            int64_t a = from, b = middle;
            for (int64_t k = from; k < to; k++) {
                if (k % PL_LOOK == 0 && pl__stopped(stop)) return at;
                const bool take_b =
                    a == middle || (b < to && comes_before(v[at[b]], v[at[a]], descending));
                other[k] = at[take_b ? b++ : a++];
            }
        }
        int32_t *swap = at;
        at = other;
        other = swap;
    }
    return at;
}

/* The first k of n places in order, by keeping the best k so far: good for a small k. */
static void insert_best(int64_t n, int64_t k, const real *v, int32_t *best, bool descending,
                        pl_stop stop)
{
    int64_t held = 0;
    for (int64_t i = 0; i < n; i++) {
        if (i % PL_LOOK == 0 && pl__stopped(stop)) return;
        if (held == k && !comes_before(v[i], v[best[k - 1]], descending)) continue;
        int64_t at = held < k ? held++ : k - 1;
        for (; at > 0 && comes_before(v[i], v[best[at - 1]], descending); at--)
            best[at] = best[at - 1];
        best[at] = (int32_t)i;
    }
}

enum { FEW = 64 }; /* so many are kept by insertion */

/* The first k along the axis, in order. */
static pl_status order(pl_call *c, int axis, int64_t k, bool descending, int32_t first)
{
    const pl_tensor *t = c->in[SORT_x];
    const pl_split s = pl__split_at(t, axis);
    const real *x = pl__real(t);
    real *values = pl__real(c->out[SORT_values]);
    int32_t *places = pl__data(c->out[SORT_places]);
    const int64_t runs = s.before * s.after;
    if (t->count == 0 || k == 0) return PL_OK;
    real *run_values = pl__work(c, t->count * (int64_t)sizeof *run_values);
    int32_t *lists = pl__work(c, t->count * 2 * (int64_t)sizeof *lists);
    if (run_values == NULL || lists == NULL) return PL_ERR_NOMEM;
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(t->count * 16)
    for (int64_t r = 0; r < runs; r++) {
        if (pl__stopped(stop)) continue;
        const int64_t b = r / s.after, a = r % s.after;
        real *v = run_values + r * s.size;
        int32_t *at = lists + r * s.size * 2;
        for (int64_t i = 0; i < s.size; i++) v[i] = x[(b * s.size + i) * s.after + a];
        if (k <= FEW && k < s.size) insert_best(s.size, k, v, at, descending, stop);
        else {
            for (int64_t i = 0; i < s.size; i++) at[i] = (int32_t)i;
            at = merge_sort(s.size, v, at, at + s.size, descending, stop);
        }
        for (int64_t i = 0; i < k; i++) {
            if (i % PL_LOOK == 0 && pl__stopped(stop)) break; /* the places may be no places */
            values[(b * k + i) * s.after + a] = v[at[i]];
            places[(b * k + i) * s.after + a] = at[i] + first;
        }
    }
    return PL_OK;
}

/* Gradients of values go back to their places. */
static pl_status order_backward(pl_call *c, int axis, int32_t first)
{
    const pl_tensor *dx = c->d_in[SORT_x];
    if (dx == NULL) return PL_OK;
    const pl_split whole = pl__split_at(dx, axis), part = pl__split_at(c->out[SORT_values], axis);
    const real *dy = pl__real(c->d_out[SORT_values]);
    const int32_t *places = pl__ints(c->out[SORT_places]);
    if (!c->acc[SORT_x]) memset(pl__real(dx), 0, (size_t)dx->count * sizeof(real));
    const pl_stop stop = pl__stop_get();
    for (int64_t b = 0; b < part.before; b++)
        for (int64_t i = 0; i < part.size * part.after; i++) {
            if (i % PL_LOOK == 0 && pl__stopped(stop)) return PL_OK;
            const int64_t from = b * part.size * part.after + i, a = i % part.after;
            const int64_t to = (b * whole.size + places[from] - first) * whole.after + a;
            pl__real(dx)[to] += dy[from];
        }
    return PL_OK;
}

static pl_status order_shape(pl_call *c, int axis, int64_t k)
{
    const pl_tensor *x = c->in[SORT_x];
    int64_t shape[PL_MAX_RANK];
    PL_TRY(check_size(c, x->shape[axis]));
    memcpy(shape, x->shape, sizeof shape);
    shape[axis] = k;
    PL_TRY(pl__out(c, SORT_values, x->dtype, x->rank, shape));
    return pl__out(c, SORT_places, PL_I32, x->rank, shape);
}

static pl_status sort_shape(pl_call *c)
{
    int axis = 0;
    PL_TRY(pl__axis(c, SORT_axis, c->in[SORT_x]->rank, &axis));
    PL_TRY(check_first(c, SORT_first));
    return order_shape(c, axis, c->in[SORT_x]->shape[axis]);
}

static pl_status sort_forward(pl_call *c)
{
    int axis = 0;
    PL_TRY(pl__axis(c, SORT_axis, c->in[SORT_x]->rank, &axis));
    return order(c, axis, c->in[SORT_x]->shape[axis], c->param[SORT_descending].i != 0,
                 (int32_t)c->param[SORT_first].i);
}

static pl_status sort_backward(pl_call *c)
{
    int axis = 0;
    PL_TRY(pl__axis(c, SORT_axis, c->in[SORT_x]->rank, &axis));
    return order_backward(c, axis, (int32_t)c->param[SORT_first].i);
}

const pl_op_impl OPI(sort) = {sort_shape, sort_forward, sort_backward};

static pl_status topk_shape(pl_call *c)
{
    const pl_tensor *x = c->in[TOPK_x];
    const int64_t k = c->param[TOPK_k].i;
    char text[PL_SHAPE_TEXT];
    int axis = 0;
    PL_TRY(pl__axis(c, TOPK_axis, x->rank, &axis));
    PL_TRY(check_first(c, TOPK_first));
    if (k < 0 || k > x->shape[axis])
        return pl__op_fail(c, PL_ERR_ARG, "k is %lld; 0 to %lld wanted, axis %d of x of shape %s",
                           (long long)k, (long long)x->shape[axis], axis + c->ctx->first,
                           pl__shape_text(x, text));
    return order_shape(c, axis, k);
}

static pl_status topk_forward(pl_call *c)
{
    int axis = 0;
    PL_TRY(pl__axis(c, TOPK_axis, c->in[TOPK_x]->rank, &axis));
    return order(c, axis, c->param[TOPK_k].i, c->param[TOPK_largest].i != 0,
                 (int32_t)c->param[TOPK_first].i);
}

static pl_status topk_backward(pl_call *c)
{
    int axis = 0;
    PL_TRY(pl__axis(c, TOPK_axis, c->in[TOPK_x]->rank, &axis));
    return order_backward(c, axis, (int32_t)c->param[TOPK_first].i);
}

const pl_op_impl OPI(topk) = {topk_shape, topk_forward, topk_backward};
