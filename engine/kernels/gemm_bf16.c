/*
** gemm_bf16.c - matrix products of bfloat16 operands. By the rules `pairs` and `tiles` they are
** done in gemm_bf16_blocks.c; by `chain` operands are rounded into the workspace as float32 and
** multiplied by the float32 kernels.
*/
#include "kernels/gemm_bf16.h"

#include "base/cpu.h"
#include "base/thread.h"
#include "kernels/bf16.h"
#include "kernels/gemm.h"
#include "kernels/gemm_bf16_blocks.h"
#include "kernels/quant.h"

#ifndef PL_F64_BUILD

enum { ALIGN = 16 }; /* floats in a line of the cache */

static int64_t aligned(int64_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

static void round_rows(int64_t rows, int64_t cols, const float *x, int64_t ld, float *to)
{
    PL_PARALLEL_FOR(rows * cols)
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) to[i * cols + j] = bf16_value(bf16_of(x[i * ld + j]));
}

static void round_matrix(int64_t rows, int64_t cols, pl_dtype dtype, const void *x, int64_t ld,
                         float *to)
{
    if (dtype == PL_F32) {
        round_rows(rows, cols, x, ld, to);
        return;
    }
    K(dequantise)(dtype, rows * cols, x, to);
    round_rows(rows, cols, to, cols, to);
}

static void add_bias(int64_t m, int64_t n, const float *bias, float *c, int64_t ldc)
{
    PL_PARALLEL_FOR(m * n)
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) c[i * ldc + j] += bias[j];
}

int64_t K(gemm_bf16_work)(bool ta, bool tb, int64_t m, int64_t n, int64_t k)
{
    if (pl__bf16_rule().kind != PL_BF16_CHAIN) return K(bf16_blocks_work)(false, m, n, k);
    return (aligned(m * k) + aligned(n * k) + K(gemm_work)(ta, tb, m, n, k)) *
           (int64_t)sizeof(float);
}

void K(gemm_bf16)(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                  pl_dtype b_dtype, const void *b, int64_t ldb, const float *bias, bool acc,
                  float *c, int64_t ldc, void *work)
{
    const pl_bf16_rule rule = pl__bf16_rule();
    if (rule.kind != PL_BF16_CHAIN) {
        const bf16_product p = {
            .m = m,
            .n = n,
            .k = k,
            .a = {PL_F32, ta, a, lda},
            .b = {b_dtype, tb, b,
                  b_dtype == PL_F32 ? ldb
                  : tb              ? k
                                    : n},
            .bias = bias,
            .acc = acc,
            .c = c,
            .ldc = ldc,
        };
        K(bf16_blocks)(rule, &p, work);
        return;
    }
    float *ra = work, *rb = ra + aligned(m * k), *rest = rb + aligned(n * k);
    const int64_t a_cols = ta ? m : k, b_cols = tb ? k : n;
    round_rows(ta ? k : m, a_cols, a, lda, ra);
    round_matrix(tb ? n : k, b_cols, b_dtype, b, ldb, rb);
    K(gemm)(ta, tb, m, n, k, ra, a_cols, rb, b_cols, acc, c, ldc, rest);
    if (bias != NULL) add_bias(m, n, bias, c, ldc);
}

#endif
