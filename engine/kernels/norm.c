/*
** norm.c - row kernels: RMSNorm, LayerNorm, softmax, log-softmax (norm.h).
**
** EACH_VEC runs a body over a row with `i` the place, `m` the valid elements; loads and stores of a
** whole vector are plain ones, those of the last cut one go through load_n, the arithmetic is one.
*/
#include "kernels/norm.h"

#include "kernels/vmath.h"

#define INLINE static inline __attribute__((always_inline))

INLINE vec load(const real *p, int64_t m, real pad)
{
    return m == VL ? v_load(p) : v_load_n(p, m, pad);
}

INLINE void store(real *p, vec v, int64_t m)
{
    if (m == VL) v_store(p, v);
    else v_store_n(p, v, m);
}

INLINE void put(real *p, bool acc, vec v, int64_t m)
{
    store(p, acc ? load(p, m, REAL(0.0)) + v : v, m);
}

#define ZERO v_set1(REAL(0.0))

static real rsqrt_of(real x)
{
#ifdef PL_F64_BUILD
    return 1 / sqrt(x);
#else
    return 1 / sqrtf(x);
#endif
}

/* A row of one block needs no total: its sum has the bits of the plain one (vec.h). The norms have
** loops of their own for such rows, which `only` tells from the others. */
INLINE bool one_block(int64_t c)
{
    return c <= V_BLOCK * VL;
}

INLINE v_total add_block(v_total t, vec x, bool only)
{
    return only ? (v_total){.sum = x} : v_total_add(t, x);
}

INLINE real sum_blocks(v_total t, bool only)
{
    return only ? v_sum(t.sum) : v_total_sum(t);
}

/* ---- RMSNorm ---- */
INLINE void rmsnorm_fwd_rows(int64_t rows, int64_t c, real eps, real *y, real *rstd, const real *x,
                             const real *w, const bool only)
{
    for (int64_t r = 0; r < rows; r++, x += c, y += c) {
        v_total squares = {0};
        V_BLOCKS(from, to, c)
        {
            vec s = ZERO;
            V_SPAN(i, m, from, to)
            {
                vec v = load(x + i, m, REAL(0.0));
                s = v_fma(v, v, s);
            }
            squares = add_block(squares, s, only);
        }
        const real scale = rsqrt_of(sum_blocks(squares, only) / (real)c + eps);
        if (rstd != NULL) rstd[r] = scale;
        V_EACH(i, m, c)
            store(y + i, load(x + i, m, REAL(0.0)) * v_set1(scale) * load(w + i, m, REAL(0.0)), m);
    }
}

void K(rmsnorm_fwd)(int64_t rows, int64_t c, real eps, real *y, real *rstd, const real *x,
                    const real *w)
{
    if (one_block(c)) rmsnorm_fwd_rows(rows, c, eps, y, rstd, x, w, true);
    else rmsnorm_fwd_rows(rows, c, eps, y, rstd, x, w, false);
}

INLINE void rmsnorm_bwd_rows(int64_t rows, int64_t c, real *dx, bool acc, real *dw, const real *dy,
                             const real *x, const real *w, const real *rstd, const bool only)
{
    for (int64_t r = 0; r < rows; r++, x += c, dy += c) {
        const vec scale = v_set1(rstd[r]);
        v_total products = {0};
        V_BLOCKS(from, to, c)
        {
            vec s = ZERO;
            V_SPAN(i, m, from, to)
            {
                vec h = load(x + i, m, REAL(0.0)) * scale, d = load(dy + i, m, REAL(0.0));
                if (dw != NULL) put(dw + i, true, d * h, m);
                s = v_fma(d * load(w + i, m, REAL(0.0)), h, s);
            }
            products = add_block(products, s, only);
        }
        if (dx == NULL) continue;
        const vec gh = v_set1(sum_blocks(products, only) / (real)c);
        V_EACH(i, m, c) {
            vec h = load(x + i, m, REAL(0.0)) * scale;
            vec g = load(dy + i, m, REAL(0.0)) * load(w + i, m, REAL(0.0));
            put(dx + i, acc, scale * (g - h * gh), m);
        }
        dx += c;
    }
}

void K(rmsnorm_bwd)(int64_t rows, int64_t c, real *dx, bool acc, real *dw, const real *dy,
                    const real *x, const real *w, const real *rstd)
{
    if (one_block(c)) rmsnorm_bwd_rows(rows, c, dx, acc, dw, dy, x, w, rstd, true);
    else rmsnorm_bwd_rows(rows, c, dx, acc, dw, dy, x, w, rstd, false);
}

/* ---- LayerNorm ---- */
INLINE vec centred(const real *x, vec mean, int64_t m)
{
    /* the padding must not enter the variance: it becomes mean - mean */
    return load(x, m, mean[0]) - mean;
}

/* The sum of a row. */
INLINE real row_sum(int64_t c, const real *x, const bool only)
{
    v_total sum = {0};
    V_BLOCKS(from, to, c)
    {
        vec s = ZERO;
        V_SPAN(i, m, from, to) s += load(x + i, m, REAL(0.0));
        sum = add_block(sum, s, only);
    }
    return sum_blocks(sum, only);
}

/* The sums of x - first and of its square. */
INLINE void row_moments(int64_t c, const real *x, vec first, real *sum, real *squares,
                        const bool only)
{
    v_total sums = {0}, square_sums = {0};
    V_BLOCKS(from, to, c)
    {
        vec s = ZERO, q = ZERO;
        V_SPAN(i, m, from, to)
        {
            vec v = centred(x + i, first, m);
            s += v;
            q = v_fma(v, v, q);
        }
        sums = add_block(sums, s, only);
        square_sums = add_block(square_sums, q, only);
    }
    *sum = sum_blocks(sums, only);
    *squares = sum_blocks(square_sums, only);
}

INLINE void layernorm_fwd_rows(int64_t rows, int64_t c, real eps, real *y, real *mean, real *rstd,
                               const real *x, const real *w, const real *b, const bool only)
{
    for (int64_t r = 0; r < rows; r++, x += c, y += c) {
        const vec first = v_set1(row_sum(c, x, only) / (real)c);
        real sum, squares;
        row_moments(c, x, first, &sum, &squares, only);
        /* What rounding took from the mean is seen in the second pass: a row of equal elements is
        ** exactly 0 off its mean, however large they are. */
        const real off = sum / (real)c;
        const real var = squares / (real)c - off * off;
        const vec mid = v_set1(first[0] + off);
        const vec scale = v_set1(rsqrt_of((var < 0 ? 0 : var) + eps));
        if (rstd != NULL) rstd[r] = scale[0];
        if (mean != NULL) mean[r] = mid[0];
        V_EACH(i, m, c) {
            vec v = centred(x + i, mid, m) * scale * load(w + i, m, REAL(0.0));
            store(y + i, b != NULL ? v + load(b + i, m, REAL(0.0)) : v, m);
        }
    }
}

void K(layernorm_fwd)(int64_t rows, int64_t c, real eps, real *y, real *mean, real *rstd,
                      const real *x, const real *w, const real *b)
{
    if (one_block(c)) layernorm_fwd_rows(rows, c, eps, y, mean, rstd, x, w, b, true);
    else layernorm_fwd_rows(rows, c, eps, y, mean, rstd, x, w, b, false);
}

INLINE void layernorm_bwd_rows(int64_t rows, int64_t c, real *dx, bool acc, real *dw, real *db,
                               const real *dy, const real *x, const real *w, const real *mean,
                               const real *rstd, const bool only)
{
    for (int64_t r = 0; r < rows; r++, x += c, dy += c) {
        const vec mid = v_set1(mean[r]), scale = v_set1(rstd[r]);
        v_total sum = {0}, products = {0};
        V_BLOCKS(from, to, c)
        {
            vec s = ZERO, q = ZERO;
            V_SPAN(i, m, from, to)
            {
                vec h = centred(x + i, mid, m) * scale, d = load(dy + i, m, REAL(0.0));
                if (dw != NULL) put(dw + i, true, d * h, m);
                if (db != NULL) put(db + i, true, d, m);
                vec g = d * load(w + i, m, REAL(0.0));
                s += g;
                q = v_fma(g, h, q);
            }
            sum = add_block(sum, s, only);
            products = add_block(products, q, only);
        }
        if (dx == NULL) continue;
        const vec mean_g = v_set1(sum_blocks(sum, only) / (real)c);
        const vec mean_gh = v_set1(sum_blocks(products, only) / (real)c);
        V_EACH(i, m, c) {
            vec h = centred(x + i, mid, m) * scale;
            vec g = load(dy + i, m, REAL(0.0)) * load(w + i, m, REAL(0.0));
            put(dx + i, acc, scale * (g - mean_g - h * mean_gh), m);
        }
        dx += c;
    }
}

void K(layernorm_bwd)(int64_t rows, int64_t c, real *dx, bool acc, real *dw, real *db,
                      const real *dy, const real *x, const real *w, const real *mean,
                      const real *rstd)
{
    if (one_block(c)) layernorm_bwd_rows(rows, c, dx, acc, dw, db, dy, x, w, mean, rstd, true);
    else layernorm_bwd_rows(rows, c, dx, acc, dw, db, dy, x, w, mean, rstd, false);
}

/* ---- softmax ---- */
/* A NaN may be passed over here; it comes back through the sum of exponentials. */
INLINE vec row_largest(int64_t c, const real *x)
{
    vec best = v_set1(-(real)INFINITY);
    V_EACH(i, m, c) best = v_max(load(x + i, m, -(real)INFINITY), best);
    return v_set1(v_fold_max(best));
}

/* The sum of e^(x - top), whose terms go to y unless that is NULL. Whole blocks have a loop of
** their own, without a look at what a vector holds. */
INLINE real sum_of_exp(int64_t c, const real *x, vec top, real *y)
{
    v_total sum = {0};
    int64_t at = 0;
    for (; c - at >= V_BLOCK * VL; at += V_BLOCK * VL) {
        vec s = ZERO;
        for (int64_t i = at; i < at + V_BLOCK * VL; i += VL) {
            vec e = v_exp_normal(v_load(x + i) - top);
            s += e;
            if (y != NULL) v_store(y + i, e);
        }
        sum = add_block(sum, s, one_block(c));
    }
    if (at < c) {
        vec s = ZERO;
        V_SPAN(i, m, at, c)
        {
            vec e = v_exp_normal(load(x + i, m, -(real)INFINITY) - top);
            s += e;
            if (y != NULL) store(y + i, e, m);
        }
        sum = add_block(sum, s, one_block(c));
    }
    return sum_blocks(sum, one_block(c));
}

void K(softmax_fwd)(int64_t rows, int64_t c, real *y, const real *x)
{
    for (int64_t r = 0; r < rows; r++, x += c, y += c) {
        const vec sum = v_set1(sum_of_exp(c, x, row_largest(c, x), y));
        V_EACH(i, m, c) store(y + i, load(y + i, m, REAL(0.0)) / sum, m);
    }
}

/* The sum of a_i b_i; blocks as in sum_of_exp. */
INLINE real dot_of(int64_t c, const real *a, const real *b)
{
    v_total sum = {0};
    int64_t at = 0;
    for (; c - at >= V_BLOCK * VL; at += V_BLOCK * VL) {
        vec s = ZERO;
        for (int64_t i = at; i < at + V_BLOCK * VL; i += VL)
            s = v_fma(v_load(a + i), v_load(b + i), s);
        sum = add_block(sum, s, one_block(c));
    }
    if (at < c) {
        vec s = ZERO;
        V_SPAN(i, m, at, c)
        s = v_fma(load(a + i, m, REAL(0.0)), load(b + i, m, REAL(0.0)), s);
        sum = add_block(sum, s, one_block(c));
    }
    return sum_blocks(sum, one_block(c));
}

void K(softmax_bwd)(int64_t rows, int64_t c, real *dx, bool acc, const real *dy, const real *y)
{
    for (int64_t r = 0; r < rows; r++, dx += c, dy += c, y += c) {
        const vec dot = v_set1(dot_of(c, dy, y));
        V_EACH(i, m, c)
            put(dx + i, acc, load(y + i, m, REAL(0.0)) * (load(dy + i, m, REAL(0.0)) - dot), m);
    }
}

void K(log_softmax_fwd)(int64_t rows, int64_t c, real *y, const real *x)
{
    for (int64_t r = 0; r < rows; r++, x += c, y += c) {
        const vec top = row_largest(c, x);
        const vec log_sum = v_log(v_set1(sum_of_exp(c, x, top, NULL)));
        V_EACH(i, m, c) store(y + i, load(x + i, m, REAL(0.0)) - top - log_sum, m);
    }
}

void K(log_softmax_bwd)(int64_t rows, int64_t c, real *dx, bool acc, const real *dy, const real *y)
{
    for (int64_t r = 0; r < rows; r++, dx += c, dy += c, y += c) {
        const vec sum = v_set1(row_sum(c, dy, one_block(c)));
        V_EACH(i, m, c)
            put(dx + i, acc,
                load(dy + i, m, REAL(0.0)) - v_exp_normal(load(y + i, m, REAL(0.0))) * sum, m);
    }
}
