/*
** train.h - kernels over flat parameter blocks.
*/
#ifndef PL_KERNELS_TRAIN_H
#define PL_KERNELS_TRAIN_H

#include "kernels/set.h"
#include "kernels/variant.h"

/* w, m, v [n] updated from grad [n]; formula and sources in train.c. */
void K(adamw)(int64_t n, void *weight, const void *grad, void *m, void *v,
              const pl_adamw_args *args);
/* average = decay average + (1 - decay) weight */
void K(ema)(int64_t n, void *average, const void *weight, double decay);
/* Sum of squares in double; blocks of fixed size, added in order. NaN and infinity propagate. */
double K(sum_squares)(int64_t n, const void *x);
void K(scale)(int64_t n, void *x, double factor);

#endif
