/*
** elementwise.c - the loops behind the maps of elementwise.h.
**
** A partial vector at the end goes through the same arithmetic as a full one, so an element's bits
** do not depend on where it stands.
*/
#include "kernels/elementwise.h"

#include "kernels/vmath.h"

#define INLINE static inline __attribute__((always_inline))

/* s(x) (1 + x (1 - s(x))), the derivative of x s(x) */
INLINE vec silu_slope(vec x)
{
    const vec one = v_set1(REAL(1.0));
    vec s = v_sigmoid(x);
    return s * (one + x * (one - s));
}

INLINE vec clamp_to(vec x, vec lo, vec hi)
{
    x = v_select(x < lo, lo, x);
    return v_select(x > hi, hi, x);
}

INLINE vec normal_cdf(vec x)
{
    const vec half = v_set1(REAL(0.5));
    return half + half * v_erf(x * v_set1(REAL(0.70710678118654752440)));
}

INLINE vec normal_pdf(vec x)
{
    return v_exp(x * x * v_set1(REAL(-0.5))) * v_set1(REAL(0.39894228040143267794));
}

#define GELU_A REAL(0.79788456080286535588) /* sqrt(2 / pi) */
#define GELU_B REAL(0.044715)

INLINE vec gelu_tanh_value(vec x)
{
    const vec half = v_set1(REAL(0.5));
    vec t = v_tanh(v_set1(GELU_A) * (x + v_set1(GELU_B) * (x * x * x)));
    return half * x * (v_set1(REAL(1.0)) + t);
}

INLINE vec gelu_tanh_slope(vec x)
{
    const vec half = v_set1(REAL(0.5)), one = v_set1(REAL(1.0));
    vec t = v_tanh(v_set1(GELU_A) * (x + v_set1(GELU_B) * (x * x * x)));
    vec dt = v_set1(GELU_A) * (one + v_set1(3 * GELU_B) * (x * x));
    return half * (one + t) + half * x * (one - t * t) * dt;
}

/* a^b by the C library, in double: its last bit is that of the exact value but for rare ties. */
INLINE vec power(vec a, vec b)
{
    real x[VL], y[VL];
    v_store(x, a);
    v_store(y, b);
    for (int i = 0; i < VL; i++)
        x[i] = y[i] == 2 ? x[i] * x[i] : (real)pow((double)x[i], (double)y[i]);
    return v_load(x);
}

/* Where maximum (minimum) takes a: ties too, and a NaN in a; a NaN in b makes both tests false. */
INLINE ivec not_below(vec a, vec b)
{
    return (a >= b) | (a != a);
}
INLINE ivec not_above(vec a, vec b)
{
    return (a <= b) | (a != a);
}

INLINE vec get(const real *p, int64_t i, bool step)
{
    return step ? v_load(p + i) : v_set1(*p);
}

INLINE vec get_n(const real *p, int64_t i, bool step, int64_t n)
{
    return step ? v_load_n(p + i, n, REAL(0.0)) : v_set1(*p);
}

INLINE void put(real *y, bool acc, vec v)
{
    v_store(y, acc ? v_load(y) + v : v);
}

INLINE void put_n(real *y, bool acc, vec v, int64_t n)
{
    v_store_n(y, acc ? v_load_n(y, n, REAL(0.0)) + v : v, n);
}

/* ---- one input ---- */
/* clang-format off */
#define X(op, f, df)                                                                              \
    INLINE vec value_of_##op(vec x, vec lo, vec hi)                                               \
    {                                                                                             \
        const vec zero = v_set1(REAL(0.0));                                                       \
        (void)lo, (void)hi, (void)zero;                                                           \
        return f;                                                                                 \
    }                                                                                             \
    INLINE vec slope_of_##op(vec d, vec u, vec lo, vec hi)                                        \
    {                                                                                             \
        const vec zero = v_set1(REAL(0.0)), one = v_set1(REAL(1.0));                              \
        (void)u, (void)lo, (void)hi, (void)zero, (void)one;                                       \
        return df;                                                                                \
    }                                                                                             \
    void K(op##_fwd)(int64_t n, real *y, const real *x, real lo, real hi)                         \
    {                                                                                             \
        const vec l = v_set1(lo), h = v_set1(hi);                                                 \
        int64_t i = 0;                                                                            \
        for (; n - i >= VL; i += VL) v_store(y + i, value_of_##op(v_load(x + i), l, h));          \
        if (i < n)                                                                                \
            v_store_n(y + i, value_of_##op(v_load_n(x + i, n - i, REAL(0.0)), l, h), n - i);      \
    }                                                                                             \
    void K(op##_bwd)(int64_t n, real *dx, bool acc, const real *dy, const real *u, real lo,       \
                     real hi)                                                                     \
    {                                                                                             \
        const vec l = v_set1(lo), h = v_set1(hi);                                                 \
        int64_t i = 0;                                                                            \
        for (; n - i >= VL; i += VL)                                                              \
            put(dx + i, acc, slope_of_##op(v_load(dy + i), v_load(u + i), l, h));                 \
        if (i < n)                                                                                \
            put_n(dx + i, acc,                                                                    \
                  slope_of_##op(v_load_n(dy + i, n - i, REAL(0.0)),                               \
                             v_load_n(u + i, n - i, REAL(0.0)), l, h),                            \
                  n - i);                                                                         \
    }
/* clang-format on */
PL_UNARY_MAP(X)
PL_GELU_MAP(X)
#undef X

/* ---- two inputs: one loop for each way of stepping, so that none is decided inside ---- */
#define LOOP(f, sa, sb)                                                                            \
    do {                                                                                           \
        int64_t i = 0;                                                                             \
        for (; n - i >= VL; i += VL)                                                               \
            put(y + i, acc, f(get(in[0], i, sa), get(in[1], i, sb), GRADIENT(i)));                 \
        if (i < n)                                                                                 \
            put_n(y + i, acc,                                                                      \
                  f(get_n(in[0], i, sa, n - i), get_n(in[1], i, sb, n - i), GRADIENT_N(i, n - i)), \
                  n - i);                                                                          \
    } while (0)

#define RUN(name, expr)                                              \
    INLINE vec expr_of_##name(vec a, vec b, vec d)                   \
    {                                                                \
        const vec zero = v_set1(REAL(0.0)), one = v_set1(REAL(1.0)); \
        (void)a, (void)b, (void)d, (void)zero, (void)one;            \
        return expr;                                                 \
    }                                                                \
    PL_RUN(name)                                                     \
    {                                                                \
        (void)dy;                                                    \
        if (step[0] && step[1]) LOOP(expr_of_##name, true, true);    \
        else if (step[0]) LOOP(expr_of_##name, true, false);         \
        else if (step[1]) LOOP(expr_of_##name, false, true);         \
        else LOOP(expr_of_##name, false, false);                     \
    }

#define GRADIENT(i) zero_vec
#define GRADIENT_N(i, n) zero_vec
static const vec zero_vec = {0};
#define X(op, f, da, db) RUN(op##_fwd, f)
PL_BINARY_MAP(X)
#undef X
#define X(op, f) RUN(op##_fwd, v_select(f, one, zero))
PL_COMPARE_MAP(X)
#undef X
#undef GRADIENT
#undef GRADIENT_N

#define GRADIENT(i) v_load(dy + (i))
#define GRADIENT_N(i, n) v_load_n(dy + (i), n, REAL(0.0))
#define X(op, f, da, db) \
    RUN(op##_bwd_a, da)  \
    RUN(op##_bwd_b, db)
PL_BINARY_MAP(X)
#undef X
#undef GRADIENT
#undef GRADIENT_N

/* The formulas of the map, with one sigmoid. */
INLINE void swiglu_slopes(vec *y, vec *d_gate, vec *d_up, vec a, vec b, vec d)
{
    const vec one = v_set1(REAL(1.0)), s = v_sigmoid(a), half = a * s;
    *y = half * b;
    *d_gate = d * b * (s * (one + a * (one - s)));
    *d_up = d * half;
}

INLINE void swiglu_bwd(int64_t n, real *y, real *d_gate, real *d_up, const real *gate,
                       const real *up, const real *d, const bool value)
{
    vec v, g, u;
    int64_t i = 0;
    for (; n - i >= VL; i += VL) {
        swiglu_slopes(&v, &g, &u, v_load(gate + i), v_load(up + i), v_load(d + i));
        if (value) v_store(y + i, v);
        v_store(d_gate + i, g);
        v_store(d_up + i, u);
    }
    if (i == n) return;
    const int64_t m = n - i;
    swiglu_slopes(&v, &g, &u, v_load_n(gate + i, m, REAL(0.0)), v_load_n(up + i, m, REAL(0.0)),
                  v_load_n(d + i, m, REAL(0.0)));
    if (value) v_store_n(y + i, v, m);
    v_store_n(d_gate + i, g, m);
    v_store_n(d_up + i, u, m);
}

void K(swiglu_bwd)(int64_t n, real *y, real *d_gate, real *d_up, const real *gate, const real *up,
                   const real *d)
{
    if (y != NULL) swiglu_bwd(n, y, d_gate, d_up, gate, up, d, true);
    else swiglu_bwd(n, y, d_gate, d_up, gate, up, d, false);
}

/* ---- three inputs ---- */
PL_RUN(where_fwd)
{
    const vec zero = v_set1(REAL(0.0));
    (void)dy;
    int64_t i = 0;
    for (; n - i >= VL; i += VL)
        put(y + i, acc,
            v_select(get(in[0], i, step[0]) != zero, get(in[1], i, step[1]),
                     get(in[2], i, step[2])));
    if (i < n)
        put_n(y + i, acc,
              v_select(get_n(in[0], i, step[0], n - i) != zero, get_n(in[1], i, step[1], n - i),
                       get_n(in[2], i, step[2], n - i)),
              n - i);
}

/* dy where cond is not 0 (`taken`), or where it is, else 0. */
INLINE void where_bwd(int64_t n, real *y, bool acc, const real *cond, bool step, const real *dy,
                      bool taken)
{
    const vec zero = v_set1(REAL(0.0));
    V_EACH(i, m, n) {
        vec d = v_load_n(dy + i, m, REAL(0.0)), c = get_n(cond, i, step, m);
        put_n(y + i, acc, taken ? v_select(c != zero, d, zero) : v_select(c != zero, zero, d), m);
    }
}

PL_RUN(where_bwd_a)
{
    where_bwd(n, y, acc, in[0], step[0], dy, true);
}

PL_RUN(where_bwd_b)
{
    where_bwd(n, y, acc, in[0], step[0], dy, false);
}

/* ---- moving ---- */
void K(put)(int64_t n, real *y, bool acc, const real *x)
{
    if (!acc) {
        memcpy(y, x, (size_t)n * sizeof *y);
        return;
    }
    for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

void K(put_value)(int64_t n, real *y, bool acc, real v)
{
    if (acc)
        for (int64_t i = 0; i < n; i++) y[i] += v;
    else
        for (int64_t i = 0; i < n; i++) y[i] = v;
}
