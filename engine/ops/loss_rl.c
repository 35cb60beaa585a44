/*
** loss_rl.c - the losses of the reward model and of PPO, over plain vectors.
**
** rank_loss    all C(K,2) pairs of each ranked set at once (Ouyang et al., arXiv:2203.02155, eq. 1)
** ppo_loss     clipped surrogate (Schulman et al., arXiv:1707.06347, eq. 7), to be minimised
** value_loss   clipped squared error (the same authors' implementation, see docs/ppo-details.md)
** kl_estimate  k1, k2, k3 (Schulman, "Approximating KL divergence", 2020)
**
** Every one is a few thousand elements at most: plain loops in double, in order, on one thread.
*/
#include "ops/op.h"

/* All inputs [N], the N of the first. */
static pl_status check_vectors(pl_call *c)
{
    for (int i = 0; i < c->row->n_in; i++) {
        if (c->in[i] == NULL) continue;
        if (c->in[i]->rank != 1 || c->in[i]->count != c->in[0]->count)
            return pl__shape_fail(c, i, i == 0 ? "[N]" : "[N], one for each of the first input,");
    }
    return PL_OK;
}

static pl_status constants_only(pl_call *c, int from)
{
    for (int i = from; i < c->row->n_in; i++)
        if (c->in[i] != NULL && c->in[i]->requires_grad)
            return pl__op_fail(c, PL_ERR_GRAD, "%s is a constant: compute it under no_grad",
                               c->row->in[i].name);
    return PL_OK;
}

static void put(pl_call *c, int input, int64_t i, double value)
{
    if (c->d_in[input] == NULL) return;
    real *d = pl__real(c->d_in[input]);
    d[i] = (c->acc[input] ? d[i] : 0) + (real)value;
}

/* ---- rank_loss ------------------------------------------------------------------------------- */

static double log_sigmoid(double x)
{
    return x > 0 ? -log1p(exp(-x)) : x - log1p(exp(x));
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* f(d) and, in *slope, f'(d). */
static double rank_term(int64_t variant, double d, double *slope)
{
    switch (variant) {
    case RANK_LOSS_variant_logsigmoid: *slope = sigmoid(-d); return log_sigmoid(d);
    case RANK_LOSS_variant_sigmoid: *slope = sigmoid(d) * sigmoid(-d); return sigmoid(d);
    default: *slope = 1; return d;
    }
}

static pl_status rank_loss_shape(pl_call *c)
{
    int64_t segments;
    const pl_tensor *scores = c->in[RANK_LOSS_scores];
    if (scores->rank != 1) return pl__shape_fail(c, RANK_LOSS_scores, "[N]");
    PL_TRY(pl__check_offsets(c, RANK_LOSS_offsets, scores->count, &segments));
    for (int i = RANK_LOSS_ranks; i <= RANK_LOSS_margins; i++)
        if (c->in[i] != NULL && (c->in[i]->rank != 1 || c->in[i]->count != scores->count))
            return pl__shape_fail(c, i, "[N], one for each score,");
    PL_TRY(constants_only(c, RANK_LOSS_ranks));
    return pl__out(c, RANK_LOSS_loss, PL_REAL_DTYPE, 0, NULL);
}

/* The pairs of a set that count. */
static int64_t rank_pairs(const pl_call *c, int64_t first, int64_t last)
{
    const real *rank = pl__real(c->in[RANK_LOSS_ranks]);
    const bool half = c->param[RANK_LOSS_ties].i == RANK_LOSS_ties_half;
    int64_t pairs = 0;
    for (int64_t i = first; i < last; i++)
        for (int64_t j = i + 1; j < last; j++) pairs += half || rank[i] != rank[j];
    return pairs;
}

/* The loss of one set of answers; its slopes by score, times `factor`, into d (zeroed before) when
** that is not NULL. */
static double rank_set(const pl_call *c, int64_t first, int64_t last, double factor, double *d)
{
    const real *r = pl__real(c->in[RANK_LOSS_scores]), *rank = pl__real(c->in[RANK_LOSS_ranks]);
    const pl_tensor *margins = c->in[RANK_LOSS_margins];
    const real *margin = margins != NULL ? pl__real(margins) : NULL;
    const bool half = c->param[RANK_LOSS_ties].i == RANK_LOSS_ties_half;
    const int64_t pairs = rank_pairs(c, first, last);
    double sum = 0;
    for (int64_t i = first; i < last; i++)
        for (int64_t j = i + 1; j < last; j++) {
            const bool tie = rank[i] == rank[j];
            if (tie && !half) continue;
            const int64_t w = rank[i] <= rank[j] ? i : j, l = w == i ? j : i;
            const double gap = margin != NULL ? (double)margin[w] - (double)margin[l] : 0;
            const double x = (double)r[w] - (double)r[l] - gap;
            double slope, back = 0;
            double f = rank_term(c->param[RANK_LOSS_variant].i, x, &slope);
            if (tie) {
                f = 0.5 * (f + rank_term(c->param[RANK_LOSS_variant].i, -x, &back));
                slope = 0.5 * (slope - back);
            }
            sum -= f / (double)pairs;
            if (d == NULL) continue;
            d[w - first] -= factor * slope / (double)pairs;
            d[l - first] += factor * slope / (double)pairs;
        }
    return sum;
}

/* A set without a pair that counts (one answer, or ties alone) is no part of the mean. */
static double rank_norm(const pl_call *c)
{
    const double given = c->param[RANK_LOSS_norm].f;
    if (given > 0) return given;
    const int32_t *offsets = pl__ints(c->in[RANK_LOSS_offsets]);
    int64_t sets = 0;
    for (int64_t b = 0; b + 1 < c->in[RANK_LOSS_offsets]->count; b++)
        sets += rank_pairs(c, offsets[b], offsets[b + 1]) > 0;
    return sets > 0 ? (double)sets : 1;
}

static pl_status rank_loss_fwd(pl_call *c)
{
    const int32_t *offsets = pl__ints(c->in[RANK_LOSS_offsets]);
    double sum = 0;
    for (int64_t b = 0; b + 1 < c->in[RANK_LOSS_offsets]->count; b++)
        sum += rank_set(c, offsets[b], offsets[b + 1], 0, NULL);
    *pl__real(c->out[RANK_LOSS_loss]) = (real)(sum / rank_norm(c));
    return PL_OK;
}

static pl_status rank_loss_bwd(pl_call *c)
{
    const int32_t *offsets = pl__ints(c->in[RANK_LOSS_offsets]);
    const double g = (double)*pl__real(c->d_out[RANK_LOSS_loss]) / rank_norm(c);
    const int64_t n = c->in[RANK_LOSS_scores]->count;
    double *d = pl__work(c, n * 8);
    if (d == NULL) return PL_ERR_NOMEM;
    memset(d, 0, (size_t)n * sizeof *d);
    for (int64_t b = 0; b + 1 < c->in[RANK_LOSS_offsets]->count; b++)
        rank_set(c, offsets[b], offsets[b + 1], g, d + offsets[b]);
    for (int64_t i = 0; i < n; i++) put(c, RANK_LOSS_scores, i, d[i]);
    return PL_OK;
}

extern const pl_op_impl OPI(rank_loss);
const pl_op_impl OPI(rank_loss) = {rank_loss_shape, rank_loss_fwd, rank_loss_bwd};

/* ---- weighted means -------------------------------------------------------------------------- */

enum { WEIGHTS = PPO_LOSS_weights }; /* of value_loss too */
PL_SAME_PLACE(VALUE_LOSS_weights, WEIGHTS);

static double weight_at(const pl_call *c, int64_t i)
{
    return c->in[WEIGHTS] != NULL ? (double)pl__real(c->in[WEIGHTS])[i] : 1;
}

static double weight_sum(const pl_call *c)
{
    double sum = 0;
    for (int64_t i = 0; i < c->in[0]->count; i++) sum += weight_at(c, i); /* all are [N] */
    return sum;
}

/* The divisor: the parameter when given, else the weights' sum (1 when that is 0: an empty batch
** has loss 0). */
static double norm_of(const pl_call *c, double given)
{
    const double sum = given > 0 ? given : weight_sum(c);
    return sum != 0 ? sum : 1;
}

/* ---- ppo_loss -------------------------------------------------------------------------------- */

enum { APPROXKL, CLIPFRAC, RATIO_MEAN, RATIO_VARIANCE, RATIO_LEAST, RATIO_LARGEST, N_PPO_STATS };

static pl_status ppo_loss_shape(pl_call *c)
{
    const int64_t n_stats = N_PPO_STATS;
    PL_TRY(check_vectors(c));
    PL_TRY(constants_only(c, PPO_LOSS_old_logprob));
    PL_TRY(pl__out(c, PPO_LOSS_loss, PL_REAL_DTYPE, 0, NULL));
    return pl__out(c, PPO_LOSS_stats, PL_REAL_DTYPE, 1, &n_stats);
}

typedef struct {
    double ratio, loss, slope; /* slope: of the loss by the log-prob */
    bool clipped;
} ppo_token;

static double log_ratio(const pl_call *c, int64_t i)
{
    return (double)pl__real(c->in[PPO_LOSS_logprob])[i] -
           (double)pl__real(c->in[PPO_LOSS_old_logprob])[i];
}

static ppo_token ppo_at(const pl_call *c, int64_t i)
{
    const double e = c->param[PPO_LOSS_cliprange].f, e_high = c->param[PPO_LOSS_cliprange_high].f;
    const double low = 1 - e, high = 1 + (e_high > 0 ? e_high : e);
    const double a = (double)pl__real(c->in[PPO_LOSS_advantages])[i];
    ppo_token t;
    t.ratio = exp(log_ratio(c, i));
    const double inside = t.ratio < low ? low : t.ratio > high ? high : t.ratio;
    const double plain = -a * t.ratio, limited = -a * inside;
    t.clipped = limited > plain;
    t.loss = t.clipped ? limited : plain;
    t.slope = t.clipped ? 0 : plain; /* d ratio / d logprob = ratio */
    return t;
}

static pl_status ppo_loss_fwd(pl_call *c)
{
    const int64_t n = c->in[PPO_LOSS_logprob]->count;
    double loss = 0, kl = 0, clipped = 0, ratio = 0, square = 0;
    double least = INFINITY, most = -INFINITY, total = weight_sum(c);
    for (int64_t i = 0; i < n; i++) {
        const double w = weight_at(c, i);
        if (w == 0) continue; /* garbage where no loss is taken changes nothing */
        const ppo_token t = ppo_at(c, i);
        const double d = log_ratio(c, i);
        loss += w * t.loss;
        kl += w * 0.5 * d * d;
        clipped += w * t.clipped;
        ratio += w * t.ratio;
        square += w * t.ratio * t.ratio;
        least = t.ratio < least ? t.ratio : least;
        most = t.ratio > most ? t.ratio : most;
    }
    if (total == 0) total = 1;
    const double mean = ratio / total, variance = square / total - mean * mean;
    real *stats = pl__real(c->out[PPO_LOSS_stats]);
    *pl__real(c->out[PPO_LOSS_loss]) = (real)(loss / norm_of(c, c->param[PPO_LOSS_norm].f));
    stats[APPROXKL] = (real)(kl / total);
    stats[CLIPFRAC] = (real)(clipped / total);
    stats[RATIO_MEAN] = (real)mean;
    stats[RATIO_VARIANCE] = (real)(variance > 0 ? variance : 0);
    stats[RATIO_LEAST] = (real)(n > 0 && least <= most ? least : 1);
    stats[RATIO_LARGEST] = (real)(n > 0 && least <= most ? most : 1);
    return PL_OK;
}

static pl_status ppo_loss_bwd(pl_call *c)
{
    if (c->d_out[PPO_LOSS_loss] == NULL) {
        for (int64_t i = 0; i < c->in[PPO_LOSS_logprob]->count; i++) put(c, PPO_LOSS_logprob, i, 0);
        return PL_OK;
    }
    const double norm = norm_of(c, c->param[PPO_LOSS_norm].f);
    const double g = (double)*pl__real(c->d_out[PPO_LOSS_loss]) / norm;
    for (int64_t i = 0; i < c->in[PPO_LOSS_logprob]->count; i++) {
        const double w = weight_at(c, i);
        put(c, PPO_LOSS_logprob, i, w == 0 ? 0 : g * w * ppo_at(c, i).slope);
    }
    return PL_OK;
}

extern const pl_op_impl OPI(ppo_loss);
const pl_op_impl OPI(ppo_loss) = {ppo_loss_shape, ppo_loss_fwd, ppo_loss_bwd};

/* ---- value_loss ------------------------------------------------------------------------------ */

enum { VALUE_CLIPFRAC, SQUARED_ERROR, N_VALUE_STATS };

static pl_status value_loss_shape(pl_call *c)
{
    const int64_t n_stats = N_VALUE_STATS;
    PL_TRY(check_vectors(c));
    PL_TRY(constants_only(c, VALUE_LOSS_old_values));
    PL_TRY(pl__out(c, VALUE_LOSS_loss, PL_REAL_DTYPE, 0, NULL));
    return pl__out(c, VALUE_LOSS_stats, PL_REAL_DTYPE, 1, &n_stats);
}

/* Loss of one value, its slope, whether the clipped error was the larger. */
static double value_at(const pl_call *c, int64_t i, double *slope, bool *clipped)
{
    const double e = c->param[VALUE_LOSS_cliprange].f;
    const double v = (double)pl__real(c->in[VALUE_LOSS_values])[i];
    const double old = (double)pl__real(c->in[VALUE_LOSS_old_values])[i];
    const double ret = (double)pl__real(c->in[VALUE_LOSS_returns])[i];
    const double near = e > 0 ? (v < old - e ? old - e : v > old + e ? old + e : v) : v;
    const double plain = (v - ret) * (v - ret), limited = (near - ret) * (near - ret);
    *clipped = limited > plain;
    *slope = *clipped ? 0 : v - ret; /* a clipped value does not move */
    return 0.5 * (*clipped ? limited : plain);
}

static pl_status value_loss_fwd(pl_call *c)
{
    double loss = 0, count = 0, error = 0, total = weight_sum(c), slope;
    bool clipped;
    for (int64_t i = 0; i < c->in[VALUE_LOSS_values]->count; i++) {
        const double w = weight_at(c, i);
        if (w == 0) continue;
        const double d = (double)pl__real(c->in[VALUE_LOSS_values])[i] -
                         (double)pl__real(c->in[VALUE_LOSS_returns])[i];
        loss += w * value_at(c, i, &slope, &clipped);
        count += w * clipped;
        error += w * d * d;
    }
    if (total == 0) total = 1;
    *pl__real(c->out[VALUE_LOSS_loss]) = (real)(loss / norm_of(c, c->param[VALUE_LOSS_norm].f));
    pl__real(c->out[VALUE_LOSS_stats])[VALUE_CLIPFRAC] = (real)(count / total);
    pl__real(c->out[VALUE_LOSS_stats])[SQUARED_ERROR] = (real)(error / total);
    return PL_OK;
}

static pl_status value_loss_bwd(pl_call *c)
{
    const pl_tensor *d_loss = c->d_out[VALUE_LOSS_loss];
    const double g =
        d_loss != NULL ? (double)*pl__real(d_loss) / norm_of(c, c->param[VALUE_LOSS_norm].f) : 0;
    for (int64_t i = 0; i < c->in[VALUE_LOSS_values]->count; i++) {
        const double w = weight_at(c, i);
        double slope = 0;
        bool clipped;
        if (w != 0) value_at(c, i, &slope, &clipped);
        put(c, VALUE_LOSS_values, i, g * w * slope);
    }
    return PL_OK;
}

extern const pl_op_impl OPI(value_loss);
const pl_op_impl OPI(value_loss) = {value_loss_shape, value_loss_fwd, value_loss_bwd};

/* ---- kl_estimate ----------------------------------------------------------------------------- */

static pl_status kl_estimate_shape(pl_call *c)
{
    PL_TRY(check_vectors(c));
    return pl__out(c, KL_ESTIMATE_kl, PL_REAL_DTYPE, 1, c->in[KL_ESTIMATE_logprob]->shape);
}

static pl_status kl_estimate_fwd(pl_call *c)
{
    const real *a = pl__real(c->in[KL_ESTIMATE_logprob]);
    const real *b = pl__real(c->in[KL_ESTIMATE_ref_logprob]);
    const int64_t kind = c->param[KL_ESTIMATE_kind].i;
    real *y = pl__real(c->out[KL_ESTIMATE_kl]);
    for (int64_t i = 0; i < c->in[KL_ESTIMATE_logprob]->count; i++) {
        const double d = (double)a[i] - (double)b[i];
        switch (kind) {
        case KL_ESTIMATE_kind_k1: y[i] = (real)d; break;
        case KL_ESTIMATE_kind_k2: y[i] = (real)(0.5 * d * d); break;
        default: y[i] = (real)(expm1(-d) + d); break;
        }
    }
    return PL_OK;
}

static pl_status kl_estimate_bwd(pl_call *c)
{
    const real *a = pl__real(c->in[KL_ESTIMATE_logprob]);
    const real *b = pl__real(c->in[KL_ESTIMATE_ref_logprob]);
    const real *g = pl__real(c->d_out[KL_ESTIMATE_kl]);
    const int64_t kind = c->param[KL_ESTIMATE_kind].i;
    for (int64_t i = 0; i < c->in[KL_ESTIMATE_logprob]->count; i++) {
        const double d = (double)a[i] - (double)b[i];
        const double slope = kind == KL_ESTIMATE_kind_k1   ? 1
                             : kind == KL_ESTIMATE_kind_k2 ? d
                                                           : -expm1(-d);
        put(c, KL_ESTIMATE_logprob, i, slope * (double)g[i]);
        put(c, KL_ESTIMATE_ref_logprob, i, -slope * (double)g[i]);
    }
    return PL_OK;
}

extern const pl_op_impl OPI(kl_estimate);
const pl_op_impl OPI(kl_estimate) = {kl_estimate_shape, kl_estimate_fwd, kl_estimate_bwd};
