/*
** attention_narrow.h - attention with operands in bfloat16: rounding, order of sums, caches.
**
** The law is in attention.h. Operands are rounded and stay float32 in the registers; a cache keeps
** them as bfloat16, two in a word of four bytes, the first in the lower half. With W = D/2 rounded
** up, word c of key j of a slot's head stands
**   in k_cache, channels 2c and 2c+1:   at j/16 * 16 W + 16 c + j%16
**   in v_cache, keys 2i and 2i+1 of channel d:   at i * 2 W + d
** so that the lanes are keys in the one and channels in the other, as one row wants them.
*/
#ifndef PL_ATTENTION_NARROW_H
#define PL_ATTENTION_NARROW_H

#include "attention_tile.h"

#define ATT_WORD_KEYS 16 /* keys whose words of k_cache stand side by side */
#define ATT_CHAIN 32     /* elements of a product that two chains share, even and odd ones */
#define ATT_CHAINS (ATT_TILE < ATT_CHAIN ? ATT_TILE : ATT_CHAIN)

#ifdef PL_F64_BUILD
#define ATT_HAS_BF16 0
ATT_INLINE vec att_round(vec x) /* never called, nor are the next two: precision bf16 is refused */
{
    return x;
}
ATT_INLINE vec att_low(vec w)
{
    return w;
}
ATT_INLINE vec att_high(vec w)
{
    return w;
}
#else
#define ATT_HAS_BF16 1
typedef uint32_t uvec __attribute__((vector_size(VEC_BYTES)));

/* The bfloat16 next to each, as bf16_of. */
ATT_INLINE vec att_round(vec x)
{
    const uvec bits = (uvec)x;
    const uvec near = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
    return v_select(x == x, (vec)near, (vec)((bits | 0x400000) & 0xffff0000));
}

/* The numbers in the lower and in the upper halves of words. */
ATT_INLINE vec att_low(vec w)
{
    return (vec)((uvec)w << 16);
}
ATT_INLINE vec att_high(vec w)
{
    return (vec)((uvec)w & 0xffff0000);
}
#endif

/* From att_enter to att_leave denormal numbers are zeros, as they are to the bfloat16
** instructions. */
ATT_INLINE unsigned att_enter(bool bf16)
{
#if defined(__SSE2__)
    const unsigned before = _mm_getcsr();
    if (bf16) _mm_setcsr(before | 0x8040);
    return before;
#else
    (void)bf16;
    return 0;
#endif
}
ATT_INLINE void att_leave(unsigned before)
{
#if defined(__SSE2__)
    _mm_setcsr(before);
#else
    (void)before;
#endif
}

static inline void att_round_all(vec *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) x[i] = att_round(x[i]);
}

/* As att_gather, rounded. */
static inline void att_gather_rounded(real *to, const real *x, int64_t step, int64_t n, int64_t D)
{
    for (int64_t j = 0; j < n; j++, x += step, to += D)
        V_EACH(d, m, D) {
            if (m == VL) v_store(to + d, att_round(v_load(x + d)));
            else v_store_n(to + d, att_round(v_load_n(x + d, m, REAL(0.0))), m);
        }
}

/* As att_dots_block: of each ATT_CHAIN channels the even ones are one chain from 0, the odd ones
** another, whose sum is added to the score. */
ATT_INLINE void att_chain_dots_block(vec *s, const vec *qt, const real *x, int64_t key_step,
                                     int64_t dim_step, int64_t D, const int nv, const int n)
{
    vec acc[ATT_BLOCK / 2][2];
    for (int j = 0; j < n; j++)
        for (int u = 0; u < nv; u++) acc[j][u] = v_set1(REAL(0.0));
    for (int64_t from = 0; from < D; from += ATT_CHAIN) {
        vec part[2][ATT_BLOCK / 2][2];
        const int64_t to = min64(D, from + ATT_CHAIN);
        for (int odd = 0; odd < 2; odd++) {
            for (int j = 0; j < n; j++)
                for (int u = 0; u < nv; u++) part[odd][j][u] = v_set1(REAL(0.0));
            for (int64_t d = from + odd; d < to; d += 2)
                for (int j = 0; j < n; j++) {
                    const vec b = v_set1(x[j * key_step + d * dim_step]);
                    for (int u = 0; u < nv; u++)
                        part[odd][j][u] = v_fma(qt[d * nv + u], b, part[odd][j][u]);
                }
        }
        for (int j = 0; j < n; j++)
            for (int u = 0; u < nv; u++) acc[j][u] += part[0][j][u] + part[1][j][u];
    }
    for (int j = 0; j < n; j++)
        for (int u = 0; u < nv; u++) s[j * nv + u] = acc[j][u];
}

ATT_INLINE void att_chain_dots(vec *s, const vec *qt, const real *x, int64_t key_step,
                               int64_t dim_step, int64_t n, int64_t D, const int nv)
{
    const int block = ATT_BLOCK / 2;
    int64_t j = 0;
    for (; j + block <= n; j += block)
        att_chain_dots_block(s + j * nv, qt, x + j * key_step, key_step, dim_step, D, nv, block);
    for (; j < n; j++)
        att_chain_dots_block(s + j * nv, qt, x + j * key_step, key_step, dim_step, D, nv, 1);
}

/* ---- Caches ---- */

/* Words of a key. */
static inline int64_t att_words(int64_t D)
{
    return (D + 1) / 2;
}

/* The upper half of x, rounded already. */
ATT_INLINE uint32_t att_upper(real x)
{
    const float f = (float)x;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits >> 16;
}

/* Puts a row of one key head at position `at` of its caches. */
static inline void att_put_narrow(real *k_cache, real *v_cache, const real *k, const real *v,
                                  int64_t at, int64_t D)
{
    const int64_t W = att_words(D);
    char *k_to = (char *)(k_cache + at / ATT_WORD_KEYS * ATT_WORD_KEYS * W + at % ATT_WORD_KEYS);
    char *v_to = (char *)(v_cache + at / 2 * 2 * W) + at % 2 * 2;
    for (int64_t d = 0; d < 2 * W; d += VL) {
        const int64_t n = min64(VL, D - d);
        real x[VL], y[VL];
        v_store(x, att_round(v_load_n(k + d, n, REAL(0.0))));
        v_store(y, att_round(v_load_n(v + d, n, REAL(0.0))));
        for (int64_t i = 0; i < min64(VL, 2 * W - d); i += 2) {
            const uint32_t word = att_upper(x[i]) | att_upper(x[i + 1]) << 16;
            const uint16_t values[] = {(uint16_t)att_upper(y[i]), (uint16_t)att_upper(y[i + 1])};
            memcpy(k_to + (d + i) / 2 * ATT_WORD_KEYS * 4, &word, sizeof word);
            memcpy(v_to + (d + i) * 4, &values[0], sizeof values[0]);
            memcpy(v_to + (d + i + 1) * 4, &values[1], sizeof values[1]);
        }
    }
}

/* Where the run of keys from j on begins in k_cache: word 0, the next 16 further. */
ATT_INLINE int64_t att_narrow_run(int64_t j, int64_t W)
{
    return j / ATT_WORD_KEYS * ATT_WORD_KEYS * W + j % ATT_WORD_KEYS;
}

/* The tile of n keys at k and v as float32: keys as [2W, ATT_TILE], values as rows of
** padded(2W). */
static inline void att_expand(real *k_to, real *v_to, const real *k, const real *v, int64_t n,
                              int64_t W)
{
    const int64_t row = padded(2 * W);
    for (int64_t c = 0; c < W; c++)
        for (int64_t j = 0; j < ATT_TILE; j += VL) {
            const vec w = v_load(k + att_narrow_run(j, W) + c * ATT_WORD_KEYS);
            v_store(k_to + 2 * c * ATT_TILE + j, att_low(w));
            v_store(k_to + (2 * c + 1) * ATT_TILE + j, att_high(w));
        }
    for (int64_t i = 0; 2 * i < n; i++)
        V_EACH(d, m, 2 * W) {
            const vec w =
                m == VL ? v_load(v + i * 2 * W + d) : v_load_n(v + i * 2 * W + d, m, REAL(0.0));
            v_store(v_to + 2 * i * row + d, att_low(w));
            v_store(v_to + (2 * i + 1) * row + d, att_high(w));
        }
}

/* Numbers of workspace for att_expand. */
static inline int64_t att_expanded(int64_t D)
{
    return ATT_TILE * (2 * att_words(D) + padded(D));
}

/* ---- Room for the processor's tiles (attention_amx.h) ---- */

#if defined(__AVX512F__) && !defined(PL_F64_BUILD)
#define ATT_AMX 1
#else
#define ATT_AMX 0
#endif

enum {
    AMX_SIDE = 16,
    AMX_STEP = 32,
    AMX_TILE = AMX_SIDE * AMX_STEP, /* numbers of two bytes */
};

/* Steps of the channels, blocks of 16 of them, and keys rounded up to whole tiles of them. */
static inline int64_t amx_steps(int64_t D)
{
    return (D + AMX_STEP - 1) / AMX_STEP;
}
static inline int64_t amx_blocks(int64_t D)
{
    return (D + AMX_SIDE - 1) / AMX_SIDE;
}
static inline int64_t amx_keys(int64_t n)
{
    return (n + ATT_TILE - 1) / ATT_TILE * ATT_TILE;
}

/* Vectors: the queries of two units, keys and values. */
static inline int64_t amx_share(int64_t n, int64_t D)
{
    const int64_t numbers = 2 * amx_steps(D) * AMX_TILE +
                            amx_keys(n) * (amx_steps(D) * AMX_STEP + amx_blocks(D) * AMX_SIDE);
    return ATT_AMX ? numbers * 2 / (int64_t)sizeof(vec) : 0;
}

/* Numbers that n gathered keys take, or values: small ones come in whole blocks of rows of 8. */
static inline int64_t att_rows_room(int64_t n, int64_t D)
{
    return D > 8 ? n * D : (n + 7) / 8 * 8 * 8;
}

/* Vectors of workspace for units: [D, 2] twice, and the keys and values of n rows, or a tile made
** numbers. */
static inline int64_t att_units_share(int64_t n, int64_t D)
{
    const int64_t rows = max64(max64(n, ATT_TILE) * (padded(D) + 1), att_rows_room(n, D));
    return 4 * D + (2 * rows + VL - 1) / VL;
}

/* What one thread has in the forward: for units, and for a row two vectors and two times the
** channels of each head. */
static inline int64_t att_fwd_share(const att_shape *a, int64_t n)
{
    const int64_t row = a->H / a->G * (2 + 2 * padded(a->D) / VL);
    return max64(att_units_share(n, a->D) + (a->bf16 ? amx_share(n, a->D) : 0), row);
}

#endif
