/*
** vmath_cases.h - the largest errors of kernels/vmath.h, in units of the last place of the exact
** result (computed by libm in the next wider type), over bit patterns spread evenly over all
** floats: denormals, infinities and NaN included.
**
** The includer defines PL_VARIANT (and PL_F64_BUILD), and MACHINE_CAN run it; with GCC it raises
** the target by a pragma before, so that the test meets the very code of the kernels.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "kernels/vmath.h"

#ifdef PL_F64_BUILD
typedef long double wide;
typedef uint64_t bits;
#define WIDE(f) f##l
#define NEXT nextafter
#define LEAST 4.9406564584124654e-324
#define STEP 18446744073709000u /* some 1000 values, and their neighbours */
#else
typedef double wide;
typedef uint32_t bits;
#define WIDE(f) f
#define NEXT nextafterf
#define LEAST 1.40129846e-45f
#define STEP 997u /* some 4 million values */
#endif

static wide exact_sigmoid(wide x)
{
    return x >= 0 ? 1 / (1 + WIDE(exp)(-x)) : WIDE(exp)(x) / (1 + WIDE(exp)(x));
}

static wide exact_softplus(wide x)
{
    return (x > 0 ? x : 0) + WIDE(log1p)(WIDE(exp)(-WIDE(fabs)(x)));
}

static wide exact_log_sigmoid(wide x)
{
    return -exact_softplus(-x);
}

#define WRAP(f)                                \
    static void do_##f(real *y, const real *x) \
    {                                          \
        v_store(y, f(v_load(x)));              \
    }
WRAP(v_exp)
WRAP(v_log)
WRAP(v_log1p)
WRAP(v_tanh)
WRAP(v_erf)
WRAP(v_sigmoid)
WRAP(v_softplus)
WRAP(v_log_sigmoid)

static const struct {
    const char *name;
    void (*f)(real *y, const real *x);
    wide (*exact)(wide x);
    double limit; /* in float32; float64 has 4, for what stands around libm */
} functions[] = {
    {"exp", do_v_exp, WIDE(exp), 1.2},
    {"log", do_v_log, WIDE(log), 0.9},
    {"log1p", do_v_log1p, WIDE(log1p), 1.5},
    {"tanh", do_v_tanh, WIDE(tanh), 1.4},
    {"erf", do_v_erf, WIDE(erf), 1.4},
    {"sigmoid", do_v_sigmoid, exact_sigmoid, 2.4},
    {"softplus", do_v_softplus, exact_softplus, 2.1},
    {"log_sigmoid", do_v_log_sigmoid, exact_log_sigmoid, 2.1},
};
#define N_FUNCTIONS ((int)(sizeof functions / sizeof *functions))

static double error_of(real got, wide want)
{
    const real near = (real)want;
    if (want != want) return got != got ? 0 : INFINITY;
    if (got == near) return 0;
    if (got != got || fabs((double)got) == INFINITY || fabs((double)near) == INFINITY)
        return INFINITY;
    const real size = (real)fabs((double)near);
    const wide unit = near == 0 ? (wide)LEAST : (wide)NEXT(size, INFINITY) - (wide)size;
    return (double)(WIDE(fabs)((wide)got - want) / unit);
}

static void test_errors(void **state)
{
    (void)state;
    if (!MACHINE_CAN) skip();
    for (int i = 0; i < N_FUNCTIONS; i++) {
        double worst = 0;
        real at = 0;
        for (bits start = 0, last = 0; start >= last; last = start, start += STEP * VL) {
            real x[VL], y[VL];
            for (int k = 0; k < VL; k++) {
                const bits pattern = start + (bits)k * STEP;
                memcpy(&x[k], &pattern, sizeof(real));
            }
            functions[i].f(y, x);
            for (int k = 0; k < VL; k++) {
                const double error = error_of(y[k], functions[i].exact((wide)x[k]));
                if (error > worst) worst = error, at = x[k];
            }
        }
        const double limit = sizeof(real) == 4 ? functions[i].limit : 4;
        print_message("%s: %.2f at %g\n", functions[i].name, worst, (double)at);
        if (!(worst <= limit))
            fail_msg("%s: %.3g units at %.9g, %g allowed", functions[i].name, worst, (double)at,
                     limit);
    }
}

static void test_special_values(void **state)
{
    (void)state;
    if (!MACHINE_CAN) skip();
    const real x[] = {0, REAL(-0.0), INFINITY, -INFINITY, NAN, -1, 1, REAL(200.0), REAL(-800.0)};
    for (int i = 0; i < N_FUNCTIONS; i++)
        for (size_t k = 0; k < sizeof x / sizeof *x; k++) {
            real in[VL], y[VL];
            for (int lane = 0; lane < VL; lane++) in[lane] = x[k];
            functions[i].f(y, in);
            const wide want = functions[i].exact((wide)x[k]);
            if (!(error_of(y[VL - 1], want) <= 4))
                fail_msg("%s(%g) = %g, wanted %g", functions[i].name, (double)x[k],
                         (double)y[VL - 1], (double)want);
        }
}

/* The lane a number stands in changes nothing. */
static void test_lanes(void **state)
{
    (void)state;
    if (!MACHINE_CAN) skip();
    for (int i = 0; i < N_FUNCTIONS; i++)
        for (int t = 0; t < 500; t++) {
            real x[VL], y[VL], rotated[VL], z[VL];
            for (int k = 0; k < VL; k++) x[k] = (real)((t * VL + k) * 31 % 997 - 300) / 37;
            functions[i].f(y, x);
            for (int k = 0; k < VL; k++) rotated[k] = x[(k + 1 + t) % VL];
            functions[i].f(z, rotated);
            for (int k = 0; k < VL; k++)
                assert_memory_equal(&z[k], &y[(k + 1 + t) % VL], sizeof(real));
        }
}

/* Of what a softmax takes v_exp_normal has the bits of v_exp, or 0. */
static void test_exp_normal(void **state)
{
    (void)state;
    if (!MACHINE_CAN) skip();
    const real least = sizeof(real) == 4 ? REAL(-87.0) : REAL(-708.0);
    for (bits start = 0, last = 0; start >= last; last = start, start += STEP * VL) {
        real x[VL], y[VL], want[VL];
        for (int k = 0; k < VL; k++) {
            const bits pattern = start + (bits)k * STEP;
            memcpy(&x[k], &pattern, sizeof(real));
            if (x[k] > 1) x[k] = -x[k];
        }
        do_v_exp(want, x);
        v_store(y, v_exp_normal(v_load(x)));
        for (int k = 0; k < VL; k++) {
            if (x[k] < least) want[k] = 0;
            if (memcmp(&y[k], &want[k], sizeof(real)) != 0 && (x[k] == x[k] || y[k] == y[k]))
                fail_msg("exp_normal(%.9g) = %.9g, wanted %.9g", (double)x[k], (double)y[k],
                         (double)want[k]);
        }
    }
}

int run_vmath_tests(void);
int run_vmath_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_special_values),
        cmocka_unit_test(test_lanes),
        cmocka_unit_test(test_exp_normal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
