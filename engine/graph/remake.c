/*
** remake.c - what backward reads and the tape did not keep as it was.
**
** Activations and norms whose inputs are kept are run a second time, the same bits, just before the
** backward of the product behind them. What was kept in bfloat16 is float32 again.
*/
#include "graph/tape.h"

#include "base/thread.h"
#include "graph/profile.h"

/* As float32, in the shape of `like`, whose values these are. */
static pl_status widen(pl_ctx *ctx, const pl_tensor *rounded, const pl_tensor *like,
                       pl_tensor **out)
{
    if (rounded == NULL || *out != NULL) return PL_OK;
    PL_TRY(pl__tensor_new_free(ctx, out, PL_F32, like->rank, like->shape));
    pl__ops_for(ctx, PL_F32)
        ->kernels.dequantise(PL_BF16, rounded->count, pl__data(rounded), pl__data(*out));
    (*out)->requires_grad = like->requires_grad;
    return PL_OK;
}

pl_status pl__node_check_versions(pl_ctx *ctx, const pl_node *node)
{
    const pl_call *c = &node->call;
    const char *name = NULL;
    for (int i = 0; i < node->n_in; i++)
        if (pl__node_reads_in(node, i) && c->in[i] != NULL && node->wide[i] == NULL &&
            pl_tensor_version(c->in[i]) != node->in_version[i])
            name = c->row->in[i].name;
    for (int i = 0; i < node->n_out && pl__node_keeps_out(node); i++)
        if (pl_tensor_version(c->out[i]) != node->out_version[i]) name = c->row->out[i];
    if (name == NULL) return PL_OK;
    return pl__fail(ctx, PL_ERR_GRAD,
                    "backward: '%s' of %s was written to after the op ran, so its gradient cannot "
                    "be told; run the forward pass again",
                    name, c->row->name);
}

static void swap(pl_tensor **a, pl_tensor **b)
{
    pl_tensor *c = *a;
    if (*b == NULL) return;
    *a = *b;
    *b = c;
}

void pl__node_swap_wide(pl_node *node)
{
    for (int i = 0; i < node->n_in; i++) swap(&node->call.in[i], &node->wide[i]);
    swap(&node->call.out[0], &node->wide_out);
}

/* Of rounded inputs what backward and make_again read. */
static pl_status widen_input(pl_ctx *ctx, pl_node *node, int i)
{
    if (!node->gave[i]) return widen(ctx, node->rounded[i], node->call.in[i], &node->wide[i]);
    if (node->wide[i] == NULL) pl_tensor_retain(node->rounded[i]);
    node->wide[i] = node->rounded[i];
    return PL_OK;
}

static bool has_rounded(const pl_node *node)
{
    for (int i = 0; i < node->n_in; i++)
        if (node->rounded[i] != NULL) return true;
    return false;
}

/* Room for what make_again makes: where values come from rounded inputs it is never that of the
** output, which may still be there with the values of the forward pass. */
static pl_status room_again(pl_ctx *ctx, pl_node *node)
{
    pl_call *c = &node->call;
    pl_tensor *t = c->out[0];
    for (int i = 0; i < node->n_in; i++) PL_TRY(widen_input(ctx, node, i));
    if (has_rounded(node))
        return pl__tensor_new_free(ctx, &node->again, t->dtype, t->rank, t->shape);
    PL_TRY(pl__tensor_data_again(t, node->out_version[0]));
    pl__tensor_hold(t);
    node->made_again = true;
    return PL_OK;
}

static void leave_room(pl_node *node)
{
    if (node->made_again) pl__tensor_unhold(node->call.out[0]);
    node->made_again = false;
    pl_tensor_release(node->again);
    node->again = NULL;
}

/* The data of a node's output, made once more where they are gone; they stay until it is freed. */
static pl_status make_again(pl_ctx *ctx, pl_node *node)
{
    pl_call *c = &node->call;
    pl_tensor *t = c->out[0];
    if (node->again != NULL || (t->storage != NULL && !has_rounded(node))) return PL_OK;
    PL_TRY(pl__node_check_versions(ctx, node));
    const int64_t began = pl__profile_now(ctx);
    PL_TRY(room_again(ctx, node));
    if (node->again != NULL) c->out[0] = node->again;
    pl__node_swap_wide(node);
    c->split_flops = 0;
    pl__stop_set(&ctx->interrupted);
    pl_status st = pl__ops_for(ctx, pl__call_dtype(c))->impl[c->op]->forward(c);
    pl__stop_set(NULL);
    pl__node_swap_wide(node);
    c->out[0] = t;
    pl__call_release(c, false);
    if (st == PL_OK) st = pl__check_interrupt(ctx); /* tiles may have been left out */
    if (st != PL_OK) leave_room(node);
    else if (began != 0) pl__profile_op(ctx, began, c, false);
    return st;
}

pl_status pl__node_remake_inputs(pl_ctx *ctx, pl_node *node)
{
    pl_call *c = &node->call;
    for (int i = 0; i < node->n_in; i++) {
        PL_TRY(widen_input(ctx, node, i));
        if (!node->remakes[i]) continue;
        pl_node *maker = c->in[i]->node;
        PL_TRY(make_again(ctx, maker));
        if (maker->again == NULL || node->wide[i] != NULL) continue;
        pl_tensor_retain(maker->again);
        node->wide[i] = maker->again;
    }
    return widen(ctx, node->rounded_out, c->out[0], &node->wide_out);
}

pl_status pl__node_settle_readers(pl_ctx *ctx, pl_node *node)
{
    if (node->n_out == 0 || node->call.out[0] == NULL || node->call.out[0]->remakers == 0)
        return PL_OK;
    pl_tensor *t = node->call.out[0];
    PL_TRY(make_again(ctx, node));
    for (pl_node *n = node->next; n != NULL; n = n->next)
        for (int i = 0; i < n->n_in; i++) {
            if (!n->remakes[i] || n->call.in[i] != t) continue;
            n->remakes[i] = false;
            t->remakers--;
            n->holds[i] = node->again == NULL;
            if (n->holds[i]) pl__tensor_hold(t);
            else if (n->wide[i] == NULL) {
                pl_tensor_retain(node->again);
                n->wide[i] = node->again;
            }
        }
    return PL_OK;
}
