/*
** dtype.h - what the dtypes are in memory, for the engine itself.
*/
#ifndef PL_BASE_DTYPE_H
#define PL_BASE_DTYPE_H

#include "perilune.h"

typedef struct {
    const char *name;
    int shift; /* a block has 1 << shift elements */
    int bytes; /* of a block */
    bool kept;
} pl_dtype_row;

extern const pl_dtype_row pl__dtypes[PL_DTYPE_COUNT];

/* Bytes of `count` elements, a multiple of the block. */
static inline size_t pl__dtype_bytes(pl_dtype dtype, int64_t count)
{
    return (size_t)(count >> pl__dtypes[dtype].shift) * (size_t)pl__dtypes[dtype].bytes;
}

static inline bool pl__kept(pl_dtype dtype)
{
    return pl__dtypes[dtype].kept;
}

#endif
