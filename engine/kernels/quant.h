/*
** quant.h - the kept dtypes: weights in half precision and in GGUF's block formats.
**
** A value is scale * q, or scale * q + least. The factors are so short (a float16 scale, six bits
** of a K kind's own scale, at most eight of q) that every product is exact in float32; only the sum
** rounds, once. So a value has the same bits however it is computed, fused or not, on every
** machine, and they are the bits of the `gguf` package.
**
** Layouts (ggml's; f16 = IEEE half, little endian; nibbles: q of element i in the low, of i + n/2
** in the high half of byte i):
**   q8_0  f16 scale, 32 int8                                   scale q
**   q4_0  f16 scale, 16 bytes of nibbles                       scale (q - 8)
**   q4_1  f16 scale, f16 least, 16 bytes                       scale q + least
**   q5_0  f16 scale, 32 fifth bits, 16 bytes                   scale (q - 16)
**   q5_1  f16 scale, f16 least, 32 fifth bits, 16 bytes        scale q + least
**   q4_k  f16 d, f16 m, 12 bytes with 8 pairs of six bits (s, t), 4 runs of 32 bytes of nibbles;
**         of each 32 elements                                  (d s) q - (m t)
**   q5_k  as q4_k, with 32 bytes of fifth bits (bit g of byte i: element i of the g-th 32) before q
**   q6_k  128 bytes of low nibbles, 64 of two upper bits, 16 int8 s, f16 d; of each 16 elements
**                                                              (d s) (q - 32)
*/
#ifndef PL_KERNELS_QUANT_H
#define PL_KERNELS_QUANT_H

#include "kernels/variant.h"
#include "perilune.h"

/* The values of `n` elements, whole blocks, of a kept dtype. */
void K(dequantise)(pl_dtype dtype, int64_t n, const void *blocks, real *values);

#ifndef PL_F64_BUILD
/* To bfloat16, float16 or q8_0 (see pl_quantise). The first element that does not fit, or -1. */
int64_t K(quantise)(pl_dtype dtype, int64_t n, const float *values, void *blocks);
#endif

#endif
