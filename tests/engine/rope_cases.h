/*
** rope_cases.h - what the rotary embedding must do, for the dtype of `real`; included as
** attention_cases.h is. The reference turns one pair at a time with libm, in long double.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "kernels/rope.h"

typedef struct {
    const char *name;
    bool usable;
    __typeof__(&K(rope)) rope;
} variant;

#define DECLARE_VARIANT(v) extern __typeof__(K(rope)) k_rope_##v;
#define VARIANT(v, usable)     \
    {                          \
#v, usable, k_rope_##v \
    }

static int variant_list(variant out[4]); /* given by the includer */

#define ROWS 37 /* of a call */
#define EACH_VARIANT(v)                                 \
    variant list_[4];                                   \
    const int n_ = variant_list(list_);                 \
    for (const variant *v = list_; v < list_ + n_; v++) \
        if (v->usable)

static const struct {
    int64_t H, D, R;
    double theta, scale;
    bool interleaved, given; /* given: frequencies by the caller */
} shapes[] = {
    {8, 8, 8, 10000, 1, true, false},     {8, 8, 8, 10000, 1, false, false},
    {2, 48, 48, 10000, 1, false, false},  {3, 64, 64, 500000, 1, true, false},
    {3, 64, 64, 500000, 1, false, false}, {5, 2, 2, 10000, 1, true, false},
    {1, 22, 22, 100, 1, false, false},    {1, 1024, 1024, 1e6, 1, true, false},
    {3, 64, 16, 10000, 1, false, false},  {2, 80, 32, 10000, 1.25, false, true},
    {4, 9, 6, 10000, 0.75, true, true},
};
#define N_SHAPES ((int)(sizeof shapes / sizeof *shapes))

/* Positions as in a packed batch, and some far away. */
static void positions_of(int32_t *positions)
{
    for (int t = 0; t < ROWS; t++) positions[t] = t < 20 ? t : t < 30 ? t - 20 : 1 << (t - 30) * 4;
    positions[ROWS - 1] = 1000003;
}

static real *numbers(int64_t n)
{
    real *x = malloc((size_t)(n + 1) * sizeof(real));
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) x[i] = (real)((i * 7919 + 13) % 2001 - 1000) / 1000;
    return x;
}

/* Frequencies as models for long contexts give them: not those of theta. */
static rope_shape shape_of(int i, int64_t T, real frequencies[ROPE_MAX_DIM / 2])
{
    for (int p = 0; p < ROPE_MAX_DIM / 2; p++) frequencies[p] = (real)(1 / (1.0 + p * p));
    return (rope_shape){T,
                        shapes[i].H,
                        shapes[i].D,
                        shapes[i].R,
                        shapes[i].theta,
                        shapes[i].given ? frequencies : NULL,
                        shapes[i].scale,
                        shapes[i].interleaved};
}

static void test_formula(void **state)
{
    (void)state;
    int32_t positions[ROWS];
    positions_of(positions);
    EACH_VARIANT(v)
    for (int i = 0; i < N_SHAPES; i++) {
        real f[ROPE_MAX_DIM / 2];
        const rope_shape r = shape_of(i, ROWS, f);
        const int64_t width = r.H * r.D, half = r.R / 2;
        real *x = numbers(ROWS * width), *y = numbers(ROWS * width);
        v->rope(y, x, positions, &r, false, false);
        for (int64_t t = 0; t < ROWS; t++)
            for (int64_t h = 0; h < r.H; h++)
                for (int64_t p = 0; p < half; p++) {
                    const int64_t at = t * width + h * r.D;
                    const int64_t ia = at + (r.interleaved ? 2 * p : p);
                    const int64_t ib = at + (r.interleaved ? 2 * p + 1 : p + half);
                    /* The angle's own rounding in double grows with the position. */
                    const long double angle =
                        positions[t] * (r.frequencies
                                            ? (long double)r.frequencies[p]
                                            : powl(r.theta, -2.0L * p / (long double)r.R));
                    const long double c = r.scale * cosl(angle), s = r.scale * sinl(angle);
                    const double a = (double)(x[ia] * c - x[ib] * s);
                    const double b = (double)(x[ib] * c + x[ia] * s);
                    const double tolerance =
                        (sizeof(real) == 4 ? 2.5e-7 : 4e-16) + positions[t] * 4e-16;
                    if (!(fabs((double)y[ia] - a) <= tolerance &&
                          fabs((double)y[ib] - b) <= tolerance))
                        fail_msg("%s shape %d position %d pair %ld: %.17g %.17g, not %.17g %.17g",
                                 v->name, i, positions[t], (long)p, (double)y[ia], (double)y[ib], a,
                                 b);
                }
        for (int64_t t = 0; t < ROWS * r.H; t++) /* what is not rotated stays */
            assert_memory_equal(y + t * r.D + r.R, x + t * r.D + r.R,
                                (size_t)(r.D - r.R) * sizeof(real));
        free(x);
        free(y);
    }
}

/* The inverse is the transpose: turned back, what was rotated is scale^2 times itself; `add`
** adds. */
static void test_inverse(void **state)
{
    (void)state;
    int32_t positions[ROWS];
    positions_of(positions);
    EACH_VARIANT(v)
    for (int i = 0; i < N_SHAPES; i++) {
        real f[ROPE_MAX_DIM / 2];
        const rope_shape r = shape_of(i, ROWS, f);
        const int64_t n = ROWS * r.H * r.D;
        real *x = numbers(n), *y = numbers(n), *z = numbers(n);
        v->rope(y, x, positions, &r, false, false);
        v->rope(z, y, positions, &r, true, false);
        const double eps = sizeof(real) == 4 ? 4e-7 : 8e-16;
        for (int64_t k = 0; k < n; k++) {
            const double want = (double)x[k] * (k % r.D < r.R ? r.scale * r.scale : 1);
            assert_true(fabs((double)z[k] - want) <= eps);
        }
        real *w = numbers(n);
        v->rope(w, y, positions, &r, true, true);
        for (int64_t k = 0; k < n; k++) assert_true(w[k] == x[k] + z[k]);
        free(w);
        free(x);
        free(y);
        free(z);
    }
}

/* A row alone, or at another place of the call, has the same bits. */
static void test_row_alone(void **state)
{
    (void)state;
    int32_t positions[ROWS];
    positions_of(positions);
    EACH_VARIANT(v)
    for (int i = 0; i < N_SHAPES; i++) {
        real f[ROPE_MAX_DIM / 2];
        rope_shape r = shape_of(i, ROWS, f);
        const int64_t width = r.H * r.D;
        real *x = numbers(ROWS * width), *y = numbers(ROWS * width), *z = numbers(width);
        v->rope(y, x, positions, &r, false, false);
        r.T = 1;
        for (int t = 0; t < ROWS; t++) {
            v->rope(z, x + t * width, positions + t, &r, false, false);
            assert_memory_equal(z, y + t * width, (size_t)width * sizeof(real));
        }
        free(x);
        free(y);
        free(z);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formula),
        cmocka_unit_test(test_inverse),
        cmocka_unit_test(test_row_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
