/*
** gemm_test.c - matrix products: every way to call them against one scalar chain, bit for bit.
**
** The law of kernels/gemm.h fixes all bits: s = fma(a, b, s) for k ascending (a product and a sum
** where the variant has no fma). So the reference is that loop, and equality is exact; against
** OpenBLAS and a sum in double only the size of the error is held. From the law follow the
** properties people rely on (rows alone or in a batch, threads, packing, AVX2 = AVX-512); they are
** tested again as such, so that a failure says what broke.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <cblas.h>
#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/thread.h"
#include "perilune.h"

/* The functions of one variant, for float and for double. */
#define KERNELS(T, name)                                                                           \
    typedef struct {                                                                               \
        const char *variant;                                                                       \
        bool fused;                                                                                \
        int64_t (*work)(bool, bool, int64_t, int64_t, int64_t);                                    \
        void (*gemm)(bool, bool, int64_t, int64_t, int64_t, const T *, int64_t, const T *,         \
                     int64_t, bool, T *, int64_t, T *);                                            \
        void (*serial)(bool, bool, int64_t, int64_t, int64_t, const T *, int64_t, const T *,       \
                       int64_t, bool, T *, int64_t);                                               \
        int64_t (*pack_size)(int64_t, int64_t);                                                    \
        void (*pack)(bool, int64_t, int64_t, const T *, int64_t, T *);                             \
        void (*packed)(int64_t, int64_t, int64_t, const T *, int64_t, const T *, bool, T *,        \
                       int64_t, T *);                                                              \
        void (*linear)(int64_t, int64_t, int64_t, const T *, const T *, const T *, const T *, T *, \
                       T *);                                                                       \
    } name;
KERNELS(float, kernels_f32)
KERNELS(double, kernels_f64)

#define DECLARE(T, v)                                                                              \
    int64_t k_gemm_work_##v(bool, bool, int64_t, int64_t, int64_t);                                \
    void k_gemm_##v(bool, bool, int64_t, int64_t, int64_t, const T *, int64_t, const T *, int64_t, \
                    bool, T *, int64_t, T *);                                                      \
    void k_gemm_serial_##v(bool, bool, int64_t, int64_t, int64_t, const T *, int64_t, const T *,   \
                           int64_t, bool, T *, int64_t);                                           \
    int64_t k_gemm_pack_size_##v(int64_t, int64_t);                                                \
    void k_gemm_pack_##v(bool, int64_t, int64_t, const T *, int64_t, T *);                         \
    void k_gemm_packed_##v(int64_t, int64_t, int64_t, const T *, int64_t, const T *, bool, T *,    \
                           int64_t, T *);                                                          \
    void k_gemm_linear_##v(int64_t, int64_t, int64_t, const T *, const T *, const T *, const T *,  \
                           T *, T *);
#define ENTRY(v, fused)                                                                  \
    {                                                                                    \
#v, fused, k_gemm_work_##v, k_gemm_##v, k_gemm_serial_##v, k_gemm_pack_size_##v, \
            k_gemm_pack_##v, k_gemm_packed_##v, k_gemm_linear_##v                        \
    }

DECLARE(float, f32_plain)
DECLARE(double, f64)
#if defined(__x86_64__)
DECLARE(float, f32_avx2)
DECLARE(float, f32_avx512)
#endif

static const kernels_f32 all_f32[] = {
    ENTRY(f32_plain, false),
#if defined(__x86_64__)
    ENTRY(f32_avx2, true),
    ENTRY(f32_avx512, true),
#endif
};
static const kernels_f64 only_f64 = ENTRY(f64, false);

/* Variants of float32 this machine can run: the enum of cpu.h is in the same order. */
static int runnable(void)
{
    return (int)pl__isa() + 1;
}

static uint32_t seed = 1;

static uint32_t next(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

static int64_t between(int64_t lo, int64_t hi)
{
    return lo + (int64_t)(next() % (uint32_t)(hi - lo + 1));
}

typedef struct {
    bool ta, tb, acc;
    int64_t m, n, k, pad;
} sizes;

/* Body of the tests for one type: the code is the same for float and double. */
#define BODY(T, kernels, fma_of)                                                                  \
    static T *random_##T(int64_t n)                                                               \
    {                                                                                             \
        T *x = malloc(((size_t)n + 1) * sizeof *x);                                               \
        assert_non_null(x);                                                                       \
        for (int64_t i = 0; i < n; i++) x[i] = (T)((double)next() / 8388608.0 - 1.0);             \
        return x;                                                                                 \
    }                                                                                             \
                                                                                                  \
    static void chain_##T(const sizes *s, const T *a, int64_t lda, const T *b, int64_t ldb, T *c, \
                          int64_t ldc, bool fused)                                                \
    {                                                                                             \
        for (int64_t i = 0; i < s->m; i++)                                                        \
            for (int64_t j = 0; j < s->n; j++) {                                                  \
                T sum = s->acc ? c[i * ldc + j] : 0;                                              \
                for (int64_t k = 0; k < s->k; k++) {                                              \
                    const T x = s->ta ? a[k * lda + i] : a[i * lda + k];                          \
                    const T y = s->tb ? b[j * ldb + k] : b[k * ldb + j];                          \
                    if (fused) sum = fma_of(x, y, sum);                                           \
                    else sum = x * y + sum;                                                       \
                }                                                                                 \
                c[i * ldc + j] = sum;                                                             \
            }                                                                                     \
    }                                                                                             \
                                                                                                  \
    static void same_##T(const char *what, const kernels *v, const sizes *s, const T *want,       \
                         const T *got, int64_t count)                                             \
    {                                                                                             \
        if (memcmp(want, got, (size_t)count * sizeof *want) == 0) return;                         \
        for (int64_t i = 0; i < count; i++)                                                       \
            if (memcmp(want + i, got + i, sizeof *want) != 0)                                     \
                fail_msg("%s %s %s%s%s m=%ld n=%ld k=%ld: place %ld is %.9g, not %.9g",           \
                         v->variant, what, s->ta ? "t" : "n", s->tb ? "t" : "n",                  \
                         s->acc ? "+" : "", (long)s->m, (long)s->n, (long)s->k, (long)i,          \
                         (double)got[i], (double)want[i]);                                        \
    }                                                                                             \
                                                                                                  \
    /* All ways to make one product, against the chain; rows are `pad` longer than needed. */     \
    static void every_way_##T(const kernels *v, const sizes *s)                                   \
    {                                                                                             \
        const int64_t lda = (s->ta ? s->m : s->k) + s->pad;                                       \
        const int64_t ldb = (s->tb ? s->k : s->n) + s->pad, ldc = s->n + s->pad;                  \
        const int64_t count = s->m * ldc;                                                         \
        T *a = random_##T((s->ta ? s->k : s->m) * lda);                                           \
        T *b = random_##T((s->tb ? s->n : s->k) * ldb), *start = random_##T(count);               \
        T *want = random_##T(count), *got = random_##T(count);                                    \
        T *work = random_##T(v->work(s->ta, s->tb, s->m, s->n, s->k));                            \
        T *packed = random_##T(v->pack_size(s->n, s->k));                                         \
        const size_t bytes = (size_t)count * sizeof(T);                                           \
        memcpy(want, start, bytes);                                                               \
        chain_##T(s, a, lda, b, ldb, want, ldc, v->fused);                                        \
        memcpy(got, start, bytes);                                                                \
        v->gemm(s->ta, s->tb, s->m, s->n, s->k, a, lda, b, ldb, s->acc, got, ldc, work);          \
        same_##T("gemm", v, s, want, got, count);                                                 \
        memcpy(got, start, bytes);                                                                \
        v->serial(s->ta, s->tb, s->m, s->n, s->k, a, lda, b, ldb, s->acc, got, ldc);              \
        same_##T("gemm_serial", v, s, want, got, count);                                          \
        if (!s->ta) {                                                                             \
            v->pack(s->tb, s->n, s->k, b, ldb, packed);                                           \
            memcpy(got, start, bytes);                                                            \
            v->packed(s->m, s->n, s->k, a, lda, packed, s->acc, got, ldc, NULL);                  \
            same_##T("gemm_packed", v, s, want, got, count);                                      \
        }                                                                                         \
        if (!s->ta && s->tb && !s->acc && s->pad == 0) {                                          \
            T *bias = random_##T(s->n);                                                           \
            for (int64_t i = 0; i < count; i++) want[i] += bias[i % s->n];                        \
            v->linear(s->m, s->n, s->k, a, b, NULL, bias, got, work);                             \
            same_##T("gemm_linear", v, s, want, got, count);                                      \
            memcpy(got, start, bytes);                                                            \
            v->linear(s->m, s->n, s->k, a, NULL, packed, bias, got, NULL);                        \
            same_##T("gemm_linear packed", v, s, want, got, count);                               \
            free(bias);                                                                           \
        }                                                                                         \
        free(a), free(b), free(start), free(want), free(got), free(work), free(packed);           \
    }                                                                                             \
                                                                                                  \
    static void all_flags_##T(const kernels *v, int64_t m, int64_t n, int64_t k, int64_t pad)     \
    {                                                                                             \
        for (int f = 0; f < 8; f++) {                                                             \
            const sizes s = {(f & 1) != 0, (f & 2) != 0, (f & 4) != 0, m, n, k, pad};             \
            every_way_##T(v, &s);                                                                 \
        }                                                                                         \
    }

BODY(float, kernels_f32, fmaf)
BODY(double, kernels_f64, fma)

/* Shapes at the bounds of every tile, panel, block and chunk, and beyond. */
static const int64_t edges[][3] = {
    {1, 1, 1},    {2, 3, 4},     {1, 64, 64},    {14, 32, 16},  {15, 33, 17},  {6, 16, 8},
    {7, 17, 9},   {28, 31, 127}, {64, 65, 128},  {65, 64, 129}, {66, 96, 385}, {130, 48, 384},
    {5, 513, 40}, {70, 530, 20}, {80, 300, 390}, {3, 1, 800},   {90, 1, 40},   {33, 257, 65},
    {1, 40, 500}, {129, 16, 33}, {71, 31, 769},  {67, 260, 400}};

static void test_law(void **state)
{
    (void)state;
    for (size_t e = 0; e < sizeof edges / sizeof *edges; e++) {
        const int64_t m = edges[e][0], n = edges[e][1], k = edges[e][2];
        for (int v = 0; v < runnable(); v++) all_flags_float(&all_f32[v], m, n, k, e % 2 ? 3 : 0);
        all_flags_double(&only_f64, m, n, k, e % 2 ? 0 : 1);
    }
}

static void test_random_sizes(void **state)
{
    (void)state;
    for (int round = 0; round < 24; round++) {
        const int64_t m = between(1, 100), n = between(1, 120), k = between(0, 150);
        for (int v = 0; v < runnable(); v++) all_flags_float(&all_f32[v], m, n, k, round % 4);
        all_flags_double(&only_f64, m, n, k, round % 4);
    }
}

static void test_zero_sizes(void **state)
{
    (void)state;
    for (int v = 0; v < runnable(); v++)
        for (int z = 1; z < 8; z++)
            all_flags_float(&all_f32[v], z & 1 ? 0 : 70, z & 2 ? 0 : 40, z & 4 ? 0 : 5, 1);
    float c[6] = {1, 2, 3, 4, 5, 6};
    all_f32[0].gemm(false, true, 2, 3, 0, NULL, 1, NULL, 1, true, c, 3, NULL);
    for (int i = 0; i < 6; i++) assert_true(c[i] == (float)(i + 1));
    all_f32[0].gemm(false, true, 2, 3, 0, NULL, 1, NULL, 1, false, c, 3, NULL);
    for (int i = 0; i < 6; i++) assert_true(c[i] == 0.0f);
}

/* A row's bits do not depend on the number of rows in the call nor on its place among them. */
static void test_rows_alone(void **state)
{
    (void)state;
    enum { M = 70, N = 100, KK = 200 };
    float *a = random_float(M * KK), *b = random_float(N * KK), *all = random_float(M * N);
    float *part = random_float(M * N);
    for (int v = 0; v < runnable(); v++)
        for (int tb = 0; tb < 2; tb++) {
            const kernels_f32 *f = &all_f32[v];
            const int64_t ldb = tb ? KK : N;
            float *work = random_float(f->work(false, tb, M, N, KK));
            f->gemm(false, tb, M, N, KK, a, KK, b, ldb, false, all, N, work);
            for (int64_t m = 1; m <= M; m++) {
                const int64_t at = between(0, M - m);
                const sizes s = {false, tb, false, m, N, KK, 0};
                f->gemm(false, tb, m, N, KK, a + at * KK, KK, b, ldb, false, part, N, work);
                same_float("some of the rows", f, &s, all + at * N, part, m * N);
            }
            free(work);
        }
    free(a), free(b), free(all), free(part);
}

static void test_threads(void **state)
{
    (void)state;
    static const sizes shapes[] = {{false, true, false, 200, 172, 64, 0},
                                   {true, false, true, 64, 64, 2000, 0},
                                   {false, false, false, 150, 300, 500, 0},
                                   {false, true, false, 16, 800, 288, 0},
                                   {false, true, false, 1, 2000, 288, 0}};
    const int before = omp_get_max_threads();
    for (int v = 0; v < runnable(); v++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            for (int threads = 1; threads <= 4; threads++) {
                omp_set_num_threads(threads);
                every_way_float(&all_f32[v], &shapes[i]);
            }
    omp_set_num_threads(before);
}

static void test_avx2_is_avx512(void **state)
{
    (void)state;
    if (runnable() < 3) skip();
    enum { M = 90, N = 130, KK = 700 };
    float *a = random_float(M * KK), *b = random_float(N * KK);
    float *one = random_float(M * N), *two = random_float(M * N);
    float *work = random_float(all_f32[1].work(false, true, M, N, KK) +
                               all_f32[2].work(false, true, M, N, KK));
    const sizes s = {false, true, false, M, N, KK, 0};
    all_f32[1].gemm(false, true, M, N, KK, a, KK, b, KK, false, one, N, work);
    all_f32[2].gemm(false, true, M, N, KK, a, KK, b, KK, false, two, N, work);
    same_float("against avx512", &all_f32[1], &s, two, one, M * N);
    free(a), free(b), free(one), free(two), free(work);
}

/* Error of a chain of k products: at most k roundings of half a unit, in sum |a b|. */
static void test_against_openblas_and_double(void **state)
{
    (void)state;
    enum { M = 96, N = 120, KK = 1000 };
    float *a = random_float(M * KK), *b = random_float(N * KK);
    float *own = random_float(M * N), *blas = random_float(M * N);
    for (int v = 0; v < runnable(); v++) {
        float *work = random_float(all_f32[v].work(false, true, M, N, KK));
        all_f32[v].gemm(false, true, M, N, KK, a, KK, b, KK, false, own, N, work);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, M, N, KK, 1.0f, a, KK, b, KK, 0.0f,
                    blas, N);
        for (int64_t i = 0; i < M; i++)
            for (int64_t j = 0; j < N; j++) {
                double sum = 0, size = 0;
                for (int64_t k = 0; k < KK; k++) {
                    const double x = (double)a[i * KK + k] * (double)b[j * KK + k];
                    sum += x;
                    size += fabs(x);
                }
                const double bound = KK * 6e-8 * size;
                assert_true(fabs((double)own[i * N + j] - sum) <= bound);
                assert_true(fabs((double)own[i * N + j] - (double)blas[i * N + j]) <= 2 * bound);
            }
        free(work);
    }
    free(a), free(b), free(own), free(blas);
}

/* A NaN or an infinity reaches its own row or column and nothing else. */
static void test_nan_stays_in_its_row(void **state)
{
    (void)state;
    enum { M = 33, N = 50, KK = 40 };
    for (int v = 0; v < runnable(); v++) {
        float *a = random_float(M * KK), *b = random_float(N * KK);
        float *clean = random_float(M * N), *got = random_float(M * N);
        float *work = random_float(all_f32[v].work(false, true, M, N, KK));
        all_f32[v].gemm(false, true, M, N, KK, a, KK, b, KK, false, clean, N, work);
        a[20 * KK + 7] = NAN;
        b[49 * KK + 39] = INFINITY;
        a[5 * KK + 39] = 0.0f; /* 0 times infinity */
        float changed = 0.0f;
        all_f32[v].gemm(false, true, M, N, KK, a, KK, b, KK, false, got, N, work);
        for (int64_t i = 0; i < M; i++)
            for (int64_t j = 0; j < N; j++) {
                const float x = got[i * N + j];
                if (i == 20 || (i == 5 && j == 49)) assert_true(isnan(x));
                else if (j == 49) assert_true(isinf(x));
                else if (i != 5) assert_true(x == clean[i * N + j]);
                else changed += fabsf(x - clean[i * N + j]);
            }
        assert_true(changed > 0.0f);
        free(a), free(b), free(clean), free(got), free(work);
    }
}

/* linear keeps a packed copy of a parameter without a tape; a forward on the tape, after which the
** parameter changes, gives it back. */
static void test_linear_packs_and_unpacks(void **state)
{
    (void)state;
    enum { M = 5, N = 70, KK = 48 };
    const int64_t x_shape[] = {M, KK}, w_shape[] = {N, KK};
    pl_ctx *ctx = pl_ctx_new();
    pl_tensor *in[3] = {NULL, NULL, NULL}, *taped = NULL, *packed = NULL;
    assert_non_null(ctx);
    assert_int_equal(pl_tensor_new(ctx, &in[0], PL_F32, 2, x_shape), PL_OK);
    assert_int_equal(pl_tensor_new(ctx, &in[1], PL_F32, 2, w_shape), PL_OK);
    assert_int_equal(pl_tensor_random(ctx, in[0], true, 0, 1, 1, 1), PL_OK);
    pl_tensor_set_requires_grad(in[1], true);
    for (uint64_t round = 0; round < 3; round++) {
        assert_int_equal(pl_tensor_random(ctx, in[1], true, 0, 1, 2, round), PL_OK);
        pl_set_grad_enabled(ctx, true);
        const int64_t before = pl_mem_get(ctx).live;
        assert_int_equal(pl_op(ctx, PL_OP_linear, in, NULL, &taped), PL_OK);
        if (round > 0) assert_true(before - pl_mem_get(ctx).live > N * KK * 2);
        pl_set_grad_enabled(ctx, false);
        for (int again = 0; again < 2; again++) {
            const int64_t live = pl_mem_get(ctx).live;
            assert_int_equal(pl_op(ctx, PL_OP_linear, in, NULL, &packed), PL_OK);
            const int64_t grown = pl_mem_get(ctx).live - live;
            if (again == 0) assert_true(grown > N * KK * 4);
            else assert_true(grown < N * KK * 4);
            assert_memory_equal(pl_tensor_data(taped), pl_tensor_data(packed), M * N * 4);
            pl_tensor_release(packed);
        }
        pl_tensor_release(taped);
    }
    pl_tensor_release(in[0]);
    pl_tensor_release(in[1]);
    pl_ctx_free(ctx);
}

/* Whether the n floats at x are all still the mark. */
static bool untouched(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (x[i] != 7.0f) return false;
    return true;
}

/* A product that was told to stop packs nothing and writes nothing, however it is called: for the
** largest, packing alone would take longer than anybody waits. */
static void test_stopped(void **state)
{
    (void)state;
    enum { MOST = 200, N = 600, KK = 500 };
    static const volatile sig_atomic_t stopped = 1;
    for (int v = 0; v < runnable(); v++) {
        const kernels_f32 *K = &all_f32[v];
        float *a = random_float(MOST * KK), *b = random_float(N * KK);
        const int64_t pack_size = K->pack_size(N, KK);
        float *c = malloc(MOST * N * sizeof *c), *packed = malloc((size_t)pack_size * sizeof *c);
        assert_true(c != NULL && packed != NULL);
        for (int64_t i = 0; i < MOST * N; i++) c[i] = 7.0f;
        for (int64_t i = 0; i < pack_size; i++) packed[i] = 7.0f;
        pl__stop_set(&stopped);
        for (int way = 0; way < 8; way++) {
            const bool ta = way & 1, tb = way & 2;
            const int64_t m = way & 4 ? MOST : 20;
            const int64_t size = K->work(ta, tb, m, N, KK);
            float *work = malloc(((size_t)size + 1) * sizeof *work);
            assert_non_null(work);
            for (int64_t i = 0; i < size; i++) work[i] = 7.0f;
            K->gemm(ta, tb, m, N, KK, a, ta ? m : KK, b, tb ? KK : N, false, c, N, work);
            assert_true(untouched(work, size));
            free(work);
        }
        K->pack(true, N, KK, b, KK, packed);
        pl__stop_set(NULL);
        assert_true(untouched(c, MOST * N));
        assert_true(untouched(packed, pack_size));
        free(a), free(b), free(c), free(packed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_law),
        cmocka_unit_test(test_random_sizes),
        cmocka_unit_test(test_zero_sizes),
        cmocka_unit_test(test_rows_alone),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_avx2_is_avx512),
        cmocka_unit_test(test_against_openblas_and_double),
        cmocka_unit_test(test_nan_stays_in_its_row),
        cmocka_unit_test(test_linear_packs_and_unpacks),
        cmocka_unit_test(test_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
