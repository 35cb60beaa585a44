/*
** gemm_bf16.h - matrix products with operands in bfloat16 and sums in float32.
**
** With r(x) the bfloat16 next to x (ties to even), every element of C is
**     s = acc ? c : 0;   s = rule(s, r(a[i,0..K-1]), r(b[0..K-1,j]));   c = s (+ bias[j])
** in every function below, for every shape, row count, thread count and packing: a row's bits
** depend on that row of A and on B alone. The rule is
**   chain  s = fma(a[k], b[k], s) for k ascending; products of two bfloat16 are exact in float32,
**          so this has the same bits on every machine, fused or not
**
** Matrices, leading dimensions and sizes of zero as in gemm.h. `work` is the caller's, the bytes
** that the function's _work tells, aligned to 64. Float32 alone.
*/
#ifndef PL_KERNELS_GEMM_BF16_H
#define PL_KERNELS_GEMM_BF16_H

#include "kernels/variant.h"
#include "perilune.h"

#ifndef PL_F64_BUILD

/* Bytes of work for K(gemm_bf16) of these sizes, enough for fewer rows as well. */
int64_t K(gemm_bf16_work)(bool ta, bool tb, int64_t m, int64_t n, int64_t k);

/* Shared among threads. B is float32 with leading dimension ldb, or of a kept dtype
** (kernels/quant.h) and then dense and `ldb` not read. bias: n long, or NULL. */
void K(gemm_bf16)(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                  pl_dtype b_dtype, const void *b, int64_t ldb, const float *bias, bool acc,
                  float *c, int64_t ldc, void *work);

#endif
#endif
