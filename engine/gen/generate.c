/*
** generate.c - continuous batching over a recorded decode step.
**
** Each answer has a slot of the cache while it grows. Waiting prompts enter as slots fall free:
** several are prefilled in one replay of the plan, each once for all its answers (keys and values
** are then copied to the other answers' slots). Then every replay gives each running answer one
** token. Because every op is batch-invariant and random numbers are named by (seed, key, sample,
** position), an answer does not depend on what is generated beside it.
**
** With `reuse` the first slot keeps the text whose keys and values it holds, so that a prompt which
** goes on from it (the next turn of a conversation) is prefilled from where they part. A row's
** bits depend on its own text alone, so the answer is the same as without.
*/
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/thread.h"
#include "gen/sampler.h"
#include "graph/profile.h"

#define PREFILL_TOKENS 2048 /* in one replay, unless one prompt alone is longer */

struct pl_generator {
    pl_ctx *ctx;
    pl_plan *plan;
    pl_tensor **caches;
    int n_caches;
    int64_t slots, max_len, vocabulary;
    int32_t *held; /* the text in the first slot's cache, for `reuse`; NULL: none */
    int64_t n_held;
};

/* One growing answer. */
typedef struct {
    int64_t answer; /* index into the result */
    int64_t prompt, sample;
    int64_t past; /* positions in the cache */
    int32_t slot, token;
} runner;

typedef struct {
    pl_generator *g;
    pl_ctx *ctx;
    const pl_gen_options *o;
    const int32_t *tokens;
    const int64_t *offsets, *keys;
    int64_t n_prompts;
    pl_gen_result *r;
    runner *run;
    int64_t n_run;
    int32_t *free_slots;
    int64_t n_free;
    int64_t next_prompt, next_sample; /* the next answer that waits */
    int64_t shared; /* tokens of the one prompt that the first slot holds already */
    float *probs;   /* [threads, V] */
    int32_t *heaps;
    int64_t vocabulary;
} job;

pl_status pl_generator_new(pl_ctx *ctx, pl_generator **out, pl_plan *plan, pl_tensor *const *caches,
                           int n_caches)
{
    *out = NULL;
    for (int i = 0; i < n_caches; i++) {
        const pl_tensor *t = caches[i];
        if (t->rank == 4 && t->dtype == PL_F32 && t->shape[0] == caches[0]->shape[0] &&
            t->shape[2] == caches[0]->shape[2])
            continue;
        pl_plan_free(plan);
        return pl__fail(ctx, PL_ERR_SHAPE,
                        "generator: cache %d must be float32 [slots,G,max_len,D] like the first",
                        i);
    }
    pl_generator *g = n_caches >= 2 && n_caches % 2 == 0 ? pl_calloc(ctx, 1, sizeof *g) : NULL;
    if (g != NULL) g->caches = pl_calloc(ctx, (size_t)n_caches, sizeof *g->caches);
    if (g == NULL || g->caches == NULL) {
        pl_free(ctx, g);
        pl_plan_free(plan);
        if (n_caches >= 2 && n_caches % 2 == 0) return PL_ERR_NOMEM;
        return pl__fail(ctx, PL_ERR_ARG, "generator: caches come in pairs of keys and values");
    }
    g->ctx = ctx;
    g->plan = plan;
    g->n_caches = n_caches;
    g->slots = caches[0]->shape[0];
    g->max_len = caches[0]->shape[2];
    g->vocabulary = pl_plan_columns(plan);
    for (int i = 0; i < n_caches; i++) {
        g->caches[i] = caches[i];
        pl_tensor_retain(caches[i]);
    }
    *out = g;
    return PL_OK;
}

void pl_generator_free(pl_generator *g)
{
    if (g == NULL) return;
    for (int i = 0; i < g->n_caches; i++) pl_tensor_release(g->caches[i]);
    pl_plan_free(g->plan);
    pl_free(g->ctx, g->caches);
    pl_free(g->ctx, g->held);
    pl_free(g->ctx, g);
}

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

static pl_status result_new(pl_ctx *ctx, pl_gen_result **out, int64_t n_prompts, int64_t samples,
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

/* ---- one replay
** ---------------------------------------------------------------------------------- */

enum { IN_TOKENS, IN_POSITIONS, IN_OFFSETS, IN_SLOTS, IN_PAST, IN_LAST, N_INPUTS };

/* Runs sequences of known length; seq(i) has `length[i]` tokens from `text[i]`, all at the cache
** positions past[i].. of slot[i]. *logits is a new reference, [n,V]. */
static pl_status replay(job *j, int64_t n, const int32_t *const *text, const int64_t *length,
                        const int32_t *slot, const int64_t *past, pl_tensor **logits)
{
    pl_tensor *in[N_INPUTS] = {NULL};
    pl_status st = PL_OK;
    int64_t total = 0;
    *logits = NULL;
    for (int64_t i = 0; i < n; i++) total += length[i];
    const int64_t sizes[N_INPUTS] = {total, total, n + 1, n, n, n};
    for (int i = 0; i < N_INPUTS; i++)
        PL_GO(pl__tensor_new_free(j->ctx, &in[i], PL_I32, 1, &sizes[i]));
    int32_t *data[N_INPUTS];
    for (int i = 0; i < N_INPUTS; i++) data[i] = pl__data(in[i]);
    int32_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        data[IN_OFFSETS][i] = at;
        data[IN_SLOTS][i] = slot[i];
        data[IN_PAST][i] = (int32_t)past[i];
        for (int64_t t = 0; t < length[i]; t++, at++) {
            data[IN_TOKENS][at] = text[i][t];
            data[IN_POSITIONS][at] = (int32_t)(past[i] + t);
        }
        data[IN_LAST][i] = at - 1;
    }
    data[IN_OFFSETS][n] = at;
    PL_GO(pl_plan_run(j->g->plan, in, logits));
    j->r->steps++;
    const pl_tensor *z = *logits;
    if (z->rank != 2 || z->shape[0] != n || z->dtype != PL_F32) {
        pl_tensor_release(*logits);
        *logits = NULL;
        st = pl__fail(j->ctx, PL_ERR_SHAPE, "generate: the plan must give float32 logits [B,V]");
    }
done:
    for (int i = 0; i < N_INPUTS; i++) pl_tensor_release(in[i]);
    return st;
}

/* ---- tokens
** -------------------------------------------------------------------------------------- */

static pl_status want_scratch(job *j, int64_t vocabulary)
{
    if (j->probs != NULL) return PL_OK;
    int64_t cells;
    const int threads = omp_get_max_threads();
    if (!pl__mul(threads, vocabulary, &cells) || cells > INT64_MAX / 8)
        return pl__fail(j->ctx, PL_ERR_NOMEM, "generate: %d threads with %lld tokens are too many",
                        threads, (long long)vocabulary);
    j->vocabulary = vocabulary;
    j->probs = pl_alloc(j->ctx, (size_t)cells * sizeof *j->probs);
    j->heaps = pl_alloc(j->ctx, (size_t)cells * sizeof *j->heaps);
    return j->probs != NULL && j->heaps != NULL ? PL_OK : PL_ERR_NOMEM;
}

/* Of `n` rows: logits read, and probabilities written and read. */
static double draw_bytes(const job *j, int64_t n)
{
    return 3.0 * sizeof(float) * (double)n * (double)j->vocabulary;
}

/* One token for runner w from a row of logits. */
static void draw(job *j, runner *w, const float *logits)
{
    const int64_t scratch = omp_get_thread_num();
    const pl_gen_options *o = j->o;
    const pl_kernel_set *k = &pl__ops_for(j->ctx, PL_F32)->kernels;
    pl_gen_result *r = j->r;
    const int64_t at = w->answer * r->max_tokens + r->length[w->answer], v = j->vocabulary;
    const double inv_t = o->temperature > 0 ? 1 / o->temperature : 1;
    double mass = 1;
    int64_t token;
    float *p = o->temperature > 0 ? j->probs + scratch * v : NULL;
    const pl_row_read row = k->softmax_row(v, logits, inv_t, p);
    if (o->temperature > 0) {
        const pl_truncation cut = {o->top_k, o->top_p, o->min_p};
        const int64_t key = j->keys != NULL ? j->keys[w->prompt] : w->prompt;
        const uint64_t purpose =
            pl_random_purpose("generate", (int64_t[]){(int64_t)o->stream, key, w->sample}, 3);
        const double u = pl_random_uniform(o->seed, purpose, (uint64_t)r->length[w->answer]);
        token = pl__sample(p, v, u, &cut, j->heaps + scratch * v, &mass);
    } else {
        token = pl__place_of(logits, v, (float)row.peak);
    }
    r->logprob[at] = (float)k->row_logprob(row, inv_t, (double)logits[token]);
    r->entropy[at] = (float)row.entropy;
    r->sampling_logprob[at] = o->temperature > 0 ? (float)((double)r->logprob[at] - log(mass)) : 0;
    r->tokens[at] = w->token = (int32_t)token;
    r->length[w->answer]++;
}

static bool is_stop(const job *j, int32_t token)
{
    for (int i = 0; i < j->o->n_stop; i++)
        if (j->o->stop[i] == token) return true;
    return false;
}

/* Whether the runner has just ended, and why. */
static pl_status ended(job *j, const runner *w, bool *end)
{
    pl_gen_result *r = j->r;
    const int64_t length = r->length[w->answer];
    *end = true;
    r->finish[w->answer] = PL_FINISH_STOP;
    if (is_stop(j, w->token)) return PL_OK;
    r->finish[w->answer] = PL_FINISH_TEXT;
    if (j->o->ends != NULL) {
        bool text = false;
        PL_TRY(j->o->ends(j->o->ends_data, r->tokens + w->answer * r->max_tokens, length, &text));
        if (text) return PL_OK;
    }
    r->finish[w->answer] = PL_FINISH_LENGTH;
    *end = length == r->max_tokens || w->past == j->g->max_len ||
           (j->o->context > 0 && w->past + 1 >= j->o->context); /* the last token has no row */
    return PL_OK;
}

/* Retires the runners from number `from` on that have ended, keeping the order of the others. */
static pl_status retire(job *j, int64_t from)
{
    int64_t kept = from;
    for (int64_t i = from; i < j->n_run; i++) {
        bool end;
        PL_TRY(ended(j, &j->run[i], &end));
        if (end) j->free_slots[j->n_free++] = j->run[i].slot;
        else j->run[kept++] = j->run[i];
    }
    j->n_run = kept;
    return PL_OK;
}

/* ---- text that the first slot holds
** --------------------------------------------------------------- */

/* How many tokens a prompt shares with the held text; one at least is left to run. */
static int64_t shared_length(const pl_generator *g, const int32_t *text, int64_t size)
{
    int64_t n = 0;
    while (n < g->n_held && n < size - 1 && g->held[n] == text[n]) n++;
    return n;
}

/* Keeps what the one answer of the job left in the first slot; its last token was never run. */
static pl_status hold(const job *j)
{
    pl_generator *g = j->g;
    const int64_t prompt = j->offsets[1] - j->offsets[0], answer = j->r->length[0] - 1;
    g->held = pl_alloc(j->ctx, (size_t)(prompt + answer) * sizeof *g->held);
    if (g->held == NULL) return PL_ERR_NOMEM;
    memcpy(g->held, j->tokens + j->offsets[0], (size_t)prompt * sizeof *g->held);
    memcpy(g->held + prompt, j->r->tokens, (size_t)answer * sizeof *g->held);
    g->n_held = prompt + answer;
    return PL_OK;
}

static void let_go(pl_generator *g)
{
    pl_free(g->ctx, g->held);
    g->held = NULL;
    g->n_held = 0;
}

/* ---- entering
** ------------------------------------------------------------------------------------ */

static int64_t prompt_length(const job *j, int64_t p)
{
    return j->offsets[p + 1] - j->offsets[p];
}

static void copy_cache(job *j, int32_t from, int32_t to, int64_t n)
{
    const pl_kernel_set *k = &pl__ops_for(j->ctx, PL_F32)->kernels;
    for (int i = 0; i < j->g->n_caches; i += 2) {
        const pl_tensor *t = j->g->caches[i];
        k->cache_copy(pl__data(t), pl__data(j->g->caches[i + 1]), t->shape[1], t->shape[2],
                      t->shape[3], from, to, n);
    }
}

/* Takes waiting prompts into free slots and gives each of their answers its first token. */
static pl_status enter(job *j)
{
    pl_status st = PL_OK;
    const int64_t room = j->n_free;
    const int32_t **text = pl_calloc(j->ctx, (size_t)room, sizeof *text);
    int64_t *length = pl_calloc(j->ctx, (size_t)room, sizeof *length);
    int64_t *past = pl_calloc(j->ctx, (size_t)room, sizeof *past);
    int64_t *first = pl_calloc(j->ctx, (size_t)room + 1, sizeof *first); /* runner of a prompt */
    int32_t *slot = pl_calloc(j->ctx, (size_t)room, sizeof *slot);
    pl_tensor *logits = NULL;
    if (text == NULL || length == NULL || past == NULL || first == NULL || slot == NULL)
        PL_GO(PL_ERR_NOMEM);

    int64_t n = 0, total = 0, runners = j->n_run;
    while (j->next_prompt < j->n_prompts && j->n_free > 0) {
        const int64_t p = j->next_prompt, size = prompt_length(j, p);
        if (n > 0 && total + size > PREFILL_TOKENS) break;
        past[n] = j->shared;
        text[n] = j->tokens + j->offsets[p] + j->shared;
        length[n] = size - j->shared;
        first[n] = runners;
        slot[n] = j->free_slots[j->n_free - 1];
        total += length[n];
        for (; j->next_sample < j->o->samples && j->n_free > 0; j->next_sample++)
            j->run[runners++] = (runner){.answer = p * j->o->samples + j->next_sample,
                                         .prompt = p,
                                         .sample = j->next_sample,
                                         .past = size,
                                         .slot = j->free_slots[--j->n_free]};
        n++;
        if (j->next_sample < j->o->samples) break; /* no slot is left: the rest enters later */
        j->next_sample = 0;
        j->next_prompt++;
    }
    first[n] = runners;
    PL_GO(replay(j, n, text, length, slot, past, &logits));
    j->r->prefill_tokens += total;
    PL_GO(want_scratch(j, logits->shape[1]));
    const int64_t began = pl__profile_now(j->ctx);
    for (int64_t i = 0; i < n; i++)
        for (int64_t w = first[i]; w < first[i + 1]; w++) {
            if (j->run[w].slot != slot[i]) copy_cache(j, slot[i], j->run[w].slot, length[i]);
            draw(j, &j->run[w], (const float *)pl__data(logits) + i * j->vocabulary);
        }
    pl__profile_work(j->ctx, began, PL_WORK_DRAW, 0, draw_bytes(j, runners - j->n_run));
    j->n_run = runners;
    st = retire(j, first[0]); /* the others have no new token */
done:
    pl_tensor_release(logits);
    pl_free(j->ctx, text);
    pl_free(j->ctx, length);
    pl_free(j->ctx, past);
    pl_free(j->ctx, first);
    pl_free(j->ctx, slot);
    return st;
}

static pl_status decode(job *j)
{
    pl_status st = PL_OK;
    const size_t n = (size_t)j->n_run;
    const int32_t **text = pl_calloc(j->ctx, n, sizeof *text);
    int64_t *length = pl_calloc(j->ctx, n, sizeof *length);
    int64_t *past = pl_calloc(j->ctx, n, sizeof *past);
    int32_t *slot = pl_calloc(j->ctx, n, sizeof *slot);
    pl_tensor *logits = NULL;
    if (text == NULL || length == NULL || past == NULL || slot == NULL) PL_GO(PL_ERR_NOMEM);
    for (int64_t i = 0; i < j->n_run; i++) {
        runner *w = &j->run[i];
        text[i] = &w->token;
        length[i] = 1;
        past[i] = w->past++;
        slot[i] = w->slot;
    }
    PL_GO(replay(j, j->n_run, text, length, slot, past, &logits));
    const float *z = pl__data(logits);
    const int64_t began = pl__profile_now(j->ctx);
    PL_PARALLEL_FOR(j->n_run * j->vocabulary * 8)
    for (int64_t i = 0; i < j->n_run; i++) draw(j, &j->run[i], z + i * j->vocabulary);
    pl__profile_work(j->ctx, began, PL_WORK_DRAW, 0, draw_bytes(j, j->n_run));
    st = retire(j, 0);
done:
    pl_tensor_release(logits);
    pl_free(j->ctx, text);
    pl_free(j->ctx, length);
    pl_free(j->ctx, past);
    pl_free(j->ctx, slot);
    return st;
}

static pl_status as_stage(job *j, const char *name, pl_status (*part)(job *j))
{
    pl__profile_enter(j->ctx, name);
    const pl_status st = part(j);
    pl__profile_leave(j->ctx);
    return st;
}

/* ---- the door
** ------------------------------------------------------------------------------------ */

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

static pl_status check(const job *j)
{
    const pl_gen_options *o = j->o;
    pl_ctx *ctx = j->ctx;
    if (j->n_prompts < 0)
        return pl__fail(ctx, PL_ERR_ARG, "generate: %lld prompts", (long long)j->n_prompts);
    if (o->max_tokens < 1 || o->samples < 1)
        return pl__fail(ctx, PL_ERR_ARG, "generate: max_tokens and samples must be at least 1");
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
        if (size >= j->g->max_len)
            return pl__fail(ctx, PL_ERR_ARG,
                            "generate: prompt %lld has %lld tokens, the cache holds %lld; make it "
                            "with a greater max_len or shorten the prompt",
                            (long long)p + 1, (long long)size, (long long)j->g->max_len);
        char what[32];
        snprintf(what, sizeof what, "prompt %lld", (long long)p + 1);
        PL_TRY(check_ids(j->g, what, j->tokens + j->offsets[p], size));
    }
    return check_ids(j->g, "stop", o->stop, o->n_stop);
}

pl_status pl_generate(pl_generator *g, pl_gen_result **out, int64_t n_prompts,
                      const int32_t *tokens, const int64_t *offsets, const int64_t *keys,
                      const pl_gen_options *options)
{
    pl_ctx *ctx = g->ctx;
    job j = {.g = g,
             .ctx = ctx,
             .o = options,
             .tokens = tokens,
             .offsets = offsets,
             .keys = keys,
             .n_prompts = n_prompts};
    pl_status st = PL_OK;
    *out = NULL;
    PL_TRY(check(&j));
    PL_GO(result_new(ctx, &j.r, n_prompts, options->samples, options->max_tokens));
    j.run = pl_calloc(ctx, (size_t)g->slots, sizeof *j.run);
    j.free_slots = pl_calloc(ctx, (size_t)g->slots, sizeof *j.free_slots);
    if (j.run == NULL || j.free_slots == NULL) PL_GO(PL_ERR_NOMEM);
    if (options->reuse) j.shared = shared_length(g, tokens + offsets[0], prompt_length(&j, 0));
    let_go(g); /* what follows writes over it, and may fail half-way */
    for (int64_t i = g->slots; i > 0; i--) j.free_slots[j.n_free++] = (int32_t)(i - 1);
    while (j.n_run > 0 || j.next_prompt < n_prompts) {
        PL_GO(pl__check_interrupt(ctx));
        if (j.next_prompt < n_prompts && j.n_free > 0)
            PL_GO(as_stage(&j, "generate.prefill", enter));
        if (j.n_run > 0) PL_GO(as_stage(&j, "generate.decode", decode));
    }
    if (options->reuse) PL_GO(hold(&j));
    *out = j.r;
done:
    if (st != PL_OK) pl_gen_result_free(ctx, j.r);
    pl_free(ctx, j.run);
    pl_free(ctx, j.free_slots);
    pl_free(ctx, j.probs);
    pl_free(ctx, j.heaps);
    return st;
}
