/*
** gemm_split.h - products of float32 matrices by the bfloat16 tiles of AMX, as exact as float32.
**
** A float32 number is the sum of three bfloat16 ones: x1, x rounded to 8 bits, x2, what is left
** rounded again, and x3, the rest (halves away from zero). Of the nine products of two such sums
** six are kept; the others are below 2^-26 of the whole, less than the rounding of an operand.
**
** Law: k is cut into pieces of nearly equal size, at most 8 steps of 32 (split_start). A line's
** piece (a row of A, a column of B) is scaled by a power of two so that its largest is in [1, 2);
** elements below 2^-100 of the largest count as zeros. In a piece, for each step, ascending, in
** the order a3 b1, a2 b1, a2 b2, a1 b2, a1 b3, and then for each step a1 b1:  p = p + (e + o),
** e and o of the step's even and odd products as by the rule `tiles` of gemm_bf16.h. Then, of the
** scales taken out of the two lines the larger first,  s = fma(p * larger, smaller, s);  s begins
** as acc ? c : 0 and ends as c. A piece with an infinity, a NaN or a number of 2^110 or more is a
** chain  s = fma(a, b, s)  for all elements of C of its line.
**
** So infinities, NaNs, denormal and very large numbers come out as from gemm.h, a row's bits
** depend on that row of A and on B alone, and are the same natively and emulated, for any thread
** count.
** Matrices, leading dimensions and sizes of zero as in gemm.h. Float32 alone.
*/
#ifndef PL_KERNELS_GEMM_SPLIT_H
#define PL_KERNELS_GEMM_SPLIT_H

#include "kernels/variant.h"

/* Whether it pays: by n and k, never by the rows of A. */
static inline bool gemm_split_takes(int64_t n, int64_t k)
{
    enum { LEAST = 128 };
    return n >= LEAST && k >= LEAST;
}

#ifndef PL_F64_BUILD

/* Bytes of work, aligned to 64, for the thread count of now; enough for smaller sizes as well. */
int64_t K(gemm_split_work)(int64_t m, int64_t n, int64_t k);

/* As K(gemm), of any sizes. */
void K(gemm_split)(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                   const float *b, int64_t ldb, bool acc, float *c, int64_t ldc, void *work);

#endif
#endif
