/*
** gemm_bf16_test.c - bfloat16 products: every way to call them against the rule written out, bit
** for bit, in every variant and by every rule, natively and emulated.
**
** The law of kernels/gemm_bf16.h fixes all bits. The rules `pairs` and `tiles` are written out with
** the models of kernels/bf16_model.h, which are held to the instructions themselves where the
** processor has them. From the law follow the properties that people rely on (rows alone or in a
** batch, threads, packing); they are tested again as such, so that a failure says what broke.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PL_VARIANT f32_plain
#include "base/cpu.h"
#include "base/dtype.h"
#include "base/thread.h"
#include "kernels/bf16_model.h"
#include "perilune.h"
#include "product_cases.h"

typedef struct {
    const char *variant;
    int64_t (*work)(bool, bool, int64_t, int64_t, int64_t);
    void (*gemm)(bool, bool, int64_t, int64_t, int64_t, const float *, int64_t, pl_dtype,
                 const void *, int64_t, const float *, bool, float *, int64_t, void *);
    void (*any)(bool, bool, int64_t, int64_t, int64_t, pl_dtype, const void *, int64_t, pl_dtype,
                const void *, int64_t, const float *, bool, float *, int64_t, void *);
    int64_t (*pack_size)(int64_t, int64_t);
    void (*pack)(bool, int64_t, int64_t, pl_dtype, const void *, int64_t, void *);
    int64_t (*packed_work)(int64_t, int64_t, int64_t);
    void (*packed)(int64_t, int64_t, int64_t, const float *, int64_t, const void *, const float *,
                   bool, float *, int64_t, void *);
    void (*packed_any)(int64_t, int64_t, int64_t, pl_dtype, const void *, int64_t, const void *,
                       const float *, bool, float *, int64_t, void *);
    int64_t (*pack_a_size)(int64_t, int64_t);
    void (*pack_a)(bool, int64_t, int64_t, pl_dtype, const void *, int64_t, void *);
    void (*pack_both)(int64_t, int64_t, const float *, int64_t, void *, void *);
    int64_t (*left_work)(bool, bool, int64_t, int64_t, int64_t);
    void (*left)(bool, int64_t, int64_t, int64_t, const void *, pl_dtype, const void *, int64_t,
                 const void *, bool, float *, int64_t, void *);
    void (*rows)(int64_t, int64_t, const float *, int64_t, uint16_t *, int64_t);
    void (*dequantise)(pl_dtype, int64_t, const void *, float *);
} kernels;

#define DECLARE(v)                                                                                \
    int64_t k_gemm_bf16_work_##v(bool, bool, int64_t, int64_t, int64_t);                          \
    void k_gemm_bf16_##v(bool, bool, int64_t, int64_t, int64_t, const float *, int64_t, pl_dtype, \
                         const void *, int64_t, const float *, bool, float *, int64_t, void *);   \
    void k_gemm_bf16_any_##v(bool, bool, int64_t, int64_t, int64_t, pl_dtype, const void *,       \
                             int64_t, pl_dtype, const void *, int64_t, const float *, bool,       \
                             float *, int64_t, void *);                                           \
    int64_t k_gemm_bf16_pack_size_##v(int64_t, int64_t);                                          \
    void k_gemm_bf16_pack_##v(bool, int64_t, int64_t, pl_dtype, const void *, int64_t, void *);   \
    int64_t k_gemm_bf16_packed_work_##v(int64_t, int64_t, int64_t);                               \
    void k_gemm_bf16_packed_##v(int64_t, int64_t, int64_t, const float *, int64_t, const void *,  \
                                const float *, bool, float *, int64_t, void *);                   \
    void k_gemm_bf16_packed_any_##v(int64_t, int64_t, int64_t, pl_dtype, const void *, int64_t,   \
                                    const void *, const float *, bool, float *, int64_t, void *); \
    int64_t k_gemm_bf16_pack_a_size_##v(int64_t, int64_t);                                        \
    void k_gemm_bf16_pack_a_##v(bool, int64_t, int64_t, pl_dtype, const void *, int64_t, void *); \
    void k_gemm_bf16_pack_both_##v(int64_t, int64_t, const float *, int64_t, void *, void *);     \
    int64_t k_gemm_bf16_left_work_##v(bool, bool, int64_t, int64_t, int64_t);                     \
    void k_gemm_bf16_left_##v(bool, int64_t, int64_t, int64_t, const void *, pl_dtype,            \
                              const void *, int64_t, const void *, bool, float *, int64_t,        \
                              void *);                                                            \
    void k_bf16_rows_##v(int64_t, int64_t, const float *, int64_t, uint16_t *, int64_t);          \
    void k_dequantise_##v(pl_dtype, int64_t, const void *, float *);
#define ENTRY(v)                                                                                   \
    {                                                                                              \
#v, k_gemm_bf16_work_##v, k_gemm_bf16_##v, k_gemm_bf16_any_##v, k_gemm_bf16_pack_size_##v, \
            k_gemm_bf16_pack_##v, k_gemm_bf16_packed_work_##v, k_gemm_bf16_packed_##v,             \
            k_gemm_bf16_packed_any_##v, k_gemm_bf16_pack_a_size_##v, k_gemm_bf16_pack_a_##v,       \
            k_gemm_bf16_pack_both_##v, k_gemm_bf16_left_work_##v, k_gemm_bf16_left_##v,            \
            k_bf16_rows_##v, k_dequantise_##v                                                      \
    }

DECLARE(f32_plain)
#if defined(__x86_64__)
DECLARE(f32_avx2)
DECLARE(f32_avx512)
#endif

static const kernels all_kernels[] = {
    ENTRY(f32_plain),
#if defined(__x86_64__)
    ENTRY(f32_avx2),
    ENTRY(f32_avx512),
#endif
};
static const char *const rule_names[] = {"chain", "pairs", "tiles"};
enum { RULES = 3 };

/* The environment that makes kernels of a variant follow a rule. */
static void choose(int variant, int rule)
{
    setenv("PERILUNE_ISA", isa_names[variant], 1);
    setenv("PERILUNE_BF16", rule_names[rule], 1);
    assert_int_equal(pl__bf16_rule().kind, rule);
}

/* ---- Numbers ---- */

/* Near 1; one in eight of them extreme; any bits at all; with products near the least normal
** number; with products near the largest. */
enum { USUAL, EXTREME, ANY_BITS, TINY, HUGE_ONES, KINDS };
static const char *const kind_names[] = {"usual", "extreme", "any bits", "tiny", "huge"};

static float number(int kind)
{
    static const float odd[] = {0.0f,    -0.0f,    1e-40f,  -1e-42f,   0x1p-126f,       1.1e-38f,
                                3e38f,   -3.4e38f, FLT_MAX, INFINITY,  1.17549425e-38f, 0x1.8p-63f,
                                -1e-20f, 1e20f,    NAN,     -INFINITY, 0x1.01p0f,       0x1.03p0f};
    const uint32_t bits = draw();
    switch (kind) {
    case EXTREME:
        if (bits % 8 == 0) return odd[draw() % (sizeof odd / sizeof odd[0])];
        break;
    case ANY_BITS: return model_float(bits ^ draw() << 16);
    case TINY: return model_float((bits & 0x807f0000) | (60 + draw() % 8) << 23);
    case HUGE_ONES: return model_float((bits & 0x807f0000) | (186 + draw() % 8) << 23);
    default: break;
    }
    return (float)((int32_t)bits % 100000) * 1e-5f;
}

/* What C holds before goes with it. */
static float sum_number(int kind)
{
    return kind == TINY ? model_float((draw() & 0x807fffff) | draw() % 12 << 23) : number(kind);
}

/* ---- The rules written out: a is m x k, b is n x k ---- */

static float value(float x)
{
    return bf16_value(bf16_of(x));
}

/* Fused or not shows in products that float32 cannot hold alone. */
static float chain_sum(bool fused, int64_t k, const float *a, const float *b, float s)
{
    for (int64_t i = 0; i < k; i++) {
        const float x = value(a[i]), y = value(b[i]);
        s = fused ? fmaf(x, y, s) : x * y + s;
    }
    return s;
}

static float model_sum(int rule, int64_t k, const float *a, const float *b, float s)
{
    for (int64_t from = 0; from < k; from += 32) {
        uint16_t x[32] = {0}, y[32] = {0};
        for (int64_t i = from; i < k && i < from + 32; i++) {
            x[i - from] = bf16_of(a[i]);
            y[i - from] = bf16_of(b[i]);
        }
        if (rule == PL_BF16_TILES) s = model_tile(x, y, 2, s);
        for (int i = 0; i < 32 && rule == PL_BF16_PAIRS; i += 2) s = model_pair(y + i, x + i, s);
    }
    return s;
}

/* `nan`: any NaN for another. */
static void check_same(bool nan, const float *got, const float *wanted, const char *what)
{
    if (memcmp(got, wanted, sizeof *got) == 0) return;
    if (nan && isnan(*wanted) && isnan(*got)) return;
    fail_msg("%s: %a (%08x), wanted %a (%08x)", what, (double)*got, model_bits(*got),
             (double)*wanted, model_bits(*wanted));
}

/* ---- One product of every kind ---- */

static void write_out(int rule, bool fused, const shape *s, numbers *x)
{
    memcpy(x->wanted, x->before, (size_t)x->count * sizeof(float));
    for (int64_t i = 0; i < s->m; i++)
        for (int64_t j = 0; j < s->n; j++) {
            float *to = x->wanted + i * x->ldc + j;
            const float *a = x->a + i * s->k, *b = x->b + j * s->k, from = s->acc ? *to : 0;
            *to = rule == PL_BF16_CHAIN ? chain_sum(fused, s->k, a, b, from)
                                        : model_sum(rule, s->k, a, b, from);
            if (s->bias) *to += x->bias[j];
        }
}

/* NaNs have their bits by the rules with models, unless something was added after them. */
static void compare(int rule, const shape *s, const numbers *x, const char *what)
{
    char text[200];
    for (int64_t i = 0; i < s->m * x->ldc + 1; i++) {
        if (memcmp(x->c + i, x->wanted + i, sizeof(float)) == 0) continue;
        snprintf(text, sizeof text, "%s by %s, %s%s %lld x %lld x %lld%s%s, %s numbers, place %lld",
                 what, rule_names[rule], s->ta ? "Aᵀ" : "A", s->tb ? "Bᵀ" : "B", (long long)s->m,
                 (long long)s->n, (long long)s->k, s->acc ? " + C" : "", s->bias ? " + bias" : "",
                 kind_names[s->kind], (long long)i);
        check_same(rule == PL_BF16_CHAIN || s->bias, x->c + i, x->wanted + i, text);
    }
}

static void check_packed(const kernels *f, int rule, const shape *s, numbers *x,
                         const uint16_t *narrow_a, const char *what)
{
    char text[80];
    const float *bias = s->bias ? x->bias : NULL;
    void *packed = work_of(f->pack_size(s->n, s->k));
    void *work = work_of(f->packed_work(s->m, s->n, s->k));
    f->pack(s->tb, s->n, s->k, PL_F32, x->sb, x->ldb, packed);
    for (int narrow = 0; narrow < 2; narrow++) {
        memcpy(x->c, x->before, (size_t)x->count * sizeof(float));
        if (narrow)
            f->packed_any(s->m, s->n, s->k, PL_BF16, narrow_a, x->lda, packed, bias, s->acc, x->c,
                          x->ldc, work);
        else f->packed(s->m, s->n, s->k, x->sa, x->lda, packed, bias, s->acc, x->c, x->ldc, work);
        snprintf(text, sizeof text, "%s, B packed%s", what, narrow ? ", A bfloat16" : "");
        compare(rule, s, x, text);
    }
    free(work);
    free(packed);
}

static void check_packed_a(const kernels *f, int rule, const shape *s, numbers *x,
                           const uint16_t *narrow_a, const char *what)
{
    char text[80];
    void *a = work_of(f->pack_a_size(s->m, s->k)), *b = work_of(f->pack_size(s->n, s->k));
    f->pack(s->tb, s->n, s->k, PL_F32, x->sb, x->ldb, b);
    for (int way = 0; way < 4 && !s->bias; way++) {
        const bool narrow = way % 2 == 1, both = way > 1;
        void *work = work_of(f->left_work(both, s->tb, s->m, s->n, s->k));
        memcpy(x->c, x->before, (size_t)x->count * sizeof(float));
        f->pack_a(s->ta, s->m, s->k, narrow ? PL_BF16 : PL_F32,
                  narrow ? (const void *)narrow_a : x->sa, x->lda, a);
        f->left(s->tb, s->m, s->n, s->k, a, PL_F32, both ? NULL : x->sb, x->ldb, both ? b : NULL,
                s->acc, x->c, x->ldc, work);
        snprintf(text, sizeof text, "%s, A%s%s packed", what, narrow ? " bfloat16" : "",
                 both ? " and B" : "");
        compare(rule, s, x, text);
        free(work);
    }
    free(b);
    free(a);
}

/* By one reading: what is packed alone, byte for byte. */
static void check_both(const kernels *f, const shape *s, const numbers *x)
{
    const int64_t m = s->ta ? s->k : s->m, k = s->ta ? s->m : s->k; /* of what is stored */
    const int64_t size = f->pack_a_size(m, k), turned_size = f->pack_a_size(k, m);
    uint8_t *one = work_of(size), *other = work_of(turned_size);
    uint8_t *wanted = work_of(size), *turned = work_of(turned_size);
    memset(one, 0, (size_t)size);
    memset(wanted, 0, (size_t)size);
    memset(other, 0, (size_t)turned_size);
    memset(turned, 0, (size_t)turned_size);
    f->pack_both(m, k, x->sa, x->lda, one, other);
    f->pack_a(false, m, k, PL_F32, x->sa, x->lda, wanted);
    f->pack_a(true, k, m, PL_F32, x->sa, x->lda, turned);
    assert_memory_equal(one, wanted, (size_t)size);
    assert_memory_equal(other, turned, (size_t)turned_size);
    free(turned);
    free(wanted);
    free(other);
    free(one);
}

/* Every way to call for it. */
static void check_ways(const kernels *f, int rule, const shape *s, numbers *x)
{
    const int64_t rows_a = s->ta ? s->k : s->m, rows_b = s->tb ? s->n : s->k;
    const float *bias = s->bias ? x->bias : NULL;
    uint16_t *narrow_a = work_of(rows_a * x->lda * 2), *narrow_b = work_of(rows_b * x->ldb * 2);
    void *work = work_of(f->work(s->ta, s->tb, s->m, s->n, s->k));
    char what[60];

    memcpy(x->c, x->before, (size_t)x->count * sizeof(float));
    f->gemm(s->ta, s->tb, s->m, s->n, s->k, x->sa, x->lda, PL_F32, x->sb, x->ldb, bias, s->acc,
            x->c, x->ldc, work);
    compare(rule, s, x, f->variant);

    f->rows(rows_a, s->ta ? s->m : s->k, x->sa, x->lda, narrow_a, x->lda);
    f->rows(rows_b, s->tb ? s->k : s->n, x->sb, x->ldb, narrow_b, x->ldb);
    for (int narrow = 1; narrow < 4; narrow++) {
        memcpy(x->c, x->before, (size_t)x->count * sizeof(float));
        f->any(s->ta, s->tb, s->m, s->n, s->k, narrow & 1 ? PL_BF16 : PL_F32,
               narrow & 1 ? (void *)narrow_a : x->sa, x->lda, narrow & 2 ? PL_BF16 : PL_F32,
               narrow & 2 ? (void *)narrow_b : x->sb, x->ldb, bias, s->acc, x->c, x->ldc, work);
        snprintf(what, sizeof what, "%s, bfloat16 %d", f->variant, narrow);
        compare(rule, s, x, what);
    }
    if (!s->ta) check_packed(f, rule, s, x, narrow_a, f->variant);
    check_packed_a(f, rule, s, x, narrow_a, f->variant);
    check_both(f, s, x);
    free(work);
    free(narrow_a);
    free(narrow_b);
}

static void check_shape(const shape *s)
{
    numbers x = numbers_of(s);
    for (int rule = 0; rule < RULES; rule++) {
        write_out(rule, true, s, &x);
        for (int v = variants() - 1; v >= 0; v--) {
            if (v == 0 && rule == PL_BF16_CHAIN && s->kind != USUAL) write_out(rule, false, s, &x);
            choose(v, rule);
            check_ways(&all_kernels[v], rule, s, &x);
        }
    }
    numbers_free(&x);
}

static void products_are_the_rule_written_out(void **unused)
{
    static const int64_t sizes[] = {0, 1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 129};
    enum { N = sizeof sizes / sizeof sizes[0] };
    (void)unused;
    for (int i = 0; i < 60; i++) {
        state = 1000 + (uint64_t)i;
        for (int j = 0; j < 8; j++) draw();
        const int64_t m = sizes[draw() % N], n = sizes[draw() % N], k = sizes[draw() % N];
        shape s = shape_of(draw(), m, n, k);
        s.kind = i % 2 == 0 ? USUAL : EXTREME;
        check_shape(&s);
    }
}

/* Several pieces and depths of k, chunks of panels and blocks of strips. */
static void so_are_large_ones(void **unused)
{
    (void)unused;
    state = 5;
    for (uint32_t bits = 0; bits < 4; bits++) {
        shape s = shape_of(bits | 4 * bits, 3, 5, 4200);
        check_shape(&s);
        s = bits % 2 ? shape_of(bits | 4, 17, 590, 33) : shape_of(bits | 8, 590, 17, 33);
        check_shape(&s);
        s = bits % 2 ? shape_of(bits | 4, 64, 70, 900) : shape_of(bits, 40, 48, 500);
        check_shape(&s);
    }
}

static void numbers_beyond_the_usual_keep_to_the_models(void **unused)
{
    (void)unused;
    state = 11;
    for (int i = 0; i < 4; i++)
        for (int kind = EXTREME; kind < KINDS; kind++) {
            shape s = shape_of(i % 2 ? 6 : 2, 48, 48, kind == ANY_BITS ? 4 : 32);
            s.kind = kind;
            check_shape(&s);
        }
}

/* ---- Properties ---- */

static void run_one(const kernels *f, const shape *s, numbers *x, int64_t row, int64_t rows)
{
    void *work = work_of(f->work(s->ta, s->tb, rows, s->n, s->k));
    f->gemm(s->ta, s->tb, rows, s->n, s->k, x->sa + (s->ta ? row : row * x->lda), x->lda, PL_F32,
            x->sb, x->ldb, NULL, false, x->c + row * x->ldc, x->ldc, work);
    free(work);
}

static void rows_and_threads_change_no_bit(void **unused)
{
    (void)unused;
    const int threads = omp_get_max_threads();
    for (int rule = 0; rule < RULES; rule++)
        for (uint32_t bits = 0; bits < 4; bits++) {
            const shape s = shape_of(bits, 150, 200, 270);
            const int v = variants() - 1;
            state = 3 + bits;
            numbers x = numbers_of(&s);
            choose(v, rule);
            omp_set_num_threads(1);
            run_one(&all_kernels[v], &s, &x, 0, s.m);
            memcpy(x.wanted, x.c, (size_t)x.count * sizeof(float));
            for (int n = 2; n <= 5; n++) {
                memset(x.c, 0, (size_t)(s.m * x.ldc) * sizeof(float));
                omp_set_num_threads(n);
                run_one(&all_kernels[v], &s, &x, 0, s.m);
                compare(rule, &s, &x, "threads");
            }
            memset(x.c, 0, (size_t)(s.m * x.ldc) * sizeof(float));
            for (int64_t row = 0, rows = 1; row < s.m; row += rows, rows = rows % 40 + 7)
                run_one(&all_kernels[v], &s, &x, row, row + rows < s.m ? rows : s.m - row);
            compare(rule, &s, &x, "few rows");
            numbers_free(&x);
        }
    omp_set_num_threads(threads);
}

static void sums_are_near_those_in_double(void **unused)
{
    (void)unused;
    const shape s = shape_of(2, 40, 50, 1000);
    state = 9;
    numbers x = numbers_of(&s);
    for (int rule = 0; rule < RULES; rule++) {
        choose(variants() - 1, rule);
        run_one(&all_kernels[variants() - 1], &s, &x, 0, s.m);
        for (int64_t i = 0; i < s.m; i++)
            for (int64_t j = 0; j < s.n; j++) {
                double sum = 0, size = 0, exact = 0;
                for (int64_t k = 0; k < s.k; k++) {
                    const double a = x.a[i * s.k + k], b = x.b[j * s.k + k];
                    sum += (double)value((float)a) * value((float)b);
                    exact += a * b;
                    size += fabs(a * b);
                }
                const double got = x.c[i * x.ldc + j];
                assert_true(fabs(got - sum) <= 1e-6 * size);
                assert_true(fabs(got - exact) <= 0x1p-8 * size); /* two roundings of 2^-9 */
            }
    }
    numbers_free(&x);
}

/* Random blocks with factors of a usual size. */
static uint8_t *blocks_of(pl_dtype dtype, int64_t n)
{
    const int64_t bytes = (int64_t)pl__dtype_bytes(dtype, n), size = pl_dtype_size(dtype);
    uint8_t *blocks = work_of(bytes);
    for (int64_t i = 0; i < bytes; i++) blocks[i] = (uint8_t)draw();
    const bool halves = dtype == PL_BF16 || dtype == PL_F16;
    for (int64_t at = 0; at + size <= bytes; at += size)
        for (int64_t i = 1; i < (dtype == PL_Q6_K || halves ? 2 : 4); i += 2) {
            uint8_t *upper = blocks + at + i + (dtype == PL_Q6_K ? 208 : 0);
            const bool is_factor = i == 1 || dtype == PL_Q4_1 || dtype == PL_Q5_1 ||
                                   dtype == PL_Q4_K || dtype == PL_Q5_K;
            if (is_factor) *upper = (uint8_t)((*upper & 0x83) | (dtype == PL_BF16 ? 0x3c : 0x2c));
        }
    return blocks;
}

static void kept_weights_are_rounded_from_their_values(void **unused)
{
    (void)unused;
    state = 21;
    for (pl_dtype dtype = 0; dtype < PL_DTYPE_COUNT; dtype++)
        for (int tb = 0; tb < 2 && pl_dtype_kept(dtype); tb++) {
            const shape s = shape_of(tb ? 2 : 0, 20, tb ? 50 : 256, tb ? 512 : 40);
            numbers x = numbers_of(&s);
            uint8_t *blocks = blocks_of(dtype, s.n * s.k);
            for (int v = variants() - 1; v >= 0; v--)
                for (int rule = 0; rule < RULES; rule++) {
                    const kernels *f = &all_kernels[v];
                    choose(v, rule);
                    void *work = work_of(f->work(false, tb, s.m, s.n, s.k));
                    void *packed = work_of(f->pack_size(s.n, s.k));
                    f->dequantise(dtype, s.n * s.k, blocks, x.sb);
                    f->gemm(false, tb, s.m, s.n, s.k, x.sa, x.lda, PL_F32, x.sb, x.ldb, NULL, false,
                            x.wanted, x.ldc, work);
                    f->gemm(false, tb, s.m, s.n, s.k, x.sa, x.lda, dtype, blocks, 0, NULL, false,
                            x.c, x.ldc, work);
                    x.c[s.m * x.ldc] = x.wanted[s.m * x.ldc];
                    compare(rule, &s, &x, pl_dtype_name(dtype));
                    memset(x.c, 0, (size_t)(s.m * x.ldc) * sizeof(float));
                    f->pack(tb, s.n, s.k, dtype, blocks, 0, packed);
                    f->packed(s.m, s.n, s.k, x.sa, x.lda, packed, NULL, false, x.c, x.ldc, work);
                    compare(rule, &s, &x, pl_dtype_name(dtype));
                    free(packed);
                    free(work);
                }
            free(blocks);
            numbers_free(&x);
        }
}

/* Who stops an op throws its result away: nothing done shows that the flag was looked at. */
static void stopped_ones_do_nothing(void **unused)
{
    (void)unused;
    const volatile sig_atomic_t raised = 1;
    const shape s = shape_of(2, 100, 100, 300);
    state = 31;
    numbers x = numbers_of(&s);
    for (int rule = PL_BF16_PAIRS; rule < RULES; rule++)
        for (int v = variants() - 1; v >= 0; v--) {
            choose(v, rule);
            memcpy(x.c, x.before, (size_t)x.count * sizeof(float));
            pl__stop_set(&raised);
            run_one(&all_kernels[v], &s, &x, 0, s.m);
            pl__stop_set(NULL);
            assert_memory_equal(x.c, x.before, (size_t)x.count * sizeof(float));
        }
    numbers_free(&x);
}

static int forget_environment(void **unused)
{
    (void)unused;
    unsetenv("PERILUNE_ISA");
    unsetenv("PERILUNE_BF16");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_the_rule_written_out),
        cmocka_unit_test(so_are_large_ones),
        cmocka_unit_test(numbers_beyond_the_usual_keep_to_the_models),
        cmocka_unit_test(rows_and_threads_change_no_bit),
        cmocka_unit_test(sums_are_near_those_in_double),
        cmocka_unit_test(kept_weights_are_rounded_from_their_values),
        cmocka_unit_test(stopped_ones_do_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, forget_environment);
}
