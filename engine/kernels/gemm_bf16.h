/*
** gemm_bf16.h - matrix products with operands in bfloat16 and sums in float32.
**
** With r(x) the bfloat16 next to x (ties to even), every element of C is
**     s = acc ? c : 0;   s = rule(s, r(a[i,0..K-1]), r(b[0..K-1,j]));   c = s (+ bias[j])
** in every function below, for every shape, row count, thread count and packing: a row's bits
** depend on that row of A and on B alone. The rule, one for the process (pl__bf16_rule), is
**   chain  s = fma(a[k], b[k], s) for k ascending; products of two bfloat16 are exact in float32
**          unless they leave its range, so this has the same bits on every machine, fused or not
**   pairs  VDPBF16PS: for each pair of k, ascending, s = fma(a[k+1], b[k+1], s), then
**          s = fma(a[k], b[k], s)
**   tiles  TDPBF16PS: for each 32 of k, ascending, the 16 even ones add up to e and the 16 odd
**          ones to o, each a chain of fma from 0; then s = s + (e + o)
** K is filled up with zeros to a multiple of 32 in the latter two, and denormal numbers, of
** operands, C and results, are zeros (kernels/bf16_model.h).
**
** Matrices, leading dimensions and sizes of zero as in gemm.h. `work` is the caller's, the bytes
** that the function's _work tells for the thread count of now, aligned to 64. Float32 alone.
*/
#ifndef PL_KERNELS_GEMM_BF16_H
#define PL_KERNELS_GEMM_BF16_H

#include "kernels/variant.h"
#include "perilune.h"

#ifndef PL_F64_BUILD

/* Bytes of work for K(gemm_bf16) of these sizes, enough for smaller ones as well. */
int64_t K(gemm_bf16_work)(bool ta, bool tb, int64_t m, int64_t n, int64_t k);

/* Shared among threads. B is float32 with leading dimension ldb, or of a kept dtype
** (kernels/quant.h) and then dense and `ldb` not read. bias: n long, or NULL. */
void K(gemm_bf16)(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                  pl_dtype b_dtype, const void *b, int64_t ldb, const float *bias, bool acc,
                  float *c, int64_t ldc, void *work);

#endif
#endif
