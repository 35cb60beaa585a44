/*
** table.c - the dispatch table of one variant, made from ops.def.
*/
#include "ops/op.h"

#include "kernels/attention.h"
#include "kernels/flat.h"
#include "kernels/gemm_bf16.h"
#include "kernels/gemm_blas.h"
#include "kernels/quant.h"
#include "kernels/sample.h"

#define OP(name, inputs, params, outputs, flags, shapes, doc) extern const pl_op_impl OPI(name);
#include "ops.def"
#undef OP

static void cache_copy(void *k_cache, void *v_cache, int64_t G, int64_t block_len, int64_t width,
                       int64_t from, int64_t to, int64_t n)
{
    K(attention_cache_copy)(k_cache, v_cache, G, block_len, width, from, to, n);
}

static int64_t gemm_blas_group_work(void)
{
    return K(gemm_blas_group_work)() * (int64_t)sizeof(real);
}

static int gemm_blas_group(void *work)
{
    return K(gemm_blas_group)(work);
}

#ifndef PL_F64_BUILD
static void dequantise(pl_dtype dtype, int64_t n, const void *blocks, void *values)
{
    K(dequantise)(dtype, n, blocks, values);
}
#endif

extern const pl_ops_table OPI(table_);
const pl_ops_table OPI(table_) = {
    .impl =
        {
#define OP(name, inputs, params, outputs, flags, shapes, doc) &OPI(name),
#include "ops.def"
#undef OP
        },
    .kernels =
        {
            .adamw = K(adamw),
            .muon_work = K(muon_work),
            .muon = K(muon),
            .ema = K(ema),
            .sum_squares = K(sum_squares),
            .scale = K(scale),
            .cache_copy = cache_copy,
            .gemm_blas_group_work = gemm_blas_group_work,
            .gemm_blas_group = gemm_blas_group,
#ifndef PL_F64_BUILD
            .adamw_8bit = K(adamw_8bit),
            .dequantise = dequantise,
            .bf16_rows = K(bf16_rows),
            .quantise = K(quantise),
#endif
            .row_max = K(row_max),
            .softmax_row = K(softmax_row_any),
            .row_logprob = K(row_logprob_any),
        },
};
