/*
** block.h - the inside of a parameter block, for train/ alone.
*/
#ifndef PL_TRAIN_BLOCK_H
#define PL_TRAIN_BLOCK_H

#include <math.h>

#include "graph/profile.h"

struct pl_block {
    pl_ctx *ctx;
    int n;
    int64_t count;
    pl_tensor *flat, *grads; /* grads: NULL until wanted */
    pl_tensor **tensors;
};

pl_status pl__block_want_grads(pl_block *block);

#endif
