/*
** attention_bwd.c - the gradient of attention, probabilities computed anew tile by tile.
**
** With p_ij = exp(s_ij - lse_i) and D_i = dy_i . y_i (Dao et al. 2022):
**   dp_ij = dy_i . v_j              ds_ij = p_ij (dp_ij - D_i)
**   dq_i = scale sum_j ds_ij k_j    dk_j = sum_i ds_ij (scale q_i)    dv_j = sum_i p_ij dy_i
** With a soft cap C, ds_ij is multiplied by 1 - (s_ij / C)^2.
**
** With bf16 q, k and v are rounded. By the processor's tiles (attention_amx.h) so are dy, p and
** ds, and sums are in the order of the tiles; by other rules in float32's.
**
** A task is one sequence and key head: it alone writes its dk and dv, in a fixed order over heads,
** rows and tiles. The scores are those of the forward to the bit.
*/
#include "attention_amx.h"
#include "attention_small.h"

#include "base/thread.h"

/* Workspace of one thread, n keys long. Rows have Dp channels, a multiple of VL. */
typedef struct {
    vec *qt, *dyt, *yt, *dqt; /* [D, 2]: rows in the lanes */
    real *q_rows, *dy_rows;   /* [2 VL, Dp]: scaled queries and dy, as rows */
    real *dk, *dv;            /* [n, Dp] */
    real *k, *v;              /* [n, D]; small ones in whole blocks of rows of SMALL_DIM */
    amx scores, products;     /* by tiles: q and k, k turned; dy and v */
    vec *q_words, *dy_words;
} scratch;

#define BEYOND 32 /* keys that tiles may write beyond the last */

static int64_t scratch_vecs(int64_t n, int64_t D, bool bf16)
{
    const int64_t sums = 8 * D + (4 * VL + 4 * (n + BEYOND)) * (padded(D) / VL);
    return sums + (bf16 && ATT_AMX ? 2 * amx_share(n, D) + 2 * padded(D) : 0);
}

static scratch scratch_at(void *work, int64_t n, int64_t D, bool bf16)
{
    vec *t = (vec *)work + omp_get_thread_num() * scratch_vecs(n, D, bf16);
    const int64_t Dp = padded(D), sums = (n + BEYOND) * Dp;
    scratch s = {.qt = t, .dyt = t + 2 * D, .yt = t + 4 * D, .dqt = t + 6 * D};
    s.q_rows = (real *)(t + 8 * D);
    s.dy_rows = s.q_rows + 2 * VL * Dp;
    s.dk = s.dy_rows + 2 * VL * Dp;
    s.dv = s.dk + sums;
    s.k = s.dv + sums;
    s.v = s.k + sums;
#if ATT_AMX
    vec *tiles = (vec *)(s.v + sums);
    s.scores = amx_at(tiles, n, D, 0);
    s.products = amx_at(tiles + amx_share(n, D), n, D, 0);
    s.q_words = tiles + 2 * amx_share(n, D);
    s.dy_words = s.q_words + Dp;
#endif
    return s;
}

int64_t K(attention_work)(const att_shape *a, bool backward)
{
    const int64_t n = longest(a);
    const int64_t vecs = backward ? scratch_vecs(n, a->D, a->bf16) : att_fwd_share(a, n);
    return vecs * (int64_t)sizeof(vec) * omp_get_max_threads();
}

/* One head's rows of one sequence. */
typedef struct {
    const real *q, *dy, *y, *lse;
    real *dq;
    int64_t n, q_step, y_step, lse_step, D, window; /* y_step: of dy too */
    real scale, cap;
    bool bf16;
} head_rows;

/* `count` rows times f, channels padded with 0, missing rows of the unit 0. */
static void copy_rows(real *to, const real *x, int64_t step, int64_t count, int64_t D, real f)
{
    const int64_t Dp = padded(D);
    for (int64_t r = 0; r < VL; r++)
        V_EACH(d, n, D) {
            const real *at = x + r * step + d;
            v_store(to + r * Dp + d, r >= count ? v_set1(REAL(0.0))
                                     : n == VL  ? v_load(at) * v_set1(f)
                                                : v_load_n(at, n, REAL(0.0)) * v_set1(f));
        }
}

/* The rows first..first + nv VL - 1 against all their keys. */
ATT_INLINE void bwd_units(const head_rows *h, const scratch *w, int64_t first, const int nv,
                          const bool tiles)
{
    const int64_t D = h->D, Dp = padded(D);
    vec p[ATT_TILE * 2], ds[ATT_TILE * 2], slope[ATT_TILE * 2];
    vec lse[2], delta[2];
    const int64_t firsts[] = {first, first + (nv - 1) * VL};
    for (int u = 0; u < nv; u++) {
        const int64_t row = first + u * VL, count = min64(VL, h->n - row);
        const int64_t at = row * h->q_step, y_at = row * h->y_step;
        att_to_lanes(w->qt + u, h->q + at, h->q_step, 0, count, D, nv, h->scale);
        att_to_lanes(w->dyt + u, h->dy + y_at, h->y_step, 0, count, D, nv, REAL(1.0));
        att_to_lanes(w->yt + u, h->y + y_at, h->y_step, 0, count, D, nv, REAL(1.0));
        lse[u] = v_set1(REAL(0.0));
        for (int64_t r = 0; r < count; r++) lse[u][r] = h->lse[(row + r) * h->lse_step];
        copy_rows(w->q_rows + u * VL * Dp, h->q + at, h->q_step, count, D, h->scale);
        copy_rows(w->dy_rows + u * VL * Dp, h->dy + y_at, h->y_step, count, D, REAL(1.0));
        delta[u] = v_set1(REAL(0.0));
        for (int64_t d = 0; d < D && tiles; d++) w->dyt[d * nv + u] = att_round(w->dyt[d * nv + u]);
        for (int64_t d = 0; d < D; d++)
            delta[u] = v_fma(w->dyt[d * nv + u], w->yt[d * nv + u], delta[u]);
    }
    for (int64_t i = 0; i < D * nv; i++) w->dqt[i] = v_set1(REAL(0.0));
    if (h->bf16) {
        att_round_all(w->qt, D * nv);
        att_round_all((vec *)w->q_rows, nv * Dp);
    }
    const vec ones[] = {v_set1(REAL(1.0)), v_set1(REAL(1.0))};
    if (tiles) {
        amx_pack_queries(&w->scores, w->qt, nv);
        amx_pack_queries(&w->products, w->dyt, nv);
        amx_pack_rows(w->q_words, w->q_rows, Dp, nv);
        amx_pack_rows(w->dy_words, w->dy_rows, Dp, nv);
    }

    const int64_t n_keys = min64(h->n, first + nv * VL);
    for (int64_t k0 = att_first_tile(first, h->window); k0 < n_keys; k0 += ATT_TILE) {
        const int64_t n = min64(ATT_TILE, n_keys - k0);
        const real *k = w->k + k0 * D, *v = w->v + k0 * D;
        if (tiles) amx_scores(p, &w->scores, k0, n, nv);
        else if (h->bf16) att_chain_dots(p, w->qt, k, D, 1, n, D, nv);
        else att_dots(p, w->qt, k, D, 1, n, D, nv);
        if (h->cap > 0) att_cap(p, slope, n * nv, h->cap);
        att_hide(p, k0, n, nv, firsts, h->window);
        if (tiles) amx_scores(ds, &w->products, k0, n, nv);
        else att_dots(ds, w->dyt, v, D, 1, n, D, nv);
        for (int64_t j = 0; j < n; j++)
            for (int u = 0; u < nv; u++) {
                p[j * nv + u] = v_exp_normal(p[j * nv + u] - lse[u]);
                ds[j * nv + u] = p[j * nv + u] * (ds[j * nv + u] - delta[u]);
            }
        if (h->cap > 0)
            for (int64_t j = 0; j < n * nv; j++) ds[j] *= slope[j];
        if (tiles) {
            amx_mix(w->dqt, ones, ds, &w->scores, k0, n, nv);
            amx_outer(w->dv + k0 * Dp, p, w->dy_words, n, Dp, nv);
            amx_outer(w->dk + k0 * Dp, ds, w->q_words, n, Dp, nv);
            continue;
        }
        int64_t d = 0;
        for (; d + ATT_BLOCK <= D; d += ATT_BLOCK)
            att_mix(w->dqt + d * nv, ds, k + d, D, n, nv, ATT_BLOCK, true, ATT_ALL, NULL, 0, 0, 1);
        for (; d < D; d++)
            att_mix(w->dqt + d * nv, ds, k + d, D, n, nv, 1, true, ATT_ALL, NULL, 0, 0, 1);
        att_outer(w->dv + k0 * Dp, p, w->dy_rows, n, Dp, nv);
        att_outer(w->dk + k0 * Dp, ds, w->q_rows, n, Dp, nv);
    }
    for (int u = 0; u < nv; u++) {
        const int64_t row = first + u * VL;
        att_from_lanes(h->dq + row * h->q_step, w->dqt + u, h->q_step, 0, min64(VL, h->n - row), D,
                       nv, h->scale);
    }
}

#define UNITS(name, nv, tiles)                                            \
    static void name(const head_rows *h, const scratch *w, int64_t first) \
    {                                                                     \
        bwd_units(h, w, first, nv, tiles);                                \
    }
UNITS(bwd_units_1, 1, false)
UNITS(bwd_units_2, 2, false)
UNITS(bwd_tile_units_1, 1, ATT_AMX)
UNITS(bwd_tile_units_2, 2, ATT_AMX)
#undef UNITS

static void wide_head(const head_rows *h, const scratch *w, bool tiles, pl_stop stop)
{
    int64_t first = 0;
    for (; first + VL < h->n && !pl__stopped(stop); first += 2 * VL)
        (tiles ? bwd_tile_units_2 : bwd_units_2)(h, w, first);
    if (first < h->n) (tiles ? bwd_tile_units_1 : bwd_units_1)(h, w, first);
}

#if ATT_SMALL
/* All rows of a head that attention_small.h takes; w->dk has the sums. */
static void small_head(const head_rows *h, const scratch *w, pl_stop stop)
{
    for (int64_t first = 0; first < h->n && !pl__stopped(stop); first += VL) {
        const int64_t at = first * h->q_step, y_at = first * h->y_step;
        const int64_t count = min64(VL, h->n - first), D = h->D;
        small_unit u = {.first = first, .window = h->window};
        vec y[SMALL_DIM];
        small_rows(u.q, h->q + at, h->q_step, 0, count, D, h->scale);
        small_rows(u.dy, h->dy + y_at, h->y_step, 0, count, D, REAL(1.0));
        small_rows(y, h->y + y_at, h->y_step, 0, count, D, REAL(1.0));
        small_begin(&u, y);
        for (int64_t r = 0; r < count; r++) u.lse[r] = h->lse[(first + r) * h->lse_step];
        small_unit_keys(&u, (vec *)w->dk, w->k, w->v, first + count);
        small_put(h->dq + at, u.dq, h->q_step, 0, count, D, h->scale);
    }
}
#else
static void small_head(const head_rows *h, const scratch *w, pl_stop stop)
{
    (void)h, (void)w, (void)stop;
}
#endif

#if ATT_AMX
static bool may_use_tiles(void)
{
    return amx_usable();
}

static void pack_tiles(const scratch *w, const real *k, const real *v, int64_t step, int64_t n)
{
    amx_pack_keys(&w->scores, k, step, n);
    amx_pack_values(&w->scores, k, step, n);
    amx_pack_keys(&w->products, v, step, n);
    tiles_open();
}

static void close_tiles(void)
{
    tiles_close();
}
#else
static bool may_use_tiles(void)
{
    return false;
}
static void pack_tiles(const scratch *w, const real *k, const real *v, int64_t step, int64_t n)
{
    (void)w, (void)k, (void)v, (void)step, (void)n;
}
static void close_tiles(void) {}
#endif

void K(attention_bwd)(real *dq, real *dk, real *dv, const real *dy, const real *q, const real *k,
                      const real *v, const real *y, const real *lse, const att_shape *a, void *work)
{
    const int64_t D = a->D, Dp = padded(D), n_heads = a->H / a->G;
    const int64_t q_step = att_q_step(a), kv_step = att_kv_step(a), y_step = a->H * D;
    const int64_t n_max = longest(a);
    int64_t cost = 0;
    for (int64_t b = 0; b < a->B; b++) {
        const int64_t n = a->offsets[b + 1] - a->offsets[b];
        cost += n * min64(n / 2 + 1, att_window(a)) * a->H * (D * 5 + 32);
    }
    const int threads = pl__threads_for(cost);
    const bool bf16 = ATT_HAS_BF16 && a->bf16, tiles = bf16 && may_use_tiles();
    const bool small = att_is_small(a);
    const pl_stop stop = pl__stop_get();
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t task = 0; task < a->B * a->G; task++) {
        const int64_t b = task / a->G, g = task % a->G;
        const int64_t start = a->offsets[b], n = a->offsets[b + 1] - start;
        const int64_t kv_at = start * kv_step + g * D;
        const scratch w = scratch_at(work, n_max, D, a->bf16);
        const unsigned before = att_enter(bf16);
        if (tiles) {
            pack_tiles(&w, k + kv_at, v + kv_at, kv_step, n);
        } else if (small) {
            small_gather(w.k, k + kv_at, kv_step, n, D);
            small_gather(w.v, v + kv_at, kv_step, n, D);
        } else {
            (bf16 ? att_gather_rounded : att_gather)(w.k, k + kv_at, kv_step, n, D);
            (bf16 ? att_gather_rounded : att_gather)(w.v, v + kv_at, kv_step, n, D);
        }
        memset(w.dk, 0, (size_t)((n + BEYOND) * Dp) * sizeof(real));
        if (!small) memset(w.dv, 0, (size_t)((n + BEYOND) * Dp) * sizeof(real));
        for (int64_t i = 0; i < n_heads && !pl__stopped(stop); i++) {
            const int64_t head = g * n_heads + i, q_at = start * q_step + head * D;
            const int64_t y_at = start * y_step + head * D;
            const head_rows h = {.q = q + q_at,
                                 .dy = dy + y_at,
                                 .y = y + y_at,
                                 .lse = lse + start * a->H + head,
                                 .dq = dq + q_at,
                                 .n = n,
                                 .q_step = q_step,
                                 .y_step = y_step,
                                 .lse_step = a->H,
                                 .D = D,
                                 .window = att_window(a),
                                 .scale = (real)a->scale,
                                 .cap = (real)a->softcap,
                                 .bf16 = bf16};
            if (small) small_head(&h, &w, stop);
            else wide_head(&h, &w, tiles, stop);
        }
        if (tiles) close_tiles();
        att_leave(before);
        if (small) small_scatter(dk + kv_at, dv + kv_at, (vec *)w.dk, kv_step, n, D);
        for (int64_t j = 0; j < n && !small; j++) {
            memcpy(dk + kv_at + j * kv_step, w.dk + j * Dp, (size_t)D * sizeof(real));
            memcpy(dv + kv_at + j * kv_step, w.dv + j * Dp, (size_t)D * sizeof(real));
        }
    }
}
