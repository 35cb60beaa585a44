/*
** gemm_blas.h - the same product by OpenBLAS, for comparison.
**
** Not used unless asked for (PERILUNE_GEMM=openblas): its small products give a row other bits
** than its large ones do, so it breaks the law of gemm.h, and it is not faster on the shapes of
** language models.
*/
#ifndef PL_KERNELS_GEMM_BLAS_H
#define PL_KERNELS_GEMM_BLAS_H

#include "kernels/variant.h"

/* As K(gemm). false, and nothing done, when a size does not fit BLAS's 32-bit integers. */
bool K(gemm_blas)(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const real *a, int64_t lda,
                  const real *b, int64_t ldb, bool acc, real *c, int64_t ldc);

#endif
