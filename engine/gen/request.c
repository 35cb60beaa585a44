/*
** request.c - what a generator is asked for and what it gives: checks, and results.
*/
#include <stdio.h>

#include "gen/job.h"

void pl_gen_result_free(pl_ctx *ctx, pl_gen_result *r)
{
    if (r == NULL) return;
    pl_free(ctx, r->tokens);
    pl_free(ctx, r->logprob);
    pl_free(ctx, r->sampling_logprob);
    pl_free(ctx, r->entropy);
    pl_free(ctx, r->length);
    pl_free(ctx, r->finish);
    pl_free(ctx, r);
}

pl_status pl__gen_result_new(pl_ctx *ctx, pl_gen_result **out, int64_t n_prompts, int64_t samples,
                             int64_t max_tokens)
{
    int64_t n, cells;
    *out = NULL;
    if (!pl__mul(n_prompts, samples, &n) || !pl__mul(n, max_tokens, &cells))
        return pl__fail(ctx, PL_ERR_NOMEM,
                        "generate: %lld prompts with %lld samples of %lld tokens are too many",
                        (long long)n_prompts, (long long)samples, (long long)max_tokens);
    pl_gen_result *r = pl_calloc(ctx, 1, sizeof *r);
    if (r == NULL) return PL_ERR_NOMEM;
    r->n = n;
    r->max_tokens = max_tokens;
    r->tokens = pl_calloc(ctx, (size_t)cells, sizeof *r->tokens);
    r->logprob = pl_calloc(ctx, (size_t)cells, sizeof *r->logprob);
    r->sampling_logprob = pl_calloc(ctx, (size_t)cells, sizeof *r->sampling_logprob);
    r->entropy = pl_calloc(ctx, (size_t)cells, sizeof *r->entropy);
    r->length = pl_calloc(ctx, (size_t)n, sizeof *r->length);
    r->finish = pl_calloc(ctx, (size_t)n, sizeof *r->finish);
    if (r->tokens == NULL || r->logprob == NULL || r->sampling_logprob == NULL ||
        r->entropy == NULL || r->length == NULL || r->finish == NULL) {
        pl_gen_result_free(ctx, r);
        return PL_ERR_NOMEM;
    }
    *out = r;
    return PL_OK;
}

/* Token ids of the list `what`, all in the vocabulary. */
static pl_status check_ids(const pl_generator *g, const char *what, const int32_t *ids, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= g->vocabulary)
            return pl__fail(g->ctx, PL_ERR_ARG,
                            "generate: %s: item %lld is %d; token ids from 0 to %lld wanted", what,
                            (long long)i + 1, ids[i], (long long)g->vocabulary - 1);
    return PL_OK;
}

int64_t pl__job_longest(const job *j, int64_t p)
{
    const int64_t size = prompt_length(j, p), most = j->o->max_tokens - 1;
    const int64_t room = j->o->context > 0 ? j->o->context - 1 - size : INT64_MAX - size;
    return size + (most < room ? most : room);
}

pl_status pl__job_check(const job *j)
{
    const pl_gen_options *o = j->o;
    pl_ctx *ctx = j->ctx;
    if (j->n_prompts < 0)
        return pl__fail(ctx, PL_ERR_ARG, "generate: %lld prompts", (long long)j->n_prompts);
    if (o->max_tokens < 1 || o->samples < 1)
        return pl__fail(ctx, PL_ERR_ARG, "generate: max_tokens and samples must be at least 1");
    if (o->slots < 0 || o->cache_blocks < 0 || o->prompt_lookup < 0)
        return pl__fail(ctx, PL_ERR_ARG,
                        "generate: slots, cache_blocks and prompt_lookup must be at least 0");
    if (o->reuse && (j->n_prompts != 1 || o->samples != 1))
        return pl__fail(ctx, PL_ERR_ARG, "generate: reuse is for one answer to one prompt");
    if (!(o->temperature >= 0 && o->top_p > 0 && o->top_p <= 1 && o->min_p >= 0 && o->min_p <= 1 &&
          o->top_k >= 0))
        return pl__fail(ctx, PL_ERR_ARG,
                        "generate: wanted temperature >= 0, 0 < top_p <= 1, 0 <= min_p <= 1, "
                        "top_k >= 0");
    for (int64_t p = 0; p < j->n_prompts; p++) {
        const int64_t size = prompt_length(j, p);
        if (size < 1)
            return pl__fail(ctx, PL_ERR_ARG, "generate: prompt %lld is empty", (long long)p + 1);
        if (o->context > 0 && size >= o->context)
            return pl__fail(
                ctx, PL_ERR_ARG,
                "generate: prompt %lld has %lld tokens, the model's context is %lld: no "
                "room for an answer; shorten the prompt",
                (long long)p + 1, (long long)size, (long long)o->context);
        const int64_t blocks = pl__blocks_for(&j->g->pool, pl__job_longest(j, p));
        if (blocks > j->g->pool.most)
            return pl__fail(ctx, PL_ERR_ARG,
                            "generate: prompt %lld has %lld tokens, and an answer of %lld to it "
                            "wants %lld blocks of the cache, which may have %lld: give it more "
                            "memory, or lower max_tokens",
                            (long long)p + 1, (long long)size, (long long)o->max_tokens,
                            (long long)blocks, (long long)j->g->pool.most);
        char what[32];
        snprintf(what, sizeof what, "prompt %lld", (long long)p + 1);
        PL_TRY(check_ids(j->g, what, j->tokens + j->offsets[p], size));
    }
    return check_ids(j->g, "stop", o->stop, o->n_stop);
}
