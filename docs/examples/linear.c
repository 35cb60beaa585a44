/*
** linear.c - fits a linear model by gradient descent: tensors, autograd, AdamW.
**
**   cc linear.c $(pkg-config --cflags --libs perilune) -o linear && ./linear
**
** The data are y = 2 x0 - 3 x1 + 0.5 x2 + 1 and a little noise; the loss is the mean squared error.
** Prints the loss as it falls and the weights found; fails when they are not near.
*/
#include <math.h>
#include <perilune_ops.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 256, INPUTS = 3, STEPS = 400, SEED = 7 };

static const float TRUE_WEIGHTS[INPUTS] = {2, -3, 0.5f};
static const float TRUE_BIAS = 1;

/* Leaves the function by `done` when a call fails; pl_error(ctx) has the text. */
#define TRY(call)                              \
    do {                                       \
        if ((st = (call)) != PL_OK) goto done; \
    } while (0)

/* x [ROWS, INPUTS] from N(0, 1), y [ROWS, 1] = x w + b + N(0, 0.1). */
static pl_status make_data(pl_ctx *ctx, pl_tensor **x, pl_tensor **y)
{
    const int64_t x_shape[] = {ROWS, INPUTS}, y_shape[] = {ROWS, 1};
    pl_status st = PL_OK;
    TRY(pl_tensor_new(ctx, x, PL_F32, 2, x_shape));
    TRY(pl_tensor_new(ctx, y, PL_F32, 2, y_shape));
    TRY(pl_tensor_random(ctx, *x, true, 0, 1, SEED, 0));
    TRY(pl_tensor_random(ctx, *y, true, 0, 0.1, SEED, 1));
    const float *from = pl_tensor_data(*x);
    float *to = pl_tensor_data(*y);
    for (int i = 0; i < ROWS; i++) {
        to[i] += TRUE_BIAS;
        for (int k = 0; k < INPUTS; k++) to[i] += TRUE_WEIGHTS[k] * from[i * INPUTS + k];
    }
done:
    return st;
}

/* One step; *loss is that before it. What is made in between ends with the scope. */
static pl_status train_step(pl_ctx *ctx, pl_block *block, pl_optimizer *optimizer, pl_tensor *x,
                            pl_tensor *y, double *loss)
{
    const pl_optimizer_options options = {.lr = 0.05, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    pl_tensor *predicted = NULL, *error = NULL, *squared = NULL, *mean = NULL;
    pl_optimizer_result result;
    int64_t scope = 0;
    pl_status st = PL_OK;
    TRY(pl_scope_open(ctx, &scope, "step", false));
    pl_block_zero_grad(block);
    TRY(pl_linear(ctx, &predicted, x, pl_block_get(block, 0), pl_block_get(block, 1),
                  PL_LINEAR_PRECISION_float32));
    TRY(pl_sub(ctx, &error, predicted, y));
    TRY(pl_square(ctx, &squared, error));
    TRY(pl_mean(ctx, &mean, squared, PL_AXIS_ALL, false));
    TRY(pl_backward(ctx, mean, NULL));
    TRY(pl_optimizer_step(optimizer, &options, &result));
    *loss = *(const float *)pl_tensor_data(mean);
done:
    pl_tensor_release(predicted);
    pl_tensor_release(error);
    pl_tensor_release(squared);
    pl_tensor_release(mean);
    if (scope != 0) pl_scope_close(ctx, scope);
    return st;
}

/* Prints the weights beside the true ones; whether they are near. */
static bool report(const pl_block *block)
{
    const float *weights = pl_tensor_data(pl_block_get(block, 0));
    const float bias = *(const float *)pl_tensor_data(pl_block_get(block, 1));
    bool near = fabsf(bias - TRUE_BIAS) < 0.05f;
    for (int k = 0; k < INPUTS; k++) {
        printf("w%d   %6.3f   true %6.3f\n", k, weights[k], TRUE_WEIGHTS[k]);
        near = near && fabsf(weights[k] - TRUE_WEIGHTS[k]) < 0.05f;
    }
    printf("b    %6.3f   true %6.3f\n", bias, TRUE_BIAS);
    return near;
}

int main(void)
{
    const pl_block_entry parameters[] = {{"weight", 2, {1, INPUTS}}, {"bias", 1, {1}}};
    pl_ctx *ctx = pl_ctx_new();
    pl_block *block = NULL;
    pl_optimizer *optimizer = NULL;
    pl_tensor *x = NULL, *y = NULL;
    bool near = false;
    pl_status st = PL_OK;
    if (ctx == NULL) return EXIT_FAILURE;

    TRY(make_data(ctx, &x, &y));
    TRY(pl_block_new(ctx, &block, PL_F32, 2, parameters)); /* zeros */
    TRY(pl_optimizer_new_adamw(ctx, &optimizer, block));
    for (int step = 0; step <= STEPS; step++) {
        double loss = 0;
        TRY(train_step(ctx, block, optimizer, x, y, &loss));
        if (step % 50 == 0) printf("step %3d   loss %9.5f\n", step, loss);
    }
    near = report(block);
done:
    if (st != PL_OK) fprintf(stderr, "linear: %s\n", pl_error(ctx));
    pl_optimizer_free(optimizer);
    pl_block_free(block);
    pl_tensor_release(x);
    pl_tensor_release(y);
    pl_ctx_free(ctx);
    return near ? EXIT_SUCCESS : EXIT_FAILURE;
}
