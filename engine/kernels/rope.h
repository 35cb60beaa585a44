/*
** rope.h - rotary position embedding (Su et al. 2021, arXiv:2104.09864).
**
** Of each head of D channels the first R are rotated, the others stay. Pair i at position t is
** rotated by the angle t f_i and multiplied by `scale`:
**   (a, b) -> scale (a cos - b sin, b cos + a sin)
** f_i is theta^(-2i/R), or given (models for long contexts stretch some; they may also give a
** scale, as in YaRN, Peng et al. 2023). The pair is (2i, 2i+1) when interleaved (the paper,
** llama2.c), else (i, i + R/2) (Hugging Face). The inverse turns back, and is multiplied too: it is
** the gradient.
**
** Angles, sines and cosines are computed in double and depend on position and channel alone, never
** on the rows of the call; then they are rounded to `real`.
*/
#ifndef PL_ROPE_H
#define PL_ROPE_H

#include "variant.h"

#define ROPE_MAX_DIM 1024
#define ROPE_MAX_FREQUENCY 16

typedef struct {
    int64_t T, H, D, R; /* R even, at most D and ROPE_MAX_DIM */
    double theta;
    const real *frequencies; /* [R/2], each from 0 to ROPE_MAX_FREQUENCY; NULL: by theta */
    double scale;
    bool interleaved;
} rope_shape;

/* x, y [T, H*D], not the same place; positions [T], not negative. With `add`, y += instead of =. */
void K(rope)(real *y, const real *x, const int32_t *positions, const rope_shape *r, bool inverse,
             bool add);

/* f_i, ROPE_MAX_DIM / 2 places; those beyond R/2 are 0. */
void K(rope_frequencies)(double *frequency, const rope_shape *r);

/* On the calling thread: y[i] = the rows of x[i], [rows, H[i]*D], for n matrices, whose sines are
** made once. Of r neither T nor H is read; frequency is of rope_frequencies. */
void K(rope_rows)(const rope_shape *r, const double *frequency, const int32_t *positions,
                  int64_t rows, bool inverse, int n, real *const *y, const real *const *x,
                  const int64_t *H);

#endif
