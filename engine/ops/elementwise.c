/*
** elementwise.c - ops of one input, element by element. Formulas: kernels/elementwise.h.
*/
#include "kernels/elementwise.h"

#include "ops/geometry.h"
#include "ops/product.h"
#include "ops/rounded.h"

/* The same places in every row of this file. */
enum { X = NEG_x, Y = NEG_y };

static pl_status same_shape(pl_call *c)
{
    return pl__out_like(c, X);
}

static pl_status run_forward(pl_call *c, pl_unary_fwd f, real lo, real hi)
{
    const int64_t n = c->in[X]->count;
    const real *x = pl__real(c->in[X]);
    real *y = pl__real(c->out[Y]);
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(n * 4)
    for (int64_t i = 0; i < n; i += PL_TILE)
        if (!pl__stopped(stop)) f(pl__least(PL_TILE, n - i), y + i, x + i, lo, hi);
    return PL_OK;
}

static pl_status run_backward(pl_call *c, pl_unary_bwd f, real lo, real hi)
{
    if (c->d_in[X] == NULL) return PL_OK;
    const int64_t n = c->in[X]->count;
    const bool acc = c->acc[X];
    const real *dy = pl__real(c->d_out[Y]);
    const real *u = c->row->flags & PL_OPF_KEEP_OUT  ? pl__real(c->out[Y])
                    : c->row->flags & PL_OPF_KEEP_IN ? pl__real(c->in[X])
                                                     : dy;
    real *dx = pl__real(c->d_in[X]);
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(n * 4)
    for (int64_t i = 0; i < n; i += PL_TILE)
        if (!pl__stopped(stop)) f(pl__least(PL_TILE, n - i), dx + i, acc, dy + i, u + i, lo, hi);
    return PL_OK;
}

#define UNARY(op)                                  \
    static pl_status op##_forward(pl_call *c)      \
    {                                              \
        return run_forward(c, K(op##_fwd), 0, 0);  \
    }                                              \
    static pl_status op##_backward(pl_call *c)     \
    {                                              \
        return run_backward(c, K(op##_bwd), 0, 0); \
    }                                              \
    const pl_op_impl OPI(op) = {same_shape, op##_forward, op##_backward};
UNARY(neg)
UNARY(exp)
UNARY(log)
UNARY(sqrt)
UNARY(square)
UNARY(abs)
UNARY(sigmoid)
UNARY(log_sigmoid)
UNARY(tanh)
UNARY(relu)

/* ---- silu, and gelu in two forms: backward reads x rounded where precision says so ---- */
static pl_status activation_shape(pl_call *c, int precision)
{
    PL_TRY(check_precision(c, precision));
    c->rounds[X] = wants_bf16(c, precision);
    return pl__out_like(c, X);
}

static pl_status activation_forward(pl_call *c, pl_unary_fwd f)
{
    const int64_t n = c->in[X]->count;
    real *y = pl__real(c->out[Y]);
    PL_TRY(rounded_open(c, X));
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(n * 4)
    for (int64_t i = 0; i < n; i += ROUNDED_RUN) {
        if (pl__stopped(stop)) continue;
        real space[ROUNDED_RUN];
        const int64_t m = pl__least(ROUNDED_RUN, n - i);
        const real *x = rounded_read(c, X, i, m, space);
        rounded_write(c, X, i, m, x);
        f(m, y + i, x, 0, 0);
    }
    return PL_OK;
}

static pl_status activation_backward(pl_call *c, pl_unary_bwd f)
{
    if (c->d_in[X] == NULL) return PL_OK;
    const int64_t n = c->in[X]->count;
    const bool acc = c->acc[X];
    const real *dy = pl__real(c->d_out[Y]);
    real *dx = pl__real(c->d_in[X]);
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(n * 4)
    for (int64_t i = 0; i < n; i += ROUNDED_RUN) {
        if (pl__stopped(stop)) continue;
        real space[ROUNDED_RUN];
        const int64_t m = pl__least(ROUNDED_RUN, n - i);
        f(m, dx + i, acc, dy + i, rounded_read(c, X, i, m, space), 0, 0);
    }
    return PL_OK;
}

static pl_status silu_shape(pl_call *c)
{
    return activation_shape(c, SILU_precision);
}

static pl_status silu_forward(pl_call *c)
{
    return activation_forward(c, K(silu_fwd));
}

static pl_status silu_backward(pl_call *c)
{
    return activation_backward(c, K(silu_bwd));
}

const pl_op_impl OPI(silu) = {silu_shape, silu_forward, silu_backward};

static bool is_erf(const pl_call *c)
{
    return c->param[GELU_approximate].i == GELU_approximate_none;
}

static pl_status gelu_forward(pl_call *c)
{
    return activation_forward(c, is_erf(c) ? K(gelu_erf_fwd) : K(gelu_tanh_fwd));
}

static pl_status gelu_backward(pl_call *c)
{
    return activation_backward(c, is_erf(c) ? K(gelu_erf_bwd) : K(gelu_tanh_bwd));
}

static pl_status gelu_shape(pl_call *c)
{
    return activation_shape(c, GELU_precision);
}

const pl_op_impl OPI(gelu) = {gelu_shape, gelu_forward, gelu_backward};

/* ---- with parameters ---- */
static pl_status softcap_shape(pl_call *c)
{
    const double cap = c->param[SOFTCAP_cap].f;
    if (!(cap > 0 && cap < INFINITY))
        return pl__op_fail(c, PL_ERR_ARG, "cap is %g; a positive number wanted", cap);
    return pl__out_like(c, X);
}

static pl_status softcap_forward(pl_call *c)
{
    const real cap = (real)c->param[SOFTCAP_cap].f;
    return run_forward(c, K(softcap_fwd), cap, 1 / cap);
}

static pl_status softcap_backward(pl_call *c)
{
    const real cap = (real)c->param[SOFTCAP_cap].f;
    return run_backward(c, K(softcap_bwd), cap, 1 / cap);
}

const pl_op_impl OPI(softcap) = {softcap_shape, softcap_forward, softcap_backward};

static pl_status clamp_shape(pl_call *c)
{
    const double lo = c->param[CLAMP_min].f, hi = c->param[CLAMP_max].f;
    if (!(lo <= hi))
        return pl__op_fail(c, PL_ERR_ARG, "min %g and max %g: min must not be above max, nor a NaN",
                           lo, hi);
    return pl__out_like(c, X);
}

static pl_status clamp_forward(pl_call *c)
{
    return run_forward(c, K(clamp_fwd), (real)c->param[CLAMP_min].f, (real)c->param[CLAMP_max].f);
}

static pl_status clamp_backward(pl_call *c)
{
    return run_backward(c, K(clamp_bwd), (real)c->param[CLAMP_min].f, (real)c->param[CLAMP_max].f);
}

const pl_op_impl OPI(clamp) = {clamp_shape, clamp_forward, clamp_backward};
