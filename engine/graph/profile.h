/*
** profile.h - where the time goes: ops and other work with what they multiply and move, by stage.
**
** Off, a call costs one look at a pointer. What is measured is in perilune.h (pl_profile_begin).
*/
#ifndef PL_GRAPH_PROFILE_H
#define PL_GRAPH_PROFILE_H

#include "graph/graph.h"

/* Work that is no op. */
typedef enum {
    PL_WORK_ADAMW,
    PL_WORK_MUON,
    PL_WORK_GRAD_NORM,
    PL_WORK_AVERAGE,
    PL_WORK_DRAW,
    PL_WORK_CACHE_COPY,
    PL_WORK_COUNT
} pl_work;

/* Multiplications and additions of a call's products and attention, and the bytes it must move,
** each operand once, by the shapes alone; split: of flops, those of split products, as counted. */
typedef struct {
    double flops, split, bytes;
    bool half; /* its products take bfloat16 */
} pl_cost;

int64_t pl__profile_clock(void);

/* Nanoseconds of a clock when somebody profiles, else 0. */
static inline int64_t pl__profile_now(const pl_ctx *ctx)
{
    return pl__graph_floor(ctx)->profile != NULL ? pl__profile_clock() : 0;
}

/* A call that began at `began` (0: nobody profiled then) has ended well. */
void pl__profile_op(pl_ctx *ctx, int64_t began, const pl_call *c, bool backward);
void pl__profile_work(pl_ctx *ctx, int64_t began, pl_work work, pl_cost cost);

/* A stage that is no scope; leave once for each enter. */
void pl__profile_enter(pl_ctx *ctx, const char *name);
void pl__profile_leave(pl_ctx *ctx);
/* Of scopes that are no frames: each is a stage. */
void pl__profile_scope_opened(pl_ctx *ctx, const pl_scope *scope);
void pl__profile_scope_closing(pl_ctx *ctx, const pl_scope *scope);

pl_cost pl__call_cost(const pl_call *c, bool backward);

#endif
