/*
** dropout.c - zeroing elements at random, the rest scaled up (Srivastava et al. 2014).
**
** Element i is dropped when word i mod 4 of the Philox value i / 4 of stream (seed, index) is below
** p 2^32. Nothing is stored: backward draws the same numbers again. As a mask belongs to a place in
** the tensor, this is the one op whose rows depend on where they stand in the call.
*/
#include "kernels/philox.h"
#include "ops/geometry.h"

static pl_status dropout_shape(pl_call *c)
{
    const double p = c->param[DROPOUT_p].f;
    if (!(p >= 0 && p < 1))
        return pl__op_fail(c, PL_ERR_ARG, "p is %g, a number from 0 and below 1 wanted", p);
    return pl__out_like(c, DROPOUT_x);
}

#define BLOCK (4 * PHILOX_LANES)

/* y (+)= x scaled where kept, else 0; n <= BLOCK elements whose first one is at `from`. */
static inline void run_block(int64_t from, int64_t n, uint64_t seed, uint64_t purpose,
                             uint32_t limit, real scale, real *y, bool acc, const real *x)
{
    uint32_t words[4][PHILOX_LANES], bits[BLOCK];
    philox_lanes(seed, purpose, (uint64_t)from / 4, words);
    for (int i = 0; i < BLOCK; i++) bits[i] = words[i % 4][i / 4];
    if (acc)
        for (int64_t i = 0; i < n; i++) y[i] += bits[i] >= limit ? x[i] * scale : REAL(0.0);
    else
        for (int64_t i = 0; i < n; i++) y[i] = bits[i] >= limit ? x[i] * scale : REAL(0.0);
}

static void run(const pl_call *c, int64_t n, real *y, bool acc, const real *x)
{
    const double p = c->param[DROPOUT_p].f;
    const uint64_t seed = (uint64_t)c->param[DROPOUT_seed].i;
    const uint64_t purpose = (uint64_t)c->param[DROPOUT_index].i;
    const uint32_t limit = (uint32_t)(p * 4294967296.0);
    const real scale = (real)(1.0 / (1.0 - p));
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(n * 8)
    for (int64_t from = 0; from < n; from += BLOCK)
        if (!pl__stopped(stop))
            run_block(from, pl__least(BLOCK, n - from), seed, purpose, limit, scale, y + from, acc,
                      x + from);
}

static pl_status dropout_forward(pl_call *c)
{
    run(c, c->in[DROPOUT_x]->count, pl__real(c->out[DROPOUT_y]), false, pl__real(c->in[DROPOUT_x]));
    return PL_OK;
}

static pl_status dropout_backward(pl_call *c)
{
    const pl_tensor *dx = c->d_in[DROPOUT_x];
    if (dx != NULL)
        run(c, dx->count, pl__real(dx), c->acc[DROPOUT_x], pl__real(c->d_out[DROPOUT_y]));
    return PL_OK;
}

const pl_op_impl OPI(dropout) = {dropout_shape, dropout_forward, dropout_backward};
