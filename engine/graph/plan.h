/*
** plan.h - the inside of a plan, for recording (plan.c) and replaying (replay.c, lane.c) alone.
*/
#ifndef PL_GRAPH_PLAN_H
#define PL_GRAPH_PLAN_H

#include "graph/graph.h"

typedef struct {
    pl_op_id op;
    int in[PL_MAX_IN], out[PL_MAX_OUT]; /* slots; -1: absent */
    pl_param param[PL_MAX_PARAM];
} plan_step;

struct pl_plan {
    pl_ctx *ctx;
    pl_tensor **slots; /* inputs, constants and results; in a replay, the present ones */
    int *last_use;     /* step after which a result may go; -1 for inputs and constants */
    bool *constant;
    int n_slots, slots_room;
    plan_step *steps;
    int n_steps, steps_room;
    int n_inputs, output;
    int64_t columns; /* of the output, as recorded */
};

/* As pl_plan_run, in a context whose tape is off: results are its tensors, and stand in `slots`,
** which has the plan's constants. */
pl_status pl__plan_replay(const pl_plan *plan, pl_ctx *ctx, pl_tensor **slots,
                          pl_tensor *const *inputs, pl_tensor **output);
/* Everything in `slots` that stands for a moment is let go; constants stay. */
void pl__plan_drop_moment(const pl_plan *plan, pl_tensor **slots);

#endif
