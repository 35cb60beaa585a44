/*
** rounded.h - for ops whose backward reads inputs rounded to bfloat16 (rounds[] of a call): forward
** rounds them a run at a time, while it is at hand, and backward has it as float again.
*/
#ifndef PL_OPS_ROUNDED_H
#define PL_OPS_ROUNDED_H

#include "kernels/bf16.h"
#include "ops/op.h"

enum { ROUNDED_RUN = 1024 }; /* elements of a run, which stays in the nearest cache */

/* The tensor that forward rounds an input to, none where backward reads the input as it is. */
static inline pl_status rounded_open(pl_call *c, int i)
{
    const pl_tensor *t = c->in[i];
    if (!c->grad || !c->rounds[i] || t->dtype == PL_BF16 || t->remakable) return PL_OK;
    return pl__tensor_new_free(c->ctx, &c->rounded[i], PL_BF16, 1, &t->count);
}

/* A run of input i from element `from` on, read or, if it is in bfloat16, made in `space`. */
static inline const real *rounded_read(const pl_call *c, int i, int64_t from, int64_t n,
                                       real *space)
{
    const pl_tensor *t = c->in[i];
    if (t->dtype != PL_BF16) return pl__real(t) + from;
    const uint16_t *words = (const uint16_t *)pl__data(t) + from;
    for (int64_t k = 0; k < n; k++) space[k] = (real)bf16_value(words[k]);
    return space;
}

/* Rounds a run, where that is wanted. */
static inline void rounded_write(const pl_call *c, int i, int64_t from, int64_t n, const real *x)
{
    if (c->rounded[i] == NULL) return;
    uint16_t *words = (uint16_t *)pl__data(c->rounded[i]) + from;
    for (int64_t k = 0; k < n; k++) words[k] = bf16_of((float)x[k]);
}

#endif
