/*
** variant.h - how one source serves several machines and dtypes.
**
** Every file of kernels/ and ops/ is compiled once for each variant: float32 for AVX-512, AVX2 and
** plain x86-64, and float64 (for gradient checks: the same op code). The build defines PL_VARIANT
** (f32_avx512, f32_avx2, f32_plain, f64) and, for float64, PL_F64_BUILD. Code writes `real` for
** the element and K(name) for names that must differ between variants.
*/
#ifndef PL_VARIANT_H
#define PL_VARIANT_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PL_CAT2_(a, b) a##_##b
#define PL_CAT_(a, b) PL_CAT2_(a, b)
#define K(name) PL_CAT_(k_##name, PL_VARIANT)

#ifdef PL_F64_BUILD
typedef double real;
#define REAL(x) x
#define PL_REAL_DTYPE PL_F64
#else
typedef float real;
#define REAL(x) x##f
#define PL_REAL_DTYPE PL_F32
#endif

/* Before a loop over registers: an array of them lives in registers only when it is unrolled. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#endif
