/*
** flat.h - kernels over the flat blocks that hold all parameters of a model, or all gradients.
**
** They are cut into pieces of fixed size, so results do not depend on the number of threads.
*/
#ifndef PL_KERNELS_FLAT_H
#define PL_KERNELS_FLAT_H

#include "kernels/set.h"
#include "kernels/variant.h"

#define FLAT_BLOCK 16384 /* elements one thread takes at a time */

/* w, m, v [n] updated from grad [n]; formula and sources in adamw.c. */
void K(adamw)(int64_t n, void *weight, const void *grad, void *m, void *v,
              const pl_adamw_args *args);
/* The same on the calling thread, for a few elements. */
void K(adamw_serial)(int64_t n, real *w, const real *g, real *m, real *v,
                     const pl_adamw_args *args);
#ifndef PL_F64_BUILD
/* With moments in eight bits: block b of them at m + b * PL_MOMENT_WORDS. `place` of the first
** element in the whole and `step`, from 1, decide how codes are rounded. */
void K(adamw_8bit)(int64_t n, float *weight, const float *grad, uint32_t *m, uint32_t *v,
                   int64_t place, int64_t step, const pl_adamw_args *args);
#endif
/* A matrix w [rows, cols] and its momentum, updated from grad; formula and sources in muon.c. work:
** K(muon_work) bytes, for the thread count of now, aligned to 64. */
int64_t K(muon_work)(int64_t rows, int64_t cols, bool bf16);
void K(muon)(int64_t rows, int64_t cols, void *weight, const void *grad, void *momentum,
             const pl_muon_args *args, void *work);
/* average = decay average + (1 - decay) weight */
void K(ema)(int64_t n, void *average, const void *weight, double decay);
/* Sum of squares in double, added in order. NaN and infinity propagate. */
double K(sum_squares)(int64_t n, const void *x);
void K(scale)(int64_t n, void *x, double factor);

#endif
