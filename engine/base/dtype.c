/*
** dtype.c - the table of dtypes: names, elements and bytes of a block.
*/
#include "base/dtype.h"

const pl_dtype_row pl__dtypes[PL_DTYPE_COUNT] = {
    [PL_F32] = {"float32", 0, 4, false}, [PL_F64] = {"float64", 0, 8, false},
    [PL_I32] = {"int32", 0, 4, false},   [PL_BF16] = {"bfloat16", 0, 2, true},
    [PL_F16] = {"float16", 0, 2, true},  [PL_Q8_0] = {"q8_0", 5, 34, true},
    [PL_Q4_0] = {"q4_0", 5, 18, true},   [PL_Q4_1] = {"q4_1", 5, 20, true},
    [PL_Q5_0] = {"q5_0", 5, 22, true},   [PL_Q5_1] = {"q5_1", 5, 24, true},
    [PL_Q4_K] = {"q4_k", 8, 144, true},  [PL_Q5_K] = {"q5_k", 8, 176, true},
    [PL_Q6_K] = {"q6_k", 8, 210, true},
};

size_t pl_dtype_size(pl_dtype dtype)
{
    return (size_t)pl__dtypes[dtype].bytes;
}

int64_t pl_dtype_block(pl_dtype dtype)
{
    return (int64_t)1 << pl__dtypes[dtype].shift;
}

const char *pl_dtype_name(pl_dtype dtype)
{
    return pl__dtypes[dtype].name;
}

bool pl_dtype_kept(pl_dtype dtype)
{
    return pl__kept(dtype);
}
