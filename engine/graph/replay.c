/*
** replay.c - running a plan: the same ops by the same door, without a tape.
**
** Sizes may differ where the ops' shape rules allow it, so one recording with a few rows serves any
** number of rows. Results are freed after their last use.
*/
#include "graph/plan.h"

static void release_used(const pl_plan *plan, pl_tensor **slots, int s, int n_in, int n_out)
{
    const plan_step *step = &plan->steps[s];
    for (int k = 0; k < n_in + n_out; k++) {
        const int slot = k < n_in ? step->in[k] : step->out[k - n_in];
        if (slot < plan->n_inputs || plan->constant[slot] || slot == plan->output) continue;
        if (plan->last_use[slot] != s) continue;
        pl_tensor_release(slots[slot]);
        slots[slot] = NULL;
    }
}

pl_status pl__plan_replay(const pl_plan *plan, pl_ctx *ctx, pl_tensor **slots,
                          pl_tensor *const *inputs, pl_tensor **output)
{
    pl_status st = PL_OK;
    *output = NULL;
    for (int i = 0; i < plan->n_inputs; i++) {
        slots[i] = inputs[i];
        pl_tensor_retain(inputs[i]);
    }
    for (int s = 0; s < plan->n_steps; s++) {
        const plan_step *step = &plan->steps[s];
        const pl_op_row *row = pl_op_get(ctx, step->op);
        pl_tensor *in[PL_MAX_IN], *out[PL_MAX_OUT];
        for (int i = 0; i < row->n_in; i++) in[i] = step->in[i] >= 0 ? slots[step->in[i]] : NULL;
        PL_GO(pl_op(ctx, step->op, in, step->param, out));
        for (int i = 0; i < row->n_out; i++) slots[step->out[i]] = out[i];
        release_used(plan, slots, s, row->n_in, row->n_out);
    }
    *output = slots[plan->output];
    pl_tensor_retain(*output);
done:
    pl__plan_drop_moment(plan, slots);
    return st;
}

pl_status pl_plan_run(pl_plan *plan, pl_tensor *const *inputs, pl_tensor **output)
{
    const bool grad = pl_set_grad_enabled(plan->ctx, false);
    const pl_status st = pl__plan_replay(plan, plan->ctx, plan->slots, inputs, output);
    pl_set_grad_enabled(plan->ctx, grad);
    return st;
}
