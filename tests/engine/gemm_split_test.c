/*
** gemm_split_test.c - float32 products of split numbers: the law of kernels/gemm_split.h written
** out, bit for bit, in every variant (by AMX where the processor has it, else by its model); and
** held to float64 beside the chains of kernels/gemm.h, of which they may be no worse.
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
#include "base/thread.h"
#include "kernels/bf16_model.h"
#include "perilune.h"
#include "product_cases.h"

typedef struct {
    const char *variant;
    int64_t (*work)(int64_t, int64_t, int64_t);
    void (*split)(bool, bool, int64_t, int64_t, int64_t, const float *, int64_t, const float *,
                  int64_t, bool, float *, int64_t, void *);
    int64_t (*chain_work)(bool, bool, int64_t, int64_t, int64_t);
    void (*chain)(bool, bool, int64_t, int64_t, int64_t, const float *, int64_t, const float *,
                  int64_t, bool, float *, int64_t, float *);
} kernels;

#define DECLARE(v)                                                                                \
    int64_t k_gemm_split_work_##v(int64_t, int64_t, int64_t);                                     \
    void k_gemm_split_##v(bool, bool, int64_t, int64_t, int64_t, const float *, int64_t,          \
                          const float *, int64_t, bool, float *, int64_t, void *);                \
    int64_t k_gemm_work_##v(bool, bool, int64_t, int64_t, int64_t);                               \
    void k_gemm_##v(bool, bool, int64_t, int64_t, int64_t, const float *, int64_t, const float *, \
                    int64_t, bool, float *, int64_t, float *);
#define ENTRY(v)                                                                 \
    {                                                                            \
#v, k_gemm_split_work_##v, k_gemm_split_##v, k_gemm_work_##v, k_gemm_##v \
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

/* ---- Numbers ---- */

/* Near 1; over 80 powers of two; one in 64 of them extreme; any bits at all; denormal; large enough
** for some lines not to be split, and products to leave the range; lines of zeros. */
enum { USUAL, WIDE, EXTREME, ANY_BITS, TINY, HUGE_ONES, ZEROS, KINDS };

static float near_one(void)
{
    return (float)(int32_t)(draw() << 8 | draw() >> 24) * 0x1p-31f;
}

static float number(int kind)
{
    static const float odd[] = {0.0f,     -0.0f,     1e-40f,   -1e-42f,        0x1p-126f,
                                1.1e-38f, 3e38f,     -3.4e38f, FLT_MAX,        INFINITY,
                                NAN,      -INFINITY, 0x1p110f, 0x1.fffffep109f};
    switch (kind) {
    case WIDE: return ldexpf(near_one(), (int)(draw() % 81) - 40);
    case EXTREME: return draw() % 64 ? near_one() : odd[draw() % (sizeof odd / sizeof odd[0])];
    case ANY_BITS: return model_float(draw() ^ draw() << 16);
    case TINY: return model_float(draw() & (draw() % 2 ? 0x807fffff : 0x81ffffff));
    case HUGE_ONES: return ldexpf(near_one(), 60 + (int)(draw() % 58));
    case ZEROS: return draw() % 400 ? 0 : near_one();
    default: return near_one();
    }
}

static float sum_number(int kind)
{
    return number(kind);
}

/* ---- The law written out ---- */

static uint32_t largest_of(const float *x, int64_t n)
{
    uint32_t largest = 0;
    for (int64_t i = 0; i < n; i++)
        if ((model_bits(x[i]) & 0x7fffffff) > largest) largest = model_bits(x[i]) & 0x7fffffff;
    return largest;
}

/* The power of two that the line is divided by; NaN when it is not split. */
static float scale_of(uint32_t largest)
{
    const float x = model_float(largest);
    if (!(x < 0x1p110f)) return NAN;
    if (x == 0) return 1;
    int exponent;
    frexpf(x, &exponent);
    return ldexpf(1, exponent - 1 < -110 ? -110 : exponent - 1);
}

static float rounded_away(float x)
{
    return model_float((model_bits(x) + 0x8000) & 0xffff0000);
}

static void split(float x, uint32_t largest, float scale, uint16_t part[3])
{
    const bool none = fabsf(x) < ldexpf(model_float(largest & 0x7f800000), -100);
    float rest = none ? 0 : ldexpf(x, -ilogbf(scale));
    for (int p = 0; p < 3; p++) {
        const float value = rounded_away(rest);
        part[p] = (uint16_t)(model_bits(value) >> 16);
        rest -= value;
    }
    assert_true(rest == 0);
}

static float piece_sum(int64_t k, const float *a, const float *b, float s)
{
    static const int terms[6][2] = {{2, 0}, {1, 0}, {1, 1}, {0, 1}, {0, 2}, {0, 0}};
    const uint32_t most_a = largest_of(a, k), most_b = largest_of(b, k);
    const float scale_a = scale_of(most_a), scale_b = scale_of(most_b);
    if (isnan(scale_a) || isnan(scale_b)) {
        for (int64_t i = 0; i < k; i++) s = fmaf(a[i], b[i], s);
        return s;
    }
    float p = 0;
    for (int leading = 0; leading < 2; leading++)
        for (int64_t from = 0; from < k; from += 32) {
            uint16_t x[3][32] = {0}, y[3][32] = {0};
            for (int64_t i = from; i < k && i < from + 32; i++) {
                uint16_t part[3];
                split(a[i], most_a, scale_a, part);
                for (int t = 0; t < 3; t++) x[t][i - from] = part[t];
                split(b[i], most_b, scale_b, part);
                for (int t = 0; t < 3; t++) y[t][i - from] = part[t];
            }
            for (int t = leading ? 5 : 0; t < (leading ? 6 : 5); t++)
                p = model_tile(x[terms[t][0]], y[terms[t][1]], 2, p);
        }
    return fmaf(p * fmaxf(scale_a, scale_b), fminf(scale_a, scale_b), s);
}

static float split_sum(int64_t k, const float *a, const float *b, float s)
{
    const int64_t steps = (k + 31) / 32, pieces = (steps + 7) / 8;
    for (int64_t i = 0; i < pieces; i++) {
        const int64_t from = steps * i / pieces * 32, end = steps * (i + 1) / pieces * 32;
        s = piece_sum((end < k ? end : k) - from, a + from, b + from, s);
    }
    return s;
}

/* ---- One product ---- */

static void write_out(const shape *s, numbers *x)
{
    memcpy(x->wanted, x->before, (size_t)x->count * sizeof(float));
    for (int64_t i = 0; i < s->m; i++)
        for (int64_t j = 0; j < s->n; j++) {
            float *to = x->wanted + i * x->ldc + j;
            *to = split_sum(s->k, x->a + i * s->k, x->b + j * s->k, s->acc ? *to : 0);
        }
}

static void compare(const char *variant, const shape *s, const numbers *x)
{
    for (int64_t i = 0; i < x->count; i++) {
        const float got = x->c[i], wanted = x->wanted[i];
        if (memcmp(&got, &wanted, sizeof got) == 0 || (isnan(got) && isnan(wanted))) continue;
        fail_msg("%s, %s%s %lld x %lld x %lld%s, numbers %d, place %lld: %a, wanted %a", variant,
                 s->ta ? "At" : "A", s->tb ? "Bt" : "B", (long long)s->m, (long long)s->n,
                 (long long)s->k, s->acc ? " + C" : "", s->kind, (long long)i, (double)got,
                 (double)wanted);
    }
}

static void run(const kernels *f, const shape *s, numbers *x, int64_t row, int64_t rows)
{
    void *work = work_of(f->work(rows, s->n, s->k));
    f->split(s->ta, s->tb, rows, s->n, s->k, x->sa + (s->ta ? row : row * x->lda), x->lda, x->sb,
             x->ldb, s->acc, x->c + row * x->ldc, x->ldc, work);
    free(work);
}

static void check_shape(const shape *s)
{
    numbers x = numbers_of(s);
    write_out(s, &x);
    for (int v = variants() - 1; v >= 0; v--) {
        setenv("PERILUNE_ISA", isa_names[v], 1);
        memcpy(x.c, x.before, (size_t)x.count * sizeof(float));
        run(&all_kernels[v], s, &x, 0, s->m);
        compare(all_kernels[v].variant, s, &x);
    }
    numbers_free(&x);
}

static void products_are_the_law_written_out(void **unused)
{
    static const int64_t sizes[] = {0, 1, 2, 15, 16, 17, 31, 32, 33, 65};
    enum { N = sizeof sizes / sizeof sizes[0] };
    (void)unused;
    for (int i = 0; i < 90; i++) {
        state = 1000 + (uint64_t)i;
        for (int j = 0; j < 8; j++) draw();
        const int64_t m = sizes[draw() % N], n = sizes[draw() % N], k = sizes[draw() % N];
        shape s = shape_of(draw(), m, n, k);
        s.kind = i % KINDS;
        check_shape(&s);
    }
}

/* Several pieces of k, parts of panels and groups of strips. */
static void so_are_large_ones(void **unused)
{
    (void)unused;
    state = 5;
    for (uint32_t bits = 0; bits < 4; bits++)
        for (int kind = USUAL; kind < KINDS; kind++) {
            shape s = shape_of(bits | (kind % 2 ? 20 : 0), 3, 5, kind == USUAL ? 2100 : 600);
            s.kind = kind;
            check_shape(&s);
            if (kind > EXTREME) continue;
            s = kind % 2 ? shape_of(bits | 4, 2, 1100, 33) : shape_of(bits | 16, 300, 2, 270);
            s.kind = kind;
            check_shape(&s);
        }
}

/* ---- Properties ---- */

static void rows_and_threads_change_no_bit(void **unused)
{
    (void)unused;
    const int threads = omp_get_max_threads(), v = variants() - 1;
    const bool large = pl__has_tiles(); /* emulated, it takes its time */
    for (uint32_t bits = 0; bits < 4; bits++) {
        const shape s = shape_of(bits, large ? 150 : 70, large ? 600 : 40, 270);
        state = 3 + bits;
        numbers x = numbers_of(&s);
        omp_set_num_threads(1);
        memcpy(x.c, x.before, (size_t)x.count * sizeof(float));
        run(&all_kernels[v], &s, &x, 0, s.m);
        memcpy(x.wanted, x.c, (size_t)x.count * sizeof(float));
        for (int n = 2; n <= 5; n++) {
            memset(x.c, 0, (size_t)(s.m * x.ldc) * sizeof(float));
            omp_set_num_threads(n);
            run(&all_kernels[v], &s, &x, 0, s.m);
            compare("threads", &s, &x);
        }
        memset(x.c, 0, (size_t)(s.m * x.ldc) * sizeof(float));
        for (int64_t row = 0, rows = 1; row < s.m; row += rows, rows = rows % 40 + 7)
            run(&all_kernels[v], &s, &x, row, row + rows < s.m ? rows : s.m - row);
        compare("few rows", &s, &x);
        numbers_free(&x);
    }
    omp_set_num_threads(threads);
}

typedef struct {
    double squares, most;
} error;

static void add_error(error *e, double got, double sum, double size)
{
    const double off = size > 0 ? fabs(got - sum) / size : 0;
    e->squares += off * off;
    if (off > e->most) e->most = off;
}

/* Errors of both ways, in parts of the sum of |a b|. Every second row of A ends as it began, with
** other signs, and B repeats: sums that cancel. */
static void compare_errors(const shape *s, bool cancel)
{
    const int v = variants() - 1;
    const kernels *f = &all_kernels[v];
    numbers x = numbers_of(s);
    for (int64_t k = s->k / 2; cancel && k < s->k / 2 * 2; k++) {
        for (int64_t i = 0; i < s->m; i++)
            x.sa[i * x.lda + k] = x.a[i * s->k + k] = -x.a[i * s->k + k - s->k / 2];
        for (int64_t j = 0; j < s->n; j++)
            x.sb[j * x.ldb + k] = x.b[j * s->k + k] = x.b[j * s->k + k - s->k / 2];
    }
    run(f, s, &x, 0, s->m);
    void *work = work_of(f->chain_work(false, true, s->m, s->n, s->k) * (int64_t)sizeof(float));
    f->chain(false, true, s->m, s->n, s->k, x.sa, x.lda, x.sb, x.ldb, false, x.wanted, x.ldc, work);
    free(work);
    error split = {0}, chain = {0};
    for (int64_t i = 0; i < s->m; i++)
        for (int64_t j = 0; j < s->n; j++) {
            double sum = 0, size = 0;
            for (int64_t k = 0; k < s->k; k++) {
                const double p = (double)x.a[i * s->k + k] * x.b[j * s->k + k];
                sum += p;
                size += fabs(p);
            }
            add_error(&split, x.c[i * x.ldc + j], sum, size);
            add_error(&chain, x.wanted[i * x.ldc + j], sum, size);
        }
    if (split.squares > chain.squares || split.most > chain.most)
        fail_msg("k of %lld, numbers %d%s: errors %g and at most %g, of chains %g and %g",
                 (long long)s->k, s->kind, cancel ? ", cancelling" : "", sqrt(split.squares),
                 split.most, sqrt(chain.squares), chain.most);
    numbers_free(&x);
}

static void sums_are_no_worse_than_chains(void **unused)
{
    static const int64_t ks[] = {128, 129, 200, 255, 256, 500, 768, 1000, 3072, 8192};
    (void)unused;
    const bool large = pl__has_tiles();
    for (size_t i = 0; i < sizeof ks / sizeof ks[0]; i++)
        for (int kind = USUAL; kind <= WIDE; kind++)
            for (int cancel = 0; cancel < 2; cancel++) {
                state = 77 + i;
                if (!large && ks[i] > 1000) continue;
                shape s = shape_of(2, large ? 40 : 12, large ? 50 : 12, ks[i]);
                s.kind = kind;
                compare_errors(&s, cancel);
            }
}

/* Who stops an op throws its result away: nothing done shows that the flag was looked at. */
static void stopped_ones_do_nothing(void **unused)
{
    (void)unused;
    const volatile sig_atomic_t raised = 1;
    const shape s = shape_of(2, 40, 100, 300);
    state = 31;
    numbers x = numbers_of(&s);
    for (int v = variants() - 1; v >= 0; v--) {
        setenv("PERILUNE_ISA", isa_names[v], 1);
        memcpy(x.c, x.before, (size_t)x.count * sizeof(float));
        pl__stop_set(&raised);
        run(&all_kernels[v], &s, &x, 0, s.m);
        pl__stop_set(NULL);
        assert_memory_equal(x.c, x.before, (size_t)x.count * sizeof(float));
    }
    numbers_free(&x);
}

/* ---- Ops ---- */

enum { T = 150, C = 160, V = 144, GRADIENTS = 3 };

typedef struct {
    float y[T * C], logprob[T], loss, d[GRADIENTS][T * C]; /* of x, w and the head */
} model_values;

static pl_tensor *random_tensor(pl_ctx *ctx, int64_t rows, int64_t cols, uint64_t index)
{
    pl_tensor *t;
    assert_int_equal(pl_tensor_new(ctx, &t, PL_F32, 2, (const int64_t[]){rows, cols}), PL_OK);
    assert_int_equal(pl_tensor_random(ctx, t, true, 0, 0.1, 3, index), PL_OK);
    pl_tensor_set_requires_grad(t, true);
    return t;
}

/* A linear map and a head over it. */
static void run_model(const char *way, model_values *out)
{
    pl_ctx *ctx = pl_ctx_new();
    assert_int_equal(pl_gemm_set(ctx, way), PL_OK);
    pl_tensor *of[] = {random_tensor(ctx, T, C, 0), random_tensor(ctx, C, C, 10000000),
                       random_tensor(ctx, V, C, 20000000)};
    pl_tensor *rows, *targets, *y, *loss, *logprob[2];
    assert_int_equal(pl_tensor_new(ctx, &rows, PL_I32, 1, (const int64_t[]){T}), PL_OK);
    assert_int_equal(pl_tensor_new(ctx, &targets, PL_I32, 1, (const int64_t[]){T}), PL_OK);
    for (int32_t t = 0; t < T; t++) {
        ((int32_t *)pl_tensor_data(rows))[t] = t;
        ((int32_t *)pl_tensor_data(targets))[t] = t * 7 % V;
    }
    const pl_param plain[PL_MAX_PARAM] = {{.f = 1}};
    pl_tensor *in[PL_MAX_IN] = {of[0], of[1]};
    assert_int_equal(pl_op(ctx, PL_OP_linear, in, NULL, &y), PL_OK);
    pl_tensor *head[PL_MAX_IN] = {y, of[2], rows, targets};
    assert_int_equal(pl_op(ctx, PL_OP_logprob, head, plain, logprob), PL_OK);
    assert_int_equal(pl_op(ctx, PL_OP_cross_entropy, head, plain, &loss), PL_OK);
    assert_int_equal(pl_backward(ctx, loss, NULL), PL_OK);
    memcpy(out->y, pl_tensor_data(y), sizeof out->y);
    memcpy(out->logprob, pl_tensor_data(logprob[0]), sizeof out->logprob);
    out->loss = *(const float *)pl_tensor_data(loss);
    memset(out->d, 0, sizeof out->d);
    for (int i = 0; i < GRADIENTS; i++) {
        const pl_tensor *d = pl_tensor_grad(of[i]);
        memcpy(out->d[i], pl_tensor_data((pl_tensor *)d),
               (size_t)(i == 0   ? T
                        : i == 1 ? C
                                 : V) *
                   C * sizeof(float));
    }
    pl_tensor *made[] = {of[0], of[1], of[2], rows, targets, y, loss, logprob[0], logprob[1]};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) pl_tensor_release(made[i]);
    pl_ctx_free(ctx);
}

/* What decoding has to give too, stays; gradients are others, by their last bits. */
static void gradients_are_split_and_forward_passes_are_not(void **unused)
{
    (void)unused;
    static model_values own, split;
    setenv("PERILUNE_ISA", isa_names[variants() - 1], 1);
    run_model("own", &own);
    run_model("split", &split);
    assert_memory_equal(own.y, split.y, sizeof own.y);
    assert_memory_equal(own.logprob, split.logprob, sizeof own.logprob);
    assert_true(fabsf(own.loss - split.loss) <= 1e-6f * own.loss);
    for (int i = 0; i < GRADIENTS; i++) {
        double off = 0, size = 0;
        for (int j = 0; j < T * C; j++) {
            off += pow((double)own.d[i][j] - split.d[i][j], 2);
            size += pow((double)own.d[i][j], 2);
        }
        assert_true(off > 0);
        assert_true(off <= 1e-12 * size);
    }
}

static int forget_environment(void **unused)
{
    (void)unused;
    unsetenv("PERILUNE_ISA");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_the_law_written_out),
        cmocka_unit_test(so_are_large_ones),
        cmocka_unit_test(rows_and_threads_change_no_bit),
        cmocka_unit_test(sums_are_no_worse_than_chains),
        cmocka_unit_test(stopped_ones_do_nothing),
        cmocka_unit_test(gradients_are_split_and_forward_passes_are_not),
    };
    return cmocka_run_group_tests(tests, NULL, forget_environment);
}
