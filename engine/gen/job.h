/*
** job.h - what the files of a generator share: a call of pl_generate as it goes on.
*/
#ifndef PL_GEN_JOB_H
#define PL_GEN_JOB_H

#include "gen/blocks.h"
#include "graph/lane.h"

#define PREFILL_TOKENS 2048 /* in one replay */

struct pl_generator {
    pl_ctx *ctx;
    pl_plan *plan;
    block_pool pool;
    int64_t vocabulary;
    int32_t *held; /* the text in held_at, for `reuse`; NULL: none */
    int64_t n_held;
    text_place held_at;
};

enum { IN_TOKENS, IN_POSITIONS, IN_OFFSETS, IN_BLOCKS, IN_PAST, IN_LAST, N_INPUTS };

/* One growing answer. */
typedef struct {
    int64_t answer; /* index into the result */
    int64_t prompt, sample;
    int64_t past, end;  /* positions in the cache, and of the text so far */
    int64_t row;        /* of logits that its next token is drawn from, the first where there are
                        ** guesses; -1: none */
    int64_t companions; /* answers to its prompt that enter with it */
    int64_t drafted;    /* tokens behind its text that are guesses */
    int64_t fresh;      /* tokens drawn in this step */
    int64_t reach;      /* guesses that are made next at most */
    text_place at;
} runner;

/* Where the plan is run: on all threads, or as a lane on one of them beside others. */
typedef struct {
    pl_ctx *ctx;
    pl_lane lane; /* of zeros when it is none */
    pl_tensor *in[N_INPUTS];
} seat;

/* A text that is kept for those to come. */
typedef struct {
    int64_t prompt; /* -1: what all begin with */
    int64_t length; /* 0: none */
    text_place at;
} kept_text;

typedef struct {
    pl_generator *g;
    pl_ctx *ctx;
    const pl_gen_options *o;
    const int32_t *tokens;
    const int64_t *offsets, *keys;
    int64_t n_prompts;
    pl_gen_result *r;
    int64_t slots, columns; /* answers at a time; blocks of a text at most */
    runner *run, *paused, **batch;
    int64_t n_run, n_paused;
    int32_t *table; /* [slots + 2, columns] */
    int32_t **free_rows;
    int64_t n_free_rows;
    int64_t next_prompt, next_sample; /* the next answer that waits */
    kept_text common, asked; /* what all begin with; a prompt whose answers are not all there */
    seat own;
    seat *lanes; /* [threads]; NULL: none yet */
    int n_lanes;
    bool grown;   /* a step of all answers was run on all threads: weights are packed */
    float *probs; /* [threads, V] */
    int32_t *heaps;
    int64_t vocabulary;
} job;

static inline int64_t prompt_length(const job *j, int64_t p)
{
    return j->offsets[p + 1] - j->offsets[p];
}

/* ---- request.c ---- */

pl_status pl__job_check(const job *j);
/* Positions of the cache that the longest answer to a prompt wants; its last token needs none. */
int64_t pl__job_longest(const job *j, int64_t p);
pl_status pl__gen_result_new(pl_ctx *ctx, pl_gen_result **out, int64_t n_prompts, int64_t samples,
                             int64_t max_tokens);

/* ---- step.c ---- */

/* The token at a position of an answer's text. */
int32_t pl__job_token(const job *j, const runner *w, int64_t at);
/* Runs the texts of the n runners in j->batch to their ends, guesses with them, one that is long in
** pieces. They have their blocks. *logits is a new reference, [.,V]: a row of each, and of each of
** its guesses. */
pl_status pl__job_run(job *j, int64_t n, pl_tensor **logits);
/* One replay of `seat` for the last token of the n runners in `batch`; else as pl__job_run. A
** failure's text is in the seat's context. */
pl_status pl__job_replay_lane(const job *j, seat *s, runner **batch, int64_t n, pl_tensor **logits);
/* A token for each runner from number `from` on that has a row of logits. */
pl_status pl__job_draw(job *j, int64_t from, const pl_tensor *logits);
/* Memory for drawing; once for a job. */
pl_status pl__job_want_scratch(job *j, int64_t vocabulary);
/* A token for one runner from its row, and from the next as long as guesses are drawn, with the
** memory number `scratch`, below the threads. */
void pl__job_draw_one(const job *j, runner *w, const float *logits, int64_t scratch);
/* Whether the runner's new token ends it; the result then says why. */
pl_status pl__job_ended(job *j, const runner *w, bool *end);

/* ---- draft.c ---- */

/* Guesses for all runners, which have blocks for their texts, and rows for each. */
void pl__job_draft(job *j);
/* What the runner drew counts token by token, until one ends it; the result then says why. */
pl_status pl__job_settle(job *j, runner *w, bool *end);

/* ---- lanes.c ---- */

/* A token for each runner; all have one to run. */
pl_status pl__job_decode(job *j);
void pl__job_close_lanes(job *j);

#endif
