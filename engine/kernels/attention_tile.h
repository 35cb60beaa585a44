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

ATT_INLINE ivec att_iota(void)
{
    ivec r;
    for (int i = 0; i < VL; i++) r[i] = i;
    return r;
}

/* Lanes whose row, at position first + lane, sees key `key`. */
ATT_INLINE ivec att_sees(int64_t first, int64_t key)
{
    return att_iota() >= (ireal)(key - first);
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

/* acc[d, u] (+)= sum_j p[j, u] x[j, d] for nd channels, one chain over the n keys; with `first`
** lanes take only the keys from `key` on that their row sees. */
ATT_INLINE void att_mix(vec *out, const vec *p, const real *x, int64_t key_step, int64_t n,
                        const int nv, const int nd, const bool add, const int64_t *first,
                        int64_t key)
{
    vec acc[ATT_BLOCK][2];
    for (int d = 0; d < nd; d++)
        for (int u = 0; u < nv; u++) acc[d][u] = add ? out[d * nv + u] : v_set1(REAL(0.0));
    for (int64_t j = 0; j < n; j++, x += key_step, p += nv) {
        ivec sees[2];
        if (first)
            for (int u = 0; u < nv; u++) sees[u] = att_sees(first[u], key + j);
        for (int d = 0; d < nd; d++) {
            vec b = v_set1(x[d]);
            for (int u = 0; u < nv; u++) {
                vec t = v_fma(p[u], b, acc[d][u]);
                acc[d][u] = first ? v_select(sees[u], t, acc[d][u]) : t;
            }
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

/* Lane r of t[d * nv] = f x[(r - lo)*step + d] for lo <= r < hi and d < D; 0 in other lanes. */
ATT_INLINE void att_to_lanes(vec *t, const real *x, int64_t step, int64_t lo, int64_t hi,
                             int64_t D, const int nv, real f)
{
    real *to = (real *)t;
    for (int64_t r = 0; r < VL; r++)
        for (int64_t d = 0; d < D; d++)
            to[d * nv * VL + r] = r >= lo && r < hi ? x[(r - lo) * step + d] * f : REAL(0.0);
}

/* The way back: y[(r - lo)*step + d] = lane r of t[d * nv] for the rows lo <= r < hi. */
ATT_INLINE void att_from_lanes(real *y, const vec *t, int64_t step, int64_t lo, int64_t hi,
                               int64_t D, const int nv)
{
    const real *from = (const real *)t;
    for (int64_t r = lo; r < hi; r++)
        for (int64_t d = 0; d < D; d++) y[(r - lo) * step + d] = from[d * nv * VL + r];
}

#endif
