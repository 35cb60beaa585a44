/*
** tape.c - reverse-mode differentiation over the recorded ops.
**
** A node keeps its call. Handles of inputs and outputs are always kept (for shapes and for where
** gradients go); data only where the op's backward reads it, and not those that a cheap op (flag R)
** can make again from inputs which it keeps itself: activations and norms are run a second time,
** the same bits, just before the backward of the product behind them. What an op's backward reads
** rounded is kept in bfloat16, and is float32 again just before. Walking back frees each node
** as soon as it is done, so memory falls while gradients flow. Nothing here recurses on the graph's
** depth.
*/
#include "graph/profile.h"

#include <string.h>

#include "base/thread.h"

struct pl_node {
    pl_node *prev, *next, *next_dead;
    bool dying;
    int n_in, n_out;
    pl_call call;
    pl_backward_fn fn; /* a custom node */
    void (*drop)(void *data);
    void *data;
    bool holds[PL_MAX_IN];   /* the data of in[i] are kept; or */
    bool remakes[PL_MAX_IN]; /* are made again; or */
    pl_tensor *rounded[PL_MAX_IN],
        *rounded_out;                      /* are here in bfloat16, as may be those of out[0] */
    pl_tensor *wide[PL_MAX_IN], *wide_out; /* what backward reads in their place */
    bool gave[PL_MAX_IN];                  /* the op made rounded[i], and reads it itself */
    bool made_again;                       /* this node holds the data of its output; or */
    pl_tensor *again;                      /* here they are, made from rounded inputs */
    uint64_t in_version[PL_MAX_IN], out_version[PL_MAX_OUT]; /* of the data that it keeps */
};

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

static bool keeps(const pl_node *node, int flag)
{
    return node->fn == NULL && (node->call.row->flags & flag) != 0;
}

/* Whether backward reads the data of in[i], of the outputs as they are. */
static bool reads_in(const pl_node *node, int i)
{
    return keeps(node, PL_OPF_KEEP_IN) && !node->call.unread[i];
}

static bool keeps_out(const pl_node *node)
{
    return keeps(node, PL_OPF_KEEP_OUT) && node->rounded_out == NULL;
}

/* Whether the data of an input may go although backward reads them. */
static bool can_remake(const pl_tensor *t)
{
    return t->remakable && pl_tensor_version(t) == t->node->out_version[0];
}

/* A node of a cheap op, all of whose inputs are kept. */
static bool is_remakable(const pl_node *node)
{
    if (!keeps(node, PL_OPF_REMAKE)) return false;
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

/* What backward is to read rounded, and the tape would keep else; but for what the op rounded. */
static pl_status round_all(pl_ctx *ctx, pl_node *node)
{
    pl_call *c = &node->call;
    for (int i = 0; i < node->n_in; i++)
        if (c->rounds[i] && c->rounded[i] == NULL && reads_in(node, i) && !can_remake(c->in[i]))
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
        node->remakes[i] = reads_in(node, i) && can_remake(c->in[i]);
        node->holds[i] = reads_in(node, i) && !node->remakes[i] && node->rounded[i] == NULL;
        if (node->remakes[i]) c->in[i]->remakers++;
        if (node->holds[i]) pl__tensor_hold(c->in[i]);
        node->in_version[i] = pl_tensor_version(c->in[i]);
    }
    for (int i = 0; i < node->n_out; i++) {
        if (c->out[i] == NULL) continue;
        pl__tensor_node_ref(c->out[i]);
        if (keeps_out(node)) pl__tensor_hold(c->out[i]);
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

static void clear_grad(pl_tensor *t)
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

/* Unlinks and frees a node; its outputs become constants. */
static void free_node(pl_ctx *ctx, pl_node *node)
{
    pl_call *c = &node->call;
    unlink_node(ctx, node);
    for (int i = 0; i < node->n_out; i++) {
        pl_tensor *t = c->out[i];
        if (t == NULL) continue;
        clear_grad(t);
        t->node = NULL;
        t->requires_grad = false;
        t->remakable = false;
        if (keeps_out(node) || node->made_again) pl__tensor_unhold(t);
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
    while (graph->last != mark) free_node(ctx, graph->last);
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
        free_node(ctx, gone);
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
            if (keeps_out(n) && n->call.out[i]->storage == storage) return n->call.row;
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

/* What backward is about to read is what the op had. */
static pl_status check_versions(pl_ctx *ctx, const pl_node *node)
{
    const pl_call *c = &node->call;
    const char *name = NULL;
    for (int i = 0; i < node->n_in; i++)
        if (reads_in(node, i) && c->in[i] != NULL && node->wide[i] == NULL &&
            pl_tensor_version(c->in[i]) != node->in_version[i])
            name = c->row->in[i].name;
    for (int i = 0; i < node->n_out && keeps_out(node); i++)
        if (pl_tensor_version(c->out[i]) != node->out_version[i]) name = c->row->out[i];
    if (name == NULL) return PL_OK;
    return pl__fail(ctx, PL_ERR_GRAD,
                    "backward: '%s' of %s was written to after the op ran, so its gradient cannot "
                    "be told; run the forward pass again",
                    name, c->row->name);
}

static pl_dtype dtype_of(const pl_call *c)
{
    for (int i = 0; i < c->row->n_in; i++)
        if (c->in[i] != NULL && c->in[i]->dtype == PL_F64) return PL_F64;
    return PL_F32;
}

static void swap(pl_tensor **a, pl_tensor **b)
{
    pl_tensor *c = *a;
    if (*b == NULL) return;
    *a = *b;
    *b = c;
}

/* Puts what backward is to read into the call, and, the second time, what was there before. */
static void swap_wide(pl_node *node)
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
    PL_TRY(check_versions(ctx, node));
    const int64_t began = pl__profile_now(ctx);
    PL_TRY(room_again(ctx, node));
    if (node->again != NULL) c->out[0] = node->again;
    swap_wide(node);
    c->split_flops = 0;
    pl__stop_set(&ctx->interrupted);
    pl_status st = pl__ops_for(ctx, dtype_of(c))->impl[c->op]->forward(c);
    pl__stop_set(NULL);
    swap_wide(node);
    c->out[0] = t;
    pl__call_release(c, false);
    if (st == PL_OK) st = pl__check_interrupt(ctx); /* tiles may have been left out */
    if (st != PL_OK) leave_room(node);
    else if (began != 0) pl__profile_op(ctx, began, c, false);
    return st;
}

/* What this node's backward reads and nobody kept as it is. */
static pl_status make_inputs_again(pl_ctx *ctx, pl_node *node)
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

/* A node that goes before others which count on it to make its output again: they keep that now. */
static pl_status settle_readers(pl_ctx *ctx, pl_node *node)
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
    const pl_op_impl *impl = pl__ops_for(ctx, dtype_of(c))->impl[c->op];
    swap_wide(node);
    pl__stop_set(&ctx->interrupted);
    st = impl->backward(c);
    pl__stop_set(NULL);
    swap_wide(node);
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
    PL_TRY(make_inputs_again(ctx, node));
    PL_TRY(check_versions(ctx, node));
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
        if (st == PL_OK) st = settle_readers(ctx, node);
        pl_node *before = node->prev;
        if (st != PL_OK) break;
        free_node(ctx, node);
        node = before;
    }
    graph->barrier = stop;
    graph->walking--;
    if (st != PL_OK) /* gradients on their way are lost, the leaves keep what came so far */
        for (pl_node *n = graph->last; n != stop; n = n->prev)
            for (int i = 0; i < n->n_out; i++)
                if (n->call.out[i] != NULL) clear_grad(n->call.out[i]);
    pl_set_grad_enabled(ctx, enabled);
    return st;
}
