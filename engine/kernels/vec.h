/*
** vec.h - one vector type, as wide as a register of the variant: VL elements.
**
** Written with the compilers' vector extensions, so the same text becomes AVX-512 (16 floats), AVX2
** (8) or plain SSE (4; 2 doubles). Wider types than the register are taken apart by way of the
** stack, at 5 to 8 times the cost. A partial vector at the end of a row goes through the very same
** arithmetic as a full one (load_n pads, store_n cuts), and sums are folded in one fixed tree: an
** element's result never depends on where in a row or a call it stands. That is what makes results
** batch-invariant; scalar tails are forbidden in kernels for that reason.
*/
#ifndef PL_VEC_H
#define PL_VEC_H

#include "variant.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define VEC_BYTES 64
#elif defined(__AVX2__)
#define VEC_BYTES 32
#else
#define VEC_BYTES 16
#endif

#ifdef PL_F64_BUILD
#define VL (VEC_BYTES / 8)
typedef int64_t ireal;
#else
#define VL (VEC_BYTES / 4)
typedef int32_t ireal;
#endif
typedef real vec __attribute__((vector_size(VEC_BYTES)));
typedef ireal ivec __attribute__((vector_size(VEC_BYTES)));

static inline vec v_load(const real *p)
{
    vec r;
    memcpy(&r, p, sizeof r);
    return r;
}

static inline void v_store(real *p, vec v)
{
    memcpy(p, &v, sizeof v);
}

static inline vec v_set1(real x)
{
    return x - (vec){0}; /* -0 and NaN survive: x - 0 = x */
}

/* The first n elements (0 <= n <= VL), `pad` in the other places. */
static inline vec v_load_n(const real *p, int64_t n, real pad)
{
#if defined(__AVX512F__) && !defined(PL_F64_BUILD)
    return (vec)_mm512_mask_loadu_ps((__m512)v_set1(pad), (__mmask16)((1u << n) - 1), p);
#else
    vec r = v_set1(pad);
    memcpy(&r, p, (size_t)n * sizeof(real));
    return r;
#endif
}

static inline void v_store_n(real *p, vec v, int64_t n)
{
#if defined(__AVX512F__) && !defined(PL_F64_BUILD)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
#else
    memcpy(p, &v, (size_t)n * sizeof(real));
#endif
}

/* a * b + c, rounded once where the machine has FMA. */
static inline vec v_fma(vec a, vec b, vec c)
{
#if defined(PL_F64_BUILD)
    return a * b + c;
#elif defined(__AVX512F__)
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__) && defined(__FMA__)
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

static inline vec v_select(ivec mask, vec a, vec b) /* mask ? a : b; mask of all ones or zeros */
{
    return (vec)((mask & (ivec)a) | (~mask & (ivec)b));
}

/* NaN in either argument gives the second, as the SSE instruction does. */
#if defined(__AVX512F__) && !defined(PL_F64_BUILD)
static inline vec v_max(vec a, vec b)
{
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
}
static inline vec v_min(vec a, vec b)
{
    return (vec)_mm512_min_ps((__m512)a, (__m512)b);
}
#elif defined(__AVX2__) && !defined(PL_F64_BUILD)
static inline vec v_max(vec a, vec b)
{
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
}
static inline vec v_min(vec a, vec b)
{
    return (vec)_mm256_min_ps((__m256)a, (__m256)b);
}
#elif defined(__SSE2__) && !defined(PL_F64_BUILD)
static inline vec v_max(vec a, vec b)
{
    return (vec)_mm_max_ps((__m128)a, (__m128)b);
}
static inline vec v_min(vec a, vec b)
{
    return (vec)_mm_min_ps((__m128)a, (__m128)b);
}
#else
static inline vec v_max(vec a, vec b)
{
    return v_select(a > b, a, b);
}
static inline vec v_min(vec a, vec b)
{
    return v_select(a < b, a, b);
}
#endif

static inline vec v_sqrt(vec a)
{
    vec r = a;
    for (int i = 0; i < VL; i++)
#ifdef PL_F64_BUILD
        r[i] = sqrt(a[i]);
#else
        r[i] = sqrtf(a[i]);
#endif
    return r;
}

/* Folds halves onto each other: (0 + VL/2) (1 + VL/2+1) ... until one number is left. */
#if defined(__SSE2__) && !defined(PL_F64_BUILD)
#define V_FOLD(name, op)                                                 \
    static inline real name(vec v)                                       \
    {                                                                    \
        V_FOLD_TO_128(op)                                                \
        q = _mm_##op##_ps(q, _mm_movehl_ps(q, q));                       \
        return _mm_cvtss_f32(_mm_##op##_ss(q, _mm_shuffle_ps(q, q, 1))); \
    }
#if defined(__AVX512F__)
#define V_FOLD_TO_128(op)                                                                          \
    const __m256 h =                                                                               \
        _mm256_##op##_ps(_mm512_castps512_ps256((__m512)v), _mm512_extractf32x8_ps((__m512)v, 1)); \
    __m128 q = _mm_##op##_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
#elif defined(__AVX2__)
#define V_FOLD_TO_128(op) \
    __m128 q =            \
        _mm_##op##_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
#else
#define V_FOLD_TO_128(op) __m128 q = (__m128)v;
#endif
V_FOLD(v_sum, add)
V_FOLD(v_fold_max, max)
#undef V_FOLD
#undef V_FOLD_TO_128
#else
static inline real v_sum(vec v)
{
    real t[VL];
    v_store(t, v);
    for (int w = VL / 2; w > 0; w /= 2)
        for (int i = 0; i < w; i++) t[i] += t[i + w];
    return t[0];
}

static inline real v_fold_max(vec v)
{
    real t[VL];
    v_store(t, v);
    for (int w = VL / 2; w > 0; w /= 2)
        for (int i = 0; i < w; i++) t[i] = t[i] > t[i + w] ? t[i] : t[i + w];
    return t[0];
}
#endif

/* Walks elements from .. to-1 in vectors: `i` is the position, `m` how many are valid in it. */
#define V_SPAN(i, m, from, to) \
    for (int64_t i = (from), m; m = (to)-i < VL ? (to)-i : VL, i < (to); i += VL)
#define V_EACH(i, m, n) V_SPAN(i, m, 0, n)

/* ---- Sums of long rows ----
** The terms of a block of V_BLOCK vectors are added up as they come; the sums of blocks enter a
** total that keeps what rounding took from it (Knuth's two-sum). So the error is that of one block,
** however long the row, and the sum of a single block has the bits of the plain sum. */
#define V_BLOCK 32
#define V_BLOCKS(from, to, n)  \
    for (int64_t from = 0, to; \
         to = (n)-from < V_BLOCK * VL ? (n) : from + V_BLOCK * VL, from < (n); from = to)

typedef struct {
    vec sum, lost;
} v_total;

static inline v_total v_total_add(v_total t, vec x)
{
    const vec sum = t.sum + x, part = sum - t.sum;
    return (v_total){sum, t.lost + ((t.sum - (sum - part)) + (x - part))};
}

/* What was lost is not a number where the sum is infinite. */
static inline real v_total_sum(v_total t)
{
    return v_sum(v_select(t.sum - t.sum == v_set1(0), t.sum + t.lost, t.sum));
}

#endif
