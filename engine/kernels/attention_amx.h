/*
** attention_amx.h - scores and mix of values by the processor's tiles (AMX): 16 x 16 sums of 32
** products by one instruction, whose order is that of attention.h for bf16.
**
** Rows stay in the lanes. A step is 32 elements of a product:
**   scores  keys [16 rows of 32 channels] times queries [16 pairs of channels, 16 rows, 2]
**   mix     values [16 channels of 32 keys] times weights [16 pairs of keys, 16 rows, 2]
** so a tile of sums has keys or channels one under the other, each a vector of rows. Keys that a
** row does not see weigh 0 here where other ways leave them out, so values must be finite; who
** packs them looks. The gradients of keys and values are products over rows instead: weights
** [16 keys of 32 rows] times rows [16 pairs of rows, 16 channels, 2].
*/
#ifndef PL_ATTENTION_AMX_H
#define PL_ATTENTION_AMX_H

#include "attention_narrow.h"

#include "amx.h"
#include "base/cpu.h"

#if ATT_AMX
typedef struct amx {
    uint16_t *q;     /* [unit, step, 16 pairs, 16 rows, 2] */
    uint16_t *k;     /* [key, steps * 32] */
    uint16_t *v;     /* [key / 32, block, 16 channels, 32 keys] */
    int64_t D, from; /* from: the first key */
} amx;

static inline bool amx_usable(void)
{
    const pl_bf16_rule rule = pl__bf16_rule();
    return rule.kind == PL_BF16_TILES && rule.native;
}

/* Two numbers in each word, `low` in the lower half. */
ATT_INLINE vec amx_words(vec low, vec high)
{
    return (vec)((uvec)att_round(low) >> 16 | (uvec)att_round(high));
}

static inline amx amx_at(vec *work, int64_t n, int64_t D, int64_t from)
{
    uint16_t *q = (uint16_t *)work, *k = q + 2 * amx_steps(D) * AMX_TILE;
    return (amx){q, k, k + amx_keys(n) * amx_steps(D) * AMX_STEP, D, from};
}

/* Keys as they are, rounded; zeros beyond D and n. */
static inline void amx_pack_keys(const amx *t, const real *k, int64_t step, int64_t n)
{
    const int64_t width = amx_steps(t->D) * AMX_STEP;
    for (int64_t j = 0; j < amx_keys(n); j++)
        for (int64_t d = 0; d < width; d += AMX_SIDE) {
            const int64_t m = j < n ? max64(0, min64(VL, t->D - d)) : 0;
            const vec x = m > 0 ? v_load_n(k + j * step + d, m, 0.0f) : v_set1(0.0f);
            _mm256_storeu_si256(
                (__m256i *)(t->k + j * width + d),
                _mm512_cvtepi32_epi16(_mm512_srli_epi32((__m512i)att_round(x), 16)));
        }
}

/* Values with the keys of a step one after the other. Whether all are finite. */
static inline bool amx_pack_values(const amx *t, const real *v, int64_t step, int64_t n)
{
    const int64_t blocks = amx_blocks(t->D);
    vec nothing = v_set1(0.0f);
    for (int64_t k0 = 0; k0 < amx_keys(n); k0 += AMX_STEP)
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t m = min64(AMX_SIDE, t->D - b * AMX_SIDE);
            vec words[VL];
            for (int i = 0; i < VL; i++) {
                vec pair[2];
                for (int odd = 0; odd < 2; odd++) {
                    const int64_t j = k0 + 2 * i + odd;
                    pair[odd] =
                        j < n ? v_load_n(v + j * step + b * AMX_SIDE, m, 0.0f) : v_set1(0.0f);
                    nothing += pair[odd] * v_set1(0.0f); /* infinity times 0 is NaN */
                }
                words[i] = amx_words(pair[0], pair[1]);
            }
            att_transpose(words);
            real *to = (real *)(t->v + (k0 / AMX_STEP * blocks + b) * AMX_TILE);
            for (int i = 0; i < VL; i++) v_store(to + i * VL, words[i]);
        }
    return v_sum(nothing) == 0.0f;
}

/* The queries of nv units, rounded already. */
static inline void amx_pack_queries(const amx *t, const vec *qt, int nv)
{
    const int64_t steps = amx_steps(t->D);
    for (int u = 0; u < nv; u++)
        for (int64_t d = 0; d < steps * AMX_STEP; d += 2) {
            const vec low = d < t->D ? qt[d * nv + u] : v_set1(0.0f);
            const vec high = d + 1 < t->D ? qt[(d + 1) * nv + u] : v_set1(0.0f);
            v_store((real *)(t->q + u * steps * AMX_TILE) + d / 2 * VL, amx_words(low, high));
        }
}

/* Scores of the n keys from `key` on, more up to a multiple of 16. */
static inline WITH_TILES void amx_scores(vec *s, const amx *t, int64_t key, int64_t n, int nv)
{
    const int64_t steps = amx_steps(t->D), width = steps * AMX_STEP, line = nv * 64;
    const bool two = nv == 2;
    for (int64_t j = 0; j < n; j += 2 * AMX_SIDE) {
        const bool both = j + AMX_SIDE < n;
        const uint16_t *k = t->k + (key - t->from + j) * width, *q = t->q;
        __asm__ volatile("" ::: "memory"); /* gcc's tile loads do not say that they read memory */
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int64_t i = 0; i < steps; i++, k += AMX_STEP, q += AMX_TILE) {
            _tile_loadd(4, k, width * 2);
            _tile_loadd(6, q, 64);
            _tile_dpbf16ps(0, 4, 6);
            if (two) {
                _tile_loadd(7, q + steps * AMX_TILE, 64);
                _tile_dpbf16ps(1, 4, 7);
            }
            if (!both) continue;
            _tile_loadd(5, k + AMX_SIDE * width, width * 2);
            _tile_dpbf16ps(2, 5, 6);
            if (two) _tile_dpbf16ps(3, 5, 7);
        }
        vec *to = s + j * nv;
        _tile_stored(0, to, line);
        if (two) _tile_stored(1, to + 1, line);
        if (both) _tile_stored(2, to + AMX_SIDE * nv, line);
        if (both && two) _tile_stored(3, to + AMX_SIDE * nv + 1, line);
    }
    __asm__ volatile("" ::: "memory");
}

/* y[d, u] = corr y + mix of the n keys from `key` on, a tile's, with the weights p. */
static inline WITH_TILES void amx_mix(vec *y, const vec *corr, const vec *p, const amx *t,
                                      int64_t key, int64_t n, int nv)
{
    const int64_t steps = (n + AMX_STEP - 1) / AMX_STEP, blocks = amx_blocks(t->D);
    const uint16_t *v = t->v + (key - t->from) / AMX_STEP * blocks * AMX_TILE;
    vec words[2][ATT_TILE / 2], sums[2 * AMX_SIDE][2];
    const bool two = nv == 2;
    for (int u = 0; u < nv; u++)
        for (int64_t j = 0; j < steps * AMX_STEP; j += 2)
            words[u][j / 2] = amx_words(j < n ? p[j * nv + u] : v_set1(0.0f),
                                        j + 1 < n ? p[(j + 1) * nv + u] : v_set1(0.0f));
    for (int64_t b = 0; b < blocks; b += 2) {
        const bool both = b + 1 < blocks;
        __asm__ volatile("" ::: "memory");
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int64_t i = 0; i < steps; i++) {
            const uint16_t *at = v + (i * blocks + b) * AMX_TILE;
            _tile_loadd(4, at, 64);
            _tile_loadd(6, words[0] + i * AMX_SIDE, 64);
            _tile_dpbf16ps(0, 4, 6);
            if (two) {
                _tile_loadd(7, words[1] + i * AMX_SIDE, 64);
                _tile_dpbf16ps(1, 4, 7);
            }
            if (!both) continue;
            _tile_loadd(5, at + AMX_TILE, 64);
            _tile_dpbf16ps(2, 5, 6);
            if (two) _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(0, sums, 128);
        if (two) _tile_stored(1, &sums[0][1], 128);
        if (both) _tile_stored(2, &sums[AMX_SIDE], 128);
        if (both && two) _tile_stored(3, &sums[AMX_SIDE][1], 128);
        __asm__ volatile("" ::: "memory");
        const int64_t from = b * AMX_SIDE, to = min64(t->D, from + 2 * AMX_SIDE);
        for (int64_t d = from; d < to; d++)
            for (int u = 0; u < nv; u++)
                y[d * nv + u] = v_fma(y[d * nv + u], corr[u], sums[d - from][u]);
    }
}

/* The nv units' rows of Dp numbers as [Dp/16, 16 pairs of rows, 16 channels, 2]. */
static inline void amx_pack_rows(vec *to, const real *rows, int64_t Dp, int nv)
{
    const vec none = v_set1(0.0f);
    for (int64_t b = 0; b < Dp / AMX_SIDE; b++)
        for (int i = 0; i < AMX_SIDE; i++) {
            const real *at = rows + 2 * i * Dp + b * AMX_SIDE;
            const bool there = 2 * i < nv * AMX_SIDE;
            to[b * AMX_SIDE + i] = there ? amx_words(v_load(at), v_load(at + Dp)) : none;
        }
}

/* out[j, :] += sum_r p[j, r] rows[r, :] for n keys, and nothing up to a multiple of 32. */
static inline WITH_TILES void amx_outer(real *out, const vec *p, const vec *rows, int64_t n,
                                        int64_t Dp, int nv)
{
    const int64_t line = Dp * (int64_t)sizeof(real), blocks = Dp / AMX_SIDE;
    __m512i weights[ATT_TILE];
    const __m512i upper =
        _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29, 27,
                         25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    for (int64_t j = 0; j < ATT_TILE; j++) {
        const vec low = j < n ? att_round(p[j * nv]) : v_set1(0.0f);
        const vec high = j < n && nv == 2 ? att_round(p[j * nv + 1]) : v_set1(0.0f);
        weights[j] = _mm512_permutex2var_epi16((__m512i)low, upper, (__m512i)high);
    }
    for (int64_t j = 0; j < n; j += 2 * AMX_SIDE)
        for (int64_t b = 0; b < blocks; b += 2) {
            const bool both = b + 1 < blocks;
            real *to = out + j * Dp + b * AMX_SIDE, *below = to + AMX_SIDE * Dp;
            __asm__ volatile("" ::: "memory");
            _tile_loadd(0, to, line);
            _tile_loadd(2, below, line);
            _tile_loadd(4, weights + j, 64);
            _tile_loadd(5, weights + j + AMX_SIDE, 64);
            _tile_loadd(6, rows + b * AMX_SIDE, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(2, 5, 6);
            if (both) {
                _tile_loadd(1, to + AMX_SIDE, line);
                _tile_loadd(3, below + AMX_SIDE, line);
                _tile_loadd(7, rows + (b + 1) * AMX_SIDE, 64);
                _tile_dpbf16ps(1, 4, 7);
                _tile_dpbf16ps(3, 5, 7);
                _tile_stored(1, to + AMX_SIDE, line);
                _tile_stored(3, below + AMX_SIDE, line);
            }
            _tile_stored(0, to, line);
            _tile_stored(2, below, line);
            __asm__ volatile("" ::: "memory");
        }
}
#else
typedef struct amx {
    int64_t D;
} amx;

/* Never called. */
static inline void amx_pack_queries(const amx *t, const vec *qt, int nv)
{
    (void)t, (void)qt, (void)nv;
}
static inline void amx_scores(vec *s, const amx *t, int64_t key, int64_t n, int nv)
{
    (void)s, (void)t, (void)key, (void)n, (void)nv;
}
static inline void amx_mix(vec *y, const vec *corr, const vec *p, const amx *t, int64_t key,
                           int64_t n, int nv)
{
    (void)y, (void)corr, (void)p, (void)t, (void)key, (void)n, (void)nv;
}
static inline void amx_pack_rows(vec *to, const real *rows, int64_t Dp, int nv)
{
    (void)to, (void)rows, (void)Dp, (void)nv;
}
static inline void amx_outer(real *out, const vec *p, const vec *rows, int64_t n, int64_t Dp,
                             int nv)
{
    (void)out, (void)p, (void)rows, (void)n, (void)Dp, (void)nv;
}
#endif

#endif
