/*
** gemm_int8.h - y = x Wᵀ + bias with x rounded to eight bits and W in blocks of integers: sums of
** integers, which are exact.
**
** Each 32 numbers of a row of x, from its first on, are rounded together (as llama.cpp's Q8_0, with
** the scale left in float32): with a the largest |x| of them
**     d = a / 127     c = round(x * (127 / a)), ties to even
** (all c 0 where a is below 2^-100, d NaN where one of them is no finite number). An element of y
** is one chain over these pieces p of its row of W, q the integers of quant.h, of q6_k for each
** half of p with its scale:
**     s = fma(sum(c q), d scale, s)     and with a least     s = fma(d sum(c), least, s)
** from s = 0, and then + bias; d scale and d sum(c) are rounded. So a row's bits depend on that row
** and on W alone, and are those of every machine, whatever adds up the integers: VPDPBUSD (`vnni`:
** AVX512_VNNI or AVX_VNNI), VPMADDUBSW of AVX2 and AVX-512, or plain C. The former two want the
** integers of W to be 0 and above; what that adds, sums begin with less.
*/
#ifndef PL_KERNELS_GEMM_INT8_H
#define PL_KERNELS_GEMM_INT8_H

#include "kernels/variant.h"
#include "perilune.h"

#ifndef PL_F64_BUILD

/* Bytes of work, aligned to 64, enough for smaller m as well. */
int64_t K(gemm_int8_work)(int64_t m, int64_t k);

/* x is m x k with leading dimension ldx, y m x n with ldy, w n x k dense of a block format, bias n
** long or NULL. vnni: of pl_vnni, not read by the plain variant. Shared among
** threads. */
void K(gemm_int8)(bool vnni, int64_t m, int64_t n, int64_t k, const float *x, int64_t ldx,
                  pl_dtype dtype, const void *w, const float *bias, float *y, int64_t ldy,
                  void *work);

#endif
#endif
