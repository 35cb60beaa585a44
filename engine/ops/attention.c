/*
** attention.c - attention and attention_cached; the maths is in kernels/attention.h.
**
** attention saves the log-sum-exp of each row and head and reads its inputs and output again in
** backward. Without k and v its q has all three side by side, as one projection makes them: they
** are read, and their gradients written, where they stand. attention_cached has no gradient; as a
** plan may replay it with other numbers in `blocks`, `past` and `offsets`, these are checked before
** every write, in forward.
*/
#include "kernels/attention.h"
#include "ops/geometry.h"
#include "ops/product.h"

#include <math.h>
#include <stdio.h>

/* ---- attention ------------------------------------------------------------------------------- */

/* What attention and attention_cached have at the same places. */
enum {
    Q = ATTENTION_q,
    KEYS = ATTENTION_k,
    VALUES = ATTENTION_v,
    OFFSETS = ATTENTION_offsets,
    HEADS = ATTENTION_heads,
    KV_HEADS = ATTENTION_kv_heads,
    SCALE = ATTENTION_scale,
    WINDOW = ATTENTION_window,
    SOFTCAP = ATTENTION_softcap,
    PRECISION = ATTENTION_precision,
    Y = ATTENTION_y
};
PL_SAME_PLACE(ATTENTION_CACHED_q, Q);
PL_SAME_PLACE(ATTENTION_CACHED_k, KEYS);
PL_SAME_PLACE(ATTENTION_CACHED_v, VALUES);
PL_SAME_PLACE(ATTENTION_CACHED_offsets, OFFSETS);
PL_SAME_PLACE(ATTENTION_CACHED_heads, HEADS);
PL_SAME_PLACE(ATTENTION_CACHED_kv_heads, KV_HEADS);
PL_SAME_PLACE(ATTENTION_CACHED_scale, SCALE);
PL_SAME_PLACE(ATTENTION_CACHED_window, WINDOW);
PL_SAME_PLACE(ATTENTION_CACHED_softcap, SOFTCAP);
PL_SAME_PLACE(ATTENTION_CACHED_precision, PRECISION);

enum { LOG_SUM_EXP }; /* saved */

static int64_t kv_heads_of(const pl_call *c)
{
    return c->param[c->param[KV_HEADS].i != 0 ? KV_HEADS : HEADS].i;
}

/* Whether q has k and v beside it. */
static bool side_by_side(const pl_call *c)
{
    return c->in[KEYS] == NULL && c->in[VALUES] == NULL;
}

/* Heads in a row of the input q. */
static int64_t heads_in_row(const pl_call *c)
{
    return c->param[HEADS].i + (side_by_side(c) ? 2 * kv_heads_of(c) : 0);
}

/* Parameters, and widths of q, k, v. */
static pl_status check_heads(pl_call *c)
{
    const pl_tensor *q = c->in[Q];
    const int64_t heads = c->param[HEADS].i, kv_heads = kv_heads_of(c);
    const int64_t window = c->param[WINDOW].i;
    const double softcap = c->param[SOFTCAP].f;
    PL_TRY(check_precision(c, PRECISION));
    if (q->rank != 2) return pl__shape_fail(c, Q, "[T,H*D]");
    if (window < 0)
        return pl__op_fail(c, PL_ERR_ARG, "window is %lld; a number of keys wanted, or 0 for all",
                           (long long)window);
    if (!(softcap >= 0 && softcap < INFINITY))
        return pl__op_fail(c, PL_ERR_ARG, "softcap is %g; a positive number wanted, or 0 for none",
                           softcap);
    if (heads < 1 || kv_heads < 1 || heads % kv_heads != 0)
        return pl__op_fail(c, PL_ERR_ARG,
                           "heads is %lld and kv_heads %lld; kv_heads must divide heads",
                           (long long)heads, (long long)kv_heads);
    const int64_t in_row = heads <= q->shape[1] ? heads_in_row(c) : heads;
    if (q->shape[1] < 1 || q->shape[1] % in_row != 0)
        return pl__op_fail(c, PL_ERR_SHAPE,
                           "rows of q have %lld channels, no multiple of %lld heads%s",
                           (long long)q->shape[1], (long long)in_row,
                           side_by_side(c) ? ", those of k and v beside them" : "");
    if (side_by_side(c)) return PL_OK;
    if (c->in[KEYS] == NULL || c->in[VALUES] == NULL)
        return pl__op_fail(c, PL_ERR_ARG, "k and v are given both, or stand both in q");
    const int64_t want = q->shape[1] / heads * kv_heads;
    for (int i = KEYS; i <= VALUES; i++) {
        const pl_tensor *t = c->in[i];
        if (t->rank == 2 && t->shape[0] == q->shape[0] && t->shape[1] == want) continue;
        char text[64];
        snprintf(text, sizeof text, "[%lld,%lld]", (long long)q->shape[0], (long long)want);
        return pl__shape_fail(c, i, text);
    }
    return PL_OK;
}

static att_shape shape_of(const pl_call *c)
{
    const int64_t width = c->in[Q]->shape[1], dim = width / heads_in_row(c);
    return (att_shape){.offsets = pl__ints(c->in[OFFSETS]),
                       .B = c->in[OFFSETS]->count - 1,
                       .H = c->param[HEADS].i,
                       .G = kv_heads_of(c),
                       .D = dim,
                       .scale = c->param[SCALE].f != 0 ? c->param[SCALE].f : 1 / sqrt((double)dim),
                       .window = c->param[WINDOW].i,
                       .softcap = c->param[SOFTCAP].f,
                       .bf16 = wants_bf16(c, PRECISION),
                       .row = side_by_side(c) ? width : 0};
}

/* Where q, k, v or their gradients stand; with all side by side `parts` has one tensor. */
static void find_parts(const att_shape *a, real *const *parts, real **at)
{
    at[Q] = parts[Q];
    at[KEYS] = a->row > 0 ? parts[Q] + a->H * a->D : parts[KEYS];
    at[VALUES] = a->row > 0 ? at[KEYS] + a->G * a->D : parts[VALUES];
}

static void find_inputs(const pl_call *c, const att_shape *a, real **at)
{
    real *const parts[] = {pl__real(c->in[Q]), a->row > 0 ? NULL : pl__real(c->in[KEYS]),
                           a->row > 0 ? NULL : pl__real(c->in[VALUES])};
    find_parts(a, parts, at);
}

/* With bf16 backward rounds k and v itself, and the scaled q: where the scale is a power of two,
** rounding comes to the same before it. */
static void keep_rounded(pl_call *c)
{
    int exponent;
    const att_shape a = shape_of(c);
    if (!a.bf16) return;
    c->rounds[Q] = frexp(fabs(a.scale), &exponent) == 0.5;
    c->rounds[KEYS] = c->rounds[VALUES] = a.row == 0;
    c->rounds_out = true;
}

static pl_status attention_shape(pl_call *c)
{
    int64_t segments;
    PL_TRY(check_heads(c));
    PL_TRY(pl__check_offsets(c, OFFSETS, c->in[Q]->shape[0], &segments));
    if (c->grad) {
        const int64_t lse[] = {c->in[Q]->shape[0], c->param[HEADS].i};
        PL_TRY(pl__saved(c, LOG_SUM_EXP, PL_REAL_DTYPE, 2, lse));
        keep_rounded(c);
    }
    const int64_t shape[] = {c->in[Q]->shape[0],
                             c->in[Q]->shape[1] / heads_in_row(c) * c->param[HEADS].i};
    return pl__out(c, Y, PL_REAL_DTYPE, 2, shape);
}

static pl_status attention_fwd(pl_call *c)
{
    const att_shape a = shape_of(c);
    real *in[3];
    void *work = pl__work(c, K(attention_work)(&a, false));
    if (work == NULL) return PL_ERR_NOMEM;
    find_inputs(c, &a, in);
    K(attention_fwd)(pl__real(c->out[Y]), c->grad ? pl__real(c->saved[LOG_SUM_EXP]) : NULL, in[Q],
                     in[KEYS], in[VALUES], &a, work);
    return PL_OK;
}

static pl_status attention_bwd(pl_call *c)
{
    const att_shape a = shape_of(c);
    const int parts = a.row > 0 ? 1 : 3;
    real *to[3] = {NULL}, *in[3], *d_in[3];
    void *work = pl__work(c, K(attention_work)(&a, true));
    if (work == NULL) return PL_ERR_NOMEM;
    for (int i = 0; i < parts; i++) { /* a gradient to be added, or unwanted, goes aside first */
        to[i] = c->d_in[i] != NULL && !c->acc[i]
                    ? pl__real(c->d_in[i])
                    : pl__work(c, c->in[i]->count * (int64_t)sizeof(real));
        if (to[i] == NULL) return PL_ERR_NOMEM;
    }
    find_inputs(c, &a, in);
    find_parts(&a, to, d_in);
    K(attention_bwd)(d_in[Q], d_in[KEYS], d_in[VALUES], pl__real(c->d_out[Y]), in[Q], in[KEYS],
                     in[VALUES], pl__real(c->out[Y]), pl__real(c->saved[LOG_SUM_EXP]), &a, work);
    for (int i = 0; i < parts; i++) {
        if (c->d_in[i] == NULL || !c->acc[i]) continue;
        real *sum = pl__real(c->d_in[i]);
        for (int64_t k = 0; k < c->in[i]->count; k++) sum[k] += to[i][k];
    }
    return PL_OK;
}

extern const pl_op_impl OPI(attention);
const pl_op_impl OPI(attention) = {attention_shape, attention_fwd, attention_bwd};

/* ---- attention_cached ------------------------------------------------------------------------ */

enum {
    K_CACHE = ATTENTION_CACHED_k_cache,
    V_CACHE = ATTENTION_CACHED_v_cache,
    BLOCKS = ATTENTION_CACHED_blocks,
    PAST = ATTENTION_CACHED_past
};

static pl_status cached_shape(pl_call *c)
{
    PL_TRY(check_heads(c));
    const att_shape a = shape_of(c);
    const int64_t width = a.bf16 ? (a.D + 1) / 2 : a.D; /* two numbers a word */
    if (c->in[OFFSETS]->rank != 1 || a.B < 0) return pl__shape_fail(c, OFFSETS, "[B+1]");
    for (int i = K_CACHE; i <= V_CACHE; i++) {
        const pl_tensor *t = c->in[i], *first = c->in[K_CACHE];
        if (t->rank == 4 && t->shape[0] == first->shape[0] && t->shape[1] == a.G &&
            t->shape[2] == first->shape[2] && t->shape[2] % ATT_TILE_MAX == 0 &&
            t->shape[3] == width)
            continue;
        char text[96];
        snprintf(text, sizeof text, "[blocks,%lld,block_len,%lld], block_len a multiple of %d,",
                 (long long)a.G, (long long)width, ATT_TILE_MAX);
        return pl__shape_fail(c, i, text);
    }
    const pl_tensor *blocks = c->in[BLOCKS];
    if ((blocks->rank != 1 && blocks->rank != 2) || blocks->shape[0] != a.B)
        return pl__shape_fail(c, BLOCKS, "[B] or [B,M], those of each sequence,");
    if (c->in[PAST]->rank != 1 || c->in[PAST]->count != a.B)
        return pl__shape_fail(c, PAST, "[B], one for each sequence,");
    return pl__out(c, Y, PL_REAL_DTYPE, 2, c->in[Q]->shape);
}

static int64_t most_blocks(const pl_call *c)
{
    const pl_tensor *blocks = c->in[BLOCKS];
    return blocks->rank == 1 ? 1 : blocks->shape[1];
}

/* Sequence b has the blocks that its `length` positions want; *uses of each grows. */
static pl_status check_blocks(pl_call *c, int64_t b, int64_t length, int32_t *uses)
{
    const int64_t n_blocks = c->in[K_CACHE]->shape[0], block_len = c->in[K_CACHE]->shape[2];
    const int64_t most = most_blocks(c), wanted = length / block_len + (length % block_len > 0);
    if (wanted > most)
        return pl__op_fail(c, PL_ERR_ARG,
                           "sequence %lld would reach length %lld, but its blocks hold %lld "
                           "positions: give it more or stop sooner",
                           (long long)b + c->ctx->first, (long long)length,
                           (long long)(most * block_len));
    const int32_t *blocks = pl__ints(c->in[BLOCKS]) + b * most;
    for (int64_t i = 0; i < wanted; i++) {
        if (blocks[i] < 0 || blocks[i] >= n_blocks)
            return pl__op_fail(c, PL_ERR_ARG,
                               "blocks names %d for sequence %lld; 0 to %lld wanted, those of the "
                               "cache",
                               blocks[i], (long long)b + c->ctx->first, (long long)n_blocks - 1);
        uses[blocks[i]]++;
    }
    return PL_OK;
}

static int64_t length_of(const att_shape *a, const int32_t *past, int64_t b)
{
    return (int64_t)past[b] + a->offsets[b + 1] - a->offsets[b];
}

/* Every block that is wanted exists, and those that are written to belong to one sequence. */
static pl_status check_room(pl_call *c, const att_shape *a)
{
    const int64_t n_blocks = c->in[K_CACHE]->shape[0], block_len = c->in[K_CACHE]->shape[2];
    const int64_t most = most_blocks(c);
    const int32_t *blocks = pl__ints(c->in[BLOCKS]), *past = pl__ints(c->in[PAST]);
    int64_t segments;
    PL_TRY(pl__check_offsets(c, OFFSETS, c->in[Q]->shape[0], &segments));
    PL_TRY(pl__check_index(c, PAST, INT32_MAX));
    int32_t *uses = pl__work(c, n_blocks * (int64_t)sizeof *uses);
    if (uses == NULL) return PL_ERR_NOMEM;
    memset(uses, 0, (size_t)n_blocks * sizeof *uses);
    for (int64_t b = 0; b < a->B; b++) PL_TRY(check_blocks(c, b, length_of(a, past, b), uses));
    for (int64_t b = 0; b < a->B; b++) {
        const int64_t end = length_of(a, past, b);
        for (int64_t at = past[b]; at < end; at += block_len - at % block_len) {
            const int32_t block = blocks[b * most + at / block_len];
            if (uses[block] > 1)
                return pl__op_fail(
                    c, PL_ERR_ARG,
                    "sequence %lld would write to block %d, which blocks names twice",
                    (long long)b + c->ctx->first, block);
        }
    }
    return PL_OK;
}

static pl_status cached_fwd(pl_call *c)
{
    const att_shape a = shape_of(c);
    PL_TRY(check_room(c, &a));
    const att_cache cache = {.k = pl__real(c->in[K_CACHE]),
                             .v = pl__real(c->in[V_CACHE]),
                             .block_len = c->in[K_CACHE]->shape[2],
                             .blocks = pl__ints(c->in[BLOCKS]),
                             .past = pl__ints(c->in[PAST]),
                             .most = most_blocks(c)};
    void *work = pl__work(c, K(attention_work)(&a, false));
    if (work == NULL) return PL_ERR_NOMEM;
    K(attention_cached)(pl__real(c->out[Y]), pl__real(c->in[Q]), pl__real(c->in[KEYS]),
                        pl__real(c->in[VALUES]), &a, &cache, work);
    return PL_OK;
}

extern const pl_op_impl OPI(attention_cached);
const pl_op_impl OPI(attention_cached) = {cached_shape, cached_fwd, NULL};
