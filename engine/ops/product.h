/*
** product.h - one matrix product: of operands rounded to bfloat16, or of x in eight bits and the
** integers of a block format, or by the engine's own kernels, or by OpenBLAS.
**
** An op's parameter `precision` tells of the first two. Else pl__gemm_group says for the context
** and the dtype; products too small for OpenBLAS are always the engine's own. Products for
** gradients and those of cross_entropy may be of split numbers (pl__gemm_split): not those of other
** forward passes, since decoding, whose few rows would be slower by it, must give the same bits. n
** and k decide, so all rows of an op go one way.
*/
#ifndef PL_OPS_PRODUCT_H
#define PL_OPS_PRODUCT_H

#include "kernels/gemm.h"
#include "kernels/gemm_bf16.h"
#include "kernels/gemm_blas.h"
#include "kernels/gemm_int8.h"
#include "kernels/gemm_split.h"
#include "ops/op.h"

typedef struct {
    bool bf16;
    bool int8;     /* with a weight in blocks, and never for gradients */
    int group;     /* of pl__gemm_group; 0: the engine's own */
    double *split; /* of pl__gemm_split, where n and k allow: counts their flops; NULL: none are */
} product_way;

/* Scratch memory of `size` elements; *st tells of failure, NULL alone only that none is needed. */
static inline real *scratch(pl_call *c, int64_t size, pl_status *st)
{
    *st = PL_OK;
    if (size == 0) return NULL;
    real *work = pl__work(c, size * (int64_t)sizeof(real));
    if (work == NULL) *st = PL_ERR_NOMEM;
    return work;
}

/* precision: the place of that parameter. */
static inline bool wants_bf16(const pl_call *c, int precision)
{
    return c->param[precision].i == LINEAR_precision_bf16;
}

/* Of a product with weight w. */
static inline bool wants_int8(const pl_call *c, int precision, const pl_tensor *w)
{
    return c->param[precision].i == LINEAR_precision_int8 && pl__kept(w->dtype) &&
           pl_dtype_block(w->dtype) > 1;
}

static inline pl_status check_precision(pl_call *c, int precision)
{
    const int64_t given = c->param[precision].i;
    if (given == LINEAR_precision_float32 || PL_REAL_DTYPE == PL_F32) return PL_OK;
    return pl__op_fail(c, PL_ERR_DTYPE, "precision %s is for float32 tensors, and %s is float64",
                       given == LINEAR_precision_bf16 ? "bf16" : "int8", c->row->in[0].name);
}

/* ---- with precision bf16; never called in float64, where the op fails before ---- */
/* A matrix as an operand: float32, or of a kept dtype. */
typedef struct {
    pl_dtype dtype;
    const void *data;
    int64_t ld;
} operand;

static inline operand real_operand(const real *data, int64_t ld)
{
    return (operand){PL_REAL_DTYPE, data, ld};
}

/* `ld` long rows of a whole tensor. */
static inline operand tensor_operand(const pl_tensor *t, int64_t ld)
{
    return (operand){t->dtype, pl__data(t), ld};
}

static inline int64_t product_bf16_work(bool ta, bool tb, int64_t m, int64_t n, int64_t k)
{
#ifdef PL_F64_BUILD
    (void)ta, (void)tb, (void)m, (void)n, (void)k;
    return 0;
#else
    return K(gemm_bf16_work)(ta, tb, m, n, k) / (int64_t)sizeof(real) + 1;
#endif
}

/* A is float32 or bfloat16, bias n long or NULL. */
static inline void product_bf16(bool ta, bool tb, int64_t m, int64_t n, int64_t k, operand a,
                                operand b, const real *bias, bool acc, real *c, int64_t ldc,
                                real *work)
{
#ifdef PL_F64_BUILD
    (void)ta, (void)tb, (void)m, (void)n, (void)k, (void)a, (void)b, (void)bias, (void)acc, (void)c,
        (void)ldc, (void)work;
#else
    K(gemm_bf16_any)
    (ta, tb, m, n, k, a.dtype, a.data, a.ld, b.dtype, b.data, b.ld, bias, acc, c, ldc, work);
#endif
}

/* B packed once, as K(gemm_bf16_pack): bytes, and the products with it. */
static inline int64_t product_bf16_pack_size(int64_t n, int64_t k)
{
#ifdef PL_F64_BUILD
    (void)n, (void)k;
    return 0;
#else
    return K(gemm_bf16_pack_size)(n, k);
#endif
}

static inline void product_bf16_pack(bool tb, int64_t n, int64_t k, operand b, void *packed)
{
#ifdef PL_F64_BUILD
    (void)tb, (void)n, (void)k, (void)b, (void)packed;
#else
    K(gemm_bf16_pack)(tb, n, k, b.dtype, b.data, b.ld, packed);
#endif
}

static inline int64_t product_bf16_packed_work(int64_t m, int64_t n, int64_t k)
{
#ifdef PL_F64_BUILD
    (void)m, (void)n, (void)k;
    return 0;
#else
    return K(gemm_bf16_packed_work)(m, n, k) / (int64_t)sizeof(real) + 1;
#endif
}

static inline void product_bf16_packed(int64_t m, int64_t n, int64_t k, operand a,
                                       const void *packed, real *c, int64_t ldc, real *work)
{
#ifdef PL_F64_BUILD
    (void)m, (void)n, (void)k, (void)a, (void)packed, (void)c, (void)ldc, (void)work;
#else
    K(gemm_bf16_packed_any)(m, n, k, a.dtype, a.data, a.ld, packed, NULL, false, c, ldc, work);
#endif
}

/* A packed once, as K(gemm_bf16_pack_a): bytes, and the products with it. */
static inline int64_t product_bf16_a_size(int64_t m, int64_t k)
{
#ifdef PL_F64_BUILD
    (void)m, (void)k;
    return 0;
#else
    return K(gemm_bf16_pack_a_size)(m, k);
#endif
}

static inline void product_bf16_pack_a(int64_t m, int64_t k, operand a, void *packed)
{
#ifdef PL_F64_BUILD
    (void)m, (void)k, (void)a, (void)packed;
#else
    K(gemm_bf16_pack_a)(false, m, k, a.dtype, a.data, a.ld, packed);
#endif
}

/* As K(gemm_bf16_pack_both). */
static inline void product_bf16_pack_both(int64_t m, int64_t k, const real *x, int64_t ld,
                                          void *packed, void *turned)
{
#ifdef PL_F64_BUILD
    (void)m, (void)k, (void)x, (void)ld, (void)packed, (void)turned;
#else
    K(gemm_bf16_pack_both)(m, k, x, ld, packed, turned);
#endif
}

static inline int64_t product_bf16_left_work(bool packed, int64_t m, int64_t n, int64_t k)
{
#ifdef PL_F64_BUILD
    (void)packed, (void)m, (void)n, (void)k;
    return 0;
#else
    return K(gemm_bf16_left_work)(packed, false, m, n, k) / (int64_t)sizeof(real) + 1;
#endif
}

/* B is k x n, and `packed` it packed or NULL. */
static inline void product_bf16_left(int64_t m, int64_t n, int64_t k, const void *packed_a,
                                     operand b, const void *packed, bool acc, real *c, int64_t ldc,
                                     real *work)
{
#ifdef PL_F64_BUILD
    (void)m, (void)n, (void)k, (void)packed_a, (void)b, (void)packed, (void)acc, (void)c, (void)ldc,
        (void)work;
#else
    K(gemm_bf16_left)
    (false, m, n, k, packed_a, b.dtype, b.data, b.ld, packed, acc, c, ldc, work);
#endif
}

/* ---- with precision int8; never called in float64 ---- */
static inline int64_t product_int8_work(int64_t m, int64_t k)
{
#ifdef PL_F64_BUILD
    (void)m, (void)k;
    return 0;
#else
    return K(gemm_int8_work)(m, k) / (int64_t)sizeof(real) + 1;
#endif
}

/* c = a wᵀ + bias; bias n long or NULL. */
static inline void product_int8(int64_t m, int64_t n, int64_t k, const real *a, int64_t lda,
                                const pl_tensor *w, const real *bias, real *c, int64_t ldc,
                                real *work)
{
#ifdef PL_F64_BUILD
    (void)m, (void)n, (void)k, (void)a, (void)lda, (void)w, (void)bias, (void)c, (void)ldc,
        (void)work;
#else
    K(gemm_int8)
    (pl_vnni(), m, n, k, a, lda, w->dtype, pl__data(w), bias, c, ldc, work);
#endif
}

/* ---- of two float matrices ---- */
static inline bool by_openblas(int group, bool ta, int64_t m, int64_t n, int64_t k)
{
    return group > 0 && K(gemm_blas_takes)(ta, m, n, k);
}

static inline int64_t split_work(product_way way, int64_t m, int64_t n, int64_t k)
{
#ifndef PL_F64_BUILD
    if (way.split != NULL) return K(gemm_split_work)(m, n, k) / (int64_t)sizeof(real);
#endif
    (void)way, (void)m, (void)n, (void)k;
    return 0;
}

static inline pl_status split_way(pl_call *c, product_way *way)
{
    bool split;
    PL_TRY(pl__gemm_split(c->ctx, PL_REAL_DTYPE, &split));
    way->split = split ? &c->split_flops : NULL;
    return PL_OK;
}

/* Elements of workspace for product(), enough for smaller m and k as well; may be 0. */
static inline int64_t product_work(product_way way, bool ta, bool tb, int64_t m, int64_t n,
                                   int64_t k)
{
    if (way.bf16) return product_bf16_work(ta, tb, m, n, k);
    const int64_t own = K(gemm_work)(ta, tb, m, n, k);
    const int64_t openblas = way.group > 0 ? K(gemm_blas_work)(way.group, n, k) : 0;
    const int64_t chains = own > openblas ? own : openblas, split = split_work(way, m, n, k);
    return chains > split ? chains : split;
}

/* As K(gemm). */
static inline void product(product_way way, bool ta, bool tb, int64_t m, int64_t n, int64_t k,
                           const real *a, int64_t lda, const real *b, int64_t ldb, bool acc,
                           real *c, int64_t ldc, real *work)
{
#ifndef PL_F64_BUILD
    if (way.split != NULL && !way.bf16 && gemm_split_takes(n, k)) {
        *way.split += 2 * (double)m * (double)n * (double)k;
        K(gemm_split)(ta, tb, m, n, k, a, lda, b, ldb, acc, c, ldc, work);
        return;
    }
#endif
    if (way.bf16)
        product_bf16(ta, tb, m, n, k, real_operand(a, lda), real_operand(b, ldb), NULL, acc, c, ldc,
                     work);
    else if (by_openblas(way.group, ta, m, n, k))
        K(gemm_blas)(way.group, ta, tb, m, n, k, a, lda, b, ldb, acc, c, ldc, work);
    else K(gemm)(ta, tb, m, n, k, a, lda, b, ldb, acc, c, ldc, work);
}

/* ---- with a weight, a matrix that may be kept: w is n x k with tb, else k x n, dense ----
** Those with a kept one are the engine's own always. */
static inline pl_status weight_way(pl_call *c, int precision, const pl_tensor *w, bool large,
                                   product_way *way)
{
    *way = (product_way){.bf16 = wants_bf16(c, precision), .int8 = wants_int8(c, precision, w)};
    if (way->bf16 || pl__kept(w->dtype)) return PL_OK;
    return pl__gemm_group(c->ctx, PL_REAL_DTYPE, large, &way->group);
}

/* Of a product for gradients. */
static inline pl_status gradient_way(pl_call *c, int precision, const pl_tensor *w, bool large,
                                     product_way *way)
{
    PL_TRY(weight_way(c, precision, w, large, way));
    way->int8 = false;
    return way->bf16 ? PL_OK : split_way(c, way);
}

static inline int64_t product_weight_work(product_way way, const pl_tensor *w, bool tb, int64_t m,
                                          int64_t n, int64_t k)
{
    if (way.int8) return product_int8_work(m, k);
    if (pl__kept(w->dtype) && !way.bf16) return K(gemm_kept_work)(tb, m, n, k);
    return product_work(way, false, tb, m, n, k);
}

static inline void product_weight(product_way way, bool tb, int64_t m, int64_t n, int64_t k,
                                  const real *a, int64_t lda, const pl_tensor *w, bool acc, real *c,
                                  int64_t ldc, real *work)
{
    const int64_t ldw = tb ? k : n;
    if (way.bf16)
        product_bf16(false, tb, m, n, k, real_operand(a, lda), tensor_operand(w, ldw), NULL, acc, c,
                     ldc, work);
    else if (way.int8) product_int8(m, n, k, a, lda, w, NULL, c, ldc, work);
    else if (pl__kept(w->dtype))
        K(gemm_kept)(tb, m, n, k, a, lda, w->dtype, pl__data(w), NULL, acc, c, ldc, work);
    else product(way, false, tb, m, n, k, a, lda, pl__real(w), ldw, acc, c, ldc, work);
}

#endif
