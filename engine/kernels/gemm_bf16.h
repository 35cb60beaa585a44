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

/* Bytes of work for K(gemm_bf16) and K(gemm_bf16_any) of these sizes, enough for smaller ones as
** well. */
int64_t K(gemm_bf16_work)(bool ta, bool tb, int64_t m, int64_t n, int64_t k);

/* Shared among threads. B is float32 with leading dimension ldb, or of a kept dtype
** (kernels/quant.h) and then dense and `ldb` not read. bias: n long, or NULL. */
void K(gemm_bf16)(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                  pl_dtype b_dtype, const void *b, int64_t ldb, const float *bias, bool acc,
                  float *c, int64_t ldc, void *work);

/* ---- B packed once for many products: weights between two updates ----
** For the rule of now; about 2 n k bytes, aligned to 64. Arguments as above. */
int64_t K(gemm_bf16_pack_size)(int64_t n, int64_t k);
void K(gemm_bf16_pack)(bool tb, int64_t n, int64_t k, pl_dtype b_dtype, const void *b, int64_t ldb,
                       void *packed);

/* C = A B; A is m x k, not transposed. */
int64_t K(gemm_bf16_packed_work)(int64_t m, int64_t n, int64_t k);
void K(gemm_bf16_packed)(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                         const void *packed, const float *bias, bool acc, float *c, int64_t ldc,
                         void *work);

/* ---- Operands that are bfloat16 already ----
** One rounding of x serves several products with it, and saved for the backward pass it takes half
** the memory and half the reading: to[i * ld_to + j] = r(x[i * ld_x + j]). */
void K(bf16_rows)(int64_t rows, int64_t cols, const float *x, int64_t ld_x, uint16_t *to,
                  int64_t ld_to);

/* As K(gemm_bf16), with A of float32 or of bfloat16 (PL_BF16); either operand of bfloat16 has its
** leading dimension too. The bits are those of the float32 operands it was rounded from. */
void K(gemm_bf16_any)(bool ta, bool tb, int64_t m, int64_t n, int64_t k, pl_dtype a_dtype,
                      const void *a, int64_t lda, pl_dtype b_dtype, const void *b, int64_t ldb,
                      const float *bias, bool acc, float *c, int64_t ldc, void *work);
void K(gemm_bf16_packed_any)(int64_t m, int64_t n, int64_t k, pl_dtype a_dtype, const void *a,
                             int64_t lda, const void *packed, const float *bias, bool acc, float *c,
                             int64_t ldc, void *work);

/* ---- A packed once for several products ----
** op(A), m x k: its bytes, aligned to 64, for the rule of now. With k or m of 0 nothing is read. */
int64_t K(gemm_bf16_pack_a_size)(int64_t m, int64_t k);
void K(gemm_bf16_pack_a)(bool ta, int64_t m, int64_t k, pl_dtype a_dtype, const void *a,
                         int64_t lda, void *packed);

/* Both x, m x k, and its transpose, k x m, each as an A of its own, by one reading: a gradient of
** a product's result goes to both of its operands so. */
void K(gemm_bf16_pack_both)(int64_t m, int64_t k, const float *x, int64_t ld, void *packed,
                            void *turned);

/* C = A B with packed A, and with B packed too where `packed` is not NULL, then b is not read; of B
** in bfloat16 ldb counts. The work is enough for smaller sizes as well. */
int64_t K(gemm_bf16_left_work)(bool packed, bool tb, int64_t m, int64_t n, int64_t k);
void K(gemm_bf16_left)(bool tb, int64_t m, int64_t n, int64_t k, const void *packed_a,
                       pl_dtype b_dtype, const void *b, int64_t ldb, const void *packed, bool acc,
                       float *c, int64_t ldc, void *work);

#endif
#endif
