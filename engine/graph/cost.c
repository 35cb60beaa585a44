/*
** cost.c - what a call must at least do, told by its shapes: multiplications and bytes.
**
** Only products and attention count multiplications, 2 for a multiplication with its addition; all
** other ops are a pass over memory. Bytes are those of the operands, each read or written once;
** rows that an index picks count as picked. Backward reads what the op's row says it reads
** (flags I and O), the gradients of the outputs, and writes those of the inputs that want one.
*/
#include "graph/profile.h"

#include <string.h>

static double bytes_of(const pl_tensor *t)
{
    return t != NULL ? (double)pl_tensor_bytes(t) : 0;
}

static double last(const pl_tensor *t)
{
    return t->rank > 0 ? (double)t->shape[t->rank - 1] : 1;
}

/* ---- multiplications of one forward product -------------------------------------------------- */

static double matmul_flops(const pl_call *c)
{
    const pl_tensor *a = c->in[MATMUL_a];
    const double k = (double)a->shape[a->rank - (c->param[MATMUL_transpose_a].i != 0 ? 2 : 1)];
    return 2 * (double)c->out[MATMUL_y]->count * k;
}

static double linear_flops(const pl_call *c)
{
    return 2 * (double)c->out[LINEAR_y]->count * last(c->in[LINEAR_x]);
}

/* The products of a narrow block with its weights, inputs `first` to `last`. */
static double block_flops(const pl_call *c, int first, int last)
{
    double weights = 0;
    for (int i = first; i <= last; i++)
        if (c->in[i]->rank == 2) weights += (double)c->in[i]->count;
    return 2 * (double)c->in[0]->shape[0] * weights;
}

/* rows x V x C of the losses over a head. */
static double head_flops(const pl_call *c, int head, int rows)
{
    return 2 * (double)c->in[rows]->count * (double)c->in[head]->count;
}

/* Pairs of a query and a key that it sees, for `n` new rows after `past` others. */
static double pairs(double past, double n, double window)
{
    const double all = past * n + n * (n + 1) / 2;
    if (window <= 0 || past + n <= window) return all;
    const double short_rows = past < window ? window - past : 0; /* see fewer than the window */
    return short_rows * past + short_rows * (short_rows + 1) / 2 + (n - short_rows) * window;
}

static bool bf16_attention(const pl_call *c)
{
    return c->param[ATTENTION_precision].i != ATTENTION_precision_float32;
}
PL_SAME_PLACE(ATTENTION_precision, ATTENTION_CACHED_precision);

/* Products q k^T and p v over all pairs; *keys: rows of keys and values that are read. */
static double attention_flops(const pl_call *c, double *keys)
{
    const bool cached = c->op == PL_OP_attention_cached;
    const pl_tensor *offsets = c->in[ATTENTION_offsets];
    const int32_t *at = pl__ints(offsets);
    const int32_t *past = cached ? pl__ints(c->in[ATTENTION_CACHED_past]) : NULL;
    const double window = (double)c->param[ATTENTION_window].i;
    double sum = 0;
    *keys = 0;
    for (int64_t b = 0; b + 1 < offsets->count; b++) {
        const double n = at[b + 1] - at[b], before = past != NULL ? past[b] : 0;
        const double seen = before + n;
        sum += pairs(before, n, window);
        *keys += window > 0 && seen > window + n - 1 ? window + n - 1 : seen;
    }
    return 4 * sum * last(c->out[ATTENTION_y]);
}
PL_SAME_PLACE(ATTENTION_y, ATTENTION_CACHED_y);
PL_SAME_PLACE(ATTENTION_offsets, ATTENTION_CACHED_offsets);
PL_SAME_PLACE(ATTENTION_k, ATTENTION_CACHED_k);
PL_SAME_PLACE(ATTENTION_window, ATTENTION_CACHED_window);

/* Cross-entropy makes its gradients while it has the logits: two more products in forward. */
static double cross_entropy_flops(const pl_call *c, bool backward)
{
    if (backward) return 0;
    const pl_tensor *h = c->in[CROSS_ENTROPY_hidden], *w = c->in[CROSS_ENTROPY_head];
    const int products = 1 + (c->grad ? (int)h->requires_grad + (int)w->requires_grad : 0);
    return products * head_flops(c, CROSS_ENTROPY_head, CROSS_ENTROPY_rows);
}

static int gradients(const pl_call *c, int a, int b)
{
    return (c->d_in[a] != NULL) + (c->d_in[b] != NULL);
}

static double flops_of(const pl_call *c, bool backward)
{
    double keys;
    switch (c->op) {
    case PL_OP_matmul: return matmul_flops(c) * (backward ? gradients(c, MATMUL_a, MATMUL_b) : 1);
    case PL_OP_linear: return linear_flops(c) * (backward ? gradients(c, LINEAR_x, LINEAR_w) : 1);
    case PL_OP_attention: /* backward makes the scores again: five products for two */
        return attention_flops(c, &keys) * (backward ? 2.5 : 1);
    case PL_OP_attention_cached: return attention_flops(c, &keys);
    case PL_OP_block_in: return block_flops(c, BLOCK_IN_q_w, BLOCK_IN_v_w) * (backward ? 2 : 1);
    case PL_OP_block_out: return block_flops(c, BLOCK_OUT_o_w, BLOCK_OUT_down) * (backward ? 2 : 1);
    case PL_OP_cross_entropy: return cross_entropy_flops(c, backward);
    case PL_OP_logprob: /* and the logits again */
        return head_flops(c, LOGPROB_head, LOGPROB_rows) *
               (backward ? 1 + gradients(c, LOGPROB_hidden, LOGPROB_head) : 1);
    case PL_OP_kl_full: {
        const double own = head_flops(c, KL_FULL_head, KL_FULL_rows);
        const double reference = head_flops(c, KL_FULL_ref_head, KL_FULL_rows);
        return own * (backward ? 1 + gradients(c, KL_FULL_hidden, KL_FULL_head) : 1) + reference;
    }
    default: return 0;
    }
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static double forward_bytes(const pl_call *c)
{
    double sum = 0;
    for (int i = 0; i < c->row->n_in; i++) sum += bytes_of(c->in[i]);
    for (int i = 0; i < c->row->n_out; i++) sum += bytes_of(c->out[i]);
    double keys;
    switch (c->op) {
    case PL_OP_view:
    case PL_OP_reshape: return 0;
    case PL_OP_embedding: return 2 * bytes_of(c->out[EMBEDDING_y]);
    case PL_OP_gather: return 2 * bytes_of(c->out[GATHER_y]);
    case PL_OP_attention_cached:
        attention_flops(c, &keys);
        return 2 * bytes_of(c->out[0]) +
               2 * keys * last(c->in[ATTENTION_k]) * (bf16_attention(c) ? 2 : sizeof(float));
    case PL_OP_cross_entropy: /* the gradients it makes */
        if (!c->grad) return sum;
        return sum +
               (c->in[CROSS_ENTROPY_hidden]->requires_grad ? bytes_of(c->in[CROSS_ENTROPY_hidden])
                                                           : 0) +
               (c->in[CROSS_ENTROPY_head]->requires_grad ? bytes_of(c->in[CROSS_ENTROPY_head]) : 0);
    default: return sum;
    }
}

static double backward_bytes(const pl_call *c)
{
    double sum = 0;
    if (c->op == PL_OP_view || c->op == PL_OP_reshape) return 0;
    for (int i = 0; i < c->row->n_out; i++) {
        sum += bytes_of(c->d_out[i]);
        if (c->row->flags & PL_OPF_KEEP_OUT) sum += bytes_of(c->out[i]);
    }
    for (int i = 0; i < c->row->n_in; i++) {
        sum += bytes_of(c->d_in[i]) * (c->acc[i] ? 2 : 1);
        if ((c->row->flags & PL_OPF_KEEP_IN) && !c->unread[i]) sum += bytes_of(c->in[i]);
    }
    return sum;
}

pl_cost pl__call_cost(const pl_call *c, bool backward)
{
    pl_cost cost = {.flops = flops_of(c, backward),
                    .split = c->split_flops,
                    .bytes = backward ? backward_bytes(c) : forward_bytes(c)};
    for (int i = 0; i < c->row->n_param; i++) {
        const pl_param_row *p = &c->row->param[i];
        if (p->kind == PL_PARAM_ENUM && strcmp(p->name, "precision") == 0)
            cost.half = strcmp(p->choices[c->param[i].i], "bf16") == 0;
    }
    return cost;
}
