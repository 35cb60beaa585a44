/*
** clip.c - what clipping by the global norm needs of a flat block: its sum of squares and a scale.
*/
#include "kernels/flat.h"

#include "base/thread.h"
#include "kernels/vec.h"

static double block_squares(int64_t n, const real *x)
{
    double sum = 0;
    V_EACH(i, k, n) {
        const vec a = v_load_n(x + i, k, 0);
        sum += (double)v_sum(a * a);
    }
    return sum;
}

double K(sum_squares)(int64_t n, const void *x)
{
    /* Rounds of fixed blocks: memory for partial sums stays on the stack. */
    enum { ROUND = 64 };
    double total = 0;
    const int64_t blocks = (n + FLAT_BLOCK - 1) / FLAT_BLOCK;
    for (int64_t first = 0; first < blocks; first += ROUND) {
        double part[ROUND];
        const int64_t count = blocks - first < ROUND ? blocks - first : ROUND;
        PL_PARALLEL_FOR(count * FLAT_BLOCK)
        for (int64_t b = 0; b < count; b++) {
            const int64_t at = (first + b) * FLAT_BLOCK,
                          size = n - at < FLAT_BLOCK ? n - at : FLAT_BLOCK;
            part[b] = block_squares(size, (const real *)x + at);
        }
        for (int64_t b = 0; b < count; b++) total += part[b];
    }
    return total;
}

void K(scale)(int64_t n, void *x, double factor)
{
    const int64_t blocks = (n + FLAT_BLOCK - 1) / FLAT_BLOCK;
    PL_PARALLEL_FOR(n)
    for (int64_t b = 0; b < blocks; b++) {
        const int64_t at = b * FLAT_BLOCK, size = n - at < FLAT_BLOCK ? n - at : FLAT_BLOCK;
        real *p = (real *)x + at;
        V_EACH(i, k, size) v_store_n(p + i, v_load_n(p + i, k, 0) * (real)factor, k);
    }
}
