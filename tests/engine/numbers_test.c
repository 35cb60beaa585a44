/*
** numbers_test.c - rows that are long, equal or far from 0: the error against float64 is held to
** four times NumPy's in float32, in every variant of the kernels.
**
** tests/golden/extreme.tsv has the rows and NumPy's errors; make_extreme.py beside it says what
** they are and how they were measured. Inputs and references are made here.
*/
#include "check.h"

#include <math.h>

#define EPS 1e-5
#define TARGET 3
#define FLOOR 2.4e-7 /* two units of the last place: below that NumPy's error is luck */

typedef struct {
    char op[32];
    int64_t n;
    double offset, scale, error;
} extreme;

static float *input(const extreme *row)
{
    float *x = malloc((size_t)row->n * sizeof *x);
    for (int64_t i = 0; i < row->n; i++) {
        const double wave = (double)(i * 7919 % 10007) / 10007.0 - 0.5;
        x[i] = (float)(row->offset + row->scale * wave);
    }
    return x;
}

static bool is(const extreme *row, const char *op)
{
    return strcmp(row->op, op) == 0;
}

/* In float64, sums in long double; the floor under which errors are absolute. */
static double *reference(const extreme *row, const float *x, double *floor)
{
    const int64_t n = row->n;
    double *y = malloc((size_t)n * sizeof *y);
    long double sum = 0, size = 0, squares = 0, total = 0;
    double most = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        sum += x[i];
        size += fabsf(x[i]);
        most = x[i] > most ? x[i] : most;
    }
    const double mean = (double)(sum / n), centre = is(row, "layernorm") ? mean : 0;
    for (int64_t i = 0; i < n; i++) {
        squares += ((long double)x[i] - centre) * ((long double)x[i] - centre);
        total += exp(x[i] - most);
    }
    const double scale = 1 / sqrt((double)(squares / n) + EPS);
    *floor = is(row, "sum")                                      ? (double)size
             : strstr(row->op, "norm") || is(row, "log_softmax") ? 1
                                                                 : 1e-30;
    for (int64_t i = 0; i < n; i++) {
        if (is(row, "sum")) y[i] = (double)sum;
        else if (strstr(row->op, "norm")) y[i] = (x[i] - centre) * scale;
        else if (is(row, "log_softmax")) y[i] = x[i] - most - (double)logl(total);
        else y[i] = exp(x[i] - most) / (double)total - (is(row, "cross_entropy") && i == TARGET);
    }
    return y;
}

/* The engine's result, one float or n. */
static void run(pl_ctx *ctx, const extreme *row, const float *x, float *y)
{
    const int64_t n = row->n, shape[2] = {n, 1};
    const bool loss = is(row, "cross_entropy");
    pl_tensor *in, *w = NULL, *out = NULL;
    int64_t scope;
    OK(pl_scope_open(ctx, &scope, "outer", false));
    OK(pl_tensor_new(ctx, &in, PL_F32, loss ? 2 : 1, shape));
    memcpy(pl_tensor_data(in), x, (size_t)n * sizeof *x);
    if (loss) { /* hidden is 1, so that the head's gradient is that of the logits */
        pl_tensor *hidden, *rows, *targets, *value;
        const double one = 1, zero = 0, target = TARGET;
        const int64_t each[2] = {1, 1};
        OK(tensor_of(ctx, &hidden, PL_F32, 2, each, &one));
        OK(tensor_of(ctx, &rows, PL_I32, 1, each, &zero));
        OK(tensor_of(ctx, &targets, PL_I32, 1, each, &target));
        pl_tensor_set_requires_grad(in, true);
        OK(APPLY(cross_entropy, &value, hidden, in, rows, targets, NULL));
        OK(pl_backward(ctx, value, NULL));
        memcpy(y, pl_tensor_data(pl_tensor_grad(in)), (size_t)n * sizeof *y);
        pl_tensor_release(hidden);
        pl_tensor_release(rows);
        pl_tensor_release(targets);
        pl_tensor_release(value);
    } else {
        if (strstr(row->op, "norm")) {
            OK(pl_tensor_new(ctx, &w, PL_F32, 1, shape));
            for (int64_t i = 0; i < n; i++) ((float *)pl_tensor_data(w))[i] = 1;
        }
        if (is(row, "sum")) OK(APPLY(sum, &out, in));
        else if (is(row, "softmax")) OK(APPLY(softmax, &out, in));
        else if (is(row, "log_softmax")) OK(APPLY(log_softmax, &out, in));
        else if (is(row, "rmsnorm")) OK(APPLY(rmsnorm, &out, in, w));
        else OK(APPLY(layernorm, &out, in, w, NULL));
        memcpy(y, pl_tensor_data(out), (size_t)pl_tensor_count(out) * sizeof *y);
        pl_tensor_release(out);
    }
    pl_tensor_release(in);
    pl_tensor_release(w);
    pl_scope_close(ctx, scope);
}

static double error_of(const extreme *row, const char *isa)
{
    setenv("PERILUNE_ISA", isa, 1);
    pl_ctx *ctx = pl_ctx_new();
    assert_non_null(ctx);
    double floor, worst = 0;
    float *x = input(row), *y = malloc((size_t)row->n * sizeof *y);
    double *exact = reference(row, x, &floor);
    run(ctx, row, x, y);
    for (int64_t i = 0; i < (is(row, "sum") ? 1 : row->n); i++) {
        const double size = fabs(exact[i]) > floor ? fabs(exact[i]) : floor;
        const double off = fabs((double)y[i] - exact[i]) / size;
        worst = off <= worst ? worst : off; /* a NaN counts */
    }
    free(x);
    free(y);
    free(exact);
    pl_ctx_free(ctx);
    return worst;
}

static void extremes(void **state)
{
    static const char *const isas[] = {"avx512", "avx2", "plain"};
    (void)state;
    char line[256];
    int rows = 0, bad = 0;
    FILE *f = fopen("tests/golden/extreme.tsv", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        extreme row;
        if (line[0] == '#' || !strncmp(line, "op\t", 3)) continue;
        assert_int_equal(sscanf(line, "%31s %ld %lf %lf %lf", row.op, &row.n, &row.offset,
                                &row.scale, &row.error),
                         5);
        rows++;
        const double most = 4 * row.error > FLOOR ? 4 * row.error : FLOOR;
        for (size_t i = 0; i < 3; i++) {
            const double error = error_of(&row, isas[i]);
            if (error <= most) continue;
            bad++;
            print_error("%s of %ld elements, %g + %g wave, %s: %.3g off, NumPy %.3g\n", row.op,
                        row.n, row.offset, row.scale, isas[i], error, row.error);
        }
    }
    fclose(f);
    unsetenv("PERILUNE_ISA");
    assert_true(rows > 20);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest cases[] = {cmocka_unit_test(extremes)};
    return cmocka_run_group_tests(cases, NULL, NULL);
}
