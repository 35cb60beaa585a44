/*
** matmul.c - matrix products: matmul over leading axes, and linear, y = x Wᵀ + b.
**
** With C = op(A) op(B): dA = dC op(B)ᵀ and dB = op(A)ᵀ dC, written so that a transposed operand
** gets its gradient transposed. For linear: dx = dy W, dW = dyᵀ x, db = sum of the rows of dy.
**
** A weight used without a tape for a few rows (decoding) is packed once and the packed copy kept by
** the tensor until its data changes. All own ways give the same bits (kernels/gemm.h). Which
** products OpenBLAS does is said in docs/performance.md.
*/
#include <stdio.h>

#include "kernels/bf16.h"
#include "kernels/reduce.h"
#include "ops/geometry.h"
#include "ops/product.h"

enum {
    PACK_ROWS = 64,        /* rows up to which a packed copy of the weight is worth making */
    SERIAL_COST = 1 << 22, /* multiplications up to which one thread does a whole product */
};

/* `count` products of the same shape; the operands of the next lie sa, sb, sc elements further. */
typedef struct {
    bool ta, tb;
    int64_t m, n, k, count;
    const real *a, *b;
    real *c;
    int64_t lda, ldb, ldc, sa, sb, sc;
    bool acc;
} products;

/* Scratch memory of `size` elements; *st tells of failure, NULL alone only that none is needed. */
static real *scratch(pl_call *c, int64_t size, pl_status *st)
{
    *st = PL_OK;
    if (size == 0) return NULL;
    real *work = pl__work(c, size * (int64_t)sizeof(real));
    if (work == NULL) *st = PL_ERR_NOMEM;
    return work;
}

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

/* ---- linear ---- */
enum { X = LINEAR_x, W = LINEAR_w, B = LINEAR_b, Y = LINEAR_y, PRECISION = LINEAR_precision };
enum { ROUNDED }; /* saved: x in bfloat16 */

static pl_status linear_shape(pl_call *c)
{
    const pl_tensor *x = c->in[X], *w = c->in[W], *b = c->in[B];
    char want[80];
    PL_TRY(check_precision(c, PRECISION));
    if (x->rank < 1) return pl__shape_fail(c, X, "[...,K]");
    const int64_t k = x->shape[x->rank - 1];
    if (w->rank != 2 || w->shape[1] != k) {
        snprintf(want, sizeof want, "[N,%lld] for an x of %lld columns", (long long)k,
                 (long long)k);
        return pl__shape_fail(c, W, want);
    }
    if (b != NULL && (b->rank != 1 || b->count != w->shape[0])) {
        snprintf(want, sizeof want, "[%lld] as w has rows", (long long)w->shape[0]);
        return pl__shape_fail(c, B, want);
    }
    int64_t shape[PL_MAX_RANK];
    memcpy(shape, x->shape, sizeof shape);
    shape[x->rank - 1] = w->shape[0];
    return pl__out(c, Y, x->dtype, x->rank, shape);
}

/* The packed copy of w, made now when that is worth it; NULL to do without (which gives the same
** bits, so missing memory is no failure here). */
static const real *packed_weight(pl_call *c, pl_tensor *w, int64_t rows)
{
    const bool parameter = w->node == NULL && (w->requires_grad || w->name[0] != '\0');
    if (c->grad) return NULL;
    real *packed = pl__pack_get(w);
    if (packed != NULL || !parameter || rows > PACK_ROWS) return packed;
    const int64_t n = w->shape[0], k = w->shape[1];
    packed = pl_alloc(c->ctx, (size_t)(K(gemm_pack_size)(n, k) + 1) * sizeof(real));
    if (packed == NULL) return NULL;
    K(gemm_pack)(true, n, k, pl__real(w), k, packed);
    if (pl__stopped(pl__stop_get())) { /* it may not be whole */
        pl_free(c->ctx, packed);
        return NULL;
    }
    pl__pack_set(w, packed);
    return packed;
}

static void add_bias(int64_t m, int64_t n, const real *bias, real *y)
{
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(m * n)
    for (int64_t i = 0; i < m; i++) {
        if (pl__stopped(stop)) continue;
        for (int64_t j = 0; j < n; j++) y[i * n + j] += bias[j];
    }
}

/* x in bfloat16, made now or when another product read the same x. */
static pl_status rounded_input(pl_call *c, pl_tensor **out)
{
    pl_tensor *x = c->in[X];
    *out = pl__rounded_get(x);
    if (*out != NULL) {
        pl_tensor_retain(*out);
        return PL_OK;
    }
    PL_TRY(pl__tensor_new_free(c->ctx, out, PL_BF16, x->rank, x->shape));
    const real *from = pl__real(x);
    uint16_t *to = pl__data(*out);
    PL_PARALLEL_FOR(x->count)
    for (int64_t i = 0; i < x->count; i++) to[i] = bf16_of((float)from[i]);
    pl__rounded_set(x, *out);
    return PL_OK;
}

/* What backward will read of x: nothing beside a constant w; with precision bf16 its rounded
** values, half the memory, unless another op makes the tape hold x anyway. The same bits. */
static pl_status save_input(pl_call *c)
{
    if (!c->grad) return PL_OK;
    c->unread[X] = !c->in[W]->requires_grad;
    if (c->unread[X] || !wants_bf16(c, PRECISION)) return PL_OK;
    if (pl__rounded_get(c->in[X]) == NULL && pl__tensor_held(c->in[X])) return PL_OK;
    c->unread[X] = true;
    return rounded_input(c, &c->saved[ROUNDED]);
}

static pl_status linear_forward(pl_call *c)
{
    pl_tensor *w = c->in[W];
    const int64_t n = w->shape[0], k = w->shape[1];
    const int64_t m = pl__product(c->in[X]->shape, c->in[X]->rank - 1);
    const real *x = pl__real(c->in[X]), *bias = c->in[B] != NULL ? pl__real(c->in[B]) : NULL;
    real *y = pl__real(c->out[Y]), *work = NULL;
    product_way way = {0};
    pl_status st = PL_OK;
    PL_TRY(save_input(c));
    if (wants_bf16(c, PRECISION)) {
        work = scratch(c, product_bf16_work(false, true, m, n, k), &st);
        PL_TRY(st);
        product_bf16(false, true, m, n, k, x, k, w->dtype, pl__data(w), k, bias, false, y, n, work);
        return PL_OK;
    }
    if (pl__kept(
            w->dtype)) { /* no packed copy: a kept weight is to take no more memory than it has */
        work = scratch(c, K(gemm_kept_work)(true, m, n, k), &st);
        PL_TRY(st);
        K(gemm_kept)(true, m, n, k, x, k, w->dtype, pl__data(w), bias, false, y, n, work);
        return PL_OK;
    }
    PL_TRY(pl__gemm_group(c->ctx, PL_REAL_DTYPE, K(gemm_blas_takes)(false, m, n, k), &way.group));
    const real *packed = way.group > 0 ? NULL : packed_weight(c, w, m);
    if (packed == NULL) work = scratch(c, product_work(way, false, true, m, n, k), &st);
    PL_TRY(st);
    if (way.group > 0) {
        product(way, false, true, m, n, k, x, k, pl__real(w), k, false, y, n, work);
        if (bias != NULL) add_bias(m, n, bias, y);
        return PL_OK;
    }
    K(gemm_linear)(m, n, k, x, pl__real(w), packed, bias, y, work);
    return PL_OK;
}

/* dW = dyᵀ x */
static pl_status weight_gradient(pl_call *c, int64_t m, int64_t n, int64_t k)
{
    const real *dy = pl__real(c->d_out[Y]);
    real *dw = pl__real(c->d_in[W]);
    const pl_tensor *rounded = c->saved[ROUNDED];
    if (c->unread[X] && rounded == NULL)
        return pl__op_fail(c, PL_ERR_GRAD,
                           "w was a constant when the op ran; set requires_grad before it");
    product_way way = {.bf16 = wants_bf16(c, PRECISION)};
    const bool large = K(gemm_blas_takes)(true, n, k, m);
    if (!way.bf16) PL_TRY(pl__gemm_group(c->ctx, PL_REAL_DTYPE, large, &way.group));
    pl_status st;
    real *work = scratch(c, product_work(way, true, false, n, k, m), &st);
    PL_TRY(st);
    if (rounded != NULL)
        product_bf16(true, false, n, k, m, dy, n, PL_BF16, pl__data(rounded), k, NULL, c->acc[W],
                     dw, k, work);
    else product(way, true, false, n, k, m, dy, n, pl__real(c->in[X]), k, c->acc[W], dw, k, work);
    return PL_OK;
}

static pl_status linear_backward(pl_call *c)
{
    const int64_t n = c->in[W]->shape[0], k = c->in[W]->shape[1];
    const int64_t m = pl__product(c->in[X]->shape, c->in[X]->rank - 1);
    const real *dy = pl__real(c->d_out[Y]);
    const pl_tensor *w = c->in[W];
    if (c->d_in[X] != NULL) {
        product_way way;
        pl_status st;
        PL_TRY(weight_way(c, PRECISION, w, K(gemm_blas_takes)(false, m, k, n), &way));
        real *work = scratch(c, product_weight_work(way, w, false, m, k, n), &st);
        PL_TRY(st);
        product_weight(way, false, m, k, n, dy, n, w, c->acc[X], pl__real(c->d_in[X]), k, work);
    }
    if (c->d_in[W] != NULL) PL_TRY(weight_gradient(c, m, n, k));
    if (c->d_in[B] != NULL) K(sum_axis)(1, m, n, pl__real(c->d_in[B]), c->acc[B], dy, REAL(1.0));
    return PL_OK;
}

const pl_op_impl OPI(linear) = {linear_shape, linear_forward, linear_backward};
