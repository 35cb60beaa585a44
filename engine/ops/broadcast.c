/*
** broadcast.c - ops of two and three inputs, element by element, with numpy's rule of broadcasting:
** shapes are compared from the last axis, sizes must be equal or 1, missing axes count as 1.
**
** All cases are one: axes of size 1 are dropped and neighbours that every input walks through alike
** are merged, which leaves runs along the last axis where an input either steps by one element or
** stands still. Equal shapes become one run, a scalar or a [C] against [..,C] a step of 0 or one
** axis of rows. Backward writes the gradient of the whole output shape and sums it over the axes
** where the input stood still, innermost first (kernels/reduce.h).
*/
#include "kernels/elementwise.h"
#include "kernels/reduce.h"
#include "ops/geometry.h"
#include "ops/product.h"
#include "ops/rounded.h"

#define MAX_OPERANDS 3

/* The same places in every row of this file; swiglu's gate and up stand at A and B. `where` alone
** has its condition before them. */
enum { A = ADD_a, B = ADD_b, Y = ADD_y };
PL_SAME_PLACE(SWIGLU_gate, A);
PL_SAME_PLACE(SWIGLU_up, B);

typedef struct {
    int rank, n_in;
    int64_t count;
    int64_t size[PL_MAX_RANK];
    int64_t step[MAX_OPERANDS][PL_MAX_RANK]; /* elements to the next place along an axis, or 0 */
} walk_plan;

static pl_status broadcast_shape(pl_call *c, int n_in, int *rank, int64_t *shape)
{
    *rank = 0;
    for (int k = 0; k < n_in; k++)
        if (c->in[k]->rank > *rank) *rank = c->in[k]->rank;
    for (int i = 0; i < *rank; i++) shape[i] = 1;
    for (int k = 0; k < n_in; k++) {
        const pl_tensor *t = c->in[k];
        for (int i = 0; i < t->rank; i++) {
            int64_t *want = &shape[*rank - t->rank + i];
            if (*want == 1) *want = t->shape[i];
            if (t->shape[i] == *want || t->shape[i] == 1) continue;
            char text[MAX_OPERANDS][PL_SHAPE_TEXT] = {""};
            for (int j = 0; j < n_in; j++) pl__shape_text(c->in[j], text[j]);
            return pl__op_fail(c, PL_ERR_SHAPE,
                               "shapes %s, %s%s%s do not broadcast: counted from the last axis, "
                               "sizes must be equal or 1",
                               text[0], text[1], n_in > 2 ? ", " : "", text[2]);
        }
    }
    return PL_OK;
}

static pl_status shape_of(pl_call *c, int n_in)
{
    int rank;
    int64_t shape[PL_MAX_RANK];
    PL_TRY(broadcast_shape(c, n_in, &rank, shape));
    return pl__out(c, Y, c->in[A]->dtype, rank, shape);
}

static walk_plan plan_walk(const pl_call *c, int n_in)
{
    const pl_tensor *y = c->out[Y];
    walk_plan p = {.n_in = n_in, .count = y->count};
    int64_t dense[MAX_OPERANDS] = {1, 1, 1};
    int64_t size[PL_MAX_RANK], step[MAX_OPERANDS][PL_MAX_RANK];
    for (int i = y->rank - 1; i >= 0; i--) {
        size[i] = y->shape[i];
        for (int k = 0; k < n_in; k++) {
            const pl_tensor *t = c->in[k];
            const int own = i - (y->rank - t->rank);
            const int64_t n = own >= 0 ? t->shape[own] : 1;
            step[k][i] = n == 1 ? 0 : dense[k];
            dense[k] *= n;
        }
    }
    for (int i = 0; i < y->rank; i++) {
        if (size[i] == 1) continue;
        bool merge = p.rank > 0;
        for (int k = 0; k < n_in && merge; k++)
            merge = p.step[k][p.rank - 1] == step[k][i] * size[i];
        if (!merge) p.size[p.rank++] = 1;
        p.size[p.rank - 1] *= size[i];
        for (int k = 0; k < n_in; k++) p.step[k][p.rank - 1] = step[k][i];
    }
    if (p.rank == 0) p.size[p.rank++] = 1;
    return p;
}

/* f over all of y; y and dy are dense. */
static void walk(const walk_plan *p, pl_run f, real *y, bool acc, const real *const *in,
                 const real *dy)
{
    if (p->count == 0) return;
    const int last = p->rank - 1;
    const int64_t width = p->size[last], rows = p->count / width;
    const int64_t tile_width = pl__least(width, PL_TILE), tile_rows = pl__tile_rows(width);
    const int64_t across = pl__tiles(width, tile_width), down = pl__tiles(rows, tile_rows);
    bool step[MAX_OPERANDS] = {false};
    for (int k = 0; k < p->n_in; k++) step[k] = p->step[k][last] != 0;
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(p->count * 2)
    for (int64_t t = 0; t < across * down; t++) {
        if (pl__stopped(stop)) continue;
        const int64_t at = t % across * tile_width, n = pl__least(tile_width, width - at);
        const int64_t from = t / across * tile_rows, to = pl__least(from + tile_rows, rows);
        for (int64_t r = from; r < to; r++) {
            const real *here[MAX_OPERANDS] = {in[0], in[1], p->n_in > 2 ? in[2] : NULL};
            int64_t left = r;
            for (int i = last - 1; i >= 0; i--) {
                for (int k = 0; k < p->n_in; k++) here[k] += left % p->size[i] * p->step[k][i];
                left /= p->size[i];
            }
            for (int k = 0; k < p->n_in; k++)
                if (step[k]) here[k] += at;
            const int64_t place = r * width + at;
            f(n, y + place, acc, here, step, dy != NULL ? dy + place : NULL);
        }
    }
}

static pl_status run_forward(pl_call *c, int n_in, pl_run f)
{
    const walk_plan p = plan_walk(c, n_in);
    const real *in[MAX_OPERANDS] = {NULL};
    for (int k = 0; k < n_in; k++) in[k] = pl__real(c->in[k]);
    walk(&p, f, pl__real(c->out[Y]), false, in, NULL);
    return PL_OK;
}

/* dx (+)= g summed over the axes along which operand k stands still. */
static pl_status reduce_to(pl_call *c, const walk_plan *p, int k, real *dx, bool acc, real *g)
{
    int first = 0; /* outermost axis to sum over: its result goes to dx */
    while (first < p->rank && p->step[k][first] != 0) first++;
    int64_t after = 1;
    for (int i = p->rank - 1; i >= 0; i--) {
        if (p->step[k][i] != 0) {
            after *= p->size[i];
            continue;
        }
        const int64_t before = pl__product(p->size, i);
        real *to = dx;
        if (i != first) {
            to = pl__work(c, before * after * (int64_t)sizeof(real));
            if (to == NULL) return PL_ERR_NOMEM;
        }
        K(sum_axis)(before, p->size[i], after, to, i == first && acc, g, REAL(1.0));
        g = to;
    }
    return PL_OK;
}

/* The gradient of operand k, with df writing it for the whole output shape. */
static pl_status backward_one(pl_call *c, const walk_plan *p, int k, pl_run df)
{
    if (c->d_in[k] == NULL) return PL_OK;
    const real *dy = pl__real(c->d_out[Y]);
    real *dx = pl__real(c->d_in[k]);
    const bool acc = c->acc[k];
    const real *in[MAX_OPERANDS] = {dy, dy, dy}; /* not read where the row keeps no inputs */
    if (c->row->flags & PL_OPF_KEEP_IN)
        for (int i = 0; i < p->n_in; i++) in[i] = pl__real(c->in[i]);
    if (p->count == 0) {
        if (!acc) K(put_value)(c->in[k]->count, dx, false, REAL(0.0));
    } else if (c->in[k]->count == p->count) {
        walk(p, df, dx, acc, in, dy);
    } else {
        real *g = pl__work(c, p->count * (int64_t)sizeof(real));
        if (g == NULL) return PL_ERR_NOMEM;
        walk(p, df, g, false, in, dy);
        PL_TRY(reduce_to(c, p, k, dx, acc, g));
        pl__call_release(c, false);
    }
    return PL_OK;
}

static pl_status binary_shape(pl_call *c)
{
    return shape_of(c, 2);
}

#define BINARY(op, shape)                              \
    static pl_status op##_forward(pl_call *c)          \
    {                                                  \
        return run_forward(c, 2, K(op##_fwd));         \
    }                                                  \
    static pl_status op##_backward(pl_call *c)         \
    {                                                  \
        const walk_plan p = plan_walk(c, 2);           \
        PL_TRY(backward_one(c, &p, A, K(op##_bwd_a))); \
        return backward_one(c, &p, B, K(op##_bwd_b));  \
    }                                                  \
    const pl_op_impl OPI(op) = {shape, op##_forward, op##_backward};
BINARY(add, binary_shape)
BINARY(sub, binary_shape)
BINARY(mul, binary_shape)
BINARY(div, binary_shape)
BINARY(pow, binary_shape)
BINARY(maximum, binary_shape)
BINARY(minimum, binary_shape)

#define X(op, f)                               \
    static pl_status op##_forward(pl_call *c)  \
    {                                          \
        return run_forward(c, 2, K(op##_fwd)); \
    }                                          \
    const pl_op_impl OPI(op) = {binary_shape, op##_forward, NULL};
PL_COMPARE_MAP(X)
#undef X

/* swiglu: the two halves of a layer, of one shape */
static pl_status swiglu_shape(pl_call *c)
{
    const pl_tensor *gate = c->in[SWIGLU_gate], *up = c->in[SWIGLU_up];
    bool same = gate->rank == up->rank;
    for (int i = 0; same && i < gate->rank; i++) same = gate->shape[i] == up->shape[i];
    if (!same) {
        char text[2][PL_SHAPE_TEXT];
        return pl__op_fail(c, PL_ERR_SHAPE, "gate has shape %s and up %s, equal shapes wanted",
                           pl__shape_text(gate, text[0]), pl__shape_text(up, text[1]));
    }
    PL_TRY(check_precision(c, SWIGLU_precision));
    c->rounds[A] = c->rounds[B] = wants_bf16(c, SWIGLU_precision);
    return pl__out_like(c, SWIGLU_gate);
}

static const bool swiglu_step[] = {true, true};

/* n elements of gate and up from i on; `space` is for those that are kept in bfloat16. */
static void read_both(const pl_call *c, int64_t i, int64_t n, real space[2][ROUNDED_RUN],
                      const real *in[MAX_OPERANDS])
{
    in[A] = rounded_read(c, A, i, n, space[0]);
    in[B] = rounded_read(c, B, i, n, space[1]);
}

static pl_status swiglu_forward(pl_call *c)
{
    const int64_t n = c->in[A]->count;
    real *y = pl__real(c->out[Y]);
    PL_TRY(rounded_open(c, A));
    PL_TRY(rounded_open(c, B));
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(n * 4)
    for (int64_t i = 0; i < n; i += ROUNDED_RUN) {
        if (pl__stopped(stop)) continue;
        real space[2][ROUNDED_RUN];
        const real *in[MAX_OPERANDS];
        const int64_t m = pl__least(ROUNDED_RUN, n - i);
        read_both(c, i, m, space, in);
        rounded_write(c, A, i, m, in[0]);
        rounded_write(c, B, i, m, in[1]);
        K(swiglu_fwd)(m, y + i, false, in, swiglu_step, NULL);
    }
    return PL_OK;
}

/* Both slopes in one pass, where both are wanted and neither is added to another. */
static pl_status swiglu_backward(pl_call *c)
{
    const int64_t n = c->in[A]->count;
    const real *dy = pl__real(c->d_out[Y]);
    real *da = c->d_in[A] != NULL ? pl__real(c->d_in[A]) : NULL;
    real *db = c->d_in[B] != NULL ? pl__real(c->d_in[B]) : NULL;
    const bool both = da != NULL && db != NULL && !c->acc[A] && !c->acc[B];
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(n * 4)
    for (int64_t i = 0; i < n; i += ROUNDED_RUN) {
        if (pl__stopped(stop)) continue;
        real space[2][ROUNDED_RUN];
        const real *in[MAX_OPERANDS];
        const int64_t m = pl__least(ROUNDED_RUN, n - i);
        read_both(c, i, m, space, in);
        if (both) {
            K(swiglu_bwd)(m, NULL, da + i, db + i, in[0], in[1], dy + i);
            continue;
        }
        if (da != NULL) K(swiglu_bwd_a)(m, da + i, c->acc[A], in, swiglu_step, dy + i);
        if (db != NULL) K(swiglu_bwd_b)(m, db + i, c->acc[B], in, swiglu_step, dy + i);
    }
    return PL_OK;
}

const pl_op_impl OPI(swiglu) = {swiglu_shape, swiglu_forward, swiglu_backward};

static pl_status where_shape(pl_call *c)
{
    return shape_of(c, 3);
}

static pl_status where_forward(pl_call *c)
{
    return run_forward(c, 3, K(where_fwd));
}

static pl_status where_backward(pl_call *c)
{
    const walk_plan p = plan_walk(c, 3);
    const pl_tensor *d_cond = c->d_in[WHERE_cond];
    if (d_cond != NULL && !c->acc[WHERE_cond])
        K(put_value)(d_cond->count, pl__real(d_cond), false, REAL(0.0));
    PL_TRY(backward_one(c, &p, WHERE_a, K(where_bwd_a)));
    return backward_one(c, &p, WHERE_b, K(where_bwd_b));
}

const pl_op_impl OPI(where) = {where_shape, where_forward, where_backward};
