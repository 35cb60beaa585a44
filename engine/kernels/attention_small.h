/*
** attention_small.h - attention of heads of up to 8 channels on AVX-512: 16 rows in the lanes and
** all channels of queries, and of what is summed for them, in registers.
**
** The order of sums is that of attention_tile.h, to the bit. Keys and values are rows of SMALL_DIM
** numbers, zeros beyond the head's channels, which change no sum. The gradients of a key and of its
** value share a vector, as do the rows they are summed of: dv[0], dk[0], dv[1], dk[1], ...
*/
#ifndef PL_ATTENTION_SMALL_H
#define PL_ATTENTION_SMALL_H

#include "attention_tile.h"

#define SMALL_DIM 8
#define SMALL_KEYS 8 /* keys that go through the loops together */

#if defined(__AVX512F__) && !defined(PL_F64_BUILD)
#define ATT_SMALL 1

static inline bool att_is_small(const att_shape *a)
{
    return a->D <= SMALL_DIM && a->softcap == 0 && !a->bf16;
}

/* n rows of D numbers, a step apart, as rows of SMALL_DIM, and rows of zeros up to a multiple of
** SMALL_KEYS. */
static inline void small_gather(real *to, const real *x, int64_t step, int64_t n, int64_t D)
{
    const __mmask8 channels = (__mmask8)((1u << D) - 1);
    int64_t j = 0;
    for (; j < n; j++, x += step, to += SMALL_DIM)
        _mm256_storeu_ps(to, _mm256_maskz_loadu_ps(channels, x));
    for (; j % SMALL_KEYS != 0; j++, to += SMALL_DIM) _mm256_storeu_ps(to, _mm256_setzero_ps());
}

/* t[r] = f times the rows r and r + 8 of a unit, side by side; those before lo and from hi on
** are 0. The row lo is at x. */
ATT_INLINE void small_rows(vec t[SMALL_DIM], const real *x, int64_t step, int64_t lo, int64_t hi,
                           int64_t D, real f)
{
    const __mmask8 channels = (__mmask8)((1u << D) - 1);
    x -= lo * step;
    for (int r = 0; r < SMALL_DIM; r++) {
        const __mmask8 low = r >= lo && r < hi ? channels : 0;
        const __mmask8 high = r + SMALL_DIM >= lo && r + SMALL_DIM < hi ? channels : 0;
        const __m256 a = _mm256_maskz_loadu_ps(low, x + r * step);
        const __m256 b = _mm256_maskz_loadu_ps(high, x + (r + SMALL_DIM) * step);
        t[r] = (vec)_mm512_insertf32x8(_mm512_castps256_ps512(a), b, 1) * v_set1(f);
    }
}

/* Rows side by side become channels with rows in the lanes, and the other way round. */
ATT_INLINE void small_transpose(vec t[SMALL_DIM]){
    ATT_ROUND(t, SMALL_DIM, 4) ATT_ROUND(t, SMALL_DIM, 2) ATT_ROUND(t, SMALL_DIM, 1)}

/* y[(r - lo)*step + d] = f lane r of t[d] for the rows lo <= r < hi. */
ATT_INLINE void small_put(real *y, vec t[SMALL_DIM], int64_t step, int64_t lo, int64_t hi,
                          int64_t D, real f)
{
    const __mmask8 channels = (__mmask8)((1u << D) - 1);
    small_transpose(t);
    y -= lo * step;
    for (int r = 0; r < SMALL_DIM; r++) {
        const __m512 x = (__m512)(t[r] * v_set1(f));
        if (r >= lo && r < hi)
            _mm256_mask_storeu_ps(y + r * step, channels, _mm512_castps512_ps256(x));
        if (r + SMALL_DIM >= lo && r + SMALL_DIM < hi)
            _mm256_mask_storeu_ps(y + (r + SMALL_DIM) * step, channels,
                                  _mm512_extractf32x8_ps(x, 1));
    }
}

/* Whether some row of the unit at `first` does not see all n keys from k0 on. */
ATT_INLINE bool small_edge(int64_t first, int64_t k0, int64_t n, int64_t window)
{
    return k0 + n - 1 > first || k0 < first + VL - window;
}

ATT_INLINE att_mask small_mask(int64_t first, int64_t key, int64_t window)
{
    return att_sees(first, key) & att_reaches(first, key, window);
}

/* s[j] = sum_d a[d] x[j, d] for SMALL_KEYS keys, a chain from 0 each. */
ATT_INLINE void small_dots(vec *s, const vec a[SMALL_DIM], const real *x, int64_t key_step,
                           int64_t dim_step)
{
    for (int j = 0; j < SMALL_KEYS; j++) s[j] = v_set1(REAL(0.0));
    for (int d = 0; d < SMALL_DIM; d++)
        for (int j = 0; j < SMALL_KEYS; j++)
            s[j] = v_fma(a[d], v_set1(x[j * key_step + d * dim_step]), s[j]);
}

/* v_exp_normal of four, step by step: one alone waits for itself. */
ATT_INLINE void small_exp(vec x[4])
{
    static const float c[] = V_EXP_TERMS;
    const vec least = v_set1(-87.0f), round = v_set1(V_EXP_ROUND);
    __mmask16 normal[4];
    vec n[4], y[4];
    for (int i = 0; i < 4; i++)
        normal[i] = _mm512_cmp_ps_mask((__m512)x[i], (__m512)least, _CMP_NLT_UQ);
    for (int i = 0; i < 4; i++) x[i] = v_max(least, x[i]);
    for (int i = 0; i < 4; i++) n[i] = v_fma(x[i], v_set1(V_LOG2_E), round);
    for (int i = 0; i < 4; i++) n[i] -= round;
    for (int i = 0; i < 4; i++) x[i] = v_fma(n[i], v_set1(-V_LN2_HI), x[i]);
    for (int i = 0; i < 4; i++) x[i] = v_fma(n[i], v_set1(-V_LN2_LO), x[i]);
    for (int i = 0; i < 4; i++) y[i] = v_set1(c[6]);
    for (int t = 5; t >= 0; t--)
        for (int i = 0; i < 4; i++) y[i] = v_fma(y[i], x[i], v_set1(c[t]));
    for (int i = 0; i < 4; i++)
        x[i] = (vec)_mm512_maskz_scalef_ps(normal[i], (__m512)y[i], (__m512)n[i]);
}

/* ---- Forward ---- */

/* c[d] = sum_j p[j] v[j, d] over a run of n keys from `key` on, a chain from 0. */
ATT_INLINE void small_run(vec c[SMALL_DIM], const vec *p, const real *v, int64_t n, int64_t first,
                          int64_t key, int64_t window)
{
    for (int d = 0; d < SMALL_DIM; d++) c[d] = v_set1(REAL(0.0));
    if (!small_edge(first, key, VL, window)) {
        for (int64_t j = 0; j < n; j++)
            for (int d = 0; d < SMALL_DIM; d++)
                c[d] = v_fma(p[j], v_set1(v[j * SMALL_DIM + d]), c[d]);
        return;
    }
    for (int64_t j = 0; j < n; j++) {
        const att_mask sees = small_mask(first, key + j, window);
        for (int d = 0; d < SMALL_DIM; d++)
            c[d] = att_fma_where(sees, p[j], v_set1(v[j * SMALL_DIM + d]), c[d]);
    }
}

/* c[d] = the sum of two runs' chains. */
ATT_INLINE void small_two_runs(vec c[SMALL_DIM], const vec *p, const real *v, int64_t n,
                               int64_t first, int64_t key, int64_t window)
{
    vec even[SMALL_DIM], odd[SMALL_DIM];
    if (n < 2 * VL || small_edge(first, key, 2 * VL, window)) {
        small_run(even, p, v, max64(0, min64(VL, n)), first, key, window);
        small_run(odd, p + VL, v + VL * SMALL_DIM, min64(VL, n - VL), first, key + VL, window);
    } else {
        for (int d = 0; d < SMALL_DIM; d++) even[d] = odd[d] = v_set1(REAL(0.0));
        for (int64_t j = 0; j < VL; j++)
            for (int d = 0; d < SMALL_DIM; d++) {
                even[d] = v_fma(p[j], v_set1(v[j * SMALL_DIM + d]), even[d]);
                odd[d] = v_fma(p[j + VL], v_set1(v[(j + VL) * SMALL_DIM + d]), odd[d]);
            }
    }
    for (int d = 0; d < SMALL_DIM; d++) c[d] = even[d] + odd[d];
}

/* Scores of n keys of a tile, rounded up to whole blocks, and with them the greatest so far. */
ATT_INLINE vec small_scores(vec *s, vec max, const vec q[SMALL_DIM], const real *k, int64_t n,
                            int64_t first, int64_t k0, int64_t window, const int64_t key_step,
                            const int64_t dim_step)
{
    vec top[4] = {max, max, max, max};
    for (int64_t j = 0; j < n; j += SMALL_KEYS) {
        vec x[SMALL_KEYS];
        small_dots(x, q, k + j * key_step, key_step, dim_step);
        if (small_edge(first, k0 + j, SMALL_KEYS, window))
            for (int i = 0; i < SMALL_KEYS; i++)
                x[i] = att_where(small_mask(first, k0 + j + i, window), x[i], v_set1(-INFINITY));
        for (int i = 0; i < SMALL_KEYS; i++) top[i % 4] = v_max(x[i], top[i % 4]);
        for (int i = 0; i < SMALL_KEYS; i++) s[j + i] = x[i];
    }
    return v_max(v_max(top[0], top[1]), v_max(top[2], top[3]));
}

/* s[j] = exp(s[j] - base) for n keys of a tile, rounded up to whole blocks; 0 beyond. */
ATT_INLINE void small_exps(vec *s, vec base, int64_t n)
{
    int64_t j = 0;
    for (; j < n; j += SMALL_KEYS) {
        for (int i = 0; i < SMALL_KEYS; i++) s[j + i] -= base;
        small_exp(s + j);
        small_exp(s + j + SMALL_KEYS / 2);
    }
    for (; j < ATT_TILE; j++) s[j] = v_set1(REAL(0.0));
}

/* ---- Backward ---- */

/* Rows of one head from `first` on, at most VL. */
typedef struct {
    vec q[SMALL_DIM], dy[SMALL_DIM], dq[SMALL_DIM]; /* rows in the lanes; q scaled */
    vec rows[VL];                                   /* dy and q of each, interleaved */
    vec lse, delta;
    int64_t first, window;
} small_unit;

#define SMALL_LOW(i) ((i) / 2 + (i) % 2 * VL)
#define SMALL_HIGH(i) (SMALL_DIM + SMALL_LOW(i))
#define SMALL_LIST(f)                                                                              \
    f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), f(12), f(13), f(14), \
        f(15)

/* q and dy as rows become what the loops want; y is theirs to use up. */
ATT_INLINE void small_begin(small_unit *u, vec y[SMALL_DIM])
{
    for (int r = 0; r < SMALL_DIM; r++) {
        u->rows[r] = __builtin_shufflevector(u->dy[r], u->q[r], SMALL_LIST(SMALL_LOW));
        u->rows[r + SMALL_DIM] = __builtin_shufflevector(u->dy[r], u->q[r], SMALL_LIST(SMALL_HIGH));
    }
    small_transpose(u->q);
    small_transpose(u->dy);
    small_transpose(y);
    u->lse = u->delta = v_set1(REAL(0.0));
    for (int d = 0; d < SMALL_DIM; d++) {
        u->delta = v_fma(u->dy[d], y[d], u->delta);
        u->dq[d] = v_set1(REAL(0.0));
    }
}

/* The keys k0..k0 + SMALL_KEYS - 1: weights p and ds, those of a row side by side; adds to dq. */
ATT_INLINE void small_weights(vec *pairs, small_unit *u, const real *k, const real *v, int64_t k0,
                              const bool edge)
{
    vec p[SMALL_KEYS], ds[SMALL_KEYS];
    small_dots(p, u->q, k, SMALL_DIM, 1);
    if (edge)
        for (int j = 0; j < SMALL_KEYS; j++)
            p[j] = att_where(small_mask(u->first, k0 + j, u->window), p[j], v_set1(-INFINITY));
    for (int j = 0; j < SMALL_KEYS; j++) p[j] -= u->lse;
    small_exp(p);
    small_exp(p + SMALL_KEYS / 2);
    small_dots(ds, u->dy, v, SMALL_DIM, 1);
    for (int j = 0; j < SMALL_KEYS; j++) ds[j] = p[j] * (ds[j] - u->delta);
    for (int j = 0; j < SMALL_KEYS; j++) {
        pairs[2 * j] = __builtin_shufflevector(p[j], ds[j], SMALL_LIST(SMALL_LOW));
        pairs[2 * j + 1] = __builtin_shufflevector(p[j], ds[j], SMALL_LIST(SMALL_HIGH));
    }
    __asm__("" : "+r"(k)); /* else 64 broadcast numbers would be kept from above, on the stack */
    for (int j = 0; j < SMALL_KEYS; j++)
        for (int d = 0; d < SMALL_DIM; d++)
            u->dq[d] = v_fma(ds[j], v_set1(k[j * SMALL_DIM + d]), u->dq[d]);
}

/* sums[j] += sum_r pairs[j, r] rows[r]: the gradients of values and keys. */
ATT_INLINE void small_outer(vec *sums, const vec *pairs, const vec rows[VL])
{
    vec acc[SMALL_KEYS];
    const real *x = (const real *)pairs;
    for (int j = 0; j < SMALL_KEYS; j++) acc[j] = sums[j];
    for (int r = 0; r < VL; r++)
        for (int j = 0; j < SMALL_KEYS; j++) {
            double both;
            memcpy(&both, x + (j * VL + r) * 2, sizeof both);
            acc[j] = v_fma((vec)_mm512_set1_pd(both), rows[r], acc[j]);
        }
    for (int j = 0; j < SMALL_KEYS; j++) sums[j] = acc[j];
}

/* The keys from that of row first's window to `end` - 1; sums has a vector for each key. */
static inline void small_unit_keys(small_unit *u, vec *sums, const real *k, const real *v,
                                   int64_t end)
{
    vec pairs[2 * SMALL_KEYS];
    small_unit here = *u;
    for (int64_t k0 = att_first_tile(u->first, u->window); k0 < end; k0 += SMALL_KEYS) {
        const real *kt = k + k0 * SMALL_DIM, *vt = v + k0 * SMALL_DIM;
        if (small_edge(u->first, k0, SMALL_KEYS, u->window))
            small_weights(pairs, &here, kt, vt, k0, true);
        else small_weights(pairs, &here, kt, vt, k0, false);
        small_outer(sums + k0, pairs, here.rows);
    }
    for (int d = 0; d < SMALL_DIM; d++) u->dq[d] = here.dq[d];
}

/* The sums of n keys go to their rows of dk and dv, a step apart. */
static inline void small_scatter(real *dk, real *dv, const vec *sums, int64_t step, int64_t n,
                                 int64_t D)
{
    const __mmask8 channels = (__mmask8)((1u << D) - 1);
    for (int64_t j = 0; j < n; j++, dk += step, dv += step) {
        const __m512 x = (__m512)__builtin_shufflevector(sums[j], sums[j], 0, 2, 4, 6, 8, 10, 12,
                                                         14, 1, 3, 5, 7, 9, 11, 13, 15);
        _mm256_mask_storeu_ps(dv, channels, _mm512_castps512_ps256(x));
        _mm256_mask_storeu_ps(dk, channels, _mm512_extractf32x8_ps(x, 1));
    }
}

#else
#define ATT_SMALL 0

static inline bool att_is_small(const att_shape *a)
{
    (void)a;
    return false;
}

/* Never called, nor is the next. */
static inline void small_gather(real *to, const real *x, int64_t step, int64_t n, int64_t D)
{
    (void)to, (void)x, (void)step, (void)n, (void)D;
}
static inline void small_scatter(real *dk, real *dv, const vec *sums, int64_t step, int64_t n,
                                 int64_t D)
{
    (void)dk, (void)dv, (void)sums, (void)step, (void)n, (void)D;
}
#endif
#endif
