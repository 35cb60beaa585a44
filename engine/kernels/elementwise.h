/*
** elementwise.h - loops of one, two and three inputs, one element at a time.
**
** Each formula stands once, on `vec`, in a map: the value, and beside it the slope times the
** gradient `d` that came in. The maps make the kernels here and the ops in ops/elementwise.c and
** ops/broadcast.c. Names in a formula: x the input, u what backward kept (the input or the output,
** as the flags of ops.def say), a and b two inputs, d the gradient, `lo` and `hi` the parameters
** (of softcap: the cap, and 1 / cap).
** A branch is taken by v_select, never by multiplying with a mask: 0 * NaN would leak.
*/
#ifndef PL_KERNELS_ELEMENTWISE_H
#define PL_KERNELS_ELEMENTWISE_H

#include "kernels/variant.h"

/* Unformatted: clang-format 14 would write d *u and real * y in these macros. */
/* clang-format off */
/* X(op, f(x), d f'(x)) */
#define PL_UNARY_MAP(X)                                                                           \
    X(neg, -x, -d)                                                                                \
    X(exp, v_exp(x), d * u)                                                                       \
    X(log, v_log(x), d / u)                                                                       \
    X(sqrt, v_sqrt(x), d / (u + u))                                                               \
    X(square, x * x, d * (u + u))                                                                 \
    X(abs, v_abs(x), v_select(u > zero, d, v_select(u < zero, -d, zero)))                         \
    X(sigmoid, v_sigmoid(x), d * (u * (one - u)))                                                 \
    X(log_sigmoid, v_log_sigmoid(x), d * v_sigmoid(-u))                                           \
    X(tanh, v_tanh(x), d * (one - u * u))                                                         \
    X(relu, v_select(x <= zero, zero, x), v_select(u <= zero, zero, d))                           \
    X(silu, x * v_sigmoid(x), d * silu_slope(u))                                                  \
    X(softcap, lo * v_tanh(x * hi), d * (one - (u * hi) * (u * hi)))                              \
    X(clamp, clamp_to(x, lo, hi), v_select((u >= lo) & (u <= hi), d, zero))

/* The two forms of gelu. */
#define PL_GELU_MAP(X)                                                                            \
    X(gelu_erf, x * normal_cdf(x), d * (normal_cdf(u) + u * normal_pdf(u)))                       \
    X(gelu_tanh, gelu_tanh_value(x), d * gelu_tanh_slope(u))

/* X(op, f(a, b), d df/da, d df/db) */
#define PL_BINARY_MAP(X)                                                                          \
    X(add, a + b, d, d)                                                                           \
    X(sub, a - b, d, -d)                                                                          \
    X(mul, a * b, d * b, d * a)                                                                   \
    X(div, a / b, d / b, -((d / b) * (a / b)))                                                    \
    X(pow, power(a, b), v_select(b == zero, zero, d * b * power(a, b - one)),                     \
      v_select((a == zero) & (b >= zero), zero, d * power(a, b) * v_log(a)))                      \
    X(maximum, v_select(not_below(a, b), a, b), v_select(not_below(a, b), d, zero),               \
      v_select(not_below(a, b), zero, d))                                                         \
    X(minimum, v_select(not_above(a, b), a, b), v_select(not_above(a, b), d, zero),               \
      v_select(not_above(a, b), zero, d))                                                         \
    X(swiglu, (a * v_sigmoid(a)) * b, d * b * silu_slope(a), d * (a * v_sigmoid(a)))

/* X(op, truth) */
#define PL_COMPARE_MAP(X)                                                                         \
    X(eq, a == b)                                                                                 \
    X(lt, a < b)                                                                                  \
    X(le, a <= b)                                                                                 \
    X(gt, a > b)                                                                                  \
    X(ge, a >= b)
/* clang-format on */

/* y = f(x) */
typedef void (*pl_unary_fwd)(int64_t n, real *y, const real *x, real lo, real hi);
/* dx = (or += when acc) dy f'(u) */
typedef void (*pl_unary_bwd)(int64_t n, real *dx, bool acc, const real *dy, const real *u, real lo,
                             real hi);
/* y = (or += when acc) f(in[0], in[1], ..); in[i] is a run of n where step[i], else one element for
** all. dy is a run of n, NULL in a forward kernel. */
typedef void (*pl_run)(int64_t n, real *y, bool acc, const real *const *in, const bool *step,
                       const real *dy);

/* clang-format off */
#define X(op, f, df)                                                                              \
    void K(op##_fwd)(int64_t n, real *y, const real *x, real lo, real hi);                        \
    void K(op##_bwd)(int64_t n, real *dx, bool acc, const real *dy, const real *u, real lo,       \
                     real hi);
PL_UNARY_MAP(X)
PL_GELU_MAP(X)
#undef X

#define PL_RUN(name)                                                                              \
    void K(name)(int64_t n, real *y, bool acc, const real *const *in, const bool *step,           \
                 const real *dy)
/* clang-format on */
#define X(op, f, da, db) \
    PL_RUN(op##_fwd);    \
    PL_RUN(op##_bwd_a);  \
    PL_RUN(op##_bwd_b);
PL_BINARY_MAP(X)
#undef X
#define X(op, f) PL_RUN(op##_fwd);
PL_COMPARE_MAP(X)
#undef X
/* Of swiglu with both slopes at once, from gate, up and the gradient d: the value y (NULL: not
** wanted), d_gate and d_up. The results may stand where gate, up and d do. */
void K(swiglu_bwd)(int64_t n, real *y, real *d_gate, real *d_up, const real *gate, const real *up,
                   const real *d);
/* in: cond, a, b. A NaN in cond counts as true: it is not 0. */
PL_RUN(where_fwd);
PL_RUN(where_bwd_a);
PL_RUN(where_bwd_b);

/* y = x, or y += x when acc. */
void K(put)(int64_t n, real *y, bool acc, const real *x);
/* y = v, or y += v when acc. */
void K(put_value)(int64_t n, real *y, bool acc, real v);

#endif
