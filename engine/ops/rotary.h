/*
** rotary.h - what rope and block_in share: the parameters of a rotation, where they stand in a row
** of ops.def, and their checks.
*/
#ifndef PL_OPS_ROTARY_H
#define PL_OPS_ROTARY_H

#include <stdio.h>

#include "kernels/rope.h"
#include "ops/op.h"

/* Places of inputs and of parameters. */
typedef struct {
    int positions, inv_freq;
    int head_dim, theta, interleaved, rotary_dim, scale;
} rotary_places;

static inline int64_t rotary_dim(const pl_call *c, const rotary_places *at, int64_t head_dim)
{
    return c->param[at->rotary_dim].i != 0 ? c->param[at->rotary_dim].i : head_dim;
}

/* T and H are the caller's to set. */
static inline rope_shape rotary_shape(const pl_call *c, const rotary_places *at, int64_t head_dim,
                                      const pl_tensor *frequencies)
{
    return (rope_shape){.D = head_dim,
                        .R = rotary_dim(c, at, head_dim),
                        .theta = c->param[at->theta].f,
                        .frequencies = frequencies != NULL ? pl__real(frequencies) : NULL,
                        .scale = c->param[at->scale].f,
                        .interleaved = c->param[at->interleaved].i != 0};
}

/* inv_freq: [R/2] constants. */
static inline pl_status check_frequencies(pl_call *c, int input, int64_t rotary)
{
    const pl_tensor *t = c->in[input];
    if (t == NULL) return PL_OK;
    if (t->rank != 1 || t->count != rotary / 2) {
        char want[80];
        snprintf(want, sizeof want, "[%lld], half of the %lld rotated channels,",
                 (long long)(rotary / 2), (long long)rotary);
        return pl__shape_fail(c, input, want);
    }
    if (c->grad && t->requires_grad)
        return pl__op_fail(c, PL_ERR_GRAD, "inv_freq is a constant: no gradient is defined for it");
    const real *f = pl__real(t);
    for (int64_t i = 0; i < t->count; i++)
        if (!(f[i] >= 0 && f[i] <= ROPE_MAX_FREQUENCY))
            return pl__op_fail(c, PL_ERR_ARG, "inv_freq holds %g at place %lld; 0 to %d wanted",
                               (double)f[i], (long long)i + c->ctx->first, ROPE_MAX_FREQUENCY);
    return PL_OK;
}

/* Of `rows` rows of x, `width` channels each. */
static inline pl_status check_rotary(pl_call *c, const rotary_places *at, const char *x,
                                     int64_t rows, int64_t width, int64_t dim)
{
    const pl_tensor *positions = c->in[at->positions];
    const bool given = c->param[at->rotary_dim].i != 0;
    if (positions->rank != 1 || positions->count != rows)
        return pl__shape_fail(c, at->positions, "[T], one position for each row of x,");
    if (dim < 1 || width % dim != 0)
        return pl__op_fail(c, PL_ERR_SHAPE,
                           "rows of %s have %lld channels, no multiple of head_dim %lld", x,
                           (long long)width, (long long)dim);
    const int64_t rotary = rotary_dim(c, at, dim), most = dim < ROPE_MAX_DIM ? dim : ROPE_MAX_DIM;
    if (rotary < 2 || rotary % 2 != 0 || rotary > most)
        return pl__op_fail(c, PL_ERR_ARG, "%s is %lld; an even number from 2 to %lld wanted",
                           given ? "rotary_dim" : "head_dim", (long long)rotary,
                           (long long)(given ? most : ROPE_MAX_DIM));
    const double theta = c->param[at->theta].f, scale = c->param[at->scale].f;
    if (!(theta > 0 && theta < INFINITY))
        return pl__op_fail(c, PL_ERR_ARG, "theta is %g; a positive number wanted", theta);
    if (!(scale > 0 && scale < INFINITY))
        return pl__op_fail(c, PL_ERR_ARG, "scale is %g; a positive number wanted", scale);
    return check_frequencies(c, at->inv_freq, rotary);
}

#endif
