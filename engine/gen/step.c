/*
** step.c - one step of a generator's job: replaying the plan, drawing tokens, seeing who has ended.
*/
#include <math.h>
#include <string.h>

#include "base/thread.h"
#include "gen/job.h"
#include "gen/sampler.h"
#include "graph/profile.h"

/* ---- one replay ------------------------------------------------------------------------------ */

int32_t pl__job_token(const job *j, const runner *w, int64_t at)
{
    const int64_t size = prompt_length(j, w->prompt);
    if (at < size) return j->tokens[j->offsets[w->prompt] + at];
    return j->r->tokens[w->answer * j->r->max_tokens + at - size];
}

/* An input of this shape; the last replay's when it fits. */
static pl_status input(seat *s, int which, int rank, const int64_t *shape, int32_t **data)
{
    pl_tensor **t = &s->in[which];
    if (*t != NULL && memcmp((*t)->shape, shape, (size_t)rank * sizeof *shape) != 0) {
        pl_tensor_release(*t);
        *t = NULL;
    }
    if (*t == NULL) PL_TRY(pl__tensor_new_free(s->ctx, t, PL_I32, rank, shape));
    *data = pl__data(*t);
    return PL_OK;
}

/* Tokens of w that are not in the cache, `most` of them. */
static int64_t tokens_to_run(const runner *w, int64_t most)
{
    const int64_t rest = w->end + w->drafted - w->past;
    return rest < most ? rest : most;
}

/* Rows of logits that are read. */
static int64_t rows_of(runner *const *batch, int64_t n)
{
    int64_t rows = n;
    for (int64_t i = 0; i < n; i++) rows += batch[i]->drafted;
    return rows;
}

/* The inputs for at most `most` tokens of each runner in `batch`, from where its cache ends. */
static pl_status set_inputs(const job *j, seat *s, runner **batch, int64_t n, int64_t most)
{
    int64_t total = 0, columns = 1, row = 0;
    for (int64_t i = 0; i < n; i++) {
        const runner *w = batch[i];
        total += tokens_to_run(w, most);
        if (w->at.n > columns) columns = w->at.n;
    }
    const int64_t shape[N_INPUTS][2] = {
        [IN_TOKENS] = {total},      [IN_POSITIONS] = {total}, [IN_OFFSETS] = {n + 1},
        [IN_BLOCKS] = {n, columns}, [IN_PAST] = {n},          [IN_LAST] = {rows_of(batch, n)}};
    int32_t *data[N_INPUTS], at = 0;
    for (int i = 0; i < N_INPUTS; i++)
        PL_TRY(input(s, i, i == IN_BLOCKS ? 2 : 1, shape[i], &data[i]));
    for (int64_t i = 0; i < n; i++) {
        runner *w = batch[i];
        const int64_t end = w->past + tokens_to_run(w, most);
        data[IN_OFFSETS][i] = at;
        data[IN_PAST][i] = (int32_t)w->past;
        for (int64_t k = 0; k < columns; k++)
            data[IN_BLOCKS][i * columns + k] = k < w->at.n ? w->at.blocks[k] : -1;
        for (; w->past < end; w->past++, at++) {
            data[IN_TOKENS][at] = pl__job_token(j, w, w->past);
            data[IN_POSITIONS][at] = (int32_t)w->past;
        }
        for (int64_t k = w->drafted; k >= 0; k--) data[IN_LAST][row++] = (int32_t)(at - 1 - k);
    }
    data[IN_OFFSETS][n] = at;
    return PL_OK;
}

/* What a plan gives must be logits [rows,V]; else they are released. */
static pl_status check_logits(const seat *s, int64_t rows, pl_tensor **logits)
{
    const pl_tensor *z = *logits;
    if (z->rank == 2 && z->shape[0] == rows && z->dtype == PL_F32) return PL_OK;
    pl_tensor_release(*logits);
    *logits = NULL;
    return pl__fail(s->ctx, PL_ERR_SHAPE, "generate: the plan must give float32 logits [B,V]");
}

/* Runs at most `most` tokens of each of the n runners in j->batch, which have their blocks. *logits
** is a new reference. */
static pl_status replay(job *j, int64_t n, int64_t most, pl_tensor **logits)
{
    *logits = NULL;
    PL_TRY(set_inputs(j, &j->own, j->batch, n, most));
    PL_TRY(pl_plan_run(j->g->plan, j->own.in, logits));
    j->r->steps++;
    return check_logits(&j->own, rows_of(j->batch, n), logits);
}

pl_status pl__job_replay_lane(const job *j, seat *s, runner **batch, int64_t n, pl_tensor **logits)
{
    *logits = NULL;
    PL_TRY(set_inputs(j, s, batch, n, INT64_MAX));
    PL_TRY(pl__lane_run(&s->lane, s->in, logits));
    return check_logits(s, rows_of(batch, n), logits);
}

pl_status pl__job_run(job *j, int64_t n, pl_tensor **logits)
{
    runner *one = j->batch[0];
    while (n == 1 && one->end - one->past > PREFILL_TOKENS) {
        PL_TRY(replay(j, 1, PREFILL_TOKENS, logits));
        pl_tensor_release(*logits);
        *logits = NULL;
    }
    return replay(j, n, INT64_MAX, logits);
}

/* ---- tokens ---------------------------------------------------------------------------------- */

pl_status pl__job_want_scratch(job *j, int64_t vocabulary)
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

/* The next token of runner w from a row of logits. */
static int32_t draw(const job *j, runner *w, const float *logits, int64_t scratch)
{
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
    r->tokens[at] = (int32_t)token;
    r->length[w->answer]++;
    w->end++;
    return (int32_t)token;
}

void pl__job_draw_one(const job *j, runner *w, const float *logits, int64_t scratch)
{
    const int32_t *guess = j->r->tokens + w->answer * j->r->max_tokens + j->r->length[w->answer];
    bool right = true;
    for (w->fresh = 0; right && w->fresh <= w->drafted; w->fresh++) {
        const int32_t expected = guess[w->fresh]; /* the draw is written over it */
        right = draw(j, w, logits + w->fresh * j->vocabulary, scratch) == expected;
    }
}

pl_status pl__job_draw(job *j, int64_t from, const pl_tensor *logits)
{
    PL_TRY(pl__job_want_scratch(j, logits->shape[1]));
    const float *z = pl__data(logits);
    const int64_t began = pl__profile_now(j->ctx), n = j->n_run - from;
    PL_PARALLEL_FOR(n * j->vocabulary * 8)
    for (int64_t i = from; i < j->n_run; i++)
        if (j->run[i].row >= 0)
            pl__job_draw_one(j, &j->run[i], z + j->run[i].row * j->vocabulary,
                             omp_get_thread_num());
    pl__profile_work(j->ctx, began, PL_WORK_DRAW, (pl_cost){.bytes = draw_bytes(j, n)});
    return PL_OK;
}

static bool is_stop(const job *j, int32_t token)
{
    for (int i = 0; i < j->o->n_stop; i++)
        if (j->o->stop[i] == token) return true;
    return false;
}

pl_status pl__job_ended(job *j, const runner *w, bool *end)
{
    pl_gen_result *r = j->r;
    const int64_t length = r->length[w->answer];
    const int32_t *answer = r->tokens + w->answer * r->max_tokens;
    *end = true;
    r->finish[w->answer] = PL_FINISH_STOP;
    if (is_stop(j, answer[length - 1])) return PL_OK;
    r->finish[w->answer] = PL_FINISH_TEXT;
    if (j->o->ends != NULL) {
        bool text = false;
        PL_TRY(j->o->ends(j->o->ends_data, answer, length, &text));
        if (text) return PL_OK;
    }
    r->finish[w->answer] = PL_FINISH_LENGTH;
    *end = length == r->max_tokens || (j->o->context > 0 && w->end >= j->o->context);
    return PL_OK;
}
