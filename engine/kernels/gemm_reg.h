/*
** gemm_reg.h - a register of C: its width on each machine, loads and stores of its first elements,
** and the multiply-add of a chain.
*/
#ifndef PL_GEMM_REG_H
#define PL_GEMM_REG_H

#include "kernels/variant.h"

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define RBYTES 64
#elif defined(__AVX2__)
#define RBYTES 32
#else
#define RBYTES 16
#endif

typedef real reg __attribute__((vector_size(RBYTES)));
enum { RL = RBYTES / (int)sizeof(real) }; /* elements in a register */

static inline reg r_load(const real *p)
{
    reg r;
    memcpy(&r, p, sizeof r);
    return r;
}

static inline void r_store(real *p, reg v)
{
    memcpy(p, &v, sizeof v);
}

/* The first n elements of a register, 0 <= n <= RL, as the machine wants them told. */
#if defined(__AVX512F__) && !defined(PL_F64_BUILD)
typedef __mmask16 r_count;
#else
typedef int64_t r_count;
#endif

static inline r_count r_first(int64_t n)
{
#if defined(__AVX512F__) && !defined(PL_F64_BUILD)
    return (__mmask16)((1u << n) - 1);
#else
    return n;
#endif
}

/* Loads the first elements, zeros behind them. */
static inline reg r_load_n(const real *p, r_count n)
{
#if defined(__AVX512F__) && !defined(PL_F64_BUILD)
    return (reg)_mm512_maskz_loadu_ps(n, p);
#else
    reg r = {0};
    if (n == RL) return r_load(p);
    memcpy(&r, p, (size_t)n * sizeof(real));
    return r;
#endif
}

static inline void r_store_n(real *p, reg v, r_count n)
{
#if defined(__AVX512F__) && !defined(PL_F64_BUILD)
    _mm512_mask_storeu_ps(p, n, (__m512)v);
#else
    if (n == RL) r_store(p, v);
    else memcpy(p, &v, (size_t)n * sizeof(real));
#endif
}

static inline reg r_fma(reg a, reg b, reg c)
{
#if defined(PL_F64_BUILD)
    return a * b + c;
#elif defined(__AVX512F__)
    return (reg)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
    return (reg)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

/* How many of `cols` columns fall into register v. */
static inline int64_t r_cols(int64_t cols, int v)
{
    int64_t left = cols - v * RL;
    return left < 0 ? 0 : left < RL ? left : RL;
}

#endif
