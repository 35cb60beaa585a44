/*
** sampler.h - from one row of probabilities to one token.
*/
#ifndef PL_GEN_SAMPLER_H
#define PL_GEN_SAMPLER_H

#include "perilune.h"

typedef struct {
    int64_t top_k;       /* 0: off */
    double top_p, min_p; /* 1 and 0: off */
} pl_truncation;

/* A token drawn from p [n] (sums to 1) by u in [0, 1), and the part of the mass that truncation
** left (1 when it is off). `heap` is scratch for n numbers; not read when truncation is off. */
int64_t pl__sample(const float *p, int64_t n, double u, const pl_truncation *cut, int32_t *heap,
                   double *mass);
/* The first place of `value` in x [n]; 0 when it is nowhere. */
int64_t pl__place_of(const float *x, int64_t n, float value);

#endif
