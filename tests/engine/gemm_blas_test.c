/*
** gemm_blas_test.c - products by OpenBLAS: the laws of rows and threads, whatever kernels it picks.
**
** The build runs this program once for each kind of OpenBLAS's kernels that the machine can run
** (OPENBLAS_CORETYPE). Numbers have full mantissas: with short ones sums in double are exact, and
** every order of adding gives the same bits.
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
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "perilune.h"

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

static double number(void)
{
    return next() / 8388608.0 - 1.0 + next() / 140737488355328.0;
}

/* All n * k above the least that OpenBLAS takes; one and several tiles across. */
static const int64_t odd[][2] = {{269, 173}, {33, 1009}, {1021, 40}, {577, 193},
                                 {191, 555}, {2053, 16}, {16, 2053}};

enum { M = 211 };

#define BODY(T, v, epsilon)                                                                      \
    int k_gemm_blas_group_##v(T *);                                                              \
    int64_t k_gemm_blas_group_work_##v(void);                                                    \
    bool k_gemm_blas_takes_##v(bool, int64_t, int64_t, int64_t);                                 \
    int64_t k_gemm_blas_work_##v(int, int64_t, int64_t);                                         \
    void k_gemm_blas_##v(int, bool, bool, int64_t, int64_t, int64_t, const T *, int64_t,         \
                         const T *, int64_t, bool, T *, int64_t, T *);                           \
                                                                                                 \
    static T *random_##v(int64_t n)                                                              \
    {                                                                                            \
        T *x = malloc(((size_t)n + 1) * sizeof *x);                                              \
        assert_non_null(x);                                                                      \
        for (int64_t i = 0; i < n; i++) x[i] = (T)number();                                      \
        return x;                                                                                \
    }                                                                                            \
                                                                                                 \
    static int group_##v(void)                                                                   \
    {                                                                                            \
        T *work = random_##v(k_gemm_blas_group_work_##v());                                      \
        const int group = k_gemm_blas_group_##v(work);                                           \
        free(work);                                                                              \
        return group;                                                                            \
    }                                                                                            \
                                                                                                 \
    /* Rows first .. first + m - 1 of op(A) times op(B), added to those rows of `start`. */      \
    static void rows_##v(int group, int ways, int64_t first, int64_t m, int64_t n, int64_t k,    \
                         const T *a, const T *b, const T *start, T *c)                           \
    {                                                                                            \
        const bool ta = (ways & 1) != 0, tb = (ways & 2) != 0, acc = (ways & 4) != 0;            \
        if (group == 0) group = 1; /* threads and values are held all the same */                \
        T *work = random_##v(k_gemm_blas_work_##v(group, n, k));                                 \
        assert_true(k_gemm_blas_takes_##v(ta, m, n, k));                                         \
        memcpy(c, start + first * n, (size_t)(m * n) * sizeof *c);                               \
        k_gemm_blas_##v(group, ta, tb, m, n, k, ta ? a + first : a + first * k, ta ? M : k, b,   \
                        tb ? k : n, acc, c, n, work);                                            \
        free(work);                                                                              \
    }                                                                                            \
                                                                                                 \
    static void shape_##v(int group, int ways, int64_t n, int64_t k)                             \
    {                                                                                            \
        const int before = omp_get_max_threads();                                                \
        T *a = random_##v(M * k), *b = random_##v(n * k), *start = random_##v(M * n);            \
        T *all = random_##v(M * n), *part = random_##v(M * n);                                   \
        omp_set_num_threads(1);                                                                  \
        rows_##v(group, ways, 0, M, n, k, a, b, start, all);                                     \
        for (int round = 0; round < 8 && group > 0; round++) {                                   \
            const int64_t m = round == 0 ? 1 : between(1, round < 4 ? 12 : M);                   \
            const int64_t first = between(0, M - m);                                             \
            omp_set_num_threads(1 + round % 4);                                                  \
            rows_##v(group, ways, first, m, n, k, a, b, start, part);                            \
            assert_memory_equal(part, all + first * n, (size_t)(m * n) * sizeof(T));             \
        }                                                                                        \
        for (int threads = 2; threads <= 4; threads++) {                                         \
            omp_set_num_threads(threads);                                                        \
            rows_##v(group, ways, 0, M, n, k, a, b, start, part);                                \
            assert_memory_equal(part, all, (size_t)(M * n) * sizeof(T));                         \
        }                                                                                        \
        omp_set_num_threads(before);                                                             \
        for (int round = 0; round < 500; round++) {                                              \
            const int64_t i = between(0, M - 1), j = between(0, n - 1);                          \
            double sum = ways & 4 ? (double)start[i * n + j] : 0.0, size = fabs(sum);            \
            for (int64_t l = 0; l < k; l++) {                                                    \
                const double x = (double)(ways & 1 ? a[l * M + i] : a[i * k + l]) *              \
                                 (double)(ways & 2 ? b[j * k + l] : b[l * n + j]);               \
                sum += x;                                                                        \
                size += fabs(x);                                                                 \
            }                                                                                    \
            assert_true(fabs((double)all[i * n + j] - sum) <= (double)(k + 1) * epsilon * size); \
        }                                                                                        \
        free(a), free(b), free(start), free(all), free(part);                                    \
    }                                                                                            \
                                                                                                 \
    static void test_laws_##v(void **state)                                                      \
    {                                                                                            \
        (void)state;                                                                             \
        const int group = group_##v();                                                           \
        for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)                                    \
            for (int ways = 0; ways < 8; ways++) shape_##v(group, ways, odd[i][0], odd[i][1]);   \
    }

BODY(float, f32_plain, 1.2e-7)
BODY(double, f64, 4.5e-16)

/* Kernels that no group of rows makes equal are told from those that one does. */
static void test_group(void **state)
{
    (void)state;
    const char *core = openblas_get_corename();
    const int f32 = group_f32_plain(), f64 = group_f64();
    assert_true(f32 == 0 || f32 == 1 || f32 == 48);
    assert_true(f64 == 1 || f64 == 48);
    if (strcmp(core, "Haswell") == 0 || strcmp(core, "Zen") == 0) assert_int_equal(f32, 0);
    if (strcmp(core, "Sandybridge") == 0) assert_int_equal(f32, 1);
}

static void test_setting(void **state)
{
    (void)state;
    pl_gemm_info info;
    setenv("PERILUNE_GEMM", "opnblas", 1);
    pl_ctx *ctx = pl_ctx_new();
    const int64_t shape[] = {2, 2};
    pl_tensor *in[2], *out;
    assert_int_equal(pl_tensor_new(ctx, &in[0], PL_F32, 2, shape), PL_OK);
    in[1] = in[0];
    pl_param flags[] = {{.i = 0}, {.i = 0}};
    assert_int_equal(pl_op(ctx, PL_OP_matmul, in, flags, &out), PL_ERR_ARG);
    assert_non_null(strstr(pl_error(ctx), "opnblas"));
    assert_int_equal(pl_gemm_set(ctx, "own"), PL_OK);
    assert_int_equal(pl_op(ctx, PL_OP_matmul, in, flags, &out), PL_OK);
    pl_tensor_release(out);
    assert_int_equal(pl_gemm_get(ctx, PL_F64, &info), PL_OK);
    assert_string_equal(info.wish, "own");
    assert_true(!info.openblas && info.rows_alone);
    assert_int_equal(pl_gemm_set(ctx, "openblas"), PL_OK);
    assert_int_equal(pl_gemm_get(ctx, PL_F32, &info), PL_OK);
    assert_true(info.openblas);
    assert_int_equal(info.rows_alone, group_f32_plain() > 0);
    assert_int_equal(pl_gemm_set(ctx, "auto"), PL_OK);
    assert_int_equal(pl_gemm_get(ctx, PL_F32, &info), PL_OK);
    assert_true(info.rows_alone);
    if (strcmp(pl_isa(), "plain") != 0) assert_false(info.openblas);
    assert_int_equal(info.split, pl__has_tiles());
    assert_int_equal(pl_gemm_set(ctx, "split"), PL_OK);
    assert_int_equal(pl_gemm_get(ctx, PL_F32, &info), PL_OK);
    assert_true(info.split && info.rows_alone && !info.openblas);
    assert_int_equal(pl_gemm_get(ctx, PL_F64, &info), PL_OK);
    assert_false(info.split);
    pl_tensor_release(in[0]);
    pl_ctx_free(ctx);
    unsetenv("PERILUNE_GEMM");
}

/* linear, matmul and the losses over a head, by OpenBLAS: rows alone and among others. */
static void test_ops_rows_alone(void **state)
{
    (void)state;
    enum { T = 70, C = 64, V = 700, PART = 5, FIRST = 31 };
    const int64_t x_shape[] = {T, C}, w_shape[] = {V, C}, row_shape[] = {T}, part[] = {PART};
    const int64_t part_shape[] = {PART, C};
    pl_ctx *ctx = pl_ctx_new();
    pl_tensor *x, *w, *rows, *targets, *x_part, *rows_part, *targets_part;
    assert_int_equal(pl_gemm_set(ctx, "openblas"), PL_OK);
    assert_int_equal(pl_tensor_new(ctx, &x, PL_F64, 2, x_shape), PL_OK);
    assert_int_equal(pl_tensor_new(ctx, &w, PL_F64, 2, w_shape), PL_OK);
    assert_int_equal(pl_tensor_new(ctx, &rows, PL_I32, 1, row_shape), PL_OK);
    assert_int_equal(pl_tensor_new(ctx, &targets, PL_I32, 1, row_shape), PL_OK);
    assert_int_equal(pl_tensor_random(ctx, x, true, 0, 1, 3, 0), PL_OK);
    assert_int_equal(pl_tensor_random(ctx, w, true, 0, 1, 3, 1), PL_OK);
    for (int32_t t = 0; t < T; t++) {
        ((int32_t *)pl_tensor_data(rows))[t] = t;
        ((int32_t *)pl_tensor_data(targets))[t] = t * 9;
    }
    assert_int_equal(pl_tensor_view(ctx, &x_part, x, FIRST * C, 2, part_shape), PL_OK);
    assert_int_equal(pl_tensor_view(ctx, &rows_part, rows, FIRST, 1, part), PL_OK);
    assert_int_equal(pl_tensor_view(ctx, &targets_part, targets, FIRST, 1, part), PL_OK);

    const pl_param flags[] = {{.i = 0}, {.i = 1}}, temperature[PL_MAX_PARAM] = {{.f = 1.0}};
    pl_tensor *in[2][PL_MAX_IN] = {{x, w}, {x_part, w}}, *linear[2], *product[2], *logprob[2][2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pl_op(ctx, PL_OP_linear, in[i], NULL, &linear[i]), PL_OK);
        assert_int_equal(pl_op(ctx, PL_OP_matmul, in[i], flags, &product[i]), PL_OK);
    }
    pl_tensor *head[2][PL_MAX_IN] = {{x, w, rows, targets}, {x, w, rows_part, targets_part}};
    for (int i = 0; i < 2; i++)
        assert_int_equal(pl_op(ctx, PL_OP_logprob, head[i], temperature, logprob[i]), PL_OK);

    const size_t bytes = PART * V * sizeof(double);
    const double *z = pl_tensor_data(linear[0]);
    assert_memory_equal(pl_tensor_data(linear[1]), z + FIRST * V, bytes);
    assert_memory_equal(pl_tensor_data(product[0]), z, T * V * sizeof(double));
    assert_memory_equal(pl_tensor_data(product[1]), z + FIRST * V, bytes);
    assert_memory_equal(pl_tensor_data(logprob[1][0]),
                        (const double *)pl_tensor_data(logprob[0][0]) + FIRST,
                        PART * sizeof(double));
    pl_tensor *made[] = {x,
                         w,
                         rows,
                         targets,
                         x_part,
                         rows_part,
                         targets_part,
                         linear[0],
                         linear[1],
                         product[0],
                         product[1],
                         logprob[0][0],
                         logprob[0][1],
                         logprob[1][0],
                         logprob[1][1]};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) pl_tensor_release(made[i]);
    pl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_group),          cmocka_unit_test(test_laws_f32_plain),
        cmocka_unit_test(test_laws_f64),       cmocka_unit_test(test_setting),
        cmocka_unit_test(test_ops_rows_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
