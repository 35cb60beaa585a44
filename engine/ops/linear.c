/*
** linear.c - y = x Wᵀ + b, the product of all projections.
**
** dx = dy W, dW = dyᵀ x, db = sum of the rows of dy. With precision bf16 the operands of all three
** products are rounded to bfloat16; with int8 that of y alone is another, of x in eight bits.
**
** A weight used without a tape is packed once, and the packed copy kept by the tensor until its
** data change: for a few rows (decoding), or in bfloat16 for any number (scoring goes in small
** parts). A small one keeps its copies in bfloat16 with a tape too, one for y and one for dx. All
** own ways give the same bits (kernels/gemm.h, kernels/gemm_bf16.h). A kept weight is packed for
** bfloat16 products alone, where its blocks would be read anew by each of them.
*/
#include <stdio.h>

#include "base/thread.h"
#include "kernels/reduce.h"
#include "ops/geometry.h"
#include "ops/packed.h"
#include "ops/product.h"

enum { PACK_ROWS = 64 }; /* up to which a packed copy of a float32 weight is worth making */
enum { X = LINEAR_x, W = LINEAR_w, B = LINEAR_b, Y = LINEAR_y, PRECISION = LINEAR_precision };
enum { ROUNDED }; /* saved: x in bfloat16 */

/* y and dy are [m,n], x is [m,k], w [n,k]. */
typedef struct {
    int64_t m, n, k;
} linear_sizes;

static linear_sizes sizes_of(const pl_call *c)
{
    return (linear_sizes){.m = pl__product(c->in[X]->shape, c->in[X]->rank - 1),
                          .n = c->in[W]->shape[0],
                          .k = c->in[W]->shape[1]};
}

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

/* ---- what backward reads of x ---- */

/* x in bfloat16, made now or when another product read the same x; the caller has a reference. */
static pl_status rounded_input(pl_call *c, linear_sizes s, pl_tensor **out)
{
    pl_tensor *x = c->in[X];
    *out = pl__rounded_get(x);
    if (*out != NULL) {
        pl_tensor_retain(*out);
        return PL_OK;
    }
    PL_TRY(pl__tensor_new_free(c->ctx, out, PL_BF16, x->rank, x->shape));
#ifdef PL_F64_BUILD
    (void)s;
#else
    K(bf16_rows)(s.m, s.k, pl__real(x), s.k, pl__data(*out), s.k);
#endif
    pl__rounded_set(x, *out);
    return PL_OK;
}

/* Nothing beside a constant w; with precision bf16 the rounded values, half the memory, unless the
** tape holds x anyway for another op, or can make it again. The same bits. */
static pl_status save_input(pl_call *c, linear_sizes s)
{
    if (!c->grad) return PL_OK;
    c->unread[X] = !c->in[W]->requires_grad;
    if (c->unread[X] || !wants_bf16(c, PRECISION)) return PL_OK;
    if (c->in[X]->remakable) {
        if (s.k > s.n) return PL_OK; /* a projection down: as a rule no other product reads its x */
        pl_tensor *rounded;          /* for the products with x now; goes when x does */
        PL_TRY(rounded_input(c, s, &rounded));
        pl_tensor_release(rounded);
        return PL_OK;
    }
    if (pl__rounded_get(c->in[X]) == NULL && pl__tensor_held(c->in[X])) return PL_OK;
    c->unread[X] = true;
    return rounded_input(c, s, &c->saved[ROUNDED]);
}

/* ---- forward ---- */

static void add_bias(int64_t m, int64_t n, const real *bias, real *y)
{
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(m * n)
    for (int64_t i = 0; i < m; i++) {
        if (pl__stopped(stop)) continue;
        for (int64_t j = 0; j < n; j++) y[i * n + j] += bias[j];
    }
}

/* x as it is, or rounded already. */
static operand input_operand(const pl_call *c, linear_sizes s)
{
    const pl_tensor *rounded =
        c->saved[ROUNDED] != NULL ? c->saved[ROUNDED] : pl__rounded_get(c->in[X]);
    return tensor_operand(rounded != NULL ? rounded : c->in[X], s.k);
}

static pl_status forward_bf16(pl_call *c, linear_sizes s, const real *bias, real *y)
{
    const operand x = input_operand(c, s), w = tensor_operand(c->in[W], s.k);
    pl_status st;
#ifndef PL_F64_BUILD
    const void *packed = packed_weight(c, c->in[W], PL_PACK_BF16, true);
    if (packed != NULL) {
        const int64_t bytes = K(gemm_bf16_packed_work)(s.m, s.n, s.k);
        real *work = scratch(c, bytes / (int64_t)sizeof(real) + 1, &st);
        PL_TRY(st);
        K(gemm_bf16_packed_any)
        (s.m, s.n, s.k, x.dtype, x.data, x.ld, packed, bias, false, y, s.n, work);
        return PL_OK;
    }
#endif
    real *work = scratch(c, product_bf16_work(false, true, s.m, s.n, s.k), &st);
    PL_TRY(st);
    product_bf16(false, true, s.m, s.n, s.k, x, w, bias, false, y, s.n, work);
    return PL_OK;
}

static pl_status forward_kept(pl_call *c, linear_sizes s, const real *bias, real *y)
{
    const pl_tensor *w = c->in[W];
    pl_status st;
    real *work = scratch(c, K(gemm_kept_work)(true, s.m, s.n, s.k), &st);
    PL_TRY(st);
    K(gemm_kept)(true, s.m, s.n, s.k, pl__real(c->in[X]), s.k, w->dtype, pl__data(w), bias, false,
                 y, s.n, work);
    return PL_OK;
}

static pl_status forward_int8(pl_call *c, linear_sizes s, const real *bias, real *y)
{
    pl_status st;
    real *work = scratch(c, product_int8_work(s.m, s.k), &st);
    PL_TRY(st);
    product_int8(s.m, s.n, s.k, pl__real(c->in[X]), s.k, c->in[W], bias, y, s.n, work);
    return PL_OK;
}

static pl_status forward_plain(pl_call *c, linear_sizes s, const real *bias, real *y)
{
    const real *x = pl__real(c->in[X]), *w = pl__real(c->in[W]);
    real *work = NULL;
    pl_status st = PL_OK;
    product_way way = {0};
    const bool large = K(gemm_blas_takes)(false, s.m, s.n, s.k);
    PL_TRY(pl__gemm_group(c->ctx, PL_REAL_DTYPE, large, &way.group));
    const real *packed =
        way.group > 0 ? NULL : packed_weight(c, c->in[W], PL_PACK_PLAIN, s.m <= PACK_ROWS);
    if (packed == NULL) work = scratch(c, product_work(way, false, true, s.m, s.n, s.k), &st);
    PL_TRY(st);
    if (way.group > 0) {
        product(way, false, true, s.m, s.n, s.k, x, s.k, w, s.k, false, y, s.n, work);
        if (bias != NULL) add_bias(s.m, s.n, bias, y);
        return PL_OK;
    }
    K(gemm_linear)(s.m, s.n, s.k, x, w, packed, bias, y, work);
    return PL_OK;
}

static pl_status linear_forward(pl_call *c)
{
    const linear_sizes s = sizes_of(c);
    const real *bias = c->in[B] != NULL ? pl__real(c->in[B]) : NULL;
    real *y = pl__real(c->out[Y]);
    PL_TRY(save_input(c, s));
    if (wants_bf16(c, PRECISION)) return forward_bf16(c, s, bias, y);
    if (wants_int8(c, PRECISION, c->in[W])) return forward_int8(c, s, bias, y);
    if (pl__kept(c->in[W]->dtype)) return forward_kept(c, s, bias, y);
    return forward_plain(c, s, bias, y);
}

/* ---- backward ---- */

/* dy for the products; with precision bf16, where two read it, packed for both by one reading: as
** the left operand of dy W, and its transpose as that of dyᵀ x. */
typedef struct {
    operand dense;
    void *left, *turned; /* NULL: not packed */
} gradient;

static pl_status output_gradient(pl_call *c, linear_sizes s, gradient *dy)
{
    *dy = (gradient){.dense = tensor_operand(c->d_out[Y], s.n)};
    if (!wants_bf16(c, PRECISION) || c->d_in[X] == NULL || c->d_in[W] == NULL) return PL_OK;
    dy->left = pl__work(c, product_bf16_a_size(s.m, s.n));
    dy->turned = pl__work(c, product_bf16_a_size(s.n, s.m));
    if (dy->left == NULL || dy->turned == NULL) return PL_ERR_NOMEM;
    product_bf16_pack_both(s.m, s.n, pl__real(c->d_out[Y]), s.n, dy->left, dy->turned);
    return PL_OK;
}

static pl_status input_gradient(pl_call *c, linear_sizes s, const gradient *dy)
{
    pl_tensor *w = c->in[W];
    real *dx = pl__real(c->d_in[X]);
    product_way way;
    pl_status st;
    if (dy->left != NULL) {
        const void *packed = packed_weight(c, w, PL_PACK_BF16_TURNED, w->count <= PACK_TRAINED);
        real *work = scratch(c, product_bf16_left_work(packed != NULL, s.m, s.k, s.n), &st);
        PL_TRY(st);
        product_bf16_left(s.m, s.k, s.n, dy->left, tensor_operand(w, s.k), packed, c->acc[X], dx,
                          s.k, work);
        return PL_OK;
    }
    PL_TRY(gradient_way(c, PRECISION, w, K(gemm_blas_takes)(false, s.m, s.k, s.n), &way));
    real *work = scratch(c, product_weight_work(way, w, false, s.m, s.k, s.n), &st);
    PL_TRY(st);
    product_weight(way, false, s.m, s.k, s.n, dy->dense.data, s.n, w, c->acc[X], dx, s.k, work);
    return PL_OK;
}

static pl_status weight_gradient(pl_call *c, linear_sizes s, const gradient *dy)
{
    real *dw = pl__real(c->d_in[W]);
    const pl_tensor *rounded = c->saved[ROUNDED];
    if (c->unread[X] && rounded == NULL)
        return pl__op_fail(c, PL_ERR_GRAD,
                           "w was a constant when the op ran; set requires_grad before it");
    const operand x = tensor_operand(rounded != NULL ? rounded : c->in[X], s.k);
    product_way way;
    pl_status st;
    if (dy->turned != NULL) {
        real *work = scratch(c, product_bf16_left_work(false, s.n, s.k, s.m), &st);
        PL_TRY(st);
        product_bf16_left(s.n, s.k, s.m, dy->turned, x, NULL, c->acc[W], dw, s.k, work);
        return PL_OK;
    }
    PL_TRY(gradient_way(c, PRECISION, c->in[W], K(gemm_blas_takes)(true, s.n, s.k, s.m), &way));
    real *work = scratch(c, product_work(way, true, false, s.n, s.k, s.m), &st);
    PL_TRY(st);
    if (way.bf16)
        product_bf16(true, false, s.n, s.k, s.m, dy->dense, x, NULL, c->acc[W], dw, s.k, work);
    else
        product(way, true, false, s.n, s.k, s.m, dy->dense.data, s.n, pl__real(c->in[X]), s.k,
                c->acc[W], dw, s.k, work);
    return PL_OK;
}

static pl_status linear_backward(pl_call *c)
{
    const linear_sizes s = sizes_of(c);
    gradient dy;
    PL_TRY(output_gradient(c, s, &dy));
    if (c->d_in[X] != NULL) PL_TRY(input_gradient(c, s, &dy));
    if (c->d_in[W] != NULL) PL_TRY(weight_gradient(c, s, &dy));
    if (c->d_in[B] != NULL)
        K(sum_axis)(1, s.m, s.n, pl__real(c->d_in[B]), c->acc[B], pl__real(c->d_out[Y]), REAL(1.0));
    return PL_OK;
}

extern const pl_op_impl OPI(linear);
const pl_op_impl OPI(linear) = {linear_shape, linear_forward, linear_backward};
