/*
** ema.c - the exponential moving average of a flat block.
*/
#include "kernels/flat.h"

#include "base/thread.h"
#include "kernels/vec.h"

void K(ema)(int64_t n, void *average, const void *weight, double decay)
{
    const int64_t blocks = (n + FLAT_BLOCK - 1) / FLAT_BLOCK;
    const vec d = v_set1((real)decay), rest = v_set1((real)(1 - decay));
    PL_PARALLEL_FOR(n)
    for (int64_t b = 0; b < blocks; b++) {
        const int64_t at = b * FLAT_BLOCK, size = n - at < FLAT_BLOCK ? n - at : FLAT_BLOCK;
        real *to = (real *)average + at;
        const real *from = (const real *)weight + at;
        V_EACH(i, k, size)
            v_store_n(to + i, v_fma(d, v_load_n(to + i, k, 0), rest * v_load_n(from + i, k, 0)), k);
    }
}
