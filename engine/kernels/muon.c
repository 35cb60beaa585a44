/*
** muon.c - one step of Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural
** networks") over a matrix.
**
**   m = mu m + g;  u = g + mu m  (Nesterov);  w = w (1 - lr wd) - lr 0.2 sqrt(max(r, c)) O(u)
**
** where O(u) is near to U Vᵀ of u = U S Vᵀ: the step is equally long in all directions of the
** matrix. Divided by its Frobenius norm u has singular values s below 1; five times
** x = (a + b x xᵀ + c (x xᵀ)²) x takes each to a s + b s³ + c s⁵, which ends between 0.68 and 1.21
** for s from 0.002 to 1. The factor makes the root mean square of a step some 0.2 lr whatever the
** shape, as AdamW's is, so the two take one rate (Liu et al., arXiv:2502.16982, section 2.2).
*/
#include "kernels/flat.h"

#include "base/thread.h"
#include "kernels/gemm.h"
#include "kernels/gemm_bf16.h"
#include "kernels/vec.h"

enum { ITERATIONS = 5 };
#define MUON_A 3.4445
#define MUON_B (-4.7750)
#define MUON_C 2.0315
#define STEP_RMS 0.2

typedef struct {
    bool wide, bf16; /* wide: x xᵀ is the smaller of x xᵀ and xᵀ x */
    int64_t rows, cols, side;
    real *x, *next, *gram, *poly; /* [rows, cols] twice, [side, side] twice */
    void *work;
} muon_place;

static int64_t gemm_bytes(bool bf16, bool ta, bool tb, int64_t m, int64_t n, int64_t k)
{
#ifndef PL_F64_BUILD
    if (bf16) return K(gemm_bf16_work)(ta, tb, m, n, k);
#endif
    (void)bf16;
    return K(gemm_work)(ta, tb, m, n, k) * (int64_t)sizeof(real);
}

static void multiply(const muon_place *p, bool ta, bool tb, int64_t m, int64_t n, int64_t k,
                     const real *a, int64_t lda, const real *b, int64_t ldb, real *c)
{
#ifndef PL_F64_BUILD
    if (p->bf16) {
        K(gemm_bf16)(ta, tb, m, n, k, a, lda, PL_F32, b, ldb, NULL, false, c, n, p->work);
        return;
    }
#endif
    K(gemm)(ta, tb, m, n, k, a, lda, b, ldb, false, c, n, p->work);
}

/* To a multiple of 64 bytes, as work wants to be aligned. */
static int64_t aligned(int64_t elements)
{
    const int64_t line = 64 / (int64_t)sizeof(real);
    return (elements + line - 1) / line * line;
}

int64_t K(muon_work)(int64_t rows, int64_t cols, bool bf16)
{
    const bool wide = rows <= cols;
    const int64_t side = wide ? rows : cols, other = wide ? cols : rows;
    const int64_t gram = gemm_bytes(bf16, !wide, wide, side, side, other);
    const int64_t square = gemm_bytes(bf16, false, false, side, side, side);
    const int64_t step = gemm_bytes(bf16, false, false, rows, cols, side);
    const int64_t most = gram > square ? gram : square;
    return (2 * aligned(rows * cols) + 2 * aligned(side * side)) * (int64_t)sizeof(real) +
           (most > step ? most : step);
}

static muon_place place(int64_t rows, int64_t cols, bool bf16, void *work)
{
    const bool wide = rows <= cols;
    muon_place p = {.wide = wide,
                    .bf16 = bf16,
                    .rows = rows,
                    .cols = cols,
                    .side = wide ? rows : cols,
                    .x = work};
    p.next = p.x + aligned(rows * cols);
    p.gram = p.next + aligned(rows * cols);
    p.poly = p.gram + aligned(p.side * p.side);
    p.work = p.poly + aligned(p.side * p.side);
    return p;
}

/* x = (a + b S + c S²) x with S = x xᵀ, or the same from the other side where that is smaller. */
static void iterate(muon_place *p)
{
    const int64_t rows = p->rows, cols = p->cols, side = p->side;
    multiply(p, !p->wide, p->wide, side, side, p->wide ? cols : rows, p->x, cols, p->x, cols,
             p->gram);
    multiply(p, false, false, side, side, side, p->gram, side, p->gram, side, p->poly);
    const vec b = v_set1((real)MUON_B), c = v_set1((real)MUON_C);
    PL_PARALLEL_FOR(side * side)
    for (int64_t i = 0; i < side; i++) {
        real *to = p->poly + i * side;
        const real *from = p->gram + i * side;
        V_EACH(j, n, side)
            v_store_n(to + j, v_fma(b, v_load_n(from + j, n, 0), c * v_load_n(to + j, n, 0)), n);
        to[i] += (real)MUON_A;
    }
    if (p->wide) multiply(p, false, false, rows, cols, rows, p->poly, rows, p->x, cols, p->next);
    else multiply(p, false, false, rows, cols, cols, p->x, cols, p->poly, cols, p->next);
    real *swap = p->x;
    p->x = p->next;
    p->next = swap;
}

void K(muon)(int64_t rows, int64_t cols, void *weight, const void *grad, void *momentum,
             const pl_muon_args *args, void *work)
{
    muon_place p = place(rows, cols, args->bf16, work);
    const int64_t n = rows * cols, blocks = (n + FLAT_BLOCK - 1) / FLAT_BLOCK;
    const vec mu = v_set1((real)args->momentum), clip = v_set1((real)args->grad_scale);
    PL_PARALLEL_FOR(n)
    for (int64_t i = 0; i < blocks; i++) {
        const int64_t at = i * FLAT_BLOCK, size = n - at < FLAT_BLOCK ? n - at : FLAT_BLOCK;
        const real *g = (const real *)grad + at;
        real *m = (real *)momentum + at, *x = p.x + at;
        V_EACH(j, k, size) {
            const vec now = v_load_n(g + j, k, 0) * clip;
            const vec sum = v_fma(mu, v_load_n(m + j, k, 0), now);
            v_store_n(m + j, sum, k);
            v_store_n(x + j, v_fma(mu, sum, now), k);
        }
    }
    const double norm = sqrt(K(sum_squares)(n, p.x));
    if (norm > 0) K(scale)(n, p.x, 1 / norm); /* else all are zeros, and so is the step */
    for (int i = 0; i < ITERATIONS; i++) iterate(&p);
    const double longest = (double)(rows > cols ? rows : cols);
    const vec step = v_set1((real)(args->lr * STEP_RMS * sqrt(longest)));
    const vec decay = v_set1((real)(1 - args->lr * args->weight_decay));
    PL_PARALLEL_FOR(n)
    for (int64_t i = 0; i < blocks; i++) {
        const int64_t at = i * FLAT_BLOCK, size = n - at < FLAT_BLOCK ? n - at : FLAT_BLOCK;
        real *w = (real *)weight + at;
        const real *x = p.x + at;
        V_EACH(j, k, size)
            v_store_n(w + j, v_load_n(w + j, k, 0) * decay - step * v_load_n(x + j, k, 0), k);
    }
}
