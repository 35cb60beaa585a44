/*
** gemm_blas.h - the same products by OpenBLAS, kept to the laws of gemm.h but for the chain.
**
** OpenBLAS adds in another order for other sizes and threads: the rows left over by its register
** tile, small products, and the cut among its threads all change bits. So it is given
** products of n * k large enough for one kind of kernel, rows in whole groups (the last one filled
** up with zeros), and tiles that depend on shapes alone, each a call on one thread of our own loop.
** Then a row's bits depend on that row and on B alone. Which group does that is asked of the
** library itself, since it depends on the kernels it picks for the processor: K(gemm_blas_group).
*/
#ifndef PL_KERNELS_GEMM_BLAS_H
#define PL_KERNELS_GEMM_BLAS_H

#include "kernels/variant.h"

/* Elements of work for K(gemm_blas_group). */
int64_t K(gemm_blas_group_work)(void);

/* Rows in a group: 1 where every row stands for itself, else a multiple of all register tiles
** known; 0 where rows differ even then. Found by trial products. */
int K(gemm_blas_group)(real *work);

/* Whether K(gemm_blas) may be used: by n and k, never by the rows of a product of A as it stands
** (transposed, m must fit BLAS's 32-bit integers). */
bool K(gemm_blas_takes)(bool ta, int64_t m, int64_t n, int64_t k);

/* Elements of work for any number of rows. */
int64_t K(gemm_blas_work)(int group, int64_t n, int64_t k);

/* As K(gemm), for sizes that K(gemm_blas_takes) takes. */
void K(gemm_blas)(int group, bool ta, bool tb, int64_t m, int64_t n, int64_t k, const real *a,
                  int64_t lda, const real *b, int64_t ldb, bool acc, real *c, int64_t ldc,
                  real *work);

#endif
