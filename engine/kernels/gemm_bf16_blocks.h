/*
** gemm_bf16_blocks.h - bfloat16 products by the rules `pairs` and `tiles` (gemm_bf16.h).
*/
#ifndef PL_KERNELS_GEMM_BF16_BLOCKS_H
#define PL_KERNELS_GEMM_BF16_BLOCKS_H

#include "base/cpu.h"
#include "kernels/variant.h"
#include "perilune.h"

#ifndef PL_F64_BUILD

/* A matrix of elements in rows of `ld`; `turned`: of the transpose of what is meant. For B that is
** k x n, for A m x k. */
typedef struct {
    pl_dtype dtype;
    bool turned;
    const void *at;
    int64_t ld;
} bf16_matrix;

typedef struct {
    int64_t m, n, k;
    bf16_matrix a, b;
    const void *packed_a; /* A from K(bf16_pack_a), read in place of a; or NULL */
    const void *packed;   /* B from K(bf16_pack), read in place of b; or NULL */
    const float *bias;    /* or NULL */
    bool acc;
    float *c;
    int64_t ldc;
} bf16_product;

/* Bytes of workspace, enough for smaller sizes as well; for products with packed A, packed B. */
int64_t K(bf16_blocks_work)(bool packed_a, bool packed, int64_t m, int64_t n, int64_t k);
void K(bf16_blocks)(pl_bf16_rule rule, const bf16_product *product, void *work);

int64_t K(bf16_pack_size)(int64_t n, int64_t k);
void K(bf16_pack)(int64_t n, int64_t k, const bf16_matrix *b, void *packed);
int64_t K(bf16_pack_a_size)(int64_t m, int64_t k);
void K(bf16_pack_a)(int64_t m, int64_t k, const bf16_matrix *a, void *packed);
void K(bf16_pack_both)(int64_t m, int64_t k, const float *x, int64_t ld, void *packed,
                       void *turned);

#endif
#endif
