/*
** backward.c - reverse-mode differentiation: walks the tape back from a tensor, and frees each node
** as soon as its gradients are handed on.
*/
#include "graph/tape.h"

#include <string.h>

#include "base/thread.h"
#include "graph/profile.h"

static void add_into(pl_tensor *dst, const pl_tensor *src)
{
    if (dst->dtype == PL_F64) {
        double *d = pl__data(dst);
        const double *s = pl__data(src);
        for (int64_t i = 0; i < dst->count; i++) d[i] += s[i];
    } else {
        float *d = pl__data(dst);
        const float *s = pl__data(src);
        for (int64_t i = 0; i < dst->count; i++) d[i] += s[i];
    }
}

static bool wants(const pl_tensor *t)
{
    return t != NULL && t->requires_grad;
}

/* Where the gradient of an input goes: its own memory, or a second one when the input stands twice
** in the call (then *repeated is set and must be added afterwards). */
static pl_status make_d_in(pl_ctx *ctx, pl_node *node, int i, bool *repeated)
{
    pl_call *c = &node->call;
    pl_tensor *t = c->in[i];
    *repeated = false;
    for (int k = 0; k < i; k++) *repeated = *repeated || (c->in[k] == t && c->d_in[k] != NULL);
    if (*repeated) {
        c->acc[i] = false;
        return pl__tensor_new_free(ctx, &c->d_in[i], t->dtype, t->rank, t->shape);
    }
    if (t->borrower != node) PL_TRY(pl__tape_reclaim_grad(ctx, t));
    if (t->grad == NULL) PL_TRY(pl__tensor_new_free(ctx, &t->grad, t->dtype, t->rank, t->shape));
    PL_TRY(pl__tensor_claim(t->grad));
    c->acc[i] = t->grad_valid;
    c->d_in[i] = t->grad;
    return PL_OK;
}

static pl_status backward_op(pl_ctx *ctx, pl_node *node)
{
    pl_call *c = &node->call;
    const int64_t began = pl__profile_now(ctx);
    bool repeated[PL_MAX_IN] = {false};
    pl_status st = PL_OK;
    for (int i = 0; i < node->n_in; i++)
        if (wants(c->in[i])) PL_GO(make_d_in(ctx, node, i, &repeated[i]));
    c->split_flops = 0;
    const pl_op_impl *impl = pl__ops_for(ctx, pl__call_dtype(c))->impl[c->op];
    pl__node_swap_wide(node);
    pl__stop_set(&ctx->interrupted);
    st = impl->backward(c);
    pl__stop_set(NULL);
    pl__node_swap_wide(node);
    PL_GO(st);
    PL_GO(pl__check_interrupt(ctx)); /* tiles may have been left out */
    for (int i = 0; i < node->n_in; i++) {
        if (c->d_in[i] == NULL) continue;
        if (repeated[i]) add_into(c->in[i]->grad, c->d_in[i]);
        c->in[i]->grad_valid = true;
    }
    if (began != 0) pl__profile_op(ctx, began, c, true);
done:
    for (int i = 0; i < node->n_in; i++) {
        if (repeated[i]) pl_tensor_release(c->d_in[i]);
        c->d_in[i] = NULL;
    }
    pl__call_release(c, false);
    return st;
}

static pl_status backward_custom(pl_ctx *ctx, pl_node *node)
{
    pl_call *c = &node->call;
    pl_tensor *d_in[PL_MAX_IN] = {NULL};
    pl_status st = PL_OK;
    PL_GO(node->fn(ctx, node->data, c->d_out, d_in));
    for (int i = 0; i < node->n_in; i++) {
        pl_tensor *t = c->in[i];
        if (d_in[i] == NULL || !wants(t)) continue;
        if (d_in[i]->dtype != t->dtype || d_in[i]->count != t->count) {
            st = pl__fail(ctx, PL_ERR_SHAPE,
                          "custom: the gradient of input %d has another shape or dtype than it",
                          i + 1);
            goto done;
        }
        PL_GO(pl__tape_reclaim_grad(ctx, t));
        if (t->grad == NULL) PL_GO(pl__tensor_new_free(ctx, &t->grad, t->dtype, t->rank, t->shape));
        PL_GO(pl__tensor_claim(t->grad));
        if (t->grad_valid) add_into(t->grad, d_in[i]);
        else memcpy(pl__data(t->grad), pl__data(d_in[i]), pl_tensor_bytes(t));
        t->grad_valid = true;
    }
done:
    for (int i = 0; i < node->n_in; i++) pl_tensor_release(d_in[i]);
    return st;
}

static pl_status backward_node(pl_ctx *ctx, pl_node *node)
{
    pl_call *c = &node->call;
    PL_TRY(pl__check_interrupt(ctx));
    for (int i = 0; i < node->n_out; i++)
        c->d_out[i] = c->out[i] != NULL && c->out[i]->grad_valid ? c->out[i]->grad : NULL;
    PL_TRY(pl__node_remake_inputs(ctx, node));
    PL_TRY(pl__node_check_versions(ctx, node));
    return node->fn != NULL ? backward_custom(ctx, node) : backward_op(ctx, node);
}

static bool reached(const pl_node *node)
{
    for (int i = 0; i < node->n_out; i++)
        if (node->call.out[i] != NULL && node->call.out[i]->grad_valid) return true;
    return false;
}

static pl_status seed_grad(pl_ctx *ctx, pl_tensor *t, const pl_tensor *seed)
{
    if (!t->requires_grad)
        return pl__fail(ctx, PL_ERR_GRAD,
                        "backward: this tensor depends on nothing that wants a gradient, or its "
                        "tape was released by an earlier backward or a closed scope");
    if (seed == NULL && t->count != 1)
        return pl__fail(ctx, PL_ERR_GRAD, "backward: wants one number, this tensor has %lld",
                        (long long)t->count);
    if (seed != NULL) {
        PL_TRY(pl_tensor_check(ctx, seed));
        if (seed->dtype != t->dtype || seed->count != t->count)
            return pl__fail(ctx, PL_ERR_SHAPE, "backward: the seed has another shape or dtype");
    }
    pl_tensor *grad;
    PL_TRY(pl__tape_reclaim_grad(ctx, t));
    PL_TRY(pl__tensor_new_free(ctx, &grad, t->dtype, t->rank, t->shape));
    if (seed != NULL) memcpy(pl__data(grad), pl__data(seed), pl_tensor_bytes(t));
    else if (t->dtype == PL_F64) *(double *)pl__data(grad) = 1.0;
    else *(float *)pl__data(grad) = 1.0f;
    if (t->grad != NULL && t->grad_valid) {
        add_into(t->grad, grad);
        pl_tensor_release(grad);
    } else if (t->grad != NULL) {
        const pl_status st = pl__tensor_claim(t->grad);
        if (st == PL_OK) memcpy(pl__data(t->grad), pl__data(grad), pl_tensor_bytes(t));
        pl_tensor_release(grad);
        PL_TRY(st);
    } else {
        t->grad = grad;
    }
    t->grad_valid = true;
    return PL_OK;
}

pl_status pl_backward(pl_ctx *ctx, pl_tensor *t, const pl_tensor *seed)
{
    pl_graph_floor *graph = pl__graph_floor(ctx);
    PL_TRY(pl_tensor_check(ctx, t));
    PL_TRY(seed_grad(ctx, t, seed));
    pl_node *stop = graph->barrier;
    const bool enabled = pl_set_grad_enabled(ctx, false);
    graph->walking++; /* a walk holds nodes by pointer: nothing is pruned meanwhile */
    pl_status st = PL_OK;
    pl_node *node = t->node != NULL ? graph->last : stop;
    while (node != stop) {
        if (!reached(node)) {
            node = node->prev;
            continue;
        }
        graph->barrier = graph->last; /* a backward inside a custom node ends here */
        st = backward_node(ctx, node);
        if (st == PL_OK) st = pl__node_settle_readers(ctx, node);
        pl_node *before = node->prev;
        if (st != PL_OK) break;
        pl__node_free(ctx, node);
        node = before;
    }
    graph->barrier = stop;
    graph->walking--;
    if (st != PL_OK) /* gradients on their way are lost, the leaves keep what came so far */
        for (pl_node *n = graph->last; n != stop; n = n->prev)
            for (int i = 0; i < n->n_out; i++)
                if (n->call.out[i] != NULL) pl__grad_drop(n->call.out[i]);
    pl_set_grad_enabled(ctx, enabled);
    return st;
}
