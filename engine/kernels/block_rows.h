/*
** block_rows.h - what block_in.c and block_out.c share: packed weights, workspace, tiles of rows,
** and the gradients of weights as sums over them.
*/
#ifndef PL_BLOCK_ROWS_H
#define PL_BLOCK_ROWS_H

#include "base/sizes.h"
#include "base/thread.h"
#include "kernels/narrow_block.h"
#include "kernels/gemm.h"
#include "kernels/norm.h"
#include "kernels/reduce.h"
#include "kernels/vec.h"

enum { LINE = 64 / (int)sizeof(real) };

/* Elements as workspace is cut: whole lines of the cache. */
static inline int64_t lines(int64_t n)
{
    return ceil_div(n, LINE) * LINE;
}

static inline real *cut(real **work, int64_t n)
{
    real *at = *work;
    *work += lines(n);
    return at;
}

/* Rows of a width that whole vectors fill; packed products write them, zeros beyond the last. */
static inline int64_t whole(int64_t width)
{
    return ceil_div(width, VL) * VL;
}

/* Threads are worth it by multiplications, some 16 of which cost as much as a scalar operation. */
static inline int64_t cost_of(int64_t rows, int64_t weights)
{
    return rows * (weights / 16 + 1);
}

/* ---- Packed weights ---- */

/* W as it is for dy W, or its transpose for x Wᵀ. */
typedef struct {
    const block_weight *w;
    bool turned;
    real *to;
} block_pack;

static inline int64_t pack_size(const block_weight *w, bool turned)
{
    return lines(turned ? K(gemm_pack_size)(w->n, w->k) : K(gemm_pack_size)(w->k, w->n));
}

/* Where the packed weight is; `list` gets what is to be packed there. */
static inline const real *packed_at(const block_weight *w, bool turned, block_pack *list,
                                    int *count, real **work)
{
    if (turned && w->packed != NULL) return w->packed;
    real *to = *work;
    *work += pack_size(w, turned);
    list[(*count)++] = (block_pack){w, turned, to};
    return to;
}

static inline void pack_all(const block_pack *list, int count)
{
    int64_t all = 0;
    for (int i = 0; i < count; i++) all += list[i].w->n * list[i].w->k;
    PL_PARALLEL_FOR(all)
    for (int i = 0; i < count; i++) {
        const block_weight *w = list[i].w;
        if (list[i].turned) K(gemm_pack)(true, w->n, w->k, w->w, w->k, list[i].to);
        else K(gemm_pack)(false, w->k, w->n, w->w, w->k, list[i].to);
    }
}

/* ---- Rows ---- */

/* Rows of a task of a forward pass: a tile, or fewer where each thread is to have some. */
static inline int64_t forward_rows(int64_t rows, int64_t work)
{
    return rows > 0 ? least(BLOCK_TILE, ceil_div(rows, pl__threads_for(work))) : 1;
}

static inline int64_t tiles_of(int64_t rows)
{
    return ceil_div(rows, BLOCK_TILE);
}

/* ---- Gradients of weights ---- */

/* dw += dyᵀ x. Part 0 is summed where the gradient goes, the others in `rest`. */
typedef struct {
    const block_weight *w;
    block_grad to;
    real *rest;
} block_sum;

static inline block_sum sum_at(const block_weight *w, block_grad to, int64_t parts, real **work)
{
    block_sum s = {w, to, NULL};
    if (to.d != NULL) s.rest = cut(work, (parts - 1) * w->n * w->k);
    return s;
}

static inline int64_t sum_size(const block_weight *w, int64_t parts)
{
    return lines((parts - 1) * w->n * w->k);
}

static inline void sum_tile(const block_sum *s, int64_t part, bool first, int64_t m, const real *dy,
                            int64_t ldy, const real *x, int64_t ldx)
{
    if (s->to.d == NULL) return;
    const int64_t n = s->w->n, k = s->w->k;
    real *to = part == 0 ? s->to.d : s->rest + (part - 1) * n * k;
    const bool acc = first ? part == 0 && s->to.acc : true;
    K(gemm_serial)(true, false, n, k, m, dy, ldy, x, ldx, acc, to, k);
}

/* Adds the parts in order; with no rows there is no part that wrote. */
static inline void sums_finish(const block_sum *list, int count, int64_t rows)
{
    enum { RUN = 4096 };
    const int64_t parts = block_parts(rows);
    for (int i = 0; i < count; i++) {
        real *d = list[i].to.d;
        const int64_t n = list[i].w->n * list[i].w->k;
        if (d == NULL) continue;
        if (rows == 0 && !list[i].to.acc) memset(d, 0, (size_t)n * sizeof(real));
        if (parts == 1) continue;
        PL_PARALLEL_FOR(n * parts)
        for (int64_t from = 0; from < n; from += RUN)
            for (int64_t p = 1; p < parts; p++)
                for (int64_t at = from; at < least(from + RUN, n); at++)
                    d[at] += list[i].rest[(p - 1) * n + at];
    }
}

/* The gradient of a norm's factors: a row of `rows` for each tile, added in order. */
static inline void norm_finish(const block_grad *to, int64_t tiles, int64_t C, const real *rows)
{
    if (to->d != NULL) K(sum_axis)(1, tiles, C, to->d, to->acc, rows, REAL(1.0));
}

#endif
