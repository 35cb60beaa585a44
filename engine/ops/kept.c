/*
** kept.c - kept dtypes from outside the ops: pl_dequantise and pl_quantise.
*/
#include <stdio.h>

#include "ops/op.h"

static pl_status check_blocks(pl_ctx *ctx, const char *what, pl_dtype dtype, int64_t count)
{
    if (count >= 0 && count % pl_dtype_block(dtype) == 0) return PL_OK;
    return pl__fail(ctx, PL_ERR_SHAPE, "%s: %lld elements are no whole blocks of %s (%lld each)",
                    what, (long long)count, pl_dtype_name(dtype), (long long)pl_dtype_block(dtype));
}

pl_status pl_dequantise(pl_ctx *ctx, float *values, pl_dtype dtype, const void *blocks,
                        int64_t count)
{
    if (!pl__kept(dtype))
        return pl__fail(ctx, PL_ERR_DTYPE, "dequantise: %s is no kept dtype", pl_dtype_name(dtype));
    PL_TRY(check_blocks(ctx, "dequantise", dtype, count));
    pl__ops_for(ctx, PL_F32)->kernels.dequantise(dtype, count, blocks, values);
    return PL_OK;
}

pl_status pl_quantise(pl_ctx *ctx, void *blocks, pl_dtype dtype, const float *values, int64_t count)
{
    if (dtype != PL_BF16 && dtype != PL_F16 && dtype != PL_Q8_0)
        return pl__fail(ctx, PL_ERR_DTYPE, "quantise: to bfloat16, float16 or q8_0, not to %s",
                        pl_dtype_name(dtype));
    PL_TRY(check_blocks(ctx, "quantise", dtype, count));
    const int64_t bad = pl__ops_for(ctx, PL_F32)->kernels.quantise(dtype, count, values, blocks);
    if (bad < 0) return PL_OK;
    return pl__fail(ctx, PL_ERR_ARG, "quantise: element %lld is %g, which %s cannot hold",
                    (long long)bad + ctx->first, (double)values[bad], pl_dtype_name(dtype));
}
