/*
** rope.h - rotary position embedding (Su et al. 2021, arXiv:2104.09864).
**
** Pair i of a head of D channels at position t is rotated by the angle t theta^(-2i/D):
**   (a, b) -> (a cos - b sin, b cos + a sin)
** The pair is (2i, 2i+1) when interleaved (the paper, llama2.c), else (i, i + D/2) (Hugging Face).
** The inverse turns back: it is the gradient.
**
** Angles, sines and cosines are computed in double and depend on position and channel alone, never
** on the rows of the call; then they are rounded to `real`.
*/
#ifndef PL_ROPE_H
#define PL_ROPE_H

#include "variant.h"

#define ROPE_MAX_DIM 1024

typedef struct {
    int64_t T, H, D; /* D even, at most ROPE_MAX_DIM */
    double theta;
    bool interleaved;
} rope_shape;

/* x, y [T, H*D], not the same place; positions [T], not negative. With `add`, y += instead of =. */
void K(rope)(real *y, const real *x, const int32_t *positions, const rope_shape *r, bool inverse,
             bool add);

#endif
