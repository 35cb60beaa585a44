/*
** plan.c - recording a run of ops, to be replayed from C with other inputs.
**
** While a plan is recorded every op that runs is also written down. A tensor the plan has not seen
** before is a constant (a weight, a cache) and is held. replay.c runs a plan.
*/
#include "graph/plan.h"

#include <string.h>

static pl_status add_slot(pl_plan *plan, pl_tensor *t, bool constant, int *slot)
{
    if (plan->n_slots == plan->slots_room) {
        const int room = plan->slots_room > 0 ? 2 * plan->slots_room : 64;
        pl_tensor **slots = pl_realloc(plan->ctx, plan->slots, sizeof *slots * (size_t)room);
        if (slots == NULL) return PL_ERR_NOMEM;
        plan->slots = slots;
        int *uses = pl_realloc(plan->ctx, plan->last_use, sizeof *uses * (size_t)room);
        if (uses == NULL) return PL_ERR_NOMEM;
        plan->last_use = uses;
        bool *constants = pl_realloc(plan->ctx, plan->constant, sizeof *constants * (size_t)room);
        if (constants == NULL) return PL_ERR_NOMEM;
        plan->constant = constants;
        plan->slots_room = room;
    }
    if (t != NULL) pl_tensor_retain(t);
    *slot = plan->n_slots++;
    plan->slots[*slot] = t;
    plan->last_use[*slot] = -1;
    plan->constant[*slot] = constant;
    return PL_OK;
}

static pl_status find_slot(pl_plan *plan, pl_tensor *t, int *slot)
{
    *slot = -1;
    if (t == NULL) return PL_OK;
    for (int i = plan->n_slots - 1; i >= 0; i--)
        if (plan->slots[i] == t) {
            *slot = i;
            return PL_OK;
        }
    return add_slot(plan, t, true, slot);
}

void pl_plan_free(pl_plan *plan)
{
    if (plan == NULL) return;
    for (int i = 0; i < plan->n_slots; i++) pl_tensor_release(plan->slots[i]);
    pl_free(plan->ctx, plan->slots);
    pl_free(plan->ctx, plan->last_use);
    pl_free(plan->ctx, plan->constant);
    pl_free(plan->ctx, plan->steps);
    pl_free(plan->ctx, plan);
}

pl_status pl_plan_begin(pl_ctx *ctx, pl_tensor *const *inputs, int n)
{
    if (pl__graph_floor(ctx)->recording != NULL)
        return pl__fail(ctx, PL_ERR_ARG, "plan: one is being recorded already");
    pl_plan *plan = pl_calloc(ctx, 1, sizeof *plan);
    if (plan == NULL) return PL_ERR_NOMEM;
    plan->ctx = ctx;
    plan->n_inputs = n;
    pl_status st = PL_OK;
    for (int i = 0, slot; i < n && st == PL_OK; i++) st = add_slot(plan, inputs[i], false, &slot);
    if (st != PL_OK) pl_plan_free(plan);
    else pl__graph_floor(ctx)->recording = plan;
    return st;
}

pl_status pl__plan_record(pl_ctx *ctx, const pl_call *c)
{
    pl_plan *plan = pl__graph_floor(ctx)->recording;
    if (plan->n_steps == plan->steps_room) {
        const int room = plan->steps_room > 0 ? 2 * plan->steps_room : 64;
        plan_step *steps = pl_realloc(ctx, plan->steps, sizeof *steps * (size_t)room);
        if (steps == NULL) return PL_ERR_NOMEM;
        plan->steps = steps;
        plan->steps_room = room;
    }
    plan_step *step = &plan->steps[plan->n_steps];
    memset(step, 0, sizeof *step);
    step->op = c->op;
    memcpy(step->param, c->param, sizeof step->param);
    for (int i = 0; i < c->row->n_in; i++) PL_TRY(find_slot(plan, c->in[i], &step->in[i]));
    for (int i = 0; i < c->row->n_out; i++) PL_TRY(add_slot(plan, c->out[i], false, &step->out[i]));
    plan->n_steps++;
    return PL_OK;
}

void pl_plan_cancel(pl_ctx *ctx)
{
    pl_plan *plan = pl__graph_floor(ctx)->recording;
    pl__graph_floor(ctx)->recording = NULL;
    pl_plan_free(plan);
}

void pl__plan_drop_moment(const pl_plan *plan, pl_tensor **slots)
{
    for (int i = 0; i < plan->n_slots; i++)
        if (!plan->constant[i]) {
            pl_tensor_release(slots[i]);
            slots[i] = NULL;
        }
}

pl_status pl_plan_end(pl_ctx *ctx, pl_tensor *output, pl_plan **out)
{
    pl_plan *plan = pl__graph_floor(ctx)->recording;
    *out = NULL;
    if (plan == NULL) return pl__fail(ctx, PL_ERR_ARG, "plan: none is being recorded");
    pl__graph_floor(ctx)->recording = NULL;
    plan->output = -1;
    for (int i = 0; i < plan->n_slots; i++)
        if (plan->slots[i] == output && !plan->constant[i] && i >= plan->n_inputs) plan->output = i;
    if (plan->output < 0) {
        pl_plan_free(plan);
        return pl__fail(ctx, PL_ERR_ARG, "plan: the output was not made while it was recorded");
    }
    for (int s = 0; s < plan->n_steps; s++) {
        const pl_op_row *row = pl_op_get(ctx, plan->steps[s].op);
        for (int i = 0; i < row->n_in; i++)
            if (plan->steps[s].in[i] >= 0) plan->last_use[plan->steps[s].in[i]] = s;
        for (int i = 0; i < row->n_out; i++) /* a result nobody reads goes at once */
            plan->last_use[plan->steps[s].out[i]] = s;
    }
    plan->columns = output->rank > 0 ? output->shape[output->rank - 1] : 1;
    pl__plan_drop_moment(plan, plan->slots);
    *out = plan;
    return PL_OK;
}

int64_t pl_plan_columns(const pl_plan *plan)
{
    return plan->columns;
}
