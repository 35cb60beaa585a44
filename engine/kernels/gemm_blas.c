/*
** gemm_blas.c - matrix products by OpenBLAS, for comparison (see the header).
**
** OpenBLAS's threads are OpenMP's, so the number of threads set for the engine holds here too.
*/
#include "kernels/gemm_blas.h"

#include <cblas.h>

bool K(gemm_blas)(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const real *a, int64_t lda,
                  const real *b, int64_t ldb, bool acc, real *c, int64_t ldc)
{
    if (m > INT32_MAX || n > INT32_MAX || k > INT32_MAX || lda > INT32_MAX || ldb > INT32_MAX ||
        ldc > INT32_MAX)
        return false;
    if (m <= 0 || n <= 0) return true;
    /* BLAS wants leading dimensions of at least 1, though there may be nothing to lead. */
    const int la = lda > 0 ? (int)lda : 1, lb = ldb > 0 ? (int)ldb : 1, lc = (int)ldc;
    const CBLAS_TRANSPOSE fa = ta ? CblasTrans : CblasNoTrans, fb = tb ? CblasTrans : CblasNoTrans;
    const real beta = acc ? REAL(1.0) : REAL(0.0);
#ifdef PL_F64_BUILD
    cblas_dgemm(CblasRowMajor, fa, fb, (int)m, (int)n, (int)k, 1.0, a, la, b, lb, beta, c, lc);
#else
    cblas_sgemm(CblasRowMajor, fa, fb, (int)m, (int)n, (int)k, 1.0f, a, la, b, lb, beta, c, lc);
#endif
    return true;
}
