/*
** reduce.h - sums and extremes along one axis of a dense [before, size, after] block.
**
** Order of a sum, from shapes alone. Along a contiguous run: VL lanes over chunks of 4096 elements
** (v_total of vec.h), each folded by v_sum, chunk sums added in double, first inside at most 256
** equal blocks and then over the blocks in order (so the blocks of one long run can be shared among
** threads). Down columns: blocks of 128 rows in order, then the block sums in order. A run's sum
** does not depend on how many runs there are.
*/
#ifndef PL_KERNELS_REDUCE_H
#define PL_KERNELS_REDUCE_H

#include "kernels/variant.h"

/* Sum of n elements, on the calling thread. */
double K(sum_run)(int64_t n, const real *x);
/* y[c] (+)= sum over m of x[m, c], on the calling thread. */
void K(sum_rows)(int64_t m, int64_t c, real *y, bool acc, const real *x);

/* y[before, after] (+)= sum over the middle axis / divisor. Shared among threads. */
void K(sum_axis)(int64_t before, int64_t size, int64_t after, real *y, bool acc, const real *x,
                 real divisor);
/* y[before, size, after] (+)= x[before, after] / divisor: the backward of sum_axis. */
void K(spread_axis)(int64_t before, int64_t size, int64_t after, real *y, bool acc, const real *x,
                    real divisor);

/* Largest (or least) over the middle axis, size >= 1; a NaN wins. */
void K(extreme_axis)(int64_t before, int64_t size, int64_t after, real *y, const real *x,
                     bool least);
/* dx = (or +=) dy at the first place along the axis that equals y (the first NaN for a NaN), else
** 0. */
void K(extreme_axis_bwd)(int64_t before, int64_t size, int64_t after, real *dx, bool acc,
                         const real *dy, const real *x, const real *y);

#endif
