/*
** product.h - one matrix product, by the engine's own kernels or by OpenBLAS.
**
** pl__gemm_group says for the context and the dtype which; products too small for OpenBLAS are
** always the engine's own. n and k decide, so all rows of an op go one way.
*/
#ifndef PL_OPS_PRODUCT_H
#define PL_OPS_PRODUCT_H

#include "kernels/gemm.h"
#include "kernels/gemm_blas.h"
#include "ops/op.h"

static inline bool by_openblas(int group, bool ta, int64_t m, int64_t n, int64_t k)
{
    return group > 0 && K(gemm_blas_takes)(ta, m, n, k);
}

/* Elements of workspace for product(), enough for smaller m and k as well; may be 0. */
static inline int64_t product_work(int group, bool ta, bool tb, int64_t m, int64_t n, int64_t k)
{
    const int64_t own = K(gemm_work)(ta, tb, m, n, k);
    const int64_t openblas = group > 0 ? K(gemm_blas_work)(group, n, k) : 0;
    return own > openblas ? own : openblas;
}

/* As K(gemm). */
static inline void product(int group, bool ta, bool tb, int64_t m, int64_t n, int64_t k,
                           const real *a, int64_t lda, const real *b, int64_t ldb, bool acc,
                           real *c, int64_t ldc, real *work)
{
    if (by_openblas(group, ta, m, n, k))
        K(gemm_blas)(group, ta, tb, m, n, k, a, lda, b, ldb, acc, c, ldc, work);
    else K(gemm)(ta, tb, m, n, k, a, lda, b, ldb, acc, c, ldc, work);
}

/* ---- with a weight, a matrix that may be kept: w is n x k with tb, else k x n, dense ----
** Those with a kept one are the engine's own always. */
static inline pl_status weight_group(pl_ctx *ctx, const pl_tensor *w, bool large, int *group)
{
    *group = 0;
    return pl__kept(w->dtype) ? PL_OK : pl__gemm_group(ctx, PL_REAL_DTYPE, large, group);
}

static inline int64_t product_weight_work(int group, const pl_tensor *w, bool tb, int64_t m,
                                          int64_t n, int64_t k)
{
    if (pl__kept(w->dtype)) return K(gemm_kept_work)(tb, m, n, k);
    return product_work(group, false, tb, m, n, k);
}

static inline void product_weight(int group, bool tb, int64_t m, int64_t n, int64_t k,
                                  const real *a, int64_t lda, const pl_tensor *w, bool acc, real *c,
                                  int64_t ldc, real *work)
{
    if (pl__kept(w->dtype))
        K(gemm_kept)(tb, m, n, k, a, lda, w->dtype, pl__data(w), NULL, acc, c, ldc, work);
    else product(group, false, tb, m, n, k, a, lda, pl__real(w), tb ? k : n, acc, c, ldc, work);
}

#endif
