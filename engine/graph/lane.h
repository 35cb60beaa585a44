/*
** lane.h - running one plan on several threads at once, each on its own part of a batch.
**
** A lane has what a running plan writes to: slots, and a context for the ops, whose memory comes
** from the plan's context, so that what is counted and limited there stays so. Constants it only
** reads; what it finds no packed copy of it reads as it is (ops/linear.c).
*/
#ifndef PL_GRAPH_LANE_H
#define PL_GRAPH_LANE_H

#include "graph/graph.h"

typedef struct {
    const pl_plan *plan;
    pl_ctx *ctx; /* its inputs are made there */
    pl_tensor **slots;
} pl_lane;

/* Bytes of the plan's constants, each read once by a lane, of which it shares no data with others
** through views; INT64_MAX when it does, and lanes must not be. */
int64_t pl__lane_constants(const pl_plan *plan);
/* The lane is for one thread at a time and ends before the plan. After a failure there is none. */
pl_status pl__lane_open(pl_plan *plan, pl_lane *lane);
void pl__lane_close(pl_lane *lane); /* of zeros is fine */
/* As pl_plan_run, beside other lanes of the plan, while nothing else uses its context. A failure's
** text is the lane's until pl__lane_tell. */
pl_status pl__lane_run(pl_lane *lane, pl_tensor *const *inputs, pl_tensor **output);
/* The text of the lane's failure becomes that of the plan's context; returns st. */
pl_status pl__lane_tell(const pl_lane *lane, pl_status st);

#endif
