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
#include "kernels/bf16_model.h"
#include "perilune.h"

typedef struct {
    const char *variant;
    int64_t (*work)(bool, bool, int64_t, int64_t, int64_t);
    void (*gemm)(bool, bool, int64_t, int64_t, int64_t, const float *, int64_t, pl_dtype,
                 const void *, int64_t, const float *, bool, float *, int64_t, void *);
} kernels;

#define DECLARE(v)                                                                                \
    int64_t k_gemm_bf16_work_##v(bool, bool, int64_t, int64_t, int64_t);                          \
    void k_gemm_bf16_##v(bool, bool, int64_t, int64_t, int64_t, const float *, int64_t, pl_dtype, \
                         const void *, int64_t, const float *, bool, float *, int64_t, void *);
#define ENTRY(v)                                  \
    {                                             \
#v, k_gemm_bf16_work_##v, k_gemm_bf16_##v \
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
static const char *const isa_names[] = {"plain", "avx2", "avx512"};
static const char *const rule_names[] = {"chain", "pairs", "tiles"};
enum { RULES = 3 };

/* Variants the machine can run, and the environment that makes kernels of one follow a rule. */
static int variants(void)
{
    unsetenv("PERILUNE_ISA");
    return 1 + (int)pl__isa();
}

static void choose(int variant, int rule)
{
    setenv("PERILUNE_ISA", isa_names[variant], 1);
    setenv("PERILUNE_BF16", rule_names[rule], 1);
    assert_int_equal(pl__bf16_rule().kind, rule);
}

/* ---- Numbers ---- */

static uint64_t state;

static uint32_t draw(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 20);
}

/* Usual numbers are near 1; of the others one in eight is extreme. */
static float usual(void)
{
    return (float)((int32_t)draw() % 100000) * 1e-4f * 0.1f;
}

static float number(bool extreme)
{
    static const float odd[] = {0.0f,    -0.0f,    1e-40f,  -1e-42f,   0x1p-126f,       1.1e-38f,
                                3e38f,   -3.4e38f, FLT_MAX, INFINITY,  1.17549425e-38f, 0x1.8p-63f,
                                -1e-20f, 1e20f,    NAN,     -INFINITY, 0x1.01p0f,       0x1.03p0f};
    if (!extreme || draw() % 8 != 0) return usual();
    return odd[draw() % (sizeof odd / sizeof odd[0])];
}

static float *floats(int64_t n, bool extreme)
{
    float *x = malloc((size_t)(n + 1) * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) x[i] = number(extreme);
    return x;
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

static void check_same(const float *got, const float *wanted, const char *what)
{
    const bool nan = isnan(*wanted) && isnan(*got);
    if (nan || memcmp(got, wanted, sizeof *got) == 0) return;
    fail_msg("%s: %a, wanted %a", what, (double)*got, (double)*wanted);
}

/* ---- One product of every kind ---- */

typedef struct {
    bool ta, tb, acc, bias, extreme;
    int64_t m, n, k, pad; /* pad: elements that leading dimensions are longer than rows */
} shape;

typedef struct {
    float *a, *b; /* m x k, n x k */
    float *sa, *sb, *c, *before, *wanted, *bias;
    int64_t lda, ldb, ldc;
} numbers;

static float *stored(bool turned, int64_t lines, int64_t k, int64_t ld, const float *x)
{
    float *to = floats((turned ? k : lines) * ld + ld, false);
    for (int64_t i = 0; i < lines; i++)
        for (int64_t j = 0; j < k; j++) to[turned ? j * ld + i : i * ld + j] = x[i * k + j];
    return to;
}

static numbers numbers_of(const shape *s)
{
    numbers x = {.a = floats(s->m * s->k, s->extreme), .b = floats(s->n * s->k, s->extreme)};
    x.lda = (s->ta ? s->m : s->k) + s->pad;
    x.ldb = (s->tb ? s->k : s->n) + s->pad;
    x.ldc = s->n + s->pad;
    x.sa = stored(s->ta, s->m, s->k, x.lda, x.a);
    x.sb = stored(!s->tb, s->n, s->k, x.ldb, x.b);
    x.bias = floats(s->n, s->extreme);
    x.before = floats((s->m + 1) * x.ldc + 1, s->extreme);
    x.c = floats((s->m + 1) * x.ldc + 1, false);
    x.wanted = floats((s->m + 1) * x.ldc + 1, false);
    return x;
}

static void numbers_free(numbers *x)
{
    float *all[] = {x->a, x->b, x->sa, x->sb, x->c, x->before, x->wanted, x->bias};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

static void write_out(int rule, bool fused, const shape *s, numbers *x)
{
    memcpy(x->wanted, x->before, (size_t)((s->m + 1) * x->ldc + 1) * sizeof(float));
    for (int64_t i = 0; i < s->m; i++)
        for (int64_t j = 0; j < s->n; j++) {
            float *to = x->wanted + i * x->ldc + j;
            const float *a = x->a + i * s->k, *b = x->b + j * s->k, from = s->acc ? *to : 0;
            *to = rule == PL_BF16_CHAIN ? chain_sum(fused, s->k, a, b, from)
                                        : model_sum(rule, s->k, a, b, from);
            if (s->bias) *to += x->bias[j];
        }
}

static void compare(const shape *s, const numbers *x, const char *what)
{
    char text[200];
    for (int64_t i = 0; i <= s->m; i++)
        for (int64_t j = 0; j < x->ldc && i * x->ldc + j <= s->m * x->ldc; j++) {
            snprintf(text, sizeof text, "%s, %s%s %lld x %lld x %lld%s%s%s, element %lld %lld",
                     what, s->ta ? "Aᵀ" : "A", s->tb ? "Bᵀ" : "B", (long long)s->m, (long long)s->n,
                     (long long)s->k, s->acc ? " + C" : "", s->bias ? " + bias" : "",
                     s->extreme ? " extreme" : "", (long long)i, (long long)j);
            check_same(x->c + i * x->ldc + j, x->wanted + i * x->ldc + j, text);
        }
}

static void *work_of(int64_t bytes)
{
    void *work = aligned_alloc(64, (size_t)(bytes + 64) / 64 * 64);
    assert_non_null(work);
    memset(work, 0xff, (size_t)(bytes + 64) / 64 * 64); /* NaN, should anything be read unwritten */
    return work;
}

static void check_shape(const shape *s)
{
    numbers x = numbers_of(s);
    for (int rule = 0; rule < RULES; rule++) {
        write_out(rule, true, s, &x);
        for (int v = variants() - 1; v >= 0; v--) {
            if (v == 0 && rule == PL_BF16_CHAIN && s->extreme) write_out(rule, false, s, &x);
            const kernels *f = &all_kernels[v];
            char what[60];
            choose(v, rule);
            void *work = work_of(f->work(s->ta, s->tb, s->m, s->n, s->k));
            memcpy(x.c, x.before, (size_t)((s->m + 1) * x.ldc + 1) * sizeof(float));
            f->gemm(s->ta, s->tb, s->m, s->n, s->k, x.sa, x.lda, PL_F32, x.sb, x.ldb,
                    s->bias ? x.bias : NULL, s->acc, x.c, x.ldc, work);
            snprintf(what, sizeof what, "%s by %s", f->variant, rule_names[rule]);
            compare(s, &x, what);
            free(work);
        }
    }
    numbers_free(&x);
}

static void products_are_the_rule_written_out(void **unused)
{
    static const int64_t sizes[] = {0, 1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 129};
    enum { N = sizeof sizes / sizeof sizes[0] };
    (void)unused;
    state = 1;
    for (int i = 0; i < 150; i++) {
        const uint32_t bits = draw();
        shape s = {.ta = bits & 1,
                   .tb = bits & 2,
                   .acc = bits & 4,
                   .bias = bits & 8,
                   .extreme = bits & 16,
                   .pad = bits & 32 ? 3 : 0};
        s.m = sizes[draw() % N];
        s.n = sizes[draw() % N];
        s.k = sizes[draw() % N];
        check_shape(&s);
    }
}

static void close_up(void **unused)
{
    (void)unused;
    for (int bits = 0; bits < 16; bits++) {
        const shape s = {.ta = bits & 1,
                         .tb = bits & 2,
                         .acc = bits & 4,
                         .bias = bits & 8,
                         .m = 70,
                         .n = 45,
                         .k = 300};
        state = 77 + (uint64_t)bits;
        check_shape(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_the_rule_written_out),
        cmocka_unit_test(close_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
