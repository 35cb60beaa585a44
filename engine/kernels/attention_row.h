/*
** attention_row.h - one row of attention against a cache: a decode step, all heads of a key head.
**
** The tiles of a cache go by once, each for all heads, so that each cached byte is read from memory
** once. Keys are in the lanes for the scores, channels for the mix of values. Only attention.c
** includes this file.
*/
#ifndef PL_ATTENTION_ROW_H
#define PL_ATTENTION_ROW_H

#include "attention_narrow.h"

ATT_INLINE vec load_channels(const real *p, int64_t n)
{
    return n == VL ? v_load(p) : v_load_n(p, n, REAL(0.0));
}

/* What a row has for each of its heads: scaled query, mix of values, greatest score, sum. */
typedef struct {
    real *q, *y; /* [n_heads, Dp] */
    vec *max, *sum;
} row_state;

#define ROW_HEADS 4 /* heads that go through a tile together */

static row_state row_state_at(vec *work, int64_t n_heads, int64_t D)
{
    real *q = (real *)(work + 2 * n_heads);
    return (row_state){q, q + n_heads * padded(D), work, work + n_heads};
}

/* y[h][d..] = corr y + mix of the keys lo..n-1 of the tile, for the nc vectors of channels from d
** on. */
ATT_INLINE void mix_row(real *y, int64_t Dp, const vec *corr, const real *p, const real *v,
                        int64_t v_key, int64_t lo, int64_t n, int64_t d, int64_t D, const int nh,
                        const int nc)
{
    vec c[4][ROW_HEADS][2];
    for (int r = 0; r < 4; r++)
        for (int h = 0; h < nh; h++)
            for (int i = 0; i < nc; i++) c[r][h][i] = v_set1(REAL(0.0));
    const int64_t last = min64(VL, D - d - (nc - 1) * VL); /* channels of the last vector */
    if (lo == 0 && n == ATT_TILE) {
        for (int64_t j = 0; j < VL; j++)
            for (int r = 0; r < 4; r++)
                for (int i = 0; i < nc; i++) {
                    const real *at = v + (r * VL + j) * v_key + d + i * VL;
                    vec x = i < nc - 1 ? v_load(at) : load_channels(at, last);
                    for (int h = 0; h < nh; h++)
                        c[r][h][i] = v_fma(v_set1(p[h * ATT_TILE + r * VL + j]), x, c[r][h][i]);
                }
    } else {
        for (int r = 0; r < 4; r++)
            for (int64_t j = max64(r * VL, lo); j < min64((r + 1) * VL, n); j++)
                for (int i = 0; i < nc; i++) {
                    const real *at = v + j * v_key + d + i * VL;
                    vec x = i < nc - 1 ? v_load(at) : load_channels(at, last);
                    for (int h = 0; h < nh; h++)
                        c[r][h][i] = v_fma(v_set1(p[h * ATT_TILE + j]), x, c[r][h][i]);
                }
    }
    for (int h = 0; h < nh; h++)
        for (int i = 0; i < nc; i++) {
            real *at = y + h * Dp + d + i * VL;
            v_store(at, v_fma(v_load(at), corr[h],
                              (c[0][h][i] + c[1][h][i]) + (c[2][h][i] + c[3][h][i])));
        }
}

/* A tile of keys and values that will be read soon; NULL: none. Asking for its lines one by one
** between the steps for another keeps the memory at work without holding up the arithmetic. */
typedef struct {
    const char *k, *v;
} ahead;

/* s[h] += the products of nh queries with the first n_runs runs of a tile's keys. */
ATT_INLINE void row_scores(vec s[][4], const real *q, const real *k, int64_t D, const ahead *next,
                           const int nh, const int n_runs)
{
    const int64_t Dp = padded(D);
    for (int64_t d = 0; d < D; d++)
        for (int r = 0; r < n_runs; r++) {
            const vec x = v_load(k + d * ATT_TILE + r * VL);
            for (int h = 0; h < nh; h++) s[h][r] = v_fma(v_set1(q[h * Dp + d]), x, s[h][r]);
            if (next->k) __builtin_prefetch(next->k + (d * 4 + r) * (int64_t)sizeof(vec));
        }
}

#if defined(__AVX512F__)
#define CHAIN_RUNS 2 /* runs whose chains are in registers together */
#else
#define CHAIN_RUNS 1
#endif

/* The same with keys in bfloat16, W words each. What is read soon lies as this does: its lines are
** asked for as these are read. */
ATT_INLINE void chain_row_scores(vec s[][4], const real *q, const real *k, int64_t D,
                                 const ahead *next, const int nh, const int n_runs)
{
    const int64_t next_k = next->k ? next->k - (const char *)k : 0;
    const int64_t Dp = padded(D), W = att_words(D), half = ATT_CHAIN / 2;
    for (int at = 0; at < n_runs; at += CHAIN_RUNS)
        for (int64_t from = 0; from < W; from += half) {
            vec even[ROW_HEADS][CHAIN_RUNS], odd[ROW_HEADS][CHAIN_RUNS];
            for (int h = 0; h < nh; h++)
                for (int r = 0; r < CHAIN_RUNS; r++) even[h][r] = odd[h][r] = v_set1(REAL(0.0));
            for (int64_t c = from; c < min64(W, from + half); c++)
                for (int r = 0; r < CHAIN_RUNS; r++) {
                    const real *word = k + att_narrow_run((at + r) * VL, W) + c * ATT_WORD_KEYS;
                    const vec w = v_load(word), low = att_low(w), high = att_high(w);
                    if (next_k) __builtin_prefetch((const char *)word + next_k);
                    for (int h = 0; h < nh; h++) {
                        even[h][r] = v_fma(v_set1(q[h * Dp + 2 * c]), low, even[h][r]);
                        odd[h][r] = v_fma(v_set1(q[h * Dp + 2 * c + 1]), high, odd[h][r]);
                    }
                }
            for (int h = 0; h < nh; h++)
                for (int r = 0; r < CHAIN_RUNS; r++) s[h][at + r] += even[h][r] + odd[h][r];
        }
}

/* mix_row with values in bfloat16: of each ATT_CHAIN keys the even and the odd ones are chains. */
ATT_INLINE void chain_mix_row(real *y, int64_t Dp, const vec *corr, const real *p, const real *v,
                              int64_t lo, int64_t n, int64_t d, int64_t D, const ahead *next,
                              const int nh, const int nc)
{
    const int64_t next_v = next->v ? next->v - (const char *)v : 0;
    const int64_t row = 2 * att_words(D), last = min64(VL, row - d - (nc - 1) * VL);
    vec sum[ROW_HEADS][2];
    for (int64_t from = 0; from < ATT_TILE; from += ATT_CHAINS) {
        vec even[ROW_HEADS][2], odd[ROW_HEADS][2];
        for (int h = 0; h < nh; h++)
            for (int i = 0; i < nc; i++) even[h][i] = odd[h][i] = v_set1(REAL(0.0));
        for (int64_t j = from + max64(0, lo - from) / 2 * 2; j < min64(n, from + ATT_CHAINS);
             j += 2)
            for (int i = 0; i < nc; i++) {
                const real *word = v + j / 2 * row + d + i * VL;
                const vec w = load_channels(word, i < nc - 1 ? VL : last);
                const vec low = att_low(w), high = att_high(w);
                if (next_v) __builtin_prefetch((const char *)word + next_v);
                for (int h = 0; h < nh; h++) {
                    const real *ph = p + h * ATT_TILE + j;
                    if (j >= lo) even[h][i] = v_fma(v_set1(ph[0]), low, even[h][i]);
                    if (j + 1 < n) odd[h][i] = v_fma(v_set1(ph[1]), high, odd[h][i]);
                }
            }
        for (int h = 0; h < nh; h++)
            for (int i = 0; i < nc; i++) {
                const vec part = even[h][i] + odd[h][i];
                sum[h][i] = from == 0 ? part : sum[h][i] + part;
            }
    }
    for (int h = 0; h < nh; h++)
        for (int i = 0; i < nc; i++) {
            real *at = y + h * Dp + d + i * VL;
            v_store(at, v_fma(v_load(at), corr[h], sum[h][i]));
        }
}

/* The keys lo..n-1 of a tile for nh neighbouring heads, h0 the first. */
ATT_INLINE void row_tile(const row_state *row, int64_t h0, const real *k, const real *v,
                         int64_t v_key, int64_t lo, int64_t n, const dims *m, const ahead *next,
                         const int nh, const bool bf16)
{
    const int64_t D = m->D, Dp = padded(D);
    const real *q = row->q + h0 * Dp;
    real *y = row->y + h0 * Dp;
    real p[ROW_HEADS * ATT_TILE];
    vec s[ROW_HEADS][4], corr[ROW_HEADS];
    for (int h = 0; h < nh; h++)
        for (int r = 0; r < 4; r++) s[h][r] = v_set1(REAL(0.0));
    if (bf16) chain_row_scores(s, q, k, D, next, nh, n > 2 * VL ? 4 : 2);
    else if (n > 2 * VL) row_scores(s, q, k, D, next, nh, 4);
    else row_scores(s, q, k, D, next, nh, 2);
    if (m->cap > 0)
        for (int h = 0; h < nh; h++) att_cap(s[h], NULL, 4, m->cap);
    if (lo > 0 || n < ATT_TILE)
        for (int h = 0; h < nh; h++)
            for (int r = 0; r < 4; r++) {
                const ivec key = att_iota() + (ireal)(r * VL);
                s[h][r] =
                    v_select((key >= (ireal)lo) & (key < (ireal)n), s[h][r], v_set1(-INFINITY));
            }
    for (int h = 0; h < nh; h++) {
        const vec before = row->max[h0 + h];
        vec top = v_max(v_max(s[h][0], s[h][1]), v_max(s[h][2], s[h][3]));
        top = v_max(v_set1(v_fold_max(top)), before);
        const vec base = att_base(top);
        corr[h] = v_exp_normal(before - base);
        row->max[h0 + h] = top;
        for (int r = 0; r < 4; r++) {
            s[h][r] = v_exp_normal(s[h][r] - base);
            v_store(p + h * ATT_TILE + r * VL, bf16 ? att_round(s[h][r]) : s[h][r]);
            if (next->v && !bf16)
                for (int64_t i = (h * 4 + r) * D / nh; i < (h * 4 + r + 1) * D / nh; i++)
                    __builtin_prefetch(next->v + i * (int64_t)sizeof(vec));
        }
    }
    for (int h = 0; h < nh; h++) {
        const real t = v_sum((s[h][0] + s[h][1]) + (s[h][2] + s[h][3]));
        row->sum[h0 + h] = v_fma(row->sum[h0 + h], corr[h], v_set1(t));
    }
    int64_t d = 0;
    if (bf16) {
        for (; d + VL < D; d += 2 * VL) chain_mix_row(y, Dp, corr, p, v, lo, n, d, D, next, nh, 2);
        if (d < D) chain_mix_row(y, Dp, corr, p, v, lo, n, d, D, next, nh, 1);
    } else {
        for (; d + VL < D; d += 2 * VL) mix_row(y, Dp, corr, p, v, v_key, lo, n, d, D, nh, 2);
        if (d < D) mix_row(y, Dp, corr, p, v, v_key, lo, n, d, D, nh, 1);
    }
}

#define ROW_TILE(nh, name, bf16)                                                            \
    static void name##_##nh(const row_state *row, int64_t h0, const real *k, const real *v, \
                            int64_t v_key, int64_t lo, int64_t n, const dims *m,            \
                            const ahead *next)                                              \
    {                                                                                       \
        row_tile(row, h0, k, v, v_key, lo, n, m, next, nh, bf16);                           \
    }
ROW_TILE(1, wide_tile, false)
ROW_TILE(2, wide_tile, false)
ROW_TILE(3, wide_tile, false)
ROW_TILE(4, wide_tile, false)
ROW_TILE(1, narrow_tile, ATT_HAS_BF16)
ROW_TILE(2, narrow_tile, ATT_HAS_BF16)
ROW_TILE(3, narrow_tile, ATT_HAS_BF16)
ROW_TILE(4, narrow_tile, ATT_HAS_BF16)
#undef ROW_TILE

/* One row, at position n_keys - 1, of the n_heads heads of a key head: each tile once for all.
** `next`: what will be read after that, if it is worth asking for ahead; else NULL. */
static void fwd_row(real *y, const real *q, const keys *kv, int64_t n_keys, const dims *m,
                    int64_t n_heads, const keys *next, vec *work)
{
    static void (*const tile_of[2][ROW_HEADS])(const row_state *, int64_t, const real *,
                                               const real *, int64_t, int64_t, int64_t,
                                               const dims *, const ahead *) = {
        {wide_tile_1, wide_tile_2, wide_tile_3, wide_tile_4},
        {narrow_tile_1, narrow_tile_2, narrow_tile_3, narrow_tile_4}};
    const int64_t D = m->D, Dp = padded(D), seen = n_keys - m->window;
    const row_state row = row_state_at(work, n_heads, D);
    for (int64_t h = 0; h < n_heads; h++) {
        V_EACH(d, n, D) {
            const vec scaled = load_channels(q + h * D + d, n) * v_set1(m->scale);
            v_store(row.q + h * Dp + d, m->bf16 ? att_round(scaled) : scaled);
            v_store(row.y + h * Dp + d, v_set1(REAL(0.0)));
        }
        row.max[h] = v_set1(-INFINITY);
        row.sum[h] = v_set1(REAL(0.0));
    }
    for (int64_t k0 = att_first_tile(n_keys - 1, m->window); k0 < n_keys; k0 += ATT_TILE) {
        const int64_t n = min64(ATT_TILE, n_keys - k0), lo = max64(0, seen - k0);
        const real *k, *v, *next_k = NULL, *next_v = NULL;
        att_find_tile(kv, k0, &k, &v);
        if (next && k0 < next->n) att_find_tile(next, k0, &next_k, &next_v);
        const ahead soon = {(const char *)next_k, (const char *)next_v};
        for (int64_t h = 0; h < n_heads;) {
            const int64_t nh = min64(ROW_HEADS, n_heads - h);
            tile_of[m->bf16][nh - 1](&row, h, k, v, kv->v_key, lo, n, m, &soon);
            h += nh;
        }
    }
    for (int64_t h = 0; h < n_heads; h++) {
        const vec inverse = v_set1(REAL(1.0)) / row.sum[h];
        V_EACH(d, n, D) v_store_n(y + h * D + d, v_load(row.y + h * Dp + d) * inverse, n);
    }
}

#endif
