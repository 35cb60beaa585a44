/*
** lane.c - lanes of a plan: contexts below that of the plan; see lane.h.
*/
#include "graph/lane.h"

#include <string.h>

#include "base/mem.h"
#include "graph/plan.h"

/* Ops whose result shares the data of their first input. */
static bool is_view(pl_op_id op)
{
    return op == PL_OP_view || op == PL_OP_reshape;
}

int64_t pl__lane_constants(const pl_plan *plan)
{
    int64_t bytes = 0;
    for (int s = 0; s < plan->n_steps; s++) /* views of views come from such a one */
        if (is_view(plan->steps[s].op) && plan->constant[plan->steps[s].in[0]]) return INT64_MAX;
    for (int i = 0; i < plan->n_slots; i++)
        if (plan->constant[i]) bytes += (int64_t)pl_tensor_bytes(plan->slots[i]);
    return bytes;
}

/* A context that knows what the plan's does, without scopes, tape, recording and profile. */
static pl_ctx *context_below(const pl_ctx *above)
{
    pl_ctx *ctx = pl__mem_context(sizeof(pl_graph_floor));
    if (ctx == NULL) return NULL;
    ctx->first = above->first;
    ctx->mem.lender = (pl_ctx *)above;
    pl__tensor_floor(ctx)->hooks = pl__tensor_floor(above)->hooks;
    const pl_ops_floor *ops = pl__ops_floor(above);
    pl__ops_floor(ctx)->rows = ops->rows;
    pl__ops_floor(ctx)->f32 = ops->f32;
    pl__ops_floor(ctx)->f64 = ops->f64;
    pl__ops_floor(ctx)->gemm = ops->gemm;
    pl__graph_floor(ctx)->nan_check = pl__graph_floor(above)->nan_check;
    return ctx;
}

pl_status pl__lane_open(pl_plan *plan, pl_lane *lane)
{
    const size_t bytes = (size_t)plan->n_slots * sizeof *lane->slots;
    *lane = (pl_lane){.plan = plan, .slots = pl_alloc(plan->ctx, bytes)};
    if (lane->slots == NULL) return PL_ERR_NOMEM;
    lane->ctx = context_below(plan->ctx);
    if (lane->ctx == NULL) {
        pl__lane_close(lane);
        return pl__fail(plan->ctx, PL_ERR_NOMEM, "plan: no memory for a context beside");
    }
    for (int i = 0; i < plan->n_slots; i++)
        lane->slots[i] = plan->constant[i] ? plan->slots[i] : NULL;
    return PL_OK;
}

void pl__lane_close(pl_lane *lane)
{
    if (lane->plan != NULL) pl_free(lane->plan->ctx, lane->slots);
    if (lane->ctx != NULL) pl__mem_close(lane->ctx);
    *lane = (pl_lane){0};
}

pl_status pl__lane_run(pl_lane *lane, pl_tensor *const *inputs, pl_tensor **output)
{
    return pl__plan_replay(lane->plan, lane->ctx, lane->slots, inputs, output);
}

pl_status pl__lane_tell(const pl_lane *lane, pl_status st)
{
    return st == PL_OK ? PL_OK : pl__fail(lane->plan->ctx, st, "%s", pl_error(lane->ctx));
}
