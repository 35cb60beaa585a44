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
    return v_set1(REAL(1.0))[0] / v_sqrt(v_set1(x))[0];
}

/* ---- RMSNorm ---- */
void K(rmsnorm_fwd)(int64_t rows, int64_t c, real eps, real *y, real *rstd, const real *x,
                    const real *w)
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
            squares = v_total_add(squares, s);
        }
        const real scale = rsqrt_of(v_total_sum(squares) / (real)c + eps);
        if (rstd != NULL) rstd[r] = scale;
        V_EACH(i, m, c)
            store(y + i, load(x + i, m, REAL(0.0)) * v_set1(scale) * load(w + i, m, REAL(0.0)), m);
    }
}

void K(rmsnorm_bwd)(int64_t rows, int64_t c, real *dx, bool acc, real *dw, const real *dy,
                    const real *x, const real *w, const real *rstd)
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
            products = v_total_add(products, s);
        }
        if (dx == NULL) continue;
        const vec gh = v_set1(v_total_sum(products) / (real)c);
        V_EACH(i, m, c) {
            vec h = load(x + i, m, REAL(0.0)) * scale;
            vec g = load(dy + i, m, REAL(0.0)) * load(w + i, m, REAL(0.0));
            put(dx + i, acc, scale * (g - h * gh), m);
        }
        dx += c;
    }
}

/* ---- LayerNorm ---- */
INLINE vec centred(const real *x, vec mean, int64_t m)
{
    /* the padding must not enter the variance: it becomes mean - mean */
    return load(x, m, mean[0]) - mean;
}

/* The sum of a row. */
INLINE real row_sum(int64_t c, const real *x)
{
    v_total sum = {0};
    V_BLOCKS(from, to, c)
    {
        vec s = ZERO;
        V_SPAN(i, m, from, to) s += load(x + i, m, REAL(0.0));
        sum = v_total_add(sum, s);
    }
    return v_total_sum(sum);
}

void K(layernorm_fwd)(int64_t rows, int64_t c, real eps, real *y, real *mean, real *rstd,
                      const real *x, const real *w, const real *b)
{
    for (int64_t r = 0; r < rows; r++, x += c, y += c) {
        const vec first = v_set1(row_sum(c, x) / (real)c);
        v_total sum = {0}, squares = {0};
        V_BLOCKS(from, to, c)
        {
            vec s = ZERO, q = ZERO;
            V_SPAN(i, m, from, to)
            {
                vec v = centred(x + i, first, m);
                s += v;
                q = v_fma(v, v, q);
            }
            sum = v_total_add(sum, s);
            squares = v_total_add(squares, q);
        }
        /* What rounding took from the mean is seen in the second pass: a row of equal elements is
        ** exactly 0 off its mean, however large they are. */
        const real off = v_total_sum(sum) / (real)c;
        const real var = v_total_sum(squares) / (real)c - off * off;
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

void K(layernorm_bwd)(int64_t rows, int64_t c, real *dx, bool acc, real *dw, real *db,
                      const real *dy, const real *x, const real *w, const real *mean,
                      const real *rstd)
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
            sum = v_total_add(sum, s);
            products = v_total_add(products, q);
        }
        if (dx == NULL) continue;
        const vec mean_g = v_set1(v_total_sum(sum) / (real)c);
        const vec mean_gh = v_set1(v_total_sum(products) / (real)c);
        V_EACH(i, m, c) {
            vec h = centred(x + i, mid, m) * scale;
            vec g = load(dy + i, m, REAL(0.0)) * load(w + i, m, REAL(0.0));
            put(dx + i, acc, scale * (g - mean_g - h * mean_gh), m);
        }
        dx += c;
    }
}

/* ---- softmax ---- */
/* A NaN may be passed over here; it comes back through the sum of exponentials. */
INLINE vec row_largest(int64_t c, const real *x)
{
    vec best = v_set1(-(real)INFINITY);
    V_EACH(i, m, c) best = v_max(load(x + i, m, -(real)INFINITY), best);
    return v_set1(v_fold_max(best));
}

/* The sum of e^(x - top), whose terms go to y unless that is NULL. */
INLINE real sum_of_exp(int64_t c, const real *x, vec top, real *y)
{
    v_total sum = {0};
    V_BLOCKS(from, to, c)
    {
        vec s = ZERO;
        V_SPAN(i, m, from, to)
        {
            vec e = v_exp_normal(load(x + i, m, -(real)INFINITY) - top);
            s += e;
            if (y != NULL) store(y + i, e, m);
        }
        sum = v_total_add(sum, s);
    }
    return v_total_sum(sum);
}

void K(softmax_fwd)(int64_t rows, int64_t c, real *y, const real *x)
{
    for (int64_t r = 0; r < rows; r++, x += c, y += c) {
        const vec sum = v_set1(sum_of_exp(c, x, row_largest(c, x), y));
        V_EACH(i, m, c) store(y + i, load(y + i, m, REAL(0.0)) / sum, m);
    }
}

void K(softmax_bwd)(int64_t rows, int64_t c, real *dx, bool acc, const real *dy, const real *y)
{
    for (int64_t r = 0; r < rows; r++, dx += c, dy += c, y += c) {
        v_total products = {0};
        V_BLOCKS(from, to, c)
        {
            vec s = ZERO;
            V_SPAN(i, m, from, to)
            s = v_fma(load(dy + i, m, REAL(0.0)), load(y + i, m, REAL(0.0)), s);
            products = v_total_add(products, s);
        }
        const vec dot = v_set1(v_total_sum(products));
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
        const vec sum = v_set1(row_sum(c, dy));
        V_EACH(i, m, c)
            put(dx + i, acc,
                load(dy + i, m, REAL(0.0)) - v_exp_normal(load(y + i, m, REAL(0.0))) * sum, m);
    }
}
