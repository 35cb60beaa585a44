/*
** set.h - kernels that floors above the ops call directly, one set for each variant.
**
** Elements are passed as void * because one signature serves float and double.
*/
#ifndef PL_KERNELS_SET_H
#define PL_KERNELS_SET_H

#include <stdbool.h>
#include <stdint.h>

#include "perilune.h"

/* See kernels/adamw.c. */
typedef struct {
    double lr, beta1, beta2, eps, weight_decay;
    double correction1, correction2; /* 1 - beta1^t, 1 - beta2^t */
    double grad_scale;               /* from clipping */
    bool tf_eps;                     /* TensorFlow's place of eps: outside the bias correction */
} pl_adamw_args;

/* See kernels/muon.c. */
typedef struct {
    double lr, momentum, weight_decay;
    double grad_scale; /* from clipping */
    bool bf16;         /* products of operands in bfloat16; float32 alone */
} pl_muon_args;

/* What is read off a row of logits. */
typedef struct {
    double peak, total, entropy;
} pl_row_read;

/* Moments in eight bits, kernels/adamw_8bit.c: a block of so many elements takes so many words of
** four bytes, its scale and then a byte for each element. */
enum { PL_MOMENT_BLOCK = 256, PL_MOMENT_WORDS = 1 + PL_MOMENT_BLOCK / 4 };

typedef struct {
    void (*adamw)(int64_t n, void *weight, const void *grad, void *m, void *v,
                  const pl_adamw_args *args);
    void (*adamw_8bit)(int64_t n, float *weight, const float *grad, uint32_t *m, uint32_t *v,
                       int64_t place, int64_t step, const pl_adamw_args *args); /* float32 alone */
    int64_t (*muon_work)(int64_t rows, int64_t cols, bool bf16); /* bytes, aligned to 64 */
    void (*muon)(int64_t rows, int64_t cols, void *weight, const void *grad, void *momentum,
                 const pl_muon_args *args, void *work);
    void (*ema)(int64_t n, void *average, const void *weight, double decay);
    double (*sum_squares)(int64_t n, const void *x);
    void (*scale)(int64_t n, void *x, double factor);
    /* attention_cache_copy of kernels/attention.h */
    void (*cache_copy)(void *k_cache, void *v_cache, int64_t G, int64_t block_len, int64_t width,
                       int64_t from, int64_t to, int64_t n);
    /* gemm_blas_group of kernels/gemm_blas.h: bytes of work, and the trial. */
    int64_t (*gemm_blas_group_work)(void);
    int (*gemm_blas_group)(void *work);
    /* kernels/quant.h; float32 alone. */
    void (*dequantise)(pl_dtype dtype, int64_t n, const void *blocks, void *values);
    int64_t (*quantise)(pl_dtype dtype, int64_t n, const float *values, void *blocks);
    /* kernels/gemm_bf16.h; float32 alone. */
    void (*bf16_rows)(int64_t rows, int64_t cols, const float *x, int64_t ld_x, uint16_t *to,
                      int64_t ld_to);
    /* One row of logits to what sampling needs; see kernels/sample.h. */
    double (*row_max)(int64_t n, const void *x);
    pl_row_read (*softmax_row)(int64_t n, const void *logits, double inv_temperature, void *out);
    double (*row_logprob)(pl_row_read row, double inv_temperature, double logit);
} pl_kernel_set;

#endif
