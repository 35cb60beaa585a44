/*
** lanes.c - a step of decoding: on all threads op by op, or for a narrow model in lanes.
**
** Of a narrow model each op is so short that most of a step goes into threads waiting for each
** other at its end. In lanes each thread takes its part of the answers through the whole step, and
** they meet once. Each reads all weights then, so they must be small enough for a core's cache. A
** row has the same bits whatever stands beside it, so an answer depends on none of that.
*/
#include <omp.h>

#include "gen/job.h"
#include "graph/profile.h"

#define LANE_WEIGHTS ((int64_t)4 << 20) /* bytes of weights up to which lanes are faster */
#define LANE_WORK ((int64_t)1 << 17)    /* multiplications of a step from which they are */

/* How many lanes the step goes in; 1: on all threads, as while its ops are profiled. */
static int lanes_for(const job *j)
{
    const int threads = omp_in_parallel() ? 1 : omp_get_max_threads();
    if (threads < 2 || j->n_run < 2 || !j->grown || pl__profile_now(j->ctx) != 0) return 1;
    int64_t weights = pl__lane_constants(j->g->plan);
    for (int i = 0; i < j->g->pool.n_caches; i++)
        weights -= (int64_t)pl_tensor_bytes(j->g->pool.caches[i]);
    const int64_t each = weights / (int64_t)sizeof(float);
    if (weights > LANE_WEIGHTS || each * j->n_run < LANE_WORK) return 1;
    return j->n_run < threads ? (int)j->n_run : threads;
}

static pl_status open_lanes(job *j, int n)
{
    if (j->lanes == NULL) {
        const int threads = omp_get_max_threads();
        j->lanes = pl_calloc(j->ctx, (size_t)threads, sizeof *j->lanes);
        if (j->lanes == NULL) return PL_ERR_NOMEM;
    }
    for (; j->n_lanes < n; j->n_lanes++) {
        seat *s = &j->lanes[j->n_lanes];
        PL_TRY(pl__lane_open(j->g->plan, &s->lane));
        s->ctx = s->lane.ctx;
    }
    return PL_OK;
}

void pl__job_close_lanes(job *j)
{
    for (int l = 0; l < j->n_lanes; l++) {
        for (int i = 0; i < N_INPUTS; i++) pl_tensor_release(j->lanes[l].in[i]);
        pl__lane_close(&j->lanes[l].lane);
    }
    pl_free(j->ctx, j->lanes);
}

/* Lane l of n: a token for each runner of its part. */
static pl_status lane_step(const job *j, int l, int n)
{
    const int64_t from = j->n_run * l / n, to = j->n_run * (l + 1) / n;
    pl_tensor *logits;
    PL_TRY(pl__job_replay_lane(j, &j->lanes[l], j->batch + from, to - from, &logits));
    const float *z = pl__data(logits);
    const int64_t first = j->run[from].row;
    for (int64_t i = from; i < to; i++)
        pl__job_draw_one(j, &j->run[i], z + (j->run[i].row - first) * j->vocabulary, l);
    pl_tensor_release(logits);
    return PL_OK;
}

static pl_status in_lanes(job *j, int n)
{
    int failed = n;
    pl_status failure = PL_OK;
    PL_TRY(pl__job_want_scratch(j, j->g->vocabulary));
    PL_TRY(open_lanes(j, n));
#pragma omp parallel for schedule(static) num_threads(n)
    for (int l = 0; l < n; l++) {
        const pl_status st = lane_step(j, l, n);
        if (st == PL_OK) continue;
#pragma omp critical(pl_lane_failed)
        if (l < failed) {
            failed = l;
            failure = st;
        }
    }
    j->r->steps++;
    return failure == PL_OK ? PL_OK : pl__lane_tell(&j->lanes[failed].lane, failure);
}

pl_status pl__job_decode(job *j)
{
    const int n = lanes_for(j);
    pl_tensor *logits;
    if (n > 1) return in_lanes(j, n);
    PL_TRY(pl__job_run(j, j->n_run, &logits));
    const pl_status st = pl__job_draw(j, 0, logits);
    pl_tensor_release(logits);
    j->grown = true;
    return st;
}
