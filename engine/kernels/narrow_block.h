/*
** narrow_block.h - a narrow decoder block before and after its attention, tile of rows by tile.
**
**   block_in    n = rmsnorm(x),  q = rope(n Wqᵀ),  k = rope(n Wkᵀ),  v = n Wvᵀ
**   block_out   h = x + y Woᵀ,  n = rmsnorm(h),  z = h + (silu(n Wgᵀ) * (n Wuᵀ)) Wdᵀ
**
** One op after the other, each of these would send all rows through memory. Here a tile of
** BLOCK_TILE rows goes through all of them in a core's cache, and backward makes what is between
** x, y and the results anew rather than read it. That pays while all the weights fit a cache beside
** the tile; wide layers are better off with large products.
**
** Law: forward has the bits of the ops one by one (gemm.h, norm.h, rope.h, elementwise.h): a row's
** depend on that row alone. So has backward for x and y. Gradients of weights are sums over rows,
** chains as in gemm.h within each part of the rows, the parts added in order; block_parts says how
** many, by the number of rows alone, and up to BLOCK_ALONE rows it is one.
**
** Matrices are dense, a weight is [n, k]. rows may be 0. Shared among threads; `work` has
** K(block_in_work) or K(block_out_work) elements, 64-byte aligned.
*/
#ifndef PL_KERNELS_NARROW_BLOCK_H
#define PL_KERNELS_NARROW_BLOCK_H

#include "kernels/rope.h"

enum { BLOCK_TILE = 64, BLOCK_ALONE = 256 };

/* Parts of the rows whose sums are made apart, at tiles' bounds. */
static inline int64_t block_parts(int64_t rows)
{
    enum { PARTS = 4, MOST = 2048 };
    return rows <= BLOCK_ALONE ? 1 : (rows + MOST - 1) / MOST * PARTS;
}

/* `packed`: of K(gemm_pack) with tb, or NULL. */
typedef struct {
    const real *w, *packed;
    int64_t n, k;
} block_weight;

/* A gradient: added to what is there when acc. d NULL: not wanted. */
typedef struct {
    real *d;
    bool acc;
} block_grad;

/* norm and the weights' k: [C]. rope.T and rope.H are not read. */
typedef struct {
    int64_t rows, C;
    real eps;
    const real *x, *norm;
    block_weight q, k, v;
    rope_shape rope;
    const int32_t *positions;
} block_in;

typedef struct {
    const real *dq, *dk, *dv;
    block_grad x, norm, q, k, v;
} block_in_grads;

int64_t K(block_in_work)(const block_in *b, bool backward);
void K(block_in_fwd)(const block_in *b, real *q, real *k, real *v, real *work);
void K(block_in_bwd)(const block_in *b, const block_in_grads *g, real *work);

/* x [rows, C], y [rows, o.k], o [C, ..], gate and up [F, C], down [C, F]. */
typedef struct {
    int64_t rows, C;
    real eps;
    const real *x, *y, *norm;
    block_weight o, gate, up, down;
} block_out;

typedef struct {
    const real *dz;
    block_grad x, y, norm, o, gate, up, down;
} block_out_grads;

int64_t K(block_out_work)(const block_out *b, bool backward);
void K(block_out_fwd)(const block_out *b, real *z, real *work);
void K(block_out_bwd)(const block_out *b, const block_out_grads *g, real *work);

#endif
