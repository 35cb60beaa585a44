/*
** ppo_loss.c - PPO's clipped loss on five tokens, against the formula written out.
**
**   cc ppo_loss.c $(pkg-config --cflags --libs perilune) -lm -o ppo_loss && ./ppo_loss
**
** With rho = exp(logprob - old_logprob), advantage A, clip range e (Schulman et al. 2017, eq. 7):
**
**   loss = 1/N sum_n max(-A rho, -A clip(rho, 1 - e, 1 + e))
**   dloss/dlogprob = -A rho / N, but 0 where the clipped branch is the larger and rho is clipped
**
** In float64 both agree to 1e-12, or the program fails.
*/
#include <math.h>
#include <perilune_ops.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 5 };

static const double CLIPRANGE = 0.2;
static const double LOGPROB[TOKENS] = {-1.0, -0.5, -2.0, -0.9, -1.6};
static const double OLD_LOGPROB[TOKENS] = {-1.0, -0.9, -1.5, -1.4, -1.0};
static const double ADVANTAGE[TOKENS] = {0.7, 1.2, 0.4, -0.8, -1.5};

#define TRY(call)                              \
    do {                                       \
        if ((st = (call)) != PL_OK) goto done; \
    } while (0)

static pl_status vector_new(pl_ctx *ctx, pl_tensor **out, const double values[TOKENS])
{
    const int64_t shape[] = {TOKENS};
    const pl_status st = pl_tensor_new(ctx, out, PL_F64, 1, shape);
    if (st == PL_OK) memcpy(pl_tensor_data(*out), values, TOKENS * sizeof *values);
    return st;
}

/* The formula: the loss, and its slope at each token. */
static double loss_by_hand(double slope[TOKENS])
{
    double sum = 0;
    for (int n = 0; n < TOKENS; n++) {
        const double rho = exp(LOGPROB[n] - OLD_LOGPROB[n]);
        const double clipped = fmin(fmax(rho, 1 - CLIPRANGE), 1 + CLIPRANGE);
        const double plain_loss = -ADVANTAGE[n] * rho, clipped_loss = -ADVANTAGE[n] * clipped;
        sum += fmax(plain_loss, clipped_loss);
        slope[n] = clipped_loss > plain_loss ? 0 : -ADVANTAGE[n] * rho / TOKENS;
    }
    return sum / TOKENS;
}

/* Prints engine beside formula; whether they agree. */
static bool compare(double loss, const double gradient[TOKENS])
{
    double slope[TOKENS];
    const double by_hand = loss_by_hand(slope);
    bool agree = fabs(loss - by_hand) < 1e-12;
    printf("                engine        formula\n");
    printf("loss      %12.9f   %12.9f\n", loss, by_hand);
    for (int n = 0; n < TOKENS; n++) {
        printf("dloss/d%d  %12.9f   %12.9f\n", n, gradient[n], slope[n]);
        agree = agree && fabs(gradient[n] - slope[n]) < 1e-12;
    }
    return agree;
}

int main(void)
{
    pl_ctx *ctx = pl_ctx_new();
    pl_tensor *logprob = NULL, *old_logprob = NULL, *advantage = NULL, *loss = NULL, *stats = NULL;
    bool agree = false;
    pl_status st = PL_OK;
    if (ctx == NULL) return EXIT_FAILURE;

    TRY(vector_new(ctx, &logprob, LOGPROB));
    TRY(vector_new(ctx, &old_logprob, OLD_LOGPROB));
    TRY(vector_new(ctx, &advantage, ADVANTAGE));
    pl_tensor_set_requires_grad(logprob, true);
    TRY(pl_ppo_loss(ctx, &loss, &stats, logprob, old_logprob, advantage, NULL, CLIPRANGE, 0, 0));
    TRY(pl_backward(ctx, loss, NULL));
    agree = compare(*(const double *)pl_tensor_data(loss), pl_tensor_data(pl_tensor_grad(logprob)));
    printf("clipped: %.0f %% of the tokens\n", 100 * ((const double *)pl_tensor_data(stats))[1]);
done:
    if (st != PL_OK) fprintf(stderr, "ppo_loss: %s\n", pl_error(ctx));
    pl_tensor_release(logprob);
    pl_tensor_release(old_logprob);
    pl_tensor_release(advantage);
    pl_tensor_release(loss);
    pl_tensor_release(stats);
    pl_ctx_free(ctx);
    return agree ? EXIT_SUCCESS : EXIT_FAILURE;
}
