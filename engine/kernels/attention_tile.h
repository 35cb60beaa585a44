/*
** attention_tile.h - the inner loops of attention, with rows (queries) in the lanes.
**
** A unit is VL consecutive rows of one head, starting at a multiple of VL, so a unit never lies
** across a border of tiles; one or two units (nv) go through the loops together, to use each key
** loaded twice. `x` is a matrix of keys or values read one number at a time, key j channel d at
** x[j*key_step + d*dim_step]: rows of a packed batch and the transposed tiles of a cache alike.
** Blocks of accumulators are as large as the registers allow; block sizes change no bits.
*/
#ifndef PL_ATTENTION_TILE_H
#define PL_ATTENTION_TILE_H

#include "attention.h"
#include "vmath.h"

#define ATT_INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
#define ATT_BLOCK 8
#else
#define ATT_BLOCK 4
#endif

static inline int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static inline int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Rows of the longest sequence. */
static inline int64_t longest(const att_shape *a)
{
    int64_t n = 0;
    for (int64_t b = 0; b < a->B; b++) n = max64(n, a->offsets[b + 1] - a->offsets[b]);
    return n;
}

static inline int64_t padded(int64_t D)
{
    return (D + VL - 1) / VL * VL;
}

ATT_INLINE ivec att_iota(void)
{
    ivec r;
    for (int i = 0; i < VL; i++) r[i] = i;
    return r;
}

#define ATT_NO_WINDOW \
    ((int64_t)1 << 30) /* more keys than there are, and differences fit in 32 bits */

static inline int64_t att_window(const att_shape *a)
{
    return a->window > 0 ? min64(a->window, ATT_NO_WINDOW) : ATT_NO_WINDOW;
}

/* The tile where the window of the row at this position begins: its first key. */
static inline int64_t att_first_tile(int64_t position, int64_t window)
{
    return max64(0, position - window + 1) / ATT_TILE * ATT_TILE;
}

/* A choice of lanes: those whose row, at position first + lane, is not before key `key`; and those
** whose window does not end before it. */
#if defined(__AVX512F__) && !defined(PL_F64_BUILD)
typedef __mmask16 att_mask;

ATT_INLINE att_mask att_sees(int64_t first, int64_t key)
{
    return _mm512_cmp_epi32_mask((__m512i)att_iota(), _mm512_set1_epi32((int)(key - first)),
                                 _MM_CMPINT_NLT);
}

ATT_INLINE att_mask att_reaches(int64_t first, int64_t key, int64_t window)
{
    return _mm512_cmp_epi32_mask((__m512i)att_iota(),
                                 _mm512_set1_epi32((int)(key - first + window)), _MM_CMPINT_LT);
}

ATT_INLINE vec att_where(att_mask mask, vec a, vec b) /* mask ? a : b */
{
    return (vec)_mm512_mask_mov_ps((__m512)b, mask, (__m512)a);
}

ATT_INLINE vec att_fma_where(att_mask mask, vec a, vec b, vec c) /* mask ? a b + c : c */
{
    return (vec)_mm512_mask3_fmadd_ps((__m512)a, (__m512)b, (__m512)c, mask);
}
#else
typedef ivec att_mask;

ATT_INLINE att_mask att_sees(int64_t first, int64_t key)
{
    return att_iota() >= (ireal)(key - first);
}

ATT_INLINE att_mask att_reaches(int64_t first, int64_t key, int64_t window)
{
    return att_iota() < (ireal)(key - first + window);
}

ATT_INLINE vec att_where(att_mask mask, vec a, vec b)
{
    return v_select(mask, a, b);
}

ATT_INLINE vec att_fma_where(att_mask mask, vec a, vec b, vec c)
{
    return v_select(mask, v_fma(a, b, c), c);
}
#endif

typedef struct {
    int64_t q_step, y_step, H, D, window;
    real scale, cap; /* cap 0: none */
    bool bf16;
} dims;

/* The keys and values of one sequence and key head from key `from` on, the first of a tile: key
** from + j, channel d at k[j / ATT_TILE * k_tile + j % ATT_TILE * k_key + d * k_dim],
** v[j * v_key + d]. With `expanded` they are words of bfloat16 (attention_narrow.h), a tile of k
** k_tile words, a key of v v_key words, and for many rows become numbers there, tile by tile. With
** `amx` they are there instead, as attention_amx.h wants them. With `blocks`, from is 0 and k and v
** are of block 0: those of the sequence follow in this order, each block_step numbers from the one
** before it in memory. */
typedef struct {
    const real *k, *v;
    int64_t k_tile, k_key, k_dim, v_key;
    int64_t from, n; /* n: where keys end */
    bool small;      /* as attention_small.h wants them */
    real *expanded;
    const struct amx *amx;
    const int32_t *blocks;
    int64_t block_len, block_step;
} keys;

/* Where the tile begins whose first key is k0. */
ATT_INLINE void att_find_tile(const keys *kv, int64_t k0, const real **k, const real **v)
{
    int64_t at = k0 - kv->from, start = 0;
    if (kv->blocks) {
        int64_t block = 0;
        if (at >= kv->block_len) { /* divisions are dear beside a narrow tile */
            block = at / kv->block_len;
            at -= block * kv->block_len;
        }
        start = kv->blocks[block] * kv->block_step;
    }
    *k = kv->k + start + at / ATT_TILE * kv->k_tile;
    *v = kv->v + start + at * kv->v_key;
}

/* What is taken off the scores: m, but 0 for rows that have seen nothing yet, whose c and p become
** 0 by it. */
ATT_INLINE vec att_base(vec max)
{
    return v_select(max == v_set1(-INFINITY), v_set1(REAL(0.0)), max);
}

/* n rows of D numbers out of a packed batch, end to end: at the batch's own distance the rows of a
** tile fall on few sets of the cache and push each other out. */
static inline void att_gather(real *to, const real *x, int64_t step, int64_t n, int64_t D)
{
    for (int64_t j = 0; j < n; j++, x += step, to += D)
        V_EACH(d, m, D) {
            if (m == VL) v_store(to + d, v_load(x + d));
            else v_store_n(to + d, v_load_n(x + d, m, REAL(0.0)), m);
        }
}

/* s[j, u] = sum_d qt[d, u] x[j, d] for `n` keys: scores, and gradients of probabilities. */
ATT_INLINE void att_dots_block(vec *s, const vec *qt, const real *x, int64_t key_step,
                               int64_t dim_step, int64_t D, const int nv, const int n)
{
    vec acc[ATT_BLOCK][2];
    for (int j = 0; j < n; j++)
        for (int u = 0; u < nv; u++) acc[j][u] = v_set1(REAL(0.0));
    for (int64_t d = 0; d < D; d++, x += dim_step, qt += nv)
        for (int j = 0; j < n; j++) {
            vec b = v_set1(x[j * key_step]);
            for (int u = 0; u < nv; u++) acc[j][u] = v_fma(qt[u], b, acc[j][u]);
        }
    for (int j = 0; j < n; j++)
        for (int u = 0; u < nv; u++) s[j * nv + u] = acc[j][u];
}

ATT_INLINE void att_dots(vec *s, const vec *qt, const real *x, int64_t key_step, int64_t dim_step,
                         int64_t n, int64_t D, const int nv)
{
    int64_t j = 0;
    for (; j + ATT_BLOCK <= n; j += ATT_BLOCK)
        att_dots_block(s + j * nv, qt, x + j * key_step, key_step, dim_step, D, nv, ATT_BLOCK);
    for (; j < n; j++)
        att_dots_block(s + j * nv, qt, x + j * key_step, key_step, dim_step, D, nv, 1);
}

/* The scores of n keys under a soft cap; `slope` (NULL: not wanted) gets ds/d(uncapped score). */
ATT_INLINE void att_cap(vec *s, vec *slope, int64_t n, real cap)
{
    const vec inverse = v_set1(REAL(1.0) / cap), c = v_set1(cap);
    for (int64_t j = 0; j < n; j++) {
        const vec t = v_tanh(s[j] * inverse);
        s[j] = c * t;
        if (slope != NULL) slope[j] = v_set1(REAL(1.0)) - t * t;
    }
}

/* Scores of the tile at k0 become -inf in lanes whose row does not see the key. first[0] is the
** least, first[nv-1] the greatest of the units' first rows. */
ATT_INLINE void att_hide(vec *s, int64_t k0, int64_t n, const int nv, const int64_t *first,
                         int64_t window)
{
    const vec hidden = v_set1(-INFINITY);
    for (int64_t j = max64(0, first[0] + 1 - k0); j < n; j++)
        for (int u = 0; u < nv; u++)
            s[j * nv + u] = att_where(att_sees(first[u], k0 + j), s[j * nv + u], hidden);
    for (int64_t j = 0; j < min64(n, first[nv - 1] + VL - window - k0); j++)
        for (int u = 0; u < nv; u++)
            s[j * nv + u] = att_where(att_reaches(first[u], k0 + j, window), s[j * nv + u], hidden);
}

/* What of a run of keys the lanes take: all of it, what is not after their row, or of that what
** their window reaches. */
typedef enum { ATT_ALL, ATT_NOT_AFTER, ATT_IN_WINDOW } att_edge;

/* acc[d, u] (+)= sum_j p[j, u] x[j, d] for nd channels, one chain over n keys, every `by`-th from
** `key` on. first and window are for the edges. */
ATT_INLINE void att_mix(vec *out, const vec *p, const real *x, int64_t key_step, int64_t n,
                        const int nv, const int nd, const bool add, const att_edge edge,
                        const int64_t *first, int64_t key, int64_t window, const int by)
{
    vec acc[ATT_BLOCK][2];
    for (int d = 0; d < nd; d++)
        for (int u = 0; u < nv; u++) acc[d][u] = add ? out[d * nv + u] : v_set1(REAL(0.0));
    for (int64_t j = 0; j < n; j++, x += by * key_step, p += by * nv, key += by) {
        att_mask sees[2];
        if (edge != ATT_ALL)
            for (int u = 0; u < nv; u++) sees[u] = att_sees(first[u], key);
        if (edge == ATT_IN_WINDOW)
            for (int u = 0; u < nv; u++) sees[u] &= att_reaches(first[u], key, window);
        for (int d = 0; d < nd; d++) {
            vec b = v_set1(x[d]);
            for (int u = 0; u < nv; u++)
                acc[d][u] = edge != ATT_ALL ? att_fma_where(sees[u], p[u], b, acc[d][u])
                                            : v_fma(p[u], b, acc[d][u]);
        }
    }
    for (int d = 0; d < nd; d++)
        for (int u = 0; u < nv; u++) out[d * nv + u] = acc[d][u];
}

/* out[j, :] += sum_r p[j, r] rows[r, :] over the nv * VL rows: the gradients of keys, values.
** rows and out have Dp channels, a multiple of VL. */
ATT_INLINE void att_outer_block(real *out, const real *p, const real *rows, int64_t Dp,
                                const int n_rows, const int n, const int nc)
{
    vec acc[ATT_BLOCK][2];
    for (int j = 0; j < n; j++)
        for (int c = 0; c < nc; c++) acc[j][c] = v_load(out + j * Dp + c * VL);
    for (int r = 0; r < n_rows; r++, rows += Dp) {
        vec x[2];
        for (int c = 0; c < nc; c++) x[c] = v_load(rows + c * VL);
        for (int j = 0; j < n; j++) {
            vec b = v_set1(p[j * n_rows + r]);
            for (int c = 0; c < nc; c++) acc[j][c] = v_fma(b, x[c], acc[j][c]);
        }
    }
    for (int j = 0; j < n; j++)
        for (int c = 0; c < nc; c++) v_store(out + j * Dp + c * VL, acc[j][c]);
}

ATT_INLINE void att_outer(real *out, const vec *p, const real *rows, int64_t n, int64_t Dp,
                          const int nv)
{
    const real *ps = (const real *)p;
    const int n_rows = nv * VL;
    int64_t j = 0;
    for (; j + ATT_BLOCK <= n; j += ATT_BLOCK) {
        int64_t c = 0;
        for (; c + 2 * VL <= Dp; c += 2 * VL)
            att_outer_block(out + j * Dp + c, ps + j * n_rows, rows + c, Dp, n_rows, ATT_BLOCK, 2);
        if (c < Dp)
            att_outer_block(out + j * Dp + c, ps + j * n_rows, rows + c, Dp, n_rows, ATT_BLOCK, 1);
    }
    for (; j < n; j++)
        for (int64_t c = 0; c < Dp; c += VL)
            att_outer_block(out + j * Dp + c, ps + j * n_rows, rows + c, Dp, n_rows, 1, 1);
}

/* VL x VL transpose by rounds: at width w, where rows r and r + w (r without bit w) meet, the lanes
** with bit w of the one and those without of the other change places. */
#define ATT_LOW(i, w) ((i) & (w) ? VL + (i) - (w) : (i))
#define ATT_HIGH(i, w) ((i) & (w) ? VL + (i) : (i) + (w))
#if VL == 16
#define ATT_LIST(f, w)                                                                        \
    f(0, w), f(1, w), f(2, w), f(3, w), f(4, w), f(5, w), f(6, w), f(7, w), f(8, w), f(9, w), \
        f(10, w), f(11, w), f(12, w), f(13, w), f(14, w), f(15, w)
#elif VL == 8
#define ATT_LIST(f, w) f(0, w), f(1, w), f(2, w), f(3, w), f(4, w), f(5, w), f(6, w), f(7, w)
#elif VL == 4
#define ATT_LIST(f, w) f(0, w), f(1, w), f(2, w), f(3, w)
#elif VL == 2
#define ATT_LIST(f, w) f(0, w), f(1, w)
#endif
#define ATT_ROUND(t, n, w)                                                     \
    for (int r = 0; r < (n); r++)                                              \
        if (!(r & (w))) {                                                      \
            const vec a = t[r], b = t[r + (w)];                                \
            t[r] = __builtin_shufflevector(a, b, ATT_LIST(ATT_LOW, w));        \
            t[r + (w)] = __builtin_shufflevector(a, b, ATT_LIST(ATT_HIGH, w)); \
        }

ATT_INLINE void att_transpose(vec t[VL])
{
#if VL == 16
    ATT_ROUND(t, VL, 8)
#endif
#if VL >= 8
    ATT_ROUND(t, VL, 4)
#endif
#if VL >= 4
    ATT_ROUND(t, VL, 2)
#endif
    ATT_ROUND(t, VL, 1)
}

/* Lane r of t[d * nv] = f x[(r - lo)*step + d] for lo <= r < hi and d < D; 0 in other lanes. */
static inline void att_to_lanes(vec *t, const real *x, int64_t step, int64_t lo, int64_t hi,
                                int64_t D, const int nv, real f)
{
    V_EACH(d, n, D) {
        vec block[VL];
        for (int r = 0; r < VL; r++) {
            const real *at = x + (r - lo) * step + d;
            block[r] = r < lo || r >= hi ? v_set1(REAL(0.0))
                       : n == VL         ? v_load(at) * v_set1(f)
                                         : v_load_n(at, n, REAL(0.0)) * v_set1(f);
        }
        att_transpose(block);
        for (int64_t i = 0; i < n; i++) t[(d + i) * nv] = block[i];
    }
}

/* The way back: y[(r - lo)*step + d] = f lane r of t[d * nv] for the rows lo <= r < hi. */
static inline void att_from_lanes(real *y, const vec *t, int64_t step, int64_t lo, int64_t hi,
                                  int64_t D, const int nv, real f)
{
    V_EACH(d, n, D) {
        vec block[VL];
        for (int64_t i = 0; i < VL; i++)
            block[i] = i < n ? t[(d + i) * nv] * v_set1(f) : v_set1(REAL(0.0));
        att_transpose(block);
        for (int64_t r = lo; r < hi; r++) {
            real *at = y + (r - lo) * step + d;
            if (n == VL) v_store(at, block[r]);
            else v_store_n(at, block[r], n);
        }
    }
}

#endif
