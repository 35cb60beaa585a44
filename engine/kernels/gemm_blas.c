/*
** gemm_blas.c - matrix products by OpenBLAS in tiles and groups of rows (see the header).
**
** In a parallel region OpenBLAS's OpenMP flavour stays on the calling thread; a team of one thread
** has one thread for OpenBLAS as well.
*/
#include "kernels/gemm_blas.h"

#include <cblas.h>

#include "base/thread.h"

enum {
    GROUP = 48,    /* a multiple of the 4, 6, 8, 12, 16 and 24 rows of OpenBLAS's register tiles */
    ROWS = 192,    /* in a tile: whole groups */
    COLS = 192,    /* in a tile, at least */
    LEAST = 32768, /* n * k: with GROUP rows beyond the 100^3 of its kernels for small products */
    LEAST_SIDE = 16,
};

static int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void one_call(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const real *a, int64_t lda,
                     const real *b, int64_t ldb, bool acc, real *c, int64_t ldc)
{
    const CBLAS_TRANSPOSE fa = ta ? CblasTrans : CblasNoTrans, fb = tb ? CblasTrans : CblasNoTrans;
    const real beta = acc ? REAL(1.0) : REAL(0.0);
#ifdef PL_F64_BUILD
    cblas_dgemm(CblasRowMajor, fa, fb, (int)m, (int)n, (int)k, 1.0, a, (int)lda, b, (int)ldb, beta,
                c, (int)ldc);
#else
    cblas_sgemm(CblasRowMajor, fa, fb, (int)m, (int)n, (int)k, 1.0f, a, (int)lda, b, (int)ldb, beta,
                c, (int)ldc);
#endif
}

/* Rows in whole groups, or the fewer than ROWS rows of a group of 1. */
static void run_tiles(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const real *a, int64_t lda,
                      const real *b, int64_t ldb, bool acc, real *c, int64_t ldc)
{
    const int64_t least = LEAST / k + 1, width = least > COLS ? least : COLS;
    const int64_t across = n < 2 * width ? 1 : n / width, down = (m + ROWS - 1) / ROWS;
    const pl_stop stop = pl__stop_get();
    /* What stays below PL_PARALLEL_MIN by this is too small for OpenBLAS's threads too. */
    PL_PARALLEL_FOR(m * n / 8 * k)
    for (int64_t t = 0; t < down * across; t++) {
        if (pl__stopped(stop)) continue;
        const int64_t i = t / across * ROWS, p = t % across;
        const int64_t j = n * p / across, cols = n * (p + 1) / across - j;
        one_call(ta, tb, min_of(ROWS, m - i), cols, k, ta ? a + i : a + i * lda, lda,
                 tb ? b + j * ldb : b + j, ldb, acc, c + i * ldc + j, ldc);
    }
}

bool K(gemm_blas_takes)(bool ta, int64_t m, int64_t n, int64_t k)
{
    return n >= LEAST_SIDE && k >= LEAST_SIDE && n <= INT32_MAX && k <= INT32_MAX &&
           n * k >= LEAST && (!ta || m <= INT32_MAX);
}

int64_t K(gemm_blas_work)(int group, int64_t n, int64_t k)
{
    return group == 1 ? 0 : group * (n + k);
}

void K(gemm_blas)(int group, bool ta, bool tb, int64_t m, int64_t n, int64_t k, const real *a,
                  int64_t lda, const real *b, int64_t ldb, bool acc, real *c, int64_t ldc,
                  real *work)
{
    const int64_t left = m % group, whole = m - left;
    if (whole > 0) run_tiles(ta, tb, whole, n, k, a, lda, b, ldb, acc, c, ldc);
    if (left == 0) return;
    real *filled = work, *out = work + group * k;
    memset(filled, 0, (size_t)(group * k) * sizeof(real));
    memset(out, 0, (size_t)(group * n) * sizeof(real));
    if (ta)
        for (int64_t i = 0; i < k; i++)
            memcpy(filled + i * group, a + i * lda + whole, (size_t)left * sizeof(real));
    for (int64_t i = 0; i < left; i++) {
        if (!ta) memcpy(filled + i * k, a + (whole + i) * lda, (size_t)k * sizeof(real));
        if (acc) memcpy(out + i * n, c + (whole + i) * ldc, (size_t)n * sizeof(real));
    }
    run_tiles(ta, tb, group, n, k, filled, ta ? group : k, b, ldb, acc, out, n);
    for (int64_t i = 0; i < left; i++)
        memcpy(c + (whole + i) * ldc, out + i * n, (size_t)n * sizeof(real));
}

/* --------------------------------------------------------------------------------------------
** Trial products: rows of A are all the same, so all rows of C must be, whatever their number.
*/
enum { TRIAL_N = 269, TRIAL_K = 173, TRIAL_M = 2 * GROUP };

static bool rows_are(const real *row, int64_t m, bool ta, bool tb, const real *a, const real *b,
                     real *c)
{
    run_tiles(ta, tb, m, TRIAL_N, TRIAL_K, a, ta ? TRIAL_M : TRIAL_K, b, tb ? TRIAL_K : TRIAL_N,
              false, c, TRIAL_N);
    for (int64_t i = 0; i < m; i++)
        if (memcmp(c + i * TRIAL_N, row, TRIAL_N * sizeof(real)) != 0) return false;
    return true;
}

int64_t K(gemm_blas_group_work)(void)
{
    return TRIAL_M * TRIAL_K + TRIAL_K * TRIAL_N + (TRIAL_M + 1) * TRIAL_N;
}

int K(gemm_blas_group)(real *work)
{
    static const unsigned char few[] = {1, 2, 3, 4, 5, 6, 7, 8, 11, 17, 47};
    real *a = work, *b = a + TRIAL_M * TRIAL_K, *row = b + TRIAL_K * TRIAL_N;
    real *c = row + TRIAL_N;
    bool alone = true, grouped = true;
    for (int64_t i = 0; i < TRIAL_K * TRIAL_N; i++)
        b[i] = (real)(i * 7919 % 10007) / REAL(10007.0) - REAL(0.5);
    for (int way = 0; way < 4 && grouped; way++) {
        const bool ta = (way & 1) != 0, tb = (way & 2) != 0;
        for (int64_t i = 0; i < TRIAL_M; i++)
            for (int64_t k = 0; k < TRIAL_K; k++)
                a[ta ? k * TRIAL_M + i : i * TRIAL_K + k] = b[k * k % (TRIAL_K * TRIAL_N)];
        run_tiles(ta, tb, GROUP, TRIAL_N, TRIAL_K, a, ta ? TRIAL_M : TRIAL_K, b,
                  tb ? TRIAL_K : TRIAL_N, false, c, TRIAL_N);
        memcpy(row, c, TRIAL_N * sizeof(real));
        grouped = rows_are(row, GROUP, ta, tb, a, b, c) && rows_are(row, TRIAL_M, ta, tb, a, b, c);
        for (size_t i = 0; i < sizeof few && alone && grouped; i++)
            alone = rows_are(row, few[i], ta, tb, a, b, c);
    }
    return !grouped ? 0 : alone ? 1 : GROUP;
}
