/*
** generate.c - continuous batching over a recorded decode step.
**
** Each answer has blocks of the cache while it grows (blocks.h) and enters as soon as a place and
** memory for it are there. Its text - the prompt, and what it has of the answer - is run from where
** the cache ends: whole for a new one, the last token alone for those that grow. So several new
** ones are run in one replay of the plan ("prefill"), then every replay gives each answer a token.
**
** What texts have in common is run once: the K answers to a prompt share its blocks (which are kept
** for those that enter later, who run its last token again), and all prompts what they begin with,
** when it is long. Where blocks run out the youngest answer gives its own back, waits, and later
** has its text run again. Because every op is batch-invariant and random numbers are named by
** (seed, key, sample, position), an answer depends on nothing of that.
**
** With `reuse` the generator holds the text of its one answer, so that a prompt which goes on from
** it (the next turn of a conversation) is run from where they part.
*/
#include <string.h>

#include "gen/job.h"
#include "graph/profile.h"

#define COMMON_LEAST 16  /* tokens that all prompts begin with, to be run on their own, */
#define COMMON_SAVED 128 /* and tokens that this saves */

pl_status pl_generator_new(pl_ctx *ctx, pl_generator **out, pl_plan *plan, pl_tensor *const *caches,
                           int n_caches)
{
    *out = NULL;
    pl_generator *g = pl_calloc(ctx, 1, sizeof *g);
    const pl_status st =
        g != NULL ? pl__blocks_open(ctx, &g->pool, caches, n_caches) : PL_ERR_NOMEM;
    if (st != PL_OK) {
        pl_free(ctx, g);
        pl_plan_free(plan);
        return st;
    }
    g->ctx = ctx;
    g->plan = plan;
    g->vocabulary = pl_plan_columns(plan);
    *out = g;
    return PL_OK;
}

static void let_go(pl_generator *g)
{
    pl__text_drop(&g->pool, &g->held_at);
    pl_free(g->ctx, g->held);
    pl_free(g->ctx, g->held_at.blocks);
    g->held = NULL;
    g->held_at.blocks = NULL;
    g->n_held = 0;
}

void pl_generator_free(pl_generator *g)
{
    if (g == NULL) return;
    let_go(g);
    pl__blocks_close(&g->pool);
    pl_plan_free(g->plan);
    pl_free(g->ctx, g);
}

/* ---- text that is kept ----------------------------------------------------------------------- */

static void forget(job *j, kept_text *kept)
{
    pl__text_drop(&j->g->pool, &kept->at);
    kept->length = 0;
}

/* How many tokens a prompt shares with the held text; one at least is left to run. */
static int64_t shared_length(const pl_generator *g, const int32_t *text, int64_t size)
{
    int64_t n = 0;
    while (n < g->n_held && n < size - 1 && g->held[n] == text[n]) n++;
    return n;
}

/* Keeps what the one answer of the job left in the cache; its last token was never run. */
static pl_status hold(job *j, runner *w)
{
    pl_generator *g = j->g;
    let_go(g);
    g->held = pl_alloc(j->ctx, (size_t)w->past * sizeof *g->held);
    g->held_at.blocks = pl_alloc(j->ctx, (size_t)w->at.n * sizeof *g->held_at.blocks);
    if (g->held == NULL || g->held_at.blocks == NULL) {
        let_go(g);
        return PL_ERR_NOMEM;
    }
    for (int64_t t = 0; t < w->past; t++) g->held[t] = pl__job_token(j, w, t);
    memcpy(g->held_at.blocks, w->at.blocks, (size_t)w->at.n * sizeof *w->at.blocks);
    g->held_at.n = w->at.n;
    g->n_held = w->past;
    w->at.n = 0;
    return PL_OK;
}

static void leave(job *j, runner *w)
{
    pl__text_drop(&j->g->pool, &w->at);
    j->free_rows[j->n_free_rows++] = w->at.blocks;
}

/* Retires the runners from number `from` on whose new token ends them; the others keep their
** order. */
static pl_status retire(job *j, int64_t from)
{
    int64_t kept = from;
    pl_status st = PL_OK;
    for (int64_t i = from; i < j->n_run; i++) {
        runner *w = &j->run[i];
        bool end = false;
        if (st == PL_OK && w->row >= 0) st = pl__job_settle(j, w, &end);
        w->row = -1;
        if (end && j->o->reuse && st == PL_OK) st = hold(j, w);
        if (end) leave(j, w);
        else j->run[kept++] = *w;
    }
    j->n_run = kept;
    return st;
}

/* ---- entering -------------------------------------------------------------------------------- */

/* The answer that is to enter next: one that was paused, or the next to a prompt. */
static bool waiting(const job *j, runner *w)
{
    if (j->n_paused > 0) {
        *w = j->paused[j->n_paused - 1];
        return true;
    }
    if (j->next_prompt == j->n_prompts) return false;
    *w = (runner){.answer = j->next_prompt * j->o->samples + j->next_sample,
                  .prompt = j->next_prompt,
                  .sample = j->next_sample,
                  .end = prompt_length(j, j->next_prompt),
                  .reach = INT64_MAX};
    return true;
}

static void count_in(job *j, int64_t answers)
{
    j->next_sample += answers;
    if (j->next_sample < j->o->samples) return;
    j->next_sample = 0;
    j->next_prompt++;
}

/* The text in the cache that has most of w's beginning, and how much of it; one token at least is
** left to run. */
static const text_place *best_beginning(const job *j, const runner *w, int64_t *n)
{
    const int64_t size = prompt_length(j, w->prompt);
    const text_place *best = j->common.length > 0 ? &j->common.at : NULL;
    *n = j->common.length;
    if (j->asked.length > 0 && j->asked.prompt == w->prompt) {
        best = &j->asked.at;
        *n = size;
    }
    for (int64_t i = 0; i < j->n_run && *n < size; i++)
        if (j->run[i].prompt == w->prompt && j->run[i].past >= size) {
            best = &j->run[i].at;
            *n = size;
        }
    if (*n > w->end - 1) *n = w->end - 1;
    return best;
}

/* Blocks that w's text wants beside those of the n positions that are there. */
static int64_t blocks_wanted(const job *j, const runner *w, int64_t n)
{
    return pl__blocks_for(&j->g->pool, w->end) - n / j->g->pool.block_len;
}

/* Adds w to the runners, with blocks for its text, of which n positions come from `beginning`.
** Beside others only where `spare` blocks and one for each runner are left after that. */
static pl_status admit(job *j, runner *w, const text_place *beginning, int64_t n, int64_t spare,
                       bool *in)
{
    block_pool *pool = &j->g->pool;
    const int64_t need = blocks_wanted(j, w, n);
    *in = false;
    if (j->n_run > 0 && pl__blocks_left(pool) < need + spare + j->n_run) return PL_OK;
    w->at = (text_place){.blocks = j->free_rows[j->n_free_rows - 1]};
    w->past = n;
    w->row = -1;
    w->companions = 0;
    pl_status st = n > 0 ? pl__text_adopt(pool, &w->at, beginning, n) : PL_OK;
    if (st == PL_OK) st = pl__text_extend(pool, &w->at, w->end);
    if (st != PL_OK) {
        pl__text_drop(pool, &w->at);
        return st == PL_ERR_NOMEM && j->n_run > 0 ? PL_OK : st;
    }
    j->n_free_rows--;
    j->run[j->n_run++] = *w;
    *in = true;
    return PL_OK;
}

/* Whether answers to prompt p wait whose text is no longer than that. */
static bool still_asked(const job *j, int64_t p)
{
    if (p == j->next_prompt && j->next_sample > 0) return true;
    for (int64_t i = 0; i < j->n_paused; i++)
        if (j->paused[i].prompt == p && j->r->length[j->paused[i].answer] == 0) return true;
    return false;
}

/* Takes waiting answers in, as many as there is room for. *n of them, in j->batch, have more to run
** than their last token. */
static pl_status take_in(job *j, int64_t *n)
{
    int64_t total = 0, companions = 0;
    runner w;
    *n = 0;
    while (j->n_run + companions < j->slots && waiting(j, &w)) {
        int64_t there;
        const text_place *beginning = best_beginning(j, &w, &there);
        if (j->n_run == 0 && pl__blocks_left(&j->g->pool) < blocks_wanted(j, &w, there)) {
            forget(j, &j->common);
            forget(j, &j->asked);
            there = 0;
        }
        const int64_t rest = w.end - there;
        if (rest > 1 && *n > 0 && total + rest > PREFILL_TOKENS) break;
        bool in;
        PL_TRY(admit(j, &w, beginning, there, companions, &in));
        if (!in) break;
        j->r->prefill_tokens += rest;
        if (j->n_paused > 0) j->n_paused--;
        else count_in(j, 1);
        if (rest == 1 && there > 0) continue;
        runner *first = j->batch[(*n)++] = &j->run[j->n_run - 1];
        total += rest;
        const bool is_new = j->r->length[w.answer] == 0;
        if (!is_new || w.prompt != j->next_prompt || j->next_sample != w.sample + 1) continue;
        const int64_t places = j->slots - j->n_run - companions;
        const int64_t left = j->o->samples - j->next_sample;
        first->companions = left < places ? left : places;
        companions += first->companions;
        count_in(j, first->companions);
    }
    if (!still_asked(j, j->asked.prompt)) forget(j, &j->asked);
    return PL_OK;
}

/* Those who enter with `first`, whose prompt has been run. */
static pl_status join(job *j, runner *first)
{
    const int64_t size = prompt_length(j, first->prompt);
    for (int64_t k = 1; k <= first->companions; k++) {
        runner w = *first;
        bool in;
        w.answer += k;
        w.sample += k;
        PL_TRY(admit(j, &w, &first->at, size, 0, &in));
        if (in) {
            j->run[j->n_run - 1].row = first->row;
            continue;
        }
        w.at.n = 0;
        j->paused[j->n_paused++] = w;
    }
    if (!still_asked(j, first->prompt)) return PL_OK;
    forget(j, &j->asked);
    const pl_status st = pl__text_adopt(&j->g->pool, &j->asked.at, &first->at, size);
    if (st == PL_OK) j->asked.prompt = first->prompt;
    if (st == PL_OK) j->asked.length = size;
    return st == PL_ERR_NOMEM ? PL_OK : st; /* then it is run again */
}

/* Takes waiting answers in, runs their texts, and draws their next tokens. */
static pl_status enter(job *j)
{
    int64_t n;
    const int64_t from = j->n_run;
    pl_tensor *logits;
    PL_TRY(take_in(j, &n));
    if (n == 0) return PL_OK;
    PL_TRY(pl__job_run(j, n, &logits));
    pl_status st = PL_OK;
    for (int64_t i = 0; i < n && st == PL_OK; i++) {
        j->batch[i]->row = i;
        st = join(j, j->batch[i]);
    }
    if (st == PL_OK) st = pl__job_draw(j, from, logits);
    pl_tensor_release(logits);
    if (st == PL_OK) st = retire(j, from);
    if (j->o->reuse) forget(j, &j->common);
    return st;
}

/* How many tokens all prompts begin with, where running them on their own saves enough; else 0. */
static int64_t common_length(const job *j)
{
    if (j->n_prompts < 2) return 0;
    int64_t n = prompt_length(j, 0) - 1;
    for (int64_t p = 1; p < j->n_prompts; p++) {
        const int32_t *text = j->tokens + j->offsets[p];
        int64_t same = 0;
        while (same < n && same < prompt_length(j, p) - 1 && text[same] == j->tokens[same]) same++;
        n = same;
    }
    const block_pool *pool = &j->g->pool;
    const bool fits = pl__blocks_left(pool) >= pl__blocks_for(pool, n) + j->columns;
    return fits && n >= COMMON_LEAST && (j->n_prompts - 1) * n >= COMMON_SAVED ? n : 0;
}

static pl_status enter_common(job *j)
{
    runner w = {.end = j->common.length, .at = j->common.at};
    pl_tensor *logits;
    j->batch[0] = &w;
    pl_status st = pl__text_extend(&j->g->pool, &w.at, w.end);
    if (st == PL_OK) st = pl__job_run(j, 1, &logits);
    if (st == PL_OK) pl_tensor_release(logits);
    j->common.at = w.at;
    j->r->prefill_tokens += w.end;
    return st;
}

/* ---- growing --------------------------------------------------------------------------------- */

/* The youngest gives its blocks back and waits. */
static void pause_one(job *j)
{
    runner *w = &j->run[--j->n_run];
    leave(j, w);
    j->paused[j->n_paused++] = *w;
    j->r->pauses++;
}

/* Blocks for the next position of all, or of as many as there are blocks for. */
static pl_status make_room(job *j)
{
    for (int64_t i = 0; i < j->n_run; i++) {
        runner *w = &j->run[i];
        pl_status st;
        while ((st = pl__text_extend(&j->g->pool, &w->at, w->end)) != PL_OK) {
            if (st != PL_ERR_NOMEM) return st;
            if (j->n_run > 1) {
                pause_one(j);
                if (i == j->n_run) return PL_OK;
            } else if (j->common.length > 0 || j->asked.length > 0) {
                forget(j, &j->common);
                forget(j, &j->asked);
            } else {
                return st;
            }
        }
    }
    return PL_OK;
}

static pl_status decode(job *j)
{
    PL_TRY(make_room(j));
    for (int64_t i = 0; i < j->n_run; i++) j->batch[i] = &j->run[i];
    pl__job_draft(j);
    PL_TRY(pl__job_decode(j));
    return retire(j, 0);
}

static pl_status as_stage(job *j, const char *name, pl_status (*part)(job *j))
{
    pl__profile_enter(j->ctx, name);
    const pl_status st = part(j);
    pl__profile_leave(j->ctx);
    return st;
}

/* ---- the door -------------------------------------------------------------------------------- */

/* Places for all that a job counts. */
static pl_status open_job(job *j)
{
    pl_ctx *ctx = j->ctx;
    int64_t cells;
    PL_TRY(pl__gen_result_new(ctx, &j->r, j->n_prompts, j->o->samples, j->o->max_tokens));
    j->slots = j->o->slots > 0 ? j->o->slots : j->g->pool.most;
    if (j->slots > j->r->n) j->slots = j->r->n;
    for (int64_t p = 0; p < j->n_prompts; p++) {
        const int64_t blocks = pl__blocks_for(&j->g->pool, pl__job_longest(j, p));
        if (blocks > j->columns) j->columns = blocks;
    }
    const int64_t rows = j->slots + 2;
    if (!pl__mul(rows, j->columns, &cells) || cells > INT64_MAX / 8)
        return pl__fail(ctx, PL_ERR_NOMEM, "generate: %lld answers of %lld blocks are too many",
                        (long long)j->slots, (long long)j->columns);
    block_pool *pool = &j->g->pool;
    pool->step = j->slots > 0 ? j->slots : 1; /* answers of a length want them at the same time */
    const int64_t useful = 2 * cells;         /* admission wants one to spare for each that grows */
    if (pool->most > useful) pool->most = useful > pool->n ? useful : pool->n;
    j->run = pl_calloc(ctx, (size_t)j->slots, sizeof *j->run);
    j->paused = pl_calloc(ctx, (size_t)j->slots, sizeof *j->paused);
    j->batch = pl_calloc(ctx, (size_t)j->slots, sizeof *j->batch);
    j->table = pl_calloc(ctx, (size_t)cells, sizeof *j->table);
    j->free_rows = pl_calloc(ctx, (size_t)j->slots, sizeof *j->free_rows);
    if (j->run == NULL || j->paused == NULL || j->batch == NULL || j->table == NULL ||
        j->free_rows == NULL)
        return PL_ERR_NOMEM;
    j->common = (kept_text){.prompt = -1, .at = {.blocks = j->table}};
    j->asked = (kept_text){.prompt = -1, .at = {.blocks = j->table + j->columns}};
    for (int64_t i = rows - 1; i > 1; i--)
        j->free_rows[j->n_free_rows++] = j->table + i * j->columns;
    return PL_OK;
}

static void close_job(job *j)
{
    for (int64_t i = 0; i < j->n_run; i++) pl__text_drop(&j->g->pool, &j->run[i].at);
    forget(j, &j->common);
    forget(j, &j->asked);
    for (int i = 0; i < N_INPUTS; i++) pl_tensor_release(j->own.in[i]);
    pl__job_close_lanes(j);
    pl_free(j->ctx, j->run);
    pl_free(j->ctx, j->paused);
    pl_free(j->ctx, j->batch);
    pl_free(j->ctx, j->table);
    pl_free(j->ctx, j->free_rows);
    pl_free(j->ctx, j->probs);
    pl_free(j->ctx, j->heaps);
}

/* What the generator holds of the one prompt becomes what the job begins with. */
static void go_on(job *j)
{
    pl_generator *g = j->g;
    j->common.length = shared_length(g, j->tokens + j->offsets[0], prompt_length(j, 0));
    pl__text_refer(&g->pool, &j->common.at, &g->held_at, j->common.length);
}

pl_status pl_generate(pl_generator *g, pl_gen_result **out, int64_t n_prompts,
                      const int32_t *tokens, const int64_t *offsets, const int64_t *keys,
                      const pl_gen_options *options)
{
    pl_ctx *ctx = g->ctx;
    job j = {.g = g,
             .ctx = ctx,
             .own = {.ctx = ctx},
             .o = options,
             .tokens = tokens,
             .offsets = offsets,
             .keys = keys,
             .n_prompts = n_prompts};
    pl_status st = PL_OK;
    *out = NULL;
    g->pool.most = options->cache_blocks > g->pool.n ? options->cache_blocks : g->pool.n;
    PL_TRY(pl__job_check(&j));
    PL_GO(open_job(&j));
    if (options->reuse) go_on(&j);
    else j.common.length = common_length(&j);
    let_go(g);
    if (!options->reuse && j.common.length > 0)
        PL_GO(as_stage(&j, "generate.prefill", enter_common));
    while (j.n_run > 0 || j.n_paused > 0 || j.next_prompt < n_prompts) {
        PL_GO(pl__check_interrupt(ctx));
        if (j.n_run < j.slots && (j.n_paused > 0 || j.next_prompt < n_prompts))
            PL_GO(as_stage(&j, "generate.prefill", enter));
        if (j.n_run > 0) PL_GO(as_stage(&j, "generate.decode", decode));
    }
    *out = j.r;
done:
    close_job(&j);
    if (st != PL_OK) pl_gen_result_free(ctx, j.r);
    return st;
}
