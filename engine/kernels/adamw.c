/*
** adamw.c - one step of AdamW (Loshchilov & Hutter, arXiv:1711.05101) over a flat block.
**
**   m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2
**   torch:       w = w (1 - lr wd) - lr/c1 m / (sqrt(v)/sqrt(c2) + eps),  c = 1 - b^t
**   TensorFlow:  w = w (1 - lr wd) - lr sqrt(c2)/c1 m / (sqrt(v) + eps)
** They differ only in what eps is compared with (Kingma & Ba, arXiv:1412.6980, end of section 2).
*/
#include "kernels/flat.h"

#include "base/thread.h"
#include "kernels/vec.h"

void K(adamw_serial)(int64_t n, real *w, const real *g, real *m, real *v, const pl_adamw_args *a)
{
    const double root2 = sqrt(a->correction2);
    const vec b1 = v_set1((real)a->beta1), b2 = v_set1((real)a->beta2);
    const vec a1 = v_set1((real)(1 - a->beta1)), a2 = v_set1((real)(1 - a->beta2));
    const vec clip = v_set1((real)a->grad_scale), eps = v_set1((real)a->eps);
    const vec decay = v_set1((real)(1 - a->lr * a->weight_decay));
    const vec step =
        v_set1((real)(a->tf_eps ? a->lr * root2 / a->correction1 : a->lr / a->correction1));
    const vec inv_root2 = v_set1((real)(a->tf_eps ? 1 : 1 / root2));
    V_EACH(i, k, n) {
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
    const int64_t blocks = (n + FLAT_BLOCK - 1) / FLAT_BLOCK;
    PL_PARALLEL_FOR(n * 4)
    for (int64_t b = 0; b < blocks; b++) {
        const int64_t at = b * FLAT_BLOCK, size = n - at < FLAT_BLOCK ? n - at : FLAT_BLOCK;
        K(adamw_serial)(size, (real *)weight + at, (const real *)grad + at, (real *)m + at,
                        (real *)v + at, args);
    }
}
