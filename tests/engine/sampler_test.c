/*
** sampler_test.c - drawing from a whole row of probabilities gives the token of a plain walk over
** them, to the last bit of u, for rows of every length around the sizes that the walk is cut by.
*/
#include "check.h"

#include <math.h>

#include "gen/sampler.h"

#define BLOCK 64 /* sums are taken in blocks of so many, block after block */

static int64_t plain_walk(const float *p, int64_t n, double u)
{
    double total = 0, before = 0;
    for (int64_t i = 0; i < n; i += BLOCK) {
        double sum = 0;
        for (int64_t k = i; k < n && k < i + BLOCK; k++) sum += (double)p[k];
        total += sum;
    }
    int64_t last = 0;
    for (int64_t i = 0; i < n; i += BLOCK) {
        double inside = 0;
        for (int64_t k = i; k < n && k < i + BLOCK; k++) {
            inside += (double)p[k];
            if (p[k] > 0) last = k;
            if (before + inside > u * total && p[k] > 0) return k;
        }
        before += inside;
    }
    return last;
}

/* Probabilities of several kinds: even, steep, mostly zeros, zeros at both ends. */
static void fill(float *p, int64_t n, int kind)
{
    for (int64_t i = 0; i < n; i++) {
        const float noise = (float)((i * 7919 + 13) % 1009 + 1);
        p[i] = kind == 0   ? noise / 1009.0f
               : kind == 1 ? expf(-(float)i / 50.0f) * noise
               : kind == 2 ? (i % 97 == 5 ? noise : 0.0f)
                           : (i > n / 3 && i < n - n / 4 ? noise * 1e-3f : 0.0f);
    }
}

static void draws_as_a_plain_walk(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1,   2,   63,   64,   65,    127,   128,   511,
                                    512, 513, 1000, 4097, 32000, 32768, 40001, 262144};
    static const double us[] = {0,   1e-300, 1e-9, 0.1,  0.25,     0.333333333333,
                                0.5, 0.75,   0.9,  0.99, 1 - 1e-9, 1 - 0x1p-53};
    const pl_truncation all = {.top_p = 1};
    float *p = malloc(sizeof *p * 262144);
    assert_non_null(p);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int kind = 0; kind < 4; kind++) {
            const int64_t n = sizes[s];
            fill(p, n, kind);
            for (size_t i = 0; i < sizeof us / sizeof *us; i++) {
                double mass = 0;
                assert_int_equal(pl__sample(p, n, us[i], &all, NULL, &mass),
                                 plain_walk(p, n, us[i]));
                assert_true(mass == 1);
            }
        }
    free(p);
}

/* Between two tokens: u is the share of what stands before the second, a hair less, a hair more. */
static void tells_neighbours_apart(void **state)
{
    (void)state;
    enum { N = 5000 };
    static float p[N];
    const pl_truncation all = {.top_p = 1};
    fill(p, N, 0);
    double total = 0;
    for (int64_t i = 0; i < N; i++) total += (double)p[i];
    double before = 0;
    for (int64_t i = 0; i < N; i += 37) {
        for (double step = -2e-16; step <= 2e-16; step += 1e-16) {
            const double u = fmax(0, before / total + step);
            double mass;
            assert_int_equal(pl__sample(p, N, u, &all, NULL, &mass), plain_walk(p, N, u));
        }
        for (int64_t k = i; k < N && k < i + 37; k++) before += (double)p[k];
    }
}

static void does_without_numbers(void **state)
{
    (void)state;
    const pl_truncation all = {.top_p = 1};
    float p[700] = {0};
    double mass;
    assert_int_equal(pl__sample(p, 700, 0.5, &all, NULL, &mass), 0); /* no probability at all */
    p[600] = NAN;
    p[620] = 1;
    assert_int_equal(pl__sample(p, 700, 0.5, &all, NULL, &mass), 620);
}

static void finds_the_first_place(void **state)
{
    (void)state;
    static float x[200];
    for (int64_t n = 1; n <= 200; n++)
        for (int64_t at = 0; at < n; at++) {
            for (int64_t i = 0; i < n; i++) x[i] = (float)-i;
            x[at] = 1;
            x[n - 1] = 1; /* later, or the same */
            assert_int_equal(pl__place_of(x, n, 1), at);
            assert_int_equal(pl__place_of(x, n, 2), 0);
        }
    x[3] = NAN;
    x[150] = -0.0f;
    x[0] = 1;
    assert_int_equal(pl__place_of(x, 200, 0), 150);
    assert_int_equal(pl__place_of(x, 0, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_as_a_plain_walk),
        cmocka_unit_test(tells_neighbours_apart),
        cmocka_unit_test(does_without_numbers),
        cmocka_unit_test(finds_the_first_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
