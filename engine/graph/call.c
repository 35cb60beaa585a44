/*
** call.c - running one op: checks that hold for every op, the variant, the tape, the
** watchdog, the profile.
*/
#include <math.h>
#include <stdio.h>

#include "base/thread.h"
#include "graph/profile.h"

void pl_set_nan_check(pl_ctx *ctx, bool on)
{
    pl__graph_floor(ctx)->nan_check = on;
}

/* Presence, liveness and dtype class of the inputs; *dtype is the float one they share. */
static pl_status check_inputs(pl_call *c, pl_dtype *dtype)
{
    bool found = false;
    *dtype = PL_F32;
    for (int i = 0; i < c->row->n_in; i++) {
        const pl_input_row *want = &c->row->in[i];
        const pl_tensor *t = c->in[i];
        if (t == NULL) {
            if (want->optional) continue;
            return pl__op_fail(c, PL_ERR_ARG, "input '%s' is missing", want->name);
        }
        PL_TRY(pl_tensor_check(c->ctx, t));
        const bool integer = t->dtype == PL_I32;
        if (integer != want->integer && !(integer && want->any))
            return pl__op_fail(c, PL_ERR_DTYPE, "%s is %s, %s wanted%s", want->name,
                               pl_dtype_name(t->dtype), want->integer ? "int32" : "a float dtype",
                               integer ? "; cast makes it float32" : "");
        if (integer) continue;
        if (pl__kept(t->dtype)) {
            if (want->kept) continue;
            return pl__op_fail(c, PL_ERR_DTYPE,
                               "%s is %s, a kept dtype, which is not read here; cast makes it "
                               "float32",
                               want->name, pl_dtype_name(t->dtype));
        }
        if (found && t->dtype != *dtype)
            return pl__op_fail(c, PL_ERR_DTYPE, "%s is %s, but an input before it is %s",
                               want->name, pl_dtype_name(t->dtype), pl_dtype_name(*dtype));
        *dtype = t->dtype;
        found = true;
    }
    return PL_OK;
}

static bool all_finite(const pl_tensor *t)
{
    bool fine = true;
    if (t->dtype == PL_F32) {
        const float *x = pl__data(t);
        for (int64_t i = 0; i < t->count; i++) fine &= isfinite(x[i]) != 0;
    } else if (t->dtype == PL_F64) {
        const double *x = pl__data(t);
        for (int64_t i = 0; i < t->count; i++) fine &= isfinite(x[i]) != 0;
    }
    return fine;
}

/* The watchdog: names the op, and its inputs with their shapes and whether they were sound. */
static pl_status check_finite(pl_call *c)
{
    for (int i = 0; i < c->row->n_out; i++) {
        if (all_finite(c->out[i])) continue;
        char text[PL_ERROR_MAX / 2];
        int at = 0;
        text[0] = '\0';
        for (int k = 0; k < c->row->n_in && at < (int)sizeof text - 128; k++) {
            char shape[PL_SHAPE_TEXT];
            const pl_tensor *t = c->in[k];
            if (t == NULL) continue;
            at += snprintf(text + at, sizeof text - (size_t)at, "%s%s %s%s%s%s", at ? ", " : "",
                           c->row->in[k].name, t->name, t->name[0] ? " " : "",
                           pl__shape_text(t, shape), all_finite(t) ? "" : " (itself not finite)");
        }
        return pl__op_fail(c, PL_ERR_NONFINITE, "made a NaN or an infinity in '%s' from %s",
                           c->row->out[i], text);
    }
    return PL_OK;
}

pl_status pl_op(pl_ctx *ctx, pl_op_id op, pl_tensor *const *in, const pl_param *param,
                pl_tensor **out)
{
    const pl_graph_floor *graph = pl__graph_floor(ctx);
    pl_call c = {.ctx = ctx, .op = op, .row = pl_op_get(ctx, op)};
    const int64_t began = pl__profile_now(ctx);
    pl_dtype dtype;
    pl_status st = PL_OK;
    for (int i = 0; i < c.row->n_in; i++) c.in[i] = in[i];
    for (int i = 0; i < c.row->n_param; i++)
        c.param[i] = param != NULL ? param[i] : c.row->param[i].fallback;
    for (int i = 0; i < c.row->n_out; i++) out[i] = NULL;
    PL_GO(pl__check_interrupt(ctx));
    PL_GO(check_inputs(&c, &dtype));
    if (graph->enabled && !(c.row->flags & PL_OPF_NOGRAD))
        for (int i = 0; i < c.row->n_in; i++)
            c.grad = c.grad || (c.in[i] != NULL && c.in[i]->requires_grad);

    const pl_op_impl *impl = pl__ops_for(ctx, dtype)->impl[op];
    PL_GO(impl->shape(&c));
    pl__stop_set(&ctx->interrupted);
    st = impl->forward(&c);
    pl__stop_set(NULL);
    PL_GO(st);
    PL_GO(pl__check_interrupt(ctx)); /* tiles may have been left out */
    if (graph->nan_check) PL_GO(check_finite(&c));
    if (graph->recording != NULL) PL_GO(pl__plan_record(ctx, &c));
    if (c.grad) PL_GO(pl__tape_record(ctx, &c));
    if (began != 0) pl__profile_op(ctx, began, &c, false);
done:
    pl__call_release(&c, st != PL_OK);
    if (st != PL_OK) return st;
    if (!c.grad)
        for (int i = 0; i < PL_MAX_SAVED; i++) pl_tensor_release(c.saved[i]);
    for (int i = 0; i < c.row->n_out; i++) out[i] = c.out[i];
    return PL_OK;
}
