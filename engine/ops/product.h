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

#endif
