/*
** attention.h - causal attention over packed sequences, with grouped heads; T x T is never stored.
**
** Rows: q, y [T, H*D]; k, v [T, G*D], or q, k and v side by side; sequence b has the rows
** offsets[b]..offsets[b+1]-1. Head h uses key head h / (H/G). Row i sees the keys from offsets[b]
** to i; with a window, the last `window` of them.
**
**   s_ij = scale q_i . k_j     p_ij = exp(s_ij - m_i)     y_i = sum_j p_ij v_j / sum_j p_ij
**
** and with a soft cap C (Gemma 2) s_ij = C tanh(scale q_i . k_j / C): by the running softmax of
** Milakov and Gimelshein (2018), tile after tile as in FlashAttention (Dao et al. 2022).
**
** One canonical order makes a row's bits the same in a training batch, in a prefill chunk and in a
** decode step against a cache. Keys are cut into tiles of ATT_TILE counted from the start of the
** sequence, tiles into 4 runs of VL (so the last bits are the variant's own). For a row and a tile,
** over the keys the row sees and no others:
**   score  one FMA chain over the channels, from 0, of the scaled query and the key; capped
**   m      the greatest score so far; c = exp(m_before - m)
**   l      = c l + the sum of p over the tile: run 0+1 and 2+3, then lanes folded as by v_sum
**   y      = c y + ((r0 + r1) + (r2 + r3)), r one FMA chain from 0 over the keys of a run
** and at the end y (1/l). A tile of which a row sees nothing leaves its m, l and y as they are, so
** tiles before a window may be passed over. Which of these are lanes of a vector is free: many rows
** put rows into lanes, one row puts keys and channels there.
**
** With bf16 the products' operands are rounded to bfloat16 (ties to even): scaled queries, keys,
** values, and p for the mix (l sums what was not rounded). Their sums are those of the processors'
** matrix instruction: of each 32 elements in turn (channels; keys of a tile) the 16 even ones are
** one chain of fma from 0, the 16 odd ones another, whose sum is added to what is there; denormal
** numbers are zeros. The backward pass rounds q, k and v and sums in float32's order; by the rule
** `tiles` (gemm_bf16.h), where the processor has it, dy, p and ds too, and it sums by tiles.
**
** Caches are cut into blocks of block_len positions, a multiple of ATT_TILE_MAX, and a sequence has
** as many as it is long; several may have the same ones where they begin alike. Both caches are
** [blocks, G, block_len, D] (with bf16 D/2, rounded up, words of two bfloat16, laid out as
** attention_narrow.h says): v_cache is plain; in k_cache the block_len*D numbers of a block's head
** stand as [block_len/ATT_TILE, D, ATT_TILE], so that the keys of a tile are the lanes.
**
** Nothing here checks: shapes, offsets, blocks and past are the caller's to check.
*/
#ifndef PL_ATTENTION_H
#define PL_ATTENTION_H

#include "vec.h"

#define ATT_TILE (4 * VL)
#define ATT_TILE_MAX 64 /* the widest variant's ATT_TILE; a multiple of all others */

typedef struct {
    const int32_t *offsets; /* [B+1] */
    int64_t B, H, G, D;     /* G: key heads, divides H */
    double scale;
    int64_t window; /* keys a row sees, itself among them; 0: all */
    double softcap; /* 0: none */
    bool bf16;      /* float32 alone */
    int64_t row;    /* numbers from row to row of q, k, v and their gradients, where these are parts
                    ** of wider rows; 0: each is dense. Not for caches. */
} att_shape;

/* Sequence b has past[b] keys already, and its positions stand in the blocks blocks[b * most] on,
** in order. No block that is written to belongs to two sequences. */
typedef struct {
    real *k, *v;
    int64_t block_len;
    const int32_t *blocks; /* [B, most] */
    const int32_t *past;   /* [B] */
    int64_t most;
} att_cache;

static inline int64_t att_q_step(const att_shape *a)
{
    return a->row > 0 ? a->row : a->H * a->D;
}

static inline int64_t att_kv_step(const att_shape *a)
{
    return a->row > 0 ? a->row : a->G * a->D;
}

/* Bytes of 64-byte aligned workspace, enough for this batch and any number of threads in force. */
int64_t K(attention_work)(const att_shape *a, bool backward);

/* lse [T, H], log sum_j exp(s_ij), is for the backward; NULL when none will come. */
void K(attention_fwd)(real *y, real *lse, const real *q, const real *k, const real *v,
                      const att_shape *a, void *work);

/* Writes (not adds) dq, dk, dv; y and lse are those of the forward. */
void K(attention_bwd)(real *dq, real *dk, real *dv, const real *dy, const real *q, const real *k,
                      const real *v, const real *y, const real *lse, const att_shape *a,
                      void *work);

/* Puts the rows of k, v into the cache after the past ones, then attends: row i of sequence b is
** at position past[b] + i - offsets[b]. */
void K(attention_cached)(real *y, const real *q, const real *k, const real *v, const att_shape *a,
                         const att_cache *cache, void *work);

/* The first n positions of block `from` also become those of block `to`. width: the caches' last
** size, D or its words. */
void K(attention_cache_copy)(real *k_cache, real *v_cache, int64_t G, int64_t block_len,
                             int64_t width, int64_t from, int64_t to, int64_t n);

#endif
