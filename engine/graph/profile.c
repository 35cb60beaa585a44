/*
** profile.c - the running account of a profile: rows by stage and op, stages, single events.
**
** A stage is an open scope that is no frame, or what pl__profile_enter names; stages lie in one
** another, and a call counts for the innermost. Rows are added up as calls end, so a long run needs
** no more memory than a short one; of single events, for a trace, as many are kept as were asked
** for. The least time of a call by the limits is the greater of its multiplications and its bytes
** at their rates, and is added up call by call.
*/
#include "graph/profile.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define MAX_STAGES 128 /* names; what comes later counts for the first */
#define MAX_DEPTH 64
#define KINDS ((PL_OP_COUNT + PL_WORK_COUNT) * 2)

static const char *const work_names[PL_WORK_COUNT] = {
    [PL_WORK_ADAMW] = "adamw",
    [PL_WORK_MUON] = "muon",
    [PL_WORK_GRAD_NORM] = "gradient norm",
    [PL_WORK_AVERAGE] = "average",
    [PL_WORK_DRAW] = "drawing tokens",
    [PL_WORK_CACHE_COPY] = "cache copy",
};

typedef struct {
    char name[48];
    int64_t calls, total, nested, ops; /* nanoseconds */
    int32_t row_of[KINDS];             /* from 1; 0: none */
} stage;

typedef struct {
    int stage;
    int64_t id; /* of the scope, or of the last one opened before */
    int64_t began, nested, ops;
} open_stage;

typedef struct {
    int32_t kind; /* -1: a stage */
    int32_t stage;
    int64_t began, took;
} event;

struct pl_profile {
    pl_limits limits;
    int64_t began;
    stage *stages;
    int n_stages;
    open_stage open[MAX_DEPTH];
    int depth, beyond; /* stages too deep to be told apart */
    pl_profile_row *rows;
    int64_t *longest; /* of each row: the time of the call that is its example */
    int n_rows, room;
    event *events;
    int64_t n_events, most_events, lost;
};

int64_t pl__profile_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static pl_profile *of(const pl_ctx *ctx)
{
    return pl__graph_floor(ctx)->profile;
}

static void keep_event(pl_profile *p, int kind, int stage_of, int64_t began, int64_t took)
{
    if (p->n_events < p->most_events)
        p->events[p->n_events++] = (event){kind, stage_of, began - p->began, took};
    else p->lost++;
}

/* ---- stages ---------------------------------------------------------------------------------- */

static int find_stage(pl_profile *p, const char *name)
{
    for (int i = 0; i < p->n_stages; i++)
        if (strncmp(p->stages[i].name, name, sizeof p->stages[i].name - 1) == 0) return i;
    if (p->n_stages == MAX_STAGES) return 0;
    stage *s = &p->stages[p->n_stages];
    snprintf(s->name, sizeof s->name, "%s", name);
    return p->n_stages++;
}

static void enter(pl_profile *p, const char *name, int64_t id)
{
    if (p->depth == MAX_DEPTH) {
        p->beyond++;
        return;
    }
    p->open[p->depth++] =
        (open_stage){.stage = find_stage(p, name), .id = id, .began = pl__profile_clock()};
}

static void leave(pl_profile *p)
{
    const open_stage *s = &p->open[--p->depth];
    const int64_t took = pl__profile_clock() - s->began;
    stage *to = &p->stages[s->stage];
    to->calls++;
    to->total += took;
    to->nested += s->nested;
    to->ops += s->ops;
    if (p->depth > 0) p->open[p->depth - 1].nested += took;
    keep_event(p, -1, s->stage, s->began, took);
}

void pl__profile_enter(pl_ctx *ctx, const char *name)
{
    if (of(ctx) != NULL) enter(of(ctx), name, pl__tensor_floor(ctx)->opened);
}

void pl__profile_leave(pl_ctx *ctx)
{
    pl_profile *p = of(ctx);
    if (p == NULL) return;
    if (p->beyond > 0) p->beyond--;
    else if (p->depth > 1) leave(p);
}

void pl__profile_scope_opened(pl_ctx *ctx, const pl_scope *scope)
{
    if (of(ctx) != NULL && !scope->frame) enter(of(ctx), scope->name, scope->id);
}

void pl__profile_scope_closing(pl_ctx *ctx, const pl_scope *scope)
{
    pl_profile *p = of(ctx);
    if (p == NULL) return;
    while (p->depth > 1 && p->open[p->depth - 1].id >= scope->id) leave(p);
    p->beyond = 0;
}

/* ---- calls ----------------------------------------------------------------------------------- */

static const char *kind_name(const pl_ctx *ctx, int kind)
{
    const int what = kind / 2;
    return what < PL_OP_COUNT ? pl_op_get(ctx, (pl_op_id)what)->name
                              : work_names[what - PL_OP_COUNT];
}

/* The row of a kind in a stage; NULL when there is no memory for one more. */
static pl_profile_row *row_of(pl_ctx *ctx, int stage_of, int kind, int64_t **longest)
{
    pl_profile *p = of(ctx);
    int32_t *at = &p->stages[stage_of].row_of[kind];
    if (*at == 0) {
        if (p->n_rows == p->room) {
            const int room = p->room > 0 ? 2 * p->room : 64;
            pl_profile_row *rows = pl_realloc(ctx, p->rows, sizeof *rows * (size_t)room);
            if (rows == NULL) return NULL;
            p->rows = rows;
            int64_t *times = pl_realloc(ctx, p->longest, sizeof *times * (size_t)room);
            if (times == NULL) return NULL;
            p->longest = times;
            p->room = room;
        }
        p->longest[p->n_rows] = -1;
        p->rows[p->n_rows++] = (pl_profile_row){.stage = p->stages[stage_of].name,
                                                .name = kind_name(ctx, kind),
                                                .backward = kind % 2 != 0};
        *at = p->n_rows;
    }
    *longest = &p->longest[*at - 1];
    return &p->rows[*at - 1];
}

static double seconds_at(double rate, double amount)
{
    return rate > 0 ? amount / rate : 0;
}

/* Of the multiplications alone. */
static double peak_seconds(const pl_limits *l, const pl_cost *c)
{
    return seconds_at(c->half ? l->bfloat16 : l->float32, c->flops - c->split) +
           seconds_at(l->split, c->split);
}

static double least_seconds(const pl_limits *l, const pl_cost *c)
{
    const double a = peak_seconds(l, c);
    const double b = seconds_at(c->bytes <= (double)l->cache_bytes ? l->cache : l->copy, c->bytes);
    return a > b ? a : b;
}

/* NULL: nobody profiles, or it began in the middle of the call. */
static pl_profile_row *account(pl_ctx *ctx, int64_t began, int kind, const pl_cost *cost,
                               bool *longest)
{
    pl_profile *p = of(ctx);
    if (p == NULL || began < p->began) return NULL;
    const int64_t took = pl__profile_clock() - began;
    open_stage *s = &p->open[p->depth - 1];
    int64_t *most;
    pl_profile_row *row = row_of(ctx, s->stage, kind, &most);
    s->ops += took;
    keep_event(p, kind, s->stage, began, took);
    if (row == NULL) return NULL;
    row->calls++;
    row->seconds += 1e-9 * (double)took;
    row->flops += cost->flops;
    row->split += cost->split;
    row->bytes += cost->bytes;
    row->peak += peak_seconds(&p->limits, cost);
    row->least += least_seconds(&p->limits, cost);
    *longest = took > *most;
    if (*longest) *most = took;
    return row;
}

void pl__profile_op(pl_ctx *ctx, int64_t began, const pl_call *c, bool backward)
{
    bool longest;
    if (began == 0 || of(ctx) == NULL) return;
    const pl_cost cost = pl__call_cost(c, backward);
    pl_profile_row *row = account(ctx, began, 2 * (int)c->op + backward, &cost, &longest);
    if (row == NULL || !longest) return;
    row->example[0] = '\0';
    for (int i = 0, at = 0; i < c->row->n_in; i++) {
        char shape[PL_SHAPE_TEXT];
        if (c->in[i] == NULL || at >= (int)sizeof row->example) continue;
        at += snprintf(row->example + at, sizeof row->example - (size_t)at, "%s%s",
                       at > 0 ? " " : "", pl__shape_text(c->in[i], shape));
    }
}

void pl__profile_work(pl_ctx *ctx, int64_t began, pl_work work, pl_cost cost)
{
    bool longest;
    if (began != 0) account(ctx, began, 2 * (PL_OP_COUNT + (int)work), &cost, &longest);
}

/* ---- the door -------------------------------------------------------------------------------- */

void pl_profile_end(pl_ctx *ctx)
{
    pl_profile *p = of(ctx);
    if (p == NULL) return;
    pl__graph_floor(ctx)->profile = NULL;
    pl_free(ctx, p->stages);
    pl_free(ctx, p->rows);
    pl_free(ctx, p->longest);
    pl_free(ctx, p->events);
    pl_free(ctx, p);
}

pl_status pl_profile_begin(pl_ctx *ctx, const pl_limits *limits, int64_t events)
{
    int64_t bytes;
    if (events < 0 || !pl__mul(events, sizeof(event), &bytes))
        return pl__fail(ctx, PL_ERR_ARG, "profile: %lld events to keep", (long long)events);
    pl_profile_end(ctx);
    pl_profile *p = pl_calloc(ctx, 1, sizeof *p);
    if (p == NULL) return PL_ERR_NOMEM;
    pl__graph_floor(ctx)->profile = p;
    p->limits = *limits;
    p->most_events = events;
    p->stages = pl_calloc(ctx, MAX_STAGES, sizeof *p->stages);
    p->events = pl_alloc(ctx, (size_t)bytes);
    if (p->stages == NULL || p->events == NULL) {
        pl_profile_end(ctx);
        return PL_ERR_NOMEM;
    }
    enter(p, "outside of scopes", 0);
    p->began = p->open[0].began;
    return PL_OK;
}

bool pl_profile_on(const pl_ctx *ctx)
{
    return of(ctx) != NULL;
}

int64_t pl_profile_count(const pl_ctx *ctx, pl_profile_list list)
{
    const pl_profile *p = of(ctx);
    if (p == NULL) return 0;
    switch (list) {
    case PL_PROFILE_ROWS: return p->n_rows;
    case PL_PROFILE_STAGES: return p->n_stages;
    case PL_PROFILE_EVENTS: return p->n_events;
    default: return p->lost;
    }
}

const pl_profile_row *pl_profile_get_row(const pl_ctx *ctx, int64_t i)
{
    return &of(ctx)->rows[i];
}

pl_profile_stage pl_profile_get_stage(const pl_ctx *ctx, int64_t i)
{
    const pl_profile *p = of(ctx);
    stage s = p->stages[i];
    const int64_t now = pl__profile_clock();
    for (int k = 0; k < p->depth; k++) { /* those that are open still */
        const open_stage *o = &p->open[k];
        if (o->stage != i) continue;
        s.calls++;
        s.total += now - o->began;
        s.nested += o->nested + (k + 1 < p->depth ? now - p->open[k + 1].began : 0);
        s.ops += o->ops;
    }
    return (pl_profile_stage){.name = p->stages[i].name,
                              .calls = s.calls,
                              .seconds = 1e-9 * (double)s.total,
                              .nested = 1e-9 * (double)s.nested,
                              .ops = 1e-9 * (double)s.ops};
}

pl_profile_event pl_profile_get_event(const pl_ctx *ctx, int64_t i)
{
    const pl_profile *p = of(ctx);
    const event *e = &p->events[i];
    return (pl_profile_event){.name = e->kind < 0 ? NULL : kind_name(ctx, e->kind),
                              .stage = p->stages[e->stage].name,
                              .backward = e->kind >= 0 && e->kind % 2 != 0,
                              .began = 1e-9 * (double)e->began,
                              .seconds = 1e-9 * (double)e->took};
}
