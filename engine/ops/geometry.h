/*
** geometry.h - what the shape functions of many ops share: axes, tiles, saved integers.
*/
#ifndef PL_OPS_GEOMETRY_H
#define PL_OPS_GEOMETRY_H

#include "base/thread.h"
#include "ops/op.h"

#define PL_TILE 8192 /* elements one thread takes at a time */

/* A shape seen from one axis: [before, size, after]. */
typedef struct {
    int64_t before, size, after;
} pl_split;

static inline int64_t pl__product(const int64_t *size, int n)
{
    int64_t product = 1;
    for (int i = 0; i < n; i++) product *= size[i];
    return product;
}

/* The axis parameter `k` of a tensor of this rank, from 0; a negative one counts from the end. */
static inline pl_status pl__axis(pl_call *c, int k, int rank, int *axis)
{
    const int64_t given = c->param[k].i;
    if (given >= rank || given < -rank)
        return pl__op_fail(c, PL_ERR_SHAPE, "there is no axis %lld in a tensor of rank %d",
                           (long long)given + (given < 0 ? 0 : c->ctx->first), rank);
    *axis = (int)(given < 0 ? given + rank : given);
    return PL_OK;
}

static inline pl_split pl__split_at(const pl_tensor *t, int axis)
{
    return (pl_split){pl__product(t->shape, axis), t->shape[axis],
                      pl__product(t->shape + axis + 1, t->rank - axis - 1)};
}

/* Rows of `width` elements to a tile, at least one. */
static inline int64_t pl__tile_rows(int64_t width)
{
    return width >= PL_TILE || width <= 0 ? 1 : PL_TILE / width;
}

static inline int64_t pl__tiles(int64_t n, int64_t tile)
{
    return (n + tile - 1) / tile;
}

static inline int64_t pl__least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* For a backward that reads an int32 input when the row has no flag I: a copy in saved[slot]. */
static inline pl_status pl__save_ints(pl_call *c, int slot, int input)
{
    const pl_tensor *t = c->in[input];
    if (!c->grad) return PL_OK;
    PL_TRY(pl__saved(c, slot, PL_I32, t->rank, t->shape));
    memcpy(pl__data(c->saved[slot]), pl__data(t), (size_t)t->count * sizeof(int32_t));
    return PL_OK;
}

static inline pl_status pl__out_like(pl_call *c, int input)
{
    const pl_tensor *t = c->in[input];
    return pl__out(c, 0, t->dtype, t->rank, t->shape);
}

#endif
