/*
** gemm_bf16.c - matrix products of bfloat16 operands: the public functions, and the rule `chain`.
** By the rules `pairs` and `tiles` they are done in gemm_bf16_blocks.c.
**
** By `chain` A is rounded into the workspace as float32, and B stands there, or in the packed form,
** as dense bfloat16, which the kernels for kept weights multiply in float32.
*/
#include "kernels/gemm_bf16.h"

#include "base/cpu.h"
#include "base/dtype.h"
#include "base/thread.h"
#include "kernels/bf16.h"
#include "kernels/gemm.h"
#include "kernels/gemm_bf16_blocks.h"
#include "kernels/quant_piece.h"

#ifndef PL_F64_BUILD

enum { ALIGN = 64, SIDE = 32 /* of the squares in which a matrix is transposed */ };

static int64_t aligned(int64_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* ---- Rounding ---- */

void K(bf16_rows)(int64_t rows, int64_t cols, const float *x, int64_t ld_x, uint16_t *to,
                  int64_t ld_to)
{
    PL_PARALLEL_FOR(rows * cols)
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) to[i * ld_to + j] = bf16_of(x[i * ld_x + j]);
}

/* Elements [from, from + count) of a row, `from` a multiple of PIECE. */
static void round_run(const bf16_matrix *b, int64_t row, int64_t from, int64_t count, uint16_t *to)
{
    const uint8_t *at = (const uint8_t *)b->at + (size_t)row * pl__dtype_bytes(b->dtype, b->ld);
    if (b->dtype == PL_BF16) {
        memcpy(to, (const uint16_t *)at + from, (size_t)count * sizeof *to);
        return;
    }
    for (int64_t i = 0; i < count; i += PIECE) {
        const int64_t n = count - i < PIECE ? count - i : PIECE;
        float values[PIECE];
        const float *x = values;
        if (b->dtype == PL_F32) x = (const float *)at + from + i;
        else row_values(b->dtype, at, from + i, n, values);
        for (int64_t e = 0; e < n; e++) to[i + e] = bf16_of(x[e]);
    }
}

static void round_dense(const bf16_matrix *b, int64_t rows, int64_t cols, uint16_t *to)
{
    PL_PARALLEL_FOR(rows * cols)
    for (int64_t i = 0; i < rows; i++) round_run(b, i, 0, cols, to + i * cols);
}

/* to[j * rows + i] = r(element j of row i). */
static void round_transposed(const bf16_matrix *b, int64_t rows, int64_t cols, uint16_t *to)
{
    PL_PARALLEL_FOR(rows * cols)
    for (int64_t j = 0; j < cols; j += SIDE)
        for (int64_t i = 0; i < rows; i += SIDE) {
            const int64_t high = rows - i < SIDE ? rows - i : SIDE;
            const int64_t wide = cols - j < SIDE ? cols - j : SIDE;
            uint16_t square[SIDE][SIDE];
            for (int64_t y = 0; y < high; y++) round_run(b, i + y, j, wide, square[y]);
            for (int64_t x = 0; x < wide; x++)
                for (int64_t y = 0; y < high; y++) to[(j + x) * rows + i + y] = square[y][x];
        }
}

/* op(A), m x k and dense, as float32. */
static void round_a(const bf16_matrix *a, int64_t m, int64_t k, float *to)
{
    const int64_t squares = a->turned ? (m + SIDE - 1) / SIDE : m;
    PL_PARALLEL_FOR(m * k)
    for (int64_t s = 0; s < squares; s++)
        for (int64_t p = 0; p < k; p += SIDE) {
            const int64_t first = a->turned ? s * SIDE : s, wide = k - p < SIDE ? k - p : SIDE;
            const int64_t high = !a->turned ? 1 : m - first < SIDE ? m - first : SIDE;
            uint16_t run[SIDE];
            for (int64_t y = 0; y < (a->turned ? wide : 1); y++) {
                if (a->turned) round_run(a, p + y, first, high, run);
                else round_run(a, first, p, wide, run);
                for (int64_t x = 0; x < (a->turned ? high : wide); x++) {
                    float *at = a->turned ? &to[(first + x) * k + p + y] : &to[first * k + p + x];
                    *at = bf16_value(run[x]);
                }
            }
        }
}

/* ---- The rule `chain` ---- */

static int64_t a_bytes(int64_t m, int64_t k)
{
    return aligned(m * k * (int64_t)sizeof(float));
}

static int64_t b_bytes(int64_t n, int64_t k)
{
    return aligned(n * k * (int64_t)sizeof(uint16_t));
}

static int64_t chain_work(bool packed_a, bool packed, bool tb, int64_t m, int64_t n, int64_t k)
{
    return (packed_a ? 0 : a_bytes(m, k)) + (packed ? 0 : b_bytes(n, k)) +
           K(gemm_kept_work)(packed || tb, m, n, k) * (int64_t)sizeof(float);
}

static void run_chain(const bf16_product *p, void *work)
{
    const bool tb = p->packed != NULL || p->b.turned;
    const int64_t rows = tb ? p->n : p->k, cols = tb ? p->k : p->n;
    const void *a = p->packed_a, *b = p->packed;
    uint8_t *rest = work;
    if (a == NULL) {
        round_a(&p->a, p->m, p->k, work);
        a = work;
        rest += a_bytes(p->m, p->k);
    }
    if (b == NULL && p->b.dtype == PL_BF16 && p->b.ld == cols) b = p->b.at;
    if (b == NULL) {
        round_dense(&p->b, rows, cols, (uint16_t *)rest);
        b = rest;
        rest += b_bytes(p->n, p->k);
    }
    K(gemm_kept)(tb, p->m, p->n, p->k, a, p->k, PL_BF16, b, p->bias, p->acc, p->c, p->ldc,
                 (float *)rest);
}

/* ---- The public functions ---- */

static bf16_matrix matrix_b(bool tb, int64_t n, int64_t k, pl_dtype dtype, const void *b,
                            int64_t ldb)
{
    return (bf16_matrix){dtype, tb, b, dtype == PL_F32 ? ldb : tb ? k : n};
}

static void run(const bf16_product *p, void *work)
{
    const pl_bf16_rule rule = pl__bf16_rule();
    if (p->m <= 0 || p->n <= 0) return;
    if (rule.kind == PL_BF16_CHAIN) run_chain(p, work);
    else K(bf16_blocks)(rule, p, work);
}

int64_t K(gemm_bf16_work)(bool ta, bool tb, int64_t m, int64_t n, int64_t k)
{
    (void)ta;
    if (pl__bf16_rule().kind == PL_BF16_CHAIN) return chain_work(false, false, tb, m, n, k);
    return K(bf16_blocks_work)(false, false, m, n, k);
}

void K(gemm_bf16_any)(bool ta, bool tb, int64_t m, int64_t n, int64_t k, pl_dtype a_dtype,
                      const void *a, int64_t lda, pl_dtype b_dtype, const void *b, int64_t ldb,
                      const float *bias, bool acc, float *c, int64_t ldc, void *work)
{
    bf16_product p = {.m = m,
                      .n = n,
                      .k = k,
                      .a = {a_dtype, ta, a, lda},
                      .b = matrix_b(tb, n, k, b_dtype, b, ldb),
                      .bias = bias,
                      .acc = acc,
                      .c = c,
                      .ldc = ldc};
    if (b_dtype == PL_BF16) p.b.ld = ldb;
    run(&p, work);
}

void K(gemm_bf16)(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                  pl_dtype b_dtype, const void *b, int64_t ldb, const float *bias, bool acc,
                  float *c, int64_t ldc, void *work)
{
    if (b_dtype == PL_BF16) ldb = tb ? k : n; /* kept, and so dense */
    K(gemm_bf16_any)(ta, tb, m, n, k, PL_F32, a, lda, b_dtype, b, ldb, bias, acc, c, ldc, work);
}

int64_t K(gemm_bf16_pack_size)(int64_t n, int64_t k)
{
    return pl__bf16_rule().kind == PL_BF16_CHAIN ? b_bytes(n, k) : K(bf16_pack_size)(n, k);
}

void K(gemm_bf16_pack)(bool tb, int64_t n, int64_t k, pl_dtype b_dtype, const void *b, int64_t ldb,
                       void *packed)
{
    const bf16_matrix matrix = matrix_b(tb, n, k, b_dtype, b, ldb);
    if (n <= 0 || k <= 0) return;
    if (pl__bf16_rule().kind != PL_BF16_CHAIN) K(bf16_pack)(n, k, &matrix, packed);
    else if (tb) round_dense(&matrix, n, k, packed);
    else round_transposed(&matrix, k, n, packed);
}

int64_t K(gemm_bf16_packed_work)(int64_t m, int64_t n, int64_t k)
{
    if (pl__bf16_rule().kind == PL_BF16_CHAIN) return chain_work(false, true, true, m, n, k);
    return K(bf16_blocks_work)(false, true, m, n, k);
}

void K(gemm_bf16_packed_any)(int64_t m, int64_t n, int64_t k, pl_dtype a_dtype, const void *a,
                             int64_t lda, const void *packed, const float *bias, bool acc, float *c,
                             int64_t ldc, void *work)
{
    const bf16_product p = {.m = m,
                            .n = n,
                            .k = k,
                            .a = {a_dtype, false, a, lda},
                            .packed = packed,
                            .bias = bias,
                            .acc = acc,
                            .c = c,
                            .ldc = ldc};
    run(&p, work);
}

void K(gemm_bf16_packed)(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                         const void *packed, const float *bias, bool acc, float *c, int64_t ldc,
                         void *work)
{
    K(gemm_bf16_packed_any)(m, n, k, PL_F32, a, lda, packed, bias, acc, c, ldc, work);
}

int64_t K(gemm_bf16_pack_a_size)(int64_t m, int64_t k)
{
    return pl__bf16_rule().kind == PL_BF16_CHAIN ? a_bytes(m, k) : K(bf16_pack_a_size)(m, k);
}

void K(gemm_bf16_pack_a)(bool ta, int64_t m, int64_t k, pl_dtype a_dtype, const void *a,
                         int64_t lda, void *packed)
{
    const bf16_matrix matrix = {a_dtype, ta, a, lda};
    if (m <= 0 || k <= 0) return;
    if (pl__bf16_rule().kind == PL_BF16_CHAIN) round_a(&matrix, m, k, packed);
    else K(bf16_pack_a)(m, k, &matrix, packed);
}

void K(gemm_bf16_pack_both)(int64_t m, int64_t k, const float *x, int64_t ld, void *packed,
                            void *turned)
{
    const bf16_matrix matrix = {PL_F32, false, x, ld}, transpose = {PL_F32, true, x, ld};
    if (m <= 0 || k <= 0) return;
    if (pl__bf16_rule().kind != PL_BF16_CHAIN) {
        K(bf16_pack_both)(m, k, x, ld, packed, turned);
        return;
    }
    round_a(&matrix, m, k, packed);
    round_a(&transpose, k, m, turned);
}

int64_t K(gemm_bf16_left_work)(bool packed, bool tb, int64_t m, int64_t n, int64_t k)
{
    if (pl__bf16_rule().kind == PL_BF16_CHAIN)
        return chain_work(true, packed, packed || tb, m, n, k);
    return K(bf16_blocks_work)(true, packed, m, n, k);
}

void K(gemm_bf16_left)(bool tb, int64_t m, int64_t n, int64_t k, const void *packed_a,
                       pl_dtype b_dtype, const void *b, int64_t ldb, const void *packed, bool acc,
                       float *c, int64_t ldc, void *work)
{
    const bf16_product p = {.m = m,
                            .n = n,
                            .k = k,
                            .packed_a = packed_a,
                            .b = {b_dtype, tb, b, ldb},
                            .packed = packed,
                            .acc = acc,
                            .c = c,
                            .ldc = ldc};
    run(&p, work);
}

#endif
