/*
** gemm.h - matrix products: C = op(A) op(B) (+ C), with op(X) = X or its transpose.
**
** Law: every element of C is one chain over k = 0 .. K-1,
**     s = acc ? c : 0;   s = fma(a[i,k], b[k,j], s) for k ascending;   c = s (+ bias[j])
** in every function below, for every shape, row count, thread count and packing. A row's bits
** depend on that row of A and on B alone; float32 bits are equal for AVX2 and AVX-512.
**
** Matrices are row-major with a leading dimension in elements; op(A) is m x k, so with ta the array
** holds k x m, and with tb the array of B holds n x k. Sizes of zero are fine: k = 0 gives zeros
** (or leaves C when acc). C must not overlap A, B or work. The kernels allocate nothing and cannot
** fail; `work` is the caller's, K(gemm_work) elements, 64-byte alignment is best.
*/
#ifndef PL_KERNELS_GEMM_H
#define PL_KERNELS_GEMM_H

#include "kernels/variant.h"
#include "perilune.h"

/* Elements of workspace K(gemm) needs for these sizes; may be 0, and then work may be NULL. */
int64_t K(gemm_work)(bool ta, bool tb, int64_t m, int64_t n, int64_t k);

/* Shared among threads. */
void K(gemm)(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const real *a, int64_t lda,
             const real *b, int64_t ldb, bool acc, real *c, int64_t ldc, real *work);

/* On the calling thread, without workspace: for small products inside a parallel loop. */
void K(gemm_serial)(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const real *a, int64_t lda,
                    const real *b, int64_t ldb, bool acc, real *c, int64_t ldc);

/* B of a kept dtype (kernels/quant.h), dense: n x k with tb, else k x n. Its values are made while
** they are packed, never all of them; the bits are those of the product with its values. bias: n
** long, added after the chain, or NULL. */
int64_t K(gemm_kept_work)(bool tb, int64_t m, int64_t n, int64_t k);
void K(gemm_kept)(bool tb, int64_t m, int64_t n, int64_t k, const real *a, int64_t lda,
                  pl_dtype dtype, const void *b, const real *bias, bool acc, real *c, int64_t ldc,
                  real *work);

/* B packed once for many products (weights between two updates): elements, and the packing. */
int64_t K(gemm_pack_size)(int64_t n, int64_t k);
void K(gemm_pack)(bool tb, int64_t n, int64_t k, const real *b, int64_t ldb, real *packed);

/* C = A B (+ C) with packed B; A is m x k, not transposed. `work` is not read. */
void K(gemm_packed)(int64_t m, int64_t n, int64_t k, const real *a, int64_t lda, const real *packed,
                    bool acc, real *c, int64_t ldc, real *work);

/* The same on the calling thread. */
void K(gemm_packed_serial)(int64_t m, int64_t n, int64_t k, const real *a, int64_t lda,
                           const real *packed, bool acc, real *c, int64_t ldc);

/* y = x wᵀ + bias: x is m x k, w is n x k, bias n long or NULL. `packed` (from w, tb true) may be
** given in place of w; then work is not read. Dense rows. */
void K(gemm_linear)(int64_t m, int64_t n, int64_t k, const real *x, const real *w,
                    const real *packed, const real *bias, real *y, real *work);

#endif
