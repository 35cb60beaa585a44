/*
** toy_model.h - a model of one attention block, written in C over the public ops, for the tests of
** plans and of generation.
**
**     e = embedding[tokens];  n = rmsnorm(e)
**     h = e + Wo attention(rope(Wq n), rope(Wk n), Wv n);  logits = head h
** Three query heads share one key head. No width is a multiple of 16.
*/
#ifndef TOY_MODEL_H
#define TOY_MODEL_H

#include "check.h"

enum { TOY_VOCAB = 37, TOY_HEADS = 3, TOY_DIM = 8, TOY_WIDTH = TOY_HEADS * TOY_DIM };

/* What a decode step reads, as pl_generator_new has it. */
enum { IN_TOKENS, IN_POSITIONS, IN_OFFSETS, IN_BLOCKS, IN_PAST, IN_LAST, N_IN };

typedef struct {
    pl_tensor *embedding, *norm, *wq, *wk, *wv, *wo, *head;
    pl_tensor *cache[2]; /* keys and values, [blocks, 1, block_len, TOY_DIM], in 64s */
} toy;

static inline void toy_free(toy *m)
{
    pl_tensor *all[] = {m->embedding, m->norm, m->wq,       m->wk,      m->wv,
                        m->wo,        m->head, m->cache[0], m->cache[1]};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) pl_tensor_release(all[i]);
    *m = (toy){0};
}

static inline pl_status toy_new(pl_ctx *ctx, toy *m, int64_t blocks, int64_t block_len)
{
    struct {
        pl_tensor **t;
        int rank;
        int64_t shape[2];
    } const weights[] = {
        {&m->embedding, 2, {TOY_VOCAB, TOY_WIDTH}}, {&m->norm, 1, {TOY_WIDTH}},
        {&m->wq, 2, {TOY_WIDTH, TOY_WIDTH}},        {&m->wk, 2, {TOY_DIM, TOY_WIDTH}},
        {&m->wv, 2, {TOY_DIM, TOY_WIDTH}},          {&m->wo, 2, {TOY_WIDTH, TOY_WIDTH}},
        {&m->head, 2, {TOY_VOCAB, TOY_WIDTH}},
    };
    const int64_t cache[] = {blocks, 1, block_len, TOY_DIM};
    pl_status st = PL_OK;
    *m = (toy){0};
    for (size_t i = 0; i < sizeof weights / sizeof weights[0] && st == PL_OK; i++) {
        st = pl_tensor_new(ctx, weights[i].t, PL_F32, weights[i].rank, weights[i].shape);
        if (st == PL_OK) st = pl_tensor_random(ctx, *weights[i].t, true, 0, 0.4, 11, i);
        if (st == PL_OK) pl_tensor_set_requires_grad(*weights[i].t, true);
    }
    for (int i = 0; i < 2 && st == PL_OK; i++)
        st = pl_tensor_zeros(ctx, &m->cache[i], PL_F32, 4, cache);
    if (st != PL_OK) toy_free(m);
    return st;
}

/* The defaults of an op's row with some integer parameters set, by name; ends with NULL. */
static inline const pl_param *with_integers(pl_ctx *ctx, pl_op_id op, pl_param p[PL_MAX_PARAM],
                                            const char *name, ...)
{
    const pl_op_row *row = pl_op_get(ctx, op);
    va_list args;
    va_start(args, name);
    for (int i = 0; i < row->n_param; i++) p[i] = row->param[i].fallback;
    for (; name != NULL; name = va_arg(args, const char *)) {
        int found = -1;
        for (int i = 0; i < row->n_param; i++)
            if (strcmp(row->param[i].name, name) == 0) found = i;
        assert_true(found >= 0);
        p[found].i = va_arg(args, int);
    }
    va_end(args);
    return p;
}

/* *h = the hidden states [T,TOY_WIDTH]; by the cache, or of whole sequences. */
static inline pl_status toy_hidden(pl_ctx *ctx, const toy *m, pl_tensor *const *in, bool by_cache,
                                   pl_tensor **h)
{
    enum { E, N, Q, K, V, RQ, RK, A, O, N_MADE };
    pl_tensor *t[N_MADE] = {NULL};
    pl_param rope[PL_MAX_PARAM], heads[PL_MAX_PARAM];
    const pl_op_id attend = by_cache ? PL_OP_attention_cached : PL_OP_attention;
    with_integers(ctx, PL_OP_rope, rope, "head_dim", TOY_DIM, NULL);
    with_integers(ctx, attend, heads, "heads", TOY_HEADS, "kv_heads", 1, NULL);
    pl_status st = APPLY(embedding, &t[E], m->embedding, in[IN_TOKENS]);
    *h = NULL;
    if (st == PL_OK) st = APPLY(rmsnorm, &t[N], t[E], m->norm);
    if (st == PL_OK) st = APPLY(linear, &t[Q], t[N], m->wq, NULL);
    if (st == PL_OK) st = APPLY(linear, &t[K], t[N], m->wk, NULL);
    if (st == PL_OK) st = APPLY(linear, &t[V], t[N], m->wv, NULL);
    for (int i = 0; i < 2 && st == PL_OK; i++)
        st = pl_op(ctx, PL_OP_rope, (pl_tensor *[PL_MAX_IN]){t[Q + i], in[IN_POSITIONS]}, rope,
                   &t[RQ + i]);
    pl_tensor *rows[PL_MAX_IN] = {t[RQ],       t[RK],       t[V],          in[IN_OFFSETS],
                                  m->cache[0], m->cache[1], in[IN_BLOCKS], in[IN_PAST]};
    if (st == PL_OK) st = pl_op(ctx, attend, rows, heads, &t[A]);
    if (st == PL_OK) st = APPLY(linear, &t[O], t[A], m->wo, NULL);
    if (st == PL_OK) st = APPLY(add, h, t[E], t[O]);
    for (int i = 0; i < N_MADE; i++) pl_tensor_release(t[i]);
    return st;
}

/* *logits = [B,TOY_VOCAB] of each sequence's last row. */
static inline pl_status toy_logits(pl_ctx *ctx, const toy *m, pl_tensor *const *in, bool by_cache,
                                   pl_tensor **logits)
{
    pl_tensor *h = NULL, *last = NULL;
    *logits = NULL;
    pl_status st = toy_hidden(ctx, m, in, by_cache, &h);
    if (st == PL_OK) st = APPLY(gather, &last, h, in[IN_LAST]);
    if (st == PL_OK) st = APPLY(linear, logits, last, m->head, NULL);
    pl_tensor_release(h);
    pl_tensor_release(last);
    return st;
}

static inline void free_inputs(pl_tensor *in[N_IN])
{
    for (int i = 0; i < N_IN; i++) pl_tensor_release(in[i]);
    memset(in, 0, sizeof *in * N_IN);
}

/* Sequence b: length[b] tokens from text[b], behind past[b] of block slot[b] (NULL: none, b). */
static inline pl_status make_inputs(pl_ctx *ctx, pl_tensor *in[N_IN], int64_t n,
                                    const int32_t *const *text, const int64_t *length,
                                    const int32_t *slot, const int32_t *past)
{
    int64_t total = 0;
    for (int64_t b = 0; b < n; b++) total += length[b];
    const int64_t sizes[N_IN] = {total, total, n + 1, n, n, n};
    int32_t *d[N_IN], at = 0;
    memset(in, 0, sizeof *in * N_IN);
    for (int i = 0; i < N_IN; i++) {
        const pl_status st = pl_tensor_zeros(ctx, &in[i], PL_I32, 1, &sizes[i]);
        if (st != PL_OK) {
            free_inputs(in);
            return st;
        }
        d[i] = pl_tensor_data(in[i]);
    }
    for (int64_t b = 0; b < n; b++) {
        d[IN_BLOCKS][b] = slot != NULL ? slot[b] : (int32_t)b;
        d[IN_PAST][b] = past != NULL ? past[b] : 0;
        for (int32_t t = 0; t < length[b]; t++, at++) {
            d[IN_TOKENS][at] = text[b][t];
            d[IN_POSITIONS][at] = d[IN_PAST][b] + t;
        }
        d[IN_OFFSETS][b + 1] = at;
        d[IN_LAST][b] = at - 1;
    }
    return PL_OK;
}

/* The decode step, recorded over two sequences of two tokens and one (of one, for one block). */
static inline pl_status toy_plan(pl_ctx *ctx, const toy *m, pl_plan **plan)
{
    static const int32_t zeros[2] = {0, 0};
    const int32_t *const text[2] = {zeros, zeros};
    const int64_t length[2] = {2, 1};
    pl_tensor *in[N_IN], *logits = NULL;
    *plan = NULL;
    pl_status st =
        make_inputs(ctx, in, pl_tensor_shape(m->cache[0])[0] > 1 ? 2 : 1, text, length, NULL, NULL);
    if (st == PL_OK) st = pl_plan_begin(ctx, in, N_IN);
    if (st == PL_OK) {
        const bool former = pl_set_grad_enabled(ctx, false);
        st = toy_logits(ctx, m, in, true, &logits);
        if (st == PL_OK) st = pl_plan_end(ctx, logits, plan);
        else pl_plan_cancel(ctx);
        pl_set_grad_enabled(ctx, former);
    }
    pl_tensor_release(logits);
    free_inputs(in);
    return st;
}

#endif
