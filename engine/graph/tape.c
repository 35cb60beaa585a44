/*
** tape.c - the tape: what of an op that ran is kept for its backward, and how long.
**
** A node keeps its call. Handles of inputs and outputs are always kept (for shapes and for where
** gradients go); data only where the op's backward reads it, and not those that a cheap op (flag R)
** can make again from inputs which it keeps itself (remake.c). What an op's backward reads rounded
** is kept in bfloat16. Walking back (backward.c) frees each node as soon as it is done, so memory
** falls while gradients flow. Nothing here recurses on the graph's depth.
*/
#include "graph/tape.h"

#include <string.h>

#include "graph/profile.h"

bool pl_grad_enabled(const pl_ctx *ctx)
{
    return pl__graph_floor(ctx)->enabled;
}

bool pl_set_grad_enabled(pl_ctx *ctx, bool on)
{
    pl_graph_floor *graph = pl__graph_floor(ctx);
    const bool former = graph->enabled;
    graph->enabled = on;
    return former;
}

void pl_tensor_set_requires_grad(pl_tensor *t, bool on)
{
    if (t->dtype == PL_F32 || t->dtype == PL_F64) t->requires_grad = on;
}

bool pl_tensor_requires_grad(const pl_tensor *t)
{
    return t->requires_grad;
}

pl_tensor *pl_tensor_grad(const pl_tensor *t)
{
    return t->grad_valid ? t->grad : NULL;
}

void pl_tensor_zero_grad(pl_tensor *t)
{
    t->grad_valid = false;
}

static void append(pl_ctx *ctx, pl_node *node)
{
    pl_graph_floor *graph = pl__graph_floor(ctx);
    node->prev = graph->last;
    if (node->prev != NULL) node->prev->next = node;
    else graph->first = node;
    graph->last = node;
}

static void unlink_node(pl_ctx *ctx, pl_node *node)
{
    pl_graph_floor *graph = pl__graph_floor(ctx);
    if (node->prev != NULL) node->prev->next = node->next;
    else graph->first = node->next;
    if (node->next != NULL) node->next->prev = node->prev;
    else graph->last = node->prev;
    /* A scope's mark must stay a node of the list, or NULL. */
    for (pl_scope *s = pl__tensor_floor(ctx)->innermost; s != NULL; s = s->outer)
        if (s->mark == node) s->mark = node->prev;
}

/* Whether the data of an input may go although backward reads them. */
static bool can_remake(const pl_tensor *t)
{
    return t->remakable && pl_tensor_version(t) == t->node->out_version[0];
}

/* A node of a cheap op, all of whose inputs are kept. */
static bool is_remakable(const pl_node *node)
{
    if (!pl__node_keeps(node, PL_OPF_REMAKE)) return false;
    for (int i = 0; i < node->n_in; i++)
        if (node->call.in[i] != NULL && !node->holds[i] && node->rounded[i] == NULL) return false;
    return true;
}

/* The data of a float32 tensor in bfloat16, made now unless somebody has them. */
static pl_status round_data(pl_ctx *ctx, pl_tensor *t, pl_tensor **out)
{
    *out = pl__rounded_get(t);
    if (*out != NULL) {
        pl_tensor_retain(*out);
        return PL_OK;
    }
    const int64_t cols = t->rank > 0 ? t->shape[t->rank - 1] : 1, rows = t->count / (cols + !cols);
    PL_TRY(pl__tensor_new_free(ctx, out, PL_BF16, 1, &t->count));
    pl__ops_for(ctx, PL_F32)
        ->kernels.bf16_rows(rows, cols, pl__data(t), cols, pl__data(*out), cols);
    pl__rounded_set(t, *out);
    return PL_OK;
}

/* What backward is to read rounded, and the tape would keep else; but for what the op rounded. */
static pl_status round_all(pl_ctx *ctx, pl_node *node)
{
    pl_call *c = &node->call;
    for (int i = 0; i < node->n_in; i++)
        if (c->rounds[i] && c->rounded[i] == NULL && pl__node_reads_in(node, i) &&
            !can_remake(c->in[i]))
            PL_TRY(round_data(ctx, c->in[i], &node->rounded[i]));
    return c->rounds_out ? round_data(ctx, c->out[0], &node->rounded_out) : PL_OK;
}

/* Takes the references a node owns. */
static void attach(pl_ctx *ctx, pl_node *node)
{
    pl_call *c = &node->call;
    for (int i = 0; i < node->n_in; i++) {
        if (c->in[i] == NULL) continue;
        pl__tensor_node_ref(c->in[i]);
        node->remakes[i] = pl__node_reads_in(node, i) && can_remake(c->in[i]);
        node->holds[i] =
            pl__node_reads_in(node, i) && !node->remakes[i] && node->rounded[i] == NULL;
        if (node->remakes[i]) c->in[i]->remakers++;
        if (node->holds[i]) pl__tensor_hold(c->in[i]);
        node->in_version[i] = pl_tensor_version(c->in[i]);
    }
    for (int i = 0; i < node->n_out; i++) {
        if (c->out[i] == NULL) continue;
        pl__tensor_node_ref(c->out[i]);
        if (pl__node_keeps_out(node)) pl__tensor_hold(c->out[i]);
        pl_tensor_set_requires_grad(c->out[i], true);
        c->out[i]->node = node;
        c->out[i]->remakable = is_remakable(node);
        node->out_version[i] = pl_tensor_version(c->out[i]);
    }
    append(ctx, node);
}

pl_status pl__tape_reclaim_grad(pl_ctx *ctx, pl_tensor *t)
{
    if (t->borrower == NULL) return PL_OK;
    pl_call *c = &t->borrower->call;
    for (int i = 0; i < PL_MAX_SAVED; i++) {
        if (!c->borrows[i] || c->in[i] != t) continue;
        pl_tensor *own, *lent = c->saved[i];
        PL_TRY(pl__tensor_new_free(ctx, &own, lent->dtype, lent->rank, lent->shape));
        memcpy(pl__data(own), pl__data(lent), pl_tensor_bytes(lent));
        c->saved[i] = own;
        c->borrows[i] = false;
        pl_tensor_release(lent);
    }
    t->borrower = NULL;
    return PL_OK;
}

void pl__grad_drop(pl_tensor *t)
{
    pl_tensor *grad = t->grad;
    t->grad = NULL;
    t->grad_valid = false;
    pl_tensor_release(grad);
}

static void release_copies(pl_node *node)
{
    for (int i = 0; i < node->n_in; i++) {
        pl_tensor_release(node->rounded[i]);
        pl_tensor_release(node->wide[i]);
    }
    pl_tensor_release(node->rounded_out);
    pl_tensor_release(node->wide_out);
    pl_tensor_release(node->again);
}

void pl__node_free(pl_ctx *ctx, pl_node *node)
{
    pl_call *c = &node->call;
    unlink_node(ctx, node);
    for (int i = 0; i < node->n_out; i++) {
        pl_tensor *t = c->out[i];
        if (t == NULL) continue;
        pl__grad_drop(t);
        t->node = NULL;
        t->requires_grad = false;
        t->remakable = false;
        if (pl__node_keeps_out(node) || node->made_again) pl__tensor_unhold(t);
        pl__tensor_node_unref(t);
    }
    for (int i = 0; i < node->n_in; i++) {
        if (c->in[i] == NULL) continue;
        if (node->remakes[i]) c->in[i]->remakers--;
        if (node->holds[i]) pl__tensor_unhold(c->in[i]);
        if (c->in[i]->borrower == node) c->in[i]->borrower = NULL;
        pl__tensor_node_unref(c->in[i]);
    }
    for (int i = 0; i < PL_MAX_SAVED; i++) pl_tensor_release(c->saved[i]);
    release_copies(node);
    if (node->drop != NULL) node->drop(node->data);
    pl_free(ctx, node);
}

pl_status pl__tape_record(pl_ctx *ctx, const pl_call *call)
{
    pl_node *node = pl_calloc(ctx, 1, sizeof *node);
    if (node == NULL) return PL_ERR_NOMEM;
    node->call = *call;
    node->call.n_work = 0;
    node->n_in = call->row->n_in;
    node->n_out = call->row->n_out;
    const pl_status st = round_all(ctx, node);
    if (st != PL_OK) {
        release_copies(node);
        pl_free(ctx, node);
        return st;
    }
    for (int i = 0; i < PL_MAX_SAVED; i++)
        if (call->borrows[i]) call->in[i]->borrower = node;
    for (int i = 0; i < node->n_in; i++) {
        node->gave[i] = call->rounded[i] != NULL;
        if (node->gave[i]) node->rounded[i] = call->rounded[i];
        node->call.rounded[i] = NULL;
    }
    attach(ctx, node);
    return PL_OK;
}

pl_status pl_custom(pl_ctx *ctx, pl_tensor *const *in, int n_in, pl_tensor *const *out, int n_out,
                    pl_backward_fn fn, void (*drop)(void *data), void *data)
{
    if (n_in > PL_MAX_IN || n_out > PL_MAX_OUT)
        return pl__fail(ctx, PL_ERR_ARG, "custom: at most %d inputs and %d outputs", PL_MAX_IN,
                        PL_MAX_OUT);
    pl_node *node = pl_calloc(ctx, 1, sizeof *node);
    if (node == NULL) return PL_ERR_NOMEM;
    node->call.ctx = ctx;
    node->n_in = n_in;
    node->n_out = n_out;
    node->fn = fn;
    node->drop = drop;
    node->data = data;
    memcpy(node->call.in, in, sizeof *in * (size_t)n_in);
    memcpy(node->call.out, out, sizeof *out * (size_t)n_out);
    attach(ctx, node);
    return PL_OK;
}

/* Releases every node after `mark` (NULL: all). */
static void release_after(pl_ctx *ctx, const pl_node *mark)
{
    const pl_graph_floor *graph = pl__graph_floor(ctx);
    while (graph->last != mark) pl__node_free(ctx, graph->last);
}

/* No user, later node or waiting gradient can reach the node. */
static bool is_dead(const pl_node *node)
{
    for (int i = 0; i < node->n_out; i++) {
        const pl_tensor *t = node->call.out[i];
        if (t != NULL && (t->refs > 0 || t->node_refs > 1 || t->grad != NULL)) return false;
    }
    return true;
}

/* Releases a node nobody can reach any more, and those that only led to it. */
static void prune(pl_ctx *ctx, pl_node *node)
{
    if (pl__graph_floor(ctx)->walking || node->dying || !is_dead(node)) return;
    node->dying = true;
    pl_node *dead = node;
    while (dead != NULL) {
        pl_node *gone = dead;
        pl_node *makers[PL_MAX_IN];
        for (int i = 0; i < gone->n_in; i++)
            makers[i] = gone->call.in[i] != NULL ? gone->call.in[i]->node : NULL;
        const int n = gone->n_in;
        dead = gone->next_dead;
        pl__node_free(ctx, gone);
        for (int i = 0; i < n; i++) {
            if (makers[i] == NULL || makers[i]->dying || !is_dead(makers[i])) continue;
            makers[i]->dying = true;
            makers[i]->next_dead = dead;
            dead = makers[i];
        }
    }
}

/* ---- writing in place ------------------------------------------------------------------------ */

static bool is_view(const pl_node *node)
{
    return node->fn == NULL && (node->call.op == PL_OP_view || node->call.op == PL_OP_reshape);
}

/* The last op whose backward reads the data of this storage; NULL when there is none. */
static const pl_op_row *reader_of(pl_ctx *ctx, const pl_storage *storage)
{
    for (const pl_node *n = pl__graph_floor(ctx)->last; n != NULL; n = n->prev) {
        for (int i = 0; i < n->n_in; i++)
            if (n->holds[i] && n->call.in[i]->storage == storage) return n->call.row;
        for (int i = 0; i < n->n_out; i++)
            if (pl__node_keeps_out(n) && n->call.out[i]->storage == storage) return n->call.row;
    }
    return NULL;
}

static pl_status check_write(pl_ctx *ctx, const pl_tensor *t, const char *what)
{
    if (!pl__graph_floor(ctx)->enabled) return PL_OK;
    const pl_tensor *origin = t;
    while (origin->node != NULL && is_view(origin->node)) origin = origin->node->call.in[0];
    if (origin->node != NULL) {
        const pl_op_row *row = origin->node->fn == NULL ? origin->node->call.row : NULL;
        return pl__fail(ctx, PL_ERR_GRAD,
                        "%s: the tensor is a result%s%s that a gradient will flow through; write "
                        "into a clone() of it, or make it under pl.no_grad()",
                        what, row != NULL ? " of " : "", row != NULL ? row->name : "");
    }
    if (t->storage->holds == 0) return PL_OK;
    const pl_op_row *row = reader_of(ctx, t->storage);
    return pl__fail(ctx, PL_ERR_GRAD,
                    "%s: the gradient of %s still needs the values the tensor has; write after "
                    "backward(), or into a clone() of it",
                    what, row != NULL ? row->name : "an op");
}

static void scope_opened(pl_ctx *ctx, pl_scope *scope)
{
    pl__profile_scope_opened(ctx, scope);
    scope->mark = pl__graph_floor(ctx)->last;
}

static void scope_closing(pl_ctx *ctx, pl_scope *scope)
{
    release_after(ctx, scope->mark);
    pl__profile_scope_closing(ctx, scope);
}

static void last_user_gone(pl_ctx *ctx, pl_tensor *t)
{
    prune(ctx, t->node);
}

void pl__tape_open(pl_ctx *ctx)
{
    static const pl_tensor_hooks hooks = {scope_opened, scope_closing, last_user_gone, check_write};
    pl__tensor_floor(ctx)->hooks = &hooks;
    pl__graph_floor(ctx)->enabled = true;
}

void pl__tape_close(pl_ctx *ctx)
{
    release_after(ctx, NULL);
}
