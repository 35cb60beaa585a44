/*
** train.c - AdamW (Loshchilov & Hutter, arXiv:1711.05101), EMA and norms over flat blocks.
**
**   m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2
**   torch:       w = w (1 - lr wd) - lr/c1 m / (sqrt(v)/sqrt(c2) + eps),  c = 1 - b^t
**   TensorFlow:  w = w (1 - lr wd) - lr sqrt(c2)/c1 m / (sqrt(v) + eps)
** They differ only in what eps is compared with (Kingma & Ba, arXiv:1412.6980, end of section 2).
** Blocks are of fixed size, so results do not depend on the number of threads.
*/
#include "kernels/train.h"

#include "base/thread.h"
#include "kernels/vec.h"

#define BLOCK 16384

static void adamw_block(int64_t n, real *w, const real *g, real *m, real *v,
                        const pl_adamw_args *a)
{
    const double root2 = sqrt(a->correction2);
    const vec b1 = v_set1((real)a->beta1), b2 = v_set1((real)a->beta2);
    const vec a1 = v_set1((real)(1 - a->beta1)), a2 = v_set1((real)(1 - a->beta2));
    const vec clip = v_set1((real)a->grad_scale), eps = v_set1((real)a->eps);
    const vec decay = v_set1((real)(1 - a->lr * a->weight_decay));
    const vec step = v_set1((real)(a->tf_eps ? a->lr * root2 / a->correction1
                                             : a->lr / a->correction1));
    const vec inv_root2 = v_set1((real)(a->tf_eps ? 1 : 1 / root2));
    V_EACH(i, k, n)
    {
        const vec x = v_load_n(g + i, k, 0) * clip;
        const vec m1 = v_fma(b1, v_load_n(m + i, k, 0), a1 * x);
        const vec v1 = v_fma(b2, v_load_n(v + i, k, 0), a2 * x * x);
        const vec w1 = v_load_n(w + i, k, 0) * decay - step * m1 / (v_sqrt(v1) * inv_root2 + eps);
        v_store_n(m + i, m1, k);
        v_store_n(v + i, v1, k);
        v_store_n(w + i, w1, k);
    }
}

void K(adamw)(int64_t n, void *weight, const void *grad, void *m, void *v,
              const pl_adamw_args *args)
{
    const int64_t blocks = (n + BLOCK - 1) / BLOCK;
    PL_PARALLEL_FOR(n * 4)
    for (int64_t b = 0; b < blocks; b++) {
        const int64_t at = b * BLOCK, size = n - at < BLOCK ? n - at : BLOCK;
        adamw_block(size, (real *)weight + at, (const real *)grad + at, (real *)m + at,
                    (real *)v + at, args);
    }
}

void K(ema)(int64_t n, void *average, const void *weight, double decay)
{
    const int64_t blocks = (n + BLOCK - 1) / BLOCK;
    const vec d = v_set1((real)decay), rest = v_set1((real)(1 - decay));
    PL_PARALLEL_FOR(n)
    for (int64_t b = 0; b < blocks; b++) {
        const int64_t at = b * BLOCK, size = n - at < BLOCK ? n - at : BLOCK;
        real *to = (real *)average + at;
        const real *from = (const real *)weight + at;
        V_EACH(i, k, size)
        v_store_n(to + i, v_fma(d, v_load_n(to + i, k, 0), rest * v_load_n(from + i, k, 0)), k);
    }
}

static double block_squares(int64_t n, const real *x)
{
    double sum = 0;
    V_EACH(i, k, n)
    {
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
    const int64_t blocks = (n + BLOCK - 1) / BLOCK;
    for (int64_t first = 0; first < blocks; first += ROUND) {
        double part[ROUND];
        const int64_t count = blocks - first < ROUND ? blocks - first : ROUND;
        PL_PARALLEL_FOR(count * BLOCK)
        for (int64_t b = 0; b < count; b++) {
            const int64_t at = (first + b) * BLOCK, size = n - at < BLOCK ? n - at : BLOCK;
            part[b] = block_squares(size, (const real *)x + at);
        }
        for (int64_t b = 0; b < count; b++) total += part[b];
    }
    return total;
}

void K(scale)(int64_t n, void *x, double factor)
{
    const int64_t blocks = (n + BLOCK - 1) / BLOCK;
    PL_PARALLEL_FOR(n)
    for (int64_t b = 0; b < blocks; b++) {
        const int64_t at = b * BLOCK, size = n - at < BLOCK ? n - at : BLOCK;
        real *p = (real *)x + at;
        V_EACH(i, k, size) v_store_n(p + i, v_load_n(p + i, k, 0) * (real)factor, k);
    }
}
