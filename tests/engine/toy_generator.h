/*
** toy_generator.h - a generator over the toy model, for the tests of generation.
*/
#ifndef TOY_GENERATOR_H
#define TOY_GENERATOR_H

#include <math.h>

#include "toy_model.h"

enum { BLOCK = 64 }; /* positions */

typedef struct {
    pl_ctx *ctx;
    toy model;
    pl_generator *generator;
} maker;

/* With caches of so many blocks. Also of a maker that could not be made: maker_free. */
static inline pl_status maker_new(pl_ctx *ctx, maker *m, int64_t blocks)
{
    pl_plan *plan;
    *m = (maker){.ctx = ctx};
    pl_status st = toy_new(ctx, &m->model, blocks, BLOCK);
    if (st == PL_OK) st = toy_plan(ctx, &m->model, &plan);
    if (st == PL_OK) st = pl_generator_new(ctx, &m->generator, plan, m->model.cache, 2);
    return st;
}

static inline void maker_free(maker *m)
{
    pl_generator_free(m->generator);
    toy_free(&m->model);
}

static inline pl_gen_options options(double temperature, int64_t max_tokens)
{
    return (pl_gen_options){
        .max_tokens = max_tokens, .samples = 1, .temperature = temperature, .top_p = 1, .seed = 3};
}

/* Answer i of a and answer k of b: tokens, log-probs and entropies to the bit, how they end. */
static inline bool same_answer(const pl_gen_result *a, int64_t i, const pl_gen_result *b, int64_t k)
{
    const int64_t n = a->length[i], at = i * a->max_tokens, bt = k * b->max_tokens;
    const size_t bytes = (size_t)n * 4;
    return n == b->length[k] && a->finish[i] == b->finish[k] &&
           memcmp(a->tokens + at, b->tokens + bt, bytes) == 0 &&
           memcmp(a->logprob + at, b->logprob + bt, bytes) == 0 &&
           memcmp(a->sampling_logprob + at, b->sampling_logprob + bt, bytes) == 0 &&
           memcmp(a->entropy + at, b->entropy + bt, bytes) == 0;
}

/* The logits behind a whole sequence, without a cache; a new reference. */
static inline pl_tensor *logits_behind(const maker *m, const int32_t *text, int64_t n)
{
    pl_ctx *ctx = m->ctx;
    pl_tensor *in[N_IN], *logits;
    OK(make_inputs(ctx, in, 1, &text, &n, NULL, NULL));
    OK(toy_logits(ctx, &m->model, in, false, &logits));
    free_inputs(in);
    return logits;
}

/* What is drawn behind it at a temperature, with its probability. */
static inline void probabilities(const maker *m, const int32_t *text, int64_t n, double temperature,
                                 double p[TOY_VOCAB])
{
    double sum = 0;
    pl_tensor *z = logits_behind(m, text, n);
    for (int v = 0; v < TOY_VOCAB; v++) sum += p[v] = exp(element(z, v) / temperature);
    for (int v = 0; v < TOY_VOCAB; v++) p[v] /= sum;
    pl_tensor_release(z);
}

/* Pearson's chi-square of counts against `draws` draws of probabilities p, n of each; what is
** wanted fewer than five times counts as one bin, which *bins leaves out. */
static inline double chi_square(const int *count, const double *p, int n, double draws, int *bins)
{
    double chi2 = 0, rare = 0, n_rare = 0;
    *bins = 0;
    for (int i = 0; i < n; i++) {
        const double wanted = p[i] * draws;
        if (wanted < 5) {
            rare += wanted;
            n_rare += count[i];
            continue;
        }
        chi2 += (count[i] - wanted) * (count[i] - wanted) / wanted;
        ++*bins;
    }
    if (rare >= 1) chi2 += (n_rare - rare) * (n_rare - rare) / rare;
    return chi2;
}

#endif
