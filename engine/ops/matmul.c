/*
** matmul.c - matrix products over leading axes.
**
** With C = op(A) op(B): dA = dC op(B)ᵀ and dB = op(A)ᵀ dC, written so that a transposed operand
** gets its gradient transposed. Which products OpenBLAS does is said in docs/performance.md.
*/
#include "ops/geometry.h"
#include "ops/product.h"

enum { SERIAL_COST = 1 << 22 }; /* multiplications up to which one thread does a whole product */

/* `count` products of the same shape; the operands of the next lie sa, sb, sc elements further. */
typedef struct {
    bool ta, tb;
    int64_t m, n, k, count;
    const real *a, *b;
    real *c;
    int64_t lda, ldb, ldc, sa, sb, sc;
    bool acc;
} products;

static pl_status run_products(pl_call *c, const products *p)
{
    product_way way = {0};
    const bool large = K(gemm_blas_takes)(p->ta, p->m, p->n, p->k);
    PL_TRY(pl__gemm_group(c->ctx, PL_REAL_DTYPE, large, &way.group));
    /* Several small products: one a thread. Not when they add to the same place (sc = 0). */
    if (way.group == 0 && p->count > 1 && p->sc != 0 && p->m * p->n * p->k <= SERIAL_COST) {
        PL_PARALLEL_FOR(p->count * p->m * p->n / 16 * p->k)
        for (int64_t i = 0; i < p->count; i++)
            K(gemm_serial)(p->ta, p->tb, p->m, p->n, p->k, p->a + i * p->sa, p->lda,
                           p->b + i * p->sb, p->ldb, p->acc, p->c + i * p->sc, p->ldc);
        return PL_OK;
    }
    pl_status st;
    real *work = scratch(c, product_work(way, p->ta, p->tb, p->m, p->n, p->k), &st);
    PL_TRY(st);
    for (int64_t i = 0; i < p->count; i++)
        product(way, p->ta, p->tb, p->m, p->n, p->k, p->a + i * p->sa, p->lda, p->b + i * p->sb,
                p->ldb, p->acc || (p->sc == 0 && i > 0), p->c + i * p->sc, p->ldc, work);
    return PL_OK;
}

/* ---- matmul ---- */
typedef struct {
    bool ta, tb;
    int64_t m, n, k, count; /* op(A) is m x k, op(B) k x n */
    int64_t a_step, b_step; /* elements from one matrix to the next; 0 for a rank of 2 */
    int rank;
    int64_t shape[PL_MAX_RANK]; /* of the result */
} matmul_sizes;

static pl_status matmul_measure(pl_call *c, matmul_sizes *s)
{
    const pl_tensor *a = c->in[MATMUL_a], *b = c->in[MATMUL_b];
    if (a->rank < 2) return pl__shape_fail(c, MATMUL_a, "[...,M,K]");
    if (b->rank < 2) return pl__shape_fail(c, MATMUL_b, "[...,K,N]");
    *s = (matmul_sizes){.ta = c->param[MATMUL_transpose_a].i != 0,
                        .tb = c->param[MATMUL_transpose_b].i != 0};
    const int64_t *ea = a->shape + a->rank - 2, *eb = b->shape + b->rank - 2;
    s->m = ea[s->ta];
    s->k = ea[!s->ta];
    s->n = eb[!s->tb];
    if (eb[s->tb] != s->k) {
        char sa[PL_SHAPE_TEXT], sb[PL_SHAPE_TEXT];
        return pl__op_fail(c, PL_ERR_SHAPE,
                           "a %s%s and b %s%s do not fit: the inner sizes are "
                           "%lld and %lld",
                           pl__shape_text(a, sa), s->ta ? " transposed" : "", pl__shape_text(b, sb),
                           s->tb ? " transposed" : "", (long long)s->k, (long long)eb[s->tb]);
    }
    const pl_tensor *lead = a->rank > 2 ? a : b;
    s->rank = lead->rank;
    memcpy(s->shape, lead->shape, sizeof s->shape);
    if (a->rank > 2 && b->rank > 2) {
        bool equal = a->rank == b->rank;
        for (int i = 0; equal && i < a->rank - 2; i++) equal = a->shape[i] == b->shape[i];
        if (!equal) return pl__shape_fail(c, MATMUL_b, "the leading axes of a, or a rank of 2");
    }
    s->count = pl__product(lead->shape, lead->rank - 2);
    s->a_step = a->rank > 2 ? s->m * s->k : 0;
    s->b_step = b->rank > 2 ? s->k * s->n : 0;
    s->shape[s->rank - 2] = s->m;
    s->shape[s->rank - 1] = s->n;
    if (s->b_step == 0 && !s->ta) { /* one tall product */
        s->m *= s->count;
        s->count = 1;
    }
    return PL_OK;
}

static pl_status matmul_shape(pl_call *c)
{
    matmul_sizes s;
    PL_TRY(matmul_measure(c, &s));
    return pl__out(c, MATMUL_y, c->in[MATMUL_a]->dtype, s.rank, s.shape);
}

static pl_status matmul_forward(pl_call *c)
{
    matmul_sizes s;
    PL_TRY(matmul_measure(c, &s));
    const products p = {.ta = s.ta,
                        .tb = s.tb,
                        .m = s.m,
                        .n = s.n,
                        .k = s.k,
                        .count = s.count,
                        .a = pl__real(c->in[MATMUL_a]),
                        .lda = s.ta ? s.m : s.k,
                        .sa = s.a_step,
                        .b = pl__real(c->in[MATMUL_b]),
                        .ldb = s.tb ? s.k : s.n,
                        .sb = s.b_step,
                        .c = pl__real(c->out[MATMUL_y]),
                        .ldc = s.n,
                        .sc = s.m * s.n};
    return run_products(c, &p);
}

/* A product of no matrices at all adds nothing, but `=` still has to write. */
static void clear_if_none(pl_tensor *t, bool acc, int64_t count)
{
    if (count == 0 && !acc) memset(pl__real(t), 0, (size_t)t->count * sizeof(real));
}

static pl_status matmul_backward(pl_call *c)
{
    matmul_sizes s;
    PL_TRY(matmul_measure(c, &s));
    const real *a = pl__real(c->in[MATMUL_a]), *b = pl__real(c->in[MATMUL_b]);
    const real *dy = pl__real(c->d_out[MATMUL_y]);
    const int64_t lda = s.ta ? s.m : s.k, ldb = s.tb ? s.k : s.n;
    if (c->d_in[MATMUL_a] != NULL) {
        products p = {.count = s.count,
                      .c = pl__real(c->d_in[MATMUL_a]),
                      .ldc = lda,
                      .sc = s.a_step,
                      .k = s.n,
                      .acc = c->acc[MATMUL_a]};
        if (s.ta) { /* stored k x m: op(B) dyᵀ */
            p.ta = s.tb, p.tb = true, p.m = s.k, p.n = s.m;
            p.a = b, p.lda = ldb, p.sa = s.b_step, p.b = dy, p.ldb = s.n, p.sb = s.m * s.n;
        } else {
            p.ta = false, p.tb = !s.tb, p.m = s.m, p.n = s.k;
            p.a = dy, p.lda = s.n, p.sa = s.m * s.n, p.b = b, p.ldb = ldb, p.sb = s.b_step;
        }
        PL_TRY(run_products(c, &p));
        clear_if_none(c->d_in[MATMUL_a], c->acc[MATMUL_a], s.count);
    }
    if (c->d_in[MATMUL_b] != NULL) {
        products p = {.count = s.count,
                      .c = pl__real(c->d_in[MATMUL_b]),
                      .ldc = ldb,
                      .sc = s.b_step,
                      .k = s.m,
                      .acc = c->acc[MATMUL_b]};
        if (s.tb) { /* stored n x k: dyᵀ op(A) */
            p.ta = true, p.tb = s.ta, p.m = s.n, p.n = s.k;
            p.a = dy, p.lda = s.n, p.sa = s.m * s.n, p.b = a, p.ldb = lda, p.sb = s.a_step;
        } else {
            p.ta = !s.ta, p.tb = false, p.m = s.k, p.n = s.n;
            p.a = a, p.lda = lda, p.sa = s.a_step, p.b = dy, p.ldb = s.n, p.sb = s.m * s.n;
        }
        PL_TRY(run_products(c, &p));
        clear_if_none(c->d_in[MATMUL_b], c->acc[MATMUL_b], s.count);
    }
    return PL_OK;
}

const pl_op_impl OPI(matmul) = {matmul_shape, matmul_forward, matmul_backward};
